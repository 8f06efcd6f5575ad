//! The interpreter's integer rules: worked out by hand, and against a second writing of the formulas.

use fewbit_core::CoreErrorKind;
use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, CoordinateMode, DType, NearestMode, Op, PadMode, PoolAttributes,
    ReduceOp, ResizeAttributes, ResizeMode, Tensor, UnaryOp,
};
use fewbit_core::plan::Precision;
use fewbit_core::quant::{Granularity, QuantParams};
use fewbit_testing::{Random, assert_close};
use proptest::prelude::*;

use crate::support::{Single, codes, floats};

fn conv(kernel: &[usize], activation: Activation) -> Op {
    Op::Conv { conv: ConvAttributes::unit(kernel), activation }
}

fn gemm(trans_b: bool) -> Op {
    Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b, activation: Activation::None }
}

#[test]
fn a_convolution_worked_out_by_hand() {
    // x - zp = [2, -1, 5, 3] (2×2), one channel; two filters of 1×1 with scales 0.5 and 0.25.
    // Filter 0: 3 * x + 4 = [10, 1, 19, 13]; m = 0.1 * 0.5 / 0.2 = 0.25: [2.5, 0.25, 4.75, 3.25] -> [2, 0, 5, 3].
    // Filter 1: -2 * x - 1 = [-5, 1, -11, -7]; m = 0.125: [-0.625, 0.125, -1.375, -0.875] -> [-1, 0, -1, -1].
    // Zero point 7 of the output is added to both. f32 of 0.1 * 0.5 / 0.2 is 0.25 exactly.
    let x = codes(DType::U8, &[1, 1, 2, 2], &[12, 9, 15, 13]);
    let w = codes(DType::I8, &[2, 1, 1, 1], &[3, -2]);
    let bias = codes(DType::I32, &[2], &[4, -1]);
    let run = |activation| {
        Single::new(conv(&[1, 1], activation))
            .quantized(x.clone(), QuantParams::per_tensor(0.1, 10))
            .quantized(w.clone(), QuantParams::symmetric_per_channel(0, vec![0.5, 0.25]))
            .quantized(bias.clone(), QuantParams::symmetric_per_channel(0, vec![0.05, 0.025]))
            .output(DType::U8, Some(QuantParams::per_tensor(0.2, 7)))
            .run()
    };
    assert_eq!(run(Activation::None), codes(DType::U8, &[1, 2, 2, 2], &[9, 7, 12, 10, 6, 7, 6, 6]));
    // Relu clamps at the code of zero, Clip to 0.5 at rhe(0.5 / 0.2) = 2 above it.
    assert_eq!(run(Activation::Relu).to_i64_vec(), [9, 7, 12, 10, 7, 7, 7, 7]);
    let clipped = run(Activation::Clip { min: 0.0, max: 0.5 });
    assert_eq!(clipped.to_i64_vec(), [9, 7, 9, 9, 7, 7, 7, 7]);
}

#[test]
fn a_convolution_to_floats_dequantizes_the_accumulator() {
    let x = codes(DType::U8, &[1, 1, 1, 2], &[12, 9]);
    let w = codes(DType::I8, &[1, 1, 1, 1], &[3]);
    let single = |bias: Tensor| {
        Single::new(conv(&[1, 1], Activation::Relu))
            .quantized(x.clone(), QuantParams::per_tensor(0.1, 10))
            .quantized(w.clone(), QuantParams::per_tensor(0.5, 1))
            .input(bias)
            .run()
    };
    // (x - 10) * (w - 1) = [4, -2]; an integer bias joins the accumulator, a float one the result.
    assert_eq!(
        single(codes(DType::I32, &[1], &[3])).to_f32_vec(),
        [7.0 * (0.1f32 * 0.5), 1.0 * (0.1f32 * 0.5)]
    );
    assert_eq!(
        single(floats(&[1], &[0.25])).to_f32_vec(),
        [4.0 * (0.1f32 * 0.5) + 0.25, -2.0 * (0.1f32 * 0.5) + 0.25]
    );
    assert_eq!(single(floats(&[1], &[-5.0])).to_f32_vec(), [0.0, 0.0]);
}

