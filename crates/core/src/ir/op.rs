//! Operators and their attributes.
//!
//! An operator's meaning is that of the newest ONNX operator of the same name unless its documentation says
//! otherwise; the importer translates older forms. Spatial attributes list one entry per spatial axis, pads list
//! all begins, then all ends.

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Control, DType, IndexOp, Lack, Recurrent, Tensor};

/// A clamp fused into the operator that produces a value: what integer arithmetic absorbs without cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// The value as computed.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, min), max)`; Relu6 is `Clip { min: 0.0, max: 6.0 }`.
    Clip {
        /// Lower bound, may be negative infinity.
        min: f32,
        /// Upper bound, may be infinity.
        max: f32,
    },
}

impl Activation {
    /// The bounds of the clamp, infinite where there is none.
    pub fn bounds(self) -> (f32, f32) {
        match self {
            Activation::None => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Clip { min, max } => (min, max),
        }
    }
}

/// Attributes of a convolution or a transposed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvAttributes {
    /// Kernel extents.
    pub kernel: Vec<usize>,
    /// Steps between outputs (of the input for a transposed convolution).
    pub strides: Vec<usize>,
    /// Steps between taps.
    pub dilations: Vec<usize>,
    /// Zeros around the input: all begins, then all ends.
    pub pads: Vec<usize>,
    /// Number of channel groups.
    pub groups: usize,
}

impl ConvAttributes {
    /// The window that ONNX's attributes spell out; `None` where the kernel is left to the weights, padding to the
    /// runtime, or a number cannot be.
    pub fn explicit(attributes: &IndexMap<String, Attribute>) -> Option<Self> {
        let ints = |values: &[i64]| -> Option<Vec<usize>> {
            values.iter().map(|&value| usize::try_from(value).ok()).collect()
        };
        let Some(Attribute::Ints(kernel)) = attributes.get("kernel_shape") else { return None };
        let mut conv = Self::unit(&ints(kernel)?);
        for (name, attribute) in attributes {
            match (name.as_str(), attribute) {
                ("kernel_shape", _) => {}
                ("strides", Attribute::Ints(values)) => conv.strides = ints(values)?,
                ("dilations", Attribute::Ints(values)) => conv.dilations = ints(values)?,
                ("pads", Attribute::Ints(values)) => conv.pads = ints(values)?,
                ("group", Attribute::Int(groups)) => conv.groups = usize::try_from(*groups).ok()?,
                ("auto_pad", Attribute::Text(text)) if text == "NOTSET" => {}
                _ => return None,
            }
        }
        let rank = conv.kernel.len();
        let fits = rank > 0 && conv.strides.len() == rank && conv.dilations.len() == rank;
        (fits && conv.pads.len() == 2 * rank && conv.groups > 0).then_some(conv)
    }

    /// Stride 1, dilation 1, no padding, one group.
    pub fn unit(kernel: &[usize]) -> Self {
        let rank = kernel.len();
        Self {
            kernel: kernel.to_vec(),
            strides: vec![1; rank],
            dilations: vec![1; rank],
            pads: vec![0; 2 * rank],
            groups: 1,
        }
    }
}

/// Attributes of a pooling window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolAttributes {
    /// Window extents.
    pub kernel: Vec<usize>,
    /// Steps between windows.
    pub strides: Vec<usize>,
    /// Steps inside a window.
    pub dilations: Vec<usize>,
    /// Padding around the input: all begins, then all ends.
    pub pads: Vec<usize>,
    /// Whether the last, incomplete window counts.
    pub ceil: bool,
    /// Whether padding counts in an average's divisor.
    pub count_include_pad: bool,
}

