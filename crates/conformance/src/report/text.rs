//! Forms of a report for people and other programs: Markdown, CSV, JUnit.

use std::collections::BTreeMap;

use super::Report;
use crate::case::Status;
use crate::run::CaseResult;

/// Most failures that the Markdown lists one by one.
const LISTED: usize = 50;

/// The report as Markdown.
pub fn markdown(report: &Report) -> String {
    let answer = if report.verdict.conforms { "conforms" } else { "does not conform" };
    let mut out = format!(
        "# Conformance report: {} {} {answer} to `{}`\n\n",
        report.subject.id, report.subject.version, report.profile.name
    );
    let mut row = |key: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("- {key}: {}\n", cell(value)));
        }
    };
    row("vendor", &report.subject.vendor);
    row("build", &report.subject.build);
    row("library SHA-256", report.subject.library_sha256.as_deref().unwrap_or_default());
    row("manifest SHA-256", report.subject.manifest_sha256.as_deref().unwrap_or_default());
    row("capability SHA-256", &report.capability_sha256);
    row("plugin ABI", report.subject.abi.as_deref().unwrap_or_default());
    row("isolated", if report.subject.isolated { "yes" } else { "no" });
    row(
        "device",
        &format!("{}, {} ({})", report.machine.device, report.machine.title, report.machine.detail),
    );
    row("machine", &format!("{} {}", report.machine.os, report.machine.arch));
    row(
        "kit",
        &format!("{}, suite version {}, ABI {}", report.kit.version, report.kit.suite, report.kit.abi),
    );
    row("date", &report.date);
    row("filter", report.profile.filter.as_deref().unwrap_or_default());
    out.push_str("\n| status | cases |\n|---|---|\n");
    for status in Status::ALL {
        let count = report.totals.get(status.name()).copied().unwrap_or(0);
        if count > 0 {
            out.push_str(&format!("| {} | {count} |\n", status.name()));
        }
    }
    if !report.verdict.reasons.is_empty() {
        out.push_str("\n## Why not\n\n");
        for reason in report.verdict.reasons.iter().take(LISTED) {
            out.push_str(&format!("- {}\n", cell(reason)));
        }
        let rest = report.verdict.reasons.len().saturating_sub(LISTED);
        if rest > 0 {
            out.push_str(&format!("- and {rest} more, in report.json\n"));
        }
    }
    let failures: Vec<&CaseResult> = report.cases.iter().filter(|case| case.status.is_failure()).collect();
    if !failures.is_empty() {
        out.push_str(
            "\n## Failures\n\n| case | status | stage | why | again with |\n|---|---|---|---|---|\n",
        );
        for case in failures.iter().take(LISTED) {
            out.push_str(&format!(
                "| `{}` | {} | {} | {} | `{}` |\n",
                cell(&case.id),
                case.status.name(),
                case.stage.name(),
                cell(&case.message),
                cell(&case.repro)
            ));
        }
    }
    out.push_str("\n## Coverage\n\n| operator | form | cases |\n|---|---|---|\n");
    for row in &report.coverage {
        let counts: Vec<String> =
            row.cases.iter().map(|(status, count)| format!("{count} {status}")).collect();
        let form = if row.form.is_empty() { "f32" } else { &row.form };
        out.push_str(&format!("| {} | {form} | {} |\n", row.operator, counts.join(", ")));
    }
    if !report.differences.is_empty() {
        out.push_str("\n## Declared and proven\n\n| operator | form | difference |\n|---|---|---|\n");
        for row in &report.differences {
            let form = if row.form.is_empty() { "f32" } else { &row.form };
            out.push_str(&format!("| {} | {form} | {} |\n", row.operator, row.what));
        }
    }
    let weak: Vec<_> = report.families.iter().filter(|family| family.weak).collect();
    if !weak.is_empty() {
        out.push_str("\n## Families that would notice too little\n\n| family | power |\n|---|---|\n");
        for family in weak {
            out.push_str(&format!("| {} | {:.2} |\n", family.family, family.power));
        }
    }
    if !report.waivers.0.is_empty() {
        out.push_str("\n## Waivers\n\n| cases | reason | issue | expires |\n|---|---|---|---|\n");
        for waiver in &report.waivers.0 {
            out.push_str(&format!(
                "| `{}` | {} | {} | {} |\n",
                cell(&waiver.case.0),
                cell(&waiver.reason),
                cell(&waiver.issue),
                waiver.expires
            ));
        }
    }
    let figures: Vec<&CaseResult> = report.cases.iter().filter(|case| !case.figures.is_empty()).collect();
    if !figures.is_empty() {
        out.push_str("\n## Figures (never judged)\n\n| case | figures |\n|---|---|\n");
        for case in figures {
            let texts: Vec<String> =
                case.figures.iter().map(|(name, value)| format!("{name} {value:.1}")).collect();
            out.push_str(&format!("| `{}` | {} |\n", cell(&case.id), texts.join(", ")));
        }
    }
    out
}

