//! The mirror of `plugin.h`, struct by struct.
//!
//! Fields mean what the header says. Function pointers are `Option`, because a table from outside may hold null.

use std::ffi::{c_char, c_void};

use crate::Status;

macro_rules! opaque {
    ($(#[$doc:meta] $name:ident)*) => {
        $(
            #[$doc]
            #[repr(C)]
            #[derive(Debug)]
            pub struct $name {
                _opaque: [u8; 0],
            }
        )*
    };
}

opaque! {
    /// A plugin's device.
    Device
    /// A plugin's compiled program.
    Executable
    /// A plugin's scratch of one run at a time.
    Context
}

/// `fewbit_str`: UTF-8 with a length.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Str {
    /// The first byte; may be null where `len` is 0.
    pub ptr: *const c_char,
    /// Bytes.
    pub len: usize,
}

impl Str {
    /// A text that is borrowed for as long as the result is read.
    pub const fn of(text: &str) -> Self {
        Self { ptr: text.as_ptr().cast(), len: text.len() }
    }
}

/// `fewbit_bytes`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// The first byte; may be null where `len` is 0.
    pub ptr: *const c_void,
    /// Bytes.
    pub len: usize,
}

impl Bytes {
    /// No bytes.
    pub const EMPTY: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// Bytes that are borrowed for as long as the result is read.
    pub const fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr().cast(), len: bytes.len() }
    }
}

/// `fewbit_error`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Error {
    /// The vendor's own number.
    pub vendor_code: i32,
    /// Bits of `WHY_*`.
    pub why: u32,
    /// Index of a node, or [`ABSENT`](crate::ABSENT).
    pub node: u32,
    /// 0.
    pub reserved: u32,
    /// What is wrong, never empty: UTF-8, cut where it is too long, ended by NUL.
    pub message: [c_char; 496],
}

impl Error {
    /// An error that nobody has written yet.
    pub const fn clear() -> Self {
        Self { vendor_code: 0, why: 0, node: crate::ABSENT, reserved: 0, message: [0; 496] }
    }
}

/// `fewbit_sink`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Sink {
    /// Given back to `write`.
    pub ctx: *mut c_void,
    /// Takes bytes.
    pub write: Option<unsafe extern "C" fn(ctx: *mut c_void, bytes: *const c_void, len: usize) -> Status>,
}

/// `fewbit_host`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Bytes that the host knows.
    pub struct_size: u32,
    /// [`ABI_MAJOR`](crate::ABI_MAJOR) of the host.
    pub abi_major: u16,
    /// [`ABI_MINOR`](crate::ABI_MINOR) of the host.
    pub abi_minor: u16,
    /// Given back to the functions.
    pub ctx: *mut c_void,
    /// Takes a line of a log.
    pub log: Option<unsafe extern "C" fn(ctx: *mut c_void, level: i32, target: Str, text: Str)>,
    /// The most detailed level that is kept.
    pub log_max_level: Option<unsafe extern "C" fn(ctx: *mut c_void) -> u32>,
    /// The family of that id, or null.
    pub get_extension: Option<unsafe extern "C" fn(ctx: *mut c_void, id: *const c_char) -> *const c_void>,
}

/// `fewbit_dtype`: the values of DLPack.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DType {
    /// `CODE_*`.
    pub code: u8,
    /// Bits of an element.
    pub bits: u8,
    /// 1.
    pub lanes: u16,
}

/// `fewbit_quant`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Quant {
    /// Bytes that the producer knows.
    pub struct_size: u32,
    /// `Q_*`.
    pub scheme: u8,
    /// `G_*`.
    pub granularity: u8,
    /// The axis of channels or blocks.
    pub axis: i16,
    /// Elements of a block, or 0.
    pub block_size: u32,
    /// Number of scales.
    pub count: u32,
    /// The scales.
    pub scales: *const f32,
    /// The zero points; null where all are 0.
    pub zero_points: *const i32,
}

/// `fewbit_value`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Value {
    /// Bytes that the producer knows.
    pub struct_size: u32,
    /// `V_*`.
    pub flags: u32,
    /// Unique in the program.
    pub name: Str,
    /// Extents, outermost first.
    pub dims: *const i64,
    /// Number of extents.
    pub rank: u32,
    /// Type in storage.
    pub dtype: DType,
    /// Null where the value is not quantized.
    pub quant: *const Quant,
    /// The elements of a constant.
    pub data: Bytes,
}

/// `fewbit_attr`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Attr {
    /// Bytes that the producer knows.
    pub struct_size: u32,
    /// `A_*`.
    pub kind: u32,
    /// Unique in the node.
    pub name: Str,
    /// What `kind` says.
    pub items: *const c_void,
    /// How many.
    pub n_items: usize,
}

/// `fewbit_node`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Node {
    /// Bytes that the producer knows.
    pub struct_size: u32,
    /// Version of the operator set.
    pub op_version: u32,
    /// Empty for ONNX's own operators.
    pub domain: Str,
    /// The operator.
    pub op_type: Str,
    /// Unique in the program.
    pub name: Str,
    /// Values read.
    pub inputs: *const u32,
    /// Values produced.
    pub outputs: *const u32,
    /// Attributes.
    pub attrs: *const *const Attr,
    /// Number of inputs.
    pub n_inputs: u32,
    /// Number of outputs.
    pub n_outputs: u32,
    /// Number of attributes.
    pub n_attrs: u32,
    /// 0.
    pub reserved: u32,
}

