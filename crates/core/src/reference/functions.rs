//! Functions of one number in f64.

use std::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};

use crate::ir::UnaryOp;

/// The value of a function of one element, in f64.
///
/// Tables of 8-bit functions and every backend's oracle use this. Relu and Clip let NaN through; Not is 1 where `x`
/// is 0.
pub fn unary_function(op: UnaryOp, x: f64) -> f64 {
    match op {
        UnaryOp::Relu => clamp(x, 0.0, f64::INFINITY),
        UnaryOp::LeakyRelu { alpha } => {
            if x < 0.0 {
                x * f64::from(alpha)
            } else {
                x
            }
        }
        UnaryOp::Elu { alpha } => {
            if x < 0.0 {
                f64::from(alpha) * x.exp_m1()
            } else {
                x
            }
        }
        UnaryOp::Clip { min, max } => clamp(x, f64::from(min), f64::from(max)),
        UnaryOp::Sigmoid => sigmoid(x),
        UnaryOp::HardSigmoid { alpha, beta } => clamp(f64::from(alpha) * x + f64::from(beta), 0.0, 1.0),
        UnaryOp::HardSwish => x * clamp(x / 6.0 + 0.5, 0.0, 1.0),
        UnaryOp::Silu => x * sigmoid(x),
        UnaryOp::Gelu { tanh: false } => 0.5 * x * erfc(-x / SQRT_2),
        UnaryOp::Gelu { tanh: true } => {
            // 0.5 * (1 + tanh(u)) is the logistic function of 2u, which loses nothing in the tail.
            let u = (2.0 / PI).sqrt() * (x + 0.044_715 * x * x * x);
            x * sigmoid(2.0 * u)
        }
        UnaryOp::Mish => x * softplus(x).tanh(),
        UnaryOp::Softplus => softplus(x),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Erf => erf(x),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Reciprocal => 1.0 / x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Neg => -x,
        UnaryOp::Sign => {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x * 0.0
            }
        }
        UnaryOp::Floor => x.floor(),
        UnaryOp::Ceil => x.ceil(),
        UnaryOp::Round => x.round_ties_even(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tan => x.tan(),
        UnaryOp::Asin => x.asin(),
        UnaryOp::Acos => x.acos(),
        UnaryOp::Atan => x.atan(),
        UnaryOp::Sinh => x.sinh(),
        UnaryOp::Cosh => x.cosh(),
        UnaryOp::Asinh => x.asinh(),
        UnaryOp::Acosh => x.acosh(),
        UnaryOp::Atanh => x.atanh(),
        UnaryOp::Softsign => {
            if x.is_infinite() {
                x.signum()
            } else {
                x / (1.0 + x.abs())
            }
        }
        UnaryOp::Celu { alpha } => {
            let alpha = f64::from(alpha);
            if x < 0.0 { alpha * (x / alpha).exp_m1() } else { x }
        }
        UnaryOp::Selu { alpha, gamma } => {
            f64::from(gamma) * if x > 0.0 { x } else { f64::from(alpha) * x.exp_m1() }
        }
        UnaryOp::ThresholdedRelu { alpha } => {
            if x > f64::from(alpha) || x.is_nan() {
                x
            } else {
                0.0
            }
        }
        UnaryOp::Shrink { bias, lambda } => {
            let (bias, lambda) = (f64::from(bias), f64::from(lambda));
            if x < -lambda {
                x + bias
            } else if x > lambda {
                x - bias
            } else {
                0.0
            }
        }
        UnaryOp::Not => f64::from(u8::from(x == 0.0)),
    }
}

/// `min(max(x, low), high)` that lets NaN through; `high` wins where the bounds cross.
pub(super) fn clamp(x: f64, low: f64, high: f64) -> f64 {
    if x.is_nan() { x } else { x.max(low).min(high) }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

/// The error function, to within 1e-15.
///
/// Near zero by the series `2/√π · exp(-x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!`, whose terms are all of one sign, so that
/// nothing cancels; further out as `1 - erfc(x)`.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let size = x.abs();
    if size >= 6.0 {
        return 1f64.copysign(x);
    }
    if size >= 2.0 {
        return (1.0 - tail(size)).copysign(x);
    }
    let square = x * x;
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-18 {
        odd += 2.0;
        term *= 2.0 * square / odd;
        sum += term;
    }
    FRAC_2_SQRT_PI * (-square).exp() * sum
}

