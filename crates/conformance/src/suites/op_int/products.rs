//! Convolutions and matrix products on codes.

use fewbit_core::ir::{Activation, ConvAttributes, DType, Op, Tensor, ValueId};
use fewbit_core::quant::QuantParams;

use super::{Codes, WEIGHTED, extreme_zeros};
use crate::build::{Builder, Store};
use crate::case::{Case, Compare, Form, Problem, Suite};
use crate::error::Result;
use crate::random::Random;

/// What sets a product's case apart from the plain one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Twist {
    Plain,
    NoBias,
    Clamp(Activation),
    /// The input's zero point.
    Zero(i32),
    /// The output's zero point.
    OutZero(i32),
    /// An output scale so small that most results leave the type.
    Saturated,
    /// Scales whose product over the output's is exactly one half: every odd sum is a tie.
    Ties,
    /// Biases so large that sums wrap.
    Wrapped,
    /// A float output.
    Float,
    /// A float output, an f32 bias and a clamp at both ends.
    FloatBias,
    /// Every weight at the end of its range, every input at the end of its: the largest sums.
    Largest,
}

/// Number of products that one output adds up, the number of output channels and the axis of their scales.
struct Weights {
    extents: Vec<usize>,
    terms: usize,
    channels: usize,
    axis: usize,
}

/// Weights, bias and the output's parameters of a product of `x`, and what it is stored as.
fn operands(
    builder: &mut Builder,
    random: &mut Random,
    x: Codes,
    form: Form,
    weights: &Weights,
    twist: Twist,
) -> Result<(ValueId, Option<ValueId>, Store, Activation)> {
    let Weights { extents, terms, channels, axis } = weights;
    let ties = matches!(twist, Twist::Ties);
    let first = random.float(0.002, 0.01);
    let scales: Vec<f32> = if form.per_channel() {
        // Of ties, scales differ by powers of two, so that every quotient stays exact.
        let next = |channel| match (ties, channel % 2) {
            (true, 0) => first,
            (true, _) => first / 2.0,
            (false, _) => random.float(0.002, 0.01),
        };
        (0..*channels).map(next).collect()
    } else {
        vec![first]
    };
    let codes = match twist {
        Twist::Largest => {
            let values: Vec<i64> = (0..extents.iter().product())
                .map(|_| if random.integer(0, 7) == 0 { -127 } else { 127 })
                .collect();
            Tensor::from_i64(DType::I8, extents, &values)?
        }
        // Small weights: sums stay within the type, so that ties are seen.
        Twist::Ties => random.integers(DType::I8, extents, (-2, 2))?,
        _ => random.integers(DType::I8, extents, (-127, 127))?,
    };
    let params = if form.per_channel() {
        QuantParams::symmetric_per_channel(*axis, scales.clone())
    } else {
        QuantParams::per_tensor(scales[0], 0)
    };
    let bias_scales: Vec<f32> = scales.iter().map(|scale| x.scale * scale).collect();
    let weight = builder.constant(codes, Some(params));
    // Weights are even over ±127: their root mean square is 73.
    let sum = (*terms as f32).sqrt() * x.spread() * 73.0;
    let mean = scales.iter().sum::<f32>() / scales.len() as f32;
    let mut y = Codes::of(random, form);
    y.scale = match twist {
        // The rounded product doubled: the quotient is one half in the order of the rule, and beside it in others.
        Twist::Ties => x.scale * scales[0] * 2.0,
        Twist::Saturated => x.scale * mean * sum / 2000.0,
        Twist::Largest => x.scale * mean * (*terms as f32) * 127.0,
        _ => x.scale * mean * sum / 45.0,
    };
    if let Twist::OutZero(zero) = twist {
        y.zero = zero;
    }
    let float_bias = twist == Twist::FloatBias;
    let bias = match twist {
        Twist::NoBias => None,
        Twist::FloatBias => {
            let reach = y.scale * 40.0;
            Some(builder.constant(random.floats(&[*channels], -reach, reach)?, None))
        }
        _ => {
            let range = match twist {
                Twist::Ties => (-64, 64),
                // Beyond what an i32 holds with the sums of products added.
                Twist::Wrapped => (i64::from(i32::MAX) - sum as i64, i64::from(i32::MAX)),
                _ => (-(sum as i64) / 2, sum as i64 / 2),
            };
            let bias = random.integers(DType::I32, &[*channels], range)?;
            let params = if bias_scales.len() > 1 || form.per_channel() {
                QuantParams::symmetric_per_channel(0, bias_scales)
            } else {
                QuantParams::per_tensor(bias_scales[0], 0)
            };
            Some(builder.constant(bias, Some(params)))
        }
    };
    let activation = match twist {
        Twist::Clamp(Activation::Clip { .. }) => {
            Activation::Clip { min: -0.7 * 45.0 * y.scale, max: 0.9 * 45.0 * y.scale }
        }
        Twist::Clamp(activation) => {
            if let Activation::Relu = activation {
                activation
            } else {
                y.scale = 6.0 / 200.0;
                activation
            }
        }
        _ if float_bias => Activation::Clip { min: -20.0 * y.scale, max: 25.0 * y.scale },
        _ => Activation::None,
    };
    let store = if matches!(twist, Twist::Float) || float_bias { Store::f32() } else { y.store() };
    Ok((weight, bias, store, activation))
}

