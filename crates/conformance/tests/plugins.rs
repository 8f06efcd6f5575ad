//! Plugins of this repository under the kit: the samples pass, and nothing with a defect does.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fewbit_conformance::devices::{self, PluginOptions};
use fewbit_conformance::run::{RunOptions, run};
use fewbit_conformance::{KitError, Profile, Report, Waivers, report};
use fewbit_plugin_host::WorkerOptions;
use fewbit_testing::skip;

const TODAY: &str = "2026-01-31";

/// What the kit says of a plugin: a report, or why it does not load.
fn judged(manifest: &Path, profile: &str) -> Result<Report, KitError> {
    // The kit watches the memory of its process, so that runs beside each other would be taken for leaks.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut worker = WorkerOptions::new(env!("CARGO_BIN_EXE_conformance"), ["worker".into()]);
    if manifest.to_string_lossy().contains("hang-in") {
        // Nobody waits for these for minutes; all others get the time that a busy machine needs.
        worker = worker.with_timeout(Duration::from_secs(2));
    }
    let subject = Arc::new(devices::plugin(manifest, &PluginOptions::isolated(worker))?);
    let mut options = RunOptions::on(TODAY);
    options.power = false;
    let report =
        run(&subject, &Profile::named(profile).unwrap(), &Waivers::default(), &options, &mut |_| {}).unwrap();
    if report.verdict.conforms {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("plugin-{}-{profile}", report.subject.id));
        report::write(&report, &subject, Some(manifest), &folder).unwrap();
        let library = manifest.with_file_name(report.subject.library.clone().unwrap());
        assert!(report::verify(&folder, Some(&library), TODAY).unwrap().conforms);
    }
    Ok(report)
}

/// Says what the kit found, in a line.
fn found(outcome: &Result<Report, KitError>) -> String {
    match outcome {
        Err(error) => error.to_string(),
        Ok(report) => report.verdict.reasons.iter().take(3).cloned().collect::<Vec<_>>().join("; "),
    }
}

#[test]
fn the_samples_pass() {
    for name in ["sample-c", "sample-cpp", "sample-rust"] {
        let Some(manifest) = fewbit_testing::plugin(name) else { skip!("{name} was not built") };
        for profile in if name == "sample-c" { &["core", "int8-static"][..] } else { &["core"] } {
            let outcome = judged(&manifest, profile);
            assert!(
                outcome.as_ref().is_ok_and(|report| report.verdict.conforms),
                "{name}: {}",
                found(&outcome)
            );
        }
    }
}

#[test]
fn every_wrong_piece_of_arithmetic_is_found() {
    let names = fewbit_testing::mutations();
    assert!(names.len() >= 30, "there are {} mutations", names.len());
    let mut missed = Vec::new();
    for name in &names {
        let Some(manifest) = fewbit_testing::plugin(&format!("mutation-{name}")) else {
            skip!("the mutations were not built")
        };
        let outcome = judged(&manifest, "int8-static");
        let passes = outcome.as_ref().is_ok_and(|report| report.verdict.conforms);
        let wrong_numbers = outcome.as_ref().is_ok_and(|report| {
            report.cases.iter().any(|case| case.stage.name() == "compare" && case.status.is_failure())
        });
        if passes || !wrong_numbers {
            missed.push(format!("{name}: {}", found(&outcome)));
        }
    }
    assert!(missed.is_empty(), "{} of {} pass:\n{}", missed.len(), names.len(), missed.join("\n"));
}

#[test]
fn no_faulty_plugin_passes() {
    let mut missed = Vec::new();
    for name in fewbit_testing::faults() {
        let Some(manifest) = fewbit_testing::plugin(&format!("faulty-{name}")) else {
            skip!("faulty-{name} was not built")
        };
        let outcome = judged(&manifest, "int8-static");
        if outcome.as_ref().is_ok_and(|report| report.verdict.conforms) {
            missed.push(name);
        }
    }
    assert!(missed.is_empty(), "faults that pass: {missed:?}");
}
