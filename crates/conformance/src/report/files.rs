//! Writing and reading the folder of a report.

use std::fs;
use std::path::{Path, PathBuf};

use super::{REPORT_SCHEMA, Report, csv, junit, markdown};
use crate::error::{KitError, KitErrorKind, Result};
use crate::subject::Subject;

/// The report itself.
pub(crate) const REPORT: &str = "report.json";
/// The capability document that was tested.
pub(crate) const CAPABILITY: &str = "capability.json";
/// The manifest that was tested, of a plugin.
pub(crate) const MANIFEST: &str = "manifest.toml";
/// Longest report that is read.
const LONGEST: u64 = 256 << 20;

/// The files that are made from the report alone.
pub(super) fn derived(report: &Report) -> [(&'static str, String); 3] {
    [("report.md", markdown(report)), ("cases.csv", csv(report)), ("junit.xml", junit(report))]
}

/// Writes a report with everything that [`verify`](super::verify) reads into `folder`.
///
/// # Errors
/// [`KitErrorKind::Read`] when a file cannot be written.
pub fn write(report: &Report, subject: &Subject, manifest: Option<&Path>, folder: &Path) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| {
            KitError::new(KitErrorKind::Read, format!("cannot be written: {error}")).in_file(&path)
        }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let put = |name: &str, text: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(failed(&path))
    };
    put(REPORT, report.to_json().as_bytes())?;
    put(CAPABILITY, subject.capability.to_json().as_bytes())?;
    if let Some(manifest) = manifest {
        put(MANIFEST, &read_bounded(manifest)?)?;
    }
    for (name, text) in derived(report) {
        put(name, text.as_bytes())?;
    }
    Ok(())
}

/// Reads the report in `folder`, or the file itself.
///
/// # Errors
/// [`KitErrorKind::Read`] when it cannot be read, [`KitErrorKind::Report`] when it is none of this version.
pub fn read(folder: &Path) -> Result<Report> {
    let path: PathBuf = if folder.is_dir() { folder.join(REPORT) } else { folder.to_owned() };
    let bytes = read_bounded(&path)?;
    let fail = |message: String| KitError::new(KitErrorKind::Report, message).in_file(&path);
    let value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| fail(format!("expected a report as JSON: {error}")))?;
    let schema = value.get("schema").and_then(serde_json::Value::as_u64);
    if schema != Some(u64::from(REPORT_SCHEMA)) {
        let found = schema.map_or_else(|| "none".to_owned(), |schema| schema.to_string());
        return Err(fail(format!("expected report schema {REPORT_SCHEMA}, found {found}")));
    }
    serde_json::from_value(value).map_err(|error| fail(format!("expected a report: {error}")))
}

/// A file of at most [`LONGEST`] bytes.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let fail = |message: String| KitError::new(KitErrorKind::Read, message).in_file(path);
    let length = fs::metadata(path).map_err(|error| fail(format!("cannot be read: {error}")))?.len();
    if length > LONGEST {
        return Err(fail(format!("expected at most {LONGEST} bytes, found {length}")));
    }
    fs::read(path).map_err(|error| fail(format!("cannot be read: {error}")))
}

/// A text file: a profile or a list of waivers.
///
/// # Errors
/// [`KitErrorKind::Read`] when it cannot be read or is no UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let text = String::from_utf8(read_bounded(path)?);
    text.map_err(|_| KitError::new(KitErrorKind::Read, "expected UTF-8").in_file(path))
}
