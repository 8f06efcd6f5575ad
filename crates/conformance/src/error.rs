//! The error of this crate.

use std::fmt;
use std::path::Path;

use fewbit_core::CoreError;

/// What went wrong, for programs that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KitErrorKind {
    /// A file that cannot be read or written.
    Read,
    /// A profile that does not follow its form, or that is not there.
    Profile,
    /// A waiver without reason, issue or date, or of another form.
    Waiver,
    /// A report of another form or version.
    Report,
    /// A report that does not agree with itself, its files or its profile.
    Tampered,
    /// There is no such case.
    Case,
    /// The device cannot be opened or does not answer.
    Subject,
    /// The kit itself failed: a defect of ours.
    Kit,
}

fewbit_core::kinds_with_codes! { KitErrorKind {
    Read = "KIT-READ", "a file that cannot be read or written",
        "The operating system refused to read or write a file of the run.",
        "Check the path and the permissions.";
    Profile = "KIT-PROFILE", "a profile that cannot be used",
        "There is no built-in profile of that name, or a line of the file is of no known form.",
        "Choose one that `conformance list` names; docs/vendor/conformance.md describes the form.";
    Waiver = "KIT-WAIVER", "a waiver that cannot be used",
        "A waiver needs a case pattern, a reason, an issue and an expiry date of the form 2030-12-31.",
        "Complete the line that the message names.";
    Report = "KIT-REPORT", "a report of another form",
        "The folder holds no report, or one that this version of the kit cannot read.",
        "Make the report again with this version of the kit.";
    Tampered = "KIT-TAMPERED", "a report that does not hold",
        "What the report states does not agree with itself, with the files beside it or with the profile it claims.",
        "Make the report again with `conformance run`; a report is never edited.";
    Case = "KIT-CASE", "a case that does not exist",
        "No case of this suite version has that id.",
        "Choose one that `conformance list` prints.";
    Subject = "KIT-SUBJECT", "a device that does not answer",
        "The backend or plugin cannot be loaded, has no device, or its capability document cannot be used.",
        "The message repeats what the backend said.";
    Kit = "KIT-DEFECT", "a defect of the kit",
        "A case could not be generated, or its expected output could not be computed. That says nothing of the device.",
        "Report it with the id of the case.";
} }

/// An error of the kit: kind, place, message and remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub struct KitError {
    kind: KitErrorKind,
    message: String,
    place: Option<String>,
    help: Option<String>,
}

impl KitError {
    pub(crate) fn new(kind: KitErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, help: None }
    }

    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        self.place = Some(path.display().to_string());
        self
    }

    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> KitErrorKind {
        self.kind
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.kind.entry().code
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        self.help.as_deref().unwrap_or(self.kind.entry().remedy)
    }
}

impl fmt::Display for KitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// What the core refuses here, the kit itself made.
impl From<CoreError> for KitError {
    fn from(error: CoreError) -> Self {
        Self::new(KitErrorKind::Kit, error.to_string())
    }
}

/// The result of this crate's fallible functions.
pub(crate) type Result<T, E = KitError> = std::result::Result<T, E>;