/// The input's parameters under a twist.
fn input(random: &mut Random, form: Form, twist: Twist) -> Codes {
    let x = Codes::of(random, form);
    match twist {
        Twist::Zero(zero) => x.with_zero(zero),
        _ => x,
    }
}

fn input_codes(random: &mut Random, x: Codes, extents: &[usize], twist: Twist) -> Result<Tensor> {
    let (low, high) = x.ends();
    match twist {
        Twist::Largest => {
            let values: Vec<i64> = (0..extents.iter().product())
                .map(|_| i64::from(if random.integer(0, 7) == 0 { low } else { high }))
                .collect();
            Ok(Tensor::from_i64(x.dtype, extents, &values)?)
        }
        Twist::Ties => {
            let (low, high) = (i64::from((x.zero - 12).max(low)), i64::from((x.zero + 12).min(high)));
            random.integers(x.dtype, extents, (low, high))
        }
        _ => random.codes(x.dtype, extents),
    }
}

/// A convolution's extents and window.
#[derive(Debug, Clone)]
struct Conv {
    input: Vec<usize>,
    channels: usize,
    window: ConvAttributes,
}

impl Conv {
    /// A square window of stride 1 that keeps extents.
    fn new(inputs: usize, channels: usize, size: usize, kernel: usize) -> Self {
        let mut window = ConvAttributes::unit(&[kernel; 2]);
        window.pads = vec![kernel / 2; 4];
        Self { input: vec![1, inputs, size, size], channels, window }
    }

    fn stride(mut self, strides: [usize; 2]) -> Self {
        self.window.strides = strides.to_vec();
        self
    }

    fn pads(mut self, pads: [usize; 4]) -> Self {
        self.window.pads = pads.to_vec();
        self
    }

    fn dilations(mut self, dilations: [usize; 2]) -> Self {
        self.window.dilations = dilations.to_vec();
        self.window.pads = [dilations, dilations].concat();
        self
    }

    fn kernel(mut self, kernel: [usize; 2]) -> Self {
        self.window.kernel = kernel.to_vec();
        self.window.pads = vec![kernel[0] / 2, kernel[1] / 2, kernel[0] / 2, kernel[1] / 2];
        self
    }

    fn groups(mut self, groups: usize) -> Self {
        self.window.groups = groups;
        self
    }

    fn batch(mut self, batch: usize) -> Self {
        self.input[0] = batch;
        self
    }

    fn image(mut self, height: usize, width: usize) -> Self {
        self.input.truncate(2);
        self.input.extend([height, width]);
        self
    }

    /// The same along one axis.
    fn flat(mut self) -> Self {
        self.input.truncate(3);
        let ConvAttributes { kernel, strides, dilations, pads, .. } = &mut self.window;
        kernel.truncate(1);
        strides.truncate(1);
        dilations.truncate(1);
        *pads = vec![pads[0], pads[2]];
        self
    }
}

fn conv_problem(random: &mut Random, form: Form, conv: &Conv, twist: Twist) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = input(random, form, twist);
    let data = input_codes(random, x, &conv.input, twist)?;
    let value = builder.input(data, Some(x.params()));
    let per_group = conv.input[1] / conv.window.groups;
    let mut extents = vec![conv.channels, per_group];
    extents.extend(&conv.window.kernel);
    let terms = extents[1..].iter().product();
    let weights = Weights { extents, terms, channels: conv.channels, axis: 0 };
    let (weight, bias, store, activation) = operands(&mut builder, random, x, form, &weights, twist)?;
    let op = Op::Conv { conv: conv.window.clone(), activation };
    let outputs = builder.node(op, &[Some(value), Some(weight), bias], &[store])?;
    Ok(settled(builder.finish(&outputs, Compare::Declared), twist))
}

