//! The table of operators that have a meaning: dispatch and messages read the same one.

use std::collections::HashMap;
use std::sync::LazyLock;

use fewbit_core::diag;
use fewbit_core::ir::{Activation, BinaryOp, Cell, CompareOp, IndexOp, LogicOp, Op, ReduceOp, UnaryOp};

use super::Site;
use crate::error::Result;

/// The domain of ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";
/// Which products of codes have a meaning.
const CODES: &str = "codes that are no DynamicQuantizeLinear's of constant signed weights, scaled back to float; that \
                     whole pattern is supported";
/// Which operators with parameters as operands have a meaning.
const PARAMETERS: &str = "scales or zero points that are computed, or attributes beyond the float operator's; constant \
                          scales and zero points are supported";

/// How an operator is taken over.
pub(in crate::import) enum Translate {
    /// The node becomes this operator, in front of which others may be emitted.
    Op(fn(&mut Site<'_, '_>) -> Result<Op>),
    /// The node becomes control flow.
    Control,
    /// The node becomes a constant.
    Constant,
    /// The node is kept as it is, for a pass to absorb; where none does, this form is without a meaning.
    Absorbed(&'static str),
}

/// An operator that has a meaning.
pub(in crate::import) struct Operator {
    /// Its domain, empty for ONNX's own.
    pub(in crate::import) domain: &'static str,
    /// Its name.
    pub(in crate::import) name: &'static str,
    /// The first set of its domain that has it.
    pub(in crate::import) since: i64,
    /// How it is taken over.
    pub(in crate::import) translate: Translate,
}

/// An operator of ONNX's own domain.
const fn on(name: &'static str, since: i64, translate: fn(&mut Site<'_, '_>) -> Result<Op>) -> Operator {
    Operator { domain: "", name, since, translate: Translate::Op(translate) }
}

/// An operator of ONNX Runtime's domain.
const fn microsoft(name: &'static str, translate: fn(&mut Site<'_, '_>) -> Result<Op>) -> Operator {
    Operator { domain: MICROSOFT, name, since: 1, translate: Translate::Op(translate) }
}

/// An operator that passes absorb.
const fn absorbed(domain: &'static str, name: &'static str, since: i64, form: &'static str) -> Operator {
    Operator { domain, name, since, translate: Translate::Absorbed(form) }
}

fn binary(op: BinaryOp) -> Op {
    Op::Binary { op, activation: Activation::None }
}

/// Every operator that has a meaning, each once.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the methods' paths are of one lifetime each, and the table's functions of any"
)]
static OPERATORS: &[Operator] = &[
    // Control flow, and constants, which become no operator.
    Operator { name: "If", since: 1, domain: "", translate: Translate::Control },
    Operator { name: "Loop", since: 1, domain: "", translate: Translate::Control },
    Operator { name: "Scan", since: 8, domain: "", translate: Translate::Control },
    Operator { name: "Constant", since: 1, domain: "", translate: Translate::Constant },
    // Functions of one element.
    on("Relu", 1, |_| Ok(Op::Unary(UnaryOp::Relu))),
    on("Sigmoid", 1, |_| Ok(Op::Unary(UnaryOp::Sigmoid))),
    on("HardSwish", 14, |_| Ok(Op::Unary(UnaryOp::HardSwish))),
    on("Mish", 18, |_| Ok(Op::Unary(UnaryOp::Mish))),
    on("Softplus", 1, |_| Ok(Op::Unary(UnaryOp::Softplus))),
    on("Tanh", 1, |_| Ok(Op::Unary(UnaryOp::Tanh))),
    on("Erf", 9, |_| Ok(Op::Unary(UnaryOp::Erf))),
    on("Exp", 1, |_| Ok(Op::Unary(UnaryOp::Exp))),
    on("Log", 1, |_| Ok(Op::Unary(UnaryOp::Log))),
    on("Sqrt", 1, |_| Ok(Op::Unary(UnaryOp::Sqrt))),
    on("Reciprocal", 1, |_| Ok(Op::Unary(UnaryOp::Reciprocal))),
    on("Abs", 1, |_| Ok(Op::Unary(UnaryOp::Abs))),
    on("Neg", 1, |_| Ok(Op::Unary(UnaryOp::Neg))),
    on("Sign", 9, |_| Ok(Op::Unary(UnaryOp::Sign))),
    on("Floor", 1, |_| Ok(Op::Unary(UnaryOp::Floor))),
    on("Ceil", 1, |_| Ok(Op::Unary(UnaryOp::Ceil))),
    on("Round", 11, |_| Ok(Op::Unary(UnaryOp::Round))),
    on("Sin", 7, |_| Ok(Op::Unary(UnaryOp::Sin))),
    on("Cos", 7, |_| Ok(Op::Unary(UnaryOp::Cos))),
    on("Tan", 7, |_| Ok(Op::Unary(UnaryOp::Tan))),
    on("Asin", 7, |_| Ok(Op::Unary(UnaryOp::Asin))),
    on("Acos", 7, |_| Ok(Op::Unary(UnaryOp::Acos))),
    on("Atan", 7, |_| Ok(Op::Unary(UnaryOp::Atan))),
    on("Sinh", 9, |_| Ok(Op::Unary(UnaryOp::Sinh))),
    on("Cosh", 9, |_| Ok(Op::Unary(UnaryOp::Cosh))),
    on("Asinh", 9, |_| Ok(Op::Unary(UnaryOp::Asinh))),
    on("Acosh", 9, |_| Ok(Op::Unary(UnaryOp::Acosh))),
    on("Atanh", 9, |_| Ok(Op::Unary(UnaryOp::Atanh))),
    on("Softsign", 1, |_| Ok(Op::Unary(UnaryOp::Softsign))),
    on("Not", 1, |_| Ok(Op::Unary(UnaryOp::Not))),
    on("LeakyRelu", 1, |s| Ok(Op::Unary(UnaryOp::LeakyRelu { alpha: s.attributes.float("alpha", 0.01) }))),
    on("Elu", 1, |s| Ok(Op::Unary(UnaryOp::Elu { alpha: s.attributes.float("alpha", 1.0) }))),
    on("Celu", 12, |s| Ok(Op::Unary(UnaryOp::Celu { alpha: s.attributes.float("alpha", 1.0) }))),
    on("ThresholdedRelu", 10, |s| {
        Ok(Op::Unary(UnaryOp::ThresholdedRelu { alpha: s.attributes.float("alpha", 1.0) }))
    }),
    on("Selu", 1, |s| {
        Ok(Op::Unary(UnaryOp::Selu {
            alpha: s.attributes.float("alpha", 1.673_263_2),
            gamma: s.attributes.float("gamma", 1.050_701),
        }))
    }),
    on("Shrink", 9, |s| {
        Ok(Op::Unary(UnaryOp::Shrink {
            bias: s.attributes.float("bias", 0.0),
            lambda: s.attributes.float("lambd", 0.5),
        }))
    }),
    on("HardSigmoid", 1, |s| {
        Ok(Op::Unary(UnaryOp::HardSigmoid {
            alpha: s.attributes.float("alpha", 0.2),
            beta: s.attributes.float("beta", 0.5),
        }))
    }),
    on("Gelu", 20, |s| s.gelu()),
    microsoft("Gelu", |s| s.gelu()),
    on("Clip", 1, |s| s.clip()),
    on("Identity", 1, |_| Ok(Op::Identity)),
    on("Dropout", 1, |s| s.dropout()),
    on("Cast", 1, |s| s.cast()),
    on("CastLike", 15, |s| s.cast_like()),
    on("Swish", 24, |s| s.swish()),
    on("SwiGLU", 28, |s| s.swi_glu()),
    on("IsNaN", 9, |s| s.is_nan()),
    on("IsInf", 10, |s| s.is_inf()),
    on("BitwiseNot", 18, |s| s.bitwise_not()),
    // Functions of two elements and more.
    on("Add", 1, |_| Ok(binary(BinaryOp::Add))),
    on("Sub", 1, |_| Ok(binary(BinaryOp::Sub))),
    on("Mul", 1, |_| Ok(binary(BinaryOp::Mul))),
    on("Div", 1, |_| Ok(binary(BinaryOp::Div))),
    on("Pow", 1, |_| Ok(binary(BinaryOp::Pow))),
    on("PRelu", 1, |_| Ok(binary(BinaryOp::PRelu))),
    on("BitwiseAnd", 18, |_| Ok(binary(BinaryOp::BitAnd))),
    on("BitwiseOr", 18, |_| Ok(binary(BinaryOp::BitOr))),
    on("BitwiseXor", 18, |_| Ok(binary(BinaryOp::BitXor))),
    on("Mod", 10, |s| {
        Ok(binary(if s.attributes.flag("fmod", false) { BinaryOp::Fmod } else { BinaryOp::Mod }))
    }),
    on("BitShift", 11, |s| s.bit_shift()),
    on("Equal", 1, |_| Ok(Op::Compare(CompareOp::Equal))),
    on("Greater", 1, |_| Ok(Op::Compare(CompareOp::Greater))),
    on("GreaterOrEqual", 12, |_| Ok(Op::Compare(CompareOp::GreaterOrEqual))),
    on("Less", 1, |_| Ok(Op::Compare(CompareOp::Less))),
    on("LessOrEqual", 12, |_| Ok(Op::Compare(CompareOp::LessOrEqual))),
    on("And", 1, |_| Ok(Op::Logic(LogicOp::And))),
    on("Or", 1, |_| Ok(Op::Logic(LogicOp::Or))),
    on("Xor", 1, |_| Ok(Op::Logic(LogicOp::Xor))),
    on("Where", 9, |_| Ok(Op::Where)),
    on("Min", 1, |s| s.fold(BinaryOp::Min)),
    on("Max", 1, |s| s.fold(BinaryOp::Max)),
    on("Sum", 1, |s| s.fold(BinaryOp::Add)),
    on("Mean", 1, |s| s.mean()),
    // Products and windows.
    on("Conv", 1, |s| Ok(Op::Conv { conv: s.conv()?, activation: Activation::None })),
    on("ConvTranspose", 1, |s| s.conv_transpose()),
    on("Gemm", 1, |s| Ok(s.gemm())),
    on("MatMul", 1, |_| Ok(Op::MatMul)),
    on("MaxPool", 1, |s| s.max_pool()),
    on("AveragePool", 1, |s| Ok(Op::AveragePool(s.pool(s.attributes.flag("count_include_pad", false))?))),
    on("GlobalAveragePool", 1, |_| Ok(Op::GlobalAveragePool)),
    on("GlobalMaxPool", 1, |_| Ok(Op::GlobalMaxPool)),
    on("LpPool", 1, |s| s.lp_pool()),
    on("GlobalLpPool", 1, |s| s.global_lp_pool()),
    on("Attention", 23, |s| s.attention()),
    on("RotaryEmbedding", 23, |s| s.rotary()),
    on("RNN", 1, |s| s.recurrent(Cell::Rnn)),
    on("GRU", 1, |s| {
        s.recurrent(Cell::Gru { linear_before_reset: s.attributes.flag("linear_before_reset", false) })
    }),
    on("LSTM", 1, |s| s.recurrent(Cell::Lstm { input_forget: s.attributes.flag("input_forget", false) })),
    // Normalisations and reductions.
    on("Softmax", 1, |s| s.softmax(false)),
    on("LogSoftmax", 1, |s| s.softmax(true)),
    on("Hardmax", 1, |s| s.hardmax()),
    on("BatchNormalization", 1, |s| s.batch_norm()),
    on("LayerNormalization", 17, |s| s.layer_norm()),
    on("InstanceNormalization", 1, |s| Ok(Op::InstanceNorm { epsilon: s.attributes.float("epsilon", 1e-5) })),
    on("RMSNormalization", 23, |s| s.rms_norm()),
    on("GroupNormalization", 18, |s| s.group_norm()),
    on("LpNormalization", 1, |s| s.lp_norm()),
    on("MeanVarianceNormalization", 9, |s| s.mean_variance()),
    on("LRN", 1, |s| s.lrn()),
    on("ReduceMean", 1, |s| s.reduce(ReduceOp::Mean)),
    on("ReduceSum", 1, |s| s.reduce(ReduceOp::Sum)),
    on("ReduceMax", 1, |s| s.reduce(ReduceOp::Max)),
    on("ReduceMin", 1, |s| s.reduce(ReduceOp::Min)),
    on("ReduceProd", 1, |s| s.reduce(ReduceOp::Prod)),
    on("ReduceL1", 1, |s| s.reduce(ReduceOp::L1)),
    on("ReduceL2", 1, |s| s.reduce(ReduceOp::L2)),
    on("ReduceSumSquare", 1, |s| s.reduce(ReduceOp::SumSquare)),
    on("ReduceLogSumExp", 1, |s| s.reduce(ReduceOp::LogSumExp)),
    on("ReduceLogSum", 1, |s| s.reduce_log_sum()),
    on("ArgMax", 1, |s| s.arg_max(false)),
    on("ArgMin", 1, |s| s.arg_max(true)),
    // Shapes and their arithmetic.
    on("Flatten", 1, |s| s.flatten()),
    on("Split", 1, |s| s.split()),
    on("Slice", 1, |s| s.slice()),
    on("Pad", 1, |s| s.pad()),
    on("Shape", 1, |s| s.shape()),
    on("ConstantOfShape", 9, |s| s.constant_of_shape()),
    on("CenterCropPad", 18, |s| s.center_crop_pad()),
    on("EyeLike", 9, |s| s.eye_like()),
    on("SpaceToDepth", 1, |s| s.space_to_depth()),
    on("Reshape", 1, |s| Ok(Op::Reshape { allow_zero: s.attributes.flag("allowzero", false) })),
    on("Transpose", 1, |s| Ok(Op::Transpose { perm: s.permutation()? })),
    on("Squeeze", 1, |s| s.squeeze(false)),
    on("Unsqueeze", 1, |s| s.squeeze(true)),
    on("Concat", 1, |s| Ok(Op::Concat { axis: s.own_axis(0)? })),
    on("Gather", 1, |s| Ok(Op::Gather { axis: s.own_axis(0)? })),
    on("Expand", 8, |_| Ok(Op::Expand)),
    on("Tile", 1, |_| Ok(Op::Tile)),
    on("Size", 1, |_| Ok(Op::Size)),
    on("Range", 11, |_| Ok(Op::Range)),
    on("Resize", 10, |s| s.resize(false)),
    on("Upsample", 1, |s| s.resize(true)),
    on("DepthToSpace", 1, |s| {
        Ok(Op::DepthToSpace { block: s.block()?, crd: s.attributes.text("mode", "DCR") == "CRD" })
    }),
    on("HannWindow", 17, |s| s.cosine_window([0.5, 0.5, 0.0])),
    on("HammingWindow", 17, |s| s.cosine_window([25.0 / 46.0, 21.0 / 46.0, 0.0])),
    on("BlackmanWindow", 17, |s| s.cosine_window([0.42, 0.5, 0.08])),
    // Positions: gathers and scatters by element, ordering, suppression.
    on("GatherElements", 11, |s| Ok(Op::Index(IndexOp::GatherElements { axis: s.own_axis(0)? }))),
    on("GatherND", 11, |s| Ok(Op::Index(IndexOp::GatherNd { batch_dims: s.count("batch_dims")? }))),
    on("ScatterElements", 11, |s| s.scatter_elements()),
    // What ScatterElements was called before set 11.
    on("Scatter", 9, |s| s.scatter_elements()),
    on("ScatterND", 11, |s| Ok(Op::Index(IndexOp::ScatterNd { reduction: s.scatter_reduction()? }))),
    on("OneHot", 9, |s| Ok(Op::Index(s.one_hot()?))),
    on("TopK", 1, |s| Ok(Op::Index(s.top_k()?))),
    on("NonMaxSuppression", 10, |s| Ok(Op::Index(s.suppression()?))),
    on("Compress", 9, |s| Ok(Op::Index(s.compress()?))),
    on("ReverseSequence", 10, |s| Ok(Op::Index(s.reverse_sequence()?))),
    on("Unique", 11, |s| Ok(Op::Index(s.unique()?))),
    on("GridSample", 16, |s| Ok(Op::Index(s.grid_sample()?))),
    on("RoiAlign", 10, |s| Ok(Op::Index(s.roi_align()?))),
    on("Col2Im", 18, |s| Ok(Op::Index(s.col2im()?))),
    on("MaxUnpool", 9, |s| Ok(Op::Index(s.max_unpool()?))),
    on("CumSum", 11, |s| Ok(s.cum_sum())),
    on("NonZero", 9, |_| Ok(Op::Index(IndexOp::NonZero))),
    on("Trilu", 14, |s| Ok(Op::Index(IndexOp::Trilu { upper: s.attributes.flag("upper", true) }))),
    // Quantization.
    on("QuantizeLinear", 10, |s| s.linear(true)),
    on("DequantizeLinear", 10, |s| s.linear(false)),
    microsoft("QuantizeLinear", |s| s.linear(true)),
    microsoft("DequantizeLinear", |s| s.linear(false)),
    on("DynamicQuantizeLinear", 11, |_| Ok(Op::DynamicQuantizeLinear)),
    absorbed("", "MatMulInteger", 10, CODES),
    absorbed("", "ConvInteger", 10, CODES),
    absorbed("", "QLinearConv", 10, PARAMETERS),
    absorbed("", "QLinearMatMul", 10, PARAMETERS),
    absorbed(MICROSOFT, "QLinearMatMul", 1, PARAMETERS),
    absorbed(MICROSOFT, "QLinearAdd", 1, PARAMETERS),
    absorbed(MICROSOFT, "QLinearMul", 1, PARAMETERS),
    absorbed(MICROSOFT, "QGemm", 1, PARAMETERS),
    absorbed(MICROSOFT, "QLinearSigmoid", 1, PARAMETERS),
    absorbed(MICROSOFT, "QLinearLeakyRelu", 1, PARAMETERS),
    absorbed(MICROSOFT, "QLinearSoftmax", 1, PARAMETERS),
    absorbed(MICROSOFT, "QLinearGlobalAveragePool", 1, PARAMETERS),
    absorbed(MICROSOFT, "QLinearAveragePool", 1, PARAMETERS),
    absorbed(MICROSOFT, "QLinearConcat", 1, PARAMETERS),
];

