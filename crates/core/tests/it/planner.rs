//! Plans: what is decided for whole graphs, that the independent check accepts every plan that is made and refuses every
//! plan that is changed, and that what is planned can be lowered.

use fewbit_core::capability::{Capability, Support};
use fewbit_core::error::Result;
use fewbit_core::ir::{Activation, BinaryOp, DType, Graph, Op, UnaryOp, hash, verify};
use fewbit_core::lower::lower;
use fewbit_core::plan::{self, BoundaryKind, Origin, Plan, Precision, Strategy};
use fewbit_core::planner::{Request, plan};
use fewbit_core::quant::weights::WeightRule;
use fewbit_core::quant::{Ranges, Scheme};
use fewbit_core::reference::Interpreter;
use fewbit_testing::{ConvOptions, ModelBuilder, Random};
use proptest::prelude::*;

/// A document with one processor for integers and one for floats; `edit` changes its text.
fn target(edit: impl Fn(String) -> String) -> Capability {
    Capability::from_toml(&edit(include_str!("planner/target.toml").to_owned()), "target.toml").unwrap()
}

fn plain() -> Capability {
    target(|text| text)
}

/// Ranges of one width for every value except those listed.
pub(crate) struct Fixed<'a> {
    width: f32,
    unseen: &'a [&'a str],
}

impl Ranges for Fixed<'_> {
    fn range(&self, value: &str, _: Scheme) -> Result<Option<(f32, f32)>> {
        // Each value gets a width of its own, so that sharing shows.
        let own = self.width + value.bytes().map(f32::from).sum::<f32>() / 1e4;
        Ok((!self.unseen.contains(&value)).then_some((-own, own)))
    }

    fn channel_means(&self, _: &str) -> Option<Vec<f32>> {
        None
    }

    fn origin(&self) -> String {
        "a test".to_owned()
    }
}

pub(crate) const RANGES: Fixed<'static> = Fixed { width: 4.0, unseen: &[] };

fn make(
    graph: &Graph,
    target: &Capability,
    strategy: Strategy,
    pins: &[(String, Precision)],
    ranges: &dyn Ranges,
) -> Plan {
    let hash = hash::hash(graph);
    let plan = plan(&Request {
        graph,
        hash: &hash,
        target,
        strategy,
        pins,
        ranges: Some(ranges),
        goal: None,
        figures: None,
        also: &[],
        weight_rule: WeightRule::AbsMax,
        bias_correction: false,
    })
    .unwrap();
    plan::verify(&plan, graph, &hash, target).unwrap();
    plan
}

fn w8a8(graph: &Graph, target: &Capability) -> Plan {
    make(graph, target, Strategy::W8A8, &[], &RANGES)
}

/// Nodes with their precision and processor, one line each.
fn decisions(plan: &Plan) -> Vec<String> {
    plan.nodes
        .iter()
        .map(|node| format!("{} {} {}", node.node, node.precision, node.processor.as_deref().unwrap_or("-")))
        .collect()
}

/// The codes of why a node is not as asked.
fn codes<'p>(plan: &'p Plan, node: &str) -> Vec<&'p str> {
    let assignment = plan.assignment(node).unwrap();
    assignment
        .refused
        .iter()
        .flat_map(|refusal| &refusal.reasons)
        .map(|reason| reason.code.as_str())
        .collect()
}

#[test]
fn a_classifier_becomes_one_integer_program() {
    let graph = ModelBuilder::classifier(7);
    let plan = w8a8(&graph, &plain());
    assert!(
        plan.nodes.iter().all(|node| node.precision == Precision::W8A8 && node.support == Support::Native)
    );
    let kinds: Vec<BoundaryKind> = plan.boundaries.iter().map(|boundary| boundary.kind).collect();
    assert_eq!(
        kinds,
        [BoundaryKind::Quantize, BoundaryKind::Dequantize],
        "only the input and the output convert"
    );
    let mut json = plan.to_json();
    for hash in [&plan.hash, &plan.model.hash, &plan.target.hash] {
        json = json.replace(hash, "[hash]");
    }
    insta::assert_snapshot!(json);
}

#[test]
fn the_same_question_has_the_same_answer_to_the_byte_and_survives_json() {
    let graph = ModelBuilder::classifier(7);
    let (a, b) = (w8a8(&graph, &plain()), w8a8(&graph, &plain()));
    assert_eq!(a.to_json(), b.to_json());
    assert_eq!(Plan::from_json(&a.to_json(), "plan").unwrap(), a);
    let edited = a.to_json().replacen("\"w8a8\"", "\"f32\"", 1);
    let error = Plan::from_json(&edited, "plan.json").unwrap_err();
    assert!(error.to_string().contains("hash"), "{error}");
}

