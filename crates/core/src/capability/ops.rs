//! The operator names that rules may use, and the groups that stand for several of them.

/// Functions of one float element: those that integer arithmetic computes by a table.
const TABLE: [&str; 25] = [
    "Relu",
    "LeakyRelu",
    "Elu",
    "Clip",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Silu",
    "Gelu",
    "Mish",
    "Softplus",
    "Tanh",
    "Erf",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Abs",
    "Neg",
    "Sign",
    "Floor",
    "Ceil",
    "Round",
    "Sin",
    "Cos",
];

/// Operators whose output elements are input elements whatever their attributes.
const MOVING: [&str; 17] = [
    "Identity",
    "MaxPool",
    "GlobalMaxPool",
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Split",
    "Slice",
    "Gather",
    "Expand",
    "Tile",
    "DepthToSpace",
    "SpaceToDepth",
    "ReduceMax",
    "ReduceMin",
];

/// Operators that multiply by weights.
const WEIGHTED: [&str; 4] = ["Conv", "ConvTranspose", "Gemm", "MatMul"];

/// Every other operator of the IR.
const OTHERS: [&str; 91] = [
    "AveragePool",
    "GlobalAveragePool",
    "Not",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Min",
    "Max",
    "Mod",
    "PRelu",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "And",
    "Or",
    "Xor",
    "Where",
    "Softmax",
    "LogSoftmax",
    "BatchNormalization",
    "LayerNormalization",
    "InstanceNormalization",
    "ReduceMean",
    "ReduceSum",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
    "ArgMax",
    "ArgMin",
    "Concat",
    "Pad",
    "Resize",
    "Shape",
    "Size",
    "ConstantOfShape",
    "Range",
    "Cast",
    "Quantize",
    "Dequantize",
    "Requantize",
    "DynamicQuantizeLinear",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "BitShift",
    "GatherElements",
    "GatherND",
    "ScatterElements",
    "ScatterND",
    "OneHot",
    "CumSum",
    "TopK",
    "NonMaxSuppression",
    "NonZero",
    "Compress",
    "Trilu",
    "ReverseSequence",
    "Unique",
    "GridSample",
    "RoiAlign",
    "Col2Im",
    "MaxPoolIndices",
    "MaxUnpool",
    "Resample",
    "ReduceBy",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Acosh",
    "Atanh",
    "Softsign",
    "Celu",
    "Selu",
    "ThresholdedRelu",
    "Shrink",
    "RNN",
    "GRU",
    "LSTM",
    "If",
    "Loop",
    "Scan",
];

/// The groups that a rule's operator list may name.
const GROUPS: [&str; 4] = ["@all", "@moving", "@table", "@weighted"];

/// The operators that `name` stands for; `None` where it is neither an operator nor a group.
fn members(name: &str) -> Option<Vec<&'static str>> {
    Some(match name {
        "@all" => known().collect(),
        "@moving" => MOVING.to_vec(),
        "@table" => TABLE.to_vec(),
        "@weighted" => WEIGHTED.to_vec(),
        _ => vec![known().find(|known| *known == name)?],
    })
}

/// Every operator name of the IR, in a fixed order.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    WEIGHTED.into_iter().chain(TABLE).chain(MOVING).chain(OTHERS)
}

/// Whether `name` is an operator of the IR or a group.
pub(super) fn is_known(name: &str) -> bool {
    members(name).is_some()
}

/// Whether the list `names` of operators and groups covers the operator `kind`.
pub(super) fn covers(names: &[String], kind: &str) -> bool {
    names.iter().any(|name| name == kind || members(name).is_some_and(|members| members.contains(&kind)))
}

/// The operator or group nearest to a misspelt `name`.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    crate::diag::nearest(name, known().chain(GROUPS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Activation, BinaryOp, Op, ReduceOp, UnaryOp};

    #[test]
    fn names_are_those_of_the_ir_and_unique() {
        let mut names: Vec<_> = known().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        let ops = [
            Op::MatMul,
            Op::Unary(UnaryOp::Gelu { tanh: false }),
            Op::Unary(UnaryOp::Not),
            Op::Binary { op: BinaryOp::PRelu, activation: Activation::None },
            Op::Reduce { op: ReduceOp::LogSumExp, axes: vec![], keep_dims: true },
            Op::Softmax { axis: 1, log: true },
            Op::BatchNorm { epsilon: 0.0 },
            Op::Slice,
            Op::DynamicQuantizeLinear,
        ];
        for op in ops {
            assert!(is_known(op.kind().as_str()), "{}", op.kind());
        }
        assert!(!is_known("QuantizeLinear"), "explicit QDQ is absorbed before rules are asked");
    }

    #[test]
    fn groups_cover_their_members_only() {
        let names = vec!["@moving".to_owned(), "Conv".to_owned()];
        assert!(covers(&names, "Reshape") && covers(&names, "Conv"));
        assert!(!covers(&names, "Gemm") && !covers(&names, "com.example.Odd"));
        assert!(!covers(&["@all".to_owned()], "Einsum"));
        assert_eq!(nearest("Convv"), Some("Conv"));
        assert_eq!(nearest("@movin"), Some("@moving"));
    }
}
