//! Models with operators that this build lacks: kept to be shown, and named by every refusal to run them.

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::CoreErrorKind;
use fewbit_core::backend::{CompileOptions, Device};
use fewbit_core::infer::{infer, require_fixed, require_fixed_where_known};
use fewbit_core::ir::Graph;
use fewbit_core::reference::Interpreter;
use fewbit_onnx::{ExportOptions, ImportOptions, export, import};

use crate::hostile::{attribute, field, joined, model, node, number, tensor, value};

/// The node's fields with a domain.
fn of_domain(node: &[u8], domain: &str) -> Vec<u8> {
    joined(&[node.to_vec(), field(7, domain.as_bytes())])
}

/// The model with the set of another domain.
fn with_set(model: &[u8], domain: &str, version: u64) -> Vec<u8> {
    joined(&[model.to_vec(), field(8, &joined(&[field(1, domain.as_bytes()), number(2, version)]))])
}

fn text(name: &str, value: &str) -> Vec<u8> {
    attribute(name, &field(4, value.as_bytes()))
}

fn read(bytes: &[u8]) -> Graph {
    let mut graph = import(bytes, &ImportOptions::default()).unwrap();
    infer(&mut graph).unwrap();
    graph
}

/// What is said of the first operator without a meaning: place, message and remedy.
#[track_caller]
fn said(bytes: &[u8]) -> (String, String, String) {
    let graph = read(bytes);
    require_fixed_where_known(&graph).unwrap();
    let error = Interpreter::new(&graph).unwrap_err();
    assert_eq!(error.kind(), CoreErrorKind::Unsupported);
    let device = CpuBackend::new().device();
    let compiled = device.compile(&graph, &CompileOptions::threads(1)).err().unwrap();
    assert_eq!(compiled.to_string(), error.to_string());
    if let Err(fixed) = require_fixed(&graph) {
        assert_eq!(fixed.to_string(), error.to_string());
    }
    let refused =
        device.supports(&graph).unwrap().into_iter().find(|verdict| !verdict.is_supported()).unwrap();
    assert_eq!(refused.reasons[0].message, error.to_string());
    let written = export(&graph, &ExportOptions::default()).unwrap_err();
    assert!(written.to_string().contains(error.place().unwrap().split('/').next().unwrap()), "{written}");
    (error.place().unwrap().to_owned(), error.message().to_owned(), error.remedy().unwrap().to_owned())
}

#[test]
fn an_operator_of_no_known_name_is_told_with_its_set_and_the_nearest() {
    let typo = model(&[node("Relu", &["x"], "a"), node("LayerNormalisation", &["a"], "y")], &[]);
    let (place, message, remedy) = said(&typo);
    assert_eq!(place, "LayerNormalisation_y");
    assert_eq!(
        message,
        "expected an operator that this build has, found LayerNormalisation (operator set 17)"
    );
    assert!(remedy.contains("LayerNormalization of ONNX's own domain, from operator set 17 on"), "{remedy}");
    let custom = model(&[of_domain(&node("Gelu", &["x"], "y"), "com.example")], &[]);
    let (_, message, remedy) = said(&with_set(&custom, "com.example", 3));
    assert!(message.contains("com.example.Gelu (operator set 3)"), "{message}");
    assert!(remedy.contains("Gelu of ONNX's own domain, from operator set 20 on"), "{remedy}");
    let (_, message, _) = said(&custom);
    assert!(message.contains("com.example.Gelu (its domain's operator set is not imported)"), "{message}");
    let (_, _, remedy) = said(&model(&[node("Frobnicate", &["x"], "y")], &[]));
    assert!(!remedy.contains("nearest"), "nothing is near: {remedy}");
}

#[test]
fn a_form_without_a_meaning_is_told_with_the_forms_that_have_one() {
    let cases = [
        ("ConvTranspose", vec!["x4", "w"], text("auto_pad", "SAME_UPPER"), "auto_pad SAME_UPPER", "NOTSET"),
        ("ConvTranspose", vec!["x4", "w"], attribute("output_shape", &number(8, 4)), "output_shape", "pads"),
        ("Gelu", vec!["x"], text("approximate", "sigmoid"), "approximate sigmoid", "tanh"),
        ("Cast", vec!["x"], attribute("to", &number(3, 8)), "to 8", "numbers"),
        (
            "Cast",
            vec!["x"],
            attribute("to", &number(3, i64::MIN as u64)),
            "to -9223372036854775808",
            "numbers",
        ),
        ("Resize", vec!["x"], text("nearest_mode", "up"), "nearest_mode up", "floor"),
        ("Resize", vec!["x"], text("coordinate_transformation_mode", "odd"), "odd", "half_pixel"),
        ("MatMulInteger", vec!["x", "x"], vec![], "codes", "DynamicQuantizeLinear"),
        (
            "BatchNormalization",
            vec!["x"; 5],
            attribute("training_mode", &number(3, 1)),
            "training_mode 1",
            "0",
        ),
    ];
    for (op, inputs, attributes, found, supported) in cases {
        let apart = joined(&[node("Unsqueeze", &["x", "axes"], "x4")]);
        let axes = joined(&[
            number(1, 2),
            number(2, 7),
            field(8, b"axes"),
            field(9, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        ]);
        let bytes = model(
            &[apart, joined(&[node(op, &inputs, "y"), attributes])],
            &[axes, tensor("w", &[1, 1, 2, 2], &[0; 16])],
        );
        let (place, message, _) = said(&bytes);
        assert_eq!(place, format!("{op}_y"));
        let (_, form) = message.split_once(" found ").unwrap();
        assert!(message.starts_with(&format!("expected a form of {op} (operator set 17)")), "{message}");
        assert!(form.contains(found) && form.contains(supported), "{message}");
    }
}

#[test]
fn what_follows_an_unknown_operator_is_kept_too() {
    let bytes = model(
        &[node("Frobnicate", &["x"], "a"), node("Softmax", &["a"], "b"), node("Relu", &["b"], "y")],
        &[],
    );
    let (place, _, _) = said(&bytes);
    assert_eq!(place, "Frobnicate_a", "the cause is told, not what follows from it");
    assert_eq!(read(&bytes).node_count(), 3);
}

#[test]
fn inside_a_branch_the_path_is_told() {
    let odd = of_domain(&node("Frobnicate", &["x"], "t"), "com.example");
    let branch = |name: &str, node: &[u8], output: &str| {
        let body = joined(&[field(1, node), field(2, b"body"), field(12, &value(output, &[2, 2]))]);
        // A graph, in field 6 of the attribute.
        attribute(name, &field(6, &body))
    };
    let choice = joined(&[
        node("If", &["truth"], "y"),
        branch("then_branch", &odd, "t"),
        branch("else_branch", &node("Relu", &["x"], "e"), "e"),
    ]);
    let truth = joined(&[number(2, 9), field(8, b"one"), field(9, &[1])]);
    // A condition that is known would be taken: this one depends on data.
    let sum = joined(&[node("ReduceSum", &["x"], "sum"), attribute("keepdims", &number(3, 0))]);
    let condition = node("Cast", &["sum"], "truth");
    let condition = joined(&[condition, attribute("to", &number(3, 9))]);
    let bytes = with_set(&model(&[sum, condition, choice], &[truth]), "com.example", 1);
    let (place, message, _) = said(&bytes);
    assert_eq!(place, "If_y/then_branch/Frobnicate_t");
    assert!(message.contains("com.example.Frobnicate (operator set 1)"), "{message}");
}
