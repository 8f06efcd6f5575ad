//! What the backend tests found, as a list, as a page of the documentation and in one line.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Case, Outcome};

/// Cases per outcome.
#[derive(Default, Clone, Copy)]
struct Counts {
    pass: usize,
    fail: usize,
    unsupported: usize,
    out: usize,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Pass => self.pass += 1,
            Outcome::Fail(_) => self.fail += 1,
            Outcome::Unsupported(_) => self.unsupported += 1,
            Outcome::OutOfScope(_) => self.out += 1,
        }
    }

    fn of(outcomes: &[Outcome]) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            counts.add(outcome);
        }
        counts
    }
}

/// The share that passes of the cases that are about tensors of numbers.
pub(crate) fn share(outcomes: &[Outcome]) -> f64 {
    let counts = Counts::of(outcomes);
    counts.pass as f64 / (counts.pass + counts.fail + counts.unsupported).max(1) as f64
}

/// The counts in one line.
pub(crate) fn summary(outcomes: &[Outcome]) -> String {
    let Counts { pass, fail, unsupported, out } = Counts::of(outcomes);
    let percent = 100.0 * share(outcomes);
    format!(
        "{pass} of {} cases on tensors of numbers pass ({percent:.1} %), {fail} fail, {unsupported} are unsupported; \
         {out} more are about other things",
        pass + fail + unsupported
    )
}

/// The list of what does not pass.
pub(crate) fn list(version: &str, found: &BTreeMap<&str, String>) -> String {
    let mut text = format!(
        "# Backend tests of ONNX that do not pass, each with its reason. Written by the test `backend_tests` with\n\
         # FEWBIT_UPDATE=1; a case that passes and stands here fails it, and so does one that does not and is missing.\n\
         onnx = \"{version}\"\n\n[cases]\n"
    );
    for (name, line) in found {
        let _ = writeln!(text, "{name} = {}", toml::Value::String(line.clone()));
    }
    text
}

/// The page of operators.
pub(crate) fn page(version: &str, cases: &[Case], outcomes: &[Outcome]) -> String {
    let mut rows: BTreeMap<(bool, &str), (u64, u64, Counts)> = BTreeMap::new();
    for (case, outcome) in cases.iter().zip(outcomes) {
        let key = (case.operator.starts_with("models"), case.operator.as_str());
        let row = rows.entry(key).or_insert((case.opset, case.opset, Counts::default()));
        row.0 = row.0.min(case.opset);
        row.1 = row.1.max(case.opset);
        row.2.add(outcome);
    }
    let mut text = format!(
        "# Operators\n\n\
         What ONNX's own backend tests (onnx {version}) find: {}. Every case is imported, run by the reference \
         interpreter and by the CPU backend where all of its shapes are fixed, and compared with ONNX's tolerances. \
         The reason of each case that does not pass stands in `crates/onnx/tests/data/backend-tests.toml`.\n\n\
         Models of operator sets {} to {} are read; the second column names the set in which an operator got the form \
         that is tested. Out of scope are strings, sequences, optionals, maps, training, random numbers and other \
         domains.\n\n\
         | operator | set | pass | fail | unsupported | out of scope |\n|---|---|--:|--:|--:|--:|\n",
        summary(outcomes),
        fewbit_onnx::OLDEST_OPSET,
        fewbit_onnx::NEWEST_OPSET,
    );
    for ((_, operator), (oldest, newest, counts)) in rows {
        let set = if oldest == newest { oldest.to_string() } else { format!("{oldest}-{newest}") };
        let Counts { pass, fail, unsupported, out } = counts;
        let _ = writeln!(text, "| {operator} | {set} | {pass} | {fail} | {unsupported} | {out} |");
    }
    text
}
