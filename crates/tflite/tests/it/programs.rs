//! Programs that tests write: each has the operators of one family in 8-bit codes.

use fewbit_core::infer;
use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, CoordinateMode, DType, Graph, NearestMode, Op, PoolAttributes,
    ResizeAttributes, ResizeMode, Tensor, UnaryOp, ValueId,
};
use fewbit_core::lower::{Choices, has_integer_form, lower};
use fewbit_core::plan::Precision;
use fewbit_core::quant::{QuantParams, Scheme, Symmetry};
use fewbit_core::reference::Interpreter;
use fewbit_testing::{ConvOptions, ModelBuilder};

/// A program, and what LiteRT may make of it.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// In floats.
    pub(crate) graph: Graph,
    /// Steps of the output's scale by which codes may differ: TFLite's own arithmetic for the operator is another.
    pub(crate) steps: u8,
}

fn input_of(graph: &Graph) -> Tensor {
    let extents = graph.value(graph.inputs[0]).extents().unwrap();
    let mut random = fewbit_testing::Random::new(11);
    let values: Vec<f32> = (0..extents.iter().product::<usize>()).map(|_| random.float(-1.0, 1.0)).collect();
    Tensor::from_slice(&extents, &values).unwrap()
}

/// The float input that ranges are taken from and runs are made on.
pub(crate) fn sample(graph: &Graph) -> Tensor {
    input_of(graph)
}

/// The program in codes of `dtype`, with the parameters that TFLite fixes for sigmoid, tanh and softmax.
pub(crate) fn quantized(graph: &Graph, dtype: DType) -> Graph {
    let mut choices = Choices::default();
    for (_, node) in graph.nodes() {
        if has_integer_form(&node.op) {
            choices.precisions.insert(node.name.clone(), Precision::W8A8);
        }
    }
    let scheme = Scheme { dtype, symmetry: Symmetry::Affine, ..Scheme::ACTIVATION_U8 };
    let mut see = |id: ValueId, tensor: &Tensor| {
        if tensor.dtype() == DType::F32 {
            let values = tensor.to_f32_vec();
            let (low, high) = values.iter().fold((0f32, 0f32), |(low, high), &x| (low.min(x), high.max(x)));
            let (scale, zero) = scheme.parameters(low, high).unwrap();
            choices
                .activations
                .insert(graph.value(id).name.clone(), (dtype, QuantParams::per_tensor(scale, zero)));
        }
    };
    let given = input_of(graph);
    see(graph.inputs[0], &given);
    Interpreter::new(graph).unwrap().run_observed(&[given], &mut see).unwrap();
    let mut program = lower(graph, &choices).unwrap();
    infer::infer(&mut program).unwrap();
    program
}

fn built(
    name: &'static str,
    extents: &[usize],
    steps: u8,
    make: impl Fn(&mut ModelBuilder, ValueId) -> ValueId,
) -> Subject {
    let mut builder = ModelBuilder::new(name, 3);
    let x = builder.input("x", extents);
    let y = make(&mut builder, x);
    Subject { name, graph: builder.finish(&[y]), steps }
}

/// A convolution whose borders TFLite has no name for.
fn uneven(builder: &mut ModelBuilder, x: ValueId) -> ValueId {
    let weights: Vec<f32> = (0..6 * 5 * 3 * 2).map(|_| builder.random().float(-1.0, 1.0)).collect();
    let weights = builder.constant("weight", Tensor::from_slice(&[6, 5, 3, 2], &weights).unwrap());
    let conv = ConvAttributes {
        kernel: vec![3, 2],
        strides: vec![2, 1],
        dilations: vec![1, 2],
        pads: vec![2, 0, 0, 1],
        groups: 1,
    };
    builder.op("uneven", Op::Conv { conv, activation: Activation::None }, &[x, weights])
}

fn resized(
    mode: ResizeMode,
    coordinates: CoordinateMode,
    nearest: NearestMode,
) -> impl Fn(&mut ModelBuilder, ValueId) -> ValueId {
    move |builder, x| {
        let [n, c, h, w] = builder.extents(x)[..] else { panic!("an image") };
        let sizes = [n as i64, c as i64, 2 * h as i64, 2 * w as i64];
        let sizes = builder.constant("sizes", Tensor::from_slice(&[4], &sizes).unwrap());
        let attributes =
            ResizeAttributes { mode, coordinates, nearest, cubic: -0.75, exclude_outside: false };
        builder.op_with("resize", Op::Resize(attributes), &[Some(x), None, None, Some(sizes)])
    }
}

