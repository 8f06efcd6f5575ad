//! The backend against the reference interpreter: 8-bit programs equal to the bit.

use std::sync::{Arc, OnceLock};

use fewbit_backend_gpu_wgpu::WgpuBackend;
use fewbit_core::backend::{Backend, CompileOptions, Device, Executable};
use fewbit_core::capability::Support;
use fewbit_core::infer;
use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, CoordinateMode, DType, Graph, NearestMode, Op, PoolAttributes,
    ReduceOp, ResizeAttributes, ResizeMode, Tensor, UnaryOp, ValueId,
};
use fewbit_core::lower::{Choices, has_integer_form, lower};
use fewbit_core::plan::Precision;
use fewbit_core::quant::{QuantParams, Scheme, Symmetry};
use fewbit_core::reference::Interpreter;
use fewbit_testing::{ConvOptions, ModelBuilder, Random, report_skip};

/// The first adapter, with the kernels it gets and with those of graphics processors; none, visibly, where there is no
/// adapter. With `FEWBIT_REQUIRE_WGPU=1` that fails.
fn devices() -> Vec<Arc<dyn Device>> {
    static FOUND: OnceLock<Vec<Arc<dyn Device>>> = OnceLock::new();
    let devices = FOUND.get_or_init(open).clone();
    if devices.is_empty() {
        let required = std::env::var("FEWBIT_REQUIRE_WGPU").is_ok_and(|value| value == "1");
        let availability = WgpuBackend::new().availability();
        assert!(!required, "FEWBIT_REQUIRE_WGPU=1 and there is no adapter: {availability:?}");
        report_skip(&format!("there is no adapter: {availability:?}"));
    }
    devices
}

#[expect(clippy::print_stderr, reason = "which device a test ran on is part of its result")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn open() -> Vec<Arc<dyn Device>> {
    let mut devices = Vec::new();
    for backend in [WgpuBackend::new(), WgpuBackend::with_graphics_kernels()] {
        devices.extend(backend.devices().unwrap().into_iter().next());
    }
    if let Some(device) = devices.first() {
        let capability = device.capabilities().unwrap();
        capability.validate().unwrap();
        say(&format!("{}: {:#?}", capability.title, capability.notes));
    }
    devices
}

fn inputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let mut random = Random::new(seed);
    graph.inputs.iter().map(|&id| random.floats(&graph.value(id).extents().unwrap())).collect()
}

/// The 8-bit program of a model, every value an output: what lies between codes is compared too.
fn quantized(graph: &Graph, dtype: DType, seed: u64) -> Graph {
    let mut choices = Choices::default();
    for (_, node) in graph.nodes().filter(|(_, node)| has_integer_form(&node.op)) {
        choices.precisions.insert(node.name.clone(), Precision::W8A8);
    }
    let scheme = Scheme { dtype, symmetry: Symmetry::Affine, ..Scheme::ACTIVATION_U8 };
    let mut see = |id: ValueId, tensor: &Tensor| {
        if tensor.dtype() == DType::F32 {
            let values = tensor.to_f32_vec();
            // A little less than there is, so that codes saturate.
            let (low, high) = values.iter().fold((0f32, 0f32), |(low, high), &x| (low.min(x), high.max(x)));
            let (scale, zero) = scheme.parameters(low * 0.9, high * 0.9).unwrap();
            choices
                .activations
                .insert(graph.value(id).name.clone(), (dtype, QuantParams::per_tensor(scale, zero)));
        }
    };
    let given = inputs(graph, seed);
    for (&id, tensor) in graph.inputs.iter().zip(&given) {
        see(id, tensor);
    }
    Interpreter::new(graph).unwrap().run_observed(&given, &mut see).unwrap();
    let mut program = lower(graph, &choices).unwrap();
    infer::infer(&mut program).unwrap();
    program.outputs = program.nodes().flat_map(|(_, node)| node.outputs.clone()).collect();
    program
}

