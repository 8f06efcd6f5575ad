//! f32 functions of two elements, the same bits in every tier.

use super::{check_operands, zip_broadcast};
use crate::error::KernelError;
use crate::tier::TierToken;
use crate::tiered::tiered;

/// A function of two f32 elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BinaryF32 {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The smaller; NaN where either is NaN.
    Min,
    /// The larger; NaN where either is NaN.
    Max,
    /// `a` to the power `b`, by the standard library.
    Pow,
    /// Remainder with the sign of `a`.
    Mod,
    /// `a` where it is at least 0, else `a * b`.
    PRelu,
}

/// `out = clamp(op(a, b), min, max)`; operands shorter than `out` are repeated, as the module says. The bounds may be
/// infinite; NaN passes through.
pub fn binary_f32(
    token: TierToken,
    op: BinaryF32,
    a: &[f32],
    b: &[f32],
    bounds: (f32, f32),
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_operands(out.len(), [("a", a.len()), ("b", b.len())])?;
    if bounds == (f32::NEG_INFINITY, f32::INFINITY) {
        plain(token, op, a, b, out);
    } else {
        clamped(token, op, a, b, bounds, out);
    }
    Ok(())
}

tiered! {
    fn plain(op: BinaryF32, a: &[f32], b: &[f32], out: &mut [f32]) {
        apply(op, a, b, out, |v| v);
    }
}

tiered! {
    fn clamped(op: BinaryF32, a: &[f32], b: &[f32], bounds: (f32, f32), out: &mut [f32]) {
        apply(op, a, b, out, |v| clamp(v, bounds));
    }
}

#[inline(always)]
fn apply(op: BinaryF32, a: &[f32], b: &[f32], out: &mut [f32], then: impl Fn(f32) -> f32) {
    match op {
        BinaryF32::Add => zip_broadcast(a, b, out, |a, b| then(a + b)),
        BinaryF32::Sub => zip_broadcast(a, b, out, |a, b| then(a - b)),
        BinaryF32::Mul => zip_broadcast(a, b, out, |a, b| then(a * b)),
        BinaryF32::Div => zip_broadcast(a, b, out, |a, b| then(a / b)),
        BinaryF32::Min => zip_broadcast(a, b, out, |a, b| then(if a < b || a.is_nan() { a } else { b })),
        BinaryF32::Max => zip_broadcast(a, b, out, |a, b| then(if a > b || a.is_nan() { a } else { b })),
        BinaryF32::Pow => zip_broadcast(a, b, out, |a, b| then(a.powf(b))),
        BinaryF32::Mod => zip_broadcast(a, b, out, |a, b| then(a % b)),
        BinaryF32::PRelu => zip_broadcast(a, b, out, |a, b| then(if a < 0.0 { a * b } else { a })),
    }
}

/// `v` within the bounds; NaN stays NaN.
#[inline(always)]
pub(crate) fn clamp(v: f32, (min, max): (f32, f32)) -> f32 {
    let v = if v < min { min } else { v };
    if v > max { max } else { v }
}