/// All of them.
pub(crate) fn subjects() -> Vec<Subject> {
    let image = [1, 5, 9, 8];
    let pool = |pads: [usize; 4], kernel: usize, stride: usize, average: bool| {
        move |builder: &mut ModelBuilder, x: ValueId| {
            let attributes = PoolAttributes {
                kernel: vec![kernel; 2],
                strides: vec![stride; 2],
                dilations: vec![1; 2],
                pads: pads.to_vec(),
                ceil: false,
                count_include_pad: false,
            };
            let op = if average { Op::AveragePool(attributes) } else { Op::MaxPool(attributes) };
            builder.op("pool", op, &[x])
        }
    };
    let unary = |name, op: UnaryOp, steps| built(name, &image, steps, move |builder, x| builder.unary(x, op));
    vec![
        built("pointwise", &image, 0, |b, x| b.conv(x, 7, ConvOptions::same(1))),
        built("same", &image, 0, |b, x| b.conv(x, 7, ConvOptions::same(3).activation(Activation::Relu))),
        built("strided", &image, 0, |b, x| b.conv(x, 7, ConvOptions::same(3).stride(2))),
        built("uneven", &image, 0, uneven),
        built("relu6", &image, 0, |b, x| {
            b.conv(x, 7, ConvOptions::same(3).activation(Activation::Clip { min: 0.0, max: 0.5 }))
        }),
        built("depthwise", &[1, 8, 9, 8], 0, |b, x| b.depthwise(x, 3, 1, Activation::None)),
        built("depthwise-strided", &[1, 8, 8, 8], 0, |b, x| b.depthwise(x, 5, 2, Activation::Relu)),
        built("fully-connected", &[1, 24], 0, |b, x| b.gemm(x, 10)),
        built("flattened", &image, 0, |b, x| {
            let x = b.conv(x, 4, ConvOptions::same(3));
            let x = b.flatten(x);
            b.gemm(x, 6)
        }),
        built("add", &image, 1, |b, x| {
            let y = b.conv(x, 5, ConvOptions::same(1));
            b.add(x, y)
        }),
        built("mul", &image, 1, |b, x| {
            let y = b.conv(x, 5, ConvOptions::same(1));
            b.binary(BinaryOp::Mul, x, y)
        }),
        built("concat", &image, 1, |b, x| {
            let y = b.conv(x, 3, ConvOptions::same(1));
            b.concat(&[x, y])
        }),
        built("max-pool", &image, 1, pool([0; 4], 2, 2, false)),
        built("max-pool-bordered", &image, 1, pool([1; 4], 3, 2, false)),
        built("average-pool", &image, 1, pool([0; 4], 3, 2, true)),
        built("average-pool-same", &image, 1, pool([1; 4], 3, 1, true)),
        built("global-average-pool", &image, 1, ModelBuilder::global_average_pool),
        built(
            "nearest",
            &image,
            0,
            resized(ResizeMode::Nearest, CoordinateMode::Asymmetric, NearestMode::Floor),
        ),
        built(
            "nearest-half",
            &image,
            0,
            resized(ResizeMode::Nearest, CoordinateMode::HalfPixel, NearestMode::RoundPreferFloor),
        ),
        built(
            "bilinear",
            &image,
            2,
            resized(ResizeMode::Linear, CoordinateMode::HalfPixel, NearestMode::Floor),
        ),
        unary("relu", UnaryOp::Relu, 1),
        unary("sigmoid", UnaryOp::Sigmoid, 2),
        unary("tanh", UnaryOp::Tanh, 2),
        unary("hard-swish", UnaryOp::HardSwish, 1),
        unary("silu", UnaryOp::Silu, 2),
        unary("leaky-relu", UnaryOp::LeakyRelu { alpha: 0.1 }, 1),
        built("transposed", &image, 0, |b, x| {
            let x = b.conv(x, 4, ConvOptions::same(1));
            b.op("transpose", Op::Transpose { perm: vec![0, 3, 2, 1] }, &[x])
        }),
    ]
}
