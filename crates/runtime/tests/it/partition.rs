//! Plans over two devices give the bits of one device.

use std::sync::Arc;

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::backend::{CompileOptions, Device};
use fewbit_core::capability::Capability;
use fewbit_core::error::Result;
use fewbit_core::ir::{BinaryOp, DType, Graph, Node, Tensor, UnaryOp, hash};
use fewbit_core::lower::lower;
use fewbit_core::plan::{BoundaryKind, Plan, Strategy, verify};
use fewbit_core::planner::{Request, plan};
use fewbit_core::quant::weights::WeightRule;
use fewbit_core::quant::{Ranges, Scheme};
use fewbit_runtime::Session;
use fewbit_runtime::partition::{PartitionedExecutable, partition};
use fewbit_runtime::times::sample_input;
use fewbit_testing::{ConvOptions, ModelBuilder};
use indexmap::IndexMap;
use proptest::prelude::*;

struct Wide;

impl Ranges for Wide {
    fn range(&self, value: &str, _: Scheme) -> Result<Option<(f32, f32)>> {
        let own = 2.0 + value.bytes().map(f32::from).sum::<f32>() / 1e3;
        Ok(Some((-own, own)))
    }

    fn channel_means(&self, _: &str) -> Option<Vec<f32>> {
        None
    }

    fn origin(&self) -> String {
        "a test".to_owned()
    }
}

/// A residual network with operators that an accelerator may lack.
pub(crate) fn network(seed: u64) -> Graph {
    let mut builder = ModelBuilder::new("network", seed);
    let x = builder.input("x", &[1, 4, 12, 12]);
    let stem = builder.conv(x, 8, ConvOptions::same(3));
    let relu = builder.relu(stem);
    let inner = builder.conv(relu, 8, ConvOptions::same(1));
    let curved = builder.unary(inner, UnaryOp::Sigmoid);
    let product = builder.binary(BinaryOp::Mul, inner, curved);
    let sum = builder.add(relu, product);
    let last = builder.conv(sum, 6, ConvOptions::same(3).stride(2));
    let pooled = builder.global_average_pool(last);
    let flat = builder.flatten(pooled);
    let logits = builder.gemm(flat, 5);
    let shares = builder.softmax(logits);
    builder.finish(&[shares, sum])
}

/// The CPU's document with a processor before it that runs 8-bit convolutions and sums only.
fn two_processors(device: &dyn Device) -> Capability {
    let mut document = device.capabilities().unwrap();
    let mut accelerator = document.processors[0].clone();
    "accelerator".clone_into(&mut accelerator.id);
    accelerator.rules.retain(|rule| rule.id == "cpu-conv-int8" || rule.id == "cpu-elementwise-int8");
    for rule in &mut accelerator.rules {
        rule.ops.retain(|op| op == "Conv" || op == "Add");
    }
    accelerator.rules.retain(|rule| !rule.ops.is_empty());
    document.processors.insert(0, accelerator);
    document
}

pub(crate) fn planned(graph: &Graph, target: &Capability) -> Plan {
    let hash = hash::hash(graph);
    let plan = plan(&Request {
        graph,
        hash: &hash,
        target,
        strategy: Strategy::W8A8,
        pins: &[],
        ranges: Some(&Wide),
        goal: None,
        figures: None,
        also: &[],
        weight_rule: WeightRule::AbsMax,
        bias_correction: false,
    })
    .unwrap();
    verify(&plan, graph, &hash, target).unwrap();
    plan
}

pub(crate) fn bytes(outputs: &[Tensor]) -> Vec<Vec<u8>> {
    outputs.iter().map(|tensor| tensor.bytes().to_vec()).collect()
}

#[test]
fn a_plan_over_two_devices_gives_the_bits_of_one() {
    let device: Arc<dyn Device> = Arc::new(CpuBackend::new().device());
    let graph = network(5);
    let target = two_processors(device.as_ref());
    let plan = planned(&graph, &target);
    let on = |id: &str| plan.nodes.iter().filter(|node| node.processor.as_deref() == Some(id)).count();
    assert!(
        on("accelerator") >= 4 && on("cpu") >= 4,
        "both have work: {} and {}",
        on("accelerator"),
        on("cpu")
    );
    assert!(plan.boundaries.iter().any(|boundary| boundary.kind == BoundaryKind::Copy), "codes are copied");

    let program = lower(&graph, &plan.choices()).unwrap();
    let options = CompileOptions::threads(1);
    let devices: IndexMap<String, Arc<dyn Device>> =
        ["accelerator", "cpu"].map(|id| (id.to_owned(), Arc::clone(&device))).into_iter().collect();
    let split = Arc::new(PartitionedExecutable::new(&program, &plan, &devices, &options).unwrap());
    assert!(split.parts() >= 3, "{} parts", split.parts());
    let whole = Session::new(&program, device.as_ref(), &options).unwrap();
    let mut context = split.context().unwrap();
    for seed in 0..4 {
        let input = [sample_input(DType::F32, &[1, 4, 12, 12], seed).unwrap()];
        assert_eq!(bytes(&context.run(&input).unwrap()), bytes(&whole.run(&input).unwrap()));
    }
    let times = context.times();
    assert_eq!(times.len(), split.parts());
    assert!(times.iter().any(|time| time.device == 0) && times.iter().any(|time| time.device == 1));
}

#[test]
fn a_processor_without_a_device_is_an_error_that_names_it() {
    let device: Arc<dyn Device> = Arc::new(CpuBackend::new().device());
    let graph = network(5);
    let plan = planned(&graph, &two_processors(device.as_ref()));
    let program = lower(&graph, &plan.choices()).unwrap();
    let devices = IndexMap::from([("cpu".to_owned(), device)]);
    let error =
        PartitionedExecutable::new(&program, &plan, &devices, &CompileOptions::threads(1)).err().unwrap();
    assert!(error.to_string().contains("accelerator"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn however_nodes_are_spread_the_bits_are_the_same(
        seed in 0u64..1000,
        places in prop::collection::vec(prop::option::weighted(0.8, 0usize..3), 16),
    ) {
        let device: Arc<dyn Device> = Arc::new(CpuBackend::new().device());
        let graph = network(seed);
        let plan = planned(&graph, &device.capabilities().unwrap());
        let program = lower(&graph, &plan.choices()).unwrap();
        let order: Vec<String> = program.nodes().map(|(_, node)| node.name.clone()).collect();
        let place = |node: &Node| {
            let at = order.iter().position(|name| *name == node.name)?;
            places[at % places.len()]
        };
        // Every node is in one part, and no part reads what a later one makes.
        let parts = partition(&program, &place).unwrap();
        let count: usize = parts.iter().map(|part| part.program.node_count()).sum();
        prop_assert_eq!(count, program.node_count());

        let options = CompileOptions::threads(1);
        let devices = [Arc::clone(&device), Arc::clone(&device), Arc::clone(&device)];
        let split = Arc::new(PartitionedExecutable::of(&program, &place, &devices, &options).unwrap());
        let whole = Session::new(&program, device.as_ref(), &options).unwrap();
        let input = [sample_input(DType::F32, &[1, 4, 12, 12], seed as usize).unwrap()];
        let found = split.context().unwrap().run(&input).unwrap();
        prop_assert_eq!(bytes(&found), bytes(&whole.run(&input).unwrap()));
    }
}
