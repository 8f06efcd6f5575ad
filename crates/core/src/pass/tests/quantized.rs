//! Quantized graphs of other tools: what is absorbed equals the float evaluation of the model as it came, to within
//! one code of the output, almost always exactly.

use indexmap::IndexMap;
use proptest::prelude::*;

use super::{Build, Noise, conv_op, kinds, outputs, push};
use crate::ir::text::render;
use crate::ir::{
    Activation, Attribute, BinaryOp, ConvAttributes, CoordinateMode, DType, Graph, NearestMode, Op,
    PoolAttributes, ReduceOp, ResizeAttributes, ResizeMode, Tensor, UnaryOp, ValueId,
};
use crate::pass::optimize;
use crate::plan::Precision;

/// Scale and zero point of 8-bit values.
#[derive(Clone, Copy)]
struct Form(f32, u8);

impl Build {
    fn zero(&mut self, zero: u8) -> ValueId {
        self.constant("zero", Tensor::scalar(zero))
    }

    /// QuantizeLinear to u8.
    fn quantize(&mut self, x: ValueId, form: Form) -> ValueId {
        let inputs = [x, self.scalar(form.0), self.zero(form.1)];
        self.op(Op::QuantizeLinear { axis: 1, block: 0, to: DType::U8 }, &inputs)
    }

    fn dequantize(&mut self, x: ValueId, form: Form) -> ValueId {
        let inputs = [x, self.scalar(form.0), self.zero(form.1)];
        self.op(Op::DequantizeLinear { axis: 1, block: 0 }, &inputs)
    }

    /// QuantizeLinear and DequantizeLinear.
    fn through(&mut self, x: ValueId, form: Form) -> ValueId {
        let codes = self.quantize(x, form);
        self.dequantize(codes, form)
    }

    /// Dequantized i8 weights per index of `axis`.
    fn weights(&mut self, extents: &[usize], axis: usize) -> ValueId {
        let codes: Vec<i8> =
            self.noise.tensor(extents).to_f32_vec().into_iter().map(|x| (x * 127.0) as i8).collect();
        let scales: Vec<f32> = (0..extents[axis]).map(|_| 0.01 + 0.005 * self.noise.next().abs()).collect();
        let codes = self.constant("codes", Tensor::from_slice(extents, &codes).unwrap());
        let scales = self.constant("scales", Tensor::from_slice(&[extents[axis]], &scales).unwrap());
        self.op(Op::DequantizeLinear { axis, block: 0 }, &[codes, scales])
    }
}

/// Optimizes `graph` and compares the codes of its float outputs at scale `step`, which are multiples of it: all
/// within one, and at least `exact` of a hundred equal.
fn absorbed(graph: &Graph, step: f64, exact: usize) -> Graph {
    let mut absorbed = graph.clone();
    optimize(&mut absorbed, &mut |_, _, _| {}).unwrap();
    let (mut equal, mut count) = (0, 0);
    for seed in 0..4 {
        for (expected, found) in outputs(graph, seed).iter().zip(outputs(&absorbed, seed)) {
            for (expected, found) in expected.to_f64_vec().iter().zip(found.to_f64_vec()) {
                let difference = ((expected - found) / step).abs();
                assert!(difference <= 1.01, "{expected} became {found} at {step}\n{}", render(&absorbed));
                equal += usize::from(difference < 0.01);
                count += 1;
            }
        }
    }
    assert!(equal * 100 >= count * exact, "{equal} of {count} equal\n{}", render(&absorbed));
    absorbed
}

const X: Form = Form(0.031_37, 120);
const Y: Form = Form(0.097_13, 100);