/// Marks what is meant to be uniform.
fn settled(problem: Problem, twist: Twist) -> Problem {
    match twist {
        Twist::Saturated | Twist::Wrapped | Twist::Largest => problem.corner(),
        _ => problem,
    }
}

#[derive(Debug, Clone, Copy)]
enum Matrix {
    /// `[m, k] × [k, n]`, stored transposed or not.
    Gemm { m: usize, k: usize, n: usize, transposed: bool },
    /// `[batch…, m, k] × [k, n]`.
    MatMul { batch: usize, m: usize, k: usize, n: usize },
}

fn matrix_problem(random: &mut Random, form: Form, matrix: Matrix, twist: Twist) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = input(random, form, twist);
    let (extents, terms, channels, weight_extents, axis) = match matrix {
        Matrix::Gemm { m, k, n, transposed } => {
            let weight = if transposed { vec![n, k] } else { vec![k, n] };
            (vec![m, k], k, n, weight, usize::from(!transposed))
        }
        Matrix::MatMul { batch: 0, m, k, n } => (vec![m, k], k, n, vec![k, n], 1),
        Matrix::MatMul { batch, m, k, n } => (vec![batch, m, k], k, n, vec![k, n], 1),
    };
    let data = input_codes(random, x, &extents, twist)?;
    let value = builder.input(data, Some(x.params()));
    let weights = Weights { extents: weight_extents, terms, channels, axis };
    let without = if let Matrix::MatMul { .. } = matrix { true } else { twist == Twist::NoBias };
    let (weight, bias, store, activation) = operands(&mut builder, random, x, form, &weights, twist)?;
    let bias = bias.filter(|_| !without);
    let op = match matrix {
        Matrix::Gemm { transposed, .. } => {
            Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: transposed, activation }
        }
        Matrix::MatMul { .. } => Op::MatMul,
    };
    let inputs =
        if without { vec![Some(value), Some(weight)] } else { vec![Some(value), Some(weight), bias] };
    let outputs = builder.node(op, &inputs, &[store])?;
    Ok(settled(builder.finish(&outputs, Compare::Declared), twist))
}

