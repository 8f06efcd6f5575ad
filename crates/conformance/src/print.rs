//! Everything that the program prints: results on stdout, progress and messages on stderr.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is this module's work")]

use std::process::ExitCode;

use fewbit_conformance::run::CaseResult;
use fewbit_conformance::{KitError, KitErrorKind, Report};

/// A line of results.
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// A line of progress or a message.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// What clap says, with the exit code of wrong usage; help and version are no failures.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done where even stderr is closed.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

/// An error with its remedy, and its exit code.
pub(crate) fn failure(error: &KitError) -> ExitCode {
    note(&format!("error[{}]: {error}", error.code()));
    note(&format!("  help: {}", error.remedy()));
    match error.kind() {
        KitErrorKind::Tampered => ExitCode::from(1),
        KitErrorKind::Subject => ExitCode::from(3),
        KitErrorKind::Kit => ExitCode::from(4),
        _ => ExitCode::from(2),
    }
}

/// One case.
pub(crate) fn case(case: &CaseResult) {
    let measure = case.measure.as_ref().map_or_else(String::new, |measure| {
        format!("  {} {} (bound {})", measure.value, measure.unit, measure.bound)
    });
    line(&format!("{:<15} {}{measure}", case.status.name(), case.id));
    if !case.message.is_empty() {
        line(&format!("                at {}: {}", case.stage.name(), case.message));
    }
    for (name, value) in &case.figures {
        line(&format!("                {name}: {value:.1}"));
    }
    if case.status.is_failure() {
        line(&format!("                again with: {}", case.repro));
    }
}

/// The end of a run.
pub(crate) fn summary(report: &Report) {
    let counts: Vec<String> = report
        .totals
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(status, count)| format!("{count} {status}"))
        .collect();
    line(&format!("{} cases in {:.1} s: {}", report.cases.len(), report.seconds, counts.join(", ")));
    let answer = if report.verdict.conforms { "conforms" } else { "does not conform" };
    line(&format!("{} {answer} to {}", report.subject.id, report.profile.name));
    for reason in report.verdict.reasons.iter().take(10) {
        line(&format!("  {reason}"));
    }
    let rest = report.verdict.reasons.len().saturating_sub(10);
    if rest > 0 {
        line(&format!("  and {rest} more"));
    }
}