/// A product of one element in the formula's own words.
fn finish(sum: i64, scale_x: f32, scale_w: f32, scale_y: f32, zero_y: i64, (low, high): (i64, i64)) -> i64 {
    let multiplier = (scale_x * scale_w) / scale_y;
    let rounded = (sum as f32 * multiplier).round_ties_even();
    (rounded as i64).saturating_add(zero_y).clamp(low, high)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn integer_matrix_products_equal_the_formula(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (m, k, n) = (1 + random.below(3), 1 + random.below(40), 1 + random.below(4));
        let kinds = [(DType::U8, DType::I8), (DType::I8, DType::I8), (DType::U8, DType::U8), (DType::I16, DType::I8)];
        let &(x_type, w_type) = random.choose(&kinds);
        let range = |dtype: DType| dtype.integer_range().unwrap();
        let zero = |random: &mut Random, dtype| {
            let (low, high) = range(dtype);
            random.integer(low, high)
        };
        let zero_x = if x_type == DType::I16 { 0 } else { zero(&mut random, x_type) };
        let zeros_w: Vec<i64> = (0..n).map(|_| if w_type == DType::U8 { zero(&mut random, w_type) } else { 0 }).collect();
        let scale_x = random.float(1e-3, 0.1);
        let scales_w: Vec<f32> = (0..n).map(|_| random.float(1e-3, 0.1)).collect();
        let (scale_y, zero_y) = (random.float(1e-2, 1.0), zero(&mut random, DType::U8));
        let x = { let (low, high) = range(x_type); random.codes(x_type, &[m, k], low, high) };
        let w = { let (low, high) = range(w_type); random.codes(w_type, &[k, n], low, high) };
        let bias = random.codes(DType::I32, &[n], -1000, 1000);
        let quant_w = QuantParams {
            granularity: Granularity::PerChannel { axis: 1 },
            scales: scales_w.clone(),
            zero_points: zeros_w.iter().map(|&zero| zero as i32).collect(),
        };
        let found = Single::new(gemm(false))
            .quantized(x.clone(), QuantParams::per_tensor(scale_x, zero_x as i32))
            .quantized(w.clone(), quant_w)
            .input(bias.clone())
            .output(DType::U8, Some(QuantParams::per_tensor(scale_y, zero_y as i32)))
            .run();
        let (xs, ws, bs) = (x.to_i64_vec(), w.to_i64_vec(), bias.to_i64_vec());
        let expected: Vec<i64> = (0..m * n).map(|at| {
            let (i, j) = (at / n, at % n);
            let sum: i64 = bs[j] + (0..k).map(|l| (xs[i * k + l] - zero_x) * (ws[l * n + j] - zeros_w[j])).sum::<i64>();
            finish(sum, scale_x, scales_w[j], scale_y, zero_y, (0, 255))
        }).collect();
        prop_assert_eq!(found.to_i64_vec(), expected);
    }

    #[test]
    fn quantized_convolution_is_close_to_the_float_one(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (groups, outs) = (2, 4);
        let x = random.codes(DType::U8, &[1, 4, 6, 6], 0, 255);
        let w = random.codes(DType::I8, &[outs, 2, 3, 3], -127, 127);
        let (scale_x, zero_x) = (0.02, 128);
        let scales: Vec<f32> = (0..outs).map(|_| random.float(0.001, 0.01)).collect();
        let quant_x = QuantParams::per_tensor(scale_x, zero_x);
        let quant_w = QuantParams::symmetric_per_channel(0, scales);
        let mut attributes = ConvAttributes::unit(&[3, 3]);
        attributes.pads = vec![1; 4];
        attributes.groups = groups;
        let op = Op::Conv { conv: attributes, activation: Activation::Relu };
        let real = |tensor: &Tensor, quant: &QuantParams| {
            Single::new(Op::Dequantize).quantized(tensor.clone(), quant.clone()).run()
        };
        let float = Single::new(op.clone()).input(real(&x, &quant_x)).input(real(&w, &quant_w)).run();
        let exact = Single::new(op.clone()).quantized(x.clone(), quant_x.clone()).quantized(w.clone(), quant_w.clone()).run();
        assert_close(&exact.to_f32_vec(), &float.to_f32_vec(), 1e-5);
        let quant_y = QuantParams::per_tensor(0.05, 3);
        let coded = Single::new(op).quantized(x, quant_x).quantized(w, quant_w)
            .output(DType::U8, Some(quant_y.clone())).run();
        for (code, real) in real(&coded, &quant_y).to_f32_vec().into_iter().zip(float.to_f32_vec()) {
            let reachable = real.min(252.0 * 0.05);
            prop_assert!((code - reachable).abs() <= 0.0251, "{} for {}", code, real);
        }
    }

    #[test]
    fn transposed_convolution_in_integers_equals_floats(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let x = random.codes(DType::I8, &[1, 2, 3, 3], -128, 127);
        let w = random.codes(DType::I8, &[2, 3, 2, 2], -127, 127);
        let mut attributes = ConvAttributes::unit(&[2, 2]);
        attributes.strides = vec![2, 2];
        let op = Op::ConvTranspose { conv: attributes, output_padding: vec![0, 0], activation: Activation::None };
        // Powers of two make the float result exact.
        let quant_x = QuantParams::per_tensor(0.5, 3);
        let quant_w = QuantParams::symmetric_per_channel(1, vec![0.25, 0.5, 2.0]);
        let real = |tensor: &Tensor, quant: &QuantParams| {
            Single::new(Op::Dequantize).quantized(tensor.clone(), quant.clone()).run()
        };
        let float = Single::new(op.clone()).input(real(&x, &quant_x)).input(real(&w, &quant_w)).run();
        let exact = Single::new(op).quantized(x, quant_x).quantized(w, quant_w).run();
        prop_assert_eq!(exact, float);
    }
}

