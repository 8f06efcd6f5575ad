//! Pooling and resizing against the rules written out.

use std::ops::Range;

use fewbit_kernels::{
    Codes, LINEAR_ONE, LinearTap, PoolShape, ResizeShape, TierToken, average_pool_f32, average_pool_u8,
    global_average_f32, global_average_u8, max_pool_f32, max_pool_u8, resize_linear_f32, resize_linear_u8,
    resize_nearest,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn pool_shape() -> impl Strategy<Value = PoolShape> {
    let axis = || (1usize..9, 1usize..4, 1usize..4, 1usize..3, 0usize..3, 0usize..3);
    (axis(), axis(), 1usize..3, prop_oneof![1usize..5, 60usize..70], any::<bool>()).prop_filter_map(
        "every window touches the image",
        |(
            (in_h, kernel_h, stride_h, dilation_h, pad_top, pad_bottom),
            b,
            batch,
            channels,
            count_include_pad,
        )| {
            let (in_w, kernel_w, stride_w, dilation_w, pad_left, pad_right) = b;
            let out = |size: usize, kernel: usize, stride: usize, dilation: usize, pads: usize| {
                (size + pads).checked_sub((kernel - 1) * dilation + 1).map(|room| room / stride + 1)
            };
            let shape = PoolShape {
                batch,
                in_h,
                in_w,
                channels,
                out_h: out(in_h, kernel_h, stride_h, dilation_h, pad_top + pad_bottom)?,
                out_w: out(in_w, kernel_w, stride_w, dilation_w, pad_left + pad_right)?,
                kernel_h,
                kernel_w,
                stride_h,
                stride_w,
                dilation_h,
                dilation_w,
                pad_top,
                pad_left,
                pad_bottom,
                pad_right,
                count_include_pad,
            };
            shape.validate().is_ok().then_some(shape)
        },
    )
}

/// Indices of the taps inside the image, of channel `c`, for each output element in order.
fn windows(shape: &PoolShape) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for image in 0..shape.batch {
        for oy in 0..shape.out_h {
            for ox in 0..shape.out_w {
                for c in 0..shape.channels {
                    let mut taps = Vec::new();
                    for ky in 0..shape.kernel_h {
                        for kx in 0..shape.kernel_w {
                            let y = (oy * shape.stride_h + ky * shape.dilation_h) as isize
                                - shape.pad_top as isize;
                            let x = (ox * shape.stride_w + kx * shape.dilation_w) as isize
                                - shape.pad_left as isize;
                            if (0..shape.in_h as isize).contains(&y) && (0..shape.in_w as isize).contains(&x)
                            {
                                let at = (image * shape.in_h + y as usize) * shape.in_w + x as usize;
                                taps.push(at * shape.channels + c);
                            }
                        }
                    }
                    all.push(taps);
                }
            }
        }
    }
    all
}

/// Runs `f` over all rows, cut at `cut`.
fn in_two<T: Clone>(
    shape: &PoolShape,
    cut: usize,
    zero: T,
    mut f: impl FnMut(Range<usize>, &mut [T]),
) -> Vec<T> {
    let mut out = vec![zero; shape.rows() * shape.row_len()];
    let cut = cut % (shape.rows() + 1);
    let (head, tail) = out.split_at_mut(cut * shape.row_len());
    f(0..cut, head);
    f(cut..shape.rows(), tail);
    out
}

