//! The four traits, one to one with the C ABI.

use std::sync::Arc;

use crate::capability::{Capability, Verdict};
use crate::error::Result;
use crate::ir::{DType, Graph, Tensor};
use crate::quant::QuantParams;

/// Whether a backend can be used on this machine, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// At least one device can be opened.
    Present,
    /// None can, for this reason.
    Absent {
        /// What is missing, in one sentence, and where it comes from.
        reason: String,
    },
}

/// A kind of hardware and the code that drives it.
pub trait Backend: Send + Sync {
    /// Short lower-case name: `cpu`, `cuda`.
    fn name(&self) -> &str;

    /// Whether it can be used here. Cheap, never fails, never crashes.
    fn availability(&self) -> Availability;

    /// The devices it finds.
    ///
    /// # Errors
    /// [`CoreErrorKind::Backend`](crate::CoreErrorKind::Backend) when the driver answers but fails.
    fn devices(&self) -> Result<Vec<Arc<dyn Device>>>;
}

/// What a device is called and built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Identifies the device in plans and on the command line: `cpu`, `cuda:0`.
    pub id: String,
    /// What people call it: the processor's or adapter's name.
    pub title: String,
    /// What decides results and speed: kernel tier, driver, compute capability.
    pub detail: String,
}

/// How to compile a program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompileOptions {
    /// Threads that one run may use; at least 1.
    pub threads: usize,
    /// Whether contexts record the time of each node.
    pub profile: bool,
}

impl CompileOptions {
    /// One run on `threads` threads, without profile.
    pub fn threads(threads: usize) -> Self {
        Self { threads: threads.max(1), profile: false }
    }

    /// The same, recording the time of each node.
    #[must_use]
    pub fn with_profile(mut self) -> Self {
        self.profile = true;
        self
    }
}

/// One piece of hardware (or one configuration of it).
pub trait Device: Send + Sync {
    /// Its name and make.
    fn info(&self) -> &DeviceInfo;

    /// What it does natively: a function of the device and the build only. What it declares, it keeps.
    ///
    /// # Errors
    /// [`CoreErrorKind::Backend`](crate::CoreErrorKind::Backend) when the driver does not answer.
    fn capabilities(&self) -> Result<Capability>;

    /// One verdict per node of `program`, in the order of [`Graph::nodes`].
    ///
    /// Cheap, and a promise: what is supported compiles.
    ///
    /// # Errors
    /// When the program itself is broken, and [`CoreErrorKind::Dynamic`](crate::CoreErrorKind::Dynamic) where it has
    /// free dimensions that the device does not take. What is open only because it depends on an operator without a
    /// meaning is not an error here: that operator is refused.
    fn supports(&self, program: &Graph) -> Result<Vec<Verdict>>;

    /// Lowers the program, packs its weights and plans its memory.
    ///
    /// # Errors
    /// [`CoreErrorKind::Unsupported`](crate::CoreErrorKind::Unsupported) naming the first node that is not
    /// supported; [`CoreErrorKind::Backend`](crate::CoreErrorKind::Backend) when the device fails.
    fn compile(&self, program: &Graph, options: &CompileOptions) -> Result<Arc<dyn Executable>>;
}

/// An input or output of an executable.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// The value's name in the program.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub extents: Vec<usize>,
    /// Quantization parameters of a quantized value.
    pub quant: Option<QuantParams>,
}

/// Bytes that an executable and its contexts hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Packed weights and tables, shared by all contexts.
    pub weights: usize,
    /// Activations of one context after planning.
    pub activations: usize,
    /// Scratch of one context.
    pub scratch: usize,
}

/// A compiled program.
pub trait Executable: Send + Sync {
    /// What to give, in order.
    fn inputs(&self) -> &[TensorSpec];

    /// What comes back, in order.
    fn outputs(&self) -> &[TensorSpec];

    /// Bytes held.
    fn memory(&self) -> MemoryUse;

    /// A context: the scratch of one run at a time. Contexts of one executable run at once in several threads.
    ///
    /// # Errors
    /// [`CoreErrorKind::Backend`](crate::CoreErrorKind::Backend) when memory cannot be had.
    fn context(self: Arc<Self>) -> Result<Box<dyn Context>>;
}

/// The time one node took in a profiled run.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeTime {
    /// The node's name; several nodes run as one are joined by `+`.
    pub node: String,
    /// What ran: the kernel's name.
    pub kernel: String,
    /// Nanoseconds of the last run.
    pub nanoseconds: u64,
}

/// The state of one run at a time.
pub trait Context: Send {
    /// Runs the program on `inputs` into `outputs`, both in the executable's order. Allocates nothing.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`](crate::CoreErrorKind::Tensor) when an input or output does not fit its
    /// [`TensorSpec`]; outputs are then untouched.
    fn run(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<()>;

    /// The time of each node in the last run; empty unless compiled with
    /// [`CompileOptions::with_profile`] on a device that can tell.
    fn profile(&self) -> Vec<NodeTime>;
}