/// Runs a program twice in one context.
fn run(executable: &Arc<dyn Executable>, given: &[Tensor]) -> Vec<Tensor> {
    let zeros = |executable: &Arc<dyn Executable>| -> Vec<Tensor> {
        executable.outputs().iter().map(|spec| Tensor::zeros(spec.dtype, &spec.extents).unwrap()).collect()
    };
    let (mut first, mut second) = (zeros(executable), zeros(executable));
    let mut context = Arc::clone(executable).context().unwrap();
    context.run(given, &mut first).unwrap();
    context.run(given, &mut second).unwrap();
    assert_eq!(first, second, "a second run in the same context");
    first
}

/// The device takes every node, and computes what the reference computes.
fn agrees(device: &dyn Device, program: &Graph, seed: u64) {
    for (verdict, (_, node)) in device.supports(program).unwrap().iter().zip(program.nodes()) {
        assert_eq!(verdict.support, Support::Native, "seed {seed}, {}: {:?}", node.name, verdict.reasons);
    }
    let given = inputs(program, seed + 1);
    let expected = Interpreter::new(program).unwrap().run(&given).unwrap();
    let executable = device.compile(program, &CompileOptions::threads(1)).unwrap();
    let actual = run(&executable, &given);
    for ((actual, expected), &id) in actual.iter().zip(&expected).zip(&program.outputs) {
        assert_eq!(actual, expected, "seed {seed}, `{}`", program.value(id).name);
    }
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
    for device in devices() {
        for seed in 0..25 {
            for dtype in [DType::U8, DType::I8] {
                agrees(&*device, &quantized(&convolutions(seed), dtype, seed), seed);
            }
        }
    }
}

#[test]
fn structures_of_codes_are_those_of_the_reference() {
    for device in devices() {
        for seed in 0..40 {
            for dtype in [DType::U8, DType::I8] {
                agrees(&*device, &quantized(&structures(seed), dtype, seed), seed);
            }
        }
    }
}

/// Sums of more products than floats add up exactly.
#[test]
fn deep_products_wrap_over_to_integers() {
    for device in devices() {
        for (seed, depth) in [(1, 511), (2, 512), (3, 513), (4, 1040), (5, 5003)] {
            let mut builder = ModelBuilder::new("deep", seed);
            let x = builder.input("x", &[3, depth]);
            let y = builder.mat_mul(x, 18);
            let graph = builder.finish(&[y]);
            agrees(&*device, &quantized(&graph, DType::U8, seed), seed);
        }
    }
}

