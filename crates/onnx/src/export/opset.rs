//! Which operator set a graph's nodes need.

use fewbit_core::ir::{
    BinaryOp, CoordinateMode, DType, Graph, IndexOp, Node, Op, PadMode, ScatterReduction, UnaryOp, Value,
};
use fewbit_core::quant::Granularity;

/// What is written where nothing newer is needed.
const USUAL: i64 = 17;

/// The oldest operator set, from 17 on, that has every operator and type of the graph.
pub(super) fn needed(graph: &Graph) -> i64 {
    let nodes = graph.nodes().map(|(_, node)| of_node(graph, node));
    let values = graph.value_ids().map(|id| of_value(graph.value(id)));
    nodes.chain(values).max().unwrap_or(USUAL).max(USUAL)
}

fn of_node(graph: &Graph, node: &Node) -> i64 {
    match &node.op {
        Op::Pad { mode: PadMode::Wrap } => 19,
        Op::Pad { .. } if node.input(3).is_some() => 18,
        // Pieces whose sizes are not known may not be equal.
        Op::Split { axis, sizes }
            if sizes.is_empty() && super::operators::pieces(graph, node, *axis).is_none() =>
        {
            18
        }
        // Set 20 lets images have more than two spatial axes.
        Op::Index(IndexOp::GridSample(_)) => {
            let shape = node.input(0).and_then(|x| graph.value(x).shape.as_ref());
            if shape.is_some_and(|shape| shape.rank() != 4) { 20 } else { USUAL }
        }
        Op::Unary(UnaryOp::Gelu { .. }) => 20,
        Op::Resize(resize) if resize.coordinates == CoordinateMode::HalfPixelSymmetric => 19,
        Op::Binary { op: BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor, .. }
        | Op::Index(
            IndexOp::Col2Im { .. }
            | IndexOp::Resample(_)
            | IndexOp::ReduceBy { .. }
            | IndexOp::ScatterElements { reduction: ScatterReduction::Max | ScatterReduction::Min, .. }
            | IndexOp::ScatterNd { reduction: ScatterReduction::Max | ScatterReduction::Min },
        ) => 18,
        _ => USUAL,
    }
}

/// 16-bit codes, 4-bit elements and scales per block came with set 21.
fn of_value(value: &Value) -> i64 {
    let narrow = matches!(value.dtype, Some(DType::I4 | DType::U4));
    let quantized = value.quant.as_ref().is_some_and(|quant| {
        matches!(quant.granularity, Granularity::PerBlock { .. })
            || matches!(value.dtype, Some(DType::I16 | DType::U16))
    });
    if narrow || quantized { 21 } else { USUAL }
}

/// The version of ONNX's form that came with an operator set.
pub(super) fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8,
        19..=20 => 9,
        _ => 10,
    }
}
