//! What a call answers when it does not succeed: a status, reasons, a node and a sentence.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use fewbit_abi as abi;

/// The result of everything a plugin does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is; the numbers are the header's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// The caller broke a rule of the header.
    InvalidArgument = abi::INVALID_ARGUMENT,
    /// A fair question, answered no.
    Unsupported = abi::UNSUPPORTED,
    /// Memory could not be had.
    OutOfMemory = abi::OUT_OF_MEMORY,
    /// A blob or an extension of another version.
    Incompatible = abi::INCOMPATIBLE,
    /// The device is gone: from now on the host only frees and closes.
    DeviceLost = abi::DEVICE_LOST,
    /// The host refused to take more.
    Cancelled = abi::CANCELLED,
    /// A defect of the plugin.
    Internal = abi::INTERNAL,
}

/// Why something was refused; combine with `|`. There is always at least one reason.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Why(u32);

impl Why {
    /// The operator.
    pub const OP: Why = Why(abi::WHY_OP);
    /// An element type.
    pub const DTYPE: Why = Why(abi::WHY_DTYPE);
    /// Symmetric, affine, … or none.
    pub const SCHEME: Why = Why(abi::WHY_SCHEME);
    /// What shares a scale.
    pub const GRANULARITY: Why = Why(abi::WHY_GRANULARITY);
    /// The number of dimensions.
    pub const RANK: Why = Why(abi::WHY_RANK);
    /// An extent, or a buffer too short.
    pub const SHAPE: Why = Why(abi::WHY_SHAPE);
    /// An attribute or its value.
    pub const ATTRIBUTE: Why = Why(abi::WHY_ATTRIBUTE);
    /// An address or a stride.
    pub const ALIGNMENT: Why = Why(abi::WHY_ALIGNMENT);
    /// It does not fit the device.
    pub const MEMORY: Why = Why(abi::WHY_MEMORY);
    /// The driver is missing, or of the wrong version.
    pub const DRIVER: Why = Why(abi::WHY_DRIVER);
    /// Another library or file is missing.
    pub const DEPENDENCY: Why = Why(abi::WHY_DEPENDENCY);
    /// A licence is missing.
    pub const LICENSE: Why = Why(abi::WHY_LICENSE);

    /// The header's bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every reason of `other` is among these.
    pub const fn contains(self, other: Why) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Why {
    type Output = Why;

    fn bitor(self, other: Why) -> Why {
        Why(self.0 | other.0)
    }
}

impl BitOrAssign for Why {
    fn bitor_assign(&mut self, other: Why) {
        self.0 |= other.0;
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = abi::REASONS.iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| *name);
        f.write_str(names.next().unwrap_or("none"))?;
        names.try_for_each(|name| write!(f, ", {name}"))
    }
}

impl fmt::Debug for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Why({self})")
    }
}

/// The answer to one node of `supports`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict(Option<Why>);

impl Verdict {
    /// The device runs the node: a promise that a program of such nodes compiles.
    pub const fn yes() -> Verdict {
        Verdict(None)
    }

    /// The device does not run the node.
    pub const fn no(why: Why) -> Verdict {
        Verdict(Some(why))
    }

    /// Whether it is a yes.
    pub const fn is_yes(self) -> bool {
        self.0.is_none()
    }

    /// The reasons of a no.
    pub const fn why(self) -> Option<Why> {
        self.0
    }
}

/// `Ok` is a yes; an error is a no with its reasons, or, where it has none, for the operator as a whole.
///
/// Lets one function that checks a node serve `supports` and `compile`.
impl<T> From<Result<T>> for Verdict {
    fn from(checked: Result<T>) -> Verdict {
        match checked {
            Ok(_) => Verdict::yes(),
            Err(error) => Verdict::no(error.why.unwrap_or(Why::OP)),
        }
    }
}

/// A failure as the host will show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub(crate) status: Status,
    pub(crate) why: Option<Why>,
    pub(crate) node: Option<u32>,
    pub(crate) vendor_code: i32,
    pub(crate) message: String,
}

impl Error {
    /// An error of that status, without reasons. Messages are lower-case sentences that say what was expected and
    /// what was found.
    pub fn new(status: Status, message: impl Into<String>) -> Error {
        Error { status, why: None, node: None, vendor_code: 0, message: message.into() }
    }

    /// What was asked for is not supported, for these reasons.
    pub fn unsupported(why: Why, message: impl Into<String>) -> Error {
        Error { why: Some(why), ..Error::new(Status::Unsupported, message) }
    }

    /// The host broke a rule.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Status::InvalidArgument, message)
    }

    /// A defect of the plugin.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Status::Internal, message)
    }

    /// Memory of the device or of the host is exhausted.
    pub fn out_of_memory(message: impl Into<String>) -> Error {
        Error::new(Status::OutOfMemory, message).because(Why::MEMORY)
    }

    /// The device is gone.
    pub fn device_lost(message: impl Into<String>) -> Error {
        Error::new(Status::DeviceLost, message)
    }

    /// The same error, for these reasons too.
    #[must_use]
    pub fn because(mut self, why: Why) -> Error {
        self.why = Some(self.why.map_or(why, |before| before | why));
        self
    }

    /// The same error about the node of that index.
    #[must_use]
    pub fn at_node(mut self, index: usize) -> Error {
        self.node = u32::try_from(index).ok();
        self
    }

    /// The same error with a number of the vendor's own, such as a driver's.
    #[must_use]
    pub fn with_vendor_code(mut self, code: i32) -> Error {
        self.vendor_code = code;
        self
    }

    /// Its status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Its reasons, where it has any.
    pub fn why(&self) -> Option<Why> {
        self.why
    }

    /// The node it is about.
    pub fn node(&self) -> Option<u32> {
        self.node
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The header's form of it: the message cut to what fits, at a character's boundary, without NUL.
    pub(crate) fn to_abi(&self) -> abi::Error {
        let mut raw = abi::Error::clear();
        raw.vendor_code = self.vendor_code;
        raw.why = self.why.map_or(0, Why::bits);
        raw.node = self.node.unwrap_or(abi::ABSENT);
        let text = &self.message[..self.message.floor_char_boundary(raw.message.len() - 1)];
        for (to, from) in raw.message.iter_mut().zip(text.bytes()) {
            *to = if from == 0 { b'?' } else { from } as _;
        }
        raw
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