#[test]
fn what_a_rule_refuses_runs_in_float_elsewhere_with_the_reason() {
    let mut model = ModelBuilder::new("m", 1);
    let x = model.input("x", &[1, 4, 16, 16]);
    let a = model.conv(x, 8, ConvOptions::same(3));
    let b = model.conv(a, 8, ConvOptions::same(3).stride(4));
    let c = model.conv(b, 8, ConvOptions::same(3));
    let graph = model.finish(&[c]);
    let plan = w8a8(&graph, &plain());
    assert_eq!(decisions(&plan), ["conv w8a8 npu", "conv_2 f32 host", "conv_3 w8a8 npu"]);
    assert_eq!(codes(&plan, "conv_2")[0], "CAP-STRIDE");
    let at: Vec<(&str, BoundaryKind)> = plan.boundaries.iter().map(|b| (b.value.as_str(), b.kind)).collect();
    assert_eq!(at.len(), 4, "{at:?}");
    // Without the host, the same node makes the model undeployable, and the plan says so.
    let alone = target(|text| text[..text.find("# host").unwrap()].to_owned());
    let plan = w8a8(&graph, &alone);
    assert!(!plan.deployable);
    assert_eq!(plan.assignment("conv_2").unwrap().support, Support::Unsupported);
    assert_eq!(plan.totals.unsupported, 1);
}

#[test]
fn integers_without_weights_among_floats_stay_float() {
    let mut model = ModelBuilder::new("m", 1);
    let x = model.input("x", &[1, 4, 16, 16]);
    let a = model.unary(x, UnaryOp::Exp);
    let b = model.relu(a);
    let c = model.max_pool(b, 2, 2);
    let d = model.unary(c, UnaryOp::Exp);
    let graph = model.finish(&[d]);
    let plan = w8a8(&graph, &plain());
    assert!(plan.nodes.iter().all(|node| node.precision == Precision::F32), "{:?}", decisions(&plan));
    let relu = &plan.nodes[1].node;
    // What makes roots and powers is float whatever its neighbours, and what follows it has no reason to convert.
    assert!(codes(&plan, &plan.nodes[0].node).contains(&"CAP-COARSE"));
    assert!(codes(&plan, relu).contains(&"CAP-FLOAT-INPUT"), "{:?}", codes(&plan, relu));
    assert!(plan.boundaries.iter().all(|boundary| boundary.kind == BoundaryKind::Copy));
    let pinned = make(&graph, &plain(), Strategy::W8A8, &[(relu.clone(), Precision::W8A8)], &RANGES);
    assert_eq!(pinned.assignment(relu).unwrap().precision, Precision::W8A8);
    assert!(pinned.assignment(relu).unwrap().pinned);
}

#[test]
fn what_lies_between_floats_and_weights_is_converted_once() {
    // conv, relu, exp, relu, conv: the first relu is read by float alone, the second one reads float alone.
    let mut model = ModelBuilder::new("m", 1);
    let x = model.input("x", &[1, 4, 16, 16]);
    let a = model.conv(x, 8, ConvOptions::same(3));
    let b = model.unary(a, UnaryOp::Sigmoid);
    let c = model.unary(b, UnaryOp::Exp);
    let d = model.unary(c, UnaryOp::Sigmoid);
    let e = model.conv(d, 8, ConvOptions::same(1));
    let graph = model.finish(&[e]);
    let plan = w8a8(&graph, &plain());
    let precisions: Vec<Precision> = plan.nodes.iter().map(|node| node.precision).collect();
    let (int8, float) = (Precision::W8A8, Precision::F32);
    assert_eq!(precisions, [int8, float, float, float, int8]);
    assert!(codes(&plan, &plan.nodes[1].node).contains(&"CAP-ISLAND"));
    assert!(codes(&plan, &plan.nodes[3].node).contains(&"CAP-FLOAT-INPUT"));
}

