//! Mixed precision as people ask for it: bounds, gates, fronts, several targets, what changed between plans, and what is
//! refused.

use serde_json::Value;

use crate::program::{Folder, Outcome, digits, fewbit};

const PREPROCESS: [&str; 2] = ["--preprocess", "mean=127.5,std=127.5"];

/// `plan` on the example, with few samples so that it is quick.
fn plan(arguments: &[&str]) -> Outcome {
    let (model, data) = (digits("digits.onnx"), digits("calibration"));
    let always = ["plan", &model, "--data", &data, "--threads", "1", "--format", "json"];
    let few: &[&str] =
        if arguments.contains(&"--sensitivity-samples") { &[] } else { &["--sensitivity-samples", "8"] };
    fewbit(&[&always[..], &PREPROCESS, few, &["--plans", "2"], arguments].concat())
}

fn done(outcome: &Outcome) -> Value {
    assert_eq!(outcome.exit, 0, "{outcome:?}");
    outcome.json()
}

fn bytes(plan: &Value) -> f64 {
    plan["totals"]["weight_bytes"].as_f64().expect("a number")
}

#[test]
fn a_bound_on_size_is_kept_measured_and_runs() {
    let folder = Folder::new();
    let (out, evaluation) = (folder.path("mixed.json"), digits("evaluation.npz"));
    let whole = done(&plan(&["-o", &folder.path("w8a8.json")]));
    let bound = ["--max-size", "70%", "--gate-data", &evaluation, "-o", &out];
    let mixed = done(&plan(&bound));
    assert!(bytes(&mixed) <= 0.7 * bytes(&whole), "{} of {}", bytes(&mixed), bytes(&whole));
    let precisions = &mixed["totals"]["precisions"];
    assert!(precisions["w4a8"].as_u64() >= Some(1) && precisions["w8a8"].as_u64() >= Some(1), "{precisions}");
    let measured = &mixed["measured"];
    assert_eq!(measured["samples"], 400);
    assert!(measured["top1"].as_f64() >= Some(97.0), "{measured}");
    assert!(measured["latency_ms"].as_f64() > Some(0.0), "{measured}");
    // Every node has a rule, and another choice with what it would change.
    for node in mixed["nodes"].as_array().expect("nodes") {
        assert!(node["rule"].is_string(), "{node}");
    }
    // The file that is quantized by the plan is as good as was measured, and smaller.
    let model = folder.path("mixed.onnx");
    let quantized = fewbit(&["quantize", &digits("digits.onnx"), "--plan", &out, "-o", &model]);
    assert_eq!(quantized.exit, 0, "{quantized:?}");
    let evaluated = done(&fewbit(
        &[
            &[
                "eval",
                &model,
                "--reference",
                &digits("digits.onnx"),
                "--data",
                &evaluation,
                "--format",
                "json",
            ][..],
            &PREPROCESS,
        ]
        .concat(),
    ));
    assert_eq!(evaluated["top1"], measured["top1"]);
    assert_eq!(evaluated["agreement"], measured["agreement"]);
    assert_eq!(evaluated["sqnr_db"], measured["sqnr_db"]);
}

#[test]
fn a_gate_is_held_on_what_is_measured() {
    let folder = Folder::new();
    let out = folder.path("plan.json");
    let gated = done(&plan(&["--min-agreement", "98", "-o", &out]));
    assert!(gated["measured"]["agreement"].as_f64() >= Some(98.0), "{}", gated["measured"]);
    assert_eq!(gated["optimality"]["goal"]["minimize"], "size", "a gate alone asks for the smallest");
}

#[test]
fn a_front_is_measured_point_by_point_and_monotone() {
    let folder = Folder::new();
    let out = folder.path("front.json");
    let arguments = ["--pareto", "size", "--minimize", "error", "--steps", "4", "-o", &out];
    let front = done(&plan(&arguments));
    let plans = front["plans"].as_array().expect("plans");
    assert!(plans.len() >= 2, "{front}");
    let points: Vec<(f64, f64)> = plans
        .iter()
        .map(|plan| (bytes(plan), plan["measured"]["sqnr_db"].as_f64().expect("measured")))
        .collect();
    assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1), "{points:?}");
    for file in front["files"].as_array().expect("files") {
        assert!(std::path::Path::new(file.as_str().expect("a path")).exists());
    }
}

#[test]
fn the_same_question_has_the_same_plan_and_plans_can_be_told_apart() {
    let folder = Folder::new();
    let [a, b, c] = ["a.json", "b.json", "c.json"].map(|name| folder.path(name));
    let tight = ["--max-size", "60%", "--sensitivity-samples", "0", "--target", "x86_64-avx2", "-o"];
    done(&plan(&[&tight[..], &[&a]].concat()));
    done(&plan(&[&tight[..], &[&b]].concat()));
    let choices = |file: &str| -> Vec<(Value, Value)> {
        let plan: Value =
            serde_json::from_str(&std::fs::read_to_string(file).expect("a plan")).expect("JSON");
        let nodes = plan["nodes"].as_array().expect("nodes");
        nodes.iter().map(|node| (node["node"].clone(), node["precision"].clone())).collect()
    };
    assert_eq!(choices(&a), choices(&b));
    let same = fewbit(&["plan-diff", &a, &a]);
    assert_eq!(same.exit, 0, "{same:?}");
    done(&plan(&["--target", "x86_64-avx2", "-o", &c]));
    let diff = fewbit(&["plan-diff", &a, &c]);
    assert_eq!(diff.exit, 1, "{diff:?}");
    let changed = choices(&a).into_iter().zip(choices(&c)).find(|(x, y)| x != y).expect("a difference").0.0;
    assert!(diff.stdout.contains(changed.as_str().expect("a name")), "{diff:?}");
    let explained = fewbit(&["explain", &a, "block3.conv"]);
    assert_eq!(explained.exit, 0, "{explained:?}");
    for word in ["block3.conv", "rule", "w8a8", "w4a8"] {
        assert!(explained.stdout.contains(word), "{word}: {explained:?}");
    }
}

