//! Agreement with other software: models that other tools quantized, computed by the integer reference; models that are
//! exported here, checked and run elsewhere.

#![expect(clippy::print_stdout, reason = "the figures of a comparison belong into the log")]

use std::path::{Path, PathBuf};
use std::process::Command;

use fewbit_calibrate::dataset::{Dataset, InputSpec, encode_npy, read_npy};
use fewbit_core::infer;
use fewbit_core::ir::{DType, Graph, Op, Tensor};
use fewbit_core::lower::{Choices, has_integer_form, lower};
use fewbit_core::pass::optimize;
use fewbit_core::plan::Precision;
use fewbit_core::quant::{QuantParams, Scheme};
use fewbit_core::reference::Interpreter;
use fewbit_onnx::{ExportOptions, ImportOptions, export, import, open};
use indexmap::IndexMap;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(path: &Path) -> Graph {
    let mut graph = open(path, &ImportOptions::fixed(IndexMap::new(), Some(1))).unwrap();
    infer::infer(&mut graph).unwrap();
    optimize(&mut graph, &mut |_, _, _| {}).unwrap();
    graph
}

/// The first `count` evaluation images of the example, as its model reads them.
fn images(count: usize) -> Vec<Tensor> {
    let spec = InputSpec { name: "image".into(), dtype: DType::F32, extents: vec![1, 1, 8, 8] };
    let data = Dataset::open(
        &here("../../examples/digits/evaluation.npz"),
        &[spec],
        "mean=127.5,std=127.5".parse().unwrap(),
    )
    .unwrap();
    (0..count).map(|index| data.sample(index).unwrap().inputs.remove(0)).collect()
}

fn rows(graph: &Graph, images: &[Tensor]) -> Vec<Vec<f32>> {
    let interpreter = Interpreter::new(graph).unwrap();
    images.iter().map(|image| interpreter.run(std::slice::from_ref(image)).unwrap()[0].to_f32_vec()).collect()
}

/// How two sets of logits differ.
#[derive(Debug)]
struct Difference {
    /// Rows whose largest element is another.
    predictions: usize,
    /// Share of elements that differ by more than rounding in f32.
    share: f64,
    /// The largest difference.
    largest: f32,
}

fn difference(ours: &[Vec<f32>], theirs: &Tensor) -> Difference {
    let theirs = theirs.to_f32_vec();
    let width = ours[0].len();
    assert_eq!(theirs.len(), ours.len() * width);
    let best = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(index, _)| index);
    let mut result = Difference { predictions: 0, share: 0.0, largest: 0.0 };
    for (a, b) in ours.iter().zip(theirs.chunks(width)) {
        result.predictions += usize::from(best(a) != best(b));
        for (x, y) in a.iter().zip(b) {
            let apart = (x - y).abs();
            result.share += f64::from(u8::from(apart > 1e-4));
            result.largest = result.largest.max(apart);
        }
    }
    result.share /= theirs.len() as f64;
    result
}

/// Operators of a program that compute in float although they multiply by weights.
fn float_products(graph: &Graph) -> usize {
    graph
        .nodes()
        .filter(|(_, node)| matches!(node.op, Op::Conv { .. } | Op::Gemm { .. } | Op::MatMul))
        .filter(|(_, node)| node.input(0).is_some_and(|id| graph.value(id).quant.is_none()))
        .count()
}

#[test]
fn models_that_other_tools_quantized_run_in_integers_and_agree_with_onnx_runtime() {
    let images = images(64);
    // The models that NNCF makes keep one float product: a depthwise convolution that reads activations with a scale per
    // channel, out of a sum that mixes u8 and i8.
    for (name, floats) in [("ort_qdq", 0), ("nncf_qdq", 1), ("nncf_folded_qdq", 1)] {
        let graph = load(&here(&format!("tests/data/digits_{name}.onnx")));
        let inner = graph
            .nodes()
            .filter(|(_, node)| matches!(node.op, Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. }));
        assert_eq!((inner.count(), float_products(&graph)), (0, floats), "{name}");
        let ours = rows(&graph, &images);
        for form in ["", "_unfused"] {
            let theirs = read_npy(&here(&format!("tests/data/digits_expected/{name}{form}.npy"))).unwrap();
            let found = difference(&ours, &theirs);
            println!("{name}{form}: {found:?}");
            assert_eq!(found.predictions, 0, "{name}{form}: {found:?}");
            assert!(found.largest < 0.05, "{name}{form}: {found:?}");
        }
    }
}

