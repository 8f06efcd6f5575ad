//! Random models: integers to the bit, floats within a bound, whatever the tier and the number of threads.

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::CoreErrorKind;
use fewbit_core::backend::{CompileOptions, Device};
use fewbit_core::capability::Support;
use fewbit_core::infer;
use fewbit_core::ir::{
    Activation, BinaryOp, CoordinateMode, DType, Dim, Graph, NearestMode, Op, PoolAttributes, ReduceOp,
    ResizeAttributes, ResizeMode, Shape, Tensor, UnaryOp, ValueId,
};
use fewbit_core::plan::Precision;
use fewbit_core::reference::Interpreter;
use fewbit_kernels::{Tier, TierToken};
use fewbit_testing::device::{self, assert_native, inputs, quantized, show_everything};
use fewbit_testing::{ConvOptions, ModelBuilder, assert_close};
use proptest::prelude::*;

fn tiers() -> Vec<CpuBackend> {
    TierToken::available().into_iter().filter_map(|token| CpuBackend::with_tier(token.tier())).collect()
}

/// Every kind of node that kernels compute, over random extents.
fn model(seed: u64) -> Graph {
    let mut builder = ModelBuilder::new("random", seed);
    let pick =
        |builder: &mut ModelBuilder, low: usize, high: usize| low + builder.random().below(high - low + 1);
    let (c, h, w) = (pick(&mut builder, 1, 5), pick(&mut builder, 5, 12), pick(&mut builder, 5, 12));
    let x = builder.input("x", &[1, c, h, w]);
    let wide = pick(&mut builder, 3, 40);
    let stem = ConvOptions::same(3).activation(Activation::Clip { min: 0.0, max: 6.0 });
    let a = builder.conv(x, wide, stem);
    let kernel = *builder.random().choose(&[3, 5]);
    let stride = pick(&mut builder, 1, 2);
    let b = builder.depthwise(a, kernel, stride, Activation::Relu);
    let narrow = pick(&mut builder, 1, 20);
    let d = builder.conv(b, narrow, ConvOptions::same(1));
    let e = builder.conv(d, narrow, ConvOptions::same(3));
    let sum = builder.add(d, e);
    let gate = builder.global_average_pool(sum);
    let gate = builder.unary(gate, UnaryOp::HardSigmoid { alpha: 0.2, beta: 0.5 });
    let gated = builder.binary(BinaryOp::Mul, sum, gate);
    let silu = builder.unary(gated, UnaryOp::Silu);
    let pool = PoolAttributes {
        kernel: vec![3; 2],
        strides: vec![1; 2],
        dilations: vec![1; 2],
        pads: vec![1; 4],
        ceil: false,
        count_include_pad: false,
    };
    let side = builder.op("max", Op::MaxPool(pool), &[sum]);
    let both = builder.concat(&[silu, side]);
    let mode = *builder.random().choose(&[ResizeMode::Nearest, ResizeMode::Linear]);
    let scales = builder.constant("scales", Tensor::from_slice(&[4], &[1f32, 1.0, 2.0, 2.0]).unwrap());
    let both = resize(&mut builder, both, scales, mode);
    let pooled = builder.average_pool(both, 2, 2);
    let mean =
        builder.op("mean", Op::Reduce { op: ReduceOp::Mean, axes: vec![2, 3], keep_dims: false }, &[pooled]);
    let y = builder.gemm(mean, 10);
    builder.finish(&[y, pooled])
}

pub(crate) fn resize(builder: &mut ModelBuilder, x: ValueId, scales: ValueId, mode: ResizeMode) -> ValueId {
    let attributes = ResizeAttributes {
        mode,
        coordinates: CoordinateMode::HalfPixel,
        nearest: NearestMode::RoundPreferFloor,
        cubic: -0.75,
        exclude_outside: false,
    };
    let graph = builder.graph();
    let (dtype, shape) = (graph.value(x).dtype, graph.value(x).shape.clone());
    assert!(dtype.is_some() && shape.is_some());
    builder.op_with("resize", Op::Resize(attributes), &[Some(x), None, Some(scales)])
}

