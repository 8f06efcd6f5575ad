//! Plugins that may run inside this process, because somebody verified a passing report of exactly their library.
//!
//! Owns the records in the user's data folder, `fewbit/trusted/SHA256-OF-LIBRARY.json`. A report is no signature, and a
//! plugin may bring a forged one along: so a report that merely lies somewhere allows nothing. The user gives trust with
//! `plugins trust`, which verifies the report; from then on the record holds for as long as both files are, byte for
//! byte, what was verified.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fewbit_conformance::report;
use fewbit_plugin_host::{Manifest, hash_file};
use serde::{Deserialize, Serialize};

use crate::failure::{Missing, Untrusted, Usage};
use crate::files;

/// The file of a report's folder that everything else in it follows from.
const REPORT: &str = "report.json";
/// Longest record that is read.
const LONGEST: u64 = 1 << 16;

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The plugin's id.
    pub(crate) id: String,
    /// SHA-256 of the library that the report is of.
    pub(crate) library_sha256: String,
    /// The report's file.
    pub(crate) report: PathBuf,
    /// SHA-256 of that file.
    pub(crate) report_sha256: String,
    /// The profile that the plugin conforms to.
    pub(crate) profile: String,
}

/// The folder of the records; `None` where the user has no data folder.
fn folder() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(home);
    data.filter(|path| path.is_absolute()).map(|path| path.join("fewbit/trusted"))
}

fn place(folder: &Path, library_sha256: &str) -> PathBuf {
    folder.join(format!("{library_sha256}.json"))
}

/// Verifies the report in `reported` against the plugin's library, and records that it may run inside this process.
///
/// # Errors
/// [`Untrusted`] for a report of another library, one that does not conform, or one of a part of a profile;
/// [`fewbit_conformance::KitError`] for one that cannot be read or does not hold.
pub(crate) fn trust(manifest: &Manifest, reported: &Path) -> Result<Record> {
    let refuse = |message: String| Untrusted { place: reported.display().to_string(), message };
    let library = manifest.library_path();
    let hash = |path: &Path| hash_file(path).with_context(|| format!("cannot read {}", path.display()));
    manifest.check_hash()?;
    let library_sha256 = hash(&library)?;
    let file = reported.join(REPORT);
    // Hashed before it is verified and looked at again behind that: what is recorded is what was verified.
    let report_sha256 = hash(&file)?;
    let claim = report::verify(reported, Some(&library), &fewbit_conformance::today())?;
    let report = report::read(reported)?;
    if hash(&file)? != report_sha256 {
        return Err(refuse("the report changed while it was verified".to_owned()).into());
    }
    if report.subject.library_sha256.as_ref() != Some(&library_sha256) || report.subject.id != manifest.id {
        return Err(refuse(format!("it is not of the library of {}", manifest.id)).into());
    }
    if let Some(filter) = &report.profile.filter {
        let message =
            format!("it is of a part of {} ({filter}), which proves nothing as a whole", claim.profile);
        return Err(refuse(message).into());
    }
    if !claim.conforms {
        let reason = claim.reasons.first().cloned().unwrap_or_default();
        return Err(
            refuse(format!("{} does not conform to {}: {reason}", claim.subject, claim.profile)).into()
        );
    }
    let report = file.canonicalize().with_context(|| format!("cannot read {}", file.display()))?;
    let record =
        Record { id: manifest.id.clone(), library_sha256, report, report_sha256, profile: claim.profile };
    let folder = folder().ok_or_else(|| {
        Usage::new("expected a folder for the user's data, found neither XDG_DATA_HOME nor HOME")
            .help("set XDG_DATA_HOME to an absolute path")
    })?;
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let text = serde_json::to_string_pretty(&record).context("a record is plain JSON")?;
    files::write(&place(&folder, &record.library_sha256), text.as_bytes())?;
    Ok(record)
}

/// Takes the trust in a plugin's library back.
///
/// # Errors
/// [`Missing`] where there is none.
pub(crate) fn forget(manifest: &Manifest) -> Result<()> {
    let library = manifest.library_path();
    let hash = hash_file(&library).with_context(|| format!("cannot read {}", library.display()))?;
    let path = folder().map(|folder| place(&folder, &hash)).filter(|path| path.exists());
    let Some(path) = path else {
        let message = format!("expected a report that {} is trusted for, found none", manifest.id);
        return Err(Missing { message, help: "it runs in a process of its own already".to_owned() }.into());
    };
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Whether a plugin's library, as it is now, was verified with a report that is still what it was.
pub(crate) fn is_trusted(manifest: &Manifest) -> bool {
    let Some(folder) = folder() else { return false };
    let Ok(hash) = hash_file(&manifest.library_path()) else { return false };
    let path = place(&folder, &hash);
    // Most plugins have none.
    let Ok(length) = path.metadata().map(|metadata| metadata.len()) else { return false };
    let text = if length <= LONGEST { std::fs::read_to_string(&path).ok() } else { None };
    let Some(record) = text.and_then(|text| serde_json::from_str::<Record>(&text).ok()) else {
        tracing::warn!(record = %path.display(), "this record of trust cannot be read and is not used");
        return false;
    };
    let holds = record.id == manifest.id
        && record.library_sha256 == hash
        && hash_file(&record.report).is_ok_and(|found| found == record.report_sha256);
    if !holds {
        tracing::warn!(
            plugin = manifest.id, report = %record.report.display(),
            "the report that this plugin is trusted for is not there any more, or changed: it runs in a process of its own"
        );
    }
    holds
}