/// `fewbit_program`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Bytes that the producer knows.
    pub struct_size: u32,
    /// 1.
    pub ir_version: u32,
    /// Values.
    pub values: *const *const Value,
    /// Nodes, producers before readers.
    pub nodes: *const *const Node,
    /// Values that run is given.
    pub inputs: *const u32,
    /// Values that run gives.
    pub outputs: *const u32,
    /// How to compile.
    pub options: *const *const Attr,
    /// Number of values.
    pub n_values: u32,
    /// Number of nodes.
    pub n_nodes: u32,
    /// Number of inputs.
    pub n_inputs: u32,
    /// Number of outputs.
    pub n_outputs: u32,
    /// Number of options.
    pub n_options: u32,
    /// 0.
    pub reserved: u32,
}

/// `fewbit_tensor`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Tensor {
    /// Bytes that the producer knows.
    pub struct_size: u32,
    /// The value of the program that this is.
    pub value: u32,
    /// The elements.
    pub data: *mut c_void,
    /// Bytes reachable from `data`.
    pub byte_len: usize,
    /// Extents, outermost first.
    pub dims: *const i64,
    /// Null: dense, row-major.
    pub byte_strides: *const i64,
    /// Number of extents.
    pub rank: u32,
    /// 0: the host's memory.
    pub memory: u32,
}

/// `fewbit_verdict`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// 0 or 1.
    pub supported: u32,
    /// Bits of `WHY_*`.
    pub why: u32,
}

/// `fewbit_footprint`: what an executable and one of its contexts hold, in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Packed weights and tables, shared by all contexts.
    pub weights: u64,
    /// Activations of one context.
    pub activations: u64,
    /// Scratch of one context.
    pub scratch: u64,
}

/// `fewbit_plugin`: the table.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    /// [`MAGIC`](crate::MAGIC).
    pub magic: u32,
    /// Bytes that the plugin knows.
    pub struct_size: u32,
    /// Major version that the plugin serves.
    pub abi_major: u16,
    /// Minor version that it was built against.
    pub abi_minor: u16,
    /// 0.
    pub flags: u32,
    /// The manifest's id.
    pub id: Str,
    /// Who makes it.
    pub vendor: Str,
    /// The manifest's version.
    pub version: Str,
    /// What tells builds apart.
    pub build: Str,
    /// First call.
    pub init: Option<unsafe extern "C" fn(host: *const Host, error: *mut Error) -> Status>,
    /// Last call.
    pub deinit: Option<unsafe extern "C" fn()>,
    /// The family of that id, or null.
    pub get_extension: Option<unsafe extern "C" fn(id: *const c_char) -> *const c_void>,
    /// Number of devices.
    pub device_count: Option<unsafe extern "C" fn(out: *mut u32, error: *mut Error) -> Status>,
    /// Opens one.
    pub device_open:
        Option<unsafe extern "C" fn(index: u32, out: *mut *mut Device, error: *mut Error) -> Status>,
    /// Closes it.
    pub device_close: Option<unsafe extern "C" fn(device: *mut Device)>,
    /// The capability document as JSON.
    pub capabilities:
        Option<unsafe extern "C" fn(device: *mut Device, sink: *const Sink, error: *mut Error) -> Status>,
    /// One verdict per node.
    pub supports: Option<
        unsafe extern "C" fn(
            device: *mut Device,
            program: *const Program,
            per_node: *mut Verdict,
            error: *mut Error,
        ) -> Status,
    >,
    /// Compiles a program.
    pub compile: Option<
        unsafe extern "C" fn(
            device: *mut Device,
            program: *const Program,
            out: *mut *mut Executable,
            error: *mut Error,
        ) -> Status,
    >,
    /// Writes an executable.
    pub blob_save: Option<
        unsafe extern "C" fn(executable: *mut Executable, sink: *const Sink, error: *mut Error) -> Status,
    >,
    /// Reads one.
    pub blob_load: Option<
        unsafe extern "C" fn(
            device: *mut Device,
            blob: Bytes,
            out: *mut *mut Executable,
            error: *mut Error,
        ) -> Status,
    >,
    /// Grades one by its tag.
    pub blob_check: Option<
        unsafe extern "C" fn(device: *mut Device, tag: Bytes, answer: *mut i32, error: *mut Error) -> Status,
    >,
    /// Frees one.
    pub executable_free: Option<unsafe extern "C" fn(executable: *mut Executable)>,
    /// Makes a context.
    pub context_new: Option<
        unsafe extern "C" fn(
            executable: *mut Executable,
            out: *mut *mut Context,
            error: *mut Error,
        ) -> Status,
    >,
    /// Runs.
    pub run: Option<
        unsafe extern "C" fn(
            context: *mut Context,
            inputs: *const *const Tensor,
            n_inputs: u32,
            outputs: *const *mut Tensor,
            n_outputs: u32,
            error: *mut Error,
        ) -> Status,
    >,
    /// Frees a context.
    pub context_free: Option<unsafe extern "C" fn(context: *mut Context)>,
    /// Bytes held. Since minor version 1.
    pub footprint: Option<
        unsafe extern "C" fn(executable: *mut Executable, out: *mut Footprint, error: *mut Error) -> Status,
    >,
}

/// The type of `fewbit_plugin_query`.
pub type Query = unsafe extern "C" fn(host_major: u32, host_minor: u32) -> *const Plugin;
