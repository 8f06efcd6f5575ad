//! The CPU backend passes every profile, its report holds, and what is changed in a report is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fewbit_conformance::run::{RunOptions, run};
use fewbit_conformance::{KitErrorKind, Profile, Report, Waivers, devices, report};

const TODAY: &str = "2026-01-31";

fn options() -> RunOptions {
    RunOptions::on(TODAY)
}

fn report_of(profile: &str, filter: Option<&str>, waivers: &str) -> Report {
    let subject = Arc::new(devices::builtin("cpu").unwrap());
    let mut options = options();
    options.filter = filter.map(str::to_owned);
    let profile = Profile::named(profile).unwrap();
    let waivers = Waivers::parse(waivers, "waivers").unwrap();
    run(&subject, &profile, &waivers, &options, &mut |_| {}).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    folder
}

fn written(name: &str, report: &Report) -> PathBuf {
    let folder = folder(name);
    report::write(report, &devices::builtin("cpu").unwrap(), None, &folder).unwrap();
    folder
}

#[test]
fn the_cpu_passes_every_profile() {
    for name in Profile::names() {
        let report = report_of(name, None, "");
        let wrong: Vec<_> = report
            .cases
            .iter()
            .filter(|case| !matches!(case.status.name(), "passed" | "not-applicable"))
            .map(|case| format!("{} {}: {}", case.status.name(), case.id, case.message))
            .collect();
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
        assert!(report.verdict.conforms, "{name}: {:?}", report.verdict.reasons);
        assert!(report.families.iter().all(|family| !family.weak), "{:?}", report.families);
        let folder = written(&format!("cpu-{name}"), &report);
        let claim = report::verify(&folder, None, TODAY).unwrap();
        assert!(claim.conforms);
    }
}

#[test]
fn two_runs_make_the_same_report_but_for_times() {
    let timeless = |mut report: Report| {
        report.seconds = 0.0;
        report.digest.clear();
        for case in &mut report.cases {
            case.micros = 0;
        }
        report
    };
    let filter = Some("op_int/conv/k3/**");
    assert_eq!(
        timeless(report_of("int8-static", filter, "")),
        timeless(report_of("int8-static", filter, ""))
    );
}

/// Changes the report in a copy of `folder`; `change` gets the JSON.
fn tampered(folder: &Path, change: &dyn Fn(&mut serde_json::Value), again: bool) -> String {
    let path = folder.join("report.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    change(&mut value);
    let mut changed = serde_json::to_string_pretty(&value).unwrap();
    if again {
        // Who changes a report with care computes its digest and its other files anew.
        let mut report: Report = serde_json::from_str(&changed).unwrap();
        report = report.sealed();
        changed = report.to_json();
        fs::write(folder.join("report.md"), report::markdown(&report)).unwrap();
        fs::write(folder.join("cases.csv"), report::csv(&report)).unwrap();
        fs::write(folder.join("junit.xml"), report::junit(&report)).unwrap();
    }
    fs::write(&path, changed).unwrap();
    let error = report::verify(folder, None, TODAY).unwrap_err();
    assert_eq!(error.kind(), KitErrorKind::Tampered, "{error}");
    error.to_string()
}

#[test]
fn a_changed_report_is_found() {
    let report = report_of("core", None, "");
    let fresh = |name: &str| written(name, &report);
    let found = tampered(&fresh("edited"), &|json| json["cases"][0]["status"] = "failed".into(), false);
    assert!(found.contains("digest"), "{found}");
    let found =
        tampered(&fresh("removed"), &|json| drop(json["cases"].as_array_mut().unwrap().remove(0)), true);
    assert!(found.contains("the cases are not those of the profile"), "{found}");
    let found = tampered(&fresh("better"), &|json| json["cases"][0]["status"] = "refused".into(), true);
    assert!(found.contains("the verdict is not what the cases give"), "{found}");
    let found = tampered(&fresh("waived"), &|json| json["cases"][0]["status"] = "waived".into(), true);
    assert!(found.contains("no waiver in force"), "{found}");
    let found = tampered(&fresh("duty"), &|json| json["cases"][0]["duty"] = "may".into(), true);
    assert!(found.contains("duty"), "{found}");
    let found = tampered(&fresh("dated"), &|json| json["date"] = "2999-01-01".into(), true);
    assert!(found.contains("date"), "{found}");

    let folder = fresh("capability");
    let path = folder.join("capability.json");
    fs::write(&path, fs::read_to_string(&path).unwrap().replacen("exact", "off-by-one", 1)).unwrap();
    let error = report::verify(&folder, None, TODAY).unwrap_err().to_string();
    assert!(error.contains("capability.json is not the document"), "{error}");

    let folder = fresh("markdown");
    fs::write(folder.join("report.md"), "# conforms").unwrap();
    let error = report::verify(&folder, None, TODAY).unwrap_err().to_string();
    assert!(error.contains("report.md"), "{error}");

    let folder = fresh("other-library");
    let library = folder.join("some.so");
    fs::write(&library, b"not it").unwrap();
    let error = report::verify(&folder, Some(&library), TODAY).unwrap_err().to_string();
    assert!(error.contains("the library is not the one"), "{error}");
}

#[test]
fn files_that_are_no_report_are_named() {
    let folder = folder("none");
    assert_eq!(report::read(&folder).unwrap_err().kind(), KitErrorKind::Read);
    fs::create_dir_all(&folder).unwrap();
    for text in ["", "[]", "{\"schema\": 99}", "{\"schema\": 1}"] {
        fs::write(folder.join("report.json"), text).unwrap();
        assert_eq!(report::read(&folder).unwrap_err().kind(), KitErrorKind::Report, "{text}");
    }
}

#[test]
fn waivers_turn_failures_and_passes() {
    let waiver = "case op_int/relu/**\nreason none\nissue #1\nexpires 2026-02-01\n";
    let report = report_of("int8-static", Some("op_int/relu/**"), waiver);
    assert!(report.cases.iter().all(|case| case.status.name() == "unexpected-pass"));
    assert!(!report.verdict.conforms);
    let expired = waiver.replace("2026-02-01", "2026-01-30");
    let report = report_of("int8-static", Some("op_int/relu/**"), &expired);
    assert!(report.cases.iter().all(|case| case.status.name() == "passed"));
}

#[test]
fn reports_are_compared_case_by_case() {
    let old = report_of("int8-static", Some("op_int/relu/**"), "");
    let mut new = old.clone();
    assert!(report::compare(&old, &new).is_empty());
    new.cases[0].status = fewbit_conformance::Status::Failed;
    let gone = new.cases.remove(1);
    let changes = report::compare(&old, &new);
    assert_eq!(changes.len(), 2);
    assert!(changes.iter().all(report::Change::is_regression));
    assert!(changes.iter().any(|change| change.id == gone.id && change.after.is_none()));
}

#[test]
fn a_filter_that_names_nothing_is_an_error() {
    let subject = Arc::new(devices::builtin("cpu").unwrap());
    let mut options = options();
    options.filter = Some("op_int/nothing/**".to_owned());
    let profile = Profile::named("core").unwrap();
    let error = run(&subject, &profile, &Waivers::default(), &options, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), KitErrorKind::Case);
}
