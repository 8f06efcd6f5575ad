//! Several devices as one, where the choice of the device is seen.

use std::sync::{Arc, Mutex};

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::CoreErrorKind;
use fewbit_core::backend::{Backend, CompileOptions, Device, DeviceInfo, Executable};
use fewbit_core::capability::{Capability, Verdict};
use fewbit_core::error::Result;
use fewbit_core::ir::{DType, Graph};
use fewbit_core::lower::lower;
use fewbit_core::plan::Plan;
use fewbit_runtime::Session;
use fewbit_runtime::composite::Composite;
use fewbit_runtime::times::sample_input;

use crate::partition::{bytes, network, planned};

/// The CPU under another name, which remembers the nodes that it was given to compile.
struct Watched {
    cpu: Arc<dyn Device>,
    info: DeviceInfo,
    compiled: Mutex<Vec<String>>,
}

impl Watched {
    fn new(id: &str) -> Arc<Self> {
        let cpu = CpuBackend::new().devices().unwrap().swap_remove(0);
        let info = DeviceInfo { id: id.to_owned(), ..cpu.info().clone() };
        Arc::new(Self { cpu, info, compiled: Mutex::default() })
    }

    /// The nodes compiled since the last call.
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.compiled.lock().unwrap())
    }
}

impl Device for Watched {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Result<Capability> {
        let mut document = self.cpu.capabilities()?;
        let processor = &mut document.processors[0];
        processor.id.clone_from(&self.info.id);
        for rule in &mut processor.rules {
            rule.id = format!("{}-{}", self.info.id, rule.id);
        }
        Ok(document)
    }

    fn supports(&self, program: &Graph) -> Result<Vec<Verdict>> {
        self.cpu.supports(program)
    }

    fn compile(&self, program: &Graph, options: &CompileOptions) -> Result<Arc<dyn Executable>> {
        self.compiled.lock().unwrap().extend(program.nodes().map(|(_, node)| node.name.clone()));
        self.cpu.compile(program, options)
    }
}

/// A plan for `graph` over both devices that puts every third node on the second, and some where they would not be put
/// without it.
fn third_by_third(graph: &Graph, both: &Composite) -> Plan {
    let mut plan = planned(graph, &both.capabilities().unwrap());
    for (at, assignment) in plan.nodes.iter_mut().enumerate() {
        let id = if at % 3 == 1 { "second" } else { "first" };
        assignment.processor = Some(id.to_owned());
    }
    plan
}

#[test]
fn nodes_run_where_the_plan_says_and_give_the_bits_of_one_device() {
    let graph = network(5);
    let watched = ["first", "second"].map(Watched::new);
    let both = || {
        Composite::new(watched.iter().map(|device| Arc::clone(device) as Arc<dyn Device>).collect()).unwrap()
    };
    let plan = third_by_third(&graph, &both());
    let program = lower(&graph, &plan.choices()).unwrap();
    let options = CompileOptions::threads(1);

    // Without the plan the first device has all: where nodes lie below is the plan's doing.
    both().compile(&program, &options).unwrap();
    assert_eq!(watched[0].taken().len(), program.nodes().count());
    assert!(watched[1].taken().is_empty());

    let following: Arc<dyn Device> = Arc::new(both().following(&plan).unwrap());
    let split = Session::new(&program, following.as_ref(), &options).unwrap();
    let taken = [watched[0].taken(), watched[1].taken()];
    let mut seen = [0; 2];
    for (_, node) in program.nodes() {
        let Some(planned) = plan.nodes.iter().find(|assignment| assignment.node == node.name) else {
            continue;
        };
        let (own, other) = if planned.processor.as_deref() == Some("first") { (0, 1) } else { (1, 0) };
        assert!(taken[own].contains(&node.name), "{} runs on {}", node.name, watched[own].info.id);
        assert!(!taken[other].contains(&node.name), "{} runs on {} too", node.name, watched[other].info.id);
        seen[own] += 1;
    }
    assert!(seen.iter().all(|&count| count >= 3), "both devices have planned nodes: {seen:?}");

    let whole = Session::new(&program, watched[0].as_ref(), &options).unwrap();
    for seed in 0..3 {
        let input = [sample_input(DType::F32, &[1, 4, 12, 12], seed).unwrap()];
        assert_eq!(bytes(&split.run(&input).unwrap()), bytes(&whole.run(&input).unwrap()));
    }
}

#[test]
fn a_plan_for_a_processor_that_is_not_attached_is_an_error_that_names_the_node() {
    let graph = network(5);
    let devices = ["first", "second"].map(|id| Watched::new(id) as Arc<dyn Device>).to_vec();
    let both = Composite::new(devices).unwrap();
    let mut plan = third_by_third(&graph, &both);
    plan.nodes[2].processor = Some("third".to_owned());
    let error = both.following(&plan).err().unwrap();
    assert_eq!(error.kind(), CoreErrorKind::Backend);
    assert!(error.to_string().contains("processor `third`, found first, second"), "{error}");
    assert_eq!(error.place(), Some(plan.nodes[2].node.as_str()));
}

#[test]
fn processors_of_one_name_cannot_be_told_apart() {
    let cpu = CpuBackend::new().devices().unwrap().swap_remove(0);
    let error = Composite::new(vec![Arc::clone(&cpu), cpu]).err().unwrap();
    assert_eq!(error.kind(), CoreErrorKind::Backend);
    assert!(error.to_string().contains("found `cpu` of cpu and cpu"), "{error}");
    assert_eq!(Composite::new(vec![]).err().unwrap().kind(), CoreErrorKind::Backend);
}
