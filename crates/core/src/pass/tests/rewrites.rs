//! One graph per rewrite: its text before and after, and that it computes the same.

use super::super::affine::AffineFolding;
use super::super::chains::ReshapeChains;
use super::super::clamp::ClampFusion;
use super::super::dead::DeadCode;
use super::super::fold::ConstantFolding;
use super::super::identity::IdentityRemoval;
use super::super::pad::PadFusion;
use super::super::patterns::Patterns;
use super::super::transpose::Transposes;
use super::{Build, conv_op, kinds, optimized, push, run_pass};
use crate::ir::{
    Activation, BinaryOp, ConvAttributes, DType, Dim, Graph, Op, PadMode, PoolAttributes, ReduceOp, Shape,
    Tensor, UnaryOp, ValueId,
};

#[test]
fn dead_chains_go() {
    let mut build = Build::new(1);
    let x = build.input("x", &[2, 3]);
    let y = build.unary(UnaryOp::Relu, x);
    let dead = build.unary(UnaryOp::Exp, y);
    let dead = build.with(BinaryOp::Add, dead, 1.0);
    build.unary(UnaryOp::Log, dead);
    insta::assert_snapshot!(run_pass(DeadCode, build.finish(&[y])));
}

#[test]
fn shape_arithmetic_is_folded() {
    let mut build = Build::new(1);
    let x = build.input("x", &[2, 3, 4]);
    let shape = build.op(Op::Shape { start: 0, end: None }, &[x]);
    let zero = build.constant("zero", Tensor::from_slice(&[1], &[0i64]).unwrap());
    let batch = build.op(Op::Gather { axis: 0 }, &[shape, zero]);
    let rest = build.integers(&[-1]);
    let target = build.op(Op::Concat { axis: 0 }, &[batch, rest]);
    let y = build.op(Op::Reshape { allow_zero: false }, &[x, target]);
    insta::assert_snapshot!(run_pass(ConstantFolding, build.finish(&[y])));
}

#[test]
fn known_parts_of_a_free_shape_are_folded() {
    let mut build = Build::new(1);
    let free = Shape(vec![Dim::Symbol("N".into()), Dim::Fixed(3), Dim::Fixed(4)]);
    let x = build.graph.add_input("x", DType::F32, free);
    let shape = build.op(Op::Shape { start: 0, end: None }, &[x]);
    let two = build.constant("two", Tensor::from_slice(&[1], &[2i64]).unwrap());
    let last = build.op(Op::Gather { axis: 0 }, &[shape, two]);
    let rest = build.integers(&[-1]);
    let target = build.op(Op::Concat { axis: 0 }, &[rest, last]);
    let y = build.op(Op::Reshape { allow_zero: false }, &[x, target]);
    let mut graph = build.finish(&[y]);
    super::optimize(&mut graph, &mut |_, _, _| {}).unwrap();
    assert_eq!(kinds(&graph), ["Reshape"]);
}

#[test]
fn broadcasts_of_constants_do_not_explode() {
    let mut build = Build::new(1);
    let small = build.noise(&[1, 1]);
    let shape = build.integers(&[4096, 8192]);
    let wide = build.op(Op::Expand, &[small, shape]);
    let y = build.op(Op::Reduce { op: ReduceOp::Sum, axes: vec![0, 1], keep_dims: false }, &[wide]);
    let mut graph = build.finish(&[y]);
    super::optimize(&mut graph, &mut |_, _, _| {}).unwrap();
    assert_eq!(kinds(&graph), ["Expand", "ReduceSum"]);
}

#[test]
fn weights_of_float_operators_are_decoded_last_and_kept_below_8_bits() {
    for (dtype, kept) in [(DType::I8, DType::F32), (DType::I4, DType::I4)] {
        let mut build = Build::new(1);
        let x = build.input("x", &[1, 2, 4, 4]);
        let codes = Tensor::from_i64(dtype, &[3, 2, 1, 1], &[1, -2, 3, 4, -5, 6]).unwrap();
        let codes = build.constant("codes", codes);
        let scale = build.scalar(0.5);
        let w = build.op(Op::DequantizeLinear { axis: 0, block: 0 }, &[codes, scale]);
        let y = build.op(conv_op(1), &[x, w]);
        let graph = optimized(build.finish(&[y]), 1);
        assert_eq!(kinds(&graph), ["Conv"]);
        let weights = graph.nodes().next().unwrap().1.input(1).unwrap();
        assert_eq!(graph.value(weights).dtype, Some(kept));
    }
}