#[test]
fn a_quantized_network_becomes_integer_kernels() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 3, 8, 8]);
    let x = build.through(x, X);
    let w = build.weights(&[4, 3, 3, 3], 0);
    let bias = build.noise(&[4]);
    let y = build.op(conv_op(3), &[x, w, bias]);
    let y = build.unary(UnaryOp::Clip { min: 0.0, max: 6.0 }, y);
    let y = build.through(y, Form(0.0235, 0));
    let w = build.weights(&[4, 1, 1, 1], 0);
    let conv = ConvAttributes { groups: 4, ..ConvAttributes::unit(&[1, 1]) };
    let z = build.op(Op::Conv { conv, activation: Activation::None }, &[y, w]);
    let z = build.through(z, Y);
    let y = build.binary(BinaryOp::Add, y, z);
    let y = build.unary(UnaryOp::Relu, y);
    let y = build.through(y, Form(0.05, 0));
    let y = build.op(Op::GlobalAveragePool, &[y]);
    let y = build.through(y, Form(0.04, 0));
    let y = build.op(Op::Flatten { axis: 1 }, &[y]);
    let y = build.through(y, Form(0.04, 0));
    let w = build.weights(&[5, 4], 0);
    let y = build.op(
        Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true, activation: Activation::None },
        &[y, w],
    );
    let y = build.through(y, Y);
    let graph = build.finish(&[y]);
    insta::assert_snapshot!(render(&absorbed(&graph, f64::from(Y.0), 99)));
}

#[test]
fn products_without_a_quantizer_behind_give_floats() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 3, 8, 8]);
    let x = build.through(x, X);
    let w = build.weights(&[4, 3, 3, 3], 0);
    let y = build.op(conv_op(3), &[x, w]);
    let y = build.unary(UnaryOp::Relu, y);
    let z = build.unary(UnaryOp::Tanh, y);
    let y = build.through(y, Y);
    let graph = build.finish(&[y, z]);
    let absorbed = absorbed(&graph, f64::from(Y.0), 99);
    assert_eq!(kinds(&absorbed), ["Quantize", "Conv", "Tanh", "Quantize", "Dequantize"]);
    let conv = absorbed.find_node("conv").and_then(|id| absorbed.node(id)).unwrap();
    let dtype = |id: Option<ValueId>| absorbed.value(id.unwrap()).dtype;
    assert_eq!(dtype(conv.input(0)), Some(DType::U8));
    assert_eq!(dtype(conv.input(1)), Some(DType::I8));
    assert_eq!(dtype(Some(conv.outputs[0])), Some(DType::F32));
}

#[test]
fn what_has_no_integer_form_stays_float() {
    let mut build = Build::new(1);
    let x = build.input("x", &[2, 8]);
    let x = build.through(x, X);
    let y = build.op(Op::Softmax { axis: 1, log: false }, &[x]);
    let y = build.through(y, Form(1.0 / 256.0, 0));
    let absorbed = absorbed(&build.finish(&[y]), 1.0 / 256.0, 100);
    assert_eq!(kinds(&absorbed), ["Quantize", "Dequantize", "Softmax", "Quantize", "Dequantize"]);
}

#[test]
fn moved_codes_keep_parameters_or_are_requantized() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 4, 6, 6]);
    let x = build.through(x, X);
    let window = PoolAttributes {
        kernel: vec![2, 2],
        strides: vec![2, 2],
        dilations: vec![1, 1],
        pads: vec![0; 4],
        ceil: false,
        count_include_pad: false,
    };
    let y = build.op(Op::MaxPool(window), &[x]);
    let y = build.through(y, X);
    let y = build.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[y]);
    let y = build.through(y, Y);
    let absorbed = absorbed(&build.finish(&[y]), f64::from(Y.0), 99);
    assert_eq!(kinds(&absorbed), ["Quantize", "MaxPool", "Requantize", "Transpose", "Dequantize"]);
}

#[test]
fn transposed_weights_are_moved_once() {
    let mut build = Build::new(1);
    let x = build.input("x", &[3, 8]);
    let x = build.through(x, X);
    let w = build.weights(&[5, 8], 0);
    let w = build.op(Op::Transpose { perm: vec![1, 0] }, &[w]);
    let y = build.op(Op::MatMul, &[x, w]);
    let bias = build.noise(&[5]);
    let y = build.binary(BinaryOp::Add, y, bias);
    let y = build.through(y, Y);
    let absorbed = absorbed(&build.finish(&[y]), f64::from(Y.0), 99);
    assert_eq!(kinds(&absorbed), ["Quantize", "Gemm", "Dequantize"], "{}", render(&absorbed));
}