/// A function of one element.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum UnaryOp {
    /// `max(x, 0)`.
    Relu,
    /// `x` below zero times `alpha`, else `x`.
    LeakyRelu {
        /// Slope below zero.
        alpha: f32,
    },
    /// `alpha * (exp(x) - 1)` below zero, else `x`.
    Elu {
        /// Scale below zero.
        alpha: f32,
    },
    /// `min(max(x, min), max)`.
    Clip {
        /// Lower bound, may be negative infinity.
        min: f32,
        /// Upper bound, may be infinity.
        max: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `min(max(alpha * x + beta, 0), 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x * min(max(x / 6 + 0.5, 0), 1)`.
    HardSwish,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Φ(x)`; by the tanh approximation if asked for.
    Gelu {
        /// Whether the tanh approximation is meant.
        tanh: bool,
    },
    /// `x * tanh(softplus(x))`.
    Mish,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// Hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
    /// Exponential.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// Absolute value.
    Abs,
    /// Negation.
    Neg,
    /// -1, 0 or 1.
    Sign,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceil,
    /// Nearest integer, ties to even.
    Round,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Inverse sine.
    Asin,
    /// Inverse cosine.
    Acos,
    /// Inverse tangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic cosine.
    Acosh,
    /// Inverse hyperbolic tangent.
    Atanh,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`.
    Celu {
        /// Scale below zero, not 0.
        alpha: f32,
    },
    /// `gamma * x` above zero, else `gamma * alpha * (exp(x) - 1)`.
    Selu {
        /// Scale below zero.
        alpha: f32,
        /// Scale of both.
        gamma: f32,
    },
    /// `x` above `alpha`, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// `x + bias` below `-lambda`, `x - bias` above `lambda`, else 0.
    Shrink {
        /// What is shrunk by.
        bias: f32,
        /// The threshold.
        lambda: f32,
    },
    /// Logical negation.
    Not,
}

/// A function of two elements with ONNX's broadcasting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BinaryOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; truncates towards zero for integers.
    Div,
    /// Power.
    Pow,
    /// Smaller.
    Min,
    /// Larger.
    Max,
    /// Remainder with the sign of the divisor.
    Mod,
    /// Remainder with the sign of the dividend (C's `fmod`).
    Fmod,
    /// Both bits (integers).
    BitAnd,
    /// At least one of the bits (integers).
    BitOr,
    /// Exactly one of the bits (integers).
    BitXor,
    /// Bits moved towards the most significant; what leaves the type is lost (integers).
    ShiftLeft,
    /// Bits moved towards the least significant; the sign stays (integers).
    ShiftRight,
    /// `x` below zero times the slope, else `x`.
    PRelu,
}

/// A comparison; the result is a truth value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompareOp {
    /// `a == b`.
    Equal,
    /// `a > b`.
    Greater,
    /// `a >= b`.
    GreaterOrEqual,
    /// `a < b`.
    Less,
    /// `a <= b`.
    LessOrEqual,
}

/// A function of two truth values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogicOp {
    /// Both.
    And,
    /// At least one.
    Or,
    /// Exactly one.
    Xor,
}

/// A reduction over axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReduceOp {
    /// Arithmetic mean.
    Mean,
    /// Sum.
    Sum,
    /// Largest.
    Max,
    /// Smallest.
    Min,
    /// Product.
    Prod,
    /// Sum of absolute values.
    L1,
    /// Root of the sum of squares.
    L2,
    /// Sum of squares.
    SumSquare,
    /// `ln(sum(exp(x)))`.
    LogSumExp,
}

/// How padding is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PadMode {
    /// With one value.
    Constant,
    /// Mirrored without the edge.
    Reflect,
    /// With the edge.
    Edge,
    /// Cyclically.
    Wrap,
}

/// How new samples are made of old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResizeMode {
    /// The nearest sample.
    Nearest,
    /// Between the two neighbours of each axis.
    Linear,
    /// Cubic convolution over four neighbours of each axis.
    Cubic,
}

/// Where an output sample lies in the input (ONNX `coordinate_transformation_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CoordinateMode {
    /// `(x + 0.5) / scale - 0.5`.
    HalfPixel,
    /// As half pixel, but 0 where the output has one sample.
    PytorchHalfPixel,
    /// `x * (in - 1) / (out - 1)`.
    AlignCorners,
    /// `x / scale`.
    Asymmetric,
    /// Half pixel with symmetric borders.
    HalfPixelSymmetric,
}

