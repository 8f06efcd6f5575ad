//! The last step of every integer rule but the convolution's: round half to even, add the zero point, clamp.

use crate::error::KernelError;

/// Zero point and bounds of a u8 result: `clamp(round_half_even(v) + zero_point, min, max)`.
///
/// An i8 tensor is stored as u8 with 128 added to its values, its zero point and its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Codes {
    zero_point: u8,
    min: u8,
    max: u8,
}

impl Codes {
    /// `min <= max`; both are the type's own bounds, or narrower ones that carry a fused clamp.
    pub fn new(zero_point: u8, min: u8, max: u8) -> Result<Self, KernelError> {
        if min > max {
            return Err(KernelError::parameter(format!(
                "expected a lower bound not above the upper one, found {min} and {max}"
            )));
        }
        Ok(Self { zero_point, min, max })
    }

    /// All codes, with `zero_point`.
    pub fn full(zero_point: u8) -> Self {
        Self { zero_point, min: 0, max: 255 }
    }

    /// The value that stands for the real number zero.
    pub fn zero_point(self) -> u8 {
        self.zero_point
    }

    /// Smallest and largest result.
    pub fn bounds(self) -> (u8, u8) {
        (self.min, self.max)
    }

    /// `clamp(round_half_even(v) + zero_point, min, max)`; NaN counts as 0.
    pub fn of(self, v: f32) -> u8 {
        self.rounding().code(if v.is_nan() { 0.0 } else { v })
    }

    /// The same in the form that loops use.
    pub(crate) fn rounding(self) -> Rounding {
        let zero = f32::from(self.zero_point);
        Rounding {
            low: f32::from(self.min) - zero,
            high: f32::from(self.max) - zero,
            offset: u32::from(self.zero_point),
        }
    }
}

/// A number in -2²² to 2²² added to this is rounded to an integer, half to even, that the low bits of the sum hold.
const MAGIC: f32 = 12_582_912.0;

/// [`Codes`] with bounds relative to the zero point: clamping before the rounding gives the same result, as the
/// bounds are integers, and bounds the sum with [`MAGIC`].
#[derive(Clone, Copy)]
pub(crate) struct Rounding {
    low: f32,
    high: f32,
    offset: u32,
}

impl Rounding {
    /// See [`Codes`]; `v` is not NaN.
    #[inline(always)]
    pub(crate) fn code(self, v: f32) -> u8 {
        // These comparisons are single instructions; `f32::clamp` is not.
        let v = if v > self.low { v } else { self.low };
        let v = if v < self.high { v } else { self.high };
        ((v + MAGIC).to_bits().wrapping_add(self.offset)) as u8
    }
}

/// Refuses factors that are not finite or whose products with codes could overflow.
pub(crate) fn check_factors(what: &str, factors: &[f32]) -> Result<(), KernelError> {
    match factors.iter().find(|factor| factor.is_nan() || factor.abs() > LARGEST_FACTOR) {
        None => Ok(()),
        Some(factor) => Err(KernelError::parameter(format!(
            "expected a {what} of magnitude at most {LARGEST_FACTOR:e}, found {factor}"
        ))),
    }
}

/// Largest factor: sums of its products with 32-bit integers are finite.
const LARGEST_FACTOR: f32 = 1e28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamping_first_changes_nothing() {
        for (zero, min, max) in [(0, 0, 255), (255, 0, 255), (128, 128, 255), (7, 9, 9), (200, 3, 100)] {
            let codes = Codes::new(zero, min, max).expect("ordered");
            for step in -4200..4200 {
                let v = step as f32 / 8.0;
                let expected = (v.round_ties_even() as i32 + i32::from(zero)).clamp(min.into(), max.into());
                assert_eq!(i32::from(codes.of(v)), expected, "{v} with {codes:?}");
            }
            assert_eq!(codes.of(f32::INFINITY), max);
            assert_eq!(codes.of(f32::NEG_INFINITY), min);
            assert_eq!(codes.of(f32::NAN), zero.clamp(min, max));
        }
    }
}
