//! The JSON fields that scripts rely on.

use serde_json::Value;

use crate::program::{Folder, digits, fewbit};

/// One JSON object, from a command that must end with `exit`.
fn json(arguments: &[&str], exit: i32) -> Value {
    let outcome = fewbit(&[arguments, &["--format", "json"]].concat());
    assert_eq!(outcome.exit, exit, "{arguments:?}: {outcome:?}");
    outcome.json()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("expected a number as {key} in {value}"))
}

const PREPROCESS: [&str; 2] = ["--preprocess", PREPROCESSING];
/// As the example's README says.
const PREPROCESSING: &str = "mean=127.5,std=127.5";

#[test]
fn check_gives_the_verdict_on_every_node() {
    let model = digits("digits.onnx");
    let answer = json(&["check", &model, "--target", "x86_64-avx2"], 0);
    assert_eq!(answer["deployable"], true);
    let nodes = answer["nodes"].as_array().expect("nodes");
    assert!(!nodes.is_empty());
    for node in nodes {
        for key in ["name", "op", "verdict", "precision"] {
            assert!(node[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {node}");
        }
        assert!(matches!(node["verdict"].as_str(), Some("native" | "emulated")), "{node}");
        assert!(node["reasons"].is_array(), "{node}");
    }
    let both = json(&["check", &model, "--target", "x86_64-avx2", "--target", "raspberry-pi-5"], 0);
    assert_eq!(both["targets"].as_array().map(Vec::len), Some(2));
    assert_eq!(both["deployable"], true);
}

#[test]
fn check_writes_sarif_and_junit_and_nothing_else_does() {
    let model = digits("digits.onnx");
    let targets = ["--target", "coral-edgetpu", "--target", "x86_64-avx2", "--strategy", "f16"];
    let checked = |format| fewbit(&[&["check", &model][..], &targets, &["--format", format]].concat());
    let (text, sarif, junit) = (checked("text"), checked("sarif"), checked("junit"));
    assert_eq!([sarif.exit, junit.exit], [text.exit; 2], "{sarif:?} {junit:?}");
    let log = sarif.json();
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(log["runs"].as_array().map(Vec::len), Some(2));
    let first = &log["runs"][0]["results"][0];
    assert_eq!((&first["ruleId"], &first["level"]), (&"CAP-PRECISION".into(), &"note".into()));
    assert!(
        junit.stdout.starts_with("<?xml") && junit.stdout.matches("<testsuite ").count() == 2,
        "{junit:?}"
    );
    for format in ["sarif", "junit"] {
        let refused = fewbit(&["inspect", &model, "--format", format]);
        assert_eq!(refused.exit, 2, "{refused:?}");
        assert!(refused.stdout.is_empty() && refused.stderr.contains("only `check`"), "{refused:?}");
    }
}

#[test]
fn an_error_is_one_object_too() {
    let error = json(&["check", &digits("digits.onnx"), "--target", "raspbery-pi-5"], 2);
    let error = &error["error"];
    assert_eq!(error["code"], "CAP");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("raspbery-pi-5")), "{error}");
    assert!(error["help"].as_str().is_some_and(|text| text.contains("`raspberry-pi-5`")), "{error}");
    assert_eq!(json(&["check"], 2)["error"]["code"], "USAGE", "arguments that cannot be parsed");
}

#[test]
fn from_the_float_model_to_figures_of_the_quantized_one() {
    let folder = Folder::new();
    let (model, data, labelled) = (digits("digits.onnx"), digits("calibration"), digits("evaluation.npz"));
    let out = folder.path("digits.int8.onnx");
    let made = json(
        &[&["quantize", &model, "--target", "x86_64-avx2", "--data", &data][..], &PREPROCESS, &["-o", &out]]
            .concat(),
        0,
    );
    assert_eq!(
        folder.names(),
        ["digits.int8.onnx", "digits.int8.plan.json"],
        "the model, its plan, nothing else"
    );
    assert!(number(&made, "bytes") < 0.5 * number(&made, "float_bytes"), "{made}");
    assert_eq!(made["plan_hash"].as_str().map(str::len), Some(64));

    let figures = json(
        &[&["eval", &out, "--reference", &model, "--data", &labelled, "--max-drop", "2"][..], &PREPROCESS]
            .concat(),
        0,
    );
    assert!(number(&figures, "n") >= 100.0, "{figures}");
    assert!(number(&figures, "top1_reference") > 90.0, "the example's float model knows digits: {figures}");
    assert!(number(&figures, "top1") >= number(&figures, "top1_reference") - 2.0, "{figures}");
    assert!((95.0..=100.0).contains(&number(&figures, "agreement")), "{figures}");
    assert!(number(&figures, "sqnr_db") > 15.0, "{figures}");

    let strict = [&["eval", &out, "--reference", &model, "--data", &labelled][..], &PREPROCESS].concat();
    let strict = json(&[&strict[..], &["--min-agreement", "100.1"]].concat(), 1);
    assert_eq!(
        number(&strict, "n"),
        number(&figures, "n"),
        "below the threshold the figures are told all the same"
    );

    let times = json(&["bench", &out, "--threads", "1", "--iterations", "5"], 0);
    assert_eq!(number(&times, "threads"), 1.0);
    assert!(number(&times, "min_ms") > 0.0, "{times}");
    assert!(number(&times, "min_ms") <= number(&times, "median_ms"), "{times}");
    assert!(number(&times, "median_ms") <= number(&times, "p95_ms"), "{times}");
    assert!(times.get("peak_memory_bytes").is_some(), "{times}");
    // Either a figure and its counter, or the reason why there is none.
    let energy = ["energy_mj", "energy_counter", "energy_absent"].map(|key| !times[key].is_null());
    assert!(matches!(energy, [true, true, false] | [false, false, true]), "{times}");
}

#[test]
fn a_name_that_ends_with_tflite_makes_a_file_for_microcontrollers() {
    let folder = Folder::new();
    let (model, data) = (digits("digits.onnx"), digits("calibration"));
    let out = folder.path("digits.tflite");
    let made = json(
        &[
            &["quantize", &model, "--target", "ethos-u65-256", "--data", &data][..],
            &PREPROCESS,
            &["-o", &out],
        ]
        .concat(),
        0,
    );
    assert_eq!(folder.names(), ["digits.plan.json", "digits.tflite"]);
    let file = std::fs::read(&out).expect("the model was written");
    assert_eq!(&file[4..8], b"TFL3");
    let entry = &made["interface"]["inputs"][0];
    assert_eq!(entry["name"], "image");
    assert_eq!(entry["dtype"], "i8");
    assert_eq!(entry["extents"], serde_json::json!([1, 8, 8, 1]));
    assert_eq!(entry["channels_last"], true);
    assert!(made["interface"]["outputs"][0]["quant"][0].as_f64().is_some_and(|scale| scale > 0.0), "{made}");
}

#[test]
fn the_same_plan_twice_is_the_same_to_the_byte() {
    let folder = Folder::new();
    let (model, data) = (digits("digits.onnx"), digits("calibration"));
    let plan = |name: &str| {
        let out = folder.path(name);
        let arguments = ["plan", &model, "--target", "raspberry-pi-5", "--data", &data, "-o", &out];
        json(&[&arguments[..], &PREPROCESS].concat(), 0);
        std::fs::read(out).expect("the plan was written")
    };
    assert_eq!(plan("a.json"), plan("b.json"));
}