fn bytes(n: usize, seed: u32) -> Vec<u8> {
    (0..n as u32).map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

proptest! {
    #[test]
    fn pools_follow_their_rules_in_every_tier(
        shape in pool_shape(),
        seed in any::<u32>(),
        cut in 0usize..40,
        x_zero in any::<u8>(),
        zero in any::<u8>(),
        ratio in prop_oneof![Just(1.0f32), Just(0.5), 0.01f32..3.0],
    ) {
        let input = bytes(shape.input_len(), seed);
        let floats: Vec<f32> = input.iter().map(|&x| f32::from(x) - 100.0).collect();
        let windows = windows(&shape);
        let multiplier: Vec<f32> = (0..=shape.taps()).map(|count| ratio / count.max(1) as f32).collect();
        let counts: Vec<usize> = (0..windows.len()).map(|i| {
            let pixel = i / shape.channels;
            shape.count(pixel / shape.out_w % shape.out_h, pixel % shape.out_w)
        }).collect();
        for (i, window) in windows.iter().enumerate() {
            if shape.count_include_pad {
                // These windows lie wholly in the padded image.
                prop_assert_eq!(counts[i], shape.taps());
            } else {
                prop_assert_eq!(counts[i], window.len());
            }
        }
        for token in TierToken::available() {
            let out = in_two(&shape, cut, 0, |rows, out| {
                max_pool_u8(token, &shape, &input, rows, out).expect("valid");
            });
            let expected: Vec<u8> =
                windows.iter().map(|w| w.iter().map(|&i| input[i]).max().expect("a tap inside")).collect();
            prop_assert_eq!(&out, &expected, "max u8, {}", token.tier());

            let out = in_two(&shape, cut, 0.0, |rows, out| {
                max_pool_f32(token, &shape, &floats, rows, out).expect("valid");
            });
            let expected: Vec<f32> = expected.iter().map(|&x| f32::from(x) - 100.0).collect();
            prop_assert_eq!(&out, &expected, "max f32, {}", token.tier());

            let out = in_two(&shape, cut, 0, |rows, out| {
                average_pool_u8(token, &shape, &input, x_zero, &multiplier, Codes::full(zero), rows, out)
                    .expect("valid");
            });
            let expected: Vec<u8> = windows.iter().zip(&counts).map(|(w, &count)| {
                let sum: i32 = w.iter().map(|&i| i32::from(input[i]) - i32::from(x_zero)).sum();
                let v = (sum as f32 * multiplier[count]).round_ties_even() as i32 + i32::from(zero);
                v.clamp(0, 255) as u8
            }).collect();
            prop_assert_eq!(&out, &expected, "average u8, {}", token.tier());

            let out = in_two(&shape, cut, 0.0, |rows, out| {
                average_pool_f32(token, &shape, &floats, rows, out).expect("valid");
            });
            for ((w, &count), &y) in windows.iter().zip(&counts).zip(&out) {
                let exact: f64 = w.iter().map(|&i| f64::from(floats[i])).sum::<f64>() / count as f64;
                prop_assert!((f64::from(y) - exact).abs() <= 1e-3, "average f32: {} for {}", y, exact);
            }
        }
    }

    #[test]
    fn global_means_follow_their_rules_in_every_tier(
        pixels in prop_oneof![1usize..20, 60usize..200],
        channels in prop_oneof![1usize..5, 60usize..140],
        (a, b) in (0usize..140, 0usize..140),
        seed in any::<u32>(),
        x_zero in any::<u8>(),
        zero in any::<u8>(),
        ratio in 0.01f32..3.0,
    ) {
        let input = bytes(pixels * channels, seed);
        let range = a.min(b).min(channels)..a.max(b).min(channels);
        let multiplier = ratio / pixels as f32;
        let expected: Vec<u8> = range.clone().map(|c| {
            let sum: i32 = (0..pixels).map(|p| i32::from(input[p * channels + c]) - i32::from(x_zero)).sum();
            ((sum as f32 * multiplier).round_ties_even() as i32 + i32::from(zero)).clamp(0, 255) as u8
        }).collect();
        let floats: Vec<f32> = input.iter().map(|&x| f32::from(x) / 3.0).collect();
        let mut reference = None;
        for token in TierToken::available() {
            let mut out = vec![0; range.len()];
            let codes = Codes::full(zero);
            global_average_u8(token, &input, channels, x_zero, multiplier, codes, range.clone(), &mut out)
                .expect("valid");
            prop_assert_eq!(&out, &expected, "{}", token.tier());
            let mut out = vec![0.0; range.len()];
            global_average_f32(token, &floats, channels, range.clone(), &mut out).expect("valid");
            for (c, &y) in range.clone().zip(&out) {
                let exact: f64 =
                    (0..pixels).map(|p| f64::from(floats[p * channels + c])).sum::<f64>() / pixels as f64;
                let bound = (pixels as f64 / 64.0 + 64.0) * 2f64.powi(-24) * exact.abs();
                prop_assert!((f64::from(y) - exact).abs() <= bound);
            }
            prop_assert_eq!(&out, reference.get_or_insert_with(|| out.clone()), "{}", token.tier());
        }
    }

    #[test]
    fn resizes_follow_their_rules_in_every_tier(
        (in_h, in_w, channels, batch) in (1usize..6, 1usize..6, 1usize..40, 1usize..3),
        taps in vec((any::<u32>(), any::<u32>(), 0u16..=LINEAR_ONE), 14),
        (out_h, out_w) in (1usize..7, 1usize..7),
        seed in any::<u32>(),
        cut in 0usize..20,
    ) {
        let shape = ResizeShape { batch, in_h, in_w, channels };
        let input = bytes(batch * in_h * in_w * channels, seed);
        let tap = |&(low, high, weight): &(u32, u32, u16), size: usize| LinearTap {
            low: low % size as u32,
            high: high % size as u32,
            weights: [LINEAR_ONE - weight, weight],
        };
        let rows_of: Vec<_> = taps[..out_h].iter().map(|t| tap(t, in_h)).collect();
        let columns_of: Vec<_> = taps[7..7 + out_w].iter().map(|t| tap(t, in_w)).collect();
        let at = |image: usize, y: u32, x: u32, c: usize| {
            ((image * in_h + y as usize) * in_w + x as usize) * channels + c
        };
        let (mut nearest, mut linear, mut exact) = (Vec::new(), Vec::new(), Vec::new());
        for image in 0..batch {
            for y in &rows_of {
                for x in &columns_of {
                    for c in 0..channels {
                        nearest.push(input[at(image, y.low, x.high, c)]);
                        let mut sum = 0i64;
                        for (iy, wy) in [(y.low, y.weights[0]), (y.high, y.weights[1])] {
                            for (ix, wx) in [(x.low, x.weights[0]), (x.high, x.weights[1])] {
                                sum += i64::from(input[at(image, iy, ix, c)]) * i64::from(wy) * i64::from(wx);
                            }
                        }
                        let real = sum as f64 / 2f64.powi(22);
                        linear.push(real.round_ties_even() as u8);
                        exact.push(real);
                    }
                }
            }
        }
        let rows = batch * out_h;
        let row_len = out_w * channels;
        let cut = cut % (rows + 1);
        let float_tap = |t: &LinearTap<u16>| LinearTap {
            low: t.low, high: t.high, weights: t.weights.map(|w| f32::from(w) / 2048.0),
        };
        let float_rows: Vec<_> = rows_of.iter().map(float_tap).collect();
        let float_columns: Vec<_> = columns_of.iter().map(float_tap).collect();
        let floats: Vec<f32> = input.iter().map(|&x| f32::from(x)).collect();
        let lows: Vec<u32> = rows_of.iter().map(|t| t.low).collect();
        let highs: Vec<u32> = columns_of.iter().map(|t| t.high).collect();
        let mut out = vec![0; rows * row_len];
        resize_nearest(&shape, &input, &lows, &highs, 0..rows, &mut out).expect("valid");
        prop_assert_eq!(&out, &nearest);
        for token in TierToken::available() {
            let mut out = vec![0; rows * row_len];
            let (head, tail) = out.split_at_mut(cut * row_len);
            resize_linear_u8(token, &shape, &input, &rows_of, &columns_of, 0..cut, head).expect("valid");
            resize_linear_u8(token, &shape, &input, &rows_of, &columns_of, cut..rows, tail).expect("valid");
            prop_assert_eq!(&out, &linear, "{}", token.tier());
            let mut out = vec![0.0; rows * row_len];
            resize_linear_f32(token, &shape, &floats, &float_rows, &float_columns, 0..rows, &mut out)
                .expect("valid");
            for (&y, &exact) in out.iter().zip(&exact) {
                prop_assert!((f64::from(y) - exact).abs() <= 1e-3);
            }
        }
    }
}

#[test]
fn bad_pools_and_resizes_are_refused() {
    let token = TierToken::best(None);
    let shape = PoolShape {
        batch: 1,
        in_h: 2,
        in_w: 2,
        channels: 1,
        out_h: 1,
        out_w: 1,
        kernel_h: 2,
        kernel_w: 2,
        stride_h: 1,
        stride_w: 1,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: 0,
        pad_left: 0,
        pad_bottom: 0,
        pad_right: 0,
        count_include_pad: false,
    };
    assert!(shape.validate().is_ok());
    for bad in [
        PoolShape { channels: 0, ..shape },
        PoolShape { pad_top: 9, ..shape },
        PoolShape { out_w: 5, ..shape },
        PoolShape { in_h: usize::MAX, ..shape },
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
    assert!(max_pool_u8(token, &shape, &[0; 4], 0..2, &mut [0; 2]).is_err());
    assert!(max_pool_u8(token, &shape, &[0; 3], 0..1, &mut [0; 1]).is_err());
    let image = ResizeShape { batch: 1, in_h: 1, in_w: 1, channels: 1 };
    assert!(resize_nearest(&image, &[0u8], &[1], &[0], 0..1, &mut [0]).is_err());
    let tap = LinearTap { low: 0, high: 0, weights: [2047u16, 0] };
    assert!(resize_linear_u8(token, &image, &[0], &[tap], &[tap], 0..1, &mut [0]).is_err());
}