/// Which sample is nearest (ONNX `nearest_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NearestMode {
    /// The nearest, ties down.
    RoundPreferFloor,
    /// The nearest, ties up.
    RoundPreferCeil,
    /// The one below.
    Floor,
    /// The one above.
    Ceil,
}

/// Attributes of a resize; the output's extents come from its inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResizeAttributes {
    /// Interpolation.
    pub mode: ResizeMode,
    /// Coordinates.
    pub coordinates: CoordinateMode,
    /// Rounding of coordinates in nearest mode.
    pub nearest: NearestMode,
    /// Coefficient of cubic interpolation.
    pub cubic: f32,
    /// Whether samples outside the input have no weight (cubic and linear modes).
    pub exclude_outside: bool,
}

/// An attribute of an operator this IR has no meaning for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A text.
    Text(String),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
    /// A tensor.
    Tensor(Tensor),
    /// Something else, by the name of its kind (a subgraph, a type).
    Other(String),
}

/// What a node computes.
///
/// Inputs are listed in brackets in their order; `?` marks one that may be absent.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// The input itself. `[x]`
    Identity,
    /// Convolution. `[x NC…, weight OI…, bias? O]`, then the fused clamp.
    Conv {
        /// Window and groups.
        conv: ConvAttributes,
        /// The fused clamp.
        activation: Activation,
    },
    /// Transposed convolution. `[x NC…, weight IO…, bias? O]`
    ConvTranspose {
        /// Window and groups; pads shrink the output.
        conv: ConvAttributes,
        /// Extra extent at the end of each spatial axis.
        output_padding: Vec<usize>,
        /// The fused clamp.
        activation: Activation,
    },
    /// `alpha * a' * b' + beta * c`, with `a'`, `b'` transposed as asked. `[a MK, b KN, c?]`, then the fused clamp.
    Gemm {
        /// Scale of the product.
        alpha: f32,
        /// Scale of the addend.
        beta: f32,
        /// Whether `a` is stored transposed.
        trans_a: bool,
        /// Whether `b` is stored transposed.
        trans_b: bool,
        /// The fused clamp.
        activation: Activation,
    },
    /// Matrix product, batched and broadcast as numpy's `matmul`. `[a, b]`
    MatMul,
    /// Maximum of windows; padding never wins. `[x]`
    MaxPool(PoolAttributes),
    /// Mean of windows. `[x]`
    AveragePool(PoolAttributes),
    /// Mean over all spatial axes, kept as extents of 1. `[x]`
    GlobalAveragePool,
    /// Maximum over all spatial axes, kept as extents of 1. `[x]`
    GlobalMaxPool,
    /// A function of one element. `[x]`
    Unary(UnaryOp),
    /// A function of two elements, broadcast. `[a, b]`, then the fused clamp (Add, Sub and Mul only).
    Binary {
        /// The function.
        op: BinaryOp,
        /// The fused clamp.
        activation: Activation,
    },
    /// A comparison, broadcast. `[a, b]`
    Compare(CompareOp),
    /// A function of truth values, broadcast. `[a, b]`
    Logic(LogicOp),
    /// The second where the first is true, else the third, broadcast. `[condition, a, b]`
    Where,
    /// `exp(x) / sum(exp(x))` along `axis`; its logarithm if asked for. `[x]`
    Softmax {
        /// The axis, not negative.
        axis: usize,
        /// Whether the logarithm is meant.
        log: bool,
    },
    /// Batch normalisation with running statistics. `[x, scale, bias, mean, variance]`
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// Normalisation over the axes from `axis` on. `[x, scale, bias?]`
    LayerNorm {
        /// The first axis normalised over, not negative.
        axis: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Normalisation of each channel of each sample. `[x, scale, bias]`
    InstanceNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// A reduction. `[x]`
    Reduce {
        /// The reduction.
        op: ReduceOp,
        /// The axes, not negative, ascending; empty means none.
        axes: Vec<usize>,
        /// Whether reduced axes stay with extent 1.
        keep_dims: bool,
    },
    /// Index of the largest (or smallest) along an axis, first on ties unless `last`. `[x]`, result i64.
    ArgMax {
        /// The axis, not negative.
        axis: usize,
        /// Whether the axis stays with extent 1.
        keep_dims: bool,
        /// Whether the last of equals wins.
        last: bool,
        /// Whether the smallest is meant.
        min: bool,
    },
    /// Other extents over the same elements. `[x, shape i64]` (0 keeps an extent unless `allow_zero`, -1 infers one).
    Reshape {
        /// Whether 0 means an extent of zero.
        allow_zero: bool,
    },
    /// Two axes: the product before `axis`, the product from it on. `[x]`
    Flatten {
        /// The first axis of the second group.
        axis: usize,
    },
    /// Axes in another order: output axis `i` is input axis `perm[i]`. `[x]`
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// Without the axes listed, each of extent 1. `[x]`
    Squeeze {
        /// The axes, not negative, ascending; empty means every axis of extent 1.
        axes: Vec<usize>,
    },
    /// With new axes of extent 1 at the places listed. `[x]`
    Unsqueeze {
        /// Places in the output, not negative, ascending.
        axes: Vec<usize>,
    },
    /// Inputs one behind the other. `[x0, x1, …]`
    Concat {
        /// The axis, not negative.
        axis: usize,
    },
    /// Pieces of an axis, as long as `sizes` says. `[x]`, one output each.
    Split {
        /// The axis, not negative.
        axis: usize,
        /// Extents of the pieces; empty means equal pieces (the last may be smaller).
        sizes: Vec<usize>,
    },
    /// A range of some axes. `[x, starts, ends, axes?, steps?]`, ONNX's clamping of out-of-range bounds.
    Slice,
    /// Elements by index along an axis. `[x, indices]`, negative indices count from the end.
    Gather {
        /// The axis, not negative.
        axis: usize,
    },
    /// An operator on positions: gathers and scatters by element, ordering, suppression and the like.
    Index(IndexOp),
    /// A recurrent layer: RNN, GRU or LSTM.
    Recurrent(Recurrent),
    /// Broadcast to a shape. `[x, shape i64]`
    Expand,
    /// Repeats along each axis. `[x, repeats i64]`
    Tile,
    /// Padding (negative crops). `[x, pads i64, value?, axes?]`
    Pad {
        /// How it is filled.
        mode: PadMode,
    },
    /// Another spatial size. `[x, roi?, scales?, sizes?]`
    Resize(ResizeAttributes),
    /// Blocks of channels spread over space. `[x NCHW]`
    DepthToSpace {
        /// Extent of a block.
        block: usize,
        /// Whether channels are ordered column-row-depth instead of depth-column-row.
        crd: bool,
    },
    /// Blocks of space gathered into channels. `[x NCHW]`
    SpaceToDepth {
        /// Extent of a block.
        block: usize,
    },
    /// The extents from axis `start` to `end` as i64. `[x]`
    Shape {
        /// First axis, not negative.
        start: usize,
        /// Axis behind the last; `None` means the rank.
        end: Option<usize>,
    },
    /// The number of elements as i64. `[x]`
    Size,
    /// A tensor of one value. `[shape i64]`
    ConstantOfShape {
        /// The value: a tensor of one element.
        value: Tensor,
    },
    /// Numbers from a start by a step to before a limit. `[start, limit, step]`
    Range,
    /// Another element type, as ONNX's Cast converts. `[x]`
    Cast {
        /// The new type.
        to: DType,
    },
    /// ONNX's QuantizeLinear with explicit parameters. `[x, scale, zero_point?]`
    ///
    /// [`Op::Quantize`] replaces it once its parameters are constant and sit on its output.
    QuantizeLinear {
        /// Axis of per-channel or per-block scales, not negative.
        axis: usize,
        /// Elements per block, 0 for none.
        block: usize,
        /// Element type of the result where no zero point says it.
        to: DType,
    },
    /// ONNX's DequantizeLinear with explicit parameters. `[x, scale, zero_point?]`
    ///
    /// [`Op::Dequantize`] replaces it once its parameters are constant and sit on its input.
    DequantizeLinear {
        /// Axis of per-channel or per-block scales, not negative.
        axis: usize,
        /// Elements per block, 0 for none.
        block: usize,
    },
    /// Float to quantized; the parameters are the output value's. `[x]`
    Quantize,
    /// Quantized to float; the parameters are the input value's. `[x]`
    Dequantize,
    /// Quantized to quantized with other parameters. `[x]`
    Requantize,
    /// ONNX's DynamicQuantizeLinear. `[x]`, outputs `[y u8, scale, zero_point u8]`
    DynamicQuantizeLinear,
    /// Control flow over bodies.
    Control(Box<Control>),
    /// An operator this build has no meaning for: it can be shown and refused, not run.
    Opaque {
        /// Operator-set domain, empty for ONNX's own.
        domain: String,
        /// The operator's name.
        op_type: String,
        /// Its attributes.
        attributes: IndexMap<String, Attribute>,
        /// What of it is lacking, for messages.
        lack: Box<Lack>,
    },
}

