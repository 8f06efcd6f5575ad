//! Operators and their attributes.
//!
//! An operator's meaning is that of the newest ONNX operator of the same name unless its documentation says
//! otherwise; the importer translates older forms. Spatial attributes list one entry per spatial axis, pads list
//! all begins, then all ends.
//!
//! Owns [`Op`]; its children own functions of elements (`element`), attributes (`attributes`), modes with their names
//! (`modes`) and the names of operators (`kind`).

mod attributes;
mod element;
mod kind;
mod modes;

use indexmap::IndexMap;

pub use attributes::{Activation, Attribute, ConvAttributes, PoolAttributes, ResizeAttributes};
pub use element::{BinaryOp, CompareOp, LogicOp, ReduceOp, UnaryOp};
pub use kind::OpKind;
pub(super) use modes::spelled;
pub use modes::{CoordinateMode, NearestMode, PadMode, ResizeMode};

use super::{Control, DType, IndexOp, Lack, Recurrent, Tensor};

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