#[test]
fn unsigned_weights_around_128_become_signed() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 2, 4, 4]);
    let x = build.through(x, X);
    let codes: Vec<u8> = (0..36).map(|i| (i * 7) as u8).collect();
    let codes = build.constant("codes", Tensor::from_slice(&[2, 2, 3, 3], &codes).unwrap());
    let w = build.dequantize(codes, Form(0.02, 128));
    let y = build.op(conv_op(3), &[x, w]);
    let y = build.through(y, Y);
    let absorbed = absorbed(&build.finish(&[y]), f64::from(Y.0), 99);
    assert_eq!(kinds(&absorbed), ["Quantize", "Conv", "Dequantize"]);
    let conv = absorbed.find_node("conv").and_then(|id| absorbed.node(id)).unwrap();
    assert_eq!(absorbed.value(conv.input(1).unwrap()).dtype, Some(DType::I8));
}

#[test]
fn uneven_zero_points_of_weights_are_taken_out_where_they_fit() {
    for (codes, form, fused) in [([20u8, 140, 200, 240], 113, true), ([0, 140, 200, 255], 113, false)] {
        let mut build = Build::new(1);
        let x = build.input("x", &[1, 2, 4, 4]);
        let x = build.through(x, X);
        let codes = build.constant("codes", Tensor::from_slice(&[2, 2, 1, 1], &codes).unwrap());
        let w = build.dequantize(codes, Form(0.02, form));
        let y = build.op(conv_op(1), &[x, w]);
        let y = build.through(y, Y);
        let absorbed = absorbed(&build.finish(&[y]), f64::from(Y.0), 99);
        assert_eq!(kinds(&absorbed) == ["Quantize", "Conv", "Dequantize"], fused, "{}", render(&absorbed));
    }
}

#[test]
fn biases_beyond_32_bits_keep_the_node_in_float() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 3, 4, 4]);
    let x = build.through(x, X);
    let w = build.weights(&[2, 3, 1, 1], 0);
    let bias = build.constant("bias", Tensor::from_slice(&[2], &[1e9f32, 0.0]).unwrap());
    let y = build.op(conv_op(1), &[x, w, bias]);
    let y = build.through(y, Y);
    let absorbed = absorbed(&build.finish(&[y]), f64::from(Y.0), 99);
    assert!(kinds(&absorbed).contains(&"Dequantize".to_owned()));
    let conv = absorbed.find_node("conv").and_then(|id| absorbed.node(id)).unwrap();
    assert_eq!(absorbed.value(conv.input(0).unwrap()).dtype, Some(DType::F32));
}

#[test]
fn scales_per_channel_move_into_the_weights_around_them() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 3, 6, 6]);
    let x = build.through(x, X);
    let w = build.weights(&[4, 3, 1, 1], 0);
    let bias = build.noise(&[4]);
    let y = build.op(conv_op(1), &[x, w, bias]);
    let y = build.unary(UnaryOp::Clip { min: 0.0, max: 6.0 }, y);
    let scales = [6.0f32 / 255.0, 0.004, 0.01, 0.02];
    let scales = build.constant("scales", Tensor::from_slice(&[4], &scales).unwrap());
    let zeros = build.constant("zeros", Tensor::from_slice(&[4], &[0u8; 4]).unwrap());
    let y = build.op(Op::QuantizeLinear { axis: 1, block: 0, to: DType::U8 }, &[y, scales, zeros]);
    let y = build.op(Op::DequantizeLinear { axis: 1, block: 0 }, &[y, scales, zeros]);
    let w = build.weights(&[8, 1, 3, 3], 0);
    let conv = ConvAttributes { groups: 4, ..ConvAttributes::unit(&[3, 3]) };
    let y = build.op(Op::Conv { conv, activation: Activation::None }, &[y, w]);
    let y = build.through(y, Y);
    let absorbed = absorbed(&build.finish(&[y]), f64::from(Y.0), 99);
    assert_eq!(kinds(&absorbed), ["Quantize", "Conv", "Conv", "Dequantize"], "{}", render(&absorbed));
}