impl Op {
    /// The kind, for rules and reports.
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Identity => OpKind::new("Identity"),
            Op::Conv { .. } => OpKind::new("Conv"),
            Op::ConvTranspose { .. } => OpKind::new("ConvTranspose"),
            Op::Gemm { .. } => OpKind::new("Gemm"),
            Op::MatMul => OpKind::new("MatMul"),
            Op::MaxPool(_) => OpKind::new("MaxPool"),
            Op::AveragePool(_) => OpKind::new("AveragePool"),
            Op::GlobalAveragePool => OpKind::new("GlobalAveragePool"),
            Op::GlobalMaxPool => OpKind::new("GlobalMaxPool"),
            Op::Unary(op) => OpKind::new(op.name()),
            Op::Binary { op, .. } => OpKind::new(op.name()),
            Op::Compare(op) => OpKind::new(op.name()),
            Op::Logic(op) => OpKind::new(op.name()),
            Op::Where => OpKind::new("Where"),
            Op::Softmax { log: false, .. } => OpKind::new("Softmax"),
            Op::Softmax { log: true, .. } => OpKind::new("LogSoftmax"),
            Op::BatchNorm { .. } => OpKind::new("BatchNormalization"),
            Op::LayerNorm { .. } => OpKind::new("LayerNormalization"),
            Op::InstanceNorm { .. } => OpKind::new("InstanceNormalization"),
            Op::Reduce { op, .. } => OpKind::new(op.name()),
            Op::ArgMax { min: false, .. } => OpKind::new("ArgMax"),
            Op::ArgMax { min: true, .. } => OpKind::new("ArgMin"),
            Op::Reshape { .. } => OpKind::new("Reshape"),
            Op::Flatten { .. } => OpKind::new("Flatten"),
            Op::Transpose { .. } => OpKind::new("Transpose"),
            Op::Squeeze { .. } => OpKind::new("Squeeze"),
            Op::Unsqueeze { .. } => OpKind::new("Unsqueeze"),
            Op::Concat { .. } => OpKind::new("Concat"),
            Op::Split { .. } => OpKind::new("Split"),
            Op::Slice => OpKind::new("Slice"),
            Op::Gather { .. } => OpKind::new("Gather"),
            Op::Index(op) => OpKind::new(op.name()),
            Op::Recurrent(layer) => OpKind::new(layer.name()),
            Op::Expand => OpKind::new("Expand"),
            Op::Tile => OpKind::new("Tile"),
            Op::Pad { .. } => OpKind::new("Pad"),
            Op::Resize(_) => OpKind::new("Resize"),
            Op::DepthToSpace { .. } => OpKind::new("DepthToSpace"),
            Op::SpaceToDepth { .. } => OpKind::new("SpaceToDepth"),
            Op::Shape { .. } => OpKind::new("Shape"),
            Op::Size => OpKind::new("Size"),
            Op::ConstantOfShape { .. } => OpKind::new("ConstantOfShape"),
            Op::Range => OpKind::new("Range"),
            Op::Cast { .. } => OpKind::new("Cast"),
            Op::QuantizeLinear { .. } => OpKind::new("QuantizeLinear"),
            Op::DequantizeLinear { .. } => OpKind::new("DequantizeLinear"),
            Op::Quantize => OpKind::new("Quantize"),
            Op::Dequantize => OpKind::new("Dequantize"),
            Op::Requantize => OpKind::new("Requantize"),
            Op::DynamicQuantizeLinear => OpKind::new("DynamicQuantizeLinear"),
            Op::Control(control) => OpKind::new(control.name()),
            Op::Opaque { domain, op_type, .. } if domain.is_empty() => OpKind(op_type.clone()),
            Op::Opaque { domain, op_type, .. } => OpKind(format!("{domain}.{op_type}")),
        }
    }

    /// The clamp fused into this operator.
    pub fn activation(&self) -> Activation {
        match self {
            Op::Conv { activation, .. }
            | Op::ConvTranspose { activation, .. }
            | Op::Gemm { activation, .. }
            | Op::Binary { activation, .. } => *activation,
            _ => Activation::None,
        }
    }

    /// The clamp fused into this operator, to change; `None` where the operator takes none.
    pub fn activation_mut(&mut self) -> Option<&mut Activation> {
        match self {
            Op::Conv { activation, .. }
            | Op::ConvTranspose { activation, .. }
            | Op::Gemm { activation, .. }
            | Op::Binary { op: BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul, activation } => {
                Some(activation)
            }
            _ => None,
        }
    }

    /// Whether the operator multiplies by weights: what a precision such as `w8a8` is about.
    pub fn has_weights(&self) -> bool {
        matches!(self, Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Gemm { .. } | Op::MatMul)
    }

    /// Whether output elements are input elements, moved or chosen: such operators keep quantization parameters.
    pub fn moves_elements(&self) -> bool {
        matches!(
            self,
            Op::Identity
                | Op::MaxPool(_)
                | Op::GlobalMaxPool
                | Op::Reshape { .. }
                | Op::Flatten { .. }
                | Op::Transpose { .. }
                | Op::Squeeze { .. }
                | Op::Unsqueeze { .. }
                | Op::Split { .. }
                | Op::Slice
                | Op::Gather { .. }
                | Op::Expand
                | Op::Tile
                | Op::DepthToSpace { .. }
                | Op::SpaceToDepth { .. }
                | Op::Reduce { op: ReduceOp::Max | ReduceOp::Min, .. }
        ) || matches!(self, Op::Resize(attributes) if attributes.mode == ResizeMode::Nearest)
            || matches!(self, Op::Index(op) if op.moves_elements())
    }

    /// Whether the operator belongs to quantization itself rather than to the model.
    pub fn is_conversion(&self) -> bool {
        matches!(
            self,
            Op::Quantize
                | Op::Dequantize
                | Op::Requantize
                | Op::QuantizeLinear { .. }
                | Op::DequantizeLinear { .. }
                | Op::DynamicQuantizeLinear
        )
    }
}

