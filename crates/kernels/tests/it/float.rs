//! f32 convolution and matrix products against f64.

use fewbit_kernels::{ConvF32, ConvShape, GemmF32, Scratch, Tier, TierToken};
use proptest::prelude::*;

fn values(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

/// Each output element in f64, and the sum of the magnitudes that make it.
fn reference(shape: &ConvShape, input: &[f32], weights: &[f32], bias: Option<&[f32]>) -> Vec<(f64, f64)> {
    let (deep, wide) = (shape.in_c / shape.groups, shape.out_c / shape.groups);
    let mut out = Vec::new();
    for pixel in 0..shape.pixels() {
        let (ox, oy) = (pixel % shape.out_w, pixel / shape.out_w % shape.out_h);
        let image = pixel / shape.out_w / shape.out_h;
        for c in 0..shape.out_c {
            let start = bias.map_or(0.0, |bias| f64::from(bias[c]));
            let (mut sum, mut magnitude) = (start, start.abs());
            for ky in 0..shape.kernel_h {
                for kx in 0..shape.kernel_w {
                    let y = (oy * shape.stride_h + ky * shape.dilation_h) as isize - shape.pad_top as isize;
                    let x = (ox * shape.stride_w + kx * shape.dilation_w) as isize - shape.pad_left as isize;
                    if !(0..shape.in_h as isize).contains(&y) || !(0..shape.in_w as isize).contains(&x) {
                        continue;
                    }
                    let at = (image * shape.in_h + y as usize) * shape.in_w + x as usize;
                    for i in 0..deep {
                        let x = f64::from(input[at * shape.in_c + c / wide * deep + i]);
                        let tap = (c * shape.kernel_h + ky) * shape.kernel_w + kx;
                        let product = x * f64::from(weights[tap * deep + i]);
                        sum += product;
                        magnitude += product.abs();
                    }
                }
            }
            out.push((sum, magnitude));
        }
    }
    out
}

/// Runs every tier, whole and in pieces, and holds the results to the bound and to each other.
fn check(shape: ConvShape, seed: u32, with_bias: bool, activation: (f32, f32), step: usize) {
    let input = values(shape.input_len(), seed);
    let weights = values(shape.weight_len(), seed ^ 0x5bd1);
    let bias = with_bias.then(|| values(shape.out_c, seed ^ 0x77));
    let exact = reference(&shape, &input, &weights, bias.as_deref());
    let mut vector: Option<Vec<u32>> = None;
    for token in TierToken::available() {
        let conv = ConvF32::new(token, shape, &weights, bias.as_deref(), activation).expect("valid");
        let mut scratch = Scratch::with_capacity(conv.scratch_len());
        let mut whole = vec![0.0; shape.output_len()];
        conv.run(&input, 0..conv.units(), &mut whole, &mut scratch).expect("valid");
        let bound = (shape.depth() as f64 + 2.0) * 2f64.powi(-24) * 1.01;
        for (i, (&y, &(sum, magnitude))) in whole.iter().zip(&exact).enumerate() {
            let clamped = sum.clamp(f64::from(activation.0), f64::from(activation.1));
            let error = (f64::from(y) - clamped).abs();
            assert!(error <= bound * magnitude, "{} element {i}: {y} for {clamped}, {shape:?}", token.tier());
        }
        let mut pieces = vec![f32::NAN; shape.output_len()];
        for start in (0..conv.units()).step_by(step) {
            let units = start..(start + step).min(conv.units());
            let range = conv.unit_range(units.clone());
            conv.run(&input, units, &mut pieces[range], &mut scratch).expect("valid");
        }
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&whole), bits(&pieces), "{} in pieces, {shape:?}", token.tier());
        if token.tier() != Tier::Scalar {
            let first = vector.get_or_insert_with(|| bits(&whole));
            assert_eq!(first, &bits(&whole), "{}, {shape:?}", token.tier());
        }
    }
}

