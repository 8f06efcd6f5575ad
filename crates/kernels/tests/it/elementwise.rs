//! Element-wise kernels against the rules written out.

use fewbit_kernels::{
    AddU8, BinaryF32, Codes, MulU8, TierToken, UnaryF32, add_u8, binary_f32, layer_norm_f32, mul_u8,
    softmax_f32, unary_f32, unary_f32_in_place,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// The last step of the integer rules.
fn code(v: f32, codes: Codes) -> u8 {
    let (min, max) = codes.bounds();
    let rounded = (v.round_ties_even() as i64).saturating_add(i64::from(codes.zero_point()));
    rounded.clamp(i64::from(min), i64::from(max)) as u8
}

fn any_codes() -> impl Strategy<Value = Codes> {
    let zero = prop_oneof![Just(0), Just(255), any::<u8>()];
    (zero, any::<u8>(), any::<u8>())
        .prop_map(|(zero, a, b)| Codes::new(zero, a.min(b), a.max(b)).expect("ordered"))
}

/// Ratios among which many give exact ties.
fn ratio() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.5f32), Just(0.25), Just(-1.5), 1e-4f32..4.0, -2.0f32..-0.01, Just(1e28), Just(1e-30)]
}

/// Lengths of the output and of the two operands.
fn lengths() -> impl Strategy<Value = (usize, usize, usize)> {
    (1usize..90, 0usize..5).prop_flat_map(|(r, form)| {
        (1usize..7).prop_map(move |times| {
            let n = r * times;
            match form {
                0 => (n, n, n),
                1 => (n, n, r),
                2 => (n, r, n),
                3 => (n, n, 1),
                _ => (n, 1, r),
            }
        })
    })
}

/// An operation and its meaning.
type Pair = (BinaryF32, fn(f32, f32) -> f32);

