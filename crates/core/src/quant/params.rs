//! Schemes and parameters: how integers stand for real numbers.

use serde::{Deserialize, Serialize};

use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::DType;

/// Where zero lies in the integer range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Symmetry {
    /// Zero point 0 (signed) or the middle of the range (unsigned); the most negative signed code is not used.
    Symmetric,
    /// Any zero point.
    Affine,
}

/// Which elements share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// All of them.
    PerTensor,
    /// Those of one index along an axis.
    PerChannel {
        /// The axis, not negative.
        axis: usize,
    },
    /// Runs of `size` elements along an axis.
    PerBlock {
        /// The axis, not negative.
        axis: usize,
        /// Elements per block.
        size: usize,
    },
}

/// A form of quantized tensor: what a rule allows and a plan chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scheme {
    /// Element type in storage.
    pub dtype: DType,
    /// Where zero lies.
    pub symmetry: Symmetry,
    /// What shares a scale.
    pub granularity: Granularity,
}

impl Scheme {
    /// Unsigned 8-bit activations with a zero point, one scale per tensor.
    pub const ACTIVATION_U8: Scheme =
        Scheme { dtype: DType::U8, symmetry: Symmetry::Affine, granularity: Granularity::PerTensor };

    /// Signed 8-bit weights without a zero point, one scale per index of `axis`.
    pub fn weight_i8(axis: usize) -> Scheme {
        Scheme {
            dtype: DType::I8,
            symmetry: Symmetry::Symmetric,
            granularity: Granularity::PerChannel { axis },
        }
    }

    /// The lowest and highest integer that the scheme uses.
    ///
    /// A symmetric signed scheme leaves the most negative code out, so that negation never saturates.
    ///
    /// # Errors
    /// [`CoreErrorKind::Quantization`] for an element type that cannot hold quantized values.
    pub fn code_range(&self) -> Result<(i32, i32)> {
        let (low, high) = quantized_range(self.dtype)?;
        let narrow = self.symmetry == Symmetry::Symmetric && self.dtype.is_signed_integer();
        Ok((if narrow { low + 1 } else { low }, high))
    }

    /// Scale and zero point that represent zero exactly and cover `[min, max]` widened to include zero.
    ///
    /// The scale is the width over the number of steps, computed in f64 and rounded to f32 once; a degenerate range
    /// gives scale 1. The zero point is rounded to nearest even and lies in the code range.
    ///
    /// # Errors
    /// [`CoreErrorKind::Quantization`] when a bound is not finite or the type cannot be quantized to.
    pub fn parameters(&self, min: f32, max: f32) -> Result<(f32, i32)> {
        if !min.is_finite() || !max.is_finite() || min > max {
            return Err(CoreError::new(
                CoreErrorKind::Quantization,
                format!("expected a finite range, found {min} to {max}"),
            )
            .help("look for NaN or infinity in the calibration data and the model's weights"));
        }
        let (low, high) = self.code_range()?;
        let (min, max) = (f64::from(min).min(0.0), f64::from(max).max(0.0));
        match self.symmetry {
            Symmetry::Symmetric => {
                let signed = self.dtype.is_signed_integer();
                let middle = if signed { 0 } else { i32::midpoint(low, high) + 1 };
                let steps = f64::from(high - middle);
                Ok((usable_scale(min.abs().max(max) / steps), middle))
            }
            Symmetry::Affine => {
                let scale = usable_scale((max - min) / f64::from(high - low));
                let zero = (f64::from(low) - min / f64::from(scale)).round_ties_even();
                Ok((scale, zero.clamp(f64::from(low), f64::from(high)) as i32))
            }
        }
    }
}

/// The scale as f32: 1 for an empty range, and never so small that its reciprocal overflows.
fn usable_scale(scale: f64) -> f32 {
    if scale == 0.0 { 1.0 } else { (scale as f32).max(f32::MIN_POSITIVE * 4.0) }
}

/// The code range of a storage type for quantized values.
fn quantized_range(dtype: DType) -> Result<(i32, i32)> {
    match dtype.integer_range() {
        Some((low, high)) if dtype != DType::U32 => Ok((low as i32, high as i32)),
        _ => Err(CoreError::new(
            CoreErrorKind::Quantization,
            format!("expected an integer type of at most 32 bits to quantize to, found {dtype}"),
        )),
    }
}

/// How the integers of one tensor stand for real numbers: `real = scale * (q - zero_point)`.
///
/// One scale and one zero point per tensor, per channel or per block; blocks are numbered along their axis within
/// each index of the outer axes, in row-major order of the tensor with that axis divided by the block size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuantParams {
    /// What shares a scale.
    pub granularity: Granularity,
    /// Scales, finite and positive.
    pub scales: Vec<f32>,
    /// Zero points, as many as scales, within the storage type's range.
    pub zero_points: Vec<i32>,
}