/// Weights in few bits give the bits of the kernel over decoded weights, on every tier.
fn check_codes(shape: ConvShape, seed: u32, four: bool, per_tensor: bool, step: usize) {
    let input = values(shape.input_len(), seed);
    let codes: Vec<i8> = (0..shape.weight_len() as u32)
        .map(|i| {
            let code = (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as i8;
            if four { code >> 4 } else { code }
        })
        .collect();
    let scales: Vec<f32> =
        values(if per_tensor { 1 } else { shape.out_c }, seed ^ 9).iter().map(|v| v.abs() + 1e-3).collect();
    let each = shape.depth();
    let decoded: Vec<f32> = codes
        .iter()
        .enumerate()
        .map(|(at, &code)| f32::from(code) * scales[if per_tensor { 0 } else { at / each }])
        .collect();
    let bias = values(shape.out_c, seed ^ 0x77);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for token in TierToken::available() {
        let clamp = (-2.0, 3.0);
        let floats = ConvF32::new(token, shape, &decoded, Some(&bias), clamp).expect("valid");
        let small =
            ConvF32::with_codes(token, shape, &codes, &scales, four, Some(&bias), clamp).expect("valid");
        assert_eq!(
            small.weight_bits(),
            if shape.is_depthwise() {
                32
            } else if four {
                4
            } else {
                8
            }
        );
        let mut scratch = Scratch::with_capacity(floats.scratch_len().max(small.scratch_len()));
        let [mut expected, mut found] = [vec![0.0; shape.output_len()], vec![f32::NAN; shape.output_len()]];
        floats.run(&input, 0..floats.units(), &mut expected, &mut scratch).expect("valid");
        for start in (0..small.units()).step_by(step) {
            let units = start..(start + step).min(small.units());
            let range = small.unit_range(units.clone());
            small.run(&input, units, &mut found[range], &mut scratch).expect("valid");
        }
        assert_eq!(bits(&expected), bits(&found), "{}, {shape:?}", token.tier());
    }
}

#[derive(Debug, Clone, Copy)]
enum Channels {
    Dense { input: usize, output: usize },
    Grouped { groups: usize, input: usize, output: usize },
    Depthwise(usize),
}

fn channels() -> impl Strategy<Value = Channels> {
    prop_oneof![
        (1usize..70, 1usize..140).prop_map(|(input, output)| Channels::Dense { input, output }),
        (2usize..4, 1usize..20, 1usize..40).prop_map(|(groups, input, output)| Channels::Grouped {
            groups,
            input,
            output
        }),
        (2usize..200).prop_map(Channels::Depthwise),
    ]
}

fn shape() -> impl Strategy<Value = ConvShape> {
    let axis = || (1usize..12, 1usize..6, 1usize..4, 1usize..3, 0usize..4, 0usize..4);
    (axis(), axis(), 1usize..3, channels()).prop_filter_map(
        "the window fits",
        |((in_h, kernel_h, stride_h, dilation_h, pad_top, bottom), b, batch, channels)| {
            let (in_w, kernel_w, stride_w, dilation_w, pad_left, right) = b;
            let out = |size: usize, kernel: usize, stride: usize, dilation: usize, pads: usize| {
                (size + pads).checked_sub((kernel - 1) * dilation + 1).map(|room| room / stride + 1)
            };
            let (in_c, out_c, groups) = match channels {
                Channels::Dense { input, output } => (input, output, 1),
                Channels::Grouped { groups, input, output } => (groups * input, groups * output, groups),
                Channels::Depthwise(c) => (c, c, c),
            };
            Some(ConvShape {
                batch,
                in_h,
                in_w,
                in_c,
                out_h: out(in_h, kernel_h, stride_h, dilation_h, pad_top + bottom)?,
                out_w: out(in_w, kernel_w, stride_w, dilation_w, pad_left + right)?,
                out_c,
                kernel_h,
                kernel_w,
                stride_h,
                stride_w,
                dilation_h,
                dilation_w,
                pad_top,
                pad_left,
                groups,
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn convolutions_hold_their_bound_in_every_tier(
        shape in shape(),
        seed in any::<u32>(),
        bias in any::<bool>(),
        relu in any::<bool>(),
        step in 1usize..5,
    ) {
        let activation = if relu { (0.0, 6.0) } else { (f32::NEG_INFINITY, f32::INFINITY) };
        check(shape, seed, bias, activation, step);
    }

    #[test]
    fn weights_in_few_bits_equal_decoded_ones(
        shape in prop_oneof![shape(), (1usize..30, 1usize..300, 0usize..90).prop_map(|(m, n, k)| ConvShape::gemm(m, n, k))],
        seed in any::<u32>(),
        four in any::<bool>(),
        per_tensor in any::<bool>(),
        step in 1usize..5,
    ) {
        check_codes(shape, seed, four, per_tensor, step);
    }

    #[test]
    fn pointwise_and_fully_connected_hold_their_bound(
        (m, n, k) in (prop_oneof![Just(1usize), 1usize..40], 1usize..300, 0usize..90),
        seed in any::<u32>(),
        bias in any::<bool>(),
        step in 1usize..4,
    ) {
        check(ConvShape::gemm(m, n, k), seed, bias, (f32::NEG_INFINITY, f32::INFINITY), step);
    }

    #[test]
    fn products_of_two_run_time_matrices_equal_the_fully_connected_layer(
        (m, n, k) in (1usize..40, 1usize..100, 0usize..70),
        seed in any::<u32>(),
        transposed in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (a, weights) = (values(m * k, seed), values(n * k, seed ^ 3));
        let bias = values(n, seed ^ 9);
        let b: Vec<f32> = if transposed {
            weights.clone()
        } else {
            (0..n * k).map(|i| weights[i % n * k + i / n]).collect()
        };
        for token in TierToken::available() {
            let conv = ConvF32::new(token, ConvShape::gemm(m, n, k), &weights, Some(&bias), (-1.0, 1.0)).expect("valid");
            let mut expected = vec![0.0; m * n];
            conv.run(&a, 0..conv.units(), &mut expected, &mut Scratch::with_capacity(conv.scratch_len())).expect("valid");
            let gemm = GemmF32::new(token, n, k).expect("valid");
            let mut packed = vec![f32::NAN; gemm.packed_len()];
            gemm.pack(&b, transposed, Some(&bias), &mut packed).expect("valid");
            let cut = cut.index(m + 1);
            let mut out = vec![0.0; m * n];
            gemm.run(&a[..cut * k], &packed, (-1.0, 1.0), &mut out[..cut * n]).expect("valid");
            gemm.run(&a[cut * k..], &packed, (-1.0, 1.0), &mut out[cut * n..]).expect("valid");
            prop_assert_eq!(&out, &expected, "{}", token.tier());
        }
    }
}

#[test]
fn layers_of_a_real_network_hold_their_bound() {
    let stem = ConvShape {
        batch: 1,
        in_h: 33,
        in_w: 33,
        in_c: 3,
        out_h: 17,
        out_w: 17,
        out_c: 32,
        kernel_h: 3,
        kernel_w: 3,
        stride_h: 2,
        stride_w: 2,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: 1,
        pad_left: 1,
        groups: 1,
    };
    let same = |size, channels, kernel, stride| ConvShape {
        in_h: size,
        in_w: size,
        in_c: channels,
        out_h: size.div_ceil(stride),
        out_w: size.div_ceil(stride),
        out_c: channels,
        kernel_h: kernel,
        kernel_w: kernel,
        stride_h: stride,
        stride_w: stride,
        pad_top: kernel / 2,
        pad_left: kernel / 2,
        groups: channels,
        ..stem
    };
    check(stem, 1, true, (0.0, 6.0), 7);
    check(same(29, 144, 3, 2), 2, true, (0.0, 6.0), 3);
    check(same(7, 672, 5, 1), 3, true, (0.0, 6.0), 2);
    check(ConvShape::gemm(49, 320, 1152), 4, true, (f32::NEG_INFINITY, f32::INFINITY), 1);
    check(ConvShape::gemm(1, 1000, 1280), 5, true, (f32::NEG_INFINITY, f32::INFINITY), 3);
}

#[test]
fn bad_arguments_are_refused() {
    let token = TierToken::best(None);
    let shape = ConvShape::gemm(2, 3, 4);
    let all = (f32::NEG_INFINITY, f32::INFINITY);
    assert!(ConvF32::new(token, shape, &[0.0; 11], None, all).is_err());
    assert!(ConvF32::new(token, shape, &[0.0; 12], Some(&[0.0; 2]), all).is_err());
    assert!(ConvF32::new(token, shape, &[0.0; 12], None, (1.0, 0.0)).is_err());
    assert!(ConvF32::new(token, ConvShape { groups: 3, ..shape }, &[0.0; 12], None, all).is_err());
    let conv = ConvF32::new(token, shape, &[0.0; 12], None, all).expect("valid");
    let mut scratch = Scratch::default();
    assert!(conv.run(&[0.0; 7], 0..1, &mut [0.0; 6], &mut scratch).is_err());
    assert!(conv.run(&[0.0; 8], 0..9, &mut [0.0; 6], &mut scratch).is_err());
    assert!(conv.run(&[0.0; 8], 0..1, &mut [0.0; 5], &mut scratch).is_err());
    assert!(GemmF32::new(token, 0, 4).is_err());
}
