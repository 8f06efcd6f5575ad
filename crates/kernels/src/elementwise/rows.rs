//! Rows that are normalised: softmax and layer normalisation. Sums run in sixteen fixed lanes that are then added
//! pairwise, so every tier gives the same bits. Cutting the work is cutting rows.

use super::math;
use crate::error::KernelError;
use crate::tier::TierToken;
use crate::tiered::tiered;

/// Lanes of a sum: element `i` of a row goes to lane `i % LANES`.
const LANES: usize = 16;
/// How far below the greatest element of its row one is so small a part of the sum (1.8e-35) that it counts as nothing.
/// Numbers that are less than normal take a hundred times as long to compute with, and masked rows are full of them.
const NEGLIGIBLE: f32 = 80.0;

/// Softmax of each row of `width` elements: `eˣ⁻ᵐᵃˣ / Σ eˣ⁻ᵐᵃˣ`, or its logarithm `x - max - ln Σ`.
///
/// Relative error within `(width / 16 + 10) * 2⁻²³`, and 0 for elements more than 80 below the greatest of their row. A row with a NaN, or of only negative infinities, gives NaN.
pub fn softmax_f32(
    token: TierToken,
    x: &[f32],
    width: usize,
    logarithm: bool,
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_rows(x.len(), width, out.len())?;
    softmax(token, x, width, logarithm, out);
    Ok(())
}

/// Layer normalisation of each row of `scale.len()` elements: `(x - mean) / sqrt(variance + epsilon) * scale + bias`,
/// with the biased variance.
pub fn layer_norm_f32(
    token: TierToken,
    x: &[f32],
    scale: &[f32],
    bias: Option<&[f32]>,
    epsilon: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_rows(x.len(), scale.len(), out.len())?;
    if let Some(bias) = bias {
        KernelError::check_length("bias", scale.len(), bias.len())?;
    }
    layer_norm(token, x, scale, bias, epsilon, out);
    Ok(())
}

fn check_rows(n: usize, width: usize, out: usize) -> Result<(), KernelError> {
    KernelError::check_length("output", n, out)?;
    if n > 0 && (width == 0 || !n.is_multiple_of(width)) {
        return Err(KernelError::parameter(format!(
            "expected rows whose width divides the {n} elements, found width {width}"
        )));
    }
    Ok(())
}

tiered! {
    fn softmax(x: &[f32], width: usize, logarithm: bool, out: &mut [f32]) {
        for (x, out) in x.chunks_exact(width.max(1)).zip(out.chunks_exact_mut(width.max(1))) {
            let max = fold(x, f32::NEG_INFINITY, |lane, x| if x < lane { lane } else { x }, |a, b| {
                if a > b || a.is_nan() { a } else { b }
            });
            for (y, &x) in out.iter_mut().zip(x) {
                let below = x - max;
                // Comparisons written so that NaN passes.
                let bounded = if below < -NEGLIGIBLE { -NEGLIGIBLE } else { below };
                *y = if below < -NEGLIGIBLE { 0.0 } else { math::exp(bounded) };
            }
            let total = fold(out, 0.0, |lane, y| lane + y, |a, b| a + b);
            if logarithm {
                let total = total.ln();
                for (y, &x) in out.iter_mut().zip(x) {
                    *y = (x - max) - total;
                }
            } else {
                for y in &mut *out {
                    *y /= total;
                }
            }
        }
    }
}

tiered! {
    fn layer_norm(x: &[f32], scale: &[f32], bias: Option<&[f32]>, epsilon: f32, out: &mut [f32]) {
        let width = scale.len().max(1);
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = fold(x, 0.0, |lane, x| lane + x, |a, b| a + b) / width as f32;
            let squares = fold(x, 0.0, |lane, x| lane + (x - mean) * (x - mean), |a, b| a + b);
            let deviation = (squares / width as f32 + epsilon).sqrt();
            for ((y, &x), &scale) in out.iter_mut().zip(x).zip(scale) {
                *y = (x - mean) / deviation * scale;
            }
            if let Some(bias) = bias {
                for (y, &bias) in out.iter_mut().zip(bias) {
                    *y += bias;
                }
            }
        }
    }
}

/// Folds `x` in [`LANES`] lanes, then the lanes pairwise.
#[inline(always)]
fn fold(x: &[f32], start: f32, step: impl Fn(f32, f32) -> f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = step(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = step(*lane, x);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = combine(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}
