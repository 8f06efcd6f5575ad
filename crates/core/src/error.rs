//! The error of this crate: what was expected, what was found, where, and what to do.

use std::fmt;

/// What went wrong, for programs that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CoreErrorKind {
    /// A tensor's bytes, element type and shape do not fit together.
    Tensor,
    /// The graph's structure is broken: a missing value, a cycle, two nodes with one name.
    Structure,
    /// Shapes or element types contradict each other or the operator's definition.
    Shape,
    /// A shape that must be known is not: a free dimension is left.
    Dynamic,
    /// An operator this build cannot infer, run or lower.
    Unsupported,
    /// Quantization parameters or a scheme that cannot be.
    Quantization,
    /// A capability document or target description that contradicts itself or its schema.
    Capability,
    /// A plan that does not fit its graph, target or itself.
    Plan,
    /// A backend failed while compiling or running.
    Backend,
}

impl CoreErrorKind {
    /// The area of the stable error code.
    fn area(self) -> &'static str {
        match self {
            CoreErrorKind::Tensor => "TENSOR",
            CoreErrorKind::Structure => "GRAPH",
            CoreErrorKind::Shape => "SHAPE",
            CoreErrorKind::Dynamic => "DYN",
            CoreErrorKind::Unsupported => "OP",
            CoreErrorKind::Quantization => "QUANT",
            CoreErrorKind::Capability => "CAP",
            CoreErrorKind::Plan => "PLAN",
            CoreErrorKind::Backend => "BACKEND",
        }
    }
}

/// An error of the core: kind, place, message and remedy.
///
/// Messages are lower-case, without a final full stop, and name what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CoreError {
    kind: CoreErrorKind,
    message: String,
    place: Option<String>,
    help: Option<String>,
}

impl CoreError {
    /// An error of `kind` with `message`, without a place and a remedy so far.
    pub fn new(kind: CoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, help: None }
    }

    /// The same error at `place` (a node's or value's name, a file and line), unless it has one already.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    /// The same error with what to do about it, unless it has a remedy already.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> CoreErrorKind {
        self.kind
    }

    /// The stable code, which `fewbit explain` understands.
    pub fn code(&self) -> &'static str {
        self.kind.area()
    }

    /// Where it went wrong, where that is known.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// What to do about it, where there is an answer.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The result of this crate's fallible functions.
pub type Result<T, E = CoreError> = std::result::Result<T, E>;
