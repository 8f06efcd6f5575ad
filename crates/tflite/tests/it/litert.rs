//! LiteRT runs what is written here, and computes what the reference does.
//!
//! Its optimized kernels scale sums by a float multiplier as the reference does: products and everything that moves
//! elements agree to the bit. Sums of two operands, means, functions, interpolations and changes of scale behind a pool
//! follow TFLite's own rounding: their codes may differ by as many steps as `Subject::steps` says.

use std::path::Path;
use std::process::Command;

use fewbit_core::ir::{DType, Graph, Op, Tensor};
use fewbit_core::reference::Interpreter;
use fewbit_tflite::{ExportOptions, Port, export};

use crate::programs::{quantized, sample, subjects};

const SCRIPT: &str = r"
import sys, numpy as np
from ai_edge_litert.interpreter import Interpreter
for name in sys.argv[2:]:
    place = sys.argv[1] + '/' + name
    interpreter = Interpreter(model_path=place + '.tflite', num_threads=1)
    interpreter.allocate_tensors()
    [entry], [leave] = interpreter.get_input_details(), interpreter.get_output_details()
    codes = np.fromfile(place + '.in', dtype=entry['dtype']).reshape(entry['shape'])
    interpreter.set_tensor(entry['index'], codes)
    interpreter.invoke()
    interpreter.get_tensor(leave['index']).tofile(place + '.out')
";

/// Row-major elements of an image with its channels moved to the end, or back.
fn moved<T: Copy>(values: &[T], extents: &[usize]) -> Vec<T> {
    let [n, c, h, w] = extents[..] else { return values.to_vec() };
    let mut out = Vec::with_capacity(values.len());
    for image in 0..n {
        for at in 0..h * w {
            out.extend((0..c).map(|channel| values[(image * c + channel) * h * w + at]));
        }
    }
    out
}

/// The codes of a float tensor as a file's port has them.
fn codes(tensor: &Tensor, port: &Port) -> Vec<i8> {
    let (scale, zero) = port.quant.expect("a port of codes");
    let codes: Vec<i8> = tensor
        .to_f32_vec()
        .iter()
        .map(|value| ((value / scale).round_ties_even() as i32 + zero).clamp(-128, 127) as i8)
        .collect();
    if port.channels_last { moved(&codes, tensor.extents()) } else { codes }
}

#[test]
fn codes_are_those_of_the_reference() {
    let Some(python) = std::env::var_os("FEWBIT_PYTHON") else {
        fewbit_testing::skip!("FEWBIT_PYTHON does not name a Python with ai-edge-litert");
    };
    let there = Command::new(&python).args(["-c", "import ai_edge_litert"]).output().unwrap();
    if !there.status.success() {
        fewbit_testing::skip!("the Python that FEWBIT_PYTHON names has no ai-edge-litert");
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("litert");
    std::fs::create_dir_all(&folder).unwrap();
    let mut expected = Vec::new();
    for subject in subjects() {
        for dtype in [DType::I8, DType::U8] {
            let program = quantized(&subject.graph, dtype);
            let exported = export(&program, &ExportOptions::default())
                .unwrap_or_else(|error| panic!("{}: {error}", subject.name));
            let name = format!("{}-{dtype}", subject.name);
            let input = sample(&subject.graph);
            std::fs::write(folder.join(format!("{name}.tflite")), &exported.bytes).unwrap();
            let given = codes(&input, &exported.inputs[0]);
            std::fs::write(
                folder.join(format!("{name}.in")),
                given.iter().map(|code| *code as u8).collect::<Vec<_>>(),
            )
            .unwrap();
            let output = Interpreter::new(&program).unwrap().run(&[input]).unwrap().remove(0);
            expected.push((name, codes(&output, &exported.outputs[0]), subject.steps));
        }
    }
    let done = Command::new(&python)
        .args(["-c", SCRIPT])
        .arg(&folder)
        .args(expected.iter().map(|(name, ..)| name))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut wrong = Vec::new();
    for (name, expected, steps) in &expected {
        let found = std::fs::read(folder.join(format!("{name}.out"))).unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        let apart = found
            .iter()
            .zip(expected)
            .map(|(found, expected)| (*found as i8).abs_diff(*expected))
            .max()
            .unwrap();
        if apart > *steps {
            let count =
                found.iter().zip(expected).filter(|(found, expected)| **found as i8 != **expected).count();
            wrong.push(format!("{name}: {count} of {} differ, by {apart} at most", found.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_has_no_form_is_refused_by_name() {
    let mut builder = fewbit_testing::ModelBuilder::new("erf", 1);
    let x = builder.input("x", &[1, 4]);
    let y = builder.unary(x, fewbit_core::ir::UnaryOp::Erf);
    let graph: Graph = builder.finish(&[y]);
    let error = export(&graph, &ExportOptions::default()).unwrap_err();
    assert_eq!(error.code(), "TFL-EXPORT");
    assert!(error.node_path().is_some());
    assert!(error.to_string().contains("Erf has no form in TFLite"), "{error}");
}

#[test]
fn a_transpose_between_the_two_orders_costs_nothing() {
    let mut builder = fewbit_testing::ModelBuilder::new("nhwc", 1);
    let x = builder.input("x", &[1, 6, 7, 3]);
    let nchw = builder.op("to_nchw", Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x]);
    let y = builder.conv(nchw, 4, fewbit_testing::ConvOptions::same(3));
    let nhwc = builder.op("to_nhwc", Op::Transpose { perm: vec![0, 2, 3, 1] }, &[y]);
    let program = quantized(&builder.finish(&[nhwc]), DType::I8);
    let exported = export(&program, &ExportOptions::default()).unwrap();
    let model = fewbit_tflite::file::Model::read(&exported.bytes).unwrap();
    assert_eq!(model.graphs[0].operators.len(), 1, "{:?}", model.graphs[0].operators);
    assert!(!exported.inputs[0].channels_last, "the model's own input has its channels last already");
    assert_eq!(exported.outputs[0].extents, [1, 6, 7, 4]);
}