/// The complementary error function `1 - erf(x)`, without cancellation for large `x`.
pub fn erfc(x: f64) -> f64 {
    if x >= 2.0 { tail(x) } else { 1.0 - erf(x) }
}

/// `erfc(x)` for `x` of at least 2.0, by the continued fraction `exp(-x²)/√π · 1/(x + (1/2)/(x + (2/2)/(x + …)))`.
fn tail(x: f64) -> f64 {
    // Evaluated from the back; 100 levels are far more than f64 needs from 2.0 on.
    let fraction = (1..=100).rev().fold(x, |rest, level| x + f64::from(level) / 2.0 / rest);
    (-x * x).exp() / (PI.sqrt() * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_equals_tabulated_values() {
        // Abramowitz and Stegun, Handbook of Mathematical Functions, table 7.1 (10 digits); all digits from the C
        // library's erf.
        for (x, expected, digits) in [
            (0.0, 0.0, 1e-16),
            (0.1, 0.112_462_916_0, 1e-10),
            (0.5, 0.520_499_877_813_046_5, 1e-15),
            (1.0, 0.842_700_792_949_714_9, 1e-15),
            (1.5, 0.966_105_146_5, 1e-10),
            (2.0, 0.995_322_265_018_952_7, 1e-15),
        ] {
            assert!((erf(x) - expected).abs() <= digits, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        // The C library's erfc.
        assert!((erfc(3.0) / 2.209_049_699_858_544e-5 - 1.0).abs() < 1e-13);
        assert!((erfc(5.0) / 1.537_459_794_428_035e-12 - 1.0).abs() < 1e-13);
        assert_eq!(erf(f64::INFINITY), 1.0);
        assert!(erf(f64::NAN).is_nan());
    }

    #[test]
    fn both_expansions_meet() {
        // The series and the fraction are independent of each other.
        for step in 0..=20 {
            let x = 2.0 + f64::from(step) * 0.01;
            let square = x * x;
            let series: f64 = (0..200)
                .scan(x, |term, n| {
                    let now = *term;
                    *term *= 2.0 * square / f64::from(2 * n + 3);
                    Some(now)
                })
                .sum();
            let by_series = FRAC_2_SQRT_PI * (-square).exp() * series;
            assert!((by_series - erf(x)).abs() < 2e-15, "{x}: {by_series} and {}", erf(x));
        }
    }

    #[test]
    fn functions_keep_their_identities() {
        for step in -80..=80 {
            let x = f64::from(step) * 0.1;
            let close =
                |a: f64, b: f64| assert!((a - b).abs() <= 1e-14 * (1.0 + b.abs()), "{x}: {a} and {b}");
            close(unary_function(UnaryOp::Silu, x), x * unary_function(UnaryOp::Sigmoid, x));
            close(unary_function(UnaryOp::Softplus, x), x.exp().ln_1p());
            close(unary_function(UnaryOp::Gelu { tanh: false }, x), 0.5 * x * (1.0 + erf(x / SQRT_2)));
            let inner = (2.0 / PI).sqrt() * (x + 0.044_715 * x.powi(3));
            close(unary_function(UnaryOp::Gelu { tanh: true }, x), 0.5 * x * (1.0 + inner.tanh()));
            close(unary_function(UnaryOp::HardSwish, x), x * (x + 3.0).clamp(0.0, 6.0) / 6.0);
        }
        assert_eq!(unary_function(UnaryOp::Softplus, 1000.0), 1000.0);
        assert_eq!(unary_function(UnaryOp::Round, 2.5), 2.0);
        assert_eq!(unary_function(UnaryOp::Clip { min: 3.0, max: 1.0 }, 2.0), 1.0);
        assert!(unary_function(UnaryOp::Relu, f64::NAN).is_nan());
    }
}