#[test]
fn what_gives_back_its_input_goes() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 4, 3, 3]);
    let mut y = build.unary(UnaryOp::Exp, x);
    y = build.op(Op::Identity, &[y]);
    let shape = build.integers(&[0, 0, 3, -1]);
    y = build.op(Op::Reshape { allow_zero: false }, &[y, shape]);
    y = build.op(Op::Transpose { perm: vec![0, 1, 2, 3] }, &[y]);
    y = build.op(Op::Cast { to: DType::F32 }, &[y]);
    let pads = build.integers(&[0; 8]);
    y = build.op(Op::Pad { mode: PadMode::Constant }, &[y, pads]);
    let (starts, ends) = (build.integers(&[0, 0]), build.integers(&[i64::MAX, 3]));
    let axes = build.integers(&[1, 2]);
    y = build.op(Op::Slice, &[y, starts, ends, axes]);
    y = build.op(Op::Concat { axis: 1 }, &[y]);
    let zero = build.scalar(0.0);
    y = build.binary(BinaryOp::Add, zero, y);
    y = build.with(BinaryOp::Mul, y, 1.0);
    y = build.op(Op::Reduce { op: ReduceOp::Mean, axes: vec![0], keep_dims: true }, &[y]);
    insta::assert_snapshot!(run_pass(IdentityRemoval, build.finish(&[y])));
}

#[test]
fn reversing_and_broadcasting_are_no_identities() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 4]);
    let (starts, ends) = (build.integers(&[-1]), build.integers(&[i64::MIN]));
    let (axes, steps) = (build.integers(&[1]), build.integers(&[-1]));
    let reversed = build.op(Op::Slice, &[x, starts, ends, axes, steps]);
    let wide = build.constant("zeros", Tensor::zeros(DType::F32, &[2, 4]).unwrap());
    let sum = build.binary(BinaryOp::Add, reversed, wide);
    let graph = optimized(build.finish(&[sum]), 1);
    assert_eq!(kinds(&graph), ["Slice", "Add"]);
}

#[test]
fn names_of_inputs_and_outputs_stay() {
    let mut build = Build::new(1);
    let x = build.input("x", &[2]);
    let direct = build.op(Op::Identity, &[x]);
    let relu = build.unary(UnaryOp::Relu, x);
    let renamed = build.op(Op::Identity, &[relu]);
    let graph = build.finish(&[direct, renamed, relu]);
    let names =
        |graph: &Graph| graph.outputs.iter().map(|&id| graph.value(id).name.clone()).collect::<Vec<_>>();
    let before = names(&graph);
    assert_eq!(names(&optimized(graph, 1)), before);
}

#[test]
fn reshapes_of_reshapes_are_one() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 8, 1, 1]);
    let y = build.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x]);
    let y = build.op(Op::Squeeze { axes: vec![1, 2] }, &[y]);
    let y = build.op(Op::Unsqueeze { axes: vec![0] }, &[y]);
    let y = build.op(Op::Flatten { axis: 2 }, &[y]);
    insta::assert_snapshot!(run_pass(ReshapeChains, build.finish(&[y])));
}

#[test]
fn inverse_transposes_meet_and_cancel() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 6, 5, 2]);
    let (forth, back) = (vec![0, 3, 1, 2], vec![0, 2, 3, 1]);
    let y = build.op(Op::Transpose { perm: forth.clone() }, &[x]);
    let y = build.conv(y, 2, 3, 3);
    let y = build.op(Op::Transpose { perm: back.clone() }, &[y]);
    let bias = build.noise(&[3]);
    let y = build.binary(BinaryOp::Add, y, bias);
    let y = build.unary(UnaryOp::Relu, y);
    let y = build.op(Op::Transpose { perm: forth.clone() }, &[y]);
    let y = build.conv(y, 3, 4, 1);
    let left = build.op(Op::Transpose { perm: back.clone() }, &[y]);
    let right = build.unary(UnaryOp::Sigmoid, y);
    let right = build.op(Op::Transpose { perm: back.clone() }, &[right]);
    let y = build.binary(BinaryOp::Mul, left, right);
    let y = build.op(Op::Concat { axis: 3 }, &[y]);
    let pads = build.integers(&[0, 1, 0, 0, 0, 0, 2, 0]);
    let y = build.op(Op::Pad { mode: PadMode::Edge }, &[y, pads]);
    let y = build.op(Op::Softmax { axis: 3, log: false }, &[y]);
    let y = build.op(Op::Reduce { op: ReduceOp::Mean, axes: vec![1, 2], keep_dims: false }, &[y]);
    let graph = build.finish(&[y]);
    insta::assert_snapshot!(run_pass(Transposes, graph.clone()));
    let optimized = optimized(graph, 3);
    assert_eq!(kinds(&optimized).iter().filter(|kind| *kind == "Transpose").count(), 1);
}

