//! SARIF and JUnit output against the published schemas.
//!
//! The schemas are others' and not kept here: `FEWBIT_SCHEMAS` names a folder that holds `sarif-2.1.0.json` (OASIS; also
//! in Microsoft's sarif-sdk) and `junit-10.xsd` (the xUnit plugin of Jenkins), else `schemas` in the shared folder is
//! looked at. Python's `jsonschema` and `xmllint` judge. What is missing is said on a line that begins with `SKIPPED:`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use fewbit_core::capability::{Reason, Support};
use fewbit_report::{CheckReport, NodeReport, TargetReport, junit, sarif};

fn schema(name: &str) -> Option<PathBuf> {
    match std::env::var_os("FEWBIT_SCHEMAS") {
        Some(folder) => Some(PathBuf::from(folder).join(name)),
        None => fewbit_testing::shared_file(&format!("schemas/{name}")),
    }
}

fn report() -> CheckReport {
    let reason = |code: &str, fix: Option<&str>| Reason {
        code: code.to_owned(),
        rule: Some("npu.conv".to_owned()),
        message: "found <5> & \"more\" than the device's 4 \u{1}".to_owned(),
        fix: fix.map(str::to_owned),
    };
    let node = |name: &str, support, as_asked, reasons| NodeReport {
        name: name.to_owned(),
        op: "Conv".to_owned(),
        support,
        runs: "runs somehow".to_owned(),
        as_asked,
        reasons,
    };
    let target = |name: &str, problems, nodes| TargetReport {
        target: name.to_owned(),
        title: "A <device>".to_owned(),
        problems,
        nodes,
    };
    let nodes = vec![
        node("a", Support::Native, true, Vec::new()),
        node("b/ü ]]>", Support::Native, false, vec![reason("CAP-PRECISION", Some("w8a8"))]),
        node("c", Support::Emulated, false, vec![reason("CAP-EMULATED", None), reason("ACME", None)]),
        node("d", Support::Unsupported, false, vec![reason("CAP-STRIDE", None)]),
        node("", Support::Unsupported, false, Vec::new()),
    ];
    CheckReport {
        model: "../some folder/net#1.onnx".to_owned(),
        targets: vec![
            target("one", vec![reason("CAP-MEMORY", None)], nodes),
            target("two", Vec::new(), Vec::new()),
        ],
    }
}

/// Runs `judge` with `document` on its standard input; `None` where the judge itself is missing (`absent`).
fn judge(mut judge: Command, document: &str, absent: i32) -> Option<(bool, String)> {
    let name = judge.get_program().to_owned();
    let child = judge.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        fewbit_testing::report_skip(&format!(
            "no judgement by schema because {} is not installed",
            name.display()
        ));
        return None;
    };
    child.stdin.take().expect("was piped").write_all(document.as_bytes()).expect("the judge reads");
    let output = child.wait_with_output().expect("the judge ends");
    if output.status.code() == Some(absent) {
        fewbit_testing::report_skip(&format!(
            "no judgement by schema because {} lacks a module",
            name.display()
        ));
        return None;
    }
    Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

const JUDGE_JSON: &str = "
import json, sys
try:
    from jsonschema.validators import validator_for
except ImportError:
    sys.exit(77)
schema = json.load(open(sys.argv[1]))
checker = validator_for(schema)
errors = list(checker(schema, format_checker=checker.FORMAT_CHECKER).iter_errors(json.load(sys.stdin)))
for error in errors:
    print(error.json_path, error.message, file=sys.stderr)
sys.exit(1 if errors else 0)
";

fn judge_sarif(document: &str) -> Option<(bool, String)> {
    let schema = schema("sarif-2.1.0.json")?;
    let mut python = Command::new("python3");
    python.arg("-c").arg(JUDGE_JSON).arg(schema);
    judge(python, document, 77)
}

fn judge_junit(document: &str) -> Option<(bool, String)> {
    let schema = schema("junit-10.xsd")?;
    let mut xmllint = Command::new("xmllint");
    xmllint.args(["--nonet", "--noout", "--schema"]).arg(schema).arg("-");
    judge(xmllint, document, 77)
}

#[test]
fn sarif_satisfies_its_schema() {
    let document = sarif(&report(), "0.1.0").expect("serializes");
    let Some((valid, errors)) = judge_sarif(&document) else { return };
    assert!(valid, "{errors}");
    // The judge is awake: the same document with a word that SARIF does not know is refused.
    let (valid, _) = judge_sarif(&document.replacen("\"warning\"", "\"grave\"", 1)).expect("judged before");
    assert!(!valid);
}

#[test]
fn junit_satisfies_its_schema() {
    let document = junit(&report());
    let Some((valid, errors)) = judge_junit(&document) else { return };
    assert!(valid, "{errors}");
    let (valid, _) = judge_junit(&document.replacen("<failure", "<broken", 1)).expect("judged before");
    assert!(!valid);
}
