//! Every tier's int8 convolution against a naive one written from its definition.

use std::ops::Range;

use fewbit_kernels::{
    ConvInt8, ConvShape, Dequantize, Epilogue, OutSlice, Requantize, Scratch, Tier, TierToken,
};
use proptest::prelude::*;

/// Accumulators straight from the definition, in i64.
fn naive(shape: &ConvShape, input: &[u8], x_zero: u8, weights: &[i8], bias: Option<&[i32]>) -> Vec<i32> {
    let s = shape;
    let (icg, ocg) = (s.in_c / s.groups, s.out_c / s.groups);
    let mut out = Vec::with_capacity(s.output_len());
    for b in 0..s.batch {
        for oy in 0..s.out_h {
            for ox in 0..s.out_w {
                for oc in 0..s.out_c {
                    let mut acc = bias.map_or(0, |bias| i64::from(bias[oc]));
                    for ky in 0..s.kernel_h {
                        for kx in 0..s.kernel_w {
                            let y = (oy * s.stride_h + ky * s.dilation_h) as i64 - s.pad_top as i64;
                            let x = (ox * s.stride_w + kx * s.dilation_w) as i64 - s.pad_left as i64;
                            if y < 0 || y >= s.in_h as i64 || x < 0 || x >= s.in_w as i64 {
                                continue;
                            }
                            let pixel = ((b * s.in_h + y as usize) * s.in_w + x as usize) * s.in_c;
                            let tap = ((oc * s.kernel_h + ky) * s.kernel_w + kx) * icg;
                            for ic in 0..icg {
                                let v = i64::from(input[pixel + oc / ocg * icg + ic]) - i64::from(x_zero);
                                acc += v * i64::from(weights[tap + ic]);
                            }
                        }
                    }
                    out.push(acc as i32);
                }
            }
        }
    }
    out
}

/// `clamp(round_half_even(f32(acc) * m) + zp, lo, hi)`, the rounding and the clamp in f64, where both are exact.
fn naive_u8(acc: i32, m: f32, zp: i32, lo: i32, hi: i32) -> u8 {
    let product = f64::from(acc as f32 * m);
    let floor = product.floor();
    let rounded = match product - floor {
        d if d < 0.5 => floor,
        d if d > 0.5 => floor + 1.0,
        _ if product.is_infinite() => product,
        _ if floor % 2.0 == 0.0 => floor,
        _ => floor + 1.0,
    };
    (rounded + f64::from(zp)).clamp(f64::from(lo), f64::from(hi)) as u8
}

/// One convolution with its data.
#[derive(Debug, Clone)]
struct Case {
    shape: ConvShape,
    input: Vec<u8>,
    weights: Vec<i8>,
    bias: Option<Vec<i32>>,
    x_zero: u8,
    multiplier: Vec<f32>,
    zero_point: i32,
    bounds: (i32, i32),
    /// Where the units are cut, in thousandths.
    cuts: Vec<usize>,
}

fn ranges(units: usize, cuts: &[usize]) -> Vec<Range<usize>> {
    let mut edges: Vec<usize> = cuts.iter().map(|cut| units * cut / 1000).chain([0, units]).collect();
    edges.sort_unstable();
    edges.windows(2).map(|edge| edge[0]..edge[1]).collect()
}

/// Every available tier gives the naive result for every epilogue, whole and in pieces, with these weights and with
/// their upper four bits.
fn check(case: &Case) {
    check_weights(case);
    let weights = case.weights.iter().map(|weight| weight >> 4).collect();
    check_weights(&Case { weights, ..case.clone() });
}

