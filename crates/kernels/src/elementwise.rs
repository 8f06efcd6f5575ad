//! Operators on one or two elements at a time, and rows that are normalised.
//!
//! Children: [`int8`] holds u8 Add, Sub and Mul, [`float`] the same and more for f32, [`unary`] functions of one f32,
//! [`math`] their vectorisable formulas, [`rows`] softmax and layer normalisation.
//!
//! **Broadcasting.** The output is a slice of `n` elements. Each operand has `n` elements too, or fewer, `r`, and is
//! then repeated: element `i` reads operand element `i % r`, and `r` divides `n`. So `r = 1` is a scalar and `r = C` a
//! vector along the channels of NHWC. Other forms (`[N,1,1,C]` against `[N,H,W,C]`) are loops over these in the
//! caller. Cutting the work is cutting the slices, at multiples of `r`.

pub(crate) mod float;
pub(crate) mod int8;
pub(crate) mod math;
pub(crate) mod rows;
pub(crate) mod unary;

use crate::error::KernelError;

/// Refuses operands that cannot be repeated to `n` elements.
fn check_operands(n: usize, operands: [(&str, usize); 2]) -> Result<(), KernelError> {
    for (name, len) in operands {
        if len == 0 && n > 0 || len > 0 && !n.is_multiple_of(len) {
            return Err(KernelError::parameter(format!(
                "expected an operand {name} whose length divides the {n} elements of the output, found {len}"
            )));
        }
    }
    Ok(())
}

/// `out[i] = f(a[i % a.len()], b[i % b.len()])`, with loops a vectoriser understands for each form.
#[inline(always)]
fn zip_broadcast<A: Copy, B: Copy, Y>(a: &[A], b: &[B], out: &mut [Y], f: impl Fn(A, B) -> Y) {
    let n = out.len();
    match (a.len(), b.len()) {
        (p, q) if p == n && q == n => {
            for ((y, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *y = f(a, b);
            }
        }
        (p, 1) if p == n => {
            let b = b[0];
            for (y, &a) in out.iter_mut().zip(a) {
                *y = f(a, b);
            }
        }
        (1, q) if q == n => {
            let a = a[0];
            for (y, &b) in out.iter_mut().zip(b) {
                *y = f(a, b);
            }
        }
        (p, q) if p == n && q >= SHORT => {
            for (out, a) in out.chunks_exact_mut(q).zip(a.chunks_exact(q)) {
                for ((y, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *y = f(a, b);
                }
            }
        }
        (p, q) if q == n && p >= SHORT => {
            for (out, b) in out.chunks_exact_mut(p).zip(b.chunks_exact(p)) {
                for ((y, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *y = f(a, b);
                }
            }
        }
        _ => {
            for ((y, &a), &b) in out.iter_mut().zip(a.iter().cycle()).zip(b.iter().cycle()) {
                *y = f(a, b);
            }
        }
    }
}

/// Repeated operands shorter than this are not worth a loop of their own.
const SHORT: usize = 8;