/// Operands of a QLinear operator.
fn qlinear(
    build: &mut Build,
    domain: &str,
    op_type: &str,
    inputs: &[ValueId],
    attributes: &[(&str, i64)],
) -> ValueId {
    let attributes: IndexMap<String, Attribute> =
        attributes.iter().map(|&(name, value)| (name.to_owned(), Attribute::Int(value))).collect();
    let op = Op::Opaque { domain: domain.into(), op_type: op_type.into(), attributes, lack: Box::default() };
    let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
    push(build, op, &inputs)
}

/// A convolution, a product and a sum, as QLinear operators or as QDQ.
fn qlinear_graph(operators: bool) -> Graph {
    let mut build = Build::new(3);
    let x = build.input("x", &[1, 2, 3, 3]);
    let weights = build.noise.tensor(&[2, 2, 1, 1]).to_f32_vec().into_iter().map(|x| (x * 127.0) as i8);
    let weights = Tensor::from_slice(&[2, 2, 1, 1], &weights.collect::<Vec<_>>()).unwrap();
    let scales = [0.01f32, 0.02];
    let bias = [100i32, -50];
    let right: Vec<i8> = (0..12).map(|i| (i * 20 - 120) as i8).collect();
    let (w, right) =
        (build.constant("w", weights), build.constant("right", Tensor::from_slice(&[3, 4], &right).unwrap()));
    let scales = build.constant("scales", Tensor::from_slice(&[2], &scales).unwrap());
    let bias = build.constant("bias", Tensor::from_slice(&[2], &bias).unwrap());
    let zeros = build.constant("zeros", Tensor::from_slice(&[2], &[0i8, 0]).unwrap());
    let none = build.constant("none", Tensor::scalar(0i8));
    let right_scale = build.scalar(0.01);
    let q = build.quantize(x, X);
    let x_form = [build.scalar(X.0), build.zero(X.1)];
    let y_form = [build.scalar(Y.0), build.zero(Y.1)];
    if operators {
        let inputs = [q, x_form[0], x_form[1], w, scales, zeros, y_form[0], y_form[1], bias];
        let y = qlinear(&mut build, "", "QLinearConv", &inputs, &[("group", 1)]);
        let inputs = [y, y_form[0], y_form[1], right, right_scale, none, x_form[0], x_form[1]];
        let z = qlinear(&mut build, "", "QLinearMatMul", &inputs, &[]);
        let inputs = [z, x_form[0], x_form[1], z, x_form[0], x_form[1], y_form[0], y_form[1]];
        let z = qlinear(&mut build, "com.microsoft", "QLinearAdd", &inputs, &[]);
        let z = build.dequantize(z, Y);
        return build.finish(&[z]);
    }
    let x = build.dequantize(q, X);
    let w = build.op(Op::DequantizeLinear { axis: 0, block: 0 }, &[w, scales, zeros]);
    let bias_scales = build.constant("b", Tensor::from_slice(&[2], &[X.0 * 0.01, X.0 * 0.02]).unwrap());
    let bias = build.op(Op::DequantizeLinear { axis: 0, block: 0 }, &[bias, bias_scales]);
    let y = build.op(conv_op(1), &[x, w, bias]);
    let y = build.through(y, Y);
    let right = build.op(Op::DequantizeLinear { axis: 0, block: 0 }, &[right, right_scale, none]);
    let z = build.op(Op::MatMul, &[y, right]);
    let z = build.through(z, X);
    let z = build.binary(BinaryOp::Add, z, z);
    let z = build.through(z, Y);
    build.finish(&[z])
}