/// Text that cannot end a table's cell or a line.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// One line per case.
pub fn csv(report: &Report) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut out =
        String::from("id,operator,form,duty,status,stage,unit,value,bound,power,declared,micros,message\n");
    for case in &report.cases {
        let measure = case.measure.as_ref();
        let figure = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let columns = [
            quoted(&case.id),
            quoted(&case.operator),
            case.form.clone(),
            format!("{:?}", case.duty).to_lowercase(),
            case.status.name().to_owned(),
            case.stage.name().to_owned(),
            measure.map(|measure| measure.unit.clone()).unwrap_or_default(),
            figure(measure.map(|measure| measure.value)),
            figure(measure.map(|measure| measure.bound)),
            figure(case.power),
            case.declared.map(|declared| declared.to_string()).unwrap_or_default(),
            case.micros.to_string(),
            quoted(&case.message),
        ];
        out.push_str(&columns.join(","));
        out.push('\n');
    }
    out
}

/// The report as JUnit XML, one suite per suite.
pub fn junit(report: &Report) -> String {
    let mut suites: BTreeMap<&str, Vec<&CaseResult>> = BTreeMap::new();
    for case in &report.cases {
        suites.entry(case.id.split('/').next().unwrap_or_default()).or_default().push(case);
    }
    let spoils = |case: &&&CaseResult| case.status.is_failure() || case.status == Status::UnexpectedPass;
    let skipped = |case: &&&CaseResult| {
        matches!(case.status, Status::Refused | Status::NotApplicable | Status::Waived | Status::Untested)
    };
    let failures = report.cases.iter().filter(|case| spoils(&case)).count();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"conformance {}\" tests=\"{}\" failures=\"{failures}\" \
         errors=\"0\">\n",
        escape(&report.subject.id),
        report.cases.len()
    );
    for (suite, cases) in suites {
        out.push_str(&format!(
            "  <testsuite name=\"{suite}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">\n",
            cases.len(),
            cases.iter().filter(spoils).count(),
            cases.iter().filter(skipped).count()
        ));
        for case in &cases {
            let open = format!(
                "    <testcase classname=\"{suite}\" name=\"{}\" time=\"{:.6}\"",
                escape(&case.id),
                case.micros as f64 / 1e6
            );
            let status = case.status.name();
            let message = escape(&case.message);
            if spoils(&case) {
                out.push_str(&format!(
                    "{open}>\n      <failure type=\"{status}\" message=\"{message}\">{}</failure>\n    </testcase>\n",
                    escape(&case.repro)
                ));
            } else if skipped(&case) {
                out.push_str(&format!(
                    "{open}>\n      <skipped message=\"{status}: {message}\"/>\n    </testcase>\n"
                ));
            } else if case.message.is_empty() {
                out.push_str(&format!("{open}/>\n"));
            } else {
                out.push_str(&format!(
                    "{open}>\n      <system-out>{status}: {message}</system-out>\n    </testcase>\n"
                ));
            }
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// Text as XML content or attribute; characters that XML cannot hold become spaces.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(' '),
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
    out
}
