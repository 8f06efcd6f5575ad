//! The error of this crate.

use std::fmt;

use fewbit_core::CoreError;

/// What went wrong, for programs that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TfliteErrorKind {
    /// Bytes that are not a TFLite model.
    Malformed,
    /// A version of the format that this build does not know.
    Version,
    /// A node that TFLite has no form for.
    Export,
    /// An operator or a form of TFLite that has no meaning here.
    Import,
}

fewbit_core::kinds_with_codes! { TfliteErrorKind {
    Malformed = "TFL-MALFORMED", "not a TFLite model",
        "The bytes are not a flatbuffer of TFLite's schema, or point outside themselves.",
        "Check that the file was copied whole, and that it is the .tflite itself.";
    Version = "TFL-VERSION", "a version out of reach",
        "The file is of another version of TFLite's schema than 3, the only one in use since 2017.",
        "Convert the model again with a current converter.";
    Export = "TFL-EXPORT", "no form in TFLite",
        "The program holds a node, an element type or parameters that TFLite's operators do not have.",
        "Keep the node in float with --pin NODE=f32, or write ONNX: give the output a name that ends with .onnx.";
    Import = "TFL-IMPORT", "no meaning for TFLite's operator",
        "The file holds an operator, an element type or a form that this build cannot turn into its own operators.",
        "Convert the model to ONNX from where it was trained, or leave the operator out of the part that is deployed.";
} }

/// An error of reading or writing TFLite: kind, place, message and remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub struct TfliteError {
    kind: TfliteErrorKind,
    message: String,
    place: Option<String>,
    help: Option<String>,
}

impl TfliteError {
    pub(crate) fn new(kind: TfliteErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, help: None }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(TfliteErrorKind::Malformed, message)
    }

    pub(crate) fn export(message: impl Into<String>) -> Self {
        Self::new(TfliteErrorKind::Export, message)
    }

    pub(crate) fn import(message: impl Into<String>) -> Self {
        Self::new(TfliteErrorKind::Import, message)
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
    pub fn kind(&self) -> TfliteErrorKind {
        self.kind
    }

    /// The stable code, which `fewbit explain` understands.
    pub fn code(&self) -> &'static str {
        self.kind.entry().code
    }

    /// The node that it is about.
    pub fn node_path(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// What to do about it, where there is an answer.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl From<CoreError> for TfliteError {
    fn from(error: CoreError) -> Self {
        Self::export(error.to_string())
    }
}

impl fmt::Display for TfliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The result of this crate's fallible functions.
pub(crate) type Result<T, E = TfliteError> = std::result::Result<T, E>;