#[test]
fn accumulators_of_bytes_wrap_at_32_bits() {
    // 255 * 127 * 70000 exceeds 2^31: the sum wraps as a 32-bit register does; 16-bit activations take 64 bits.
    let k = 70_000;
    let w = codes(DType::I8, &[k, 1], &vec![127; k]);
    let sum = |dtype| {
        Single::new(Op::MatMul)
            .quantized(codes(dtype, &[1, k], &vec![255; k]), QuantParams::per_tensor(1.0, 0))
            .quantized(w.clone(), QuantParams::per_tensor(1.0, 0))
            .run()
            .to_f32_vec()[0]
    };
    let exact = 255i64 * 127 * k as i64;
    assert_eq!(sum(DType::U8), exact as i32 as f32);
    assert_eq!(sum(DType::I16), exact as f32);
}

#[test]
fn dynamic_quantization_rounds_each_step() {
    let x = floats(&[1, 3], &[0.0, 2.0, -3.0]);
    let w = codes(DType::I8, &[2, 3], &[1, 2, 3, -4, 5, -6]);
    let scales = [0.5f32, 0.25];
    let bias = [0.1f32, -0.2];
    let found = Single::new(gemm(true))
        .input(x)
        .quantized(w, QuantParams::symmetric_per_channel(0, scales.to_vec()))
        .input(floats(&[2], &bias))
        .precision(Precision::W8A8Dynamic)
        .run();
    // Scale 5/255, zero point 153: codes 153, 255, 0, less the zero point 0, 102, -153.
    let scale = 5.0f32 / 255.0;
    let sums = [102 * 2 - 153 * 3, 102 * 5 + 153 * 6];
    let expected: Vec<f32> = (0..2).map(|c| sums[c] as f32 * (scale * scales[c]) + bias[c]).collect();
    assert_eq!(found.to_f32_vec(), expected);
    let unquantized = Single::new(gemm(false))
        .input(floats(&[1, 1], &[1.0]))
        .input(floats(&[1, 1], &[1.0]))
        .precision(Precision::W8A8Dynamic);
    assert_eq!(unquantized.try_all().unwrap_err().kind(), CoreErrorKind::Quantization);
}