#[test]
fn squares_stay_float_unless_pinned() {
    let mut model = ModelBuilder::new("m", 1);
    let x = model.input("x", &[1, 4, 16, 16]);
    let a = model.conv(x, 8, ConvOptions::same(3));
    let square = model.binary(BinaryOp::Mul, a, a);
    let b = model.conv(square, 8, ConvOptions::same(1));
    let graph = model.finish(&[b]);
    let name = graph.nodes().nth(1).unwrap().1.name.clone();
    let plan = w8a8(&graph, &plain());
    assert_eq!(plan.assignment(&name).unwrap().precision, Precision::F32);
    assert!(codes(&plan, &name).contains(&"CAP-COARSE"));
    let pinned = make(&graph, &plain(), Strategy::W8A8, &[(name.clone(), Precision::W8A8)], &RANGES);
    assert_eq!(pinned.assignment(&name).unwrap().precision, Precision::W8A8);
}

/// The ranges of [`RANGES`], one value's scaled.
struct Scaled<'a>(&'a str, f32);

impl Ranges for Scaled<'_> {
    fn range(&self, value: &str, scheme: Scheme) -> Result<Option<(f32, f32)>> {
        let factor = if value == self.0 { self.1 } else { 1.0 };
        Ok(RANGES.range(value, scheme)?.map(|(low, high)| (low * factor, high * factor)))
    }

    fn channel_means(&self, _: &str) -> Option<Vec<f32>> {
        None
    }

    fn origin(&self) -> String {
        "a test".to_owned()
    }
}

#[test]
fn a_part_that_would_keep_few_steps_sends_the_join_to_float() {
    let (graph, names) = joined(UnaryOp::Relu);
    let join = graph.nodes().last().unwrap().1.name.clone();
    for (factor, precision) in [(0.1, Precision::W8A8), (0.05, Precision::F32)] {
        let plan = make(&graph, &plain(), Strategy::W8A8, &[], &Scaled(&names[0], factor));
        assert_eq!(plan.assignment(&join).unwrap().precision, precision, "{factor}");
        assert_eq!(codes(&plan, &join).contains(&"CAP-COARSE"), precision == Precision::F32);
    }
}

#[test]
fn values_that_only_move_keep_the_scale_of_what_they_come_from() {
    let mut model = ModelBuilder::new("m", 1);
    let x = model.input("x", &[1, 4, 16, 16]);
    let a = model.conv(x, 8, ConvOptions::same(3));
    let pooled = model.max_pool(a, 2, 2);
    let b = model.conv(pooled, 8, ConvOptions::same(1));
    let graph = model.finish(&[b]);
    let plan = w8a8(&graph, &plain());
    let name = |id| graph.value(id).name.clone();
    let (before, after) = (&plan.tensors[&name(a)], &plan.tensors[&name(pooled)]);
    assert_eq!((before.scale, before.zero_point), (after.scale, after.zero_point));
    assert_eq!(before.origin, Origin::Calibrated);
    assert_eq!(after.origin, Origin::Shared(vec![name(a)]));
}

/// `conv(x)` and `conv(x)` with `unary` behind the second one, concatenated.
fn joined(unary: UnaryOp) -> (Graph, [String; 3]) {
    let mut model = ModelBuilder::new("m", 1);
    let x = model.input("x", &[1, 4, 8, 8]);
    let a = model.conv(x, 8, ConvOptions::same(3));
    let b = model.conv(x, 8, ConvOptions::same(3));
    let b = model.unary(b, unary);
    let c = model.concat(&[a, b]);
    let graph = model.finish(&[c]);
    let names = [a, b, c].map(|id| graph.value(id).name.clone());
    (graph, names)
}

fn sharing(text: &str) -> String {
    text.replacen(
        "source = \"npu\"",
        "source = \"npu\"\nshared_scale = { ops = [\"Concat\"], source = \"test\" }\n\
         [[processors.fixed_scale]]\nop = \"Sigmoid\"\ndtype = \"i8\"\nscale = 0.00390625\nzero_point = -128\nsource = \"test\"",
        1,
    )
}

#[test]
fn a_device_may_demand_one_scale_on_what_is_joined() {
    let (graph, names) = joined(UnaryOp::Relu);
    let free = w8a8(&graph, &plain());
    let scales = |plan: &Plan| names.each_ref().map(|name| plan.tensors[name].scale);
    let [a, b, c] = scales(&free);
    assert!(a != b && b != c, "without the demand each has its own");
    let [a, b, c] = scales(&w8a8(&graph, &target(|text| sharing(&text))));
    assert_eq!([a, b], [c, c]);
}

