//! Functions of one element, each as the ways it is spelled out.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::ir::{BinaryOp, UnaryOp, ValueId};
use crate::pass::matcher::{Matcher, near};

/// Matches the expression whose value is given: the function it is and its argument.
type Pattern = fn(Matcher<'_>, ValueId) -> Option<(UnaryOp, ValueId)>;

/// Every pattern; those that stand for more come first.
pub(super) const PATTERNS: &[Pattern] = &[gelu, silu, hard_swish, mish, hard_sigmoid, softplus];

/// `x * sigmoid(x)`.
fn silu(matcher: Matcher<'_>, root: ValueId) -> Option<(UnaryOp, ValueId)> {
    matcher
        .either(BinaryOp::Mul, root)
        .find(|&(x, gate)| matcher.applied(UnaryOp::Sigmoid, gate) == Some(x))
        .map(|(x, _)| (UnaryOp::Silu, x))
}

/// `x * tanh(softplus(x))`.
fn mish(matcher: Matcher<'_>, root: ValueId) -> Option<(UnaryOp, ValueId)> {
    let gate = |gate| matcher.applied(UnaryOp::Softplus, matcher.applied(UnaryOp::Tanh, gate)?);
    matcher.either(BinaryOp::Mul, root).find(|&(x, g)| gate(g) == Some(x)).map(|(x, _)| (UnaryOp::Mish, x))
}

/// `ln(1 + exp(x))`.
fn softplus(matcher: Matcher<'_>, root: ValueId) -> Option<(UnaryOp, ValueId)> {
    let sum = matcher.applied(UnaryOp::Log, root)?;
    let exponential = matcher.with(BinaryOp::Add, 1.0, sum)?;
    Some((UnaryOp::Softplus, matcher.applied(UnaryOp::Exp, exponential)?))
}

/// `clip(x + 3, 0, 6)`: `x`.
fn relu6_of_3_more(matcher: Matcher<'_>, value: ValueId) -> Option<ValueId> {
    let (x, addend, bounds) = matcher.clamped_sum(value)?;
    (near(addend, 3.0) && bounds == (0.0, 6.0)).then_some(x)
}

/// `clip(x + 3, 0, 6) / 6`.
fn hard_sigmoid(matcher: Matcher<'_>, root: ValueId) -> Option<(UnaryOp, ValueId)> {
    let (clamped, factor) = matcher.scaled(root)?;
    let x = relu6_of_3_more(matcher, clamped).filter(|_| near(factor, 1.0 / 6.0))?;
    Some((UnaryOp::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x))
}

/// `x * hard_sigmoid(x)` with slope 1/6 and offset 1/2, or `x * clip(x + 3, 0, 6) / 6` in any order.
fn hard_swish(matcher: Matcher<'_>, root: ValueId) -> Option<(UnaryOp, ValueId)> {
    let gate = |x, gate| match matcher.unary(gate) {
        Some((UnaryOp::HardSigmoid { alpha, beta }, of)) => {
            of == x && near(f64::from(alpha), 1.0 / 6.0) && near(f64::from(beta), 0.5)
        }
        _ => false,
    };
    if let Some((x, _)) = matcher.either(BinaryOp::Mul, root).find(|&(x, g)| gate(x, g)) {
        return Some((UnaryOp::HardSwish, x));
    }
    let (x, _) = pairs(matcher, root, 1.0 / 6.0).find(|&(x, g)| relu6_of_3_more(matcher, g) == Some(x))?;
    Some((UnaryOp::HardSwish, x))
}

/// `0.5 * x * (1 + erf(x / √2))` or `0.5 * x * (1 + tanh(√(2/π) * (x + 0.044715 * x³)))`, in any order.
fn gelu(matcher: Matcher<'_>, root: ValueId) -> Option<(UnaryOp, ValueId)> {
    pairs(matcher, root, 0.5).find_map(|(x, gate)| {
        let inner = matcher.with(BinaryOp::Add, 1.0, gate)?;
        match matcher.unary(inner)? {
            (UnaryOp::Erf, scaled) => {
                let (of, factor) = matcher.scaled(scaled)?;
                (of == x && near(factor, FRAC_1_SQRT_2)).then_some((UnaryOp::Gelu { tanh: false }, x))
            }
            (UnaryOp::Tanh, argument) => {
                is_tanh_argument(matcher, argument, x).then_some((UnaryOp::Gelu { tanh: true }, x))
            }
            _ => None,
        }
    })
}

/// `√(2/π) * (x + 0.044715 * x³)`, or `√(2/π) * x * (1 + 0.044715 * x²)`.
fn is_tanh_argument(matcher: Matcher<'_>, value: ValueId, x: ValueId) -> bool {
    let outer = (2.0 / PI).sqrt();
    let cubic = |sum: ValueId| {
        matcher.either(BinaryOp::Add, sum).any(|(of, term)| {
            of == x
                && (matcher
                    .scaled(term)
                    .is_some_and(|(cube, c)| near(c, 0.044_715) && is_cube(matcher, cube, x))
                    || matcher.is_product_of(term, 0.044_715, &[x; 3]))
        })
    };
    let quadratic = |sum: ValueId| {
        matcher.with(BinaryOp::Add, 1.0, sum).is_some_and(|term| {
            pairs(matcher, term, 0.044_715).any(|(a, b)| a == x && b == x)
                || matcher.scaled(term).is_some_and(|(square, c)| {
                    near(c, 0.044_715) && matcher.with(BinaryOp::Pow, 2.0, square) == Some(x)
                })
        })
    };
    matcher.scaled(value).is_some_and(|(sum, c)| near(c, outer) && cubic(sum))
        || pairs(matcher, value, outer).any(|(of, sum)| of == x && quadratic(sum))
}

fn is_cube(matcher: Matcher<'_>, value: ValueId, x: ValueId) -> bool {
    let square = |value| {
        matcher.binary(BinaryOp::Mul, value) == Some((x, x))
            || matcher.with(BinaryOp::Pow, 2.0, value) == Some(x)
    };
    matcher.with(BinaryOp::Pow, 3.0, value) == Some(x)
        || matcher.either(BinaryOp::Mul, value).any(|(of, other)| of == x && square(other))
}

/// The ways to write `root` as `factor * a * b`, both orders.
fn pairs(matcher: Matcher<'_>, root: ValueId, factor: f64) -> impl Iterator<Item = (ValueId, ValueId)> {
    matcher.products(root).into_iter().filter(move |(_, found)| near(*found, factor)).flat_map(|(of, _)| {
        match of.as_slice() {
            &[a, b] => vec![(a, b), (b, a)],
            _ => Vec::new(),
        }
    })
}