#[test]
fn weight_only_precision_computes_in_floats() {
    // Blocks of two along the inner axis: [1, 2 | 3, 4] with scales 0.5 and 2.
    let w = codes(DType::I4, &[4, 1], &[1, 2, 3, 4]);
    let quant = QuantParams {
        granularity: Granularity::PerBlock { axis: 0, size: 2 },
        scales: vec![0.5, 2.0],
        zero_points: vec![0, 1],
    };
    let found = Single::new(Op::MatMul)
        .input(floats(&[1, 4], &[1.0, 1.0, 1.0, 0.125]))
        .quantized(w, quant)
        .precision(Precision::W4A16F)
        .run();
    assert_eq!(found.to_f32_vec(), [0.5 + 1.0 + 4.0 + 0.75]);
}

#[test]
fn half_precision_rounds_the_operands_of_products_but_not_the_bias() {
    let fine = 1.0 + 2f32.powi(-12);
    let run = |precision| {
        Single::new(gemm(false))
            .input(floats(&[1, 1], &[fine]))
            .input(floats(&[1, 1], &[fine]))
            .input(floats(&[1], &[fine]))
            .precision(precision)
            .run()
            .to_f32_vec()[0]
    };
    assert_eq!(run(Precision::F16), 1.0 + fine);
    assert_eq!(run(Precision::Bf16), 1.0 + fine);
    assert_eq!(run(Precision::F32), (f64::from(fine) * f64::from(fine) + f64::from(fine)) as f32);
}

#[test]
fn sums_products_and_joins_of_codes() {
    let a = || codes(DType::U8, &[3], &[0, 10, 255]);
    let b = || codes(DType::U8, &[3], &[4, 8, 255]);
    let (quant_a, quant_b) = (QuantParams::per_tensor(0.5, 10), QuantParams::per_tensor(0.25, 4));
    let run = |op, scale, zero| {
        Single::new(Op::Binary { op, activation: Activation::None })
            .quantized(a(), quant_a.clone())
            .quantized(b(), quant_b.clone())
            .output(DType::I8, Some(QuantParams::per_tensor(scale, zero)))
            .run()
            .to_i64_vec()
    };
    // Real: a = [-5, 0, 122.5], b = [0, 1, 62.75].
    assert_eq!(run(BinaryOp::Add, 2.0, -1), [-3, -1, 92]);
    assert_eq!(run(BinaryOp::Sub, 0.5, 0), [-10, -2, 120]);
    // [0, 0, 7686.875] at scale 100: 76.87.
    assert_eq!(run(BinaryOp::Mul, 100.0, 0), [0, 0, 77]);
    // Without a rule for integers: the way through floats. -5 / 0 saturates.
    assert_eq!(run(BinaryOp::Div, 1.0, 0), [-128, 0, 2]);
    let joined = Single::new(Op::Concat { axis: 0 })
        .quantized(a(), quant_a.clone())
        .quantized(b(), quant_b)
        .output(DType::U8, Some(quant_a))
        .run();
    // The first keeps its codes, the second goes to (q - 4) * 0.5 + 10, half to even.
    assert_eq!(joined.to_i64_vec(), [0, 10, 255, 10, 12, 136]);
}

#[test]
fn means_divide_in_the_multiplier() {
    let x = codes(DType::U8, &[1, 1, 2, 2], &[10, 11, 13, 15]);
    let quant = QuantParams::per_tensor(0.5, 8);
    let to = QuantParams::per_tensor(0.25, 2);
    let run = |op| {
        Single::new(op)
            .quantized(x.clone(), quant.clone())
            .output(DType::U8, Some(to.clone()))
            .run()
            .to_i64_vec()
    };
    // Sum less zero points 17; f32(0.5 / 4) / 0.25 = 0.5: 8.5 -> 8, and the zero point.
    assert_eq!(run(Op::GlobalAveragePool), [10]);
    assert_eq!(run(Op::Reduce { op: ReduceOp::Mean, axes: vec![2, 3], keep_dims: true }), [10]);
    let pool = |count_include_pad| PoolAttributes {
        kernel: vec![2, 2],
        strides: vec![2, 2],
        dilations: vec![1, 1],
        pads: vec![1, 1, 1, 1],
        ceil: false,
        count_include_pad,
    };
    // Corner windows of one element each: x - 8 = [2, 3, 5, 7] times 2, or divided by four with the padding.
    assert_eq!(run(Op::AveragePool(pool(false))), [6, 8, 12, 16]);
    assert_eq!(run(Op::AveragePool(pool(true))), [3, 4, 4, 6]);
}