/// The example in 8 bits, ranges as the images give them.
fn program(images: &[Tensor], precision: Precision, dtype: DType) -> Graph {
    let graph = load(&here("../../examples/digits/digits.onnx"));
    let mut ranges: IndexMap<_, (f32, f32)> = IndexMap::new();
    for image in images {
        Interpreter::new(&graph)
            .unwrap()
            .run_observed(std::slice::from_ref(image), &mut |id, tensor| {
                let (low, high) = ranges.entry(id).or_insert((0.0, 0.0));
                for x in tensor.to_f32_vec() {
                    (*low, *high) = (low.min(x), high.max(x));
                }
            })
            .unwrap();
    }
    let mut choices = Choices::default();
    let scheme = Scheme { dtype, ..Scheme::ACTIVATION_U8 };
    for (id, (low, high)) in ranges {
        let (scale, zero) = scheme.parameters(low, high).unwrap();
        choices
            .activations
            .insert(graph.value(id).name.clone(), (dtype, QuantParams::per_tensor(scale, zero)));
    }
    for (_, node) in graph.nodes().filter(|(_, node)| has_integer_form(&node.op)) {
        if precision.has_integer_activations() || node.op.has_weights() {
            choices.precisions.insert(node.name.clone(), precision);
        }
    }
    lower(&graph, &choices).unwrap()
}

#[test]
fn dynamically_quantized_products_come_back_as_they_were_written() {
    let images = images(16);
    let program = program(&images, Precision::W8A8Dynamic, DType::U8);
    let bytes = export(&program, &ExportOptions::default()).unwrap();
    let mut back = import(&bytes, &ImportOptions::default()).unwrap();
    optimize(&mut back, &mut |_, _, _| {}).unwrap();
    let dynamic = |graph: &Graph| {
        graph.nodes().filter(|(_, node)| node.precision == Some(Precision::W8A8Dynamic)).count()
    };
    assert_eq!(dynamic(&program), 7);
    assert_eq!(dynamic(&back), 7);
    for (a, b) in rows(&program, &images).iter().zip(rows(&back, &images)) {
        fewbit_testing::assert_close(&b, a, 1e-5);
    }
}

#[test]
fn exported_models_pass_the_checker_and_compute_the_same_in_onnx_runtime() {
    let Some(python) = std::env::var_os("FEWBIT_PYTHON") else {
        fewbit_testing::skip!("FEWBIT_PYTHON does not name a Python with onnx and onnxruntime");
    };
    let images = images(64);
    let folder = std::env::temp_dir().join(format!("fewbit-peers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let stacked: Vec<f32> = images.iter().flat_map(Tensor::to_f32_vec).collect();
    let stacked = Tensor::from_slice(&[images.len(), 1, 8, 8], &stacked).unwrap();
    let inputs = folder.join("inputs.npy");
    std::fs::write(&inputs, encode_npy(&stacked).unwrap()).unwrap();
    // Dynamic quantization in ONNX Runtime rounds a product in float where ours does so once, hence its own bound.
    let cases = [
        ("w8a8", Precision::W8A8, DType::U8, 17, 0.01, 1.0),
        ("w8a8-i8", Precision::W8A8, DType::I8, 17, 0.01, 1.0),
        ("w8a8-dynamic", Precision::W8A8Dynamic, DType::U8, 17, 1.0, 0.05),
        ("f32", Precision::F32, DType::U8, 17, 0.0, 1e-4),
    ];
    for (name, precision, dtype, opset, share, largest) in cases {
        let program = program(&images, precision, dtype);
        let (model, outputs) = (folder.join(format!("{name}.onnx")), folder.join(format!("{name}.npy")));
        std::fs::write(&model, export(&program, &ExportOptions::default()).unwrap()).unwrap();
        let run = Command::new(&python)
            .arg(here("tests/data/check_export.py"))
            .args([&model, &inputs, &outputs])
            .output()
            .unwrap();
        assert!(run.status.success(), "{name}: {}", String::from_utf8_lossy(&run.stderr));
        assert_eq!(String::from_utf8_lossy(&run.stdout).trim(), format!("opset {opset}"), "{name}");
        let found = difference(&rows(&program, &images), &read_npy(&outputs).unwrap());
        println!("{name}: {found:?}");
        assert_eq!(found.predictions, 0, "{name}: {found:?}");
        assert!(found.share <= share && found.largest <= largest, "{name}: {found:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