impl QuantParams {
    /// One scale and zero point for the whole tensor.
    pub fn per_tensor(scale: f32, zero_point: i32) -> Self {
        Self { granularity: Granularity::PerTensor, scales: vec![scale], zero_points: vec![zero_point] }
    }

    /// One scale per index of `axis`, zero points 0.
    pub fn symmetric_per_channel(axis: usize, scales: Vec<f32>) -> Self {
        let zero_points = vec![0; scales.len()];
        Self { granularity: Granularity::PerChannel { axis }, scales, zero_points }
    }

    /// Scale and zero point, where the whole tensor shares them.
    pub fn tensor_wide(&self) -> Option<(f32, i32)> {
        match (self.granularity, self.scales.as_slice(), self.zero_points.as_slice()) {
            (Granularity::PerTensor, &[scale], &[zero_point]) => Some((scale, zero_point)),
            _ => None,
        }
    }

    /// Checks the parameters against the tensor they belong to.
    ///
    /// # Errors
    /// [`CoreErrorKind::Quantization`] when counts, signs, axis or zero points do not fit `dtype` and `extents`.
    pub fn validate(&self, dtype: DType, extents: &[usize]) -> Result<()> {
        let fail = |message: String| Err(CoreError::new(CoreErrorKind::Quantization, message));
        let expected = match self.granularity {
            Granularity::PerTensor => 1,
            Granularity::PerChannel { axis } => match extents.get(axis) {
                Some(&channels) => channels,
                None => {
                    return fail(format!(
                        "expected a quantization axis below {}, found {axis}",
                        extents.len()
                    ));
                }
            },
            Granularity::PerBlock { axis, size } => {
                let Some(&extent) = extents.get(axis) else {
                    return fail(format!(
                        "expected a quantization axis below {}, found {axis}",
                        extents.len()
                    ));
                };
                if size == 0 {
                    return fail("expected a block size above 0, found 0".to_owned());
                }
                let others: usize = extents
                    .iter()
                    .enumerate()
                    .filter(|&(at, _)| at != axis)
                    .map(|(_, &extent)| extent)
                    .product();
                others * extent.div_ceil(size)
            }
        };
        if self.scales.len() != expected || self.zero_points.len() != expected {
            return fail(format!(
                "expected {expected} scales and zero points, found {} and {}",
                self.scales.len(),
                self.zero_points.len()
            ));
        }
        if let Some(scale) = self.scales.iter().find(|scale| !scale.is_finite() || **scale <= 0.0) {
            return fail(format!("expected finite positive scales, found {scale}"));
        }
        let (low, high) = quantized_range(dtype)?;
        if let Some(zero) = self.zero_points.iter().find(|zero| !(low..=high).contains(*zero)) {
            return fail(format!("expected zero points from {low} to {high} for {dtype}, found {zero}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn symmetric_signed_weights_leave_out_the_most_negative_code() {
        assert_eq!(Scheme::weight_i8(0).code_range().unwrap(), (-127, 127));
        let (scale, zero) = Scheme::weight_i8(0).parameters(-2.54, 1.0).unwrap();
        assert_eq!(zero, 0);
        assert!((scale - 0.02).abs() < 1e-7);
    }

    #[test]
    fn an_empty_range_has_scale_one() {
        assert_eq!(Scheme::ACTIVATION_U8.parameters(0.0, 0.0).unwrap(), (1.0, 0));
    }

    #[test]
    fn ranges_that_are_not_finite_are_refused() {
        assert!(Scheme::ACTIVATION_U8.parameters(f32::NAN, 1.0).is_err());
        assert!(Scheme::ACTIVATION_U8.parameters(0.0, f32::INFINITY).is_err());
    }

    #[test]
    fn parameters_must_fit_their_tensor() {
        let params = QuantParams::symmetric_per_channel(0, vec![0.1; 3]);
        assert!(params.validate(DType::I8, &[3, 2]).is_ok());
        assert!(params.validate(DType::I8, &[2, 3]).is_err());
        assert!(QuantParams::per_tensor(0.0, 0).validate(DType::I8, &[1]).is_err());
        assert!(QuantParams::per_tensor(1.0, 256).validate(DType::U8, &[1]).is_err());
    }

    proptest! {
        #[test]
        fn zero_is_exact_and_bounds_are_within_half_a_step(min in -1e4f32..1e4, width in 0f32..1e4) {
            let max = min + width;
            let (scale, zero) = Scheme::ACTIVATION_U8.parameters(min, max).unwrap();
            prop_assert!((0..=255).contains(&zero));
            for bound in [min.min(0.0), max.max(0.0)] {
                let code = (bound / scale).round_ties_even() + zero as f32;
                let error = (code.clamp(0.0, 255.0) - zero as f32) * scale - bound;
                prop_assert!(error.abs() <= scale * 1.01, "bound {bound} scale {scale} zero {zero}");
            }
        }
    }
}
