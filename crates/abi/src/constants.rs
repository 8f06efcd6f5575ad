//! Versions, statuses, reasons and the other numbers of the header.

/// The major version: a plugin of another one cannot be loaded.
pub const ABI_MAJOR: u32 = 1;
/// The minor version: what this side knows of the end of every struct.
pub const ABI_MINOR: u32 = 1;
/// `FBT1`, little endian: the first word of every plugin's table.
pub const MAGIC: u32 = 0x3154_4246;
/// No value, or no node.
pub const ABSENT: u32 = u32::MAX;
/// The one symbol that a plugin exports.
pub const QUERY_SYMBOL: &str = "fewbit_plugin_query";

/// What a call answers: `OK` or one of the numbers below it.
pub type Status = i32;
/// Done.
pub const OK: Status = 0;
/// The caller broke a rule of the header.
pub const INVALID_ARGUMENT: Status = 1;
/// A fair question, answered no.
pub const UNSUPPORTED: Status = 2;
/// Memory could not be had.
pub const OUT_OF_MEMORY: Status = 3;
/// A blob or an extension of another version.
pub const INCOMPATIBLE: Status = 4;
/// The device is gone; only frees and closes are legal.
pub const DEVICE_LOST: Status = 5;
/// The sink refused more.
pub const CANCELLED: Status = 6;
/// A defect of the callee.
pub const INTERNAL: Status = 7;

/// The operator.
pub const WHY_OP: u32 = 1;
/// An element type.
pub const WHY_DTYPE: u32 = 1 << 1;
/// Symmetric, affine, … or none.
pub const WHY_SCHEME: u32 = 1 << 2;
/// What shares a scale.
pub const WHY_GRANULARITY: u32 = 1 << 3;
/// The number of dimensions.
pub const WHY_RANK: u32 = 1 << 4;
/// An extent, or a buffer too short.
pub const WHY_SHAPE: u32 = 1 << 5;
/// An attribute or its value.
pub const WHY_ATTRIBUTE: u32 = 1 << 6;
/// An address or a stride.
pub const WHY_ALIGNMENT: u32 = 1 << 7;
/// It does not fit the device.
pub const WHY_MEMORY: u32 = 1 << 8;
/// The driver is missing, or of the wrong version.
pub const WHY_DRIVER: u32 = 1 << 9;
/// Another library or file is missing.
pub const WHY_DEPENDENCY: u32 = 1 << 10;
/// A licence is missing.
pub const WHY_LICENSE: u32 = 1 << 11;

/// The reasons with their names, for messages.
pub const REASONS: [(u32, &str); 12] = [
    (WHY_OP, "operator"),
    (WHY_DTYPE, "element type"),
    (WHY_SCHEME, "scheme"),
    (WHY_GRANULARITY, "granularity"),
    (WHY_RANK, "rank"),
    (WHY_SHAPE, "shape"),
    (WHY_ATTRIBUTE, "attribute"),
    (WHY_ALIGNMENT, "alignment"),
    (WHY_MEMORY, "memory"),
    (WHY_DRIVER, "driver"),
    (WHY_DEPENDENCY, "dependency"),
    (WHY_LICENSE, "licence"),
];

/// The user must act.
pub const LOG_ERROR: i32 = 1;
/// A result differs from what was asked for.
pub const LOG_WARN: i32 = 2;
/// One line per stage.
pub const LOG_INFO: i32 = 3;
/// Decisions.
pub const LOG_DEBUG: i32 = 4;
/// Everything.
pub const LOG_TRACE: i32 = 5;

/// Signed integers.
pub const CODE_INT: u8 = 0;
/// Unsigned integers.
pub const CODE_UINT: u8 = 1;
/// IEEE 754 floats.
pub const CODE_FLOAT: u8 = 2;
/// bfloat16.
pub const CODE_BFLOAT: u8 = 4;
/// Truth values, one byte each.
pub const CODE_BOOL: u8 = 6;

/// Any zero point.
pub const Q_AFFINE: u8 = 1;
/// Every zero point is 0.
pub const Q_SYMMETRIC: u8 = 2;
/// Scales are powers of two.
pub const Q_POW2: u8 = 3;
/// A microscaling format.
pub const Q_MX: u8 = 4;

/// All elements of a tensor share a scale.
pub const G_TENSOR: u8 = 1;
/// Those of one slice of the axis do.
pub const G_CHANNEL: u8 = 2;
/// Those of one run along the axis do.
pub const G_BLOCK: u8 = 3;

/// Given to run.
pub const V_INPUT: u32 = 1;
/// Wanted from run.
pub const V_OUTPUT: u32 = 2;
/// Constant.
pub const V_CONST: u32 = 4;
/// Elements below a byte, low bits first.
pub const V_PACKED: u32 = 8;

/// One `int64_t`.
pub const A_INT: u32 = 1;
/// One `double`.
pub const A_FLOAT: u32 = 2;
/// UTF-8.
pub const A_STR: u32 = 3;
/// Several `int64_t`.
pub const A_INTS: u32 = 4;
/// Several `double`.
pub const A_FLOATS: u32 = 5;

/// The blob is as good as a new one.
pub const BLOB_OPTIMAL: i32 = 0;
/// It runs, but compiling again would be better.
pub const BLOB_RECOMPILE_ADVISED: i32 = 1;
/// It cannot be loaded.
pub const BLOB_REFUSED: i32 = 2;
/// How many bytes of a blob its tag may have.
pub const BLOB_TAG_MAX: usize = 256;

/// The host's threads, see [`ExtHostParallel`](crate::ExtHostParallel).
pub const EXT_HOST_PARALLEL: &std::ffi::CStr = c"fewbit.host.parallel/1";
/// Costs of nodes, see [`ExtCost`](crate::ExtCost).
pub const EXT_COST: &std::ffi::CStr = c"fewbit.cost/1";
/// Times of nodes, see [`ExtProfile`](crate::ExtProfile).
pub const EXT_PROFILE: &std::ffi::CStr = c"fewbit.profile/1";
