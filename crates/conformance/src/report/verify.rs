//! Checking a report again: against itself, the files beside it, the suite and the profile it claims.

use std::collections::BTreeSet;
use std::path::Path;

use fewbit_core::capability::Capability;

use super::files::{CAPABILITY, MANIFEST, derived, read_bounded};
use super::{Report, coverage, differences, families, judge, read, sha256, totals};
use crate::case::Status;
use crate::error::{KitError, KitErrorKind, Result};
use crate::profile::Profile;
use crate::suites;

/// What a verified report claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who was tested.
    pub subject: String,
    /// The profile.
    pub profile: String,
    /// Whether the device conforms to it.
    pub conforms: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// Checks the report in `folder`; `library` is the file it claims to be of, and `manifest` its manifest, where they are
/// at hand.
///
/// # Errors
/// [`KitErrorKind::Tampered`] naming every statement that does not hold; as [`read`].
pub fn verify(folder: &Path, library: Option<&Path>, today: &str) -> Result<Claim> {
    let report = read(folder)?;
    let mut wrong: Vec<String> = Vec::new();
    let mut hold = |condition: bool, message: &str| {
        if !condition {
            wrong.push(message.to_owned());
        }
    };
    hold(report.digest == report.own_digest(), "the digest is not that of report.json");
    hold(
        report.kit.suite == crate::SUITE_VERSION,
        "it is of another suite version than this kit's, which cannot know its cases",
    );
    hold(
        crate::waiver::is_date(&report.date) && report.date.as_str() <= today,
        "its date is none, or to come",
    );
    let beside = |name: &str| read_bounded(&folder.join(name));
    let capability = beside(CAPABILITY)?;
    hold(
        sha256(&capability) == report.capability_sha256,
        "capability.json is not the document that was tested",
    );
    let document =
        std::str::from_utf8(&capability).ok().and_then(|text| Capability::from_json(text, CAPABILITY).ok());
    match &report.subject.manifest_sha256 {
        Some(expected) => hold(
            beside(MANIFEST).is_ok_and(|bytes| sha256(&bytes) == *expected),
            "manifest.toml is not the manifest that was tested",
        ),
        None => hold(!folder.join(MANIFEST).exists(), "there is a manifest, and the report names none"),
    }
    if let Some(library) = library {
        let found = sha256(&read_bounded(library)?);
        hold(
            report.subject.library_sha256.as_ref() == Some(&found),
            "the library is not the one that was tested",
        );
    }
    for (name, text) in derived(&report) {
        hold(
            beside(name).is_ok_and(|bytes| bytes == text.as_bytes()),
            &format!("{name} is not what report.json gives"),
        );
    }
    hold(report.totals == totals(&report.cases), "the totals are not those of the cases");
    hold(report.coverage == coverage(&report.cases), "the coverage is not that of the cases");
    hold(report.families == families(&report.cases), "the families are not those of the cases");
    hold(report.differences == differences(&report.cases), "the differences are not those of the cases");
    let profile = Profile::named(&report.profile.name)?;
    hold(profile.digest() == report.profile.sha256, "the profile is not the one of this kit");
    match document {
        Some(document) => cases(&report, &profile, &document, &mut hold),
        None => hold(false, "capability.json is no capability document"),
    }
    if !wrong.is_empty() {
        return Err(KitError::new(KitErrorKind::Tampered, wrong.join("; ")).in_file(folder));
    }
    Ok(Claim {
        subject: format!("{} {}", report.subject.id, report.subject.version),
        profile: report.profile.name,
        conforms: report.verdict.conforms,
        reasons: report.verdict.reasons,
    })
}

/// Every case of the profile is there once, with the duty it has, and no waived one without a waiver.
fn cases(report: &Report, profile: &Profile, document: &Capability, hold: &mut dyn FnMut(bool, &str)) {
    let expected: BTreeSet<String> = suites::all(document)
        .into_iter()
        .map(|case| case.id)
        .filter(|id| profile.duty(id).is_some())
        .filter(|id| {
            let filter = report.profile.filter.clone().map(crate::pattern::Pattern);
            filter.is_none_or(|filter| filter.matches(id))
        })
        .collect();
    let found: BTreeSet<String> = report.cases.iter().map(|case| case.id.clone()).collect();
    hold(found.len() == report.cases.len(), "a case is there twice");
    hold(expected == found, "the cases are not those of the profile");
    for case in &report.cases {
        hold(
            profile.duty(&case.id) == Some(case.duty),
            &format!("the duty of {} is not the profile's", case.id),
        );
        let waiver = report.waivers.of(&case.id, &report.date);
        hold(
            waiver.is_some() || !matches!(case.status, Status::Waived | Status::UnexpectedPass),
            &format!("{} is waived, and no waiver in force says so", case.id),
        );
        let holds = case.measure.as_ref().is_none_or(crate::compare::Measure::holds);
        hold(
            holds || !matches!(case.status, Status::Passed | Status::Mistrusted),
            &format!("{} passed, and its measure is beyond its bound", case.id),
        );
    }
    let numerics = crate::subject::least_exact(document);
    let verdict = judge(profile, numerics, &report.cases, report.profile.filter.is_some());
    hold(verdict == report.verdict, "the verdict is not what the cases give");
}