fn run(device: &dyn Device, program: &Graph, threads: usize, given: &[Tensor]) -> Vec<Tensor> {
    let executable = device.compile(program, &CompileOptions::threads(threads)).unwrap();
    device::run(&executable, given)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn integers_equal_the_reference_to_the_bit(seed in 0u64..1_000_000, signed in any::<bool>(), all in any::<bool>()) {
        let graph = model(seed);
        let dtype = if signed { DType::I8 } else { DType::U8 };
        let precision = if seed % 3 == 0 { Precision::W4A8 } else { Precision::W8A8 };
        let mut program = quantized(&graph, precision, dtype, seed);
        if all {
            program = show_everything(program);
        }
        let given = inputs(&graph, seed + 1);
        let expected = Interpreter::new(&program).unwrap().run(&given).unwrap();
        for backend in tiers() {
            let device = backend.device();
            assert_native(&device, &program);
            for threads in [1, 2, 3] {
                let actual = run(&device, &program, threads, &given);
                for ((actual, expected), &id) in actual.iter().zip(&expected).zip(&program.outputs) {
                    prop_assert!(
                        actual == expected,
                        "{} differs on {} with {threads} threads", program.value(id).name, device.tier()
                    );
                }
            }
        }
    }

    #[test]
    fn dynamic_quantization_equals_the_reference_to_the_bit(seed in 0u64..1_000_000) {
        let graph = model(seed);
        let program = quantized(&graph, Precision::W8A8Dynamic, DType::U8, seed);
        // What follows a float kernel may differ in the last bits, so each dynamic node is looked at alone.
        let given = inputs(&graph, seed + 1);
        let expected = Interpreter::new(&program).unwrap().run(&given).unwrap();
        for backend in tiers() {
            let actual = run(&backend.device(), &program, 2, &given);
            for (actual, expected) in actual.iter().zip(&expected) {
                assert_close(&actual.to_f32_vec(), &expected.to_f32_vec(), 2e-2);
            }
        }
    }

    #[test]
    fn floats_are_close_and_do_not_depend_on_threads(seed in 0u64..1_000_000) {
        let graph = model(seed);
        let given = inputs(&graph, seed + 1);
        let expected = Interpreter::new(&graph).unwrap().run(&given).unwrap();
        for backend in tiers() {
            let device = backend.device();
            assert_native(&device, &graph);
            let one = run(&device, &graph, 1, &given);
            for (actual, expected) in one.iter().zip(&expected) {
                assert_close(&actual.to_f32_vec(), &expected.to_f32_vec(), 1e-5);
            }
            prop_assert_eq!(&one, &run(&device, &graph, 3, &given));
        }
    }
}

#[test]
fn one_dynamic_product_equals_the_reference_to_the_bit() {
    for seed in 0..8 {
        let mut builder = ModelBuilder::new("dynamic", seed);
        let x = builder.input("x", &[2, 7, 6, 5]);
        let y = builder.conv(x, 9, ConvOptions::same(3).activation(Activation::Relu));
        let graph = builder.finish(&[y]);
        let program = quantized(&graph, Precision::W8A8Dynamic, DType::U8, seed);
        let given = inputs(&graph, seed + 1);
        let expected = Interpreter::new(&program).unwrap().run(&given).unwrap();
        for backend in tiers() {
            assert_eq!(run(&backend.device(), &program, 2, &given), expected, "{}", backend.device().tier());
        }
    }
}

