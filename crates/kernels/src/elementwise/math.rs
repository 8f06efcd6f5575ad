//! Exponential, error function and relatives as short branch-free formulas that vectorise, with the same bits in
//! every tier: separate products and sums, no contraction, no tables.
//!
//! The polynomials are minimax fits made for these intervals (iteratively reweighted least squares in f64); the tests
//! hold the stated errors against f64.

/// Adding this rounds a number of magnitude below 2²² to an integer, which the low bits of the sum hold.
const MAGIC: f32 = 12_582_912.0;
/// Beyond these `exp` is infinite, or zero.
const EXP_HIGH: f32 = 88.8;
const EXP_LOW: f32 = -104.0;
/// `ln 2` as a sum of which the first part has few digits: its product with an exponent is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `eˣ` within 2 ulp, denormal results within 1.5 of the smallest one. NaN gives NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Comparisons written so that NaN passes.
    let bounded = if x < EXP_LOW { EXP_LOW } else { x };
    let bounded = if bounded > EXP_HIGH { EXP_HIGH } else { bounded };
    let shifted = bounded * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (bounded - n * LN2_HIGH) - n * LN2_LOW;
    let p = 0.000_197_881_63;
    let p = p * r + 0.001_394_686_6;
    let p = p * r + 0.008_333_511;
    let p = p * r + 0.041_666_266;
    let p = p * r + 0.166_666_66;
    let p = p * r + 0.5;
    let value = (p * (r * r) + r) + 1.0;
    // 2ⁿ in two factors, each of which is a normal number.
    let n = shifted.to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
    let half = n >> 1;
    (value * power_of_two(half)) * power_of_two(n - half)
}

/// `2ⁿ` for n in -126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `1 / (1 + e⁻ˣ)` within 4 ulp where it is a normal number.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

/// Hyperbolic tangent within 3 ulp.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let t = x * x;
    let p = -0.005_905_865;
    let p = p * t + 0.020_805_381;
    let p = p * t - 0.053_786_684;
    let p = p * t + 0.133_319_6;
    let p = p * t - 0.333_333;
    let near = x + x * (t * p);
    let far = (1.0 - 2.0 / (exp(2.0 * a) + 1.0)).copysign(x);
    if a < 0.6 { near } else { far }
}

/// The error function, absolute error at most 1.5e-7, relative to the result at most 2e-7 near zero.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = x * x;
    let p = 7.853_858e-5;
    let p = p * t - 0.000_801_019_25;
    let p = p * t + 0.005_188_327_7;
    let p = p * t - 0.026_853_81;
    let p = p * t + 0.112_835_854;
    let p = p * t - 0.376_126_26;
    let p = p * t + 0.128_379_2;
    let near = x + x * p;
    // The logarithm of the complement; from 4 on the result is 1.
    let b = if a > 4.0 { 4.0 } else { a };
    let q = -2.168_685e-5;
    let q = q * b + 0.000_441_336_36;
    let q = q * b - 0.004_204_562;
    let q = q * b + 0.025_208_257;
    let q = q * b - 0.108_418_58;
    let q = q * b - 0.633_219_96;
    let q = q * b - 1.129_578_5;
    let q = q * b + 0.000_188_040_23;
    let far = (1.0 - exp(q)).copysign(x);
    if a < 1.0 { near } else { far }
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// `x * Φ(x)` by the error function; error at most 3e-7 |x|.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `x * Φ(x)` by its approximation with the hyperbolic tangent.
#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of the nearest f32 to `exact`.
    fn ulps(value: f32, exact: f64) -> f64 {
        let nearest = exact as f32;
        let place = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
        (f64::from(value) - exact).abs() / place
    }

    fn sweep(low: f32, high: f32) -> impl Iterator<Item = f32> {
        let steps = 400_000;
        (0..=steps).map(move |i| low + (high - low) * (i as f32 / steps as f32))
    }

    fn worst(range: (f32, f32), f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        sweep(range.0, range.1).map(|x| ulps(f(x), exact(f64::from(x)))).fold(0.0, f64::max)
    }

    /// The error function by its power series, which converges everywhere.
    fn erf_exact(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn exp_is_within_two_ulp() {
        let error = worst((-104.0, 88.7), exp, f64::exp);
        assert!(error <= 2.0, "{error} ulp");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_and_tanh_are_within_a_few_ulp() {
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let error = worst((-87.0, 30.0), sigmoid, logistic);
        assert!(error <= 4.0, "sigmoid {error} ulp");
        let error = worst((-12.0, 12.0), tanh, f64::tanh);
        assert!(error <= 3.0, "tanh {error} ulp");
        assert_eq!((sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)), (1.0, 0.0));
        assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
        assert!(sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
    }

    #[test]
    fn erf_and_gelu_hold_their_bounds() {
        for x in sweep(-4.5, 4.5) {
            let exact = erf_exact(f64::from(x));
            let error = (f64::from(erf(x)) - exact).abs();
            assert!(error <= 1.5e-7, "erf({x}) off by {error}");
            assert!(x.abs() > 1.0 || error <= 2e-7 * exact.abs(), "erf({x}) off by {error}");
        }
        for x in sweep(-6.0, 6.0) {
            let x64 = f64::from(x);
            let exact = 0.5 * x64 * (1.0 + erf_exact(x64 / std::f64::consts::SQRT_2));
            let error = (f64::from(gelu(x)) - exact).abs();
            assert!(error <= 3e-7 * x64.abs(), "gelu({x}) off by {error}");
        }
        assert_eq!((erf(f32::INFINITY), erf(f32::NEG_INFINITY)), (1.0, -1.0));
        assert!(erf(f32::NAN).is_nan());
    }
}
