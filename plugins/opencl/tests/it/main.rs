//! The backend, loaded as a host loads it, against the reference interpreter: 8-bit programs equal to the bit.

use std::sync::{Arc, OnceLock};

use fewbit_core::backend::{Backend, CompileOptions, Device};
use fewbit_core::capability::Support;
use fewbit_core::infer;
use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, CoordinateMode, DType, Graph, NearestMode, Op, PoolAttributes,
    ReduceOp, ResizeAttributes, ResizeMode, Tensor, UnaryOp, ValueId,
};
use fewbit_core::lower::{Choices, lower};
use fewbit_core::plan::Precision;
use fewbit_core::quant::QuantParams;
use fewbit_core::reference::Interpreter;
use fewbit_plugin_host::{LoadOptions, Manifest, PluginBackend};
use fewbit_testing::device::{assert_equals_reference, inputs, quantized, run, show_everything};
use fewbit_testing::{ConvOptions, ModelBuilder, report_skip};

/// The first device; `None`, visibly, where there is no OpenCL. With `FEWBIT_REQUIRE_OPENCL=1` that fails.
fn device() -> Option<Arc<dyn Device>> {
    static FOUND: OnceLock<Option<Arc<dyn Device>>> = OnceLock::new();
    let device = FOUND.get_or_init(open).clone();
    if device.is_none() {
        let required = std::env::var("FEWBIT_REQUIRE_OPENCL").is_ok_and(|value| value == "1");
        assert!(!required, "FEWBIT_REQUIRE_OPENCL=1 and there is no OpenCL device");
        report_skip("there is no OpenCL device");
    }
    device
}

#[expect(clippy::print_stderr, reason = "which device a test ran on is part of its result")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn open() -> Option<Arc<dyn Device>> {
    let manifest = fewbit_testing::plugin("opencl")?;
    let manifest = Manifest::read(&manifest).unwrap();
    let backend = PluginBackend::load(&manifest, &LoadOptions::default()).unwrap();
    let device = backend.devices().unwrap().into_iter().next()?;
    let capability = device.capabilities().unwrap();
    capability.validate().unwrap();
    say(&format!("{}: {:#?}", capability.title, capability.notes));
    Some(device)
}

fn pick(builder: &mut ModelBuilder, low: usize, high: usize) -> usize {
    low + builder.random().below(high - low + 1)
}

/// Convolutions of every kind, odd extents, tails of every vector.
fn convolutions(seed: u64) -> Graph {
    let mut builder = ModelBuilder::new("convolutions", seed);
    let (c, h, w) = (pick(&mut builder, 1, 5), pick(&mut builder, 7, 12), pick(&mut builder, 7, 12));
    let batch = pick(&mut builder, 1, 2);
    let x = builder.input("x", &[batch, c, h, w]);
    let stem = ConvOptions::same(3).activation(Activation::Clip { min: 0.0, max: 6.0 });
    let wide = 4 * pick(&mut builder, 3, 12);
    let a = builder.conv(x, wide, stem);
    let stride = pick(&mut builder, 1, 3);
    let b = builder.depthwise(a, 5, stride, Activation::Relu);
    let d = builder.conv(b, wide, ConvOptions::same(1).groups(2));
    let odd = ConvAttributes {
        kernel: vec![pick(&mut builder, 1, 3), 2],
        strides: vec![1, pick(&mut builder, 1, 2)],
        dilations: vec![pick(&mut builder, 1, 2), 1],
        pads: vec![2, pick(&mut builder, 0, 1), 2, 1],
        groups: 2,
    };
    let weights = Tensor::zeros(DType::F32, &[6, wide / 2, odd.kernel[0], 2]).unwrap();
    let weights = builder.random().normals(weights.extents(), 0.3);
    let weights = builder.constant("odd.weights", weights);
    let e = builder.op("odd", Op::Conv { conv: odd, activation: Activation::None }, &[d, weights]);
    let f = builder.add(b, d);
    let g = builder.unary(f, UnaryOp::HardSwish);
    let pointwise = pick(&mut builder, 1, 40);
    let g = builder.conv(g, pointwise, ConvOptions::same(1));
    let g = builder.flatten(g);
    let g = builder.gemm(g, 9);
    let row = builder.random().normals(&[9], 1.0);
    let row = builder.constant("row", row);
    let y = builder.add(g, row);
    let z = builder.mat_mul(y, 37);
    builder.finish(&[z, e])
}

fn pooling(builder: &mut ModelBuilder) -> PoolAttributes {
    PoolAttributes {
        kernel: vec![pick(builder, 2, 3), pick(builder, 2, 4)],
        strides: vec![pick(builder, 1, 2), pick(builder, 1, 3)],
        dilations: vec![1, pick(builder, 1, 2)],
        pads: vec![pick(builder, 0, 1), 1, 1, pick(builder, 0, 1)],
        ceil: builder.random().below(2) == 1,
        count_include_pad: builder.random().below(2) == 1,
    }
}

