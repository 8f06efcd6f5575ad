//! Recognition of functions that exporters spell out in small operators.
//!
//! The root of an expression becomes the one operator it means; what it was made of goes as dead code unless
//! others read it. Constants count as equal within what single precision rounds away.

use super::Pass;
use super::edit::{Uses, sweep};
use super::matcher::Matcher;
use crate::error::Result;
use crate::ir::{Graph, NodeId, Op, UnaryOp, ValueId};

mod functions;
mod layers;

/// Recognises Silu, HardSwish, HardSigmoid, Gelu, Mish, Softplus, LayerNorm, global pooling and Gemm.
pub(super) struct Patterns;

impl Pass for Patterns {
    fn name(&self) -> &'static str {
        "patterns"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let changes = sweep(graph, |graph, uses, id| {
            if let Some((function, x)) = function(graph, uses, id) {
                if let Some(node) = graph.node_mut(id) {
                    node.op = Op::Unary(function);
                    node.inputs = vec![Some(x)];
                }
                return Ok(true);
            }
            layers::normalisation(graph, uses, id)
        })?;
        // Only now: the mean inside a normalisation looks like a pooling.
        Ok(changes + sweep(graph, |graph, uses, id| Ok(layers::pooling_and_products(graph, uses, id)))?)
    }
}

/// The function of one element that node `id` is the root of, and its argument.
fn function(graph: &Graph, uses: &Uses, id: NodeId) -> Option<(UnaryOp, ValueId)> {
    let matcher = Matcher::new(graph, uses);
    let &root = graph.node(id)?.outputs.first()?;
    functions::PATTERNS
        .iter()
        .find_map(|pattern| pattern(matcher, root))
        .filter(|&(_, x)| matcher.same_shape(x, root))
}
