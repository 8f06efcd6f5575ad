//! The integer arithmetic: scalar, plain, and what every exact backend equals bit for bit.
//!
//! Each rule follows the meaning of ONNX's QuantizeLinear, DequantizeLinear and QLinearConv (operator sets 10 to 25)
//! and fixes what they leave open. `rhe` is rounding half to even. No product is contracted with an addition: each
//! f32 operation rounds.
//!
//! | operator | rule |
//! |---|---|
//! | quantize | `clamp(rhe(x / s) + zp)`, NaN gives `zp` |
//! | dequantize | `f32(q - zp) * s` |
//! | Conv, Gemm, MatMul | `clamp(rhe(f32(acc) * m) + zp_y)`, `m = f32(f32(s_x * s_w) / s_y)`, `acc = bias + Σ (x - zp_x) * w` in i32 |
//! | the same to a float output | `f32(acc) * f32(s_x * s_w)` |
//! | Add, Sub | `clamp(rhe(f32(a - zp_a) * r_a ± f32(b - zp_b) * r_b) + zp_y)`, `r = f32(s / s_y)` |
//! | Mul | `clamp(rhe(f32((a - zp_a) * (b - zp_b)) * m) + zp_y)`, `m` as for Conv |
//! | requantize, Concat | `clamp(rhe(f32(q - zp_x) * r) + zp_y)`, `r = f32(s_x / s_y)`; the identity where parameters are equal |
//! | AveragePool, GlobalAveragePool, ReduceMean | `clamp(rhe(f32(Σ (x - zp_x)) * m) + zp_y)`, `m = f32(f32(s_x / f32(count)) / s_y)` |
//! | MaxPool and what else moves elements | the codes themselves; parameters stay |
//! | functions of one element | a 256-entry table: dequantize, the function in f64, rounded to f32, quantize |
//! | dynamic quantization | `s = (max - min) / 255` over a range that includes 0, `zp = clamp(rhe(-min / s))`, then as above |
//! | linear resize | weights in steps of 2^-11: `(Σ q * w_y * w_x)` rounded half to even by 22 bits; parameters stay |

/// The code range `[min, max]` that results are clamped to: the storage type's, narrowed by a fused clamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeRange {
    /// Lowest code.
    pub min: i32,
    /// Highest code.
    pub max: i32,
}

impl CodeRange {
    /// All codes of an unsigned 8-bit type.
    pub const U8: CodeRange = CodeRange { min: 0, max: 255 };
    /// All codes of a signed 8-bit type.
    pub const I8: CodeRange = CodeRange { min: -128, max: 127 };

    /// The range narrowed to the codes of the real interval `[low, high]`, as a fused Relu or Clip asks.
    #[must_use]
    pub fn clipped(self, low: f32, high: f32, scale: f32, zero_point: i32) -> CodeRange {
        let code = |bound: f32, open: i32| {
            if bound.is_infinite() { open } else { quantize(bound, scale, zero_point, self) }
        };
        CodeRange { min: code(low, self.min), max: code(high, self.max) }
    }
}

/// `clamp(rhe(real) + zero_point)`: the last step of every rule. NaN counts as 0.
pub fn round_to_code(real: f32, zero_point: i32, range: CodeRange) -> i32 {
    // The cast saturates and takes NaN to 0.
    let code = (real.round_ties_even() as i64).saturating_add(i64::from(zero_point));
    code.clamp(i64::from(range.min), i64::from(range.max)) as i32
}

/// Float to code: a division, not a product with the reciprocal.
pub fn quantize(x: f32, scale: f32, zero_point: i32, range: CodeRange) -> i32 {
    round_to_code(x / scale, zero_point, range)
}

/// Code to float.
pub fn dequantize(q: i32, scale: f32, zero_point: i32) -> f32 {
    (q - zero_point) as f32 * scale
}

/// The multiplier of a product's accumulator: `f32(f32(s_a * s_b) / s_y)`.
pub fn product_multiplier(scale_a: f32, scale_b: f32, scale_y: f32) -> f32 {
    (scale_a * scale_b) / scale_y
}

/// The multiplier of a mean's accumulator over `count` elements.
pub fn mean_multiplier(scale_x: f32, count: usize, scale_y: f32) -> f32 {
    (scale_x / count as f32) / scale_y
}

/// Accumulator to code.
pub fn requantize(accumulator: i32, multiplier: f32, zero_point: i32, range: CodeRange) -> i32 {
    round_to_code(accumulator as f32 * multiplier, zero_point, range)
}

/// Sum of two codes under their ratios `r = f32(s / s_y)`; give a negative `ratio_b` for a difference.
pub fn add(a: i32, ratio_a: f32, b: i32, ratio_b: f32, zero_point: i32, range: CodeRange) -> i32 {
    let left = a as f32 * ratio_a;
    let right = b as f32 * ratio_b;
    round_to_code(left + right, zero_point, range)
}

