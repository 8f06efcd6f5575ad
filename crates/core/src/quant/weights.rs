//! Quantizing constant tensors: weights per channel, biases to 32 bits.

use serde::{Deserialize, Serialize};

use super::{Granularity, QuantParams, Scheme};
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::{DType, Tensor};

/// How the scale of weights follows from their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightRule {
    /// The largest magnitude gets the largest code.
    AbsMax,
    /// The scale with the least squared error, at most that of [`WeightRule::AbsMax`].
    #[default]
    LeastSquares,
}

/// Weights as codes with their parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedTensor {
    /// The codes.
    pub tensor: Tensor,
    /// What they stand for.
    pub params: QuantParams,
}

/// The largest code a bias may take: half the accumulator's range, the rest is left to the products.
const BIAS_LIMIT: f64 = (1i64 << 30) as f64;

/// Quantizes `weights` by a symmetric per-tensor or per-channel `scheme`.
///
/// `smallest_scales`, one per channel (or one), bounds the scales from below; an all-zero channel has scale 1 unless
/// its bound is larger.
///
/// # Errors
/// [`CoreErrorKind::Quantization`] for values that are not finite, a scheme with blocks, or an axis out of range.
pub fn quantize_weights(
    weights: &Tensor,
    scheme: Scheme,
    rule: WeightRule,
    smallest_scales: Option<&[f32]>,
) -> Result<QuantizedTensor> {
    let values = weights.to_f32_vec();
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Err(CoreError::new(
            CoreErrorKind::Quantization,
            format!("expected finite weights, found {value}"),
        ));
    }
    let (low, high) = scheme.code_range()?;
    let extents = weights.extents();
    let (outer, channels, inner) = match scheme.granularity {
        Granularity::PerTensor => (1, 1, values.len()),
        Granularity::PerChannel { axis } if axis < extents.len() => {
            (extents[..axis].iter().product(), extents[axis], extents[axis + 1..].iter().product::<usize>())
        }
        granularity => {
            return Err(CoreError::new(
                CoreErrorKind::Quantization,
                format!("expected weights per tensor or per channel of {extents:?}, found {granularity:?}"),
            ));
        }
    };
    let mut codes = vec![0i64; values.len()];
    let mut scales = Vec::with_capacity(channels);
    let mut channel_values = Vec::with_capacity(outer * inner);
    for channel in 0..channels {
        let runs = (0..outer).map(|o| (o * channels + channel) * inner);
        channel_values.clear();
        for start in runs.clone() {
            channel_values.extend_from_slice(&values[start..start + inner]);
        }
        let largest = channel_values.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let (absmax, _) = scheme.parameters(-largest, largest)?;
        let chosen = match rule {
            WeightRule::AbsMax => absmax,
            WeightRule::LeastSquares => least_squares_scale(&channel_values, absmax, low, high),
        };
        let floor = smallest_scales.map_or(0.0, |scales| scales[channel.min(scales.len() - 1)]);
        let scale = chosen.max(floor);
        for start in runs {
            for at in start..start + inner {
                codes[at] = i64::from(code(values[at], scale, low, high));
            }
        }
        scales.push(scale);
    }
    let zero_points = vec![0; scales.len()];
    let tensor = Tensor::from_i64(scheme.dtype, extents, &codes)?;
    Ok(QuantizedTensor {
        tensor,
        params: QuantParams { granularity: scheme.granularity, scales, zero_points },
    })
}

fn code(x: f32, scale: f32, low: i32, high: i32) -> i32 {
    ((x / scale).round_ties_even() as i32).clamp(low, high)
}

/// The scale with the least squared error: the best of a hundred from 0.25 to 1 of `absmax`, then in turns the best codes
/// for the scale and the best scale for the codes until neither changes.
fn least_squares_scale(values: &[f32], absmax: f32, low: i32, high: i32) -> f32 {
    let error = |scale: f32| -> f64 {
        values.iter().map(|&x| f64::from(x - code(x, scale, low, high) as f32 * scale).powi(2)).sum()
    };
    let mut best = (error(absmax), absmax);
    for step in 1..100 {
        let scale = absmax * (1.0 - step as f32 * 0.0075);
        let error = error(scale);
        if error < best.0 {
            best = (error, scale);
        }
    }
    for _ in 0..REFINEMENTS {
        let sums = values.iter().fold((0.0f64, 0.0f64), |(cross, square), &x| {
            let q = f64::from(code(x, best.1, low, high));
            (cross + q * f64::from(x), square + q * q)
        });
        let scale = (sums.0 / sums.1) as f32;
        if !(scale.is_finite() && scale > 0.0) {
            break;
        }
        let error = error(scale);
        if error >= best.0 {
            break;
        }
        best = (error, scale);
    }
    best.1
}

/// Turns of codes and scale at most; they settle within a few.
const REFINEMENTS: usize = 10;

/// The smallest weight scales at which every bias fits 32 bits with room for the products.
pub fn scales_for_bias(bias: &[f32], input_scale: f32) -> Vec<f32> {
    bias.iter().map(|&b| (f64::from(b.abs()) / f64::from(input_scale) / BIAS_LIMIT) as f32).collect()
}

