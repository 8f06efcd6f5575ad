//! SARIF 2.1.0, which code hosts and editors show: what `fewbit check` found, as results with rules.
//!
//! One run for each target; one result for each node and reason. Level `error`: the node does not run, or the model does
//! not fit; `warning`: it is emulated; `note`: it runs natively, but elsewhere or at another precision than asked for.
//! A rule carries what the documentation of its code says.

use std::collections::BTreeMap;

use fewbit_core::capability::{Reason, Support, reasons};
use fewbit_core::diag::Entry;
use serde::Serialize;

use crate::checked::{CheckReport, TargetReport, sentence};

/// Code of results about nodes that do not run and for which the target gave no reason.
const UNEXPLAINED: &str = "CAP";

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: Vec<Run>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    automation_details: Automation,
    artifacts: Vec<Artifact>,
    results: Vec<Finding>,
    column_kind: &'static str,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Automation {
    id: String,
    description: Text,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    short_description: Text,
    full_description: Text,
    help: Help,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

#[derive(Serialize)]
struct Help {
    text: String,
    markdown: String,
}

#[derive(Serialize)]
struct Artifact {
    location: Uri,
    roles: [&'static str; 1],
}

#[derive(Serialize, Clone)]
struct Uri {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Text,
    locations: [Location; 1],
    partial_fingerprints: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: Physical,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<Logical>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Uri,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Logical {
    name: String,
    fully_qualified_name: String,
    kind: &'static str,
}

/// What was found, as one SARIF log; `version` is the program's.
pub fn sarif(report: &CheckReport, version: &'static str) -> Result<String, serde_json::Error> {
    let runs = report.targets.iter().map(|target| run(&report.model, target, version)).collect();
    let schema = "https://json.schemastore.org/sarif-2.1.0.json";
    serde_json::to_string_pretty(&Log { schema, version: "2.1.0", runs })
}

fn run(model: &str, target: &TargetReport, version: &'static str) -> Run {
    let mut rules: Vec<Rule> = Vec::new();
    let mut results: Vec<Finding> = Vec::new();
    let uri = uri_reference(model);
    let mut add = |code: &str, level, text: String, node: Option<(&str, &str)>| {
        let rule_index = rules.iter().position(|rule| rule.id == code).unwrap_or_else(|| {
            rules.push(rule(code));
            rules.len() - 1
        });
        let name = node.map_or("", |(name, _)| name);
        let fingerprint = format!("{}:{code}:{name}", target.target);
        let finding = Finding {
            rule_id: code.to_owned(),
            rule_index,
            level,
            message: Text { text },
            locations: [Location {
                physical_location: Physical { artifact_location: Uri { uri: uri.clone(), index: Some(0) } },
                logical_locations: node
                    .map(|(name, _)| Logical {
                        name: name.to_owned(),
                        fully_qualified_name: name.to_owned(),
                        kind: "element",
                    })
                    .into_iter()
                    .collect(),
            }],
            partial_fingerprints: BTreeMap::from([("targetCodeNode/v1", fingerprint)]),
        };
        results.push(finding);
    };
    for problem in &target.problems {
        add(&problem.code, "error", format!("On {}: {}", target.target, sentence(problem)), None);
    }
    for node in target.nodes.iter().filter(|node| !node.as_asked) {
        let level = match node.support {
            Support::Unsupported => "error",
            Support::Emulated => "warning",
            Support::Native => "note",
        };
        let what = format!("{} {} {} ({})", node.op, node.name, node.runs, target.target);
        let place = Some((node.name.as_str(), node.op.as_str()));
        if node.reasons.is_empty() {
            add(UNEXPLAINED, level, format!("{what}."), place);
        }
        let mut told: Vec<&Reason> = Vec::new();
        for reason in &node.reasons {
            if !told.contains(&reason) {
                told.push(reason);
                add(&reason.code, level, format!("{what}: {}", sentence(reason)), place);
            }
        }
    }
    Run {
        tool: Tool { driver: Driver { name: "fewbit", semantic_version: version, rules } },
        automation_details: Automation {
            id: format!("fewbit/check/{}", target.target),
            description: Text { text: format!("{model} on {} ({})", target.target, target.title) },
        },
        artifacts: vec![Artifact { location: Uri { uri, index: None }, roles: ["analysisTarget"] }],
        results,
        column_kind: "unicodeCodePoints",
    }
}

/// The rule of a code, with the text of its documentation; a code that is not ours (a vendor's) describes itself.
fn rule(code: &str) -> Rule {
    let text = |text: &str| Text { text: text.to_owned() };
    let Some(Entry { title, explanation, remedy, .. }) = reasons::ALL.iter().find(|entry| entry.code == code)
    else {
        let title = "A reason that the target gives";
        let help = "The message of the result says what was found and what the target allows.";
        return Rule {
            id: code.to_owned(),
            short_description: text(title),
            full_description: text(help),
            help: Help { text: help.to_owned(), markdown: help.to_owned() },
        };
    };
    Rule {
        id: code.to_owned(),
        short_description: text(title),
        full_description: text(explanation),
        help: Help {
            text: format!("{explanation} What to do: {remedy}"),
            markdown: format!("# {code}: {title}\n\n{explanation}\n\n**What to do.** {remedy}\n"),
        },
    }
}

/// A path as a URI reference: what RFC 3986 does not allow in a path is percent-encoded.
fn uri_reference(path: &str) -> String {
    let path = path.replace('\\', "/");
    let mut uri = String::new();
    // A colon in the first segment would make it a scheme.
    if path.split('/').next().is_some_and(|first| first.contains(':')) {
        uri.push_str("./");
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checked::tests::report;

    #[test]
    fn every_reason_is_a_result_with_its_rule() {
        insta::assert_snapshot!(sarif(&report(), "0.1.0").unwrap());
    }

    #[test]
    fn levels_follow_from_how_nodes_run() {
        let log: serde_json::Value = serde_json::from_str(&sarif(&report(), "0.1.0").unwrap()).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap();
        let level = |node: &str| {
            let mut of_node = results.iter().filter(|result| {
                result["locations"][0]["logicalLocations"][0]["name"]
                    .as_str()
                    .is_some_and(|name| name == node)
            });
            let first = of_node.next().map(|result| result["level"].clone());
            assert!(of_node.next().is_none(), "{node} is told twice");
            first
        };
        assert_eq!(level("fine"), None);
        assert_eq!(level("elsewhere"), Some("note".into()));
        assert_eq!(level("refused"), Some("error".into()));
        assert_eq!(level("unexplained"), Some("error".into()));
        assert_eq!(level("vendor"), Some("warning".into()));
        assert_eq!(results[0]["level"], "error", "a problem of the whole model");
        for result in results {
            let index = result["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        }
        assert_eq!(log["runs"][1]["results"], serde_json::json!([]));
    }

    #[test]
    fn paths_become_uri_references() {
        assert_eq!(uri_reference("a b/c#d%é.onnx"), "a%20b/c%23d%25%C3%A9.onnx");
        assert_eq!(uri_reference("C:\\models\\a.onnx"), "./C:/models/a.onnx");
    }
}
