//! Reports: what a run found, who was tested, and the files it is written to.
//!
//! `report.json` holds everything; `report.md`, `cases.csv` and `junit.xml` are made from it, and `capability.json` and
//! the manifest lie beside it. [`verify`] checks them against each other and against the profile.

mod differ;
mod files;
mod text;
mod verify;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use differ::{Change, compare};
pub use files::{read, read_text, write};
pub use text::{csv, junit, markdown};
pub use verify::{Claim, verify};

use crate::case::{Status, family};
use crate::profile::{Duty, Profile, hex};
use crate::run::{CaseResult, RunOptions};
use crate::subject::{Identity, Subject};
use crate::waiver::Waivers;

/// The version of the report's form.
pub const REPORT_SCHEMA: u32 = 1;
/// Least share of single changes of its outputs that a family must notice to be trusted.
const LEAST_POWER: f64 = 0.9;

/// The kit that made a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kit {
    /// Its version.
    pub version: String,
    /// The version of its suites.
    pub suite: u32,
    /// The newest ABI it speaks.
    pub abi: String,
}

/// The profile that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileOf {
    /// Its name.
    pub name: String,
    /// SHA-256 of its text.
    pub sha256: String,
    /// Whether only some of its cases were run; such a report proves nothing as a whole.
    pub filter: Option<String>,
}

/// The device and the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The device's id.
    pub device: String,
    /// What people call it.
    pub title: String,
    /// Driver, kernels, build.
    pub detail: String,
    /// The operating system.
    pub os: String,
    /// The host's architecture.
    pub arch: String,
}

/// How many cases of an operator and form ended how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// The operator.
    pub operator: String,
    /// The form of quantized values; empty of float cases.
    pub form: String,
    /// Cases by status.
    pub cases: BTreeMap<String, usize>,
}

/// A family of cases and what its comparisons would notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// The first three parts of the ids.
    pub family: String,
    /// Cases that were compared.
    pub cases: usize,
    /// Mean share of single changes of expected outputs that comparisons notice.
    pub power: f64,
    /// Whether that is too little.
    pub weak: bool,
}

/// Whether what an operator's cases declare was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The operator.
    pub operator: String,
    /// The form of quantized values.
    pub form: String,
    /// What differs.
    pub what: String,
}

/// The answer of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Whether the device may claim the profile.
    pub conforms: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// Everything that a run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`REPORT_SCHEMA`].
    pub schema: u32,
    /// The kit.
    pub kit: Kit,
    /// The profile.
    pub profile: ProfileOf,
    /// Who was tested.
    pub subject: Identity,
    /// Where.
    pub machine: Machine,
    /// SHA-256 of `capability.json` beside the report.
    pub capability_sha256: String,
    /// The day of the run.
    pub date: String,
    /// Seconds the run took.
    pub seconds: f64,
    /// The answer.
    pub verdict: Verdict,
    /// Cases by status.
    pub totals: BTreeMap<String, usize>,
    /// Cases by operator and form.
    pub coverage: Vec<Coverage>,
    /// What families of cases would notice.
    pub families: Vec<Family>,
    /// What is declared and was not proven, or proven and is not declared.
    pub differences: Vec<Difference>,
    /// The waivers that were in force.
    pub waivers: Waivers,
    /// Every case.
    pub cases: Vec<CaseResult>,
    /// SHA-256 of this document with this field empty: finds what was changed by accident or by hand, not by intent.
    pub digest: String,
}