fn pool() -> PoolAttributes {
    PoolAttributes {
        kernel: vec![3, 3],
        strides: vec![2, 2],
        dilations: vec![1, 1],
        pads: vec![0; 4],
        ceil: false,
        count_include_pad: false,
    }
}

#[test]
fn windows_do_their_own_padding() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 2, 6, 6]);
    let pads = build.integers(&[0, 0, 1, 1, 0, 0, 1, 2]);
    let spatial = build.integers(&[1, 0, 0, 1]);
    let axes = build.integers(&[-2, 3]);
    let lowest = build.scalar(f32::NEG_INFINITY);
    let pad = Op::Pad { mode: PadMode::Constant };
    let y = build.op(pad.clone(), &[x, pads]);
    let conv = build.conv(y, 2, 2, 3);
    let y = push(&mut build, pad.clone(), &[Some(x), Some(spatial), None, Some(axes)]);
    let average = build.op(Op::AveragePool(pool()), &[y]);
    let y = build.op(pad.clone(), &[x, pads, lowest]);
    let maximum = build.op(Op::MaxPool(pool()), &[y]);
    let y = build.unary(UnaryOp::Relu, x);
    let y = build.op(pad.clone(), &[y, pads]);
    let positive = build.op(Op::MaxPool(pool()), &[y]);
    // Zeros do count in a maximum of any numbers.
    let y = build.op(pad, &[x, pads]);
    let any = build.op(Op::MaxPool(pool()), &[y]);
    insta::assert_snapshot!(run_pass(PadFusion, build.finish(&[conv, average, maximum, positive, any])));
}

#[test]
fn scales_and_offsets_go_into_weights() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 2, 4, 4]);
    let norm = |build: &mut Build, y: ValueId, channels: usize| {
        let inputs = [
            y,
            build.noise(&[channels]),
            build.noise(&[channels]),
            build.noise(&[channels]),
            build.positive(&[channels]),
        ];
        build.op(Op::BatchNorm { epsilon: 1e-5 }, &inputs)
    };
    let y = norm(&mut build, x, 2);
    let y = build.conv(y, 2, 4, 3);
    let y = norm(&mut build, y, 4);
    let (weights, bias) = (build.noise(&[4, 3, 2, 2]), build.noise(&[6]));
    let conv = ConvAttributes { groups: 2, ..ConvAttributes::unit(&[2, 2]) };
    let op = Op::ConvTranspose { conv, output_padding: vec![0, 0], activation: Activation::None };
    let y = build.op(op, &[y, weights, bias]);
    let y = norm(&mut build, y, 6);
    let factors = build.positive(&[6, 1, 1]);
    let y = build.binary(BinaryOp::Div, y, factors);
    let y = build.op(Op::Flatten { axis: 1 }, &[y]);
    let (weights, bias) = (build.noise(&[54, 3]), build.noise(&[1, 3]));
    let op = Op::Gemm { alpha: 0.5, beta: 2.0, trans_a: false, trans_b: false, activation: Activation::None };
    let y = build.op(op, &[y, weights, bias]);
    let one = build.noise(&[3]);
    let y = build.binary(BinaryOp::Sub, one, y);
    let y = build.with(BinaryOp::Mul, y, 3.0);
    insta::assert_snapshot!(run_pass(AffineFolding, build.finish(&[y])));
}

#[test]
fn what_others_read_is_not_scaled() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 2, 4, 4]);
    let weights = build.noise(&[2, 2, 1, 1]);
    let a = build.op(conv_op(1), &[x, weights]);
    let b = build.op(conv_op(1), &[a, weights]);
    let factors = build.positive(&[2, 1, 1]);
    let scaled = build.binary(BinaryOp::Mul, b, factors);
    let per_column = build.positive(&[4]);
    let columns = build.binary(BinaryOp::Mul, scaled, per_column);
    let read_twice = build.with(BinaryOp::Mul, a, 2.0);
    let graph = optimized(build.finish(&[columns, read_twice]), 1);
    assert_eq!(kinds(&graph), ["Conv", "Conv", "Mul", "Mul"]);
}

/// Builds a function of a value.
type Spell = fn(&mut Build, ValueId) -> ValueId;

