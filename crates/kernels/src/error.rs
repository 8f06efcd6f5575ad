//! The one error of this crate.

use std::fmt::Display;

/// What a [`KernelError`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KernelErrorKind {
    /// Sizes, strides, dilations or groups that describe no computation, or one too large to address.
    Shape,
    /// A slice whose length differs from what the shape needs.
    Length,
    /// A number outside its range: zero points, bounds, multipliers, units.
    Parameter,
    /// The output slice has another type than the epilogue produces.
    OutputType,
    /// Less scratch memory than the kernel asked for.
    Scratch,
}

impl KernelErrorKind {
    /// Stable code of this kind.
    pub fn code(self) -> &'static str {
        match self {
            KernelErrorKind::Shape => "KERN-001",
            KernelErrorKind::Length => "KERN-002",
            KernelErrorKind::Parameter => "KERN-003",
            KernelErrorKind::OutputType => "KERN-004",
            KernelErrorKind::Scratch => "KERN-005",
        }
    }
}

/// A kernel was given something it cannot work on. Nothing has been written when one is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KernelError {
    kind: KernelErrorKind,
    message: String,
}

impl KernelError {
    /// What it is about.
    pub fn kind(&self) -> KernelErrorKind {
        self.kind
    }

    /// Stable code, `KERN-NNN`.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    pub(crate) fn shape(message: String) -> Self {
        Self { kind: KernelErrorKind::Shape, message }
    }

    pub(crate) fn parameter(message: String) -> Self {
        Self { kind: KernelErrorKind::Parameter, message }
    }

    pub(crate) fn output_type(message: String) -> Self {
        Self { kind: KernelErrorKind::OutputType, message }
    }

    pub(crate) fn scratch(message: String) -> Self {
        Self { kind: KernelErrorKind::Scratch, message }
    }

    /// Refuses `found` elements in `what` where `expected` are needed.
    pub(crate) fn check_length(what: impl Display, expected: usize, found: usize) -> Result<(), Self> {
        if expected == found {
            return Ok(());
        }
        Err(Self {
            kind: KernelErrorKind::Length,
            message: format!(
                "expected {expected} elements in the {what}, found {found}; pass a slice of that length"
            ),
        })
    }
}