#[test]
fn what_moves_elements_moves_codes_and_keeps_parameters() {
    let x = codes(DType::I8, &[1, 1, 2, 2], &[-128, 3, 7, -5]);
    let quant = QuantParams::per_tensor(0.1, 5);
    let run = |to: QuantParams| {
        Single::new(Op::GlobalMaxPool)
            .quantized(x.clone(), quant.clone())
            .output(DType::I8, Some(to))
            .try_all()
    };
    assert_eq!(run(quant.clone()).unwrap()[0].to_i64_vec(), [7]);
    assert_eq!(run(QuantParams::per_tensor(0.2, 5)).unwrap_err().kind(), CoreErrorKind::Quantization);
    let padded = Single::new(Op::Pad { mode: PadMode::Constant })
        .quantized(x.clone(), quant.clone())
        .input(crate::support::list(&[0, 0, 0, 1, 0, 0, 0, 0]))
        .output(DType::I8, Some(quant.clone()))
        .run();
    // Zero is the code 5.
    assert_eq!(padded.to_i64_vec(), [5, -128, 3, 5, 7, -5]);
}

#[test]
fn functions_of_codes_are_tables() {
    let (quant, to) = (QuantParams::per_tensor(0.05, 100), QuantParams::per_tensor(1.0 / 256.0, 0));
    let all: Vec<i64> = (0..256).collect();
    let found = Single::new(Op::Unary(UnaryOp::Sigmoid))
        .quantized(codes(DType::U8, &[256], &all), quant)
        .output(DType::U8, Some(to))
        .run();
    let expected: Vec<i64> = all
        .iter()
        .map(|&q| {
            let x = f64::from((q - 100) as f32 * 0.05f32);
            let y = (1.0 / (1.0 + (-x).exp())) as f32;
            ((y / (1.0 / 256.0)).round_ties_even() as i64).clamp(0, 255)
        })
        .collect();
    assert_eq!(found.to_i64_vec(), expected);
}

#[test]
fn linear_resize_of_codes_weighs_in_steps() {
    let attributes = ResizeAttributes {
        mode: ResizeMode::Linear,
        coordinates: CoordinateMode::HalfPixel,
        nearest: NearestMode::Floor,
        cubic: -0.75,
        exclude_outside: false,
    };
    let quant = QuantParams::per_tensor(0.1, 7);
    let found = Single::new(Op::Resize(attributes))
        .quantized(codes(DType::U8, &[1, 1, 2, 2], &[10, 20, 30, 41]), quant.clone())
        .absent()
        .input(floats(&[4], &[1.0, 1.0, 2.0, 2.0]))
        .output(DType::U8, Some(quant))
        .run();
    // Rows at 0, 1/4, 3/4, 1: [10, 20], [15, 25.25], [25, 35.75], [30, 41]; columns likewise, half to even.
    let rows = [[10.0, 20.0], [15.0, 25.25], [25.0, 35.75], [30.0, 41.0f64]];
    let expected: Vec<i64> = rows
        .iter()
        .flat_map(|[left, right]| {
            [0.0, 0.25, 0.75, 1.0].map(|w| (left * (1.0 - w) + right * w).round_ties_even() as i64)
        })
        .collect();
    assert_eq!(found.to_i64_vec(), expected);
}

