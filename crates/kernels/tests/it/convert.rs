//! Conversions and tables against the rules written out.

use fewbit_kernels::{
    Codes, TierToken, bf16_to_f32, dequantize_u8, f16_to_f32, f32_to_bf16, f32_to_f16, min_max_f32,
    place_channels, place_channels_table, quantize_f32, requantize_table, table_u8,
};
use half::{bf16, f16};
use proptest::collection::vec;
use proptest::prelude::*;

fn quantize(x: f32, scale: f32, codes: Codes) -> u8 {
    let (min, max) = codes.bounds();
    // The cast takes NaN to 0 and saturates.
    let rounded = ((x / scale).round_ties_even() as i64).saturating_add(i64::from(codes.zero_point()));
    rounded.clamp(i64::from(min), i64::from(max)) as u8
}

proptest! {
    #[test]
    fn quantize_divides_in_every_tier(
        steps in vec(-700i32..700, 1..300),
        wild in vec(any::<f32>(), 4),
        scale in 1e-3f32..3.0,
        zero in any::<u8>(),
    ) {
        // Half steps: where the division and a product with the reciprocal part.
        let x: Vec<f32> = steps.iter().map(|&step| step as f32 * 0.5 * scale).chain(wild).collect();
        let codes = Codes::full(zero);
        let expected: Vec<u8> = x.iter().map(|&x| quantize(x, scale, codes)).collect();
        for token in TierToken::available() {
            let mut out = vec![0; x.len()];
            quantize_f32(token, &x, &[scale], &[codes], &mut out).expect("valid");
            prop_assert_eq!(&out, &expected, "{}", token.tier());
        }
    }

    #[test]
    fn channels_have_their_own_scale(
        values in vec(-50f32..50.0, 60),
        scales in vec(0.01f32..2.0, 5),
        zeros in vec(any::<u8>(), 5),
    ) {
        let codes: Vec<Codes> = zeros.iter().map(|&zero| Codes::full(zero)).collect();
        for token in TierToken::available() {
            let mut q = vec![0; 60];
            quantize_f32(token, &values, &scales, &codes, &mut q).expect("valid");
            let mut x = vec![0.0; 60];
            dequantize_u8(token, &q, &scales, &zeros, &mut x).expect("valid");
            for i in 0..60 {
                prop_assert_eq!(q[i], quantize(values[i], scales[i % 5], codes[i % 5]));
                prop_assert_eq!(x[i], (i32::from(q[i]) - i32::from(zeros[i % 5])) as f32 * scales[i % 5]);
            }
        }
    }

    #[test]
    fn dequantize_subtracts_then_scales(q in vec(any::<u8>(), 0..200), zero in any::<u8>(), scale in 1e-3f32..3.0) {
        let expected: Vec<f32> = q.iter().map(|&q| (i32::from(q) - i32::from(zero)) as f32 * scale).collect();
        for token in TierToken::available() {
            let mut out = vec![0.0; q.len()];
            dequantize_u8(token, &q, &[scale], &[zero], &mut out).expect("valid");
            prop_assert_eq!(&out, &expected, "{}", token.tier());
        }
    }

    #[test]
    fn range_ignores_nan_and_order(x in vec(prop_oneof![9 => -9f32..9.0, 1 => Just(f32::NAN)], 0..300)) {
        let kept: Vec<f32> = x.iter().copied().filter(|x| !x.is_nan()).collect();
        let expected = kept.iter().copied().reduce(f32::min).zip(kept.iter().copied().reduce(f32::max));
        for token in TierToken::available() {
            prop_assert_eq!(min_max_f32(token, &x), expected, "{}", token.tier());
        }
    }

    #[test]
    fn tables_are_looked_up(table in vec(any::<u8>(), 256), x in vec(any::<u8>(), 0..500)) {
        let table: [u8; 256] = table.try_into().expect("256 entries");
        let expected: Vec<u8> = x.iter().map(|&x| table[usize::from(x)]).collect();
        for token in TierToken::available() {
            let mut out = vec![0; x.len()];
            table_u8(token, &table, &x, &mut out).expect("valid");
            prop_assert_eq!(&out, &expected, "{}", token.tier());
        }
    }

    #[test]
    fn requantize_tables_follow_the_rule(zero in any::<u8>(), to in any::<u8>(), ratio in 1e-3f32..10.0) {
        let codes = Codes::full(to);
        let table = requantize_table(zero, ratio, codes).expect("valid");
        for (x, &y) in table.iter().enumerate() {
            prop_assert_eq!(y, quantize((x as i32 - i32::from(zero)) as f32 * ratio, 1.0, codes));
        }
    }

    #[test]
    fn concatenation_places_channels(pixels in 0usize..9, widths in vec(0usize..70, 1..4)) {
        let total: usize = widths.iter().sum();
        let table: [u8; 256] = std::array::from_fn(|x| (x as u8).wrapping_mul(7));
        for token in TierToken::available() {
            let (mut out, mut mapped) = (vec![0u8; pixels * total], vec![0u8; pixels * total]);
            let mut offset = 0;
            for (operand, &c) in widths.iter().enumerate() {
                let x: Vec<u8> = (0..pixels * c).map(|i| (i * 3 + operand) as u8).collect();
                place_channels(&x, c, &mut out, total, offset).expect("valid");
                place_channels_table(token, &table, &x, c, &mut mapped, total, offset).expect("valid");
                for p in 0..pixels {
                    for k in 0..c {
                        prop_assert_eq!(out[p * total + offset + k], x[p * c + k]);
                        prop_assert_eq!(mapped[p * total + offset + k], table[usize::from(x[p * c + k])]);
                    }
                }
                offset += c;
            }
        }
    }
}

