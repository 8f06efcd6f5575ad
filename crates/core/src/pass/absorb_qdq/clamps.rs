//! Clamps in front of Quantize.

use super::{fuse, targets};
use crate::ir::{DType, Graph, NodeId, Op, Value};
use crate::pass::clamp::as_clamp;
use crate::pass::edit::{Uses, forward, insert};
use crate::quant::convert::CodeRange;

/// Removes a clamp that the codes behind it saturate at anyway, and quantizes in front of one that its producer
/// cannot take in, which both then have integer forms. Both are exact: rounding is monotone.
pub(super) fn rewrite(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    let Some(node) = graph.node(id) else { return false };
    let (Op::Unary(function), Some(x), Some(&y)) = (&node.op, node.input(0), node.outputs.first()) else {
        return false;
    };
    let (Some(clamp), Some(targets)) = (as_clamp(*function), targets(graph, y, &[8])) else { return false };
    let Some(quantized) =
        targets.first().and_then(|&target| graph.node(target)?.outputs.first()).map(|&id| graph.value(id))
    else {
        return false;
    };
    let (Some(dtype), Some(quant)) = (quantized.dtype, quantized.quant.clone()) else { return false };
    let Some((scale, zero_point)) = quant.tensor_wide() else { return false };
    let range = if dtype == DType::U8 { CodeRange::U8 } else { CodeRange::I8 };
    let (low, high) = clamp.bounds();
    if range.clipped(low, high, scale, zero_point) == range {
        return forward(graph, uses, id, x);
    }
    let producer = uses.producer(x).filter(|_| uses.single(x)).and_then(|id| graph.node(id));
    if !producer.is_some_and(|node| matches!(node.op, Op::MatMul) || fuse::has_form(&node.op)) {
        return false;
    }
    let name = format!("{}/quantized", graph.value(x).name);
    let codes = insert(graph, &name, Op::Quantize, &[x]);
    let shape = graph.value(x).shape.clone();
    let value = graph.value_mut(codes);
    *value = Value { dtype: Some(dtype), shape: shape.clone(), quant: Some(quant), ..value.clone() };
    let name = format!("{}/dequantized", graph.value(x).name);
    let float = insert(graph, &name, Op::Dequantize, &[codes]);
    let value = graph.value_mut(float);
    (value.dtype, value.shape) = (Some(DType::F32), shape);
    if let Some(node) = graph.node_mut(id) {
        node.inputs = vec![Some(float)];
    }
    true
}
