//! The test of an adapter's float arithmetic.
//!
//! Exact codes need `f32(acc)`, `a * b` and `a + b` to round to nearest, ties to even, and `round` to take halves to even.
//! WGSL asks for correct rounding but not for the mode, and a driver may be wrong. So a kernel computes these functions
//! of operands at and around ties and of random ones, through the same functions that kernels use, and the host
//! compares. An adapter that fails runs floats only.

use fewbit_core::error::Result;

use crate::kernels::{Params, linear, shader};
use crate::pipelines::Opened;
use crate::plan::{Arg, Constant, Launch, Lifetime, Plan, Port};

const PROBE: &str = include_str!("kernels/arithmetic.wgsl");

/// Operands: an accumulator, a multiplier, and another product's.
fn cases() -> Vec<[u32; 4]> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bits = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32
    };
    let mut cases = Vec::new();
    // Conversions: at, below and above ties between neighbouring floats.
    for shift in 1..8u32 {
        for odd in 0..16u32 {
            let tie = ((1 << 24) + 2 * odd + 1) << (shift - 1);
            for near in [tie - 1, tie, tie + 1] {
                for acc in [near, near.wrapping_neg()] {
                    cases.push([acc, 1f32.to_bits(), near, 1f32.to_bits()]);
                }
            }
        }
    }
    for _ in 0..4096 {
        let scale = |bits: u32| f32::from_bits(0x3000_0000 | (bits & 0x0fff_ffff)).to_bits();
        let acc = (bits() as i32) >> (bits() % 24);
        let other = (bits() as i32) >> (bits() % 24);
        cases.push([acc as u32, scale(bits()), other as u32, scale(bits())]);
    }
    cases
}

/// What a case must give: product, sum of products, and the product to the nearest code.
fn expected(case: [u32; 4]) -> [u32; 4] {
    let [acc, m, other, n] = case;
    let product = acc as i32 as f32 * f32::from_bits(m);
    let second = other as i32 as f32 * f32::from_bits(n);
    let sum = product + second;
    let code = |real: f32| (real.clamp(-128.0, 127.0).round_ties_even() as i32) as u32;
    [product.to_bits(), sum.to_bits(), code(product), code(acc as i32 as f32 * 0.5)]
}

/// Whether the adapter computes what exact codes need.
pub(crate) fn is_exact(opened: &std::sync::Arc<Opened>) -> Result<bool> {
    let cases = cases();
    let bytes: Vec<u8> = cases.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
    let length = bytes.len();
    let plan = Plan {
        launches: vec![Launch {
            shader: shader("arithmetic", PROBE, &[]),
            reads: vec![Arg::Constant(0)],
            write: 0,
            params: Params::new().u(&[cases.len(), 0, 0, 0]).done(),
            groups: linear(cases.len()),
            node: 0,
        }],
        tensors: vec![Lifetime { bytes: length, first: 1, last: 2 }],
        constants: vec![Constant { bytes }],
        inputs: Vec::new(),
        outputs: vec![Port { place: Arg::Tensor(0), bytes: length }],
        checks: Vec::new(),
        nodes: vec!["arithmetic".to_owned()],
    };
    let found = crate::execute::run_once(std::sync::Arc::clone(opened), plan, length)?;
    let wrong = cases
        .iter()
        .zip(found.as_chunks::<16>().0)
        .filter(|(case, found)| {
            let words = found.as_chunks::<4>().0;
            expected(**case).iter().zip(words).any(|(word, bytes)| *word != u32::from_le_bytes(*bytes))
        })
        .count();
    if wrong > 0 {
        tracing::debug!("{wrong} of {} operations round otherwise", cases.len());
    }
    Ok(wrong == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_tell_rounding_modes_apart() {
        // Truncating conversions, and sums contracted with their products, give other results somewhere.
        let truncated = |acc: i32| {
            let size = acc.unsigned_abs();
            let drop = (8u32).saturating_sub(size.leading_zeros());
            let kept = (size >> drop << drop) as f32;
            if acc < 0 { -kept } else { kept }
        };
        let cases = cases();
        assert!(cases.iter().any(|case| truncated(case[0] as i32) != case[0] as i32 as f32));
        let contracted = |[acc, m, other, n]: [u32; 4]| {
            let second = other as i32 as f32 * f32::from_bits(n);
            (acc as i32 as f32).mul_add(f32::from_bits(m), second).to_bits()
        };
        assert!(cases.iter().any(|&case| contracted(case) != expected(case)[1]));
    }
}