/// Every function that exporters spell out, in the forms they use.
fn spelled_out() -> Vec<(&'static str, Spell)> {
    fn gate(build: &mut Build, x: ValueId) -> ValueId {
        let sum = build.with(BinaryOp::Add, x, 3.0);
        build.unary(UnaryOp::Clip { min: 0.0, max: 6.0 }, sum)
    }
    fn erf(build: &mut Build, x: ValueId) -> ValueId {
        let scaled = build.with(BinaryOp::Div, x, std::f32::consts::SQRT_2);
        let erf = build.unary(UnaryOp::Erf, scaled);
        build.with(BinaryOp::Add, erf, 1.0)
    }
    fn tanh(build: &mut Build, inner: ValueId) -> ValueId {
        let scaled = build.with(BinaryOp::Mul, inner, 0.797_884_6);
        let tanh = build.unary(UnaryOp::Tanh, scaled);
        build.with(BinaryOp::Add, tanh, 1.0)
    }
    vec![
        ("Silu", |build, x| {
            let gate = build.unary(UnaryOp::Sigmoid, x);
            build.binary(BinaryOp::Mul, gate, x)
        }),
        ("HardSwish", |build, x| {
            let gate = build.unary(UnaryOp::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x);
            build.binary(BinaryOp::Mul, x, gate)
        }),
        ("HardSwish", |build, x| {
            let clipped = gate(build, x);
            let product = build.binary(BinaryOp::Mul, x, clipped);
            build.with(BinaryOp::Div, product, 6.0)
        }),
        ("HardSwish", |build, x| {
            let clipped = gate(build, x);
            let scaled = build.with(BinaryOp::Mul, clipped, 1.0 / 6.0);
            build.binary(BinaryOp::Mul, scaled, x)
        }),
        ("HardSigmoid", |build, x| {
            let clipped = gate(build, x);
            build.with(BinaryOp::Div, clipped, 6.0)
        }),
        ("Gelu", |build, x| {
            let gate = erf(build, x);
            let product = build.binary(BinaryOp::Mul, x, gate);
            build.with(BinaryOp::Mul, product, 0.5)
        }),
        ("Gelu", |build, x| {
            let gate = erf(build, x);
            let half = build.with(BinaryOp::Mul, x, 0.5);
            build.binary(BinaryOp::Mul, half, gate)
        }),
        ("Gelu", |build, x| {
            let gate = erf(build, x);
            let half = build.with(BinaryOp::Div, gate, 2.0);
            build.binary(BinaryOp::Mul, x, half)
        }),
        ("Gelu", |build, x| {
            let cube = build.with(BinaryOp::Pow, x, 3.0);
            let term = build.with(BinaryOp::Mul, cube, 0.044_715);
            let inner = build.binary(BinaryOp::Add, x, term);
            let gate = tanh(build, inner);
            let half = build.with(BinaryOp::Mul, x, 0.5);
            build.binary(BinaryOp::Mul, half, gate)
        }),
        ("Gelu", |build, x| {
            let square = build.binary(BinaryOp::Mul, x, x);
            let cube = build.binary(BinaryOp::Mul, x, square);
            let term = build.with(BinaryOp::Mul, cube, 0.044_715);
            let inner = build.binary(BinaryOp::Add, x, term);
            let gate = tanh(build, inner);
            let product = build.binary(BinaryOp::Mul, gate, x);
            build.with(BinaryOp::Mul, product, 0.5)
        }),
        ("Gelu", |build, x| {
            let scaled = build.with(BinaryOp::Mul, x, 0.044_715);
            let square = build.binary(BinaryOp::Mul, x, scaled);
            let cube = build.binary(BinaryOp::Mul, square, x);
            let inner = build.binary(BinaryOp::Add, x, cube);
            let gate = tanh(build, inner);
            let half = build.with(BinaryOp::Mul, gate, 0.5);
            build.binary(BinaryOp::Mul, x, half)
        }),
        ("Mish", |build, x| {
            let gate = build.unary(UnaryOp::Softplus, x);
            let gate = build.unary(UnaryOp::Tanh, gate);
            build.binary(BinaryOp::Mul, x, gate)
        }),
        ("Mish", |build, x| {
            let gate = build.unary(UnaryOp::Exp, x);
            let gate = build.with(BinaryOp::Add, gate, 1.0);
            let gate = build.unary(UnaryOp::Log, gate);
            let gate = build.unary(UnaryOp::Tanh, gate);
            build.binary(BinaryOp::Mul, x, gate)
        }),
    ]
}

#[test]
fn functions_are_recognised() {
    for (number, (name, spell)) in spelled_out().into_iter().enumerate() {
        // The argument is itself a product, which must not confuse the search for factors.
        let mut build = Build::new(number as u64);
        let x = build.input("x", &[2, 8]);
        let x = build.with(BinaryOp::Mul, x, 2.0);
        let y = spell(&mut build, x);
        let graph = optimized(build.finish(&[y]), 5);
        assert_eq!(kinds(&graph), ["Mul", name], "form {number}");
    }
}