/// Pools, means, resizes, joins, broadcasts and orders of elements.
fn structures(seed: u64) -> Graph {
    let mut builder = ModelBuilder::new("structures", seed);
    let (c, h, w) = (pick(&mut builder, 1, 20), pick(&mut builder, 6, 11), pick(&mut builder, 6, 11));
    let batch = pick(&mut builder, 1, 2);
    let x = builder.input("x", &[batch, c, h, w]);
    let width = pick(&mut builder, 1, 21);
    let a = builder.conv(x, width, ConvOptions::same(1));
    let attributes = pooling(&mut builder);
    let largest = builder.op("largest", Op::MaxPool(attributes.clone()), &[a]);
    let means = builder.op("means", Op::AveragePool(attributes), &[a]);
    let joined = builder.concat(&[largest, means]);
    let global = builder.global_average_pool(joined);
    let excited = builder.binary(BinaryOp::Mul, joined, global);
    let difference = builder.binary(BinaryOp::Sub, global, excited);
    let axes = builder.random().choose(&[vec![2, 3], vec![1], vec![0, 2], vec![3]]).clone();
    let keep_dims = builder.random().below(2) == 1;
    let mean = builder.op("mean", Op::Reduce { op: ReduceOp::Mean, axes, keep_dims }, &[difference]);
    let perm = builder.random().choose(&[vec![0, 2, 3, 1], vec![3, 1, 0, 2], vec![0, 1, 3, 2]]).clone();
    let turned = builder.op("turned", Op::Transpose { perm }, &[excited]);
    let along = builder.random().below(4);
    let twice = builder.op("twice", Op::Concat { axis: along }, &[excited, difference]);
    let modes = [
        CoordinateMode::HalfPixel,
        CoordinateMode::AlignCorners,
        CoordinateMode::Asymmetric,
        CoordinateMode::PytorchHalfPixel,
    ];
    let resize = ResizeAttributes {
        mode: *builder.random().choose(&[ResizeMode::Nearest, ResizeMode::Linear]),
        coordinates: *builder.random().choose(&modes),
        nearest: *builder.random().choose(&[NearestMode::RoundPreferFloor, NearestMode::Floor]),
        cubic: -0.75,
        exclude_outside: false,
    };
    let factors = [1.0, 1.0, *builder.random().choose(&[0.5f32, 1.5, 2.0]), 2.0];
    let factors = builder.constant("factors", Tensor::from_slice(&[4], &factors).unwrap());
    let resized = builder.op_with("resized", Op::Resize(resize), &[Some(twice), None, Some(factors)]);
    let again = builder.depthwise(resized, 3, 1, Activation::None);
    builder.finish(&[mean, turned, again])
}

#[test]
fn convolutions_and_products_of_codes_are_those_of_the_reference() {
    let Some(device) = device() else { return };
    for seed in 0..25 {
        for dtype in [DType::U8, DType::I8] {
            assert_equals_reference(
                &*device,
                &show_everything(quantized(&convolutions(seed), Precision::W8A8, dtype, seed)),
                seed,
            );
        }
    }
}

#[test]
fn structures_of_codes_are_those_of_the_reference() {
    let Some(device) = device() else { return };
    for seed in 0..40 {
        for dtype in [DType::U8, DType::I8] {
            assert_equals_reference(
                &*device,
                &show_everything(quantized(&structures(seed), Precision::W8A8, dtype, seed)),
                seed,
            );
        }
    }
}

/// Sums of more products than floats add up exactly.
#[test]
fn deep_products_wrap_over_to_integers() {
    let Some(device) = device() else { return };
    for (seed, depth) in [(1, 511), (2, 512), (3, 513), (4, 1040), (5, 5003)] {
        let mut builder = ModelBuilder::new("deep", seed);
        let x = builder.input("x", &[3, depth]);
        let y = builder.mat_mul(x, 18);
        let graph = builder.finish(&[y]);
        assert_equals_reference(
            &*device,
            &show_everything(quantized(&graph, Precision::W8A8, DType::U8, seed)),
            seed,
        );
    }
}