#[test]
fn several_targets_get_a_plan_each_and_one_for_all() {
    let folder = Folder::new();
    let out = folder.path("fleet.json");
    let targets = ["--target", "x86_64-avx2", "--target", "ethos-u65-256", "-o", &out];
    let fleet = done(&plan(&targets));
    let rows = fleet["targets"].as_array().expect("targets");
    assert_eq!(rows.len(), 2);
    let stored = |row: &Value| row["common"]["tensors"].clone();
    assert_eq!(stored(&rows[0]), stored(&rows[1]), "the common artifact is one");
    let files = fleet["files"].as_array().expect("files");
    assert_eq!(files.len(), 4, "{files:?}");
    assert_eq!(folder.names().len(), 4);
}

/// A refusal that leaves nothing behind.
fn refused(arguments: &[&str], folder: &Folder, exit: i32, words: &[&str]) {
    let before = folder.names();
    let outcome = plan(arguments);
    assert_eq!(outcome.exit, exit, "{arguments:?}: {outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "expected `{word}`: {outcome:?}");
    }
    assert_eq!(folder.names(), before, "{arguments:?} left something behind");
}

#[test]
fn what_cannot_be_is_refused_with_the_cause() {
    let folder = Folder::new();
    let out = folder.path("plan.json");
    refused(&["--max-size", "20%", "-o", &out], &folder, 1, &["INFEASIBLE", "size", "bytes"]);
    refused(&["--max-latency-ms", "0.000001", "-o", &out], &folder, 1, &["INFEASIBLE", "latency"]);
    refused(&["--max-size", "70%", "--min-agreement", "100.5", "-o", &out], &folder, 1, &["agreement"]);
    refused(&["--max-energy-mj", "1", "-o", &out], &folder, 2, &["energy"]);
    let pinned = ["--max-size", "70%", "--pin", "stem.conv=w8a16", "-o", &out];
    refused(&pinned, &folder, 2, &["stem.conv", "w8a16"]);
    refused(&["--max-size", "0", "-o", &out], &folder, 2, &["--max-size"]);
}

#[test]
fn sensitivity_of_another_model_or_other_data_is_refused() {
    let folder = Folder::new();
    let out = folder.path("plan.json");
    let known = folder.path("sensitivity.json");
    done(&plan(&["--max-size", "70%", "--sensitivity", &known, "-o", &out]));
    let text = std::fs::read_to_string(&known).expect("it was written");
    let hash =
        serde_json::from_str::<Value>(&text).expect("JSON")["model"].as_str().expect("a hash").to_owned();
    let foreign = folder.file("foreign.json", text.replace(&hash, &"0".repeat(hash.len())));
    let cut = folder.file("cut.json", &text[..text.len() / 2]);
    let ask = |file: &str, words: &[&str]| {
        refused(&["--max-size", "70%", "--sensitivity", file, "-o", &out], &folder, 2, words);
    };
    ask(&foreign, &["foreign.json", "another"]);
    ask(&cut, &["cut.json"]);
    // Other samples of the same folder are other data.
    let more = ["--max-size", "70%", "--sensitivity", &known, "--sensitivity-samples", "9", "-o", &out];
    refused(&more, &folder, 2, &["sensitivity.json", "others"]);
}

#[test]
fn the_comparison_is_one_page_that_needs_no_network() {
    let folder = Folder::new();
    let (model, data, page) = (digits("digits.onnx"), digits("calibration"), folder.path("page.html"));
    let arguments =
        ["compare", &model, "--data", &data, "--html", &page, "--threads", "1", "--format", "json"];
    let compared = done(&fewbit(&[&arguments[..], &PREPROCESS, &["--sizes", "70%"]].concat()));
    let rows = compared["rows"].as_array().expect("rows");
    let named = |name: &str| {
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}: {compared}"))
    };
    let [float, int8, mixed] = ["f32", "w8a8, static, per channel", "mixed, 70 % of w8a8"].map(named);
    let size = |row: &Value| row["weight_bytes"].as_f64().expect("a size");
    assert!(size(int8) < 0.3 * size(float) && size(mixed) <= 0.7 * size(int8));
    assert_eq!(float["agreement"], 100.0);
    for row in [float, int8, mixed] {
        assert!(row["latency_ms"].as_f64() > Some(0.0) && row["memory_bytes"].as_u64() > Some(0), "{row}");
    }
    let html = std::fs::read_to_string(&page).expect("the page");
    assert!(html.contains("mixed, 70 % of w8a8") && html.contains("<svg"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let others = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!others.contains(outside), "the page reaches for {outside}");
    }
}
