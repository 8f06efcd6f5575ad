//! Removal of nodes that give back their input.

use super::Pass;
use super::edit::{forward, integers, plain_constant, sweep};
use crate::error::Result;
use crate::ir::{Activation, BinaryOp, Graph, Node, Op, PoolAttributes, ReduceOp, Shape, UnaryOp, ValueId};

/// Removes Identity, inference-time Dropout, and operators whose attributes make them one: a Reshape to the same
/// shape, a Transpose in order, a Cast to the same type, a Pad of nothing, a Slice of everything, and so on.
pub(super) struct IdentityRemoval;

impl Pass for IdentityRemoval {
    fn name(&self) -> &'static str {
        "identity-removal"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        sweep(graph, |graph, uses, id| {
            let Some(node) = graph.node(id) else { return Ok(false) };
            let only_first = node.outputs.iter().skip(1).all(|&output| uses.count(output) == 0);
            match source(graph, node).filter(|_| only_first) {
                Some(from) => Ok(forward(graph, uses, id, from)),
                None => Ok(false),
            }
        })
    }
}

/// The input that the node gives back unchanged, if it does.
fn source(graph: &Graph, node: &Node) -> Option<ValueId> {
    if let Op::Binary { op, activation: Activation::None } = node.op {
        return neutral_operand(graph, node, op);
    }
    let x = node.input(0)?;
    is_identity(graph, node, x).then_some(x)
}

fn is_identity(graph: &Graph, node: &Node, x: ValueId) -> bool {
    let Some(&y) = node.outputs.first() else { return false };
    let (from, to) = (graph.value(x), graph.value(y));
    if from.quant != to.quant {
        return false;
    }
    let same_shape = from.shape.is_some() && from.shape == to.shape;
    let same_type = from.dtype.is_some() && from.dtype == to.dtype;
    match &node.op {
        Op::Identity => true,
        Op::Opaque { domain, op_type, .. } => domain.is_empty() && op_type == "Dropout" && same_type,
        Op::Cast { to } => from.dtype == Some(*to),
        Op::Transpose { perm } => perm.iter().enumerate().all(|(at, &axis)| at == axis),
        Op::Concat { .. } => node.inputs.len() == 1,
        Op::Split { .. } => node.outputs.len() == 1 && same_shape,
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } => same_shape,
        // Broadcasting to an equal shape and repeating once per axis.
        Op::Expand => same_shape && fixed(from.shape.as_ref()),
        Op::Tile => ones(graph, node.input(1)),
        Op::Pad { .. } => node
            .input(1)
            .and_then(|id| integers(graph, id))
            .is_some_and(|pads| pads.iter().all(|&pad| pad == 0)),
        Op::Slice => {
            same_shape && fixed(from.shape.as_ref()) && node.input(4).is_none_or(|id| ones(graph, Some(id)))
        }
        Op::Resize(_) => {
            let scales = node.input(2);
            let unit = scales.is_none_or(|id| {
                plain_constant(graph, id).is_some_and(|tensor| tensor.to_f64_vec().iter().all(|&s| s == 1.0))
            });
            same_shape && fixed(from.shape.as_ref()) && unit && node.input(1).is_none()
        }
        Op::Reduce { op, axes, keep_dims } => {
            let keeps =
                matches!(op, ReduceOp::Mean | ReduceOp::Sum | ReduceOp::Max | ReduceOp::Min | ReduceOp::Prod);
            let unit = |axis: &usize| {
                from.shape.as_ref().and_then(|shape| shape.dims().get(*axis)?.fixed()) == Some(1)
            };
            keeps && (axes.is_empty() || (*keep_dims && axes.iter().all(unit)))
        }
        Op::MaxPool(pool) | Op::AveragePool(pool) => same_shape && unit_window(pool),
        Op::Unary(UnaryOp::Clip { min, max }) => *min == f32::NEG_INFINITY && *max == f32::INFINITY,
        _ => false,
    }
}

/// The operand that remains when the other is zero in a sum, one in a product, and so on.
fn neutral_operand(graph: &Graph, node: &Node, op: BinaryOp) -> Option<ValueId> {
    let to = graph.value(*node.outputs.first()?);
    [(0, 1), (1, 0)].into_iter().find_map(|(of, at)| {
        let number = match op {
            BinaryOp::Add => 0.0,
            BinaryOp::Sub if at == 1 => 0.0,
            BinaryOp::Mul => 1.0,
            BinaryOp::Div | BinaryOp::Pow if at == 1 => 1.0,
            _ => return None,
        };
        let id = node.input(of)?;
        let kept = graph.value(id);
        let constant = plain_constant(graph, node.input(at)?)?;
        let whole = kept.shape.is_some() && kept.shape == to.shape && kept.dtype == to.dtype;
        let plain = kept.quant.is_none() && to.quant.is_none();
        (whole && plain && constant.to_f64_vec().iter().all(|&x| x == number)).then_some(id)
    })
}

fn ones(graph: &Graph, value: Option<ValueId>) -> bool {
    value.and_then(|id| integers(graph, id)).is_some_and(|values| values.iter().all(|&value| value == 1))
}

fn fixed(shape: Option<&Shape>) -> bool {
    shape.is_some_and(|shape| shape.extents().is_some())
}

fn unit_window(pool: &PoolAttributes) -> bool {
    pool.kernel.iter().chain(&pool.strides).all(|&extent| extent == 1)
        && pool.pads.iter().all(|&pad| pad == 0)
}