/// A batch of constant matrices, one scale for all of them.
fn batched_weights(random: &mut Random, form: Form) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = Codes::of(random, form);
    let value = builder.input(random.codes(x.dtype, &[3, 5, 14])?, Some(x.params()));
    let scale = random.float(0.002, 0.01);
    let codes = random.integers(DType::I8, &[3, 14, 9], (-127, 127))?;
    let weight = builder.constant(codes, Some(QuantParams::per_tensor(scale, 0)));
    let sum = 14f32.sqrt() * x.spread() * 73.0;
    let y = Codes::of(random, form).with_scale(x.scale * scale * sum / 45.0);
    let output = builder.op(Op::MatMul, &[value, weight], y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

/// An addend of its own for every row, or for every element.
fn addend(random: &mut Random, form: Form, rows: bool) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = Codes::of(random, form);
    let value = builder.input(random.codes(x.dtype, &[5, 14])?, Some(x.params()));
    let scale = random.float(0.002, 0.01);
    let codes = random.integers(DType::I8, &[14, 9], (-127, 127))?;
    let weight = builder.constant(codes, Some(QuantParams::per_tensor(scale, 0)));
    let sum = 14f32.sqrt() * x.spread() * 73.0;
    let extents: &[usize] = if rows { &[5, 1] } else { &[5, 9] };
    let bias = random.integers(DType::I32, extents, (-(sum as i64), sum as i64))?;
    let bias = builder.constant(bias, Some(QuantParams::per_tensor(x.scale * scale, 0)));
    let y = Codes::of(random, form).with_scale(x.scale * scale * sum / 45.0);
    let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false, activation: Activation::None };
    let output = builder.op(op, &[value, weight, bias], y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

/// A product of two activations.
fn activations_problem(random: &mut Random, form: Form, batch: usize) -> Result<Problem> {
    let mut builder = Builder::new();
    let (a, b) = (Codes::of(random, form), Codes::of(random, form));
    let left = builder.input(random.codes(a.dtype, &[batch, 5, 12])?, Some(a.params()));
    let right = builder.input(random.codes(b.dtype, &[batch, 12, 7])?, Some(b.params()));
    let sum = 12f32.sqrt() * a.spread() * b.spread();
    let y = Codes::of(random, form).with_scale(a.scale * b.scale * sum / 45.0);
    let output = builder.op(Op::MatMul, &[left, right], y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

/// Convolutions by family and variant.
fn convolutions() -> Vec<(&'static str, &'static str, Conv)> {
    vec![
        ("pointwise", "c8", Conv::new(8, 8, 6, 1)),
        ("pointwise", "c3-5", Conv::new(3, 5, 7, 1)),
        ("pointwise", "c33-17", Conv::new(33, 17, 5, 1)),
        ("pointwise", "c64-40", Conv::new(64, 40, 4, 1)),
        ("pointwise", "s2", Conv::new(16, 12, 7, 1).stride([2, 2])),
        ("k3", "s1", Conv::new(8, 12, 9, 3)),
        ("k3", "s2", Conv::new(5, 9, 11, 3).stride([2, 2])),
        ("k3", "valid", Conv::new(4, 16, 8, 3).pads([0; 4])),
        ("k3", "c3-33", Conv::new(3, 33, 10, 3).stride([2, 2])),
        ("k3", "image-3x17", Conv::new(6, 7, 0, 3).image(3, 17)),
        ("pads", "end", Conv::new(4, 6, 8, 3).stride([2, 2]).pads([0, 0, 1, 1])),
        ("pads", "begin", Conv::new(4, 6, 8, 3).pads([2, 1, 0, 0])),
        ("pads", "wide", Conv::new(4, 6, 4, 3).pads([2; 4])),
        ("large", "k5", Conv::new(4, 6, 9, 5)),
        ("large", "k7s2", Conv::new(3, 8, 13, 7).stride([2, 2])),
        ("uneven", "k1x5", Conv::new(5, 6, 9, 1).kernel([1, 5])),
        ("uneven", "k3x1", Conv::new(5, 6, 9, 1).kernel([3, 1])),
        ("uneven", "s1x2", Conv::new(5, 6, 9, 3).stride([1, 2])),
        ("dilated", "d2", Conv::new(4, 6, 11, 3).dilations([2, 2])),
        ("dilated", "d1x3", Conv::new(4, 6, 11, 3).dilations([1, 3])),
        ("depthwise", "k3s1", Conv::new(8, 8, 9, 3).groups(8)),
        ("depthwise", "k3s2", Conv::new(7, 7, 10, 3).groups(7).stride([2, 2])),
        ("depthwise", "k5s1", Conv::new(33, 33, 7, 5).groups(33)),
        ("depthwise", "times2", Conv::new(6, 12, 7, 3).groups(6)),
        ("grouped", "g2", Conv::new(8, 10, 7, 3).groups(2)),
        ("grouped", "g4", Conv::new(16, 8, 6, 1).groups(4)),
        ("batch", "n3", Conv::new(5, 6, 6, 3).batch(3)),
        ("flat", "k3", Conv::new(6, 9, 15, 3).flat()),
        ("flat", "k1", Conv::new(6, 9, 15, 1).flat()),
    ]
}

/// Matrix products by operator, family and variant.
fn matrices() -> Vec<(&'static str, &'static str, &'static str, Matrix)> {
    let gemm = |m, k, n, transposed| Matrix::Gemm { m, k, n, transposed };
    let matmul = |batch, m, k, n| Matrix::MatMul { batch, m, k, n };
    vec![
        ("Gemm", "row", "1x64x10", gemm(1, 64, 10, true)),
        ("Gemm", "row", "1x33x17", gemm(1, 33, 17, true)),
        ("Gemm", "rows", "5x31x9", gemm(5, 31, 9, true)),
        ("Gemm", "rows", "16x128x40", gemm(16, 128, 40, true)),
        ("Gemm", "plain", "4x20x12", gemm(4, 20, 12, false)),
        ("MatMul", "matrix", "6x32x16", matmul(0, 6, 32, 16)),
        ("MatMul", "matrix", "1x17x33", matmul(0, 1, 17, 33)),
        ("MatMul", "matrix", "13x65x7", matmul(0, 13, 65, 7)),
        ("MatMul", "batched", "3x7x24x10", matmul(3, 7, 24, 10)),
    ]
}

/// Twists that every product is put to, by family and variant.
fn twists(form: Form) -> Vec<(&'static str, String, Twist)> {
    let clip = Activation::Clip { min: 0.0, max: 0.0 };
    let mut twists = vec![
        ("nobias", "none".to_owned(), Twist::NoBias),
        ("clamp", "relu".to_owned(), Twist::Clamp(Activation::Relu)),
        ("clamp", "clip".to_owned(), Twist::Clamp(clip)),
        ("saturate", "both".to_owned(), Twist::Saturated),
        ("ties", "half".to_owned(), Twist::Ties),
        ("wrap", "i32".to_owned(), Twist::Wrapped),
        ("largest", "ends".to_owned(), Twist::Largest),
        ("float", "codes".to_owned(), Twist::Float),
        ("float", "bias-clip".to_owned(), Twist::FloatBias),
    ];
    for (end, zero) in extreme_zeros(form) {
        twists.push(("zero", format!("in-{end}"), Twist::Zero(zero)));
        twists.push(("zero", format!("out-{end}"), Twist::OutZero(zero)));
    }
    twists
}

/// All cases of products.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for form in WEIGHTED {
        for (family, variant, conv) in convolutions() {
            for seed in 1..=2 {
                let id = format!("op_int/conv/{family}/{variant}/{form}/seed{seed}");
                let conv = conv.clone();
                cases.push(Case::program(id, Suite::OpInt, "Conv", Some(form), move |random| {
                    conv_problem(random, form, &conv, Twist::Plain)
                }));
            }
        }
        for (family, variant, twist) in twists(form) {
            for (shape, conv) in [("k1", Conv::new(9, 10, 6, 1)), ("k3", Conv::new(6, 9, 9, 3))] {
                let id = format!("op_int/conv/{family}/{variant}-{shape}/{form}/seed1");
                cases.push(Case::program(id, Suite::OpInt, "Conv", Some(form), move |random| {
                    conv_problem(random, form, &conv, twist)
                }));
            }
            let id = format!("op_int/conv/{family}/{variant}-depthwise/{form}/seed1");
            cases.push(Case::program(id, Suite::OpInt, "Conv", Some(form), move |random| {
                conv_problem(random, form, &Conv::new(9, 9, 9, 3).groups(9), twist)
            }));
            if family != "nobias" {
                let id = format!("op_int/gemm/{family}/{variant}/{form}/seed1");
                let matrix = Matrix::Gemm { m: 5, k: 30, n: 19, transposed: true };
                cases.push(Case::program(id, Suite::OpInt, "Gemm", Some(form), move |random| {
                    matrix_problem(random, form, matrix, twist)
                }));
            }
            if !matches!(family, "nobias" | "clamp" | "wrap") && variant != "bias-clip" {
                let id = format!("op_int/matmul/{family}/{variant}/{form}/seed1");
                let matrix = Matrix::MatMul { batch: 0, m: 6, k: 29, n: 18 };
                cases.push(Case::program(id, Suite::OpInt, "MatMul", Some(form), move |random| {
                    matrix_problem(random, form, matrix, twist)
                }));
            }
        }
        for (operator, family, variant, matrix) in matrices() {
            for seed in 1..=2 {
                let name = operator.to_lowercase();
                let id = format!("op_int/{name}/{family}/{variant}/{form}/seed{seed}");
                cases.push(Case::program(id, Suite::OpInt, operator, Some(form), move |random| {
                    matrix_problem(random, form, matrix, Twist::Plain)
                }));
            }
        }
        if !form.per_channel() {
            let id = format!("op_int/matmul/weights/batched/{form}/seed1");
            cases.push(Case::program(id, Suite::OpInt, "MatMul", Some(form), move |random| {
                // Rules speak of weights, not of their batches.
                Ok(batched_weights(random, form)?.optional())
            }));
            for (variant, rows) in [("rows", true), ("elements", false)] {
                let id = format!("op_int/gemm/addend/{variant}/{form}/seed1");
                cases.push(Case::program(id, Suite::OpInt, "Gemm", Some(form), move |random| {
                    Ok(addend(random, form, rows)?.optional())
                }));
            }
        }
        let id = format!("op_int/conv/empty/n0/{form}/seed1");
        cases.push(Case::program(id, Suite::OpInt, "Conv", Some(form), move |random| {
            let conv = Conv::new(4, 6, 5, 3).batch(0);
            Ok(conv_problem(random, form, &conv, Twist::Plain)?.corner().optional())
        }));
    }
    for form in super::FORMS {
        for (variant, batch) in [("b1", 1), ("b3", 3)] {
            let id = format!("op_int/matmul/activations/{variant}/{form}/seed1");
            cases.push(Case::program(id, Suite::OpInt, "MatMul", Some(form), move |random| {
                activations_problem(random, form, batch)
            }));
        }
    }
    cases
}
