//! JUnit XML, which continuous integration shows: what `fewbit check` found, as test cases.
//!
//! One suite for each target, one case for each node, and one for each problem of the whole model. A node that does not
//! run is a failure; one that is emulated, or runs elsewhere or at another precision than asked for, passes and says so
//! in its output. The form is the one that the xUnit plugin of Jenkins publishes as `junit-10.xsd`.

use fewbit_core::capability::Support;

use crate::checked::{CheckReport, NodeReport, TargetReport, sentence};
use crate::markup::escape;

/// What was found, as one JUnit document.
pub fn junit(report: &CheckReport) -> String {
    let count = |of: fn(&TargetReport) -> usize| report.targets.iter().map(of).sum::<usize>();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"fewbit check {}\" tests=\"{}\" \
         failures=\"{}\" errors=\"0\">\n",
        escape(&report.model),
        count(tests),
        count(failures)
    );
    for target in &report.targets {
        suite(&mut xml, &report.model, target);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn tests(target: &TargetReport) -> usize {
    target.problems.len() + target.nodes.len()
}

fn failures(target: &TargetReport) -> usize {
    let refused = target.nodes.iter().filter(|node| node.support == Support::Unsupported);
    target.problems.len() + refused.count()
}

fn suite(xml: &mut String, model: &str, target: &TargetReport) {
    let name = escape(&target.target);
    xml.push_str(&format!(
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"0\">\n",
        tests(target),
        failures(target)
    ));
    xml.push_str("    <properties>\n");
    for (key, value) in [("model", model), ("target", &target.title)] {
        xml.push_str(&format!("      <property name=\"{key}\" value=\"{}\"/>\n", escape(value)));
    }
    xml.push_str("    </properties>\n");
    for problem in &target.problems {
        let code = escape(&problem.code);
        let text = escape(&sentence(problem));
        xml.push_str(&format!(
            "    <testcase classname=\"{name}\" name=\"{code}\">\n      <failure type=\"{code}\" \
             message=\"{text}\"/>\n    </testcase>\n"
        ));
    }
    for node in &target.nodes {
        case(xml, &name, node);
    }
    xml.push_str("  </testsuite>\n");
}

/// One node; `class` is already escaped.
fn case(xml: &mut String, class: &str, node: &NodeReport) {
    let open = format!("    <testcase classname=\"{class}\" name=\"{}\"", escape(&node.name));
    if node.as_asked {
        xml.push_str(&format!("{open}/>\n"));
        return;
    }
    let headline = format!("{} {} {}", node.op, node.name, node.runs);
    let mut lines = vec![headline.clone()];
    lines.extend(node.reasons.iter().map(|reason| format!("{}: {}", reason.code, sentence(reason))));
    lines.dedup();
    // Line breaks are content here: as characters they stay readable in the file.
    let text = lines.iter().map(|line| escape(line)).collect::<Vec<_>>().join("\n");
    let element = if node.support == Support::Unsupported {
        let code = node.reasons.first().map_or("CAP", |reason| reason.code.as_str());
        format!("<failure type=\"{}\" message=\"{}\">{text}</failure>", escape(code), escape(&headline))
    } else {
        format!("<system-out>{text}</system-out>")
    };
    xml.push_str(&format!("{open}>\n      {element}\n    </testcase>\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checked::tests::report;

    #[test]
    fn every_node_is_a_case_and_every_refusal_a_failure() {
        let xml = junit(&report());
        assert_eq!(xml.matches("<testcase ").count(), 8);
        assert_eq!(xml.matches("<failure ").count(), 3);
        assert!(xml.contains("tests=\"7\" failures=\"3\""), "{xml}");
        insta::assert_snapshot!(xml);
    }
}