impl UnaryOp {
    /// ONNX's name, or the field's where ONNX has none.
    pub fn name(self) -> &'static str {
        match self {
            UnaryOp::Relu => "Relu",
            UnaryOp::LeakyRelu { .. } => "LeakyRelu",
            UnaryOp::Elu { .. } => "Elu",
            UnaryOp::Clip { .. } => "Clip",
            UnaryOp::Sigmoid => "Sigmoid",
            UnaryOp::HardSigmoid { .. } => "HardSigmoid",
            UnaryOp::HardSwish => "HardSwish",
            UnaryOp::Silu => "Silu",
            UnaryOp::Gelu { .. } => "Gelu",
            UnaryOp::Mish => "Mish",
            UnaryOp::Softplus => "Softplus",
            UnaryOp::Tanh => "Tanh",
            UnaryOp::Erf => "Erf",
            UnaryOp::Exp => "Exp",
            UnaryOp::Log => "Log",
            UnaryOp::Sqrt => "Sqrt",
            UnaryOp::Reciprocal => "Reciprocal",
            UnaryOp::Abs => "Abs",
            UnaryOp::Neg => "Neg",
            UnaryOp::Sign => "Sign",
            UnaryOp::Floor => "Floor",
            UnaryOp::Ceil => "Ceil",
            UnaryOp::Round => "Round",
            UnaryOp::Sin => "Sin",
            UnaryOp::Cos => "Cos",
            UnaryOp::Tan => "Tan",
            UnaryOp::Asin => "Asin",
            UnaryOp::Acos => "Acos",
            UnaryOp::Atan => "Atan",
            UnaryOp::Sinh => "Sinh",
            UnaryOp::Cosh => "Cosh",
            UnaryOp::Asinh => "Asinh",
            UnaryOp::Acosh => "Acosh",
            UnaryOp::Atanh => "Atanh",
            UnaryOp::Softsign => "Softsign",
            UnaryOp::Celu { .. } => "Celu",
            UnaryOp::Selu { .. } => "Selu",
            UnaryOp::ThresholdedRelu { .. } => "ThresholdedRelu",
            UnaryOp::Shrink { .. } => "Shrink",
            UnaryOp::Not => "Not",
        }
    }
}

