//! Real models in float: the CPU against the reference.

use std::path::Path;
use std::sync::Arc;

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::backend::{CompileOptions, Device};
use fewbit_core::infer;
use fewbit_core::ir::{DType, Tensor};
use fewbit_core::lower::{Choices, lower};
use fewbit_core::plan::Precision;
use fewbit_core::reference::Interpreter;
use fewbit_onnx::{ImportOptions, open};
use fewbit_testing::{ConvOptions, ModelBuilder, Random, assert_close};

fn close(path: &Path) {
    let mut graph = open(path, &ImportOptions::fixed([].into_iter().collect(), Some(1))).unwrap();
    infer::infer(&mut graph).unwrap();
    let mut random = Random::new(1);
    let given: Vec<Tensor> =
        graph.inputs.iter().map(|&id| random.floats(&graph.value(id).extents().unwrap())).collect();
    let expected = Interpreter::new(&graph).unwrap().run(&given).unwrap();
    let device = CpuBackend::new().device();
    let executable = device.compile(&graph, &CompileOptions::threads(1)).unwrap();
    let mut outputs: Vec<Tensor> =
        executable.outputs().iter().map(|spec| Tensor::zeros(spec.dtype, &spec.extents).unwrap()).collect();
    Arc::clone(&executable).context().unwrap().run(&given, &mut outputs).unwrap();
    for (actual, expected) in outputs.iter().zip(&expected) {
        assert_close(&actual.to_f32_vec(), &expected.to_f32_vec(), 1e-4);
    }
}

#[test]
fn the_digits_model_computes_what_the_reference_does() {
    close(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/digits.onnx"));
}

#[test]
fn shared_models_compute_what_the_reference_does() {
    for name in ["resnet8_cifar10", "dscnn_kws", "mobilenetv1_vww", "fcae_ad"] {
        let Some(path) = fewbit_testing::shared_file(&format!("models/{name}.onnx")) else {
            fewbit_testing::skip!("the shared models are not there");
        };
        close(&path);
    }
}

#[test]
fn weights_in_few_bits_stay_few_bits_in_memory_and_compute_what_the_reference_does() {
    let mut model = ModelBuilder::new("m", 5);
    let x = model.input("x", &[1, 24, 10, 10]);
    let a = model.conv(x, 48, ConvOptions::same(3));
    let b = model.global_average_pool(a);
    let c = model.flatten(b);
    let d = model.gemm(c, 96);
    let y = model.mat_mul(d, 33);
    let graph = model.finish(&[y]);
    let device = CpuBackend::new().device();
    let given = [Random::new(2).floats(&[1, 24, 10, 10])];
    let mut bytes = Vec::new();
    for precision in [Precision::F32, Precision::W8A16F, Precision::W4A16F] {
        let mut choices = Choices::default();
        for (_, node) in graph.nodes().filter(|(_, node)| node.op.has_weights()) {
            choices.precisions.insert(node.name.clone(), precision);
        }
        let program = lower(&graph, &choices).unwrap();
        let expected = Interpreter::new(&program).unwrap().run(&given).unwrap();
        let executable = device.compile(&program, &CompileOptions::threads(2)).unwrap();
        let mut outputs = vec![Tensor::zeros(DType::F32, &[1, 33]).unwrap()];
        Arc::clone(&executable).context().unwrap().run(&given, &mut outputs).unwrap();
        assert_close(&outputs[0].to_f32_vec(), &expected[0].to_f32_vec(), 1e-5);
        bytes.push(executable.memory().weights);
    }
    assert!(bytes[1] * 3 < bytes[0] && bytes[2] * 5 < bytes[0], "{bytes:?}");
}