fn check_weights(case: &Case) {
    let Case { shape, input, weights, x_zero, multiplier, zero_point, bounds, .. } = case;
    let bias = case.bias.as_deref();
    let accumulators = naive(shape, input, *x_zero, weights, bias);
    let m = |i: usize| multiplier[if multiplier.len() == 1 { 0 } else { i % shape.out_c }];
    let expected_u8: Vec<u8> = accumulators
        .iter()
        .enumerate()
        .map(|(i, &acc)| naive_u8(acc, m(i), *zero_point, bounds.0, bounds.1))
        .collect();
    let float_bias: Vec<f32> = (0..shape.out_c).map(|c| c as f32 * 0.37 - 1.0).collect();
    let expected_f32: Vec<u32> = accumulators
        .iter()
        .enumerate()
        .map(|(i, &acc)| {
            let product = acc as f32 * m(i);
            (product + float_bias[i % shape.out_c]).clamp(-40.5, 6.0).to_bits()
        })
        .collect();
    let requantize =
        Requantize::new(multiplier.clone(), *zero_point, bounds.0, bounds.1).expect("valid requantization");
    let dequantize =
        Dequantize::new(multiplier, Some(&float_bias), -40.5, 6.0).expect("valid dequantization");

    let four_bits = weights.iter().all(|weight| (-8..=7).contains(weight));
    let convolutions = TierToken::available().into_iter().flat_map(|token| {
        let conv = ConvInt8::new(token, *shape, weights, bias).expect("valid convolution");
        let halved = four_bits.then(|| {
            let halved = ConvInt8::with_four_bits(token, *shape, weights, bias).expect("valid convolution");
            if !shape.is_depthwise() && token.tier() != Tier::Scalar && conv.packed_len() >= 256 {
                assert!(
                    halved.packed_len() <= conv.packed_len().div_ceil(2) + 64,
                    "{} {shape:?}",
                    token.tier()
                );
            }
            halved
        });
        [Some(conv), halved].into_iter().flatten()
    });
    for conv in convolutions {
        let tier = conv.token().tier();
        let mut scratch = Scratch::with_capacity(conv.scratch_len());
        assert_eq!(conv.unit_range(0..conv.units()), 0..shape.output_len());

        let mut whole = vec![0u8; shape.output_len()];
        let units = 0..conv.units();
        conv.run(
            input,
            *x_zero,
            units.clone(),
            &Epilogue::U8(&requantize),
            OutSlice::U8(&mut whole),
            &mut scratch,
        )
        .expect("u8 run");
        assert_same(&whole, &expected_u8, tier, shape, "u8");

        let mut pieces = vec![0u8; shape.output_len()];
        for units in ranges(conv.units(), &case.cuts) {
            let out = OutSlice::U8(&mut pieces[conv.unit_range(units.clone())]);
            conv.run(input, *x_zero, units, &Epilogue::U8(&requantize), out, &mut scratch).expect("u8 piece");
        }
        assert_same(&pieces, &expected_u8, tier, shape, "u8 in pieces");

        let mut kept = vec![0i32; shape.output_len()];
        conv.run(input, *x_zero, units.clone(), &Epilogue::I32, OutSlice::I32(&mut kept), &mut scratch)
            .expect("i32 run");
        assert_same(&kept, &accumulators, tier, shape, "i32");

        let mut floats = vec![0f32; shape.output_len()];
        let out = OutSlice::F32(&mut floats);
        conv.run(input, *x_zero, units, &Epilogue::F32(dequantize), out, &mut scratch).expect("f32 run");
        let bits: Vec<u32> = floats.iter().map(|v| v.to_bits()).collect();
        assert_same(&bits, &expected_f32, tier, shape, "f32");
    }
}

fn assert_same<T: PartialEq + std::fmt::Debug>(
    found: &[T],
    expected: &[T],
    tier: fewbit_kernels::Tier,
    shape: &ConvShape,
    what: &str,
) {
    if let Some(i) = (0..expected.len()).find(|&i| found[i] != expected[i]) {
        panic!(
            "{tier} {what}: element {i} (pixel {}, channel {}) is {:?}, expected {:?}; {shape:?}",
            i / shape.out_c,
            i % shape.out_c,
            found[i],
            expected[i]
        );
    }
}

