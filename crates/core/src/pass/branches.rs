//! Control flow whose way is known.

use super::Pass;
use super::edit::sweep;
use crate::error::Result;
use crate::ir::{Control, Graph, Node, NodeId, Op, Value, ValueId};

/// Puts the branch that is taken in the place of an If whose condition is constant.
pub(super) struct KnownBranches;

impl Pass for KnownBranches {
    fn name(&self) -> &'static str {
        "known-branches"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        sweep(graph, |graph, _, id| {
            let Some(branch) = taken(graph, id).cloned() else { return Ok(false) };
            let Some(node) = graph.remove_node(id) else { return Ok(false) };
            inline(graph, &node, &branch);
            Ok(true)
        })
    }
}

/// The branch of an If that its constant condition takes.
fn taken(graph: &Graph, id: NodeId) -> Option<&Graph> {
    let node = graph.node(id)?;
    let Op::Control(control) = &node.op else { return None };
    let Control::If { then_branch, else_branch } = control.as_ref() else { return None };
    let condition = graph.value(node.input(0)?).constant.as_ref().filter(|tensor| tensor.elements() == 1)?;
    Some(if condition.to_i64_vec()[0] != 0 { then_branch } else { else_branch })
}

/// Adds the nodes of `branch` to the graph that `node` was in, under names of their own.
fn inline(graph: &mut Graph, node: &Node, branch: &Graph) {
    let mut here: Vec<Option<ValueId>> = vec![None; branch.value_ids().len()];
    for (&inner, outer) in branch.inputs.iter().zip(node.inputs.iter().skip(1)) {
        here[inner.index()] = *outer;
    }
    for id in branch.value_ids() {
        if here[id.index()].is_none() {
            let value = branch.value(id).clone();
            let name = graph.fresh_value_name(&value.name);
            // What was inferred held for the body; it is inferred again here.
            let shape = value.shape.filter(|_| value.constant.is_some());
            here[id.index()] = Some(graph.push_value(Value { name, shape, ..value }));
        }
    }
    for (_, inner) in branch.nodes() {
        let name = graph.fresh_node_name(&inner.name);
        graph.add_node(Node {
            name,
            inputs: inner.inputs.iter().map(|input| input.and_then(|id| here[id.index()])).collect(),
            outputs: inner.outputs.iter().filter_map(|id| here[id.index()]).collect(),
            ..inner.clone()
        });
    }
    for (&output, inner) in node.outputs.iter().zip(&branch.outputs) {
        let name = graph.fresh_node_name(&graph.value(output).name.clone());
        graph.add_node(Node {
            name,
            op: Op::Identity,
            inputs: vec![here[inner.index()]],
            outputs: vec![output],
            precision: None,
        });
    }
}
