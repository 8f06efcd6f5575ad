//! The interpreter against formulas written down a second time, element by element.

use fewbit_core::ir::{Activation, ConvAttributes, Op, PoolAttributes, Tensor};
use fewbit_testing::{Random, assert_close};
use proptest::prelude::*;

use crate::support::Single;

/// An element of an image batch, zero outside.
fn pixel(tensor: &[f32], extents: &[usize], n: usize, c: usize, y: i64, x: i64) -> f64 {
    let (height, width) = (extents[2] as i64, extents[3] as i64);
    if !(0..height).contains(&y) || !(0..width).contains(&x) {
        return 0.0;
    }
    f64::from(tensor[((n * extents[1] + c) * extents[2] + y as usize) * extents[3] + x as usize])
}

/// Extents of an image that any window of [`random_window`] fits into.
fn image(random: &mut Random) -> [usize; 2] {
    [(); 2].map(|()| 8 + random.below(4))
}

/// Attributes of a two-dimensional window from a seed.
fn random_window(random: &mut Random) -> (Vec<usize>, Vec<usize>, Vec<usize>, Vec<usize>) {
    let pick = |random: &mut Random, low: usize, high: usize| low + random.below(high - low + 1);
    let kernel: Vec<usize> = (0..2).map(|_| pick(random, 1, 4)).collect();
    let strides: Vec<usize> = (0..2).map(|_| pick(random, 1, 3)).collect();
    let dilations: Vec<usize> = (0..2).map(|_| pick(random, 1, 2)).collect();
    let pads: Vec<usize> = (0..4).map(|at| random.below(kernel[at % 2])).collect();
    (kernel, strides, dilations, pads)
}

