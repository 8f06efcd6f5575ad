//! Chains of operators that only give the same elements other extents.

use super::Pass;
use super::edit::{constant, replace, sweep};
use crate::error::Result;
use crate::ir::{Dim, Graph, Op, Shape, Tensor};

/// Merges Reshape, Flatten, Squeeze and Unsqueeze behind one of the same into one Reshape of the first input, and
/// a Transpose that only moves axes of extent 1 into a Reshape.
pub(super) struct ReshapeChains;

impl Pass for ReshapeChains {
    fn name(&self) -> &'static str {
        "reshape-chains"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        sweep(graph, |graph, uses, id| {
            let Some(node) = graph.node(id) else { return Ok(false) };
            let (Some(x), Some(&y)) = (node.input(0), node.outputs.first()) else { return Ok(false) };
            let source = if reshapes(&node.op) {
                let before = uses.producer(x).and_then(|id| graph.node(id));
                match before.filter(|before| reshapes(&before.op)).and_then(|before| before.input(0)) {
                    Some(source) => source,
                    None => return Ok(false),
                }
            } else if moves_only_units(&node.op, graph.value(x).shape.as_ref()) {
                x
            } else {
                return Ok(false);
            };
            let (Some(from), Some(to)) = (&graph.value(source).shape, &graph.value(y).shape) else {
                return Ok(false);
            };
            let Some(target) = target(from, to) else { return Ok(false) };
            let name = format!("{}/shape", node.name);
            let shape = Tensor::from_slice(&[target.len()], &target)?;
            let shape = constant(graph, &name, shape);
            replace(graph, id, Op::Reshape { allow_zero: target.contains(&0) }, &[source, shape]);
            Ok(true)
        })
    }
}

fn reshapes(op: &Op) -> bool {
    matches!(op, Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. })
}

/// The shape operand that leads to `to`: known extents, one unknown as -1, and nothing where that is ambiguous.
fn target(from: &Shape, to: &Shape) -> Option<Vec<i64>> {
    let mut unknown = 0;
    let target: Option<Vec<i64>> = to
        .dims()
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(extent) => i64::try_from(*extent).ok(),
            Dim::Symbol(_) => {
                unknown += 1;
                Some(-1)
            }
        })
        .collect();
    let empty = |shape: &Shape| shape.dims().contains(&Dim::Fixed(0));
    target.filter(|_| unknown == 0 || (unknown == 1 && !empty(to) && !empty(from)))
}

/// Whether a Transpose keeps the order of all axes that have more than one element.
fn moves_only_units(op: &Op, shape: Option<&Shape>) -> bool {
    let (Op::Transpose { perm }, Some(extents)) = (op, shape.and_then(Shape::extents)) else { return false };
    let kept: Vec<usize> =
        perm.iter().copied().filter(|&axis| extents.get(axis).is_some_and(|&extent| extent != 1)).collect();
    let in_order = perm.iter().enumerate().all(|(at, &axis)| at == axis);
    !in_order && kept.windows(2).all(|pair| pair[0] < pair[1])
}
