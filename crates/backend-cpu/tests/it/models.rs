//! Real models in float: the CPU against the reference.

use std::path::Path;
use std::sync::Arc;

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::backend::{CompileOptions, Device};
use fewbit_core::infer;
use fewbit_core::ir::Tensor;
use fewbit_core::reference::Interpreter;
use fewbit_onnx::{ImportOptions, open};
use fewbit_testing::{Random, assert_close};

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
