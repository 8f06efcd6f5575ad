//! Corner cases of ONNX's semantics. Expected values are those of the ONNX project's own node tests (version 1.23)
//! where a test names one, else worked out in the comment.

use fewbit_core::CoreErrorKind;
use fewbit_core::ir::{
    Activation, BinaryOp, CompareOp, CoordinateMode, DType, NearestMode, Op, PadMode, PoolAttributes,
    ReduceOp, ResizeAttributes, ResizeMode, Tensor, UnaryOp,
};
use fewbit_testing::assert_close;

use crate::support::{Single, codes, count_up, floats, list};

fn binary(op: BinaryOp) -> Op {
    Op::Binary { op, activation: Activation::None }
}

#[track_caller]
fn refused(single: &Single, kind: CoreErrorKind) {
    let error = single.try_all().expect_err("the node is refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.place(), Some("node"));
}

#[test]
fn slices_take_negative_steps_and_bounds_out_of_range() {
    let x = count_up(&[4, 5]);
    let slice = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| {
        Single::new(Op::Slice)
            .input(x.clone())
            .input(list(starts))
            .input(list(ends))
            .input(list(axes))
            .input(list(steps))
    };
    assert_eq!(
        slice(&[-1], &[i64::MIN], &[0], &[-2]).run().to_f32_vec()[..5],
        [15.0, 16.0, 17.0, 18.0, 19.0]
    );
    assert_eq!(slice(&[1, 4], &[2, 0], &[0, 1], &[1, -2]).run(), floats(&[1, 2], &[9.0, 7.0]));
    assert_eq!(slice(&[0], &[i64::MAX], &[-1], &[1]).run(), x);
    assert_eq!(slice(&[3], &[1], &[0], &[1]).run().extents(), [0, 5]);
    assert_eq!(slice(&[3], &[2], &[0], &[i64::MIN]).run(), floats(&[1, 5], &[15.0, 16.0, 17.0, 18.0, 19.0]));
    refused(&slice(&[0], &[1], &[2], &[1]), CoreErrorKind::Shape);
    refused(&slice(&[0], &[1], &[0], &[0]), CoreErrorKind::Shape);
    refused(&slice(&[0, 0], &[1, 1], &[0, -2], &[1, 1]), CoreErrorKind::Shape);
}

#[test]
fn padding_mirrors_wraps_extends_and_crops() {
    let x = floats(&[1, 3], &[1.0, 2.0, 3.0]);
    let pad = |mode, before: i64, after: i64| {
        Single::new(Op::Pad { mode }).input(x.clone()).input(list(&[0, before, 0, after])).run().to_f32_vec()
    };
    assert_eq!(pad(PadMode::Reflect, 2, 2), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
    assert_eq!(pad(PadMode::Edge, 1, 2), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
    assert_eq!(pad(PadMode::Wrap, 2, 4), [2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
    assert_eq!(pad(PadMode::Constant, 1, -2), [0.0, 1.0]);
    let filled = Single::new(Op::Pad { mode: PadMode::Constant })
        .input(x.clone())
        .input(list(&[-1, 1]))
        .input(Tensor::scalar(9f32))
        .input(list(&[-1]))
        .run();
    assert_eq!(filled.to_f32_vec(), [2.0, 3.0, 9.0]);
    let cropped = Single::new(Op::Pad { mode: PadMode::Constant }).input(x).input(list(&[0, -2, 0, -2]));
    refused(&cropped, CoreErrorKind::Shape);
}

#[test]
fn reshapes_keep_and_infer_extents() {
    let reshape = |x: &Tensor, shape: &[i64], allow_zero| {
        Single::new(Op::Reshape { allow_zero }).input(x.clone()).input(list(shape))
    };
    let x = count_up(&[2, 3, 4]);
    assert_eq!(reshape(&x, &[0, -1], false).run().extents(), [2, 12]);
    assert_eq!(reshape(&x, &[4, 1, 6], false).run().extents(), [4, 1, 6]);
    let empty = floats(&[0, 3], &[]);
    assert_eq!(reshape(&empty, &[3, 0], true).run().extents(), [3, 0]);
    refused(&reshape(&x, &[-1, -1], false), CoreErrorKind::Shape);
    refused(&reshape(&x, &[5, -1], false), CoreErrorKind::Shape);
    refused(&reshape(&x, &[7], false), CoreErrorKind::Shape);
    refused(&reshape(&x, &[-2, 12], false), CoreErrorKind::Shape);
    refused(&reshape(&x, &[i64::MAX, i64::MAX], false), CoreErrorKind::Shape);
    refused(&reshape(&empty, &[0, -1], true), CoreErrorKind::Shape);
}

#[test]
fn gathering_counts_negative_indices_from_the_end() {
    let x = count_up(&[3, 2]);
    let gather = |indices: &[i64]| Single::new(Op::Gather { axis: 0 }).input(x.clone()).input(list(indices));
    assert_eq!(gather(&[-1, 0]).run(), floats(&[2, 2], &[4.0, 5.0, 0.0, 1.0]));
    refused(&gather(&[3]), CoreErrorKind::Tensor);
    refused(&gather(&[-4]), CoreErrorKind::Tensor);
    refused(&gather(&[i64::MIN]), CoreErrorKind::Tensor);
}

#[test]
fn splitting_and_joining_are_inverse() {
    let x = count_up(&[2, 7, 3]);
    let pieces = Single::new(Op::Split { axis: 1, sizes: vec![3, 0, 4] }).input(x.clone()).outputs(3);
    let pieces = pieces.try_all().unwrap();
    assert_eq!(pieces[1].extents(), [2, 0, 3]);
    let joined = pieces.into_iter().fold(Single::new(Op::Concat { axis: 1 }), Single::input).run();
    assert_eq!(joined, x);
    let uneven = Single::new(Op::Split { axis: 1, sizes: Vec::new() }).input(x).outputs(3).try_all().unwrap();
    assert_eq!(uneven.iter().map(|piece| piece.extents()[1]).collect::<Vec<_>>(), [3, 3, 1]);
}

#[test]
fn depth_goes_to_space_in_both_orders() {
    // ONNX's test_depthtospace_example and test_depthtospace_crd_mode_example, first rows.
    let x: Vec<f32> = (0..8).flat_map(|c| (0..6).map(move |i| (c * 9 + i) as f32)).collect();
    let x = floats(&[1, 8, 2, 3], &x);
    let dcr = Single::new(Op::DepthToSpace { block: 2, crd: false }).input(x.clone()).run();
    assert_eq!(dcr.extents(), [1, 2, 4, 6]);
    assert_eq!(dcr.to_f32_vec()[..12], [0.0, 18.0, 1.0, 19.0, 2.0, 20.0, 36.0, 54.0, 37.0, 55.0, 38.0, 56.0]);
    let crd = Single::new(Op::DepthToSpace { block: 2, crd: true }).input(x.clone()).run();
    assert_eq!(crd.to_f32_vec()[..12], [0.0, 9.0, 1.0, 10.0, 2.0, 11.0, 18.0, 27.0, 19.0, 28.0, 20.0, 29.0]);
    let back = Single::new(Op::SpaceToDepth { block: 2 }).input(dcr).run();
    assert_eq!(back, x);
    refused(&Single::new(Op::DepthToSpace { block: 3, crd: true }).input(x), CoreErrorKind::Shape);
}

const LINEAR: ResizeAttributes = ResizeAttributes {
    mode: ResizeMode::Linear,
    coordinates: CoordinateMode::HalfPixel,
    nearest: NearestMode::RoundPreferFloor,
    cubic: -0.75,
    exclude_outside: false,
};

#[track_caller]
fn resize_scales(attributes: ResizeAttributes, x: Tensor, scales: &[f32], expected: &[f32]) {
    let scales = floats(&[scales.len()], scales);
    let found = Single::new(Op::Resize(attributes)).input(x).absent().input(scales).run();
    assert_close(&found.to_f32_vec(), expected, 1e-6);
}

#[track_caller]
fn resize_sizes(attributes: ResizeAttributes, x: Tensor, sizes: &[i64], expected: &[f32]) {
    let single = Single::new(Op::Resize(attributes)).input(x).absent().input(floats(&[0], &[]));
    let found = single.input(list(sizes)).run();
    assert_eq!(found.extents().iter().map(|&extent| extent as i64).collect::<Vec<_>>(), sizes);
    assert_close(&found.to_f32_vec(), expected, 1e-6);
}

fn from_one(extents: &[usize]) -> Tensor {
    let values: Vec<f32> = (1..=extents.iter().product::<usize>()).map(|x| x as f32).collect();
    floats(extents, &values)
}

#[test]
fn linear_resizing_follows_its_coordinates() {
    // test_resize_upsample_scales_linear
    resize_scales(
        LINEAR,
        from_one(&[1, 1, 2, 2]),
        &[1.0, 1.0, 2.0, 2.0],
        &[1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3.0, 3.25, 3.75, 4.0],
    );
    // test_resize_upsample_scales_linear_align_corners
    let third = 1.0 / 3.0;
    let rows = [1.0, 1.0 + 2.0 * third, 1.0 + 4.0 * third, 3.0];
    let expected: Vec<f32> =
        rows.iter().flat_map(|row| (0..4).map(move |x| row + x as f32 * third)).collect();
    resize_scales(
        ResizeAttributes { coordinates: CoordinateMode::AlignCorners, ..LINEAR },
        from_one(&[1, 1, 2, 2]),
        &[1.0, 1.0, 2.0, 2.0],
        &expected,
    );
    // test_resize_downsample_scales_linear
    resize_scales(LINEAR, from_one(&[1, 1, 2, 4]), &[1.0, 1.0, 0.6, 0.6], &[2.666_666_5, 4.333_333]);
    // test_resize_downsample_sizes_linear_pytorch_half_pixel
    resize_sizes(
        ResizeAttributes { coordinates: CoordinateMode::PytorchHalfPixel, ..LINEAR },
        from_one(&[1, 1, 4, 4]),
        &[1, 1, 3, 1],
        &[1.666_666_6, 7.0, 12.333_333],
    );
    // test_resize_downsample_scales_linear_half_pixel_symmetric
    resize_scales(
        ResizeAttributes { coordinates: CoordinateMode::HalfPixelSymmetric, ..LINEAR },
        from_one(&[1, 1, 1, 4]),
        &[1.0, 1.0, 1.0, 0.6],
        &[1.666_666_7, 3.333_333_3],
    );
}

#[test]
fn nearest_resizing_rounds_as_asked() {
    let nearest = ResizeAttributes { mode: ResizeMode::Nearest, ..LINEAR };
    // test_resize_downsample_sizes_nearest
    resize_sizes(nearest, from_one(&[1, 1, 2, 4]), &[1, 1, 1, 3], &[1.0, 2.0, 4.0]);
    // test_resize_upsample_sizes_nearest_ceil_half_pixel, second row
    let ceil = ResizeAttributes { nearest: NearestMode::Ceil, ..nearest };
    resize_sizes(ceil, from_one(&[1, 1, 1, 4]), &[1, 1, 1, 8], &[1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0]);
    // Whole scales of asymmetric coordinates repeat samples, of any type.
    let repeat =
        ResizeAttributes { coordinates: CoordinateMode::Asymmetric, nearest: NearestMode::Floor, ..nearest };
    let found = Single::new(Op::Resize(repeat))
        .input(codes(DType::I8, &[1, 1, 1, 2], &[-3, 5]))
        .absent()
        .input(floats(&[4], &[1.0, 1.0, 1.0, 3.0]))
        .run();
    assert_eq!(found.to_i64_vec(), [-3, -3, -3, 5, 5, 5]);
}

#[test]
fn cubic_resizing_weighs_four_samples() {
    let cubic = ResizeAttributes { mode: ResizeMode::Cubic, ..LINEAR };
    // test_resize_upsample_scales_cubic, first row
    let found = Single::new(Op::Resize(cubic))
        .input(from_one(&[1, 1, 4, 4]))
        .absent()
        .input(floats(&[4], &[1.0, 1.0, 2.0, 2.0]))
        .run();
    let first =
        [0.472_656_25, 0.769_531_25, 1.246_093_8, 1.875, 2.281_25, 2.910_156_2, 3.386_718_8, 3.683_593_8];
    assert_close(&found.to_f32_vec()[..8], &first, 1e-6);
    // test_resize_downsample_scales_cubic_A_n0p5_exclude_outside
    resize_scales(
        ResizeAttributes { cubic: -0.5, exclude_outside: true, ..cubic },
        from_one(&[1, 1, 4, 4]),
        &[1.0, 1.0, 0.8, 0.8],
        &[
            1.368_126_7,
            2.669_501_3,
            4.013_336_7,
            6.573_625,
            7.875,
            9.218_835,
            11.948_966,
            13.250_341,
            14.594_176,
        ],
    );
}

#[test]
fn windows_that_start_in_the_padding_do_not_count() {
    // test_averagepool_2d_ceil_last_window_starts_on_pad: the extent is 1, not 2; divisor 9 with the padding.
    let x = floats(
        &[1, 3, 2, 2],
        &[0.8580, 0.0786, 0.2692, 0.1537, 0.8816, 0.4353, 0.5772, 0.6623, 0.9067, 0.9483, 0.5970, 0.7630],
    );
    let pool = PoolAttributes {
        kernel: vec![3, 3],
        strides: vec![3, 3],
        dilations: vec![1, 1],
        pads: vec![1; 4],
        ceil: true,
        count_include_pad: true,
    };
    let found = Single::new(Op::AveragePool(pool)).input(x).run();
    assert_eq!(found.extents(), [1, 3, 1, 1]);
    assert_close(&found.to_f32_vec(), &[0.1511, 0.2841, 0.3572], 1e-3);
}

#[test]
fn casts_truncate_wrap_and_round() {
    let cast = |x: Tensor, to| Single::new(Op::Cast { to }).input(x).run();
    let x = floats(&[5], &[-1.9, 2.7, f32::NAN, 1e30, -0.0]);
    assert_eq!(cast(x.clone(), DType::I32).to_i64_vec(), [-1, 2, 0, i64::from(i32::MAX), 0]);
    assert_eq!(cast(x, DType::Bool).to_i64_vec(), [1, 1, 1, 1, 0]);
    // test_cast_FLOAT_to_INT4, test_cast_FLOAT_to_UINT4
    assert_eq!(cast(floats(&[2], &[-9.0, 8.5]), DType::I4).to_i64_vec(), [7, -8]);
    assert_eq!(cast(floats(&[1], &[-9.0]), DType::U4).to_i64_vec(), [7]);
    assert_eq!(cast(list(&[300, -1]), DType::U8).to_i64_vec(), [44, 255]);
    // 2^53 + 1 lies between two f64; straight to f32 it rounds to 2^53.
    assert_eq!(cast(list(&[(1 << 53) + 1]), DType::F32).to_f32_vec(), [9_007_199_254_740_992.0]);
    assert_eq!(cast(floats(&[1], &[65520.0]), DType::F16).to_f32_vec(), [f32::INFINITY]);
    let bools = Tensor::from_bools(&[2], &[true, false]).unwrap();
    assert_eq!(cast(bools, DType::F32).to_f32_vec(), [1.0, 0.0]);
}

#[test]
fn integer_arithmetic_truncates_wraps_and_refuses_zero() {
    let run = |op, a: &[i64], b: &[i64]| Single::new(binary(op)).input(list(a)).input(list(b));
    assert_eq!(run(BinaryOp::Div, &[-7, 7], &[2, -2]).run().to_i64_vec(), [-3, -3]);
    assert_eq!(run(BinaryOp::Mod, &[-7, 7, 6], &[3, -3, 3]).run().to_i64_vec(), [2, -2, 0]);
    assert_eq!(run(BinaryOp::Add, &[i64::MAX], &[1]).run().to_i64_vec(), [i64::MIN]);
    assert_eq!(run(BinaryOp::Pow, &[3, 2, -1], &[4, -1, -3]).run().to_i64_vec(), [81, 0, -1]);
    assert_eq!(run(BinaryOp::Div, &[i64::MIN], &[-1]).run().to_i64_vec(), [i64::MIN]);
    refused(&run(BinaryOp::Div, &[1], &[0]), CoreErrorKind::Tensor);
    refused(&run(BinaryOp::Mod, &[1], &[0]), CoreErrorKind::Tensor);
    let mixed = Single::new(binary(BinaryOp::Add)).input(list(&[1])).input(floats(&[1], &[1.0]));
    refused(&mixed, CoreErrorKind::Shape);
    // A float exponent of an integer base keeps the base's type.
    let pow = Single::new(binary(BinaryOp::Pow)).input(list(&[4])).input(floats(&[1], &[0.5])).run();
    assert_eq!((pow.dtype(), pow.to_i64_vec()), (DType::I64, vec![2]));
}

#[test]
fn float_remainder_has_the_dividends_sign() {
    let found = Single::new(binary(BinaryOp::Fmod))
        .input(floats(&[2], &[-4.3, 7.2]))
        .input(floats(&[2], &[2.1, -3.4]))
        .run();
    assert_close(&found.to_f32_vec(), &[-0.1, 0.4], 1e-5);
}

#[test]
fn half_floats_round_once() {
    // 1 + 2^-11 is a tie between two f16 and goes to the even one; 1 + 3 * 2^-11 too.
    let half = |values: &[f64]| Tensor::from_f64(DType::F16, &[values.len()], values).unwrap();
    let step = f64::from(2f32.powi(-11));
    let sum = Single::new(binary(BinaryOp::Add))
        .input(half(&[1.0, 1.0 + 2.0 * step]))
        .input(half(&[step, step]))
        .run();
    assert_eq!(sum.to_f64_vec(), [1.0, 1.0 + 4.0 * step]);
    assert_eq!(sum.dtype(), DType::F16);
}

#[test]
fn reductions_over_nothing_and_of_nothing() {
    let reduce = |op, axes: &[usize], x: Tensor| {
        Single::new(Op::Reduce { op, axes: axes.to_vec(), keep_dims: false }).input(x).run()
    };
    // No axes: nothing is joined, but the function of one element still applies.
    assert_eq!(reduce(ReduceOp::SumSquare, &[], floats(&[2], &[3.0, -2.0])).to_f32_vec(), [9.0, 4.0]);
    assert_eq!(reduce(ReduceOp::L1, &[], floats(&[1], &[-2.0])).to_f32_vec(), [2.0]);
    // test_reduce_sum_empty_set, test_reduce_prod_empty_set, test_reduce_max_empty_set
    let empty = || floats(&[2, 0], &[]);
    assert_eq!(reduce(ReduceOp::Sum, &[1], empty()).to_f32_vec(), [0.0, 0.0]);
    assert_eq!(reduce(ReduceOp::Prod, &[1], empty()).to_f32_vec(), [1.0, 1.0]);
    assert_eq!(reduce(ReduceOp::Max, &[1], empty()).to_f32_vec(), [f32::NEG_INFINITY; 2]);
    // Large exponents do not overflow.
    let large = reduce(ReduceOp::LogSumExp, &[0], floats(&[2], &[1000.0, 1000.0])).to_f32_vec();
    assert_close(&large, &[1000.0 + 2f32.ln()], 1e-6);
    let x = count_up(&[2, 3, 2]);
    assert_eq!(reduce(ReduceOp::Mean, &[0, 2], x.clone()).to_f32_vec(), [3.5, 5.5, 7.5]);
    assert_eq!(reduce(ReduceOp::Min, &[1], x).to_f32_vec(), [0.0, 1.0, 6.0, 7.0]);
}

#[test]
fn ties_go_to_the_first_or_the_last() {
    let x = || floats(&[2, 3], &[2.0, 2.0, 1.0, 3.0, 10.0, 10.0]);
    let arg = |last, min| Single::new(Op::ArgMax { axis: 1, keep_dims: false, last, min }).input(x()).run();
    assert_eq!(arg(false, false).to_i64_vec(), [0, 1]);
    assert_eq!(arg(true, false).to_i64_vec(), [1, 2]);
    assert_eq!(arg(true, true).to_i64_vec(), [2, 0]);
}

#[test]
fn softmax_survives_large_numbers() {
    // test_softmax_large_number, one row: exp of the difference to the largest.
    let x = floats(&[1, 4], &[10000.0, 10001.0, 10002.0, 10003.0]);
    let found = Single::new(Op::Softmax { axis: 1, log: false }).input(x.clone()).run();
    assert_close(&found.to_f32_vec(), &[0.032_058_604, 0.087_144_32, 0.236_882_82, 0.643_914_2], 1e-6);
    let log = Single::new(Op::Softmax { axis: 1, log: true }).input(x).run();
    assert_close(&log.to_f32_vec(), &[-3.440_189_6, -2.440_189_6, -1.440_189_6, -0.440_189_7], 1e-6);
}

#[test]
fn normalisations_agree_with_each_other() {
    // A batch of one image: instance normalisation is batch normalisation with the image's own statistics, and layer
    // normalisation of each channel.
    let x = floats(&[1, 2, 2], &[1.0, 3.0, -1.0, 5.0]);
    let (scale, bias) = (floats(&[2], &[1.5, 0.5]), floats(&[2], &[0.25, -1.0]));
    let instance = Single::new(Op::InstanceNorm { epsilon: 0.5 })
        .input(x.clone())
        .input(scale.clone())
        .input(bias.clone());
    let batch = Single::new(Op::BatchNorm { epsilon: 0.5 })
        .input(x.clone())
        .input(scale)
        .input(bias)
        .input(floats(&[2], &[2.0, 2.0]))
        .input(floats(&[2], &[1.0, 9.0]));
    assert_eq!(instance.run(), batch.run());
    // (1 - 2) / sqrt(1 + 0.5) * 1.5 + 0.25
    assert_close(&instance.run().to_f32_vec()[..1], &[-0.974_744_9], 1e-6);
    let layer =
        Single::new(Op::LayerNorm { axis: 2, epsilon: 0.5 }).input(x).input(floats(&[1], &[1.0])).run();
    assert_close(&layer.to_f32_vec()[..1], &[-0.816_496_6], 1e-6);
}

#[test]
fn comparisons_and_choices_broadcast() {
    let less = Single::new(Op::Compare(CompareOp::Less))
        .input(floats(&[2, 1], &[1.0, f32::NAN]))
        .input(floats(&[2], &[0.5, 2.0]))
        .run();
    assert_eq!((less.extents(), less.to_i64_vec()), (&[2, 2][..], vec![0, 1, 0, 0]));
    let chosen = Single::new(Op::Where).input(less).input(list(&[7])).input(list(&[1, 2])).run();
    assert_eq!(chosen.to_i64_vec(), [1, 7, 1, 2]);
    let not_truth = Single::new(Op::Where).input(list(&[1])).input(list(&[1])).input(list(&[1]));
    refused(&not_truth, CoreErrorKind::Shape);
}

#[test]
fn four_bit_elements_move_like_others() {
    let x = codes(DType::I4, &[3, 2], &[-8, -3, 0, 1, 5, 7]);
    let flipped = Single::new(Op::Transpose { perm: vec![1, 0] }).input(x).run();
    assert_eq!(flipped.to_i64_vec(), [-8, 0, 5, -3, 1, 7]);
}

#[test]
fn shapes_and_ranges_are_made() {
    let x = count_up(&[2, 3, 4]);
    let shape = |start, end| Single::new(Op::Shape { start, end }).input(x.clone()).run().to_i64_vec();
    assert_eq!(shape(0, None), [2, 3, 4]);
    assert_eq!(shape(1, Some(9)), [3, 4]);
    assert!(shape(2, Some(1)).is_empty());
    assert_eq!(Single::new(Op::Size).input(x).run(), Tensor::scalar(24i64));
    let range = |start: i64, limit: i64, step: i64| {
        Single::new(Op::Range)
            .input(Tensor::scalar(start))
            .input(Tensor::scalar(limit))
            .input(Tensor::scalar(step))
    };
    assert_eq!(range(10, 4, -2).run().to_i64_vec(), [10, 8, 6]);
    assert!(range(0, -5, 1).run().to_i64_vec().is_empty());
    refused(&range(0, 5, 0), CoreErrorKind::Shape);
    refused(&range(0, i64::MAX, 1), CoreErrorKind::Shape);
    let value = floats(&[1], &[2.5]);
    let full = Single::new(Op::ConstantOfShape { value }).input(list(&[2, 2])).run();
    assert_eq!(full, floats(&[2, 2], &[2.5; 4]));
    let negative = Single::new(Op::ConstantOfShape { value: floats(&[1], &[0.0]) }).input(list(&[-1]));
    refused(&negative, CoreErrorKind::Shape);
}

#[test]
fn repeats_and_broadcasts_grow() {
    let x = floats(&[1, 2], &[1.0, 2.0]);
    let tiled = Single::new(Op::Tile).input(x.clone()).input(list(&[2, 2])).run();
    assert_eq!(tiled, floats(&[2, 4], &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]));
    // A 1 in the shape keeps the tensor's extent; the shape may have more axes.
    let expanded = Single::new(Op::Expand).input(x.clone()).input(list(&[2, 3, 1])).run();
    assert_eq!(expanded.extents(), [2, 3, 2]);
    refused(&Single::new(Op::Expand).input(x.clone()).input(list(&[3])), CoreErrorKind::Shape);
    refused(&Single::new(Op::Tile).input(x).input(list(&[1, -1])), CoreErrorKind::Shape);
}

#[test]
fn types_an_operator_does_not_take_are_refused() {
    refused(&Single::new(Op::Unary(UnaryOp::Exp)).input(list(&[1])), CoreErrorKind::Shape);
    refused(&Single::new(Op::Unary(UnaryOp::Not)).input(list(&[1])), CoreErrorKind::Shape);
    let opaque = Op::Opaque {
        domain: "com.example".to_owned(),
        op_type: "Mystery".to_owned(),
        attributes: indexmap::IndexMap::new(),
        lack: Box::default(),
    };
    let error = Single::new(opaque).input(list(&[1])).try_all().unwrap_err();
    assert_eq!(error.kind(), CoreErrorKind::Unsupported);
    assert!(error.to_string().contains("com.example.Mystery"), "{error}");
}