#[test]
fn qlinear_operators_become_ordinary_ones() {
    let optimized = |mut graph: Graph| {
        optimize(&mut graph, &mut |_, _, _| {}).unwrap();
        graph
    };
    let (from_operators, from_qdq) = (optimized(qlinear_graph(true)), optimized(qlinear_graph(false)));
    assert_eq!(kinds(&from_operators), ["Quantize", "Conv", "MatMul", "Add", "Dequantize"]);
    assert_eq!(kinds(&from_operators), kinds(&from_qdq));
    assert_eq!(outputs(&from_operators, 1), outputs(&from_qdq, 1));
    absorbed(&qlinear_graph(false), f64::from(Y.0), 99);
}

/// A random chain of quantized operators; the output's form is [`Y`].
fn chain(seed: u64, steps: usize) -> Graph {
    let mut noise = Noise::new(seed);
    let mut build = Build::new(seed + 1);
    let x = build.input("x", &[1, 4, 6, 6]);
    let mut form = X;
    let mut codes = build.quantize(x, form);
    let mut extents = [1, 4, 6, 6];
    for step in 0..steps {
        let x = build.dequantize(codes, form);
        let mut next = Form(0.02 + 0.02 * noise.next().abs(), noise.below(256) as u8);
        let mut y = operator(&mut build, &mut noise, x, form, &mut extents);
        match noise.below(4) {
            0 => y = build.unary(UnaryOp::Relu, y),
            1 => y = build.unary(UnaryOp::Clip { min: -1.0, max: 2.0 }, y),
            2 => next = form,
            _ => {}
        }
        form = if step + 1 == steps { Y } else { next };
        codes = build.quantize(y, form);
    }
    let y = build.dequantize(codes, form);
    build.finish(&[y])
}

fn operator(
    build: &mut Build,
    noise: &mut Noise,
    x: ValueId,
    form: Form,
    extents: &mut [usize; 4],
) -> ValueId {
    let [_, c, h, w] = *extents;
    match noise.below(11) {
        0 => {
            extents[1] = 1 + noise.below(4);
            let weights = build.weights(&[extents[1], c, 1, 1], 0);
            let bias = build.noise(&[extents[1]]);
            build.op(conv_op(1), &[x, weights, bias])
        }
        1 => {
            let weights = build.weights(&[c, 2, 1, 1], 1);
            extents[1] = 2;
            let conv = ConvAttributes::unit(&[1, 1]);
            let op = Op::ConvTranspose { conv, output_padding: vec![0, 0], activation: Activation::None };
            build.op(op, &[x, weights])
        }
        2 => {
            let weights = build.weights(&[w, w], 1);
            build.op(Op::MatMul, &[x, weights])
        }
        3 => build.binary([BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul][noise.below(3)], x, x),
        4 => {
            extents[1] *= 2;
            build.op(Op::Concat { axis: 1 }, &[x, x])
        }
        5 => build.unary([UnaryOp::Sigmoid, UnaryOp::Tanh, UnaryOp::HardSwish][noise.below(3)], x),
        6 if h > 1 && w > 1 => {
            (extents[2], extents[3]) = (h - 1, w - 1);
            let window = PoolAttributes {
                kernel: vec![2, 2],
                strides: vec![1, 1],
                dilations: vec![1, 1],
                pads: vec![0; 4],
                ceil: false,
                count_include_pad: false,
            };
            build.op(if noise.below(2) == 0 { Op::MaxPool(window) } else { Op::AveragePool(window) }, &[x])
        }
        7 => {
            extents[2] = 1;
            build.op(Op::Reduce { op: ReduceOp::Mean, axes: vec![2], keep_dims: true }, &[x])
        }
        8 => {
            extents.swap(2, 3);
            build.op(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[x])
        }
        9 => {
            let operand = build.quantize(x, form);
            let operand = build.dequantize(operand, form);
            build.binary(BinaryOp::Add, operand, x)
        }
        _ => {
            (extents[2], extents[3]) = (h * 2, w * 2);
            let scales = build.constant("scales", Tensor::from_slice(&[4], &[1f32, 1.0, 2.0, 2.0]).unwrap());
            push(build, resize(ResizeMode::Nearest), &[Some(x), None, Some(scales)])
        }
    }
}