fn conv_formula(x: &Tensor, w: &Tensor, bias: &[f32], conv: &ConvAttributes, out: &[usize]) -> Vec<f32> {
    let (xs, ws) = (x.to_f32_vec(), w.to_f32_vec());
    let per_group = w.extents()[1];
    let mut result = Vec::new();
    for n in 0..out[0] {
        for o in 0..out[1] {
            let group = o / (out[1] / conv.groups);
            for y in 0..out[2] {
                for column in 0..out[3] {
                    let mut sum = f64::from(bias[o]);
                    for i in 0..per_group {
                        for ky in 0..conv.kernel[0] {
                            for kx in 0..conv.kernel[1] {
                                let at_y = (y * conv.strides[0] + ky * conv.dilations[0]) as i64
                                    - conv.pads[0] as i64;
                                let at_x = (column * conv.strides[1] + kx * conv.dilations[1]) as i64
                                    - conv.pads[1] as i64;
                                let weight =
                                    ws[((o * per_group + i) * conv.kernel[0] + ky) * conv.kernel[1] + kx];
                                sum += f64::from(weight)
                                    * pixel(&xs, x.extents(), n, group * per_group + i, at_y, at_x);
                            }
                        }
                    }
                    result.push(sum.clamp(0.0, 6.0) as f32);
                }
            }
        }
    }
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn convolution_equals_its_formula(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (kernel, strides, dilations, pads) = random_window(&mut random);
        let groups = 1 + random.below(3);
        let (per_group, outs) = (1 + random.below(3), groups * (1 + random.below(3)));
        let (batch, [height, width]) = (1 + random.below(2), image(&mut random));
        let x = random.floats(&[batch, groups * per_group, height, width]);
        let w = random.floats(&[outs, per_group, kernel[0], kernel[1]]);
        let bias = random.floats(&[outs]);
        let conv = ConvAttributes { kernel, strides, dilations, pads, groups };
        let activation = Activation::Clip { min: 0.0, max: 6.0 };
        let found = Single::new(Op::Conv { conv: conv.clone(), activation })
            .input(x.clone()).input(w.clone()).input(bias.clone()).run();
        let expected = conv_formula(&x, &w, &bias.to_f32_vec(), &conv, found.extents());
        assert_close(&found.to_f32_vec(), &expected, 1e-6);
    }

    #[test]
    fn transposed_convolution_is_the_adjoint_of_convolution(seed in any::<u64>()) {
        // <conv(x, w), y> = <x, conv_transpose(y, w)> for every x and y: the definition of a transpose.
        let mut random = Random::new(seed);
        let (kernel, strides, dilations, pads) = random_window(&mut random);
        let groups = 1 + random.below(2);
        let (per_group, outs) = (1 + random.below(3), groups * (1 + random.below(3)));
        let [height, width] = image(&mut random);
        let x = random.floats(&[1, groups * per_group, height, width]);
        let w = random.floats(&[outs, per_group, kernel[0], kernel[1]]);
        let conv = ConvAttributes { kernel, strides, dilations, pads, groups };
        let forward = Single::new(Op::Conv { conv: conv.clone(), activation: Activation::None })
            .input(x.clone()).input(w.clone()).run();
        let y = random.floats(forward.extents());
        // What the stride leaves of the input is the output padding that restores its extents.
        let output_padding: Vec<usize> = (0..2).map(|axis| {
            let reach = (conv.kernel[axis] - 1) * conv.dilations[axis] + 1;
            let padded = x.extents()[2 + axis] + conv.pads[axis] + conv.pads[2 + axis];
            (padded - reach) % conv.strides[axis]
        }).collect();
        let back = Single::new(Op::ConvTranspose { conv, output_padding, activation: Activation::None })
            .input(y.clone()).input(w).run();
        prop_assert_eq!(back.extents(), x.extents());
        let dot = |a: &Tensor, b: &Tensor| -> f64 {
            a.to_f64_vec().iter().zip(b.to_f64_vec()).map(|(a, b)| a * b).sum()
        };
        let (left, right) = (dot(&forward, &y), dot(&x, &back));
        prop_assert!((left - right).abs() <= 1e-4 * (1.0 + left.abs()), "{} and {}", left, right);
    }

    #[test]
    fn pooling_equals_its_formula(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (kernel, strides, dilations, pads) = random_window(&mut random);
        let (ceil, count_include_pad) = (random.below(2) == 1, random.below(2) == 1);
        let [height, width] = image(&mut random);
        let x = random.floats(&[2, 2, height, width]);
        let pool = PoolAttributes { kernel, strides, dilations, pads, ceil, count_include_pad };
        let largest = Single::new(Op::MaxPool(pool.clone())).input(x.clone()).run();
        let average = Single::new(Op::AveragePool(pool.clone())).input(x.clone()).run();
        prop_assert_eq!(largest.extents(), average.extents());
        let (xs, extents, out) = (x.to_f32_vec(), x.extents(), largest.extents());
        let mut expected = (Vec::new(), Vec::new());
        for place in 0..out.iter().product::<usize>() {
            let [n, c, y, column] = [
                place / (out[1] * out[2] * out[3]),
                place / (out[2] * out[3]) % out[1],
                place / out[3] % out[2],
                place % out[3],
            ];
            let (mut best, mut sum, mut count) = (f64::NEG_INFINITY, 0.0, 0);
            for ky in 0..pool.kernel[0] {
                for kx in 0..pool.kernel[1] {
                    let at_y = (y * pool.strides[0] + ky * pool.dilations[0]) as i64 - pool.pads[0] as i64;
                    let at_x = (column * pool.strides[1] + kx * pool.dilations[1]) as i64 - pool.pads[1] as i64;
                    let (height, width) = (extents[2] as i64, extents[3] as i64);
                    let inside = (0..height).contains(&at_y) && (0..width).contains(&at_x);
                    let padded = at_y < height + pool.pads[2] as i64 && at_x < width + pool.pads[3] as i64;
                    if inside {
                        let value = pixel(&xs, extents, n, c, at_y, at_x);
                        best = best.max(value);
                        sum += value;
                    }
                    count += u32::from(if pool.count_include_pad { padded } else { inside });
                }
            }
            expected.0.push(best as f32);
            expected.1.push((sum / f64::from(count)) as f32);
        }
        prop_assert_eq!(largest.to_f32_vec(), expected.0);
        let average = average.to_f32_vec();
        for (a, e) in average.iter().zip(&expected.1) {
            prop_assert!((a - e).abs() <= 1e-6 || (a.is_nan() && e.is_nan()), "{} and {}", a, e);
        }
    }

    #[test]
    fn batched_products_equal_their_formula(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (m, k, n) = (1 + random.below(4), 1 + random.below(5), 1 + random.below(4));
        let batch = 1 + random.below(3);
        // The left batch is broadcast from one matrix, the right one from a tensor of lower rank.
        let a = random.floats(&[2, 1, m, k]);
        let b = random.floats(&[batch, k, n]);
        let found = Single::new(Op::MatMul).input(a.clone()).input(b.clone()).run();
        prop_assert_eq!(found.extents(), &[2, batch, m, n]);
        let (a, b) = (a.to_f64_vec(), b.to_f64_vec());
        let mut expected = Vec::new();
        for outer in 0..2 {
            for inner in 0..batch {
                for i in 0..m {
                    for j in 0..n {
                        let term = |l: usize| a[(outer * m + i) * k + l] * b[(inner * k + l) * n + j];
                        expected.push((0..k).map(term).sum::<f64>() as f32);
                    }
                }
            }
        }
        assert_close(&found.to_f32_vec(), &expected, 1e-6);
    }

    #[test]
    fn gemm_orientations_agree(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (m, k, n) = (1 + random.below(4), 1 + random.below(5), 1 + random.below(4));
        let (a, b, c) = (random.floats(&[m, k]), random.floats(&[k, n]), random.floats(&[n]));
        let flip = |tensor: &Tensor| Single::new(Op::Transpose { perm: vec![1, 0] }).input(tensor.clone()).run();
        let gemm = |trans_a: bool, trans_b: bool| {
            Single::new(Op::Gemm { alpha: 0.5, beta: 2.0, trans_a, trans_b, activation: Activation::None })
                .input(if trans_a { flip(&a) } else { a.clone() })
                .input(if trans_b { flip(&b) } else { b.clone() })
                .input(c.clone())
                .run()
        };
        let plain = gemm(false, false);
        prop_assert_eq!(&gemm(true, false), &plain);
        prop_assert_eq!(&gemm(false, true), &plain);
        prop_assert_eq!(&gemm(true, true), &plain);
        let product = Single::new(Op::MatMul).input(a.clone()).input(b.clone()).run().to_f32_vec();
        let addend = c.to_f32_vec();
        let expected: Vec<f32> =
            product.iter().enumerate().map(|(at, p)| 0.5 * p + 2.0 * addend[at % n]).collect();
        assert_close(&plain.to_f32_vec(), &expected, 1e-5);
    }
}