/// Quantizes a bias to i32 with scale `f32(input_scale * weight_scale)` per channel, rounded half to even.
///
/// # Errors
/// [`CoreErrorKind::Quantization`] when a bias is not finite or does not fit.
pub fn quantize_bias(bias: &[f32], input_scale: f32, weight_scales: &[f32]) -> Result<QuantizedTensor> {
    let mut codes = Vec::with_capacity(bias.len());
    let mut scales = Vec::with_capacity(bias.len());
    for (channel, &b) in bias.iter().enumerate() {
        let scale = input_scale * weight_scales[channel.min(weight_scales.len() - 1)];
        let code = (f64::from(b) / f64::from(scale)).round_ties_even();
        if code.is_nan() || code.abs() > f64::from(i32::MAX) {
            return Err(CoreError::new(
                CoreErrorKind::Quantization,
                format!("expected biases that fit 32 bits at scale {scale}, found {b}"),
            )
            .help("keep this node in float"));
        }
        codes.push(code as i32);
        scales.push(scale.max(f32::MIN_POSITIVE));
    }
    let tensor = Tensor::from_slice(&[codes.len()], &codes)?;
    Ok(QuantizedTensor { tensor, params: QuantParams::symmetric_per_channel(0, scales) })
}

/// Quantizes a constant operand of an element-wise operator to unsigned 8 bits over its own range.
///
/// # Errors
/// [`CoreErrorKind::Quantization`] for values that are not finite.
pub fn quantize_operand(values: &Tensor, dtype: DType) -> Result<QuantizedTensor> {
    let scheme = Scheme { dtype, ..Scheme::ACTIVATION_U8 };
    let floats = values.to_f32_vec();
    let (min, max) = floats.iter().fold((0f32, 0f32), |(min, max), &x| (min.min(x), max.max(x)));
    let finite = floats.iter().all(|x| x.is_finite());
    let (scale, zero_point) =
        scheme.parameters(if finite { min } else { f32::NAN }, if finite { max } else { f32::NAN })?;
    let (low, high) = scheme.code_range()?;
    let range = super::convert::CodeRange { min: low, max: high };
    let codes: Vec<i64> =
        floats.iter().map(|&x| i64::from(super::convert::quantize(x, scale, zero_point, range))).collect();
    let tensor = Tensor::from_i64(dtype, values.extents(), &codes)?;
    Ok(QuantizedTensor { tensor, params: QuantParams::per_tensor(scale, zero_point) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_channel_has_its_own_scale() {
        let weights = Tensor::from_slice(&[2, 2], &[1.27f32, -0.5, 127.0, 3.0]).unwrap();
        let rows = quantize_weights(&weights, Scheme::weight_i8(0), WeightRule::AbsMax, None).unwrap();
        assert_eq!(rows.params.scales, vec![0.01, 1.0]);
        assert_eq!(rows.tensor.to_i64_vec(), vec![127, -50, 127, 3]);
        let columns = quantize_weights(&weights, Scheme::weight_i8(1), WeightRule::AbsMax, None).unwrap();
        assert_eq!(columns.params.scales.len(), 2);
        assert_eq!(columns.params.scales[0], 1.0);
    }

    #[test]
    fn large_biases_raise_the_weight_scale() {
        let bias = [1e6f32, 0.0];
        let floor = scales_for_bias(&bias, 1e-6);
        let weights = Tensor::from_slice(&[2, 1], &[0.001f32, 0.001]).unwrap();
        let quantized =
            quantize_weights(&weights, Scheme::weight_i8(0), WeightRule::AbsMax, Some(&floor)).unwrap();
        assert!(quantize_bias(&bias, 1e-6, &quantized.params.scales).is_ok());
        assert!(quantize_bias(&bias, 1e-6, &[1e-6]).is_err());
    }

    #[test]
    fn weights_that_are_not_finite_are_refused() {
        let weights = Tensor::from_slice(&[1], &[f32::NAN]).unwrap();
        assert!(quantize_weights(&weights, Scheme::weight_i8(0), WeightRule::AbsMax, None).is_err());
        assert!(quantize_operand(&weights, DType::U8).is_err());
    }

    proptest! {
        #[test]
        fn least_squares_never_does_worse(values in prop::collection::vec(-1f32..1.0, 1..60)) {
            let weights = Tensor::from_slice(&[1, values.len()], &values).unwrap();
            let error = |rule| {
                let quantized = quantize_weights(&weights, Scheme::weight_i8(0), rule, None).unwrap();
                let scale = quantized.params.scales[0];
                let codes = quantized.tensor.to_i64_vec();
                values.iter().zip(codes).map(|(&x, q)| f64::from(x - q as f32 * scale).powi(2)).sum::<f64>()
            };
            prop_assert!(error(WeightRule::LeastSquares) <= error(WeightRule::AbsMax) * (1.0 + 1e-9));
        }
    }
}