/// The table by domain and name.
static BY_NAME: LazyLock<HashMap<(&str, &str), &Operator>> =
    LazyLock::new(|| OPERATORS.iter().map(|operator| ((operator.domain, operator.name), operator)).collect());

/// The operator of that name in that domain (empty for ONNX's own).
pub(in crate::import) fn find(domain: &str, name: &str) -> Option<&'static Operator> {
    BY_NAME.get(&(domain, name)).copied()
}

/// The operator nearest to one that has no meaning: of the same name in another domain, spelt alike, or what its name
/// ends in (`FusedConv`, `SkipLayerNormalization`); `None` where all are far.
pub(in crate::import) fn nearest(name: &str) -> Option<String> {
    let same = |operator: &&Operator| operator.name.eq_ignore_ascii_case(name);
    let spelt = |least: f64| {
        // Of names that differ in their ends alone, such as Asin and Asinh, the first of the alphabet's order.
        let found = diag::nearest(name, OPERATORS.iter().map(|operator| operator.name))?;
        (diag::likeness(name, found) >= least).then_some(found)
    };
    let ending = || {
        let names = OPERATORS.iter().map(|operator| operator.name);
        names.filter(|end| end.len() >= 4 && name.ends_with(end)).max_by_key(|end| end.len())
    };
    let operator = OPERATORS.iter().find(same).or_else(|| {
        let found = spelt(0.8).or_else(ending).or_else(|| spelt(0.6))?;
        OPERATORS.iter().find(|operator| operator.name == found)
    })?;
    let domain = if operator.domain.is_empty() { "ONNX's own domain" } else { operator.domain };
    Some(format!("{} of {domain}, from operator set {} on", operator.name, operator.since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_is_listed_once() {
        assert_eq!(BY_NAME.len(), OPERATORS.len());
        for operator in OPERATORS {
            assert!(find(operator.domain, operator.name).is_some_and(|found| std::ptr::eq(found, operator)));
        }
    }

    #[test]
    fn the_nearest_is_of_the_same_name_or_spelt_alike_or_what_the_name_ends_in() {
        for (name, expected) in [
            ("LayerNormalisation", Some("LayerNormalization of ONNX's own domain, from operator set 17 on")),
            ("gelu", Some("Gelu of ONNX's own domain, from operator set 20 on")),
            ("Relu", Some("Relu of ONNX's own domain, from operator set 1 on")),
            ("FusedConv", Some("Conv of ONNX's own domain, from operator set 1 on")),
            (
                "SkipLayerNormalization",
                Some("LayerNormalization of ONNX's own domain, from operator set 17 on"),
            ),
            ("BiasGelu", Some("Gelu of ONNX's own domain, from operator set 20 on")),
            ("MultiHeadAttention", Some("Attention of ONNX's own domain, from operator set 23 on")),
            ("QGemmm", Some("QGemm of com.microsoft, from operator set 1 on")),
            ("Frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(name).as_deref(), expected, "{name}");
        }
    }
}
