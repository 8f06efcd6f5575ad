//! The error of this crate.

use std::fmt;
use std::path::Path;

use fewbit_core::CoreError;

/// What went wrong, for programs that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CalibrateErrorKind {
    /// A file or folder that cannot be read.
    Read,
    /// A file whose content is not what its name says.
    Format,
    /// A dataset that does not fit the model: no samples, other inputs, other extents.
    Dataset,
    /// A preprocessing description that cannot be understood.
    Preprocess,
    /// The model failed while running, or its results cannot be judged.
    Run,
}

fewbit_core::kinds_with_codes! { CalibrateErrorKind {
    Read = "DATA-READ", "data that cannot be read",
        "The operating system refused to open, list or read a file or folder of the data.",
        "Check the path and the permissions.";
    Format = "DATA-FORMAT", "a file that is not what its name says",
        "An image does not decode, an array is no .npy, or a table of labels has a line of another form. The message \
         names the file.",
        "Remove or replace the file; a line of labels.csv is `file,label` with a whole number.";
    Dataset = "DATA-SET", "data that does not fit the model",
        "There are no samples, too few labels, or arrays of other extents or names than the model's inputs.",
        "Compare the data with `fewbit inspect MODEL`: arrays are named after the inputs, their first axis counts \
         samples.";
    Preprocess = "DATA-PREPROCESS", "preprocessing that cannot be",
        "The description given with --preprocess or --ranges is not understood, or what it makes of a picture is not \
         the shape of the model's input.",
        "Write it as resize=256,crop=224,mean=127.5,std=127.5,layout=nchw,channels=rgb, with the extents that \
         `fewbit inspect MODEL` shows.";
    Run = "DATA-RUN", "results that cannot be judged",
        "The model ran, but what came out cannot be used: a value that is not a number, or outputs that do not fit \
         the reference's.",
        "Run the float model on the sample that the message names, and check --preprocess and --shape.";
} }

/// An error of calibration: kind, place, message and remedy.
#[derive(Debug, thiserror::Error)]
pub struct CalibrateError {
    kind: CalibrateErrorKind,
    message: String,
    place: Option<String>,
    help: Option<String>,
    source: Option<Box<CoreError>>,
}

impl CalibrateError {
    pub(crate) fn new(kind: CalibrateErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, help: None, source: None }
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
    pub fn kind(&self) -> CalibrateErrorKind {
        self.kind
    }

    /// The stable code, which `fewbit explain` understands.
    pub fn code(&self) -> &'static str {
        self.source.as_ref().map_or_else(|| self.kind.entry().code, |source| source.code())
    }

    /// Where it went wrong: a file, a sample, a node.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref().or_else(|| self.source.as_ref().and_then(|source| source.place()))
    }

    /// What to do about it, where there is an answer.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref().or_else(|| self.source.as_ref().and_then(|source| source.remedy()))
    }
}

impl fmt::Display for CalibrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl From<CoreError> for CalibrateError {
    fn from(error: CoreError) -> Self {
        Self {
            kind: CalibrateErrorKind::Run,
            message: error.to_string(),
            place: None,
            help: None,
            source: Some(Box::new(error)),
        }
    }
}

/// The result of this crate's fallible functions.
pub(crate) type Result<T, E = CalibrateError> = std::result::Result<T, E>;
