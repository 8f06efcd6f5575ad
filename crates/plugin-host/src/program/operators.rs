//! One operator at a time: its name, domain and attributes as `docs/vendor/operators.md` lists them.

use fewbit_core::ir::{BinaryOp, ConvAttributes, Graph, Node, Op, PoolAttributes, UnaryOp};

use super::{Attribute, Items, is_table};

/// The domain of operators that ONNX lacks.
const OURS: &str = "fewbit";

/// An operator as plugins see it.
pub(super) struct Described {
    pub(super) domain: &'static str,
    pub(super) op_type: String,
    pub(super) attributes: Vec<Attribute>,
    /// The function whose table is one more input.
    pub(super) table: Option<UnaryOp>,
}

/// The operator of `node`; `None` where it does not cross the boundary.
pub(super) fn describe(graph: &Graph, node: &Node) -> Option<Described> {
    if let Op::Unary(op) = node.op
        && is_table(graph, node)
    {
        return Some(Described {
            domain: OURS,
            op_type: "Table".to_owned(),
            attributes: vec![text("function", op.name())],
            table: Some(op),
        });
    }
    let ours = matches!(node.op, Op::Quantize | Op::Dequantize | Op::Requantize | Op::Unary(UnaryOp::Silu));
    let mut attributes = attributes(&node.op, node.outputs.len())?;
    if has_clamp(&node.op) {
        let (low, high) = node.op.activation().bounds();
        attributes.extend([float("clamp_min", low), float("clamp_max", high)]);
    }
    Some(Described {
        domain: if ours { OURS } else { "" },
        op_type: node.op.kind().as_str().to_owned(),
        attributes,
        table: None,
    })
}

fn has_clamp(op: &Op) -> bool {
    match op {
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Gemm { .. } => true,
        Op::Binary { op, .. } => matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul),
        _ => false,
    }
}

fn attributes(op: &Op, outputs: usize) -> Option<Vec<Attribute>> {
    Some(match op {
        Op::Conv { conv, .. } => window(conv),
        Op::ConvTranspose { conv, output_padding, .. } => {
            let mut list = window(conv);
            list.push(ints("output_padding", output_padding));
            list
        }
        Op::Gemm { alpha, beta, trans_a, trans_b, .. } => vec![
            float("alpha", *alpha),
            float("beta", *beta),
            flag("transA", *trans_a),
            flag("transB", *trans_b),
        ],
        Op::MaxPool(pool) => pooling(pool),
        Op::AveragePool(pool) => {
            let mut list = pooling(pool);
            list.push(flag("count_include_pad", pool.count_include_pad));
            list
        }
        Op::Unary(op) => unary(*op),
        Op::Binary { op, .. } => match op {
            BinaryOp::Mod | BinaryOp::Fmod => vec![flag("fmod", *op == BinaryOp::Fmod)],
            BinaryOp::ShiftLeft => vec![text("direction", "LEFT")],
            BinaryOp::ShiftRight => vec![text("direction", "RIGHT")],
            _ => vec![],
        },
        Op::Softmax { axis, .. } | Op::Concat { axis } | Op::Gather { axis } | Op::Flatten { axis } => {
            vec![int("axis", *axis)]
        }
        Op::BatchNorm { epsilon } | Op::InstanceNorm { epsilon } => vec![float("epsilon", *epsilon)],
        Op::LayerNorm { axis, epsilon } => vec![int("axis", *axis), float("epsilon", *epsilon)],
        Op::Reduce { axes, keep_dims, .. } => vec![ints("axes", axes), flag("keepdims", *keep_dims)],
        Op::ArgMax { axis, keep_dims, last, .. } => {
            vec![int("axis", *axis), flag("keepdims", *keep_dims), flag("select_last_index", *last)]
        }
        Op::Reshape { allow_zero } => vec![flag("allowzero", *allow_zero)],
        Op::Transpose { perm } => vec![ints("perm", perm)],
        Op::Squeeze { axes } | Op::Unsqueeze { axes } => vec![ints("axes", axes)],
        // Pieces whose sizes the node leaves open depend on the extent: such a node stays on the host.
        Op::Split { sizes, .. } if sizes.len() != outputs => return None,
        Op::Split { axis, sizes } => vec![int("axis", *axis), ints("split", sizes)],
        Op::Pad { mode } => vec![text("mode", mode.name())],
        Op::Resize(resize) => vec![
            text("mode", resize.mode.name()),
            text("coordinate_transformation_mode", resize.coordinates.name()),
            text("nearest_mode", resize.nearest.name()),
            float("cubic_coeff_a", resize.cubic),
            flag("exclude_outside", resize.exclude_outside),
        ],
        Op::DepthToSpace { block, crd } => {
            vec![int("blocksize", *block), text("mode", if *crd { "CRD" } else { "DCR" })]
        }
        Op::SpaceToDepth { block } => vec![int("blocksize", *block)],
        Op::Cast { to } => vec![text("to", to.name())],
        Op::Identity
        | Op::MatMul
        | Op::GlobalAveragePool
        | Op::GlobalMaxPool
        | Op::Compare(_)
        | Op::Logic(_)
        | Op::Where
        | Op::Slice
        | Op::Expand
        | Op::Tile
        | Op::Quantize
        | Op::Dequantize
        | Op::Requantize => vec![],
        _ => return None,
    })
}

fn unary(op: UnaryOp) -> Vec<Attribute> {
    match op {
        UnaryOp::LeakyRelu { alpha }
        | UnaryOp::Elu { alpha }
        | UnaryOp::Celu { alpha }
        | UnaryOp::ThresholdedRelu { alpha } => vec![float("alpha", alpha)],
        UnaryOp::Clip { min, max } => vec![float("min", min), float("max", max)],
        UnaryOp::HardSigmoid { alpha, beta } => vec![float("alpha", alpha), float("beta", beta)],
        UnaryOp::Selu { alpha, gamma } => vec![float("alpha", alpha), float("gamma", gamma)],
        UnaryOp::Shrink { bias, lambda } => vec![float("bias", bias), float("lambd", lambda)],
        UnaryOp::Gelu { tanh } => vec![text("approximate", if tanh { "tanh" } else { "none" })],
        _ => vec![],
    }
}

fn window(conv: &ConvAttributes) -> Vec<Attribute> {
    vec![
        ints("kernel_shape", &conv.kernel),
        ints("strides", &conv.strides),
        ints("dilations", &conv.dilations),
        ints("pads", &conv.pads),
        int("group", conv.groups),
    ]
}

fn pooling(pool: &PoolAttributes) -> Vec<Attribute> {
    vec![
        ints("kernel_shape", &pool.kernel),
        ints("strides", &pool.strides),
        ints("dilations", &pool.dilations),
        ints("pads", &pool.pads),
        flag("ceil_mode", pool.ceil),
    ]
}

fn attribute(name: &str, value: Items) -> Attribute {
    Attribute { name: name.to_owned(), value }
}

fn int(name: &str, value: usize) -> Attribute {
    attribute(name, Items::Int(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn flag(name: &str, value: bool) -> Attribute {
    attribute(name, Items::Int(i64::from(value)))
}

fn float(name: &str, value: f32) -> Attribute {
    attribute(name, Items::Float(f64::from(value)))
}

fn text(name: &str, value: &str) -> Attribute {
    attribute(name, Items::Text(value.to_owned()))
}

fn ints(name: &str, values: &[usize]) -> Attribute {
    let values = values.iter().map(|&value| i64::try_from(value).unwrap_or(i64::MAX)).collect();
    attribute(name, Items::Ints(values))
}