/// Scale and zero point of unsigned 8-bit codes for these elements, as ONNX's DynamicQuantizeLinear finds them.
///
/// The range includes zero; elements that are all zero (or none) give scale 1. NaN is passed over.
pub fn dynamic_parameters(values: &[f32]) -> (f32, i32) {
    let (min, max) = values.iter().fold((0f32, 0f32), |(min, max), &x| (min.min(x), max.max(x)));
    let scale = if min == max { 1.0 } else { (max - min) / 255.0 };
    (scale, round_to_code(-min / scale, 0, CodeRange::U8))
}

/// The 256-entry table of a function of one 8-bit element, indexed by the code's bits.
///
/// `codes` is the input type's range: [`CodeRange::U8`] or [`CodeRange::I8`]. Entries are output codes.
pub fn table(
    codes: CodeRange,
    scale_x: f32,
    zero_x: i32,
    function: impl Fn(f64) -> f64,
    scale_y: f32,
    zero_y: i32,
    range: CodeRange,
) -> [i32; 256] {
    let mut table = [0; 256];
    for code in codes.min..=codes.max {
        let real = f64::from(dequantize(code, scale_x, zero_x));
        table[(code & 0xff) as usize] = quantize(function(real) as f32, scale_y, zero_y, range);
    }
    table
}

/// Number of fraction bits of a linear resize's weight along one axis.
pub const RESIZE_BITS: u32 = 11;

/// The weight of the higher neighbour along one axis, for the fractional position `fraction` in [0, 1].
pub fn resize_weight(fraction: f32) -> i32 {
    let one = 1 << RESIZE_BITS;
    ((fraction * one as f32).round_ties_even() as i32).clamp(0, one)
}

/// A sum of codes weighted in steps of 2^-22, to the nearest code, half to even.
pub fn resize_round(sum: i64) -> i32 {
    let shift = 2 * RESIZE_BITS;
    let (whole, rest) = (sum >> shift, sum & ((1 << shift) - 1));
    let half = 1i64 << (shift - 1);
    (whole + i64::from(rest > half || (rest == half && whole & 1 == 1))) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantize_divides_rounds_half_to_even_and_saturates() {
        assert_eq!(quantize(2.5, 1.0, 0, CodeRange::U8), 2);
        assert_eq!(quantize(3.5, 1.0, 0, CodeRange::U8), 4);
        assert_eq!(quantize(-1.0, 1.0, 0, CodeRange::U8), 0);
        assert_eq!(quantize(f32::INFINITY, 1.0, 3, CodeRange::U8), 255);
        assert_eq!(quantize(f32::NAN, 1.0, 3, CodeRange::U8), 3);
        // Near ties the reciprocal gives another code: a product with it must be told from the division.
        let wide = CodeRange { min: 0, max: 1 << 20 };
        let differs = (1..10_000).any(|step| {
            let scale = 0.3f32;
            let x = (step as f32 + 0.5) * scale;
            quantize(x, scale, 0, wide) != round_to_code(x * (1.0 / scale), 0, wide)
        });
        assert!(differs, "the division must be told from the reciprocal");
    }

    #[test]
    fn requantize_survives_extreme_multipliers() {
        assert_eq!(requantize(i32::MAX, 1e30, 128, CodeRange::U8), 255);
        assert_eq!(requantize(i32::MIN, 1e30, 128, CodeRange::U8), 0);
        assert_eq!(requantize(i32::MIN, 1e-30, 128, CodeRange::U8), 128);
    }

    #[test]
    fn dynamic_parameters_are_those_of_onnx() {
        // The examples of ONNX's DynamicQuantizeLinear.
        let (scale, zero) = dynamic_parameters(&[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]);
        assert_eq!((scale, zero), (5.0 / 255.0, 153));
        let (scale, zero) = dynamic_parameters(&[-1.0, -2.1, -1.3, -2.5, -3.34, -4.0]);
        assert_eq!((scale, zero), (4.0 / 255.0, 255));
        let (scale, zero) = dynamic_parameters(&[1.0, 2.1, 1.3, 2.5, 3.34, 4.0]);
        assert_eq!((scale, zero), (4.0 / 255.0, 0));
        assert_eq!(dynamic_parameters(&[]), (1.0, 0));
    }

    #[test]
    fn a_fused_relu6_is_a_code_range() {
        let range = CodeRange::U8.clipped(0.0, 6.0, 0.05, 10);
        assert_eq!(range, CodeRange { min: 10, max: 130 });
        assert_eq!(CodeRange::I8.clipped(f32::NEG_INFINITY, f32::INFINITY, 0.1, 0), CodeRange::I8);
    }

    #[test]
    fn tables_are_indexed_by_bits() {
        let table = table(CodeRange::I8, 1.0, 0, |x| -x, 1.0, 0, CodeRange::I8);
        assert_eq!(table[1], -1);
        assert_eq!(table[0xff], 1);
        assert_eq!(table[0x80], 127);
    }

    #[test]
    fn resize_rounds_half_to_even() {
        let one = 1i64 << 22;
        assert_eq!(resize_round(3 * one + one / 2), 4);
        assert_eq!(resize_round(2 * one + one / 2), 2);
        assert_eq!(resize_round(2 * one + one / 2 + 1), 3);
        assert_eq!(resize_weight(0.5), 1024);
    }
}