/// Deterministic bytes: cheaper for proptest than vectors it would try to shrink.
fn noise(seed: u64, len: usize) -> impl Iterator<Item = u64> {
    (0..len as u64).map(move |i| {
        let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// The values of a case: random, or all at the ends of their ranges.
fn fill(shape: ConvShape, seed: u64, extremes: u8, x_zero: u8, cuts: Vec<usize>) -> Case {
    let input = match extremes {
        1 => vec![255; shape.input_len()],
        _ => noise(seed, shape.input_len()).map(|v| v as u8).collect(),
    };
    let weights: Vec<i8> = match extremes {
        1 => vec![127; shape.weight_len()],
        2 => vec![-128; shape.weight_len()],
        3 => noise(seed ^ 1, shape.weight_len()).map(|v| if v & 1 == 0 { 127 } else { -128 }).collect(),
        _ => noise(seed ^ 1, shape.weight_len()).map(|v| v as i8).collect(),
    };
    let bias = (seed & 1 == 0).then(|| noise(seed ^ 2, shape.out_c).map(|v| (v as i32) >> 12).collect());
    // A multiplier that spreads typical sums over the range, now and then an extreme or a tie-maker.
    let typical = 1.0 / (60.0 * (shape.depth() as f32 + 1.0).sqrt() * 60.0 / 40.0);
    let multipliers = if seed & 2 == 0 { shape.out_c } else { 1 };
    let multiplier = noise(seed ^ 3, multipliers)
        .map(|v| match v % 16 {
            0 if seed & 8 == 0 => 1e30,
            1 if seed & 8 == 0 => 1e-30,
            2 => 0.5,
            3 => -typical,
            4 => 0.25,
            _ => typical * (1.0 + (v >> 8) as u8 as f32 / 64.0),
        })
        .collect();
    let (lo, hi) = if seed & 4 == 0 { (0, 255) } else { (17, 201) };
    let zero_point = noise(seed ^ 4, 1).next().map_or(0, |v| [0, 128, 255, 3][v as usize % 4]);
    Case { shape, input, weights, bias, x_zero, multiplier, zero_point, bounds: (lo, hi), cuts }
}

prop_compose! {
    fn any_shape()(
        batch in 1usize..=2,
        (in_h, in_w) in (1usize..=11, 1usize..=19),
        (kernel_h, kernel_w) in prop_oneof![
            3 => Just((1, 1)), 3 => Just((3, 3)), 2 => Just((5, 5)), 2 => (1usize..=7, 1usize..=7),
        ],
        (stride_h, stride_w) in prop_oneof![2 => Just((1, 1)), 1 => Just((2, 2)), 1 => (1usize..=3, 1usize..=3)],
        (dilation_h, dilation_w) in prop_oneof![3 => Just((1, 1)), 1 => (1usize..=3, 1usize..=3)],
        pads in (0.0f64..1.0, 0.0f64..1.0, 0.0f64..1.0, 0.0f64..1.0),
        kind in 0u8..4,
        (a, b, groups) in (1usize..=70, 1usize..=70, 1usize..=5),
        deep in prop_oneof![3 => Just(false), 1 => Just(true)],
    ) -> ConvShape {
        let reach = |kernel: usize, dilation: usize| (kernel - 1) * dilation + 1;
        let pick = |pad: f64, kernel: usize, dilation: usize| (pad * reach(kernel, dilation) as f64) as usize;
        let (pad_top, pad_left) = (pick(pads.0, kernel_h, dilation_h), pick(pads.1, kernel_w, dilation_w));
        let (bottom, right) = (pick(pads.2, kernel_h, dilation_h), pick(pads.3, kernel_w, dilation_w));
        let out = |size: usize, pads: usize, reach: usize, stride: usize| {
            (size + pads).saturating_sub(reach) / stride + 1
        };
        let (in_c, out_c, groups) = match kind {
            0 if deep => (a * 7, b * 3, 1),
            0 | 1 => (a, b, 1),
            2 => (a * 2, a * 2, a * 2),
            _ => (a.div_ceil(4) * groups, b.div_ceil(4) * groups, groups),
        };
        ConvShape {
            batch, in_h, in_w, in_c,
            out_h: out(in_h, pad_top + bottom, reach(kernel_h, dilation_h), stride_h),
            out_w: out(in_w, pad_left + right, reach(kernel_w, dilation_w), stride_w),
            out_c, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_tier_equals_the_definition(
        shape in any_shape(),
        seed in any::<u64>(),
        extremes in 0u8..6,
        x_zero in prop_oneof![Just(0u8), Just(255), any::<u8>()],
        cuts in prop::collection::vec(0usize..1000, 0..4),
    ) {
        check(&fill(shape, seed, extremes, x_zero, cuts));
    }

    #[test]
    fn matrix_products_equal_the_definition(
        (m, n, k) in prop_oneof![
            (1usize..=60, 1usize..=140, 0usize..=200),
            (Just(1usize), 1usize..=300, 0usize..=600),
        ],
        seed in any::<u64>(),
        extremes in 0u8..6,
        x_zero in prop_oneof![Just(0u8), Just(255), any::<u8>()],
        cuts in prop::collection::vec(0usize..1000, 0..4),
    ) {
        check(&fill(ConvShape::gemm(m, n, k), seed, extremes, x_zero, cuts));
    }
}

#[test]
fn deep_sums_of_extremes_stay_exact() {
    for extremes in 1..=3 {
        check(&fill(ConvShape::gemm(5, 33, 5000), 0, extremes, 0, vec![500]));
        check(&fill(ConvShape::gemm(5, 33, 5000), 0, extremes, 255, vec![500]));
    }
}

#[test]
fn threads_write_disjoint_parts_of_one_output() {
    let shape = ConvShape { kernel_h: 3, kernel_w: 3, pad_top: 1, pad_left: 1, ..image(9, 11, 20, 37) };
    let depthwise = ConvShape { groups: 20, out_c: 20, ..shape };
    for (shape, token) in [shape, depthwise, ConvShape::gemm(1, 300, 40)]
        .into_iter()
        .flat_map(|shape| TierToken::available().into_iter().map(move |token| (shape, token)))
    {
        let case = fill(shape, 40, 0, 9, Vec::new());
        let conv = ConvInt8::new(token, shape, &case.weights, None).expect("valid convolution");
        let mut out = vec![0i32; shape.output_len()];
        std::thread::scope(|scope| {
            let mut rest = out.as_mut_slice();
            for units in ranges(conv.units(), &[250, 500, 700]) {
                let (part, tail) = rest.split_at_mut(conv.unit_range(units.clone()).len());
                rest = tail;
                let (conv, input) = (&conv, &case.input);
                scope.spawn(move || {
                    let mut scratch = Scratch::with_capacity(conv.scratch_len());
                    conv.run(input, 9, units, &Epilogue::I32, OutSlice::I32(part), &mut scratch)
                        .expect("part of the output");
                });
            }
        });
        assert_eq!(out, naive(&shape, &case.input, 9, &case.weights, None), "{} {shape:?}", token.tier());
    }
}

/// A convolution that keeps the size of an image.
fn image(h: usize, w: usize, in_c: usize, out_c: usize) -> ConvShape {
    ConvShape { in_h: h, out_h: h, in_w: w, out_w: w, in_c, out_c, ..ConvShape::gemm(1, 1, 1) }
}

#[test]
fn every_tier_reports_its_kernel() {
    for token in TierToken::available() {
        let dense =
            ConvInt8::new(token, ConvShape::gemm(2, 3, 4), &[1; 12], None).expect("valid convolution");
        let depthwise = ConvShape { groups: 4, ..ConvShape::gemm(2, 4, 4) };
        let depthwise = ConvInt8::new(token, depthwise, &[1; 4], None).expect("valid convolution");
        for (conv, family) in [(dense, "gemm"), (depthwise, "depthwise")] {
            let name = conv.kernel().to_string();
            assert!(name.starts_with(&format!("{family}_u8i8i32_")), "{name}");
            assert!(name.ends_with(token.tier().name()), "{name}");
            assert!(!conv.kernel().saturates);
        }
    }
}

#[test]
fn wrong_arguments_are_errors() {
    let token = TierToken::best(None);
    let shape = ConvShape::gemm(2, 3, 4);
    let conv = ConvInt8::new(token, shape, &[1; 12], None).expect("valid convolution");
    let enough = conv.scratch_len();
    let run = |input: &[u8], units: Range<usize>, out: OutSlice<'_>, bytes: usize| {
        let scratch = &mut Scratch::with_capacity(bytes);
        conv.run(input, 0, units, &Epilogue::I32, out, scratch).map_err(|error| error.code())
    };
    let units = 0..conv.units();
    assert_eq!(run(&[0; 8], units.clone(), OutSlice::I32(&mut [0; 6]), enough), Ok(()));
    assert_eq!(run(&[0; 7], units.clone(), OutSlice::I32(&mut [0; 6]), enough), Err("KERN-002"));
    assert_eq!(run(&[0; 8], units.clone(), OutSlice::I32(&mut [0; 5]), enough), Err("KERN-002"));
    assert_eq!(run(&[0; 8], 0..conv.units() + 1, OutSlice::I32(&mut [0; 6]), enough), Err("KERN-003"));
    assert_eq!(run(&[0; 8], units.clone(), OutSlice::U8(&mut [0; 6]), enough), Err("KERN-004"));
    assert_eq!(run(&[0; 8], units, OutSlice::I32(&mut [0; 6]), enough - 64), Err("KERN-005"));
    assert!(ConvInt8::new(token, shape, &[1; 11], None).is_err());
    assert!(ConvInt8::new(token, shape, &[1; 12], Some(&[0; 2])).is_err());
}
