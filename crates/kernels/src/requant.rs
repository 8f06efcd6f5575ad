//! What becomes of a 32-bit accumulator: requantized to 8 bits, kept, or converted to float.

use crate::error::KernelError;

/// Requantization to u8:
/// `y = clamp(round_half_even(f32(acc) * multiplier[c]) + zero_point, min, max)`.
///
/// `f32(acc)` rounds to nearest even, the product is rounded to f32 and never contracted with the addition. An i8
/// tensor is stored as u8 with 128 added to its values, its zero point and its bounds: the arithmetic is the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Requantize {
    multiplier: Vec<f32>,
    largest: f32,
    zero_point: i32,
    min: i32,
    max: i32,
}

impl Requantize {
    /// One multiplier for all output channels, or one for each.
    ///
    /// Multipliers must be finite, `zero_point`, `min` and `max` must lie in 0 to 255, and `min <= max`.
    pub fn new(multiplier: Vec<f32>, zero_point: i32, min: i32, max: i32) -> Result<Self, KernelError> {
        check_finite("multiplier", &multiplier)?;
        for (name, value) in [("zero point", zero_point), ("lower bound", min), ("upper bound", max)] {
            if !(0..=255).contains(&value) {
                return Err(KernelError::parameter(format!("expected a {name} in 0 to 255, found {value}")));
            }
        }
        if min > max {
            return Err(KernelError::parameter(format!(
                "expected a lower bound not above the upper one, found {min} and {max}"
            )));
        }
        let largest = multiplier.iter().fold(0.0f32, |largest, m| largest.max(m.abs()));
        Ok(Self { multiplier, largest, zero_point, min, max })
    }

    /// The multipliers: one, or one per output channel.
    pub fn multiplier(&self) -> &[f32] {
        &self.multiplier
    }

    /// The value that stands for the real number zero.
    pub fn zero_point(&self) -> i32 {
        self.zero_point
    }

    /// Smallest and largest result.
    pub fn bounds(&self) -> (i32, i32) {
        (self.min, self.max)
    }

    /// Whether the products of all accumulators up to `accumulator` in magnitude fit 32 bits.
    pub(crate) fn fits(&self, accumulator: u64) -> bool {
        // Far enough below 2^31 that the roundings of the accumulator and the product to f32 do not matter.
        let largest = accumulator.min(1 << 31) as f64 * f64::from(self.largest);
        largest < f64::from(i32::MAX - 4096)
    }

    /// The result for accumulator `acc` of channel `c`.
    pub fn apply(&self, acc: i32, c: usize) -> u8 {
        let m = if self.multiplier.len() == 1 { self.multiplier[0] } else { self.multiplier[c] };
        requantize(acc, m, self.zero_point, self.min, self.max)
    }
}

/// See [`Requantize`]; `min` and `max` within 0 to 255.
#[inline]
pub(crate) fn requantize(acc: i32, m: f32, zero_point: i32, min: i32, max: i32) -> u8 {
    // The conversion to i32 saturates, infinities included.
    let rounded = (acc as f32 * m).round_ties_even() as i32;
    rounded.saturating_add(zero_point).clamp(min, max) as u8
}

/// Conversion to float: `y = clamp(f32(acc) * scale[c] + bias[c], min, max)`, each step rounded to f32, never
/// contracted. Where a value equals a bound, the bound is the result (this decides the sign of a zero).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dequantize<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) min: f32,
    pub(crate) max: f32,
}

impl<'a> Dequantize<'a> {
    /// One scale for all output channels or one for each, and one bias per output channel. Both must be finite;
    /// the bounds may be infinite, `min <= max`.
    pub fn new(scale: &'a [f32], bias: Option<&'a [f32]>, min: f32, max: f32) -> Result<Self, KernelError> {
        check_finite("scale", scale)?;
        check_finite("bias", bias.unwrap_or(&[]))?;
        if min.is_nan() || max.is_nan() || min > max {
            return Err(KernelError::parameter(format!(
                "expected a lower bound not above the upper one, found {min} and {max}"
            )));
        }
        Ok(Self { scale, bias, min, max })
    }
}

/// See [`Dequantize`]. Without a bias pass -0.0, which changes no value.
#[inline]
pub(crate) fn dequantize(acc: i32, scale: f32, bias: f32, min: f32, max: f32) -> f32 {
    let value = acc as f32 * scale + bias;
    // The comparisons are those of `maxps` and `minps`; NaN cannot occur.
    let value = if value > min { value } else { min };
    if value < max { value } else { max }
}

/// What becomes of the accumulators, and so the type of the output.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue<'a> {
    /// u8 by [`Requantize`].
    U8(&'a Requantize),
    /// The accumulators themselves.
    I32,
    /// f32 by [`Dequantize`].
    F32(Dequantize<'a>),
}

fn check_finite(what: &str, values: &[f32]) -> Result<(), KernelError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(c) => Err(KernelError::parameter(format!(
            "expected a finite {what} for every channel, found {} for channel {c}",
            values[c]
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_even_and_the_clamp_holds() {
        let half = Requantize::new(vec![0.5], 10, 3, 200).expect("valid");
        let results: Vec<u8> = [-1, 1, 3, 5, -3, -1000, 1000, i32::MAX].map(|acc| half.apply(acc, 0)).into();
        assert_eq!(results, [10, 10, 12, 12, 8, 3, 200, 200]);
    }

    #[test]
    fn extreme_multipliers_saturate() {
        let huge = Requantize::new(vec![1e30, -1e30, 1e-30], 7, 0, 255).expect("valid");
        assert_eq!([0, 1, 2].map(|c| huge.apply(1_000_000_000, c)), [255, 0, 7]);
        assert_eq!(huge.apply(0, 0), 7);
    }

    #[test]
    fn bad_parameters_are_refused() {
        assert!(Requantize::new(vec![f32::NAN], 0, 0, 255).is_err());
        assert!(Requantize::new(vec![f32::INFINITY], 0, 0, 255).is_err());
        assert!(Requantize::new(vec![1.0], 256, 0, 255).is_err());
        assert!(Requantize::new(vec![1.0], 0, 9, 8).is_err());
        assert!(Dequantize::new(&[1.0], Some(&[f32::NAN]), 0.0, 1.0).is_err());
        assert!(Dequantize::new(&[1.0], None, f32::NAN, 1.0).is_err());
    }

    #[test]
    fn a_zero_equal_to_the_bound_takes_its_sign() {
        assert!(dequantize(0, -1.0, -0.0, 0.0, 6.0).is_sign_positive());
        assert!(dequantize(0, -1.0, -0.0, f32::NEG_INFINITY, f32::INFINITY).is_sign_negative());
    }
}