fn resize(mode: ResizeMode) -> Op {
    Op::Resize(ResizeAttributes {
        mode,
        coordinates: CoordinateMode::HalfPixel,
        nearest: NearestMode::Floor,
        cubic: -0.75,
        exclude_outside: false,
    })
}

#[test]
fn linear_resizing_is_fused_only_where_parameters_stay() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 2, 6, 5]);
    let x = build.through(x, Y);
    let scales = build.constant("scales", Tensor::from_slice(&[4], &[1f32, 1.0, 2.0, 2.0]).unwrap());
    let same = push(&mut build, resize(ResizeMode::Linear), &[Some(x), None, Some(scales)]);
    let same = build.through(same, Y);
    let other = push(&mut build, resize(ResizeMode::Linear), &[Some(x), None, Some(scales)]);
    let other = build.through(other, X);
    // Weights in quarters make exact halves of codes, which the float model rounds either way.
    let graph = absorbed(&build.finish(&[same, other]), f64::from(Y.0), 97);
    let dtypes: Vec<_> = graph
        .nodes()
        .filter(|(_, node)| matches!(node.op, Op::Resize(_)))
        .map(|(_, node)| graph.value(node.outputs[0]).dtype)
        .collect();
    assert_eq!(dtypes, [Some(DType::U8), Some(DType::F32)]);
}

#[test]
fn small_weights_of_a_planned_file_stay_small_and_others_become_floats() {
    let mut build = Build::new(1);
    let x = build.input("x", &[1, 4, 5, 5]);
    let w = build.weights(&[6, 4, 3, 3], 0);
    let y = push(&mut build, conv_op(3), &[Some(x), Some(w)]);
    let float = build.finish(&[y]);
    let expected = outputs(&float, 1)[0].to_f32_vec();
    for planned in [false, true] {
        let mut graph = float.clone();
        if planned {
            graph.metadata.insert("fewbit.plan".to_owned(), "a hash".to_owned());
        }
        optimize(&mut graph, &mut |_, _, _| {}).unwrap();
        assert_eq!(kinds(&graph), ["Conv"], "{}", render(&graph));
        let (_, node) = graph.nodes().next().unwrap();
        let weights = graph.value(node.input(1).unwrap());
        let stored = if planned { DType::I8 } else { DType::F32 };
        assert_eq!((weights.dtype, weights.quant.is_some()), (Some(stored), planned));
        assert_eq!(node.precision, planned.then_some(Precision::W8A16F));
        let found = outputs(&graph, 1)[0].to_f32_vec();
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    }
}

proptest! {
    #[test]
    fn integer_forms_stay_within_a_code_of_the_float_model(seed in any::<u32>()) {
        // One operator at a time: differences of one code are amplified by what follows. A few hundred elements
        // have chance on their side; the graphs above hold 99 of a hundred.
        let graph = chain(u64::from(seed), 1);
        let absorbed = absorbed(&graph, f64::from(Y.0), 97);
        let kinds = kinds(&absorbed);
        prop_assert!(kinds.len() <= 4, "{kinds:?}");
    }

    #[test]
    fn chains_run_in_integers_from_end_to_end(seed in any::<u32>(), steps in 2usize..8) {
        let mut graph = chain(u64::from(seed), steps);
        optimize(&mut graph, &mut |_, _, _| {}).unwrap();
        let kinds = kinds(&graph);
        prop_assert_eq!(kinds.iter().filter(|kind| *kind == "Quantize").count(), 1, "{}", render(&graph));
        prop_assert_eq!(kinds.iter().filter(|kind| *kind == "Dequantize").count(), 1, "{}", render(&graph));
        prop_assert!(outputs(&graph, 1)[0].to_f32_vec().iter().all(|x| x.is_finite()));
    }
}