#[test]
fn contexts_of_one_executable_run_at_once() {
    let graph = model(3);
    let program = quantized(&graph, Precision::W8A8, DType::U8, 3);
    let device = CpuBackend::new().device();
    let executable = device.compile(&program, &CompileOptions::threads(2)).unwrap();
    let given: Vec<Vec<Tensor>> = (0..4).map(|seed| inputs(&graph, seed)).collect();
    let alone: Vec<Vec<Tensor>> = given.iter().map(|given| device::run(&executable, given)).collect();
    std::thread::scope(|scope| {
        for (given, alone) in given.iter().zip(&alone) {
            let executable = &executable;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(&device::run(executable, given), alone);
                }
            });
        }
    });
}

#[test]
fn wrong_inputs_are_refused_and_outputs_stay_untouched() {
    let graph = model(1);
    let device = CpuBackend::with_tier(Tier::Scalar).unwrap().device();
    let executable = device.compile(&graph, &CompileOptions::threads(1)).unwrap();
    let mut outputs: Vec<Tensor> =
        executable.outputs().iter().map(|spec| Tensor::zeros(spec.dtype, &spec.extents).unwrap()).collect();
    let before = outputs.clone();
    let mut context = executable.context().unwrap();
    let wrong = Tensor::from_slice(&[1], &[1f32]).unwrap();
    let error = context.run(&[wrong], &mut outputs).unwrap_err();
    assert!(error.to_string().contains("expected input `x`"), "{error}");
    assert!(context.run(&[], &mut outputs).is_err());
    assert_eq!(outputs, before);
}

#[test]
fn a_node_without_a_kernel_runs_in_the_reference_and_says_so() {
    let mut builder = ModelBuilder::new("emulated", 5);
    let x = builder.input("x", &[1, 4, 3, 3]);
    let y = builder.unary(x, UnaryOp::Exp);
    let y = builder.op("total", Op::Reduce { op: ReduceOp::L2, axes: vec![1], keep_dims: true }, &[y]);
    let graph = builder.finish(&[y]);
    let device = CpuBackend::new().device();
    let verdicts = device.supports(&graph).unwrap();
    assert_eq!(verdicts[0].support, Support::Native);
    assert_eq!(verdicts[1].support, Support::Emulated);
    assert!(verdicts[1].reasons[0].message.contains("mean"), "{:?}", verdicts[1].reasons);
    let given = inputs(&graph, 2);
    let expected = Interpreter::new(&graph).unwrap().run(&given).unwrap();
    assert_close(&run(&device, &graph, 1, &given)[0].to_f32_vec(), &expected[0].to_f32_vec(), 1e-5);
}

/// A model of free batch in front of an operator without a meaning or a shape: `Relu`, then `Nonsense`, then `Relu`.
fn without_meaning(batch: Dim) -> Graph {
    let mut graph = Graph::new("free");
    let shape = Shape(vec![batch, Dim::Fixed(4)]);
    let x = graph.add_input("x", DType::F32, shape);
    let y = graph.add_op("first", Op::Unary(UnaryOp::Relu), &[x]);
    let op = Op::Opaque {
        domain: "org.example".into(),
        op_type: "Nonsense".into(),
        attributes: indexmap::IndexMap::new(),
        lack: Box::default(),
    };
    let odd = graph.add_op("odd", op, &[y]);
    let last = graph.add_op("last", Op::Unary(UnaryOp::Relu), &[odd]);
    graph.outputs.push(last);
    infer::infer(&mut graph).unwrap();
    graph
}

#[test]
fn free_dimensions_are_an_error_and_operators_without_a_meaning_a_verdict() {
    let device = CpuBackend::new().device();
    let error = device.supports(&without_meaning(Dim::Symbol("N".into()))).unwrap_err();
    assert_eq!(error.kind(), CoreErrorKind::Dynamic);
    assert_eq!(error.place(), Some("x"));

    let verdicts = device.supports(&without_meaning(Dim::Fixed(2))).unwrap();
    assert_eq!(verdicts[0].support, Support::Native);
    assert!(!verdicts[1].is_supported() && !verdicts[1].reasons.is_empty(), "{:?}", verdicts[1]);
    assert_ne!(verdicts[2].support, Support::Native, "its input is of no known shape");
}