#[test]
fn half_storage_rounds_to_even_and_widens_exactly() {
    let every_f16: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let every_bf16: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    let mut wide = vec![0.0; every_f16.len()];
    f16_to_f32(&every_f16, &mut wide).expect("valid");
    for (x, &y) in every_f16.iter().zip(&wide) {
        assert!(y == x.to_f32() || x.is_nan() && y.is_nan());
    }
    let mut back = vec![f16::ZERO; wide.len()];
    f32_to_f16(&wide, &mut back).expect("valid");
    assert!(every_f16.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()));
    for token in TierToken::available() {
        bf16_to_f32(token, &every_bf16, &mut wide).expect("valid");
        assert!(every_bf16.iter().zip(&wide).all(|(x, &y)| y == x.to_f32() || x.is_nan() && y.is_nan()));
        // Between neighbours: below, at and above the middle.
        let between: Vec<f32> = (0..=u16::MAX)
            .flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| u32::from(high) << 16 | low))
            .map(f32::from_bits)
            .collect();
        let mut narrow = vec![bf16::ZERO; between.len()];
        f32_to_bf16(token, &between, &mut narrow).expect("valid");
        for (&x, y) in between.iter().zip(&narrow) {
            let expected = bf16::from_f32(x);
            assert!(expected.to_bits() == y.to_bits() || x.is_nan() && y.is_nan(), "{x:e}");
        }
    }
}

#[test]
fn empty_ranges_and_bad_scales_are_told() {
    let token = TierToken::best(None);
    assert_eq!(min_max_f32(token, &[]), None);
    assert_eq!(min_max_f32(token, &[f32::NAN]), None);
    assert_eq!(min_max_f32(token, &[-0.0]).map(|(min, _)| min.to_bits()), Some(0));
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(quantize_f32(token, &[1.0], &[scale], &[Codes::full(0)], &mut [0]).is_err());
    }
    assert!(place_channels(&[0u8; 4], 2, &mut [0; 6], 3, 2).is_err());
    assert!(place_channels(&[0u8; 5], 2, &mut [0; 6], 3, 0).is_err());
}
