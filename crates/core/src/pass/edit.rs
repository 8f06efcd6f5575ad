//! Tools that rewrites share: who uses what, sweeping over nodes, forwarding and replacing.

use super::dead::remove_dead;
use crate::error::Result;
use crate::ir::{Graph, Node, NodeId, Op, Tensor, ValueId};

/// Producers of values and how often each value is used, at one moment.
pub(super) struct Uses {
    producers: Vec<Option<NodeId>>,
    counts: Vec<u32>,
}

impl Uses {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut counts = vec![0; graph.value_ids().len()];
        for (_, node) in graph.nodes() {
            for input in node.inputs.iter().flatten() {
                counts[input.index()] += 1;
            }
        }
        for output in &graph.outputs {
            counts[output.index()] += 1;
        }
        Self { producers: graph.producers(), counts }
    }

    /// The node that produces `value`.
    pub(super) fn producer(&self, value: ValueId) -> Option<NodeId> {
        self.producers.get(value.index()).copied().flatten()
    }

    /// How often nodes read `value` and the caller gets it.
    pub(super) fn count(&self, value: ValueId) -> u32 {
        self.counts.get(value.index()).copied().unwrap_or(0)
    }

    /// Whether `value` is used exactly once.
    pub(super) fn single(&self, value: ValueId) -> bool {
        self.count(value) == 1
    }
}

/// Lets `rewrite` try each node once, in order, with up-to-date uses; gives the number of changes.
///
/// Nodes that a rewrite adds are not visited. What the rewrites leave dead is removed at the end, so that it does
/// not count as a reader in the next sweep.
pub(super) fn sweep(
    graph: &mut Graph,
    mut rewrite: impl FnMut(&mut Graph, &Uses, NodeId) -> Result<bool>,
) -> Result<usize> {
    let mut uses = Uses::of(graph);
    let mut changes = 0;
    for id in graph.node_ids() {
        if graph.node(id).is_some() && rewrite(graph, &uses, id)? {
            changes += 1;
            uses = Uses::of(graph);
        }
    }
    if changes > 0 {
        remove_dead(graph);
    }
    Ok(changes)
}

/// Removes the node `id`, whose first output equals the value `from`; false where names or origins forbid it.
///
/// Readers of the output read `from`. An output the caller gets keeps its name: the producer of `from` then
/// produces it under that name, unless `from` is itself an input, a constant or an output of the graph.
pub(super) fn forward(graph: &mut Graph, uses: &Uses, id: NodeId, from: ValueId) -> bool {
    let Some(&to) = graph.node(id).and_then(|node| node.outputs.first()) else { return false };
    if graph.value(from).quant != graph.value(to).quant {
        return false;
    }
    if !graph.is_output(to) {
        graph.remove_node(id);
        graph.replace_uses(to, from);
        return true;
    }
    if graph.is_output(from) {
        return false;
    }
    let Some(producer) = uses.producer(from) else { return false };
    graph.remove_node(id);
    produce_instead(graph, producer, from, to);
    true
}

/// Lets `producer` produce `to` where it produced `from`, and readers of `from` read `to`.
pub(super) fn produce_instead(graph: &mut Graph, producer: NodeId, from: ValueId, to: ValueId) {
    graph.replace_uses(from, to);
    if let Some(node) = graph.node_mut(producer) {
        for output in &mut node.outputs {
            if *output == from {
                *output = to;
            }
        }
    }
}

/// Gives the node another operator and other inputs; its name and outputs stay.
pub(super) fn replace(graph: &mut Graph, id: NodeId, op: Op, inputs: &[ValueId]) {
    if let Some(node) = graph.node_mut(id) {
        node.op = op;
        node.inputs = inputs.iter().copied().map(Some).collect();
    }
}

/// A new constant named after `base`.
pub(super) fn constant(graph: &mut Graph, base: &str, tensor: Tensor) -> ValueId {
    let name = graph.fresh_value_name(base);
    graph.add_constant(name, tensor)
}

/// A new node of `op` with one new output, both named after `base`.
pub(super) fn insert(graph: &mut Graph, base: &str, op: Op, inputs: &[ValueId]) -> ValueId {
    let value = graph.fresh_value_name(base);
    let output = graph.add_value(value, None, None);
    let name = graph.fresh_node_name(base);
    graph.add_node(Node {
        name,
        op,
        inputs: inputs.iter().copied().map(Some).collect(),
        outputs: vec![output],
        precision: None,
    });
    output
}

/// Whether `value` is a float tensor without quantization parameters.
pub(super) fn is_plain_float(graph: &Graph, value: ValueId) -> bool {
    let value = graph.value(value);
    value.quant.is_none() && value.dtype.is_some_and(crate::ir::DType::is_float)
}

/// The constant of `value` where it is one and no quantized one.
pub(super) fn plain_constant(graph: &Graph, value: ValueId) -> Option<&Tensor> {
    let value = graph.value(value);
    value.constant.as_ref().filter(|_| value.quant.is_none())
}

/// The integers of a constant `value`.
pub(super) fn integers(graph: &Graph, value: ValueId) -> Option<Vec<i64>> {
    plain_constant(graph, value).filter(|tensor| !tensor.dtype().is_float()).map(Tensor::to_i64_vec)
}