#[test]
fn a_fixed_scale_that_cannot_be_shared_sends_the_join_to_float() {
    let (graph, names) = joined(UnaryOp::Sigmoid);
    let pin = graph.nodes().find(|(_, node)| matches!(node.op, Op::Unary(_))).unwrap().1.name.clone();
    let device = target(|text| sharing(&text));
    let plan = make(&graph, &device, Strategy::W8A8, &[(pin, Precision::W8A8)], &RANGES);
    let sigmoid = &plan.tensors[&names[1]];
    assert_eq!((sigmoid.scale, sigmoid.zero_point, &sigmoid.origin), (0.003_906_25, -128, &Origin::Fixed));
    let join = plan.nodes.iter().find(|node| node.op == "Concat").unwrap();
    assert_eq!(join.precision, Precision::F32);
    assert!(codes(&plan, &join.node).contains(&"CAP-SHARED-SCALE"));
}

#[test]
fn a_processor_of_one_partition_keeps_nothing_behind_what_left_it() {
    let mut model = ModelBuilder::new("m", 1);
    let x = model.input("x", &[1, 4, 16, 16]);
    let a = model.conv(x, 8, ConvOptions::same(3));
    let b = model.conv(a, 8, ConvOptions::same(3).stride(4));
    let c = model.conv(b, 8, ConvOptions::same(3));
    let graph = model.finish(&[c]);
    let one = target(|text| text.replacen("single_partition = false", "single_partition = true", 1));
    let plan = w8a8(&graph, &one);
    assert_eq!(decisions(&plan), ["conv w8a8 npu", "conv_2 f32 host", "conv_3 f32 host"]);
    assert!(codes(&plan, "conv_3").contains(&"CAP-PARTITION"));
}

#[test]
fn values_that_calibration_did_not_see_keep_their_readers_in_float() {
    let graph = ModelBuilder::classifier(7);
    let first = graph.nodes().next().unwrap().1.clone();
    let unseen = graph.value(first.outputs[0]).name.clone();
    let ranges = Fixed { width: 1.0, unseen: &[&unseen] };
    let plan = make(&graph, &plain(), Strategy::W8A8, &[], &ranges);
    assert_eq!(plan.assignment(&first.name).unwrap().precision, Precision::F32);
    assert!(codes(&plan, &first.name).contains(&"CAP-RANGE"));
}

#[test]
fn memory_that_must_hold_the_model_is_counted() {
    let graph = ModelBuilder::classifier(7);
    let small = target(|text| text.replacen("bytes = 1000000", "bytes = 1000", 1));
    let plan = w8a8(&graph, &small);
    assert!(!plan.deployable);
    assert_eq!(plan.problems[0].code, "CAP-MEMORY");
    assert!(plan.problems[0].message.contains("1000"), "{}", plan.problems[0].message);
}

#[test]
fn a_pin_on_no_node_is_answered_with_the_nearest() {
    let graph = ModelBuilder::classifier(7);
    let hash = hash::hash(&graph);
    let error = plan(&Request {
        graph: &graph,
        hash: &hash,
        target: &plain(),
        strategy: Strategy::F32,
        pins: &[("convv".to_owned(), Precision::F32)],
        ranges: None,
        goal: None,
        figures: None,
        also: &[],
        weight_rule: WeightRule::AbsMax,
        bias_correction: false,
    })
    .unwrap_err();
    assert!(error.remedy().unwrap().contains("conv"), "{error}");
}

#[test]
fn estimates_follow_the_roofline() {
    let mut model = ModelBuilder::new("m", 1);
    let x = model.input("x", &[1, 64, 32, 32]);
    let y = model.conv(x, 64, ConvOptions::same(3));
    let graph = model.finish(&[y]);
    let plan = w8a8(&graph, &plain());
    let node = &plan.nodes[0];
    assert_eq!(node.cost.macs, 64 * 64 * 9 * 32 * 32);
    assert_eq!(node.cost.weight_bytes, 64 * 64 * 9 + 4 * 64);
    assert_eq!(node.cost.activation_bytes, 2 * 64 * 32 * 32);
    // 100 GMAC/s; the traffic at 10 GB/s takes less.
    let expected = node.cost.macs as f64 / 100e9 * 1e6;
    assert!((node.estimate.latency_us.unwrap() - expected).abs() < 1e-9);
    let energy = (node.cost.macs as f64 * 0.5
        + (node.cost.weight_bytes + node.cost.activation_bytes) as f64 * 20.0)
        / 1e6;
    assert!((node.estimate.energy_uj.unwrap() - energy).abs() < 1e-9);
}

/// What a person might do to a plan.
type Change<'c> = &'c dyn Fn(&mut Plan);

