//! Padding that a convolution or a pooling window can do itself.

use super::Pass;
use super::edit::{integers, is_plain_float, plain_constant, sweep};
use crate::error::Result;
use crate::ir::{Graph, Node, Op, PadMode, PoolAttributes, UnaryOp, ValueId};

/// Moves a constant Pad of spatial axes into the Conv, AveragePool or MaxPool that reads it.
///
/// Zeros go into convolutions and into averages that count padding. A maximum takes padding of negative infinity,
/// or zeros where the padded values are never negative. No pooling window may lie in the padding alone.
pub(super) struct PadFusion;

impl Pass for PadFusion {
    fn name(&self) -> &'static str {
        "pad-fusion"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        sweep(graph, |graph, uses, id| {
            let Some(node) = graph.node(id) else { return Ok(false) };
            if !matches!(node.op, Op::Conv { .. } | Op::AveragePool(_) | Op::MaxPool(_)) {
                return Ok(false);
            }
            let Some(padded) = node.input(0) else { return Ok(false) };
            let Some(pad) = uses.producer(padded).and_then(|id| graph.node(id)) else { return Ok(false) };
            let Some((x, pads, value)) = padding(graph, pad) else { return Ok(false) };
            let positive = || {
                uses.producer(x).and_then(|id| graph.node(id)).is_some_and(|node| never_negative(&node.op))
            };
            let mut op = node.op.clone();
            let fits = match &mut op {
                Op::Conv { conv, .. } => value == 0.0 && add(&mut conv.pads, &pads),
                Op::AveragePool(pool) => {
                    let counts = pool.count_include_pad || pool.pads.iter().all(|&pad| pad == 0);
                    pool.count_include_pad = true;
                    value == 0.0
                        && counts
                        && !pool.ceil
                        && add(&mut pool.pads, &pads)
                        && windows_reach_in(pool)
                }
                Op::MaxPool(pool) => {
                    let neutral = value == f64::NEG_INFINITY || (value == 0.0 && positive());
                    neutral && !pool.ceil && add(&mut pool.pads, &pads) && windows_reach_in(pool)
                }
                _ => false,
            };
            if fits && let Some(node) = graph.node_mut(id) {
                node.op = op;
                node.inputs[0] = Some(x);
            }
            Ok(fits)
        })
    }
}

/// What a Pad of constants pads, by how much on the spatial axes, and with what.
fn padding(graph: &Graph, pad: &Node) -> Option<(ValueId, Vec<usize>, f64)> {
    if !matches!(pad.op, Op::Pad { mode: PadMode::Constant }) {
        return None;
    }
    let x = pad.input(0)?;
    if !is_plain_float(graph, x) {
        return None;
    }
    let rank = graph.value(x).shape.as_ref()?.rank();
    let pads = integers(graph, pad.input(1)?)?;
    let axes: Vec<i64> = match pad.input(3) {
        Some(axes) => integers(graph, axes)?,
        None => (0..rank as i64).collect(),
    };
    let value = match pad.input(2) {
        Some(value) => plain_constant(graph, value)?.to_f64_vec().first().copied()?,
        None => 0.0,
    };
    let spatial = rank.checked_sub(2)?;
    let mut amounts = vec![0usize; 2 * spatial];
    if pads.len() != 2 * axes.len() {
        return None;
    }
    for (index, &axis) in axes.iter().enumerate() {
        let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok()?;
        for (side, &amount) in [pads[index], pads[index + axes.len()]].iter().enumerate() {
            let amount = usize::try_from(amount).ok()?;
            match axis.checked_sub(2) {
                Some(at) if at < spatial => amounts[side * spatial + at] += amount,
                _ if amount == 0 => {}
                _ => return None,
            }
        }
    }
    Some((x, amounts, value))
}

fn add(pads: &mut [usize], more: &[usize]) -> bool {
    pads.len() == more.len()
        && pads.iter_mut().zip(more).all(|(pad, &more)| match pad.checked_add(more) {
            Some(sum) => {
                *pad = sum;
                true
            }
            None => false,
        })
}

fn never_negative(op: &Op) -> bool {
    op.activation().bounds().0 >= 0.0
        || matches!(op, Op::Unary(UnaryOp::Relu | UnaryOp::Sigmoid | UnaryOp::HardSigmoid { .. }))
        || matches!(op, Op::Unary(UnaryOp::Clip { min, max }) if *min >= 0.0 && max >= min)
}

/// Whether no window can lie in the padding alone.
fn windows_reach_in(pool: &PoolAttributes) -> bool {
    let spatial = pool.kernel.len();
    pool.pads.iter().enumerate().all(|(at, &pad)| {
        let axis = at % spatial.max(1);
        pool.dilations.get(axis) == Some(&1) && pool.kernel.get(axis).is_some_and(|&kernel| pad < kernel)
    })
}