#[test]
fn explicit_quantization_operators_follow_onnx() {
    // test_quantizelinear_axis
    let x = floats(
        &[1, 3, 3, 2],
        &[
            -162.0, 10.0, -100.0, 232.0, -20.0, -50.0, -76.0, 0.0, 0.0, 252.0, 32.0, -44.0, 245.0, -485.0,
            -960.0, -270.0, -375.0, -470.0,
        ],
    );
    let y = Single::new(Op::QuantizeLinear { axis: 1, block: 0, to: DType::U8 })
        .input(x)
        .input(floats(&[3], &[2.0, 4.0, 5.0]))
        .input(codes(DType::U8, &[3], &[84, 24, 196]))
        .run();
    assert_eq!(y.to_i64_vec(), [3, 89, 34, 200, 74, 59, 5, 24, 24, 87, 32, 13, 245, 99, 4, 142, 121, 102]);
    // test_quantizelinear_blocked_asymmetric
    let y = Single::new(Op::QuantizeLinear { axis: 1, block: 2, to: DType::U8 })
        .input(floats(&[3, 4], &[6.0, 12.0, 50.0, 5.0, 1.0, 8.0, 4.0, 5.0, 0.0, 20.0, 10.0, 4.0]))
        .input(floats(&[3, 2], &[1.5, 2.5, 3.0, 4.9, 5.1, 6.9]))
        .input(codes(DType::U8, &[3, 2], &[0, 1, 1, 0, 2, 3]))
        .run();
    assert_eq!(y.to_i64_vec(), [4, 8, 21, 3, 1, 4, 1, 1, 2, 6, 4, 4]);
    // test_dequantizelinear_blocked
    let x = [3, 89, 34, 200, 74, 59, 5, 24, 24, 87, 32, 13, 5, 12, 12, 33, 65, 42, 245, 99, 4, 142, 121, 102];
    let y = Single::new(Op::DequantizeLinear { axis: 1, block: 2 })
        .input(codes(DType::U8, &[1, 4, 3, 2], &x))
        .input(floats(&[1, 2, 3, 2], &[3.0, 2.0, 4.0, 1.0, 2.0, 2.0, 5.0, 2.0, 4.0, 3.0, 5.0, 2.0]))
        .input(codes(DType::U8, &[1, 2, 3, 2], &[1, 0, 0, 1, 2, 20, 3, 2, 4, 3, 15, 2]))
        .run();
    assert_eq!(
        y.to_f32_vec(),
        [
            6.0, 178.0, 136.0, 199.0, 144.0, 78.0, 12.0, 48.0, 96.0, 86.0, 60.0, -14.0, 10.0, 20.0, 32.0,
            90.0, 250.0, 80.0, 1210.0, 194.0, 0.0, 417.0, 530.0, 200.0
        ]
    );
    // test_dynamicquantizelinear
    let all = Single::new(Op::DynamicQuantizeLinear)
        .input(floats(&[6], &[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]))
        .outputs(3)
        .try_all()
        .unwrap();
    assert_eq!(all[0].to_i64_vec(), [153, 255, 0, 26, 221, 179]);
    assert_eq!(all[1], Tensor::scalar(0.019_607_844f32));
    assert_eq!(all[2], Tensor::scalar(153u8));
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let quantize =
        |quant| Single::new(Op::Quantize).input(floats(&[2], &[1.0, 2.0])).output(DType::U8, quant);
    assert_eq!(quantize(None).try_all().unwrap_err().kind(), CoreErrorKind::Quantization);
    let outside = quantize(Some(QuantParams::per_tensor(1.0, 300)));
    assert_eq!(outside.try_all().unwrap_err().kind(), CoreErrorKind::Quantization);
    let channels = quantize(Some(QuantParams::symmetric_per_channel(0, vec![1.0, 0.5])));
    assert_eq!(channels.run().to_i64_vec(), [1, 4]);
    let axis = quantize(Some(QuantParams::symmetric_per_channel(3, vec![1.0])));
    assert_eq!(axis.try_all().unwrap_err().kind(), CoreErrorKind::Quantization);
}
