//! f32 functions of one element, the same bits in every tier.

use super::math;
use crate::elementwise::float::clamp;
use crate::error::KernelError;
use crate::tier::TierToken;
use crate::tiered::tiered;

/// A function of one f32 element. NaN gives NaN unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum UnaryF32 {
    /// `max(x, 0)`.
    Relu,
    /// `x` below zero times `alpha`, else `x`.
    LeakyRelu {
        /// Slope below zero.
        alpha: f32,
    },
    /// `alpha * (eˣ - 1)` below zero, else `x`.
    Elu {
        /// Scale below zero.
        alpha: f32,
    },
    /// `min(max(x, min), max)`.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `1 / (1 + e⁻ˣ)`, within 4 ulp.
    Sigmoid,
    /// `min(max(alpha * x + beta, 0), 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x * min(max(x / 6 + 0.5, 0), 1)`.
    HardSwish,
    /// `x * sigmoid(x)`, within 5 ulp.
    Silu,
    /// `x * Φ(x)` by the error function, within `3e-7 |x|`.
    Gelu,
    /// `x * Φ(x)` by the tanh approximation.
    GeluTanh,
    /// `x * tanh(ln(1 + eˣ))`, by the standard library.
    Mish,
    /// `ln(1 + eˣ)`, by the standard library.
    Softplus,
    /// Hyperbolic tangent, within 3 ulp.
    Tanh,
    /// The error function, within 1.5e-7.
    Erf,
    /// Exponential, within 2 ulp.
    Exp,
    /// Natural logarithm, by the standard library.
    Log,
    /// Square root, correctly rounded.
    Sqrt,
    /// `1 / x`, correctly rounded.
    Reciprocal,
    /// Absolute value.
    Abs,
    /// Negation.
    Neg,
    /// -1, 0 or 1.
    Sign,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceil,
    /// Nearest integer, ties to even.
    Round,
    /// Sine, by the standard library.
    Sin,
    /// Cosine, by the standard library.
    Cos,
}

/// `out[i] = op(x[i])`.
pub fn unary_f32(token: TierToken, op: UnaryF32, x: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
    KernelError::check_length("output", x.len(), out.len())?;
    unary(token, op, x, out);
    Ok(())
}

/// `x[i] = op(x[i])`.
pub fn unary_f32_in_place(token: TierToken, op: UnaryF32, x: &mut [f32]) {
    in_place(token, op, x);
}

tiered! {
    fn unary(op: UnaryF32, x: &[f32], out: &mut [f32]) {
        dispatch(op, Map { x, out });
    }
}

tiered! {
    fn in_place(op: UnaryF32, x: &mut [f32]) {
        dispatch(op, InPlace(x));
    }
}

/// Something to apply a function to.
trait Elements {
    fn apply(self, f: impl Fn(f32) -> f32);
}

struct Map<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Elements for Map<'_> {
    #[inline(always)]
    fn apply(self, f: impl Fn(f32) -> f32) {
        for (y, &x) in self.out.iter_mut().zip(self.x) {
            *y = f(x);
        }
    }
}

struct InPlace<'a>(&'a mut [f32]);

impl Elements for InPlace<'_> {
    #[inline(always)]
    fn apply(self, f: impl Fn(f32) -> f32) {
        for x in self.0 {
            *x = f(*x);
        }
    }
}

#[inline(always)]
fn dispatch(op: UnaryF32, to: impl Elements) {
    match op {
        UnaryF32::Relu => to.apply(|x| if x < 0.0 { 0.0 } else { x }),
        UnaryF32::LeakyRelu { alpha } => to.apply(|x| if x < 0.0 { alpha * x } else { x }),
        UnaryF32::Elu { alpha } => to.apply(|x| if x < 0.0 { alpha * x.exp_m1() } else { x }),
        UnaryF32::Clip { min, max } => to.apply(|x| clamp(x, (min, max))),
        UnaryF32::Sigmoid => to.apply(math::sigmoid),
        UnaryF32::HardSigmoid { alpha, beta } => to.apply(|x| clamp(alpha * x + beta, (0.0, 1.0))),
        UnaryF32::HardSwish => to.apply(|x| x * clamp(x / 6.0 + 0.5, (0.0, 1.0))),
        UnaryF32::Silu => to.apply(math::silu),
        UnaryF32::Gelu => to.apply(math::gelu),
        UnaryF32::GeluTanh => to.apply(math::gelu_tanh),
        UnaryF32::Mish => to.apply(|x| x * softplus(x).tanh()),
        UnaryF32::Softplus => to.apply(softplus),
        UnaryF32::Tanh => to.apply(math::tanh),
        UnaryF32::Erf => to.apply(math::erf),
        UnaryF32::Exp => to.apply(math::exp),
        UnaryF32::Log => to.apply(f32::ln),
        UnaryF32::Sqrt => to.apply(f32::sqrt),
        UnaryF32::Reciprocal => to.apply(|x| 1.0 / x),
        UnaryF32::Abs => to.apply(f32::abs),
        UnaryF32::Neg => to.apply(|x| -x),
        UnaryF32::Sign => to.apply(|x| if x == 0.0 || x.is_nan() { x } else { 1f32.copysign(x) }),
        UnaryF32::Floor => to.apply(f32::floor),
        UnaryF32::Ceil => to.apply(f32::ceil),
        UnaryF32::Round => to.apply(f32::round_ties_even),
        UnaryF32::Sin => to.apply(f32::sin),
        UnaryF32::Cos => to.apply(f32::cos),
    }
}

/// `ln(1 + eˣ)` without overflow.
fn softplus(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + (-x.abs()).exp().ln_1p()
}
