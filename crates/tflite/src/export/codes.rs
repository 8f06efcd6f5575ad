//! Numbers of the schema: operators, element types, paddings, clamps, and versions of operators.
//!
//! TensorFlow's `lite/schema/schema.fbs`; versions after `lite/tools/versioning/op_version.cc`.

use fewbit_core::ir::DType;

use super::lacking;
use crate::error::Result;
use crate::file::Options;

pub(super) const ADD: i32 = 0;
pub(super) const AVERAGE_POOL_2D: i32 = 1;
pub(super) const CONCATENATION: i32 = 2;
pub(super) const CONV_2D: i32 = 3;
pub(super) const DEPTHWISE_CONV_2D: i32 = 4;
pub(super) const DEPTH_TO_SPACE: i32 = 5;
pub(super) const DEQUANTIZE: i32 = 6;
pub(super) const FULLY_CONNECTED: i32 = 9;
pub(super) const LOGISTIC: i32 = 14;
pub(super) const MAX_POOL_2D: i32 = 17;
pub(super) const MUL: i32 = 18;
pub(super) const RELU: i32 = 19;
pub(super) const RELU_N1_TO_1: i32 = 20;
pub(super) const RELU6: i32 = 21;
pub(super) const RESHAPE: i32 = 22;
pub(super) const RESIZE_BILINEAR: i32 = 23;
pub(super) const SOFTMAX: i32 = 25;
pub(super) const SPACE_TO_DEPTH: i32 = 26;
pub(super) const TANH: i32 = 28;
pub(super) const PAD: i32 = 34;
pub(super) const TRANSPOSE: i32 = 39;
pub(super) const MEAN: i32 = 40;
pub(super) const SUB: i32 = 41;
pub(super) const DIV: i32 = 42;
pub(super) const STRIDED_SLICE: i32 = 45;
pub(super) const EXP: i32 = 47;
pub(super) const LOG_SOFTMAX: i32 = 50;
pub(super) const PRELU: i32 = 54;
pub(super) const MAXIMUM: i32 = 55;
pub(super) const MINIMUM: i32 = 57;
pub(super) const NEG: i32 = 59;
pub(super) const PADV2: i32 = 60;
pub(super) const TRANSPOSE_CONV: i32 = 67;
pub(super) const LOG: i32 = 73;
pub(super) const SUM: i32 = 74;
pub(super) const SQRT: i32 = 75;
pub(super) const POW: i32 = 78;
pub(super) const REDUCE_MAX: i32 = 82;
pub(super) const REDUCE_MIN: i32 = 89;
pub(super) const RESIZE_NEAREST_NEIGHBOR: i32 = 97;
pub(super) const LEAKY_RELU: i32 = 98;
pub(super) const ABS: i32 = 101;
pub(super) const SPLIT_V: i32 = 102;
pub(super) const ELU: i32 = 111;
pub(super) const QUANTIZE: i32 = 114;
pub(super) const HARD_SWISH: i32 = 117;
pub(super) const BATCH_MATMUL: i32 = 126;
pub(super) const GELU: i32 = 150;

/// Borders such that the output has the input's extent over the stride, rounded up.
pub(super) const SAME: i8 = 0;
/// No borders.
pub(super) const VALID: i8 = 1;

/// No clamp.
pub(super) const CLAMP_NONE: i8 = 0;
/// From 0.
pub(super) const CLAMP_RELU: i8 = 1;
/// From -1 to 1.
pub(super) const CLAMP_RELU_N1_TO_1: i8 = 2;
/// From 0 to 6.
pub(super) const CLAMP_RELU6: i8 = 3;

const FLOAT32: i8 = 0;
const INT8: i8 = 9;
const INT16: i8 = 7;

/// The schema's number of an element type.
pub(super) fn tensor_type(dtype: DType) -> Result<i8> {
    Ok(match dtype {
        DType::F32 => FLOAT32,
        DType::F16 => 1,
        DType::I32 => 2,
        DType::U8 => 3,
        DType::I64 => 4,
        DType::Bool => 6,
        DType::I16 => INT16,
        DType::I8 => INT8,
        DType::F64 => 10,
        DType::U64 => 12,
        DType::U32 => 15,
        DType::U16 => 16,
        DType::I4 => 17,
        other => return Err(lacking(format!("{other} is no element type of TFLite"))),
    })
}

/// The least version of an operator that has a form, by the types of its first input and output.
pub(super) fn version(builtin: i32, input: i8, output: i8, options: &Options) -> i32 {
    let half_pixels = matches!(
        options,
        Options::ResizeBilinear { half_pixel_centers: true, .. }
            | Options::ResizeNearest { half_pixel_centers: true, .. }
    );
    let keeps_axes = matches!(options, Options::FullyConnected { keep_num_dims: true, .. });
    // For floats, for 8-bit codes, for 16-bit codes.
    let (float, byte, word) = match builtin {
        CONV_2D | TRANSPOSE_CONV => (1, 3, 4),
        DEPTHWISE_CONV_2D => (1, 3, 5),
        FULLY_CONNECTED if keeps_axes => (5, 5, 7),
        FULLY_CONNECTED => (1, 4, 7),
        QUANTIZE if output != INT8 => (2, 2, 2),
        DEQUANTIZE => (2, 2, 3),
        RESIZE_BILINEAR | RESIZE_NEAREST_NEIGHBOR if half_pixels => (3, 3, 3),
        RESHAPE | HARD_SWISH => (1, 1, 1),
        AVERAGE_POOL_2D | MAX_POOL_2D | CONCATENATION | SOFTMAX | LOGISTIC | TANH | ADD | SUB => (1, 2, 3),
        MUL => (1, 2, 4),
        _ => (1, 2, 2),
    };
    match input {
        INT8 => byte,
        INT16 => word,
        _ => float,
    }
}
