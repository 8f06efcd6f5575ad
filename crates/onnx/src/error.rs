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

fewbit_core::kinds_with_codes! { OnnxErrorKind {
    Read = "ONNX-READ", "a model file that cannot be read",
        "The operating system refused to open or read the file.",
        "Check the path and the permissions.";
    Malformed = "ONNX-MALFORMED", "not an ONNX model",
        "The bytes are not a model in ONNX's form, or stop before their end.",
        "Check that the file was copied whole, and that it is the .onnx itself and not a pointer to it or an archive.";
    Version = "ONNX-VERSION", "a version out of reach",
        "The file's form or its operator set is older or newer than what this build knows.",
        "Export the model again for a set in the range that the message names, or convert it with \
         onnx.version_converter.";
    Tensor = "ONNX-TENSOR", "a tensor that contradicts itself",
        "The element type, the extents and the bytes of a tensor in the file do not fit together.",
        "Export the model again: the file was damaged or edited.";
    External = "ONNX-EXTERNAL", "external data that cannot be used",
        "The tensor's bytes lie in another file, which is missing, too short, or outside the model's folder. A model \
         may not read files elsewhere: it could be somebody else's.",
        "Keep the data file beside the model under the name that the model gives it, or save the model again with its \
         data inside.";
    Structure = "ONNX-STRUCTURE", "a file that describes no graph",
        "A value is read that nothing makes, a name is used twice, nodes wait for each other in a cycle, or there are \
         no outputs.",
        "Export the model again; if it was cut from a larger one, keep the weights that it reads.";
    Attribute = "ONNX-ATTRIBUTE", "an attribute or input against the operator's definition",
        "The node has an attribute or an input that its operator does not allow, or lacks one that it needs.",
        "Export the model again for a newer operator set, or run onnx.checker to see what else is wrong.";
    NotFinite = "ONNX-NAN", "weights that are not numbers",
        "A weight is NaN, so every result that depends on it is too, and no range can be chosen.",
        "Look at the training: it diverged, or the export went wrong. There is nothing to repair in the file.";
    Export = "ONNX-EXPORT", "no form in ONNX",
        "The program holds a node or parameters that ONNX cannot express.",
        "Keep the node in float with --pin NODE=f32, or report it.";
} }

/// An error of import or export: kind, place, message and remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub struct OnnxError {
    kind: OnnxErrorKind,
    message: String,
    place: Option<String>,
    help: Option<String>,
    source: Option<Box<CoreError>>,
    /// Whether the node is valid as far as is known, and only without a meaning here.
    lack: bool,
}

impl OnnxError {
    pub(crate) fn new(kind: OnnxErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, help: None, source: None, lack: false }
    }

    pub(crate) fn core(kind: OnnxErrorKind, error: CoreError) -> Self {
        Self {
            kind,
            message: error.to_string(),
            place: None,
            help: None,
            source: Some(Box::new(error)),
            lack: false,
        }
    }

    /// A form of an operator that has no meaning here, as [`fewbit_core::ir::Lack`] words it: the node is kept to be
    /// shown.
    pub(crate) fn lack(form: impl Into<String>) -> Self {
        Self { lack: true, ..Self::new(OnnxErrorKind::Attribute, form) }
    }

    /// Whether it is one by [`OnnxError::lack`]: then what it says, and what to do about it.
    pub(crate) fn as_lack(&self) -> Option<(&str, Option<&str>)> {
        self.lack.then_some((self.message.as_str(), self.help.as_deref()))
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
        self.kind.entry().code
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
