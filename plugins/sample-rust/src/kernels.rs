//! The arithmetic of docs/vendor/operators.md, exactly. Plain loops: a real plugin replaces these.

use crate::operators::{Codes, Kind, Step};

/// Runs a step: `operands` and `output` are as long as their extents and types say.
pub(crate) fn run(step: &Step, operands: &[&[u8]], output: &mut [u8]) {
    match (step.kind(), operands) {
        (Kind::MatMul { x, y, k, n, multipliers }, &[left, right]) => {
            matmul(*x, *y, (*k, *n), multipliers, left, right, output);
        }
        (Kind::Add { sides, y, dims, low, high }, &[left, right]) => {
            let [(a, a_strides), (b, b_strides)] = sides;
            let (ratio_a, ratio_b) = (a.scale / y.scale, b.scale / y.scale);
            for (index, out) in output.iter_mut().enumerate() {
                let one = difference(left[place(index, dims, a_strides)], *a) as f32 * ratio_a;
                let other = difference(right[place(index, dims, b_strides)], *b) as f32 * ratio_b;
                *out = round_to_code(one + other, y.zero_point, *low, *high) as u8;
            }
        }
        (Kind::Table, &[codes, table]) => {
            for (out, &code) in output.iter_mut().zip(codes) {
                *out = table[usize::from(code)];
            }
        }
        (Kind::Relu, &[x]) => {
            for (out, x) in output.chunks_exact_mut(4).zip(reals(x)) {
                out.copy_from_slice(&if x <= 0.0 { 0.0 } else { x }.to_ne_bytes());
            }
        }
        (Kind::Quantize(y), &[x]) => {
            let (low, high) = y.range();
            for (out, x) in output.iter_mut().zip(reals(x)) {
                *out = quantize(x, *y, low, high) as u8;
            }
        }
        (Kind::Dequantize(x), &[codes]) => {
            for (out, &code) in output.chunks_exact_mut(4).zip(codes) {
                out.copy_from_slice(&(difference(code, *x) as f32 * x.scale).to_ne_bytes());
            }
        }
        (Kind::Requantize(x, y), &[codes]) => {
            let ((low, high), ratio) = (y.range(), x.scale / y.scale);
            for (out, &code) in output.iter_mut().zip(codes) {
                *out = round_to_code(difference(code, *x) as f32 * ratio, y.zero_point, low, high) as u8;
            }
        }
        _ => unreachable!("`Step::new` counts operands"),
    }
}

/// `clamp(rhe(real) + zero_point)`: the last step of every rule. NaN counts as 0.
fn round_to_code(real: f32, zero_point: i32, low: i32, high: i32) -> i32 {
    // The cast saturates and takes NaN to 0; 64 bits, so that the sum cannot overflow.
    let code = real.round_ties_even() as i64;
    code.saturating_add(i64::from(zero_point)).clamp(i64::from(low), i64::from(high)) as i32
}

/// Float to code: a division, no product with the reciprocal.
pub(crate) fn quantize(real: f32, to: Codes, low: i32, high: i32) -> i32 {
    round_to_code(real / to.scale, to.zero_point, low, high)
}

/// A code without its zero point.
fn difference(code: u8, of: Codes) -> i32 {
    (if of.signed { i32::from(code as i8) } else { i32::from(code) }) - of.zero_point
}

/// Floats at any address.
fn reals(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Where the operand's element for element `index` of the output lies.
fn place(index: usize, dims: &[usize], strides: &[usize]) -> usize {
    let mut rest = index;
    let mut place = 0;
    for (&extent, &stride) in dims.iter().zip(strides).rev() {
        place += rest % extent * stride;
        rest /= extent;
    }
    place
}

fn matmul(
    x: Codes,
    y: Option<Codes>,
    (k, n): (usize, usize),
    multipliers: &[f32],
    left: &[u8],
    right: &[u8],
    output: &mut [u8],
) {
    let size = if y.is_some() { 1 } else { 4 };
    for (index, out) in output.chunks_exact_mut(size).enumerate() {
        let (row, column) = (index / n, index % n);
        let sum = (0..k).fold(0i32, |sum, k_at| {
            let weight = i32::from(right[k_at * n + column] as i8);
            sum.wrapping_add(difference(left[row * k + k_at], x) * weight)
        });
        let real = sum as f32 * multipliers[column];
        match y {
            Some(y) => {
                let (low, high) = y.range();
                out[0] = round_to_code(real, y.zero_point, low, high) as u8;
            }
            None => out.copy_from_slice(&real.to_ne_bytes()),
        }
    }
}
