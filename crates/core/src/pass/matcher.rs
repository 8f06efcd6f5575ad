//! Matching of expressions upwards from a node, so that a pattern is a few lines.
//!
//! Matching sees float nodes only: it stops at quantized values, whose rounding a pattern must not skip, and at
//! fused clamps.

use super::edit::{Uses, is_plain_float, plain_constant};
use crate::ir::{Activation, BinaryOp, Graph, Node, NodeId, Op, ReduceOp, UnaryOp, ValueId};

/// A graph to match in.
#[derive(Clone, Copy)]
pub(super) struct Matcher<'a> {
    pub(super) graph: &'a Graph,
    pub(super) uses: &'a Uses,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(graph: &'a Graph, uses: &'a Uses) -> Self {
        Self { graph, uses }
    }

    /// The node that produces the float `value`.
    pub(super) fn node(self, value: ValueId) -> Option<(NodeId, &'a Node)> {
        if !is_plain_float(self.graph, value) {
            return None;
        }
        let id = self.uses.producer(value)?;
        Some((id, self.graph.node(id)?))
    }

    /// `value = function(x)`: the function and `x`.
    pub(super) fn unary(self, value: ValueId) -> Option<(UnaryOp, ValueId)> {
        let (_, node) = self.node(value)?;
        match node.op {
            Op::Unary(function) => Some((function, node.input(0)?)),
            _ => None,
        }
    }

    /// `value = function(x)` for one function: `x`.
    pub(super) fn applied(self, function: UnaryOp, value: ValueId) -> Option<ValueId> {
        let (found, x) = self.unary(value)?;
        (found == function).then_some(x)
    }

    /// `value = a op b`: `a` and `b`.
    pub(super) fn binary(self, op: BinaryOp, value: ValueId) -> Option<(ValueId, ValueId)> {
        let (_, node) = self.node(value)?;
        match node.op {
            Op::Binary { op: found, activation: Activation::None } if found == op => {
                Some((node.input(0)?, node.input(1)?))
            }
            _ => None,
        }
    }

    /// Both orders of the operands of a commutative `op`.
    pub(super) fn either(
        self,
        op: BinaryOp,
        value: ValueId,
    ) -> impl Iterator<Item = (ValueId, ValueId)> + use<> {
        self.binary(op, value).into_iter().flat_map(|(a, b)| [(a, b), (b, a)])
    }

    /// The number, where `value` is a constant of one element.
    pub(super) fn number(self, value: ValueId) -> Option<f64> {
        let tensor = plain_constant(self.graph, value)?;
        (tensor.elements() == 1 && tensor.dtype().is_float()).then(|| tensor.to_f64_vec()[0])
    }

    /// `value = x op number` (in either order where `op` commutes): `x` and the number.
    pub(super) fn with_number(self, op: BinaryOp, value: ValueId) -> Option<(ValueId, f64)> {
        let (a, b) = self.binary(op, value)?;
        if let Some(number) = self.number(b) {
            return Some((a, number));
        }
        let commutes = matches!(op, BinaryOp::Add | BinaryOp::Mul);
        self.number(a).filter(|_| commutes).map(|number| (b, number))
    }

    /// `value = x op near(number)`: `x`.
    pub(super) fn with(self, op: BinaryOp, number: f64, value: ValueId) -> Option<ValueId> {
        self.with_number(op, value).filter(|&(_, found)| near(found, number)).map(|(x, _)| x)
    }

    /// `value = x * number` or `x / number`: `x` and the factor.
    pub(super) fn scaled(self, value: ValueId) -> Option<(ValueId, f64)> {
        self.with_number(BinaryOp::Mul, value).or_else(|| {
            let (x, divisor) = self.with_number(BinaryOp::Div, value)?;
            (divisor != 0.0).then_some((x, 1.0 / divisor))
        })
    }

    /// `value = clip(x + addend, min, max)`, the clamp fused into the addition or not: `x` and the three numbers.
    pub(super) fn clamped_sum(self, value: ValueId) -> Option<(ValueId, f64, (f32, f32))> {
        let (_, node) = self.node(value)?;
        match &node.op {
            Op::Unary(UnaryOp::Clip { min, max }) => {
                let (x, addend) = self.with_number(BinaryOp::Add, node.input(0)?)?;
                Some((x, addend, (*min, *max)))
            }
            Op::Binary { op: BinaryOp::Add, activation } => {
                let (a, b) = (node.input(0)?, node.input(1)?);
                let bounds = activation.bounds();
                self.number(b).map(|n| (a, n, bounds)).or_else(|| Some((b, self.number(a)?, bounds)))
            }
            _ => None,
        }
    }

    /// The ways to write `value` as a number times one or two values, through products and scalings.
    pub(super) fn products(self, value: ValueId) -> Vec<(Vec<ValueId>, f64)> {
        self.products_within(value, 3, 2)
    }

    /// Whether `value` is near `factor` times the product of `values`, which are sorted, in any order of multiplying.
    pub(super) fn is_product_of(self, value: ValueId, factor: f64, values: &[ValueId]) -> bool {
        self.products_within(value, values.len(), values.len()).into_iter().any(|(mut of, found)| {
            of.sort_unstable();
            near(found, factor) && of == values
        })
    }

    /// The same through at most `depth` products, of at most `most` values.
    fn products_within(self, value: ValueId, depth: usize, most: usize) -> Vec<(Vec<ValueId>, f64)> {
        let mut found = vec![(vec![value], 1.0)];
        if depth == 0 {
            return found;
        }
        if let Some((x, factor)) = self.scaled(value) {
            found
                .extend(self.products_within(x, depth - 1, most).into_iter().map(|(of, c)| (of, c * factor)));
        } else if let Some((a, b)) = self.binary(BinaryOp::Mul, value) {
            for (left, c) in self.products_within(a, depth - 1, most) {
                for (right, d) in self.products_within(b, depth - 1, most) {
                    if left.len() + right.len() <= most {
                        found.push(([left.clone(), right].concat(), c * d));
                    }
                }
            }
        }
        found
    }

    /// `value` is the mean of `x` over its axes from `axis` on, kept: `x` and `axis`.
    pub(super) fn trailing_mean(self, value: ValueId) -> Option<(ValueId, usize)> {
        let (_, node) = self.node(value)?;
        let x = node.input(0)?;
        let rank = self.graph.value(x).shape.as_ref()?.rank();
        match &node.op {
            Op::Reduce { op: ReduceOp::Mean, axes, keep_dims: true } => {
                let &first = axes.first()?;
                axes.iter().copied().eq(first..rank).then_some((x, first))
            }
            _ => None,
        }
    }

    /// Whether two values have the same known shape.
    pub(super) fn same_shape(self, a: ValueId, b: ValueId) -> bool {
        let (a, b) = (self.graph.value(a), self.graph.value(b));
        a.shape.is_some() && a.shape == b.shape && a.dtype == b.dtype
    }
}

/// Whether a constant of a file stands for `number`, which single precision may have rounded.
pub(super) fn near(found: f64, number: f64) -> bool {
    (found - number).abs() <= 1e-5 * number.abs().max(1e-30)
}
