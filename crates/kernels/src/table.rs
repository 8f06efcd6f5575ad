//! 256-entry tables: any function of one 8-bit element, and placing channels side by side.

#[cfg(target_arch = "x86_64")]
mod vbmi;

use crate::codes::{Codes, check_factors};
use crate::error::KernelError;
use crate::tier::TierToken;

/// `out[i] = table[x[i]]`, the same in every tier.
pub fn table_u8(token: TierToken, table: &[u8; 256], x: &[u8], out: &mut [u8]) -> Result<(), KernelError> {
    KernelError::check_length("output", x.len(), out.len())?;
    lookup(token, table, x, out);
    Ok(())
}

/// The table of a change of scale and zero point: `clamp(rhe(f32(x - x_zero) * ratio) + zero_point, min, max)`, where
/// `ratio` is the input's scale over the output's, of magnitude at most 1e28.
pub fn requantize_table(x_zero: u8, ratio: f32, codes: Codes) -> Result<[u8; 256], KernelError> {
    check_factors("ratio", &[ratio])?;
    let rounding = codes.rounding();
    Ok(std::array::from_fn(|x| rounding.code((x as i32 - i32::from(x_zero)) as f32 * ratio)))
}

/// Copies pixels of `channels` elements into pixels of `out_channels`, from channel `offset` of each: one operand of
/// a concatenation along the channels. `x` and `out` hold the same number of whole pixels.
pub fn place_channels<T: Copy>(
    x: &[T],
    channels: usize,
    out: &mut [T],
    out_channels: usize,
    offset: usize,
) -> Result<(), KernelError> {
    check_places(x.len(), channels, out.len(), out_channels, offset)?;
    if channels > 0 {
        for (x, out) in x.chunks_exact(channels).zip(out.chunks_exact_mut(out_channels)) {
            out[offset..offset + channels].copy_from_slice(x);
        }
    }
    Ok(())
}

/// [`place_channels`] through a table, as an operand with its own scale needs.
pub fn place_channels_table(
    token: TierToken,
    table: &[u8; 256],
    x: &[u8],
    channels: usize,
    out: &mut [u8],
    out_channels: usize,
    offset: usize,
) -> Result<(), KernelError> {
    check_places(x.len(), channels, out.len(), out_channels, offset)?;
    if channels > 0 {
        for (x, out) in x.chunks_exact(channels).zip(out.chunks_exact_mut(out_channels)) {
            lookup(token, table, x, &mut out[offset..offset + channels]);
        }
    }
    Ok(())
}

fn check_places(
    x: usize,
    channels: usize,
    out: usize,
    out_channels: usize,
    offset: usize,
) -> Result<(), KernelError> {
    if offset.checked_add(channels).is_none_or(|end| end > out_channels) {
        return Err(KernelError::parameter(format!(
            "expected channels {offset} to {offset} + {channels} within the output's {out_channels}"
        )));
    }
    let pixels = x.checked_div(channels).unwrap_or(0);
    KernelError::check_length("input", pixels * channels, x)?;
    if channels > 0 {
        KernelError::check_length("output", pixels * out_channels, out)?;
    }
    Ok(())
}

fn lookup(token: TierToken, table: &[u8; 256], x: &[u8], out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if vbmi::lookup(token, table, x, out) {
        return;
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = token;
    for (y, &x) in out.iter_mut().zip(x) {
        *y = table[usize::from(x)];
    }
}