proptest! {
    #[test]
    fn add_follows_its_rule_in_every_tier(
        (n, p, q) in lengths(),
        bytes in vec(any::<u8>(), 2 * 540),
        (a_zero, b_zero) in (any::<u8>(), any::<u8>()),
        (a_ratio, b_ratio) in (ratio(), ratio()),
        codes in any_codes(),
    ) {
        let (a, b) = (&bytes[..p], &bytes[540..540 + q]);
        let parameters = AddU8 { a_zero, a_ratio, b_zero, b_ratio, codes };
        let expected: Vec<u8> = (0..n).map(|i| {
            let left = (i32::from(a[i % p]) - i32::from(a_zero)) as f32 * a_ratio;
            let right = (i32::from(b[i % q]) - i32::from(b_zero)) as f32 * b_ratio;
            code(left + right, codes)
        }).collect();
        for token in TierToken::available() {
            let mut out = vec![0; n];
            add_u8(token, a, b, &parameters, &mut out).expect("valid");
            prop_assert_eq!(&out, &expected, "{}", token.tier());
        }
    }

    #[test]
    fn mul_follows_its_rule_in_every_tier(
        (n, p, q) in lengths(),
        bytes in vec(any::<u8>(), 2 * 540),
        (a_zero, b_zero) in (any::<u8>(), any::<u8>()),
        multiplier in ratio(),
        codes in any_codes(),
    ) {
        let (a, b) = (&bytes[..p], &bytes[540..540 + q]);
        let parameters = MulU8 { a_zero, b_zero, multiplier, codes };
        let expected: Vec<u8> = (0..n).map(|i| {
            let product = (i32::from(a[i % p]) - i32::from(a_zero)) * (i32::from(b[i % q]) - i32::from(b_zero));
            code(product as f32 * multiplier, codes)
        }).collect();
        for token in TierToken::available() {
            let mut out = vec![0; n];
            mul_u8(token, a, b, &parameters, &mut out).expect("valid");
            prop_assert_eq!(&out, &expected, "{}", token.tier());
        }
    }

    #[test]
    fn float_pairs_equal_plain_arithmetic(
        (n, p, q) in lengths(),
        values in vec(prop_oneof![8 => -100f32..100.0, 1 => any::<f32>()], 2 * 540),
        bounded in any::<bool>(),
    ) {
        let (a, b) = (&values[..p], &values[540..540 + q]);
        let (min, max) = if bounded { (0.0, 6.0) } else { (f32::NEG_INFINITY, f32::INFINITY) };
        let ops: [Pair; 6] = [
            (BinaryF32::Add, |a, b| a + b),
            (BinaryF32::Sub, |a, b| a - b),
            (BinaryF32::Mul, |a, b| a * b),
            (BinaryF32::Div, |a, b| a / b),
            (BinaryF32::Min, |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.min(b) }),
            (BinaryF32::Max, |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }),
        ];
        for (op, f) in ops {
            for token in TierToken::available() {
                let mut out = vec![0.0; n];
                binary_f32(token, op, a, b, (min, max), &mut out).expect("valid");
                for (i, &y) in out.iter().enumerate() {
                    let exact = f(a[i % p], b[i % q]);
                    if exact.is_nan() {
                        prop_assert!(y.is_nan(), "{:?}", op);
                    } else {
                        prop_assert_eq!(y, exact.clamp(min, max), "{:?} in {}", op, token.tier());
                    }
                }
            }
        }
    }

    #[test]
    fn functions_give_the_same_bits_in_every_tier_and_place(
        x in vec(prop_oneof![8 => -20f32..20.0, 1 => any::<f32>()], 0..200),
    ) {
        for op in FUNCTIONS {
            let mut reference: Option<Vec<u32>> = None;
            for token in TierToken::available() {
                let mut out = vec![0.0; x.len()];
                unary_f32(token, op, &x, &mut out).expect("valid");
                let mut in_place = x.clone();
                unary_f32_in_place(token, op, &mut in_place);
                // A NaN's payload is not part of the promise.
                let bits = |values: &[f32]| -> Vec<u32> {
                    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
                };
                prop_assert_eq!(bits(&out), bits(&in_place), "{:?} in {}", op, token.tier());
                prop_assert_eq!(
                    &bits(&out),
                    reference.get_or_insert_with(|| bits(&out)),
                    "{:?} in {}", op, token.tier()
                );
            }
        }
    }

    #[test]
    fn softmax_is_close_and_the_same_in_every_tier(
        width in 1usize..70,
        rows in 1usize..4,
        values in vec(-30f32..30.0, 280),
        logarithm in any::<bool>(),
    ) {
        let x = &values[..width * rows];
        let mut reference: Option<Vec<f32>> = None;
        for token in TierToken::available() {
            let mut out = vec![0.0; x.len()];
            softmax_f32(token, x, width, logarithm, &mut out).expect("valid");
            for (x, y) in x.chunks(width).zip(out.chunks(width)) {
                let max = x.iter().copied().fold(f32::MIN, f32::max);
                let total: f64 = x.iter().map(|&x| f64::from(x - max).exp()).sum();
                for (&x, &y) in x.iter().zip(y) {
                    if logarithm {
                        let exact = f64::from(x - max) - total.ln();
                        prop_assert!((f64::from(y) - exact).abs() <= 1e-6 * (1.0 + exact.abs()));
                    } else {
                        let exact = f64::from(x - max).exp() / total;
                        let bound = (width as f64 / 16.0 + 10.0) * 2f64.powi(-23);
                        prop_assert!((f64::from(y) - exact).abs() <= bound * exact);
                    }
                }
            }
            prop_assert_eq!(&out, reference.get_or_insert_with(|| out.clone()), "{}", token.tier());
        }
    }

    #[test]
    fn layer_norm_is_close_and_the_same_in_every_tier(
        width in 2usize..70,
        rows in 1usize..4,
        values in vec(-3f32..3.0, 280),
        bias in any::<bool>(),
    ) {
        let x = &values[..width * rows];
        let scale: Vec<f32> = (0..width).map(|i| 0.5 + i as f32 / 64.0).collect();
        let bias = bias.then(|| vec![0.25; width]);
        let mut reference: Option<Vec<f32>> = None;
        for token in TierToken::available() {
            let mut out = vec![0.0; x.len()];
            layer_norm_f32(token, x, &scale, bias.as_deref(), 1e-3, &mut out).expect("valid");
            for (x, y) in x.chunks(width).zip(out.chunks(width)) {
                let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
                let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
                for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
                    let exact = (f64::from(x) - mean) / (variance + 1e-3).sqrt() * f64::from(scale[i])
                        + bias.as_ref().map_or(0.0, |bias| f64::from(bias[i]));
                    prop_assert!((f64::from(y) - exact).abs() <= 1e-4, "{} for {}", y, exact);
                }
            }
            prop_assert_eq!(&out, reference.get_or_insert_with(|| out.clone()), "{}", token.tier());
        }
    }
}