#[test]
fn the_check_refuses_every_plan_that_was_changed() {
    let graph = ModelBuilder::classifier(7);
    let hash = hash::hash(&graph);
    let target = plain();
    let good = w8a8(&graph, &target);
    let tensor = good.tensors.keys().nth(2).unwrap().clone();
    let changes: [(&str, Change<'_>); 11] = [
        ("another model", &|plan| plan.model.hash = "0".into()),
        ("another target", &|plan| plan.target.hash = "0".into()),
        ("a node less", &|plan| drop(plan.nodes.pop())),
        ("nodes in another order", &|plan| plan.nodes.swap(0, 1)),
        ("a precision without a rule", &|plan| plan.nodes[0].precision = Precision::W8A16),
        ("another rule", &|plan| plan.nodes[0].rule = Some("tables".into())),
        ("a processor that is not there", &|plan| plan.nodes[0].processor = Some("gpu".into())),
        ("a tensor less", &|plan| drop(plan.tensors.shift_remove(&tensor))),
        ("a scale below zero", &|plan| plan.tensors[0].scale = -1.0),
        ("a boundary less", &|plan| drop(plan.boundaries.pop())),
        ("sums that do not add up", &|plan| plan.totals.macs += 1),
    ];
    for (what, change) in changes {
        let mut plan = good.clone();
        change(&mut plan);
        assert!(plan::verify(&plan, &graph, &hash, &target).is_err(), "{what}");
    }
}

#[test]
fn dynamic_plans_quantize_weights_and_need_no_ranges() {
    let graph = ModelBuilder::classifier(7);
    let plan = make(&graph, &plain(), Strategy::W8A8Dynamic, &[], &RANGES);
    assert!(plan.tensors.is_empty() && plan.boundaries.iter().all(|b| b.kind == BoundaryKind::Copy));
    let dynamic = plan.nodes.iter().filter(|node| node.precision == Precision::W8A8Dynamic).count();
    assert_eq!(dynamic, graph.nodes().filter(|(_, node)| node.op.has_weights()).count());
}

/// A chain of random layers.
fn random_model(seed: u64, layers: usize) -> Graph {
    let mut random = Random::new(seed);
    let mut model = ModelBuilder::new("random", seed);
    let mut x = model.input("x", &[1, 4, 12, 12]);
    let mut earlier = x;
    for _ in 0..layers {
        let before = x;
        x = match random.below(10) {
            0 | 1 => model.conv(x, 4, ConvOptions::same(3).activation(Activation::Relu)),
            2 => model.conv(x, 4, ConvOptions::same(7)),
            3 => model.depthwise(x, 3, 1, Activation::None),
            5 => model.unary(x, UnaryOp::Sigmoid),
            6 => model.unary(x, UnaryOp::Exp),
            7 if model.extents(x) == model.extents(earlier) => model.binary(BinaryOp::Add, x, earlier),
            8 if model.extents(x) == model.extents(earlier) => {
                let joined = model.concat(&[x, earlier]);
                model.conv(joined, 4, ConvOptions::same(1))
            }
            9 if model.extents(x)[2] > 2 => model.max_pool(x, 2, 1),
            _ => model.relu(x),
        };
        earlier = before;
    }
    model.finish(&[x])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_is_sound_and_lowers_to_a_program_that_runs(
        seed in any::<u64>(),
        layers in 1usize..14,
        strategy in prop::sample::select(Strategy::ALL.to_vec()),
        shares in any::<bool>(),
        partition in any::<bool>(),
    ) {
        let graph = random_model(seed, layers);
        let target = target(|text| {
            let text = if shares { sharing(&text) } else { text };
            if partition { text.replacen("single_partition = false", "single_partition = true", 1) } else { text }
        });
        let plan = make(&graph, &target, strategy, &[], &RANGES);
        prop_assert!(plan.deployable, "the host runs everything in float");
        let program = lower(&graph, &plan.choices()).unwrap();
        verify::verify(&program).unwrap();
        let converted = program.nodes().filter(|(_, node)| node.op.is_conversion()).count();
        let planned: std::collections::BTreeSet<_> = plan
            .boundaries
            .iter()
            .filter(|b| b.kind != BoundaryKind::Copy)
            .map(|b| (&b.value, b.kind))
            .collect();
        prop_assert_eq!(converted, planned.len(), "each boundary is one conversion and each conversion a boundary");
        let image = Random::new(seed).floats(&[1, 4, 12, 12]);
        let outputs = Interpreter::new(&program).unwrap().run(&[image]).unwrap();
        prop_assert_eq!(outputs[0].dtype(), DType::F32);
    }
}
