//! The error of this crate.

use std::fmt;

use fewbit_core::CoreError;

/// What went wrong, for programs that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnnxErrorKind {
    /// A file that cannot be read or written.
    Read,
    /// Bytes that are not an ONNX model.
    Malformed,
    /// A version of the format or an operator set outside what this build knows.
    Version,
    /// A tensor whose parts contradict each other.
    Tensor,
    /// External data that is missing, too short, or outside the model's folder.
    External,
    /// A structure that is no graph: a missing value, a cycle, a name used twice.
    Structure,
    /// An attribute or input that the operator's definition does not allow.
    Attribute,
    /// A weight that is not a finite number.
    NotFinite,
    /// A graph that ONNX cannot express.
    Export,
}

impl OnnxErrorKind {
    fn code(self) -> &'static str {
        match self {
            OnnxErrorKind::Read => "ONNX-READ",
            OnnxErrorKind::Malformed => "ONNX-MALFORMED",
            OnnxErrorKind::Version => "ONNX-VERSION",
            OnnxErrorKind::Tensor => "ONNX-TENSOR",
            OnnxErrorKind::External => "ONNX-EXTERNAL",
            OnnxErrorKind::Structure => "ONNX-STRUCTURE",
            OnnxErrorKind::Attribute => "ONNX-ATTRIBUTE",
            OnnxErrorKind::NotFinite => "ONNX-NAN",
            OnnxErrorKind::Export => "ONNX-EXPORT",
        }
    }
}

/// An error of import or export: kind, place, message and remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub struct OnnxError {
    kind: OnnxErrorKind,
    message: String,
    place: Option<String>,
    help: Option<String>,
    source: Option<Box<CoreError>>,
}

impl OnnxError {
    pub(crate) fn new(kind: OnnxErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, help: None, source: None }
    }

    pub(crate) fn core(kind: OnnxErrorKind, error: CoreError) -> Self {
        Self { kind, message: error.to_string(), place: None, help: None, source: Some(Box::new(error)) }
    }

    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> OnnxErrorKind {
        self.kind
    }

    /// The stable code, which `fewbit explain` understands.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// The node, value or file that it is about.
    pub fn node_path(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// What to do about it, where there is an answer.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref().or_else(|| self.source.as_ref().and_then(|source| source.remedy()))
    }
}

impl fmt::Display for OnnxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The result of this crate's fallible functions.
pub(crate) type Result<T, E = OnnxError> = std::result::Result<T, E>;
