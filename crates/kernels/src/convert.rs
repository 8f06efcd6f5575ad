//! Conversions between storage types: f32 to and from u8 codes, f16 and bf16, and the range of a slice.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::codes::Codes;
use crate::error::KernelError;
use crate::tier::TierToken;
use crate::tiered::tiered;

/// `q = clamp(rhe(x / scale) + zero_point, min, max)`: a division, not a product with the reciprocal. NaN gives the
/// zero point (clamped), infinities the bounds.
///
/// One scale for all elements, or one per channel, the last axis: element `i` reads `scale[i % scale.len()]`, and
/// likewise `codes`. Other axes are loops over this in the caller. Scales must be positive and finite.
pub fn quantize_f32(
    token: TierToken,
    x: &[f32],
    scale: &[f32],
    codes: &[Codes],
    out: &mut [u8],
) -> Result<(), KernelError> {
    KernelError::check_length("output", x.len(), out.len())?;
    check_channels(x.len(), scale, codes.len())?;
    match (scale, codes) {
        (&[scale], &[codes]) => quantize_tensor(token, x, scale, codes, out),
        _ => quantize_channels(token, x, scale, codes, out),
    }
    Ok(())
}

/// `x = f32(q - zero) * scale`, per tensor or per channel as [`quantize_f32`].
pub fn dequantize_u8(
    token: TierToken,
    q: &[u8],
    scale: &[f32],
    zero: &[u8],
    out: &mut [f32],
) -> Result<(), KernelError> {
    KernelError::check_length("output", q.len(), out.len())?;
    check_channels(q.len(), scale, zero.len())?;
    match (scale, zero) {
        (&[scale], &[zero]) => dequantize_tensor(token, q, scale, zero, out),
        _ => dequantize_channels(token, q, scale, zero, out),
    }
    Ok(())
}

fn check_channels(n: usize, scale: &[f32], zeros: usize) -> Result<(), KernelError> {
    for (name, len) in [("scales", scale.len()), ("zero points", zeros)] {
        if len == 0 || !n.is_multiple_of(len) {
            return Err(KernelError::parameter(format!(
                "expected a number of {name} that divides the {n} elements, found {len}"
            )));
        }
    }
    match scale.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
        None => Ok(()),
        Some(scale) => Err(KernelError::parameter(format!("expected a positive scale, found {scale}"))),
    }
}

tiered! {
    fn quantize_tensor(x: &[f32], scale: f32, codes: Codes, out: &mut [u8]) {
        let rounding = codes.rounding();
        for (q, &x) in out.iter_mut().zip(x) {
            let v = x / scale;
            *q = rounding.code(if v.is_nan() { 0.0 } else { v });
        }
    }
}

tiered! {
    fn quantize_channels(x: &[f32], scale: &[f32], codes: &[Codes], out: &mut [u8]) {
        let channels = scale.iter().cycle().zip(codes.iter().cycle());
        for ((q, &x), (&scale, codes)) in out.iter_mut().zip(x).zip(channels) {
            *q = codes.of(x / scale);
        }
    }
}

tiered! {
    fn dequantize_tensor(q: &[u8], scale: f32, zero: u8, out: &mut [f32]) {
        let zero = i32::from(zero);
        for (x, &q) in out.iter_mut().zip(q) {
            *x = (i32::from(q) - zero) as f32 * scale;
        }
    }
}

tiered! {
    fn dequantize_channels(q: &[u8], scale: &[f32], zero: &[u8], out: &mut [f32]) {
        let channels = scale.iter().cycle().zip(zero.iter().cycle());
        for ((x, &q), (&scale, &zero)) in out.iter_mut().zip(q).zip(channels) {
            *x = (i32::from(q) - i32::from(zero)) as f32 * scale;
        }
    }
}

/// Smallest and largest element, NaN left out; `None` where nothing is left. A zero counts as positive, so the result
/// is the same for every way of cutting the slice and combining the parts.
pub fn min_max_f32(token: TierToken, x: &[f32]) -> Option<(f32, f32)> {
    let (min, max) = min_max(token, x);
    // Adding +0 takes the sign from a zero.
    (min <= max).then_some((min + 0.0, max + 0.0))
}

tiered! {
    fn min_max(x: &[f32]) -> (f32, f32) {
        const LANES: usize = 64;
        let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let mut chunks = x.chunks_exact(LANES);
        let mut fold = |chunk: &[f32]| {
            for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(chunk) {
                *low = if x < *low { x } else { *low };
                *high = if x > *high { x } else { *high };
            }
        };
        for chunk in &mut chunks {
            fold(chunk);
        }
        fold(chunks.remainder());
        (low.into_iter().fold(f32::INFINITY, f32::min), high.into_iter().fold(f32::NEG_INFINITY, f32::max))
    }
}

/// f16 to f32, exact.
pub fn f16_to_f32(x: &[f16], out: &mut [f32]) -> Result<(), KernelError> {
    KernelError::check_length("output", x.len(), out.len())?;
    x.convert_to_f32_slice(out);
    Ok(())
}

/// f32 to f16, rounded half to even; too large gives infinity.
pub fn f32_to_f16(x: &[f32], out: &mut [f16]) -> Result<(), KernelError> {
    KernelError::check_length("output", x.len(), out.len())?;
    out.convert_from_f32_slice(x);
    Ok(())
}

/// bf16 to f32, exact.
pub fn bf16_to_f32(token: TierToken, x: &[bf16], out: &mut [f32]) -> Result<(), KernelError> {
    KernelError::check_length("output", x.len(), out.len())?;
    widen(token, x, out);
    Ok(())
}

/// f32 to bf16, rounded half to even; NaN stays NaN.
pub fn f32_to_bf16(token: TierToken, x: &[f32], out: &mut [bf16]) -> Result<(), KernelError> {
    KernelError::check_length("output", x.len(), out.len())?;
    narrow(token, x, out);
    Ok(())
}

tiered! {
    fn widen(x: &[bf16], out: &mut [f32]) {
        for (y, x) in out.iter_mut().zip(x) {
            *y = f32::from_bits(u32::from(x.to_bits()) << 16);
        }
    }
}

tiered! {
    fn narrow(x: &[f32], out: &mut [bf16]) {
        for (y, &x) in out.iter_mut().zip(x) {
            let bits = x.to_bits();
            let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
            // A NaN whose payload lies in the lost bits must not become an infinity.
            let quiet = bits >> 16 | 0x40;
            *y = bf16::from_bits(if x.is_nan() { quiet } else { rounded } as u16);
        }
    }
}