/// Codes at their extremes: the largest sums there are.
#[test]
fn the_largest_sums_are_exact() {
    let Some(device) = device() else { return };
    let (depth, columns) = (2000, 5);
    let mut builder = ModelBuilder::new("largest", 1);
    let x = builder.input("x", &[2, depth]);
    let weights: Vec<f32> =
        (0..depth * columns).map(|at| if at % columns == 4 { -1.0 } else { 1.0 }).collect();
    let weights = builder.constant("weights", Tensor::from_slice(&[depth, columns], &weights).unwrap());
    let y = builder.op("product", Op::MatMul, &[x, weights]);
    let graph = builder.finish(&[y]);
    let mut choices = Choices::default();
    for (_, node) in graph.nodes() {
        choices.precisions.insert(node.name.clone(), Precision::W8A8);
    }
    // Zero points at one end, inputs at the other.
    for (value, scale, zero) in [("x", 1.0 / 255.0, 0), (graph.value(y).name.as_str(), 37.0, 120)] {
        choices.activations.insert(value.to_owned(), (DType::U8, QuantParams::per_tensor(scale, zero)));
    }
    let mut program = lower(&graph, &choices).unwrap();
    infer::infer(&mut program).unwrap();
    let given = [Tensor::from_slice(&[2, depth], &vec![1.0f32; 2 * depth]).unwrap()];
    let expected = Interpreter::new(&program).unwrap().run(&given).unwrap();
    let executable = device.compile(&program, &CompileOptions::threads(1)).unwrap();
    assert_eq!(run(&executable, &given), expected);
}

/// Conversions near ties and at what is no number.
#[test]
fn floats_become_codes_by_a_division() {
    let Some(device) = device() else { return };
    for (scale, zero) in [(0.3f32, 7), (0.017, 128), (3.1e-5, 0), (1.0, 255)] {
        let mut values: Vec<f32> = (-300..4000).map(|step| (step as f32 * 0.5) * scale).collect();
        values.extend(values.clone().iter().map(|value| f32::from_bits(value.to_bits() + 1)));
        values.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-40, -0.0]);
        let mut builder = ModelBuilder::new("convert", 1);
        let x = builder.input("x", &[values.len()]);
        let y = builder.unary(x, UnaryOp::Relu);
        let graph = builder.finish(&[y]);
        let mut choices = Choices::default();
        choices.precisions.insert(graph.nodes().next().unwrap().1.name.clone(), Precision::W8A8);
        for value in [x, y] {
            let parameters = QuantParams::per_tensor(scale, zero);
            choices.activations.insert(graph.value(value).name.clone(), (DType::U8, parameters));
        }
        let mut program = lower(&graph, &choices).unwrap();
        infer::infer(&mut program).unwrap();
        program.outputs = program.nodes().flat_map(|(_, node)| node.outputs.clone()).collect();
        let given = [Tensor::from_slice(&[values.len()], &values).unwrap()];
        let expected = Interpreter::new(&program).unwrap().run(&given).unwrap();
        let executable = device.compile(&program, &CompileOptions::threads(1)).unwrap();
        assert_eq!(run(&executable, &given), expected, "scale {scale}");
    }
}

/// Within `bound` of the reference, relative to the largest element.
fn close(device: &dyn Device, graph: &Graph, seed: u64, bound: f64) {
    for (verdict, (_, node)) in device.supports(graph).unwrap().iter().zip(graph.nodes()) {
        assert_eq!(verdict.support, Support::Native, "seed {seed}, {}: {:?}", node.name, verdict.reasons);
    }
    let given = inputs(graph, seed);
    let expected = Interpreter::new(graph).unwrap().run(&given).unwrap();
    let executable = device.compile(graph, &CompileOptions::threads(1)).unwrap();
    for (actual, expected) in run(&executable, &given).iter().zip(&expected) {
        fewbit_testing::assert_close(&actual.to_f32_vec(), &expected.to_f32_vec(), bound);
    }
}

#[test]
fn floats_are_near_the_reference() {
    let Some(device) = device() else { return };
    for seed in 0..10 {
        close(&*device, &convolutions(seed), seed, 1e-5);
        close(&*device, &structures(seed), seed, 1e-5);
    }
}

