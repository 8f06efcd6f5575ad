//! Conversions that meet: one behind the other, or the same one twice.

use super::{form, source};
use crate::ir::{Graph, NodeId, Op, ValueId};
use crate::pass::edit::{Uses, forward};

/// Quantize of what was dequantized becomes Requantize, and a Requantize to equal parameters goes.
pub(super) fn rewrite(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    let Some(node) = graph.node(id) else { return false };
    let (Some(x), Some(&y)) = (node.input(0), node.outputs.first()) else { return false };
    let codes = match node.op {
        Op::Quantize => source(graph, uses, x),
        Op::Requantize => Some(x),
        _ => None,
    };
    let Some(codes) = codes else { return false };
    let (Some(from), Some(to)) = (form(graph, codes), form(graph, y)) else { return false };
    if from == to && forward(graph, uses, id, codes) {
        return true;
    }
    let shared = from.1.tensor_wide().is_some() && to.1.tensor_wide().is_some();
    let Some(node) = graph.node_mut(id).filter(|node| shared && matches!(node.op, Op::Quantize)) else {
        return false;
    };
    node.op = Op::Requantize;
    node.inputs = vec![Some(codes)];
    true
}

/// Lets readers of equal conversions of one value read the first of them; gives the number merged.
pub(super) fn merge_equal(graph: &mut Graph) -> usize {
    let mut first: Vec<Vec<ValueId>> = vec![Vec::new(); graph.value_ids().len()];
    let mut changes = 0;
    for id in graph.node_ids() {
        let Some(node) = graph.node(id) else { continue };
        if !matches!(node.op, Op::Quantize | Op::Dequantize | Op::Requantize) {
            continue;
        }
        let (Some(x), Some(&y)) = (node.input(0), node.outputs.first()) else { continue };
        // The element type tells Dequantize from the others.
        let key = |id: ValueId| (graph.value(id).dtype, &graph.value(id).quant);
        match first[x.index()].iter().copied().find(|&other| key(other) == key(y)) {
            Some(other) if !graph.is_output(y) => {
                graph.remove_node(id);
                graph.replace_uses(y, other);
                changes += 1;
            }
            _ => first[x.index()].push(y),
        }
    }
    changes
}
