//! Removal of nodes whose results nobody uses. Their constants go when the graph is compacted.

use super::Pass;
use super::edit::Uses;
use crate::error::Result;
use crate::ir::Graph;

/// Removes nodes none of whose outputs is read or returned.
pub(super) struct DeadCode;

impl Pass for DeadCode {
    fn name(&self) -> &'static str {
        "dead-code"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        Ok(remove_dead(graph))
    }
}

/// Removes nodes none of whose outputs is read or returned; gives their number.
pub(super) fn remove_dead(graph: &mut Graph) -> usize {
    let uses = Uses::of(graph);
    let mut counts: Vec<u32> = graph.value_ids().map(|id| uses.count(id)).collect();
    let mut changes = 0;
    // Readers come behind what they read, so that one sweep backwards finds chains of dead nodes.
    for id in graph.node_ids().into_iter().rev() {
        let dead =
            graph.node(id).is_some_and(|node| node.outputs.iter().all(|output| counts[output.index()] == 0));
        if !dead {
            continue;
        }
        let Some(node) = graph.remove_node(id) else { continue };
        for input in node.inputs.iter().flatten() {
            counts[input.index()] -= 1;
        }
        changes += 1;
    }
    changes
}