impl BinaryOp {
    /// ONNX's name, which several functions may share.
    pub fn name(self) -> &'static str {
        match self {
            BinaryOp::Add => "Add",
            BinaryOp::Sub => "Sub",
            BinaryOp::Mul => "Mul",
            BinaryOp::Div => "Div",
            BinaryOp::Pow => "Pow",
            BinaryOp::Min => "Min",
            BinaryOp::Max => "Max",
            BinaryOp::Mod | BinaryOp::Fmod => "Mod",
            BinaryOp::BitAnd => "BitwiseAnd",
            BinaryOp::BitOr => "BitwiseOr",
            BinaryOp::BitXor => "BitwiseXor",
            BinaryOp::ShiftLeft | BinaryOp::ShiftRight => "BitShift",
            BinaryOp::PRelu => "PRelu",
        }
    }
}

impl CompareOp {
    /// ONNX's name.
    pub fn name(self) -> &'static str {
        match self {
            CompareOp::Equal => "Equal",
            CompareOp::Greater => "Greater",
            CompareOp::GreaterOrEqual => "GreaterOrEqual",
            CompareOp::Less => "Less",
            CompareOp::LessOrEqual => "LessOrEqual",
        }
    }
}

impl LogicOp {
    /// ONNX's name.
    pub fn name(self) -> &'static str {
        match self {
            LogicOp::And => "And",
            LogicOp::Or => "Or",
            LogicOp::Xor => "Xor",
        }
    }
}

impl ReduceOp {
    /// ONNX's name.
    pub fn name(self) -> &'static str {
        match self {
            ReduceOp::Mean => "ReduceMean",
            ReduceOp::Sum => "ReduceSum",
            ReduceOp::Max => "ReduceMax",
            ReduceOp::Min => "ReduceMin",
            ReduceOp::Prod => "ReduceProd",
            ReduceOp::L1 => "ReduceL1",
            ReduceOp::L2 => "ReduceL2",
            ReduceOp::SumSquare => "ReduceSumSquare",
            ReduceOp::LogSumExp => "ReduceLogSumExp",
        }
    }
}

/// The name of an operator as rules and reports write it: ONNX's, or `domain.Name` outside ONNX's own domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpKind(String);

impl OpKind {
    /// The kind of that name.
    pub fn new(name: impl Into<String>) -> Self {
        OpKind(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
