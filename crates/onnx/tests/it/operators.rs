//! Single operators against ONNX Runtime: as imported, and again as exported.
//!
//! `tests/data/operator_cases.py` makes the models and says what ONNX Runtime computes.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use fewbit_calibrate::dataset::read_npy;
use fewbit_core::infer;
use fewbit_core::ir::{Graph, Op, Tensor};
use fewbit_core::pass::optimize;
use fewbit_core::reference::Interpreter;
use fewbit_onnx::{ExportOptions, ImportOptions, export, open};

/// Runs the program, and prints what it says when it fails.
#[track_caller]
fn python(program: &std::ffi::OsStr, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/operator_cases.py");
    let run = Command::new(program).arg(script).args(arguments).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// The first element that differs, and how.
fn difference(found: &Tensor, wanted: &Tensor) -> Option<String> {
    if (found.dtype(), found.extents()) != (wanted.dtype(), wanted.extents()) {
        return Some(format!("expected {wanted:?}, found {found:?}"));
    }
    if !wanted.dtype().is_float() {
        let (a, b) = (found.to_i64_vec(), wanted.to_i64_vec());
        let at = a.iter().zip(&b).position(|(a, b)| a != b)?;
        return Some(format!("element {at}: expected {}, found {}", b[at], a[at]));
    }
    let (a, b) = (found.to_f64_vec(), wanted.to_f64_vec());
    let near =
        |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 * b.abs().max(1.0);
    let at = a.iter().zip(&b).position(|(&a, &b)| !near(a, b))?;
    Some(format!("element {at}: expected {}, found {}", b[at], a[at]))
}

/// Runs a case through import, inference and the interpreter, as it is and optimized; exports it again.
fn case(folder: &Path, name: &str, inputs: usize, outputs: usize) -> Result<(), String> {
    let array = |kind: &str, at: usize| read_npy(&folder.join(format!("{name}.{kind}{at}.npy"))).unwrap();
    let mut graph = open(&folder.join(format!("{name}.onnx")), &ImportOptions::default())
        .map_err(|error| format!("import: {error}"))?;
    if let Some((_, node)) = graph.nodes().find(|(_, node)| matches!(node.op, Op::Opaque { .. })) {
        return Err(format!("{} has no meaning", node.op.kind()));
    }
    let arguments: Vec<Tensor> = (0..inputs).map(|at| array("in", at)).collect();
    let check = |graph: &Graph, what: &str| -> Result<(), String> {
        let found = Interpreter::new(graph)
            .and_then(|interpreter| interpreter.run(&arguments))
            .map_err(|error| format!("{what}: {error}"))?;
        for (at, found) in found.iter().take(outputs).enumerate() {
            if let Some(difference) = difference(found, &array("out", at)) {
                return Err(format!("{what}: output {at}: {difference}"));
            }
        }
        Ok(())
    };
    infer::infer(&mut graph).map_err(|error| format!("inference: {error}"))?;
    check(&graph, "as imported")?;
    let bodies = graph.nodes().any(|(_, node)| matches!(node.op, Op::Control(_)));
    match export(&graph, &ExportOptions::default()) {
        Ok(bytes) => std::fs::write(folder.join(format!("{name}.again.onnx")), bytes).unwrap(),
        // Bodies are not written yet, and the export says so.
        Err(error) if bodies && error.to_string().contains("control flow") => {}
        Err(error) => return Err(format!("export: {error}")),
    }
    optimize(&mut graph, &mut |_, _, _| {}).map_err(|error| format!("optimization: {error}"))?;
    check(&graph, "optimized")
}

/// All cases of a family agree with ONNX Runtime, and ONNX Runtime agrees with what is exported of them.
fn family(name: &str) {
    let Some(program) = std::env::var_os("FEWBIT_PYTHON") else {
        fewbit_testing::skip!("FEWBIT_PYTHON does not name a Python with onnx and onnxruntime");
    };
    let folder: PathBuf = std::env::temp_dir().join(format!("fewbit-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let place = folder.to_str().unwrap();
    python(&program, &[name, place]);
    let mut failures = String::new();
    let cases = std::fs::read_to_string(folder.join("cases.txt")).unwrap();
    for line in cases.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let result = case(&folder, words[0], words[1].parse().unwrap(), words[2].parse().unwrap());
        if let Err(error) = result {
            writeln!(failures, "{}: {error}", words[0]).unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(cases.lines().count() > 10, "{cases}");
    python(&program, &["--again", place]);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn operators_on_positions_agree_with_onnx_runtime() {
    family("index");
}

#[test]
fn composed_operators_agree_with_onnx_runtime() {
    family("composed");
}

#[test]
fn sampling_and_unpooling_agree_with_onnx_runtime() {
    family("sampling");
}

#[test]
fn operators_that_move_elements_agree_with_onnx_runtime() {
    family("moving");
}

#[test]
fn recurrent_layers_agree_with_onnx_runtime() {
    family("recurrent");
}

#[test]
fn functions_of_one_element_agree_with_onnx_runtime() {
    family("unary");
}

#[test]
fn functions_of_the_model_agree_with_onnx_runtime() {
    family("functions");
}

#[test]
fn control_flow_agrees_with_onnx_runtime() {
    family("control");
}
