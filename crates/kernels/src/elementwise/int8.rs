//! u8 Add, Sub and Mul with zero points, the same bits in every tier.

use super::{check_operands, zip_broadcast};
use crate::codes::{Codes, check_factors};
use crate::error::KernelError;
use crate::tier::TierToken;
use crate::tiered::tiered;

/// Parameters of [`add_u8`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AddU8 {
    /// Zero point of the first operand.
    pub a_zero: u8,
    /// Scale of the first operand over the scale of the result.
    pub a_ratio: f32,
    /// Zero point of the second operand.
    pub b_zero: u8,
    /// Scale of the second operand over the scale of the result; negated for a difference.
    pub b_ratio: f32,
    /// Zero point and bounds of the result.
    pub codes: Codes,
}

/// Parameters of [`mul_u8`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MulU8 {
    /// Zero point of the first operand.
    pub a_zero: u8,
    /// Zero point of the second operand.
    pub b_zero: u8,
    /// Product of the operands' scales over the scale of the result.
    pub multiplier: f32,
    /// Zero point and bounds of the result.
    pub codes: Codes,
}

/// `y = clamp(rhe(f32(a - a_zero) * a_ratio + f32(b - b_zero) * b_ratio) + zero_point, min, max)`: both products and
/// the sum are rounded to f32, never contracted. A difference is a sum with `b_ratio` negated.
///
/// Operands shorter than `out` are repeated, as the module says. Ratios must be of magnitude at most 1e28.
pub fn add_u8(
    token: TierToken,
    a: &[u8],
    b: &[u8],
    parameters: &AddU8,
    out: &mut [u8],
) -> Result<(), KernelError> {
    check_operands(out.len(), [("a", a.len()), ("b", b.len())])?;
    check_factors("ratio", &[parameters.a_ratio, parameters.b_ratio])?;
    add(token, a, b, *parameters, out);
    Ok(())
}

/// `y = clamp(rhe(f32((a - a_zero) * (b - b_zero)) * multiplier) + zero_point, min, max)`.
///
/// Operands shorter than `out` are repeated, as the module says. The multiplier must be of magnitude at most 1e28.
pub fn mul_u8(
    token: TierToken,
    a: &[u8],
    b: &[u8],
    parameters: &MulU8,
    out: &mut [u8],
) -> Result<(), KernelError> {
    check_operands(out.len(), [("a", a.len()), ("b", b.len())])?;
    check_factors("multiplier", &[parameters.multiplier])?;
    mul(token, a, b, *parameters, out);
    Ok(())
}

tiered! {
    fn add(a: &[u8], b: &[u8], parameters: AddU8, out: &mut [u8]) {
        let AddU8 { a_zero, a_ratio, b_zero, b_ratio, codes } = parameters;
        let (a_zero, b_zero) = (i32::from(a_zero), i32::from(b_zero));
        let rounding = codes.rounding();
        zip_broadcast(a, b, out, |a, b| {
            let left = (i32::from(a) - a_zero) as f32 * a_ratio;
            let right = (i32::from(b) - b_zero) as f32 * b_ratio;
            rounding.code(left + right)
        });
    }
}

tiered! {
    fn mul(a: &[u8], b: &[u8], parameters: MulU8, out: &mut [u8]) {
        let MulU8 { a_zero, b_zero, multiplier, codes } = parameters;
        let (a_zero, b_zero) = (i32::from(a_zero), i32::from(b_zero));
        let rounding = codes.rounding();
        zip_broadcast(a, b, out, |a, b| {
            let product = (i32::from(a) - a_zero) * (i32::from(b) - b_zero);
            rounding.code(product as f32 * multiplier)
        });
    }
}
