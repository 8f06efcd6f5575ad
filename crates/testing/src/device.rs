//! What tests of a device do with it: quantize a model, run it, and compare it with the reference interpreter.

use std::sync::Arc;

use fewbit_core::backend::{CompileOptions, Device, Executable};
use fewbit_core::capability::Support;
use fewbit_core::infer;
use fewbit_core::ir::{DType, Graph, Tensor, ValueId};
use fewbit_core::lower::{Choices, has_integer_form, lower};
use fewbit_core::plan::Precision;
use fewbit_core::quant::{QuantParams, Scheme, Symmetry};
use fewbit_core::reference::Interpreter;

use crate::Random;

/// Floats for every input of a graph, the same for the same seed.
///
/// # Panics
/// When the extents of an input are not known.
#[track_caller]
pub fn inputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let mut random = Random::new(seed);
    let extents = |&id| graph.value(id).extents().expect("inputs of known extents");
    graph.inputs.iter().map(|id| random.floats(&extents(id))).collect()
}

/// The program of a model with every node that has an integer form at `precision` and activations of `dtype`.
///
/// Ranges are those seen on one input made of `seed`, made a little smaller, so that codes saturate.
///
/// # Panics
/// When the reference cannot run the model, or it cannot be lowered.
#[track_caller]
pub fn quantized(graph: &Graph, precision: Precision, dtype: DType, seed: u64) -> Graph {
    let mut choices = Choices::default();
    for (_, node) in graph.nodes().filter(|(_, node)| has_integer_form(&node.op)) {
        choices.precisions.insert(node.name.clone(), precision);
    }
    let scheme = Scheme { dtype, symmetry: Symmetry::Affine, ..Scheme::ACTIVATION_U8 };
    let mut see = |id: ValueId, tensor: &Tensor| {
        if tensor.dtype() == DType::F32 {
            let values = tensor.to_f32_vec();
            let (low, high) = values.iter().fold((0f32, 0f32), |(low, high), &x| (low.min(x), high.max(x)));
            let (scale, zero) = scheme.parameters(low * 0.9, high * 0.9).expect("finite values");
            choices
                .activations
                .insert(graph.value(id).name.clone(), (dtype, QuantParams::per_tensor(scale, zero)));
        }
    };
    let given = inputs(graph, seed);
    for (&id, tensor) in graph.inputs.iter().zip(&given) {
        see(id, tensor);
    }
    Interpreter::new(graph)
        .and_then(|interpreter| interpreter.run_observed(&given, &mut see))
        .expect("a model that the reference runs");
    let mut program = lower(graph, &choices).expect("a model that can be lowered");
    infer::infer(&mut program).expect("a program of known shapes");
    program
}

/// The graph with every value that a node makes an output: what lies between codes is compared too.
pub fn show_everything(mut graph: Graph) -> Graph {
    graph.outputs = graph.nodes().flat_map(|(_, node)| node.outputs.clone()).collect();
    graph
}

/// Runs a program twice in one context.
///
/// # Panics
/// When a run fails, or the second differs from the first.
#[track_caller]
pub fn run(executable: &Arc<dyn Executable>, given: &[Tensor]) -> Vec<Tensor> {
    let zeros = || -> Vec<Tensor> {
        let zero = |(dtype, extents)| Tensor::zeros(dtype, extents).expect("outputs of a size that fits");
        executable.outputs().iter().map(|spec| zero((spec.dtype, &spec.extents))).collect()
    };
    let (mut first, mut second) = (zeros(), zeros());
    let mut context = Arc::clone(executable).context().expect("a context");
    context.run(given, &mut first).expect("a run");
    context.run(given, &mut second).expect("a second run");
    assert_eq!(first, second, "a second run in the same context");
    first
}

/// Panics unless the device takes every node natively.
///
/// # Panics
/// When it does not; the message names the node and the device's reasons.
#[track_caller]
pub fn assert_native(device: &dyn Device, program: &Graph) {
    let verdicts = device.supports(program).expect("verdicts");
    assert_eq!(verdicts.len(), program.nodes().count(), "a verdict for each node");
    for (verdict, (_, node)) in verdicts.iter().zip(program.nodes()) {
        assert_eq!(verdict.support, Support::Native, "{}: {:?}", node.name, verdict.reasons);
    }
}

/// Panics unless the device takes every node natively and computes what the reference computes, to the bit.
///
/// # Panics
/// When it does not; the message names the value.
#[track_caller]
pub fn assert_equals_reference(device: &dyn Device, program: &Graph, seed: u64) {
    assert_native(device, program);
    let given = inputs(program, seed + 1);
    let expected = Interpreter::new(program)
        .and_then(|interpreter| interpreter.run(&given))
        .expect("a program that the reference runs");
    let executable = device.compile(program, &CompileOptions::threads(1)).expect("an executable");
    let actual = run(&executable, &given);
    assert_eq!(actual.len(), expected.len(), "seed {seed}: a tensor for each output");
    for ((actual, expected), &id) in actual.iter().zip(&expected).zip(&program.outputs) {
        assert_eq!(actual, expected, "seed {seed}, `{}`", program.value(id).name);
    }
}
