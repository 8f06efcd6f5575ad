//! Times of nodes: every one that computes has one, and together they are at most the run.

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::ir::DType;
use fewbit_runtime::times::{conversion_times, program_times, sample_input};
use fewbit_testing::ModelBuilder;

#[test]
fn every_node_that_computes_has_a_time() {
    let device = CpuBackend::new().device();
    let graph = ModelBuilder::classifier(3);
    let times = program_times(&graph, &device, 1, 5).unwrap();
    for (_, node) in graph.nodes().filter(|(_, node)| node.op.has_weights()) {
        assert!(times.node(&node.name).is_some(), "{} has no time", node.name);
    }
    assert!(times.run_us > 0.0 && times.overhead_us() <= times.run_us);
    assert_eq!(times.node("no such node"), None);
    let (quantize, dequantize) = conversion_times(DType::U8, &[1, 8, 32, 32], &device, 1, 5).unwrap();
    assert!(quantize > 0.0 && dequantize > 0.0);
}

#[test]
fn sample_inputs_are_reproducible_and_in_range() {
    let one = sample_input(DType::F32, &[100], 4).unwrap().to_f32_vec();
    assert_eq!(one, sample_input(DType::F32, &[100], 4).unwrap().to_f32_vec());
    assert!(one.iter().all(|x| (-1.0..=1.0).contains(x)) && one.iter().any(|x| *x != one[0]));
    let indices = sample_input(DType::I64, &[50], 1).unwrap().to_i64_vec();
    assert!(indices.iter().all(|x| (0..=1).contains(x)));
}