const FUNCTIONS: [UnaryF32; 25] = [
    UnaryF32::Relu,
    UnaryF32::LeakyRelu { alpha: 0.1 },
    UnaryF32::Elu { alpha: 1.0 },
    UnaryF32::Clip { min: 0.0, max: 6.0 },
    UnaryF32::Sigmoid,
    UnaryF32::HardSigmoid { alpha: 0.2, beta: 0.5 },
    UnaryF32::HardSwish,
    UnaryF32::Silu,
    UnaryF32::Gelu,
    UnaryF32::GeluTanh,
    UnaryF32::Mish,
    UnaryF32::Softplus,
    UnaryF32::Tanh,
    UnaryF32::Erf,
    UnaryF32::Exp,
    UnaryF32::Log,
    UnaryF32::Sqrt,
    UnaryF32::Reciprocal,
    UnaryF32::Abs,
    UnaryF32::Neg,
    UnaryF32::Sign,
    UnaryF32::Floor,
    UnaryF32::Ceil,
    UnaryF32::Round,
    UnaryF32::Cos,
];

#[test]
fn functions_have_their_meaning() {
    let token = TierToken::best(None);
    let cases: [(UnaryF32, f32, f64); 16] = [
        (UnaryF32::Relu, -1.0, 0.0),
        (UnaryF32::LeakyRelu { alpha: 0.5 }, -2.0, -1.0),
        (UnaryF32::Elu { alpha: 2.0 }, -1.0, 2.0 * ((-1f64).exp() - 1.0)),
        (UnaryF32::Clip { min: -1.0, max: 6.0 }, 7.0, 6.0),
        (UnaryF32::Sigmoid, 1.0, 1.0 / (1.0 + (-1f64).exp())),
        (UnaryF32::HardSigmoid { alpha: 0.2, beta: 0.5 }, 1.0, 0.7),
        (UnaryF32::HardSwish, 1.0, 2.0 / 3.0),
        (UnaryF32::Silu, -1.0, -1.0 / (1.0 + 1f64.exp())),
        (UnaryF32::Gelu, 1.0, 0.841_344_746_068_542_9),
        (UnaryF32::GeluTanh, 1.0, 0.841_191_990_607_477_6),
        (UnaryF32::Softplus, 0.0, std::f64::consts::LN_2),
        (UnaryF32::Mish, 0.0, 0.0),
        (UnaryF32::Sign, -3.0, -1.0),
        (UnaryF32::Round, 2.5, 2.0),
        (UnaryF32::Floor, -0.5, -1.0),
        (UnaryF32::Reciprocal, 4.0, 0.25),
    ];
    for (op, x, expected) in cases {
        let mut y = [x];
        unary_f32_in_place(token, op, &mut y);
        assert!((f64::from(y[0]) - expected).abs() <= 4e-7, "{op:?} of {x}: {} for {expected}", y[0]);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let token = TierToken::best(None);
    let codes = Codes::full(0);
    let add = AddU8 { a_zero: 0, a_ratio: 1.0, b_zero: 0, b_ratio: 1.0, codes };
    assert!(add_u8(token, &[0; 6], &[0; 4], &add, &mut [0; 6]).is_err());
    assert!(add_u8(token, &[0; 6], &[], &add, &mut [0; 6]).is_err());
    let infinite = AddU8 { b_ratio: f32::INFINITY, ..add };
    assert!(add_u8(token, &[0; 6], &[0; 6], &infinite, &mut [0; 6]).is_err());
    let mul = MulU8 { a_zero: 0, b_zero: 0, multiplier: f32::NAN, codes };
    assert!(mul_u8(token, &[0; 6], &[0; 6], &mul, &mut [0; 6]).is_err());
    assert!(softmax_f32(token, &[0.0; 6], 4, false, &mut [0.0; 6]).is_err());
    assert!(Codes::new(0, 2, 1).is_err());
}
