//! Quantization parameters, from operands onto the values they belong to.

use crate::ir::{DType, Graph, Node, NodeId, Op, ValueId};
use crate::pass::edit::{Uses, plain_constant};
use crate::quant::{Granularity, QuantParams};

/// QuantizeLinear and DequantizeLinear of constant parameters become Quantize and Dequantize.
pub(super) fn rewrite(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    let Some(node) = graph.node(id) else { return false };
    let (Some(x), Some(&y)) = (node.input(0), node.outputs.first()) else { return false };
    match node.op {
        Op::QuantizeLinear { axis, block, .. } => {
            let Some(params) = parameters(graph, node, y, axis, block) else { return false };
            // Constants are folded to codes first; the parameters then come with their DequantizeLinear.
            let value = graph.value(x);
            if value.constant.is_some() || value.quant.is_some() || value.dtype != Some(DType::F32) {
                return false;
            }
            graph.value_mut(y).quant = Some(params);
            become_conversion(graph, id, Op::Quantize, x);
            true
        }
        Op::DequantizeLinear { axis, block } => {
            if graph.value(y).dtype != Some(DType::F32) {
                return false;
            }
            let Some(params) = parameters(graph, node, x, axis, block) else { return false };
            let Some(labelled) = label(graph, uses, x, &params) else { return false };
            become_conversion(graph, id, Op::Dequantize, labelled);
            true
        }
        _ => false,
    }
}

fn become_conversion(graph: &mut Graph, id: NodeId, op: Op, x: ValueId) {
    if let Some(node) = graph.node_mut(id) {
        node.op = op;
        node.inputs = vec![Some(x)];
    }
}

/// The parameters that the operands 1 and 2 of `node` give the integer value `codes`, where they are sound.
fn parameters(graph: &Graph, node: &Node, codes: ValueId, axis: usize, block: usize) -> Option<QuantParams> {
    from_operands(graph, codes, node.input(1)?, node.input(2), axis, block)
}

/// The parameters that constant operands give the integer value `codes`, where they are sound.
pub(super) fn from_operands(
    graph: &Graph,
    codes: ValueId,
    scale: ValueId,
    zero_point: Option<ValueId>,
    axis: usize,
    block: usize,
) -> Option<QuantParams> {
    let scales = plain_constant(graph, scale)?;
    if scales.dtype() != DType::F32 {
        return None;
    }
    let scales = scales.to_f32_vec();
    let zero_points = match zero_point {
        Some(id) => {
            let tensor = plain_constant(graph, id).filter(|tensor| !tensor.dtype().is_float())?;
            tensor
                .to_i64_vec()
                .into_iter()
                .map(|zero| i32::try_from(zero).ok())
                .collect::<Option<Vec<_>>>()?
        }
        None => vec![0; scales.len()],
    };
    let granularity = match (block, scales.len()) {
        (0, 1) => Granularity::PerTensor,
        (0, _) => Granularity::PerChannel { axis },
        (size, _) => Granularity::PerBlock { axis, size },
    };
    let params = QuantParams { granularity, scales, zero_points };
    let value = graph.value(codes);
    let extents = match (value.extents(), granularity) {
        (Some(extents), _) => extents,
        (None, Granularity::PerTensor) => Vec::new(),
        (None, _) => return None,
    };
    params.validate(value.dtype?, &extents).ok().map(|()| params)
}

/// The value `codes` with `params` on it: itself, or a copy of a constant that has other parameters already.
///
/// Constants and graph inputs take parameters; so do values whose elements were only moved from one that does. A
/// value that something computes without them keeps its own meaning.
pub(super) fn label(graph: &mut Graph, uses: &Uses, codes: ValueId, params: &QuantParams) -> Option<ValueId> {
    let value = graph.value(codes);
    if let Some(found) = &value.quant {
        if found == params {
            return Some(codes);
        }
        let mut copy = value.clone();
        copy.constant.as_ref()?;
        copy.name = graph.fresh_value_name(&copy.name);
        copy.quant = Some(params.clone());
        return Some(graph.push_value(copy));
    }
    let origin = value.constant.is_some() || graph.inputs.contains(&codes);
    if !origin {
        let node = graph.node(uses.producer(codes)?)?;
        let moved = node.op.moves_elements() && node.outputs.len() == 1 && params.tensor_wide().is_some();
        let x = node.input(0).filter(|_| moved)?;
        let id = uses.producer(codes)?;
        let x = label(graph, uses, x, params)?;
        if let Some(node) = graph.node_mut(id) {
            node.inputs[0] = Some(x);
        }
    }
    graph.value_mut(codes).quant = Some(params.clone());
    Some(codes)
}