/// Codes at their extremes: the largest sums there are.
#[test]
fn the_largest_sums_are_exact() {
    for device in devices() {
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
}

/// Conversions near ties and at what is no number.
#[test]
fn floats_become_codes_by_a_division() {
    for device in devices() {
        for (scale, zero) in [(0.3f32, 7), (0.017, 128), (3.1e-5, 0), (1.0, 255), (1.3e36, 255), (1.1e-36, 3)]
        {
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
    for device in devices() {
        for seed in 0..10 {
            close(&*device, &convolutions(seed), seed, 1e-5);
            close(&*device, &structures(seed), seed, 1e-5);
        }
    }
}

/// A block of an encoder: products neither of which is constant, softmax, normalisation.
#[test]
fn a_block_of_an_encoder_is_near_the_reference() {
    for device in devices() {
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
}

#[test]
fn functions_of_floats_are_near_the_reference() {
    for device in devices() {
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
        for op in [BinaryOp::Div, BinaryOp::PRelu] {
            outputs.push(builder.binary(op, positive, positive));
        }
        for op in [BinaryOp::Min, BinaryOp::Max] {
            outputs.push(builder.binary(op, x, positive));
        }
        let graph = builder.finish(&outputs);
        close(&*device, &graph, 5, 2e-6);
    }
}

#[test]
fn what_is_not_supported_is_refused_with_its_reason() {
    for device in devices() {
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
}

#[test]
fn contexts_of_one_executable_run_at_once() {
    for device in devices() {
        let program = quantized(&convolutions(3), DType::U8, 3);
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
}

/// The model of the quickstart, whole: the CPU's codes to the bit.
#[test]
fn the_digits_are_those_of_the_processor() {
    for device in devices() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits/digits.onnx");
        let options = fewbit_onnx::ImportOptions::fixed([].into(), Some(1));
        let mut graph = fewbit_onnx::open(path.as_ref(), &options).unwrap();
        infer::infer(&mut graph).unwrap();
        fewbit_core::pass::optimize(&mut graph, &mut |_, _, _| {}).unwrap();
        for dtype in [DType::U8, DType::I8] {
            let program = quantized(&graph, dtype, 7);
            let cpu = fewbit_backend_cpu::CpuBackend::new().device();
            let options = CompileOptions::threads(1);
            let (here, there) =
                (device.compile(&program, &options).unwrap(), cpu.compile(&program, &options).unwrap());
            for seed in 0..20 {
                let given = inputs(&program, seed);
                assert_eq!(run(&here, &given), run(&there, &given), "seed {seed}");
            }
        }
    }
}

/// Whatever grows with every run: more than the allocators' noise would be a leak.
#[test]
fn runs_leave_nothing_behind() {
    for device in devices().into_iter().take(1) {
        let program = quantized(&convolutions(5), DType::U8, 5);
        let executable = device.compile(&program, &CompileOptions::threads(1)).unwrap();
        let given = inputs(&program, 5);
        let mut context = Arc::clone(&executable).context().unwrap();
        let mut outputs: Vec<Tensor> = executable
            .outputs()
            .iter()
            .map(|spec| Tensor::zeros(spec.dtype, &spec.extents).unwrap())
            .collect();
        let mut repeat = |runs: usize| {
            for _ in 0..runs {
                context.run(&given, &mut outputs).unwrap();
            }
        };
        // How many runs are counted: 10,000 with `FEWBIT_LEAK_RUNS=10000`, as docs/design/wgpu.md says.
        let runs = std::env::var("FEWBIT_LEAK_RUNS").map_or(300, |text| text.parse().unwrap());
        repeat(100);
        let Some(before) = resident() else {
            fewbit_testing::skip!("the system does not tell what is resident")
        };
        repeat(runs);
        let grown = resident().unwrap().saturating_sub(before);
        say(&format!("{runs} runs: {grown} bytes more resident"));
        // Other tests run beside this one: 16 MiB of noise, which a leak of 2 KiB a run passes in 10,000 runs.
        assert!(grown < 16 << 20, "{runs} runs grew by {grown} bytes");
        for _ in 0..runs / 10 {
            drop(Arc::clone(&executable).context().unwrap());
        }
        let grown = resident().unwrap().saturating_sub(before);
        assert!(grown < 32 << 20, "{} contexts grew by {grown} bytes", runs / 10);
    }
}

/// Bytes of this process in memory.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Ranges, broadcasts, sums and rows by index; indices that are none are an error, not what happens to lie there.
#[test]
fn what_is_picked_is_what_the_reference_picks() {
    for device in devices() {
        for seed in 0..12 {
            let mut builder = ModelBuilder::new("picking", seed);
            let (rows, width) = (pick(&mut builder, 5, 9), pick(&mut builder, 3, 11));
            let words = builder.random().normals(&[rows, width], 1.0);
            let words = builder.constant("words", words);
            let numbers = |builder: &mut ModelBuilder, name: &str, values: &[i64]| {
                builder.constant(name, Tensor::from_slice(&[values.len()], values).unwrap())
            };
            let tokens = pick(&mut builder, 2, 7);
            let indices: Vec<i64> =
                (0..tokens).map(|_| builder.random().integer(-(rows as i64), rows as i64 - 1)).collect();
            let indices = numbers(&mut builder, "indices", &indices);
            let x = builder.input("x", &[2, tokens, width]);
            let chosen = builder.op("chosen", Op::Gather { axis: 0 }, &[words, indices]);
            let sum = builder.add(x, chosen);
            let (from, step) = if seed % 2 == 0 { (1, 1) } else { (-1, -2) };
            let starts = numbers(&mut builder, "starts", &[0, from]);
            let ends = numbers(&mut builder, "ends", &[1, if step < 0 { i64::MIN + 1 } else { i64::MAX }]);
            let axes = numbers(&mut builder, "axes", &[0, -1]);
            let steps = numbers(&mut builder, "steps", &[1, step]);
            let part = builder.op("part", Op::Slice, &[sum, starts, ends, axes, steps]);
            let shape = numbers(&mut builder, "shape", &[3, 1, 1]);
            let wide = builder.op("wide", Op::Expand, &[part, shape]);
            let mut outputs = vec![wide];
            for op in [ReduceOp::Sum, ReduceOp::L1, ReduceOp::L2, ReduceOp::SumSquare, ReduceOp::Mean] {
                let reduce = Op::Reduce { op, axes: vec![1], keep_dims: seed % 3 == 0 };
                outputs.push(builder.op("reduced", reduce, &[sum]));
            }
            let graph = builder.finish(&outputs);
            close(&*device, &graph, seed, 1e-5);
        }
    }
}

#[test]
fn indices_of_a_run_are_checked() {
    for device in devices() {
        let mut graph = Graph::new("embedding");
        let words = Tensor::from_slice(&[4, 3], &(0..12).map(|at| at as f32).collect::<Vec<_>>()).unwrap();
        let words = graph.add_constant("words", words);
        let ids = graph.add_input("ids", DType::I64, fewbit_core::ir::Shape::fixed(&[3]));
        let y = graph.add_op("chosen", Op::Gather { axis: 0 }, &[words, ids]);
        let mask = graph.add_op("mask", Op::Cast { to: DType::F32 }, &[ids]);
        graph.outputs = vec![y, mask];
        infer::infer(&mut graph).unwrap();
        let executable = device.compile(&graph, &CompileOptions::threads(1)).unwrap();
        let given = [Tensor::from_slice(&[3], &[2i64, -4, 3]).unwrap()];
        let found = run(&executable, &given);
        assert_eq!(found, Interpreter::new(&graph).unwrap().run(&given).unwrap());
        let mut context = Arc::clone(&executable).context().unwrap();
        let mut outputs = found.clone();
        for wrong in [4i64, -5, i64::MAX, 1 << 32] {
            let given = [Tensor::from_slice(&[3], &[0, wrong, 0]).unwrap()];
            let error = context.run(&given, &mut outputs).unwrap_err();
            assert!(error.to_string().contains("expected indices from -4 to below 4"), "{error}");
            assert_eq!(outputs, found, "outputs are untouched");
        }
    }
}

/// Products of floats by weights of fewer bits.
#[test]
fn small_weights_are_near_the_reference() {
    for device in devices() {
        for seed in 0..6 {
            let graph = convolutions(seed);
            for precision in [Precision::W8A16F, Precision::W4A16F, Precision::F16] {
                let mut choices = Choices::default();
                for (_, node) in graph.nodes().filter(|(_, node)| node.op.has_weights()) {
                    choices.precisions.insert(node.name.clone(), precision);
                }
                let mut program = lower(&graph, &choices).unwrap();
                if precision != Precision::F16 {
                    program.outputs = program.nodes().flat_map(|(_, node)| node.outputs.clone()).collect();
                }
                assert!(program.nodes().any(|(_, node)| node.precision == Some(precision)));
                if precision != Precision::F16 {
                    close(&*device, &program, seed, 1e-5);
                    continue;
                }
                // The reference takes weights of the activations' type and rounds them itself.
                let mut marked = graph.clone();
                for id in marked.node_ids() {
                    let node = marked.node_mut(id).unwrap();
                    node.precision = node.op.has_weights().then_some(Precision::F16);
                }
                // Sums in another order differ in the last bits of f32, and then some activations round to the other
                // neighbour in f16: a step of 2^-11.
                close(&*device, &marked, seed, 4e-3);
                let given = inputs(&graph, seed);
                let found = [&marked, &program]
                    .map(|graph| run(&device.compile(graph, &CompileOptions::threads(1)).unwrap(), &given));
                assert_eq!(found[0], found[1], "weights in f16 are those that were rounded");
            }
        }
    }
}