impl Report {
    pub(crate) fn new(
        subject: &Subject,
        profile: &Profile,
        waivers: &Waivers,
        options: &RunOptions,
        cases: Vec<CaseResult>,
        elapsed: Duration,
    ) -> Self {
        let info = subject.device().map(|device| device.info().clone()).ok();
        let machine = Machine {
            device: info.as_ref().map(|info| info.id.clone()).unwrap_or_default(),
            title: info.as_ref().map(|info| info.title.clone()).unwrap_or_default(),
            detail: info.map(|info| info.detail).unwrap_or_default(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
        };
        let report = Self {
            schema: REPORT_SCHEMA,
            kit: Kit {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                suite: crate::SUITE_VERSION,
                abi: crate::subject::host_abi(),
            },
            profile: ProfileOf {
                name: profile.name.clone(),
                sha256: profile.digest(),
                filter: options.filter.clone(),
            },
            subject: subject.identity.clone(),
            machine,
            capability_sha256: sha256(subject.capability.to_json().as_bytes()),
            date: options.today.clone(),
            seconds: (elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            verdict: judge(profile, subject.numerics(), &cases, options.filter.is_some()),
            totals: totals(&cases),
            coverage: coverage(&cases),
            families: families(&cases),
            differences: differences(&cases),
            waivers: waivers.clone(),
            cases,
            digest: String::new(),
        };
        report.sealed()
    }

    /// The report with the digest of its present content.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.digest = self.own_digest();
        self
    }

    /// SHA-256 of the report as JSON with an empty digest.
    pub(crate) fn own_digest(&self) -> String {
        let copy = Self { digest: String::new(), ..self.clone() };
        sha256(copy.to_json().as_bytes())
    }

    /// The report as indented JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has text keys and finite figures") + "\n"
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The answer that results give.
pub(crate) fn judge(
    profile: &Profile,
    numerics: fewbit_core::capability::Numerics,
    cases: &[CaseResult],
    filtered: bool,
) -> Verdict {
    let mut reasons = Vec::new();
    if filtered {
        reasons.push("only some cases were run".to_owned());
    }
    if !profile.allows(numerics) {
        reasons.push(format!("the profile does not allow integers that are {}", numerics_name(numerics)));
    }
    for case in cases {
        let spoils = match case.status {
            Status::Failed
            | Status::Crashed
            | Status::TimedOut
            | Status::UnexpectedPass
            | Status::Untested => true,
            Status::Refused => case.duty == Duty::Must,
            Status::Passed | Status::NotApplicable | Status::Waived | Status::Mistrusted => false,
        };
        if spoils {
            reasons.push(format!("{} {}", case.id, case.status.name()));
        }
    }
    if !filtered {
        for pattern in &profile.must {
            let proven = cases.iter().any(|case| case.status == Status::Passed && pattern.matches(&case.id));
            if !proven {
                reasons.push(format!("no case of {} passed", pattern.0));
            }
        }
    }
    Verdict { conforms: reasons.is_empty(), reasons }
}

fn numerics_name(numerics: fewbit_core::capability::Numerics) -> &'static str {
    match numerics {
        fewbit_core::capability::Numerics::Exact => "exact",
        fewbit_core::capability::Numerics::OffByOne => "off by one",
        fewbit_core::capability::Numerics::Tolerance => "within a tolerance only",
    }
}

pub(crate) fn totals(cases: &[CaseResult]) -> BTreeMap<String, usize> {
    let mut totals: BTreeMap<String, usize> =
        Status::ALL.into_iter().map(|status| (status.name().to_owned(), 0)).collect();
    for case in cases {
        *totals.entry(case.status.name().to_owned()).or_default() += 1;
    }
    totals
}

/// Cases by operator and form, in the order of names.
pub(crate) fn coverage(cases: &[CaseResult]) -> Vec<Coverage> {
    let mut table: BTreeMap<(&str, &str), BTreeMap<String, usize>> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.id.starts_with("op_")) {
        let row = table.entry((&case.operator, &case.form)).or_default();
        *row.entry(case.status.name().to_owned()).or_default() += 1;
    }
    table
        .into_iter()
        .map(|((operator, form), cases)| Coverage {
            operator: operator.to_owned(),
            form: form.to_owned(),
            cases,
        })
        .collect()
}

pub(crate) fn families(cases: &[CaseResult]) -> Vec<Family> {
    let mut table: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for case in cases {
        if let Some(power) = case.power {
            table.entry(family(&case.id)).or_default().push(power);
        }
    }
    table
        .into_iter()
        .map(|(family, powers)| {
            let power = powers.iter().sum::<f64>() / powers.len() as f64;
            Family { family: family.to_owned(), cases: powers.len(), power, weak: power < LEAST_POWER }
        })
        .collect()
}

pub(crate) fn differences(cases: &[CaseResult]) -> Vec<Difference> {
    let mut table: BTreeMap<(&str, &str), [usize; 3]> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.id.starts_with("op_")) {
        let Some(declared) = case.declared else { continue };
        let row = table.entry((&case.operator, &case.form)).or_default();
        let passed = case.status == Status::Passed;
        row[0] += usize::from(declared && passed);
        row[1] += usize::from(declared && case.status.is_failure());
        row[2] += usize::from(!declared && passed);
    }
    let mut differences = Vec::new();
    for ((operator, form), [proven, broken, more]) in table {
        let mut push = |what: String| {
            differences.push(Difference { operator: operator.to_owned(), form: form.to_owned(), what });
        };
        if broken > 0 {
            push(format!("declared, but {broken} of {} cases do not hold", proven + broken));
        }
        if more > 0 {
            push(format!("not declared, but {more} cases pass"));
        }
    }
    differences
}
