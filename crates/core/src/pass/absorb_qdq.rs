//! Models that other tools quantized: from Quantize and Dequantize around float operators to operators on
//! quantized values.
//!
//! Each step is exact or within one code of what the model says:
//!
//! 1. parameters move from operands onto values ([`typed`]), and operators of the QLinear family are spelled out
//!    ([`qlinear`]);
//! 2. scales per channel of activations move into weights ([`equalize`]);
//! 3. `Dequantize → operator → Quantize` becomes the operator's integer form ([`clamps`], [`fuse`], [`weighted`]);
//! 4. conversions that meet are merged ([`meet`]).
//!
//! What has no integer form stays float between Dequantize and Quantize: correct, slower.

use super::Pass;
use super::edit::{Uses, sweep};
use crate::error::Result;
use crate::ir::{DType, Graph, NodeId, Op, ValueId};
use crate::quant::QuantParams;

mod clamps;
mod equalize;
mod fuse;
mod meet;
mod qlinear;
mod typed;
mod weighted;

/// Turns quantized models of other tools into the typed form.
pub(super) struct AbsorbQdq;

impl Pass for AbsorbQdq {
    fn name(&self) -> &'static str {
        "absorb-qdq"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let mut changes = sweep(graph, |graph, uses, id| Ok(typed::rewrite(graph, uses, id)))?;
        changes += sweep(graph, |graph, uses, id| Ok(qlinear::rewrite(graph, uses, id)))?;
        changes += meet::merge_equal(graph);
        changes += sweep(graph, equalize::rewrite)?;
        changes += sweep(graph, |graph, uses, id| Ok(clamps::rewrite(graph, uses, id)))?;
        changes += sweep(graph, |graph, uses, id| {
            Ok(fuse::rewrite(graph, uses, id) || weighted::rewrite(graph, uses, id)?)
        })?;
        changes += sweep(graph, |graph, uses, id| Ok(meet::rewrite(graph, uses, id)))?;
        Ok(changes)
    }
}

/// The quantized value that the float `value` is dequantized from.
fn source(graph: &Graph, uses: &Uses, value: ValueId) -> Option<ValueId> {
    let node = graph.node(uses.producer(value)?)?;
    matches!(node.op, Op::Dequantize).then(|| node.input(0))?
}

/// As [`source`], where the whole tensor shares parameters and elements have one of the `widths` in bits.
fn activation(graph: &Graph, uses: &Uses, value: ValueId, widths: &[usize]) -> Option<ValueId> {
    source(graph, uses, value).filter(|&id| is_activation(graph, id, widths))
}

fn is_activation(graph: &Graph, id: ValueId, widths: &[usize]) -> bool {
    let value = graph.value(id);
    value.quant.as_ref().is_some_and(|quant| quant.tensor_wide().is_some())
        && value.dtype.is_some_and(|dtype| widths.contains(&dtype.bits()))
}

/// Element type and parameters of a quantized value.
fn form(graph: &Graph, id: ValueId) -> Option<(DType, QuantParams)> {
    let value = graph.value(id);
    Some((value.dtype?, value.quant.clone()?))
}

/// The nodes that read `value`, in order.
fn readers(graph: &Graph, value: ValueId) -> Vec<NodeId> {
    graph.nodes().filter(|(_, node)| node.inputs.contains(&Some(value))).map(|(id, _)| id).collect()
}

/// The Quantize nodes that all readers of the float `value` are, where there are any and their results have the
/// same form, of one of the `widths` in bits.
fn targets(graph: &Graph, value: ValueId, widths: &[usize]) -> Option<Vec<NodeId>> {
    if graph.is_output(value) {
        return None;
    }
    let nodes = readers(graph, value);
    let mut wanted = None;
    let mut returned = 0;
    for &id in &nodes {
        let node = graph.node(id)?;
        let &output = node.outputs.first().filter(|_| matches!(node.op, Op::Quantize))?;
        let form = form(graph, output)?;
        if !is_activation(graph, output, widths) || *wanted.get_or_insert_with(|| form.clone()) != form {
            return None;
        }
        returned += usize::from(graph.is_output(output));
    }
    // Two outputs of the graph cannot become one value.
    (!nodes.is_empty() && returned <= 1).then_some(nodes)
}

/// Lets the node `id` produce what the `targets` quantized its output to, in their place.
fn quantize_output(graph: &mut Graph, id: NodeId, targets: &[NodeId]) {
    let outputs: Vec<ValueId> =
        targets.iter().filter_map(|&target| graph.remove_node(target)?.outputs.first().copied()).collect();
    let returned = outputs.iter().copied().find(|&output| graph.is_output(output));
    let Some(kept) = returned.or(outputs.first().copied()) else { return };
    for other in outputs.into_iter().filter(|&other| other != kept) {
        graph.replace_uses(other, kept);
    }
    if let Some(node) = graph.node_mut(id) {
        node.outputs = vec![kept];
    }
}