#[test]
fn almost_patterns_are_left_alone() {
    let mut build = Build::new(1);
    let x = build.input("x", &[2, 8]);
    let z = build.input("z", &[2, 8]);
    let gate = build.unary(UnaryOp::Sigmoid, z);
    let other_argument = build.binary(BinaryOp::Mul, x, gate);
    let scaled = build.with(BinaryOp::Div, x, 1.5);
    let gate = build.unary(UnaryOp::Erf, scaled);
    let gate = build.with(BinaryOp::Add, gate, 1.0);
    let product = build.binary(BinaryOp::Mul, x, gate);
    let other_constant = build.with(BinaryOp::Mul, product, 0.5);
    let graph = optimized(build.finish(&[other_argument, other_constant]), 1);
    assert_eq!(kinds(&graph), ["Sigmoid", "Mul", "Div", "Erf", "Add", "Mul", "Mul"]);
}

#[test]
fn layers_are_recognised() {
    let mut build = Build::new(1);
    let x = build.input("x", &[2, 3, 8]);
    let mean = |build: &mut Build, x, axes: Vec<usize>, keep_dims| {
        build.op(Op::Reduce { op: ReduceOp::Mean, axes, keep_dims }, &[x])
    };
    let average = mean(&mut build, x, vec![2], true);
    let centred = build.binary(BinaryOp::Sub, x, average);
    let square = build.with(BinaryOp::Pow, centred, 2.0);
    let variance = mean(&mut build, square, vec![2], true);
    let sum = build.with(BinaryOp::Add, variance, 1e-5);
    let deviation = build.unary(UnaryOp::Sqrt, sum);
    let y = build.binary(BinaryOp::Div, centred, deviation);
    let (scale, bias) = (build.noise(&[8]), build.noise(&[8]));
    let y = build.binary(BinaryOp::Mul, y, scale);
    let norm = build.binary(BinaryOp::Add, bias, y);
    let pooled = mean(&mut build, norm, vec![2], false);
    let maximum = build.op(Op::Reduce { op: ReduceOp::Max, axes: vec![2], keep_dims: true }, &[norm]);
    let whole =
        PoolAttributes { kernel: vec![8], strides: vec![1], dilations: vec![1], pads: vec![0; 2], ..pool() };
    let average = build.op(Op::AveragePool(whole), &[norm]);
    let (weights, bias) = (build.noise(&[3, 4]), build.noise(&[4]));
    let product = build.op(Op::MatMul, &[pooled, weights]);
    let dense = build.binary(BinaryOp::Add, product, bias);
    let graph = build.finish(&[dense, maximum, average]);
    // The mean inside the normalisation looks like a pooling: the whole is recognised all the same.
    insta::assert_snapshot!(run_pass(Patterns, graph.clone()));
    let kinds = kinds(&optimized(graph, 2));
    assert_eq!(kinds[0], "LayerNormalization", "{kinds:?}");
}

#[test]
fn products_with_fixed_matrices_take_in_what_follows() {
    let mut build = Build::new(1);
    let x = build.input("x", &[3, 4]);
    let (w, factors, bias) = (build.noise(&[4, 5]), build.positive(&[5]), build.noise(&[5]));
    let y = build.op(Op::MatMul, &[x, w]);
    let y = build.binary(BinaryOp::Mul, factors, y);
    let y = build.binary(BinaryOp::Add, y, bias);
    let y = build.unary(UnaryOp::Relu, y);
    let graph = optimized(build.finish(&[y]), 1);
    assert_eq!(kinds(&graph), ["Gemm"]);
}

#[test]
fn clamps_are_fused() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 2, 4, 4]);
    let y = build.conv(x, 2, 3, 3);
    let y = build.unary(UnaryOp::Relu, y);
    let y = build.unary(UnaryOp::Clip { min: -1.0, max: 6.0 }, y);
    let a = build.conv(y, 3, 3, 1);
    let b = build.conv(y, 3, 3, 1);
    let sum = build.binary(BinaryOp::Add, a, b);
    let sum = build.unary(UnaryOp::Clip { min: 0.0, max: f32::INFINITY }, sum);
    // Read twice, and of an operator that takes no clamp.
    let relu = build.unary(UnaryOp::Relu, sum);
    let quotient = build.with(BinaryOp::Div, sum, 3.0);
    let clip = build.unary(UnaryOp::Clip { min: 0.0, max: 1.0 }, quotient);
    insta::assert_snapshot!(run_pass(ClampFusion, build.finish(&[relu, clip])));
}