/// A block of an encoder: products neither of which is constant, softmax, normalisation.
#[test]
fn a_block_of_an_encoder_is_near_the_reference() {
    let Some(device) = device() else { return };
    for seed in 0..6 {
        let mut builder = ModelBuilder::new("encoder", seed);
        let (tokens, heads, depth) = (pick(&mut builder, 3, 17), pick(&mut builder, 1, 3), 8);
        let width = heads * depth;
        let x = builder.input("x", &[1, tokens, width]);
        let scale = builder.random().normals(&[width], 1.0);
        let (scale, bias) = (builder.constant("scale", scale.clone()), builder.constant("bias", scale));
        let norm = builder.op("norm", Op::LayerNorm { axis: 2, epsilon: 1e-5 }, &[x, scale, bias]);
        let shape = [1, tokens as i64, heads as i64, depth as i64];
        let shape = builder.constant("shape", Tensor::from_slice(&[4], &shape).unwrap());
        let project = |builder: &mut ModelBuilder, perm: Vec<usize>| {
            let a = builder.mat_mul(norm, width);
            let a = builder.op("split", Op::Reshape { allow_zero: false }, &[a, shape]);
            builder.op("heads", Op::Transpose { perm }, &[a])
        };
        let q = project(&mut builder, vec![0, 2, 1, 3]);
        let k = project(&mut builder, vec![0, 2, 3, 1]);
        let v = project(&mut builder, vec![0, 2, 1, 3]);
        let scores = builder.op("scores", Op::MatMul, &[q, k]);
        let weights = builder.softmax(scores);
        let mixed = builder.op("mixed", Op::MatMul, &[weights, v]);
        let joined = builder.op("joined", Op::Transpose { perm: vec![0, 2, 1, 3] }, &[mixed]);
        let back = Tensor::from_slice(&[3], &[1, tokens as i64, width as i64]).unwrap();
        let back = builder.constant("back", back);
        let joined = builder.op("flat", Op::Reshape { allow_zero: false }, &[joined, back]);
        let sum = builder.add(joined, x);
        let y = builder.unary(sum, UnaryOp::Gelu { tanh: seed % 2 == 0 });
        let graph = builder.finish(&[y]);
        close(&*device, &graph, seed, 1e-5);
    }
}

#[test]
fn functions_of_floats_are_near_the_reference() {
    let Some(device) = device() else { return };
    let functions = [
        UnaryOp::Relu,
        UnaryOp::LeakyRelu { alpha: 0.1 },
        UnaryOp::Elu { alpha: 1.2 },
        UnaryOp::Clip { min: -0.5, max: 0.7 },
        UnaryOp::Sigmoid,
        UnaryOp::HardSigmoid { alpha: 0.2, beta: 0.5 },
        UnaryOp::HardSwish,
        UnaryOp::Silu,
        UnaryOp::Gelu { tanh: false },
        UnaryOp::Gelu { tanh: true },
        UnaryOp::Mish,
        UnaryOp::Softplus,
        UnaryOp::Tanh,
        UnaryOp::Erf,
        UnaryOp::Exp,
        UnaryOp::Abs,
        UnaryOp::Neg,
        UnaryOp::Floor,
        UnaryOp::Ceil,
        UnaryOp::Round,
    ];
    let mut builder = ModelBuilder::new("functions", 3);
    let x = builder.input("x", &[2, 3, 35]);
    let mut outputs: Vec<ValueId> = functions.iter().map(|&op| builder.unary(x, op)).collect();
    let positive = builder.unary(x, UnaryOp::Softplus);
    for op in [UnaryOp::Log, UnaryOp::Sqrt, UnaryOp::Reciprocal] {
        outputs.push(builder.unary(positive, op));
    }
    for op in [BinaryOp::Div, BinaryOp::Pow] {
        outputs.push(builder.binary(op, positive, positive));
    }
    for op in [BinaryOp::Min, BinaryOp::Max] {
        outputs.push(builder.binary(op, x, positive));
    }
    let graph = builder.finish(&outputs);
    close(&*device, &graph, 5, 2e-6);
}

#[test]
fn what_is_not_supported_is_refused_with_its_reason() {
    let Some(device) = device() else { return };
    let mut builder = ModelBuilder::new("refused", 3);
    let x = builder.input("x", &[1, 2, 3, 4, 5]);
    let y = builder.op("argmax", Op::ArgMax { min: false, axis: 1, keep_dims: false, last: false }, &[x]);
    let weights = builder.random().normals(&[3, 2, 1, 1, 1], 1.0);
    let weights = builder.constant("weights", weights);
    let conv = ConvAttributes {
        kernel: vec![1; 3],
        strides: vec![1; 3],
        dilations: vec![1; 3],
        pads: vec![0; 6],
        groups: 1,
    };
    let z = builder.op("conv", Op::Conv { conv, activation: Activation::None }, &[x, weights]);
    let graph = builder.finish(&[y, z]);
    for verdict in device.supports(&graph).unwrap() {
        assert_ne!(verdict.support, Support::Native);
        assert!(!verdict.reasons.is_empty());
    }
}

#[test]
fn contexts_of_one_executable_run_at_once() {
    let Some(device) = device() else { return };
    let program = show_everything(quantized(&convolutions(3), Precision::W8A8, DType::U8, 3));
    let executable = device.compile(&program, &CompileOptions::threads(1)).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (executable, program) = (&executable, &program);
            scope.spawn(move || {
                let given = inputs(program, seed);
                let expected = Interpreter::new(program).unwrap().run(&given).unwrap();
                for _ in 0..5 {
                    assert_eq!(run(executable, &given), expected);
                }
            });
        }
    });
}
