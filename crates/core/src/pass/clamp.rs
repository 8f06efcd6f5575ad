//! Fusion of Relu and Clip into what produces their input.

use super::Pass;
use super::edit::{is_plain_float, produce_instead, sweep};
use crate::error::Result;
use crate::ir::{Activation, Op, UnaryOp};

/// Fuses clamps into Conv, ConvTranspose, Gemm and Add, Sub, Mul read by nobody else, and into each other.
pub(super) struct ClampFusion;

impl Pass for ClampFusion {
    fn name(&self) -> &'static str {
        "clamp-fusion"
    }

    fn run(&self, graph: &mut crate::ir::Graph) -> Result<usize> {
        sweep(graph, |graph, uses, id| {
            let Some(node) = graph.node(id) else { return Ok(false) };
            let Op::Unary(function) = node.op else { return Ok(false) };
            let Some(clamp) = as_clamp(function) else { return Ok(false) };
            let (Some(x), Some(&y)) = (node.input(0), node.outputs.first()) else { return Ok(false) };
            if !is_plain_float(graph, x) || !is_plain_float(graph, y) {
                return Ok(false);
            }
            // Clip(0, inf) under its own name.
            let named = as_function(clamp);
            if named != function
                && let Some(node) = graph.node_mut(id)
            {
                node.op = Op::Unary(named);
                return Ok(true);
            }
            let Some(producer) = uses.producer(x).filter(|_| uses.single(x)) else { return Ok(false) };
            let Some(before) = graph.node_mut(producer) else { return Ok(false) };
            let mut changed = false;
            if let Op::Unary(first) = &mut before.op {
                if let Some(first_clamp) = as_clamp(*first) {
                    *first = as_function(merge(first_clamp, clamp));
                    changed = true;
                }
            } else if let Some(activation) = before.op.activation_mut() {
                *activation = merge(*activation, clamp);
                changed = true;
            }
            if changed {
                graph.remove_node(id);
                produce_instead(graph, producer, x, y);
            }
            Ok(changed)
        })
    }
}

/// The clamp that a function of one element is.
pub(super) fn as_clamp(function: UnaryOp) -> Option<Activation> {
    match function {
        UnaryOp::Relu => Some(Activation::Relu),
        UnaryOp::Clip { min, max } if min == 0.0 && max == f32::INFINITY => Some(Activation::Relu),
        UnaryOp::Clip { min, max } => Some(Activation::Clip { min, max }),
        _ => None,
    }
}

fn as_function(clamp: Activation) -> UnaryOp {
    if clamp == Activation::Relu {
        return UnaryOp::Relu;
    }
    let (min, max) = clamp.bounds();
    UnaryOp::Clip { min, max }
}

/// One clamp that does what `first` and then `second` do.
pub(super) fn merge(first: Activation, second: Activation) -> Activation {
    let (min, max) = second.bounds();
    // ONNX's order: the upper bound wins where bounds cross.
    let clamp = |x: f32| x.max(min).min(max);
    let (low, high) = first.bounds();
    let (low, high) = (clamp(low.min(high)), clamp(high));
    match (low, high) {
        (f32::NEG_INFINITY, f32::INFINITY) => Activation::None,
        (0.0, f32::INFINITY) => Activation::Relu,
        (min, max) => Activation::Clip { min, max },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(clamp: Activation, x: f32) -> f32 {
        let (min, max) = clamp.bounds();
        x.max(min).min(max)
    }

    fn bound() -> impl Strategy<Value = f32> {
        prop_oneof![-8f32..8.0, Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(0.0)]
    }

    proptest! {
        #[test]
        fn merged_clamps_equal_two(a in (bound(), bound()), b in (bound(), bound()), x in -10f32..10.0) {
            let first = Activation::Clip { min: a.0, max: a.1 };
            let second = Activation::Clip { min: b.0, max: b.1 };
            prop_assert_eq!(apply(merge(first, second), x), apply(second, apply(first, x)));
        }
    }
}
