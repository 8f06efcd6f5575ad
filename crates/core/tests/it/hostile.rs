//! Nodes that no honest model holds: attributes, shapes and integers at their extremes, inputs missing or of the wrong
//! type. Whatever comes back, nothing panics.

use fewbit_core::infer::infer;
use fewbit_core::ir::{
    Activation, BinaryOp, Cell, CompareOp, ConvAttributes, CoordinateMode, DType, Dim, Direction, Graph,
    GridAttributes, GridPadding, IndexOp, LogicOp, NearestMode, Node, Op, PadMode, PoolAttributes, Recurrent,
    ReduceOp, ResampleAttributes, ResizeAttributes, ResizeMode, RoiAttributes, ScatterReduction, Shape,
    Tensor, UnaryOp,
};
use fewbit_core::plan::Precision;
use fewbit_core::quant::{Granularity, QuantParams};
use fewbit_core::reference::evaluate;
use fewbit_testing::Random;
use proptest::prelude::*;

/// A number that is usually small, sometimes zero, sometimes enormous.
fn number(random: &mut Random) -> usize {
    match random.below(12) {
        0 => *random.choose(&[usize::MAX, usize::MAX / 2, 1 << 62, 1 << 40, 1 << 31]),
        1 => 0,
        _ => 1 + random.below(4),
    }
}

fn integer(random: &mut Random) -> i64 {
    match random.below(8) {
        0 => *random.choose(&[i64::MIN, i64::MAX, i64::MIN + 1, 1 << 40, -(1 << 40)]),
        _ => random.integer(-4, 6),
    }
}

fn numbers(random: &mut Random, most: usize) -> Vec<usize> {
    (0..random.below(most + 1)).map(|_| number(random)).collect()
}

/// Axes that are usually sensible.
fn axes(random: &mut Random) -> Vec<usize> {
    let count = random.below(3);
    (0..count).map(|_| if random.below(20) == 0 { number(random) } else { random.below(4) }).collect()
}

fn conv(random: &mut Random) -> ConvAttributes {
    let rank = 1 + random.below(3);
    let mut list = |length: usize| (0..length).map(|_| number(random)).collect::<Vec<_>>();
    ConvAttributes {
        kernel: list(rank),
        strides: list(rank),
        dilations: list(rank),
        pads: list(2 * rank),
        groups: 1 + usize::from(list(1)[0] > 3),
    }
}

fn pool(random: &mut Random) -> PoolAttributes {
    let ConvAttributes { kernel, strides, dilations, pads, .. } = conv(random);
    let (ceil, count_include_pad) = (random.below(2) == 1, random.below(2) == 1);
    PoolAttributes { kernel, strides, dilations, pads, ceil, count_include_pad }
}

fn op(random: &mut Random) -> Op {
    let activation =
        *random.choose(&[Activation::None, Activation::Relu, Activation::Clip { min: 1.0, max: -1.0 }]);
    let flag = random.below(2) == 1;
    let axis = if random.below(10) == 0 { number(random) } else { random.below(4) };
    match random.below(50) {
        0 => Op::Identity,
        1 => Op::Conv { conv: conv(random), activation },
        2 => {
            let conv = conv(random);
            let output_padding = (0..conv.kernel.len()).map(|_| number(random)).collect();
            Op::ConvTranspose { conv, output_padding, activation }
        }
        3 => Op::Gemm { alpha: f32::NAN, beta: 2.0, trans_a: flag, trans_b: !flag, activation },
        4 => Op::MatMul,
        5 => Op::MaxPool(pool(random)),
        6 => Op::AveragePool(pool(random)),
        7 => Op::GlobalAveragePool,
        8 => Op::GlobalMaxPool,
        9 => Op::Unary(*random.choose(&[
            UnaryOp::Not,
            UnaryOp::Neg,
            UnaryOp::Abs,
            UnaryOp::Exp,
            UnaryOp::Sign,
        ])),
        10 => Op::Binary {
            op: *random.choose(&[
                BinaryOp::Add,
                BinaryOp::Mul,
                BinaryOp::Div,
                BinaryOp::Mod,
                BinaryOp::Fmod,
                BinaryOp::BitXor,
                BinaryOp::ShiftLeft,
                BinaryOp::Pow,
                BinaryOp::PRelu,
            ]),
            activation,
        },
        11 => Op::Compare(*random.choose(&[CompareOp::Equal, CompareOp::Less])),
        12 => Op::Logic(*random.choose(&[LogicOp::And, LogicOp::Xor])),
        13 => Op::Where,
        14 => Op::Softmax { axis, log: flag },
        15 => Op::BatchNorm { epsilon: -1.0 },
        16 => Op::LayerNorm { axis, epsilon: 0.0 },
        17 => Op::InstanceNorm { epsilon: 0.0 },
        18 => {
            let op = *random.choose(&[ReduceOp::Mean, ReduceOp::Max, ReduceOp::L2, ReduceOp::LogSumExp]);
            Op::Reduce { op, axes: axes(random), keep_dims: flag }
        }
        19 => Op::ArgMax { axis, keep_dims: flag, last: flag, min: !flag },
        20 => Op::Reshape { allow_zero: flag },
        21 => Op::Flatten { axis },
        22 => Op::Transpose { perm: axes(random) },
        23 => Op::Squeeze { axes: axes(random) },
        24 => Op::Unsqueeze { axes: axes(random) },
        25 => Op::Concat { axis },
        26 => Op::Split { axis, sizes: numbers(random, 2) },
        27 => Op::Slice,
        28 => Op::Gather { axis },
        29 => Op::Expand,
        30 => Op::Tile,
        31 => Op::Pad { mode: *random.choose(PadMode::ALL) },
        32 => Op::Resize(ResizeAttributes {
            mode: *random.choose(ResizeMode::ALL),
            coordinates: *random.choose(&[CoordinateMode::HalfPixelSymmetric, CoordinateMode::AlignCorners]),
            nearest: NearestMode::Ceil,
            cubic: f32::INFINITY,
            exclude_outside: flag,
        }),
        33 => Op::DepthToSpace { block: number(random), crd: flag },
        34 => Op::SpaceToDepth { block: number(random) },
        35 => Op::Shape { start: axis, end: flag.then_some(axis) },
        36 => Op::ConstantOfShape { value: random.tensor(DType::I4, &[1]) },
        37 => Op::Range,
        38 => Op::Cast { to: *random.choose(&DType::ALL) },
        39 => Op::QuantizeLinear { axis, block: number(random) % 5, to: *random.choose(&DType::ALL) },
        40 => Op::DequantizeLinear { axis, block: number(random) % 5 },
        41..47 => Op::Index(index(random, axis, flag)),
        47 => {
            let cell = *random.choose(&[
                Cell::Rnn,
                Cell::Gru { linear_before_reset: flag },
                Cell::Lstm { input_forget: flag },
            ]);
            let direction = *random.choose(&[Direction::Forward, Direction::Reverse, Direction::Both]);
            Op::Recurrent(Recurrent {
                cell,
                direction,
                hidden: number(random),
                functions: cell.functions().repeat(1 + random.below(2)),
                clip: flag.then_some(-1.0),
                batch_first: !flag,
            })
        }
        _ => {
            random.choose(&[Op::Quantize, Op::Dequantize, Op::Requantize, Op::DynamicQuantizeLinear]).clone()
        }
    }
}

fn index(random: &mut Random, axis: usize, flag: bool) -> IndexOp {
    let reduction = *random.choose(&[ScatterReduction::None, ScatterReduction::Mul, ScatterReduction::Max]);
    let ConvAttributes { strides, dilations, pads, kernel, .. } = conv(random);
    match random.below(20) {
        0 => IndexOp::GatherElements { axis },
        1 => IndexOp::GatherNd { batch_dims: axis },
        2 => IndexOp::ScatterElements { axis, reduction },
        3 => IndexOp::ScatterNd { reduction },
        4 => IndexOp::OneHot { axis },
        5 => IndexOp::CumSum { exclusive: flag, reverse: flag },
        6 => IndexOp::TopK { axis, largest: flag },
        7 => IndexOp::NonMaxSuppression { center: flag },
        8 => IndexOp::NonZero,
        9 => IndexOp::Compress { axis: flag.then_some(axis) },
        10 => IndexOp::Trilu { upper: flag },
        11 => IndexOp::ReverseSequence { batch_axis: axis % 3, time_axis: usize::from(flag) },
        12 => IndexOp::Unique { axis: flag.then_some(axis), sorted: axis == 1 },
        13 => IndexOp::GridSample(GridAttributes {
            mode: *random.choose(ResizeMode::ALL),
            padding: *random.choose(&[GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection]),
            align_corners: flag,
        }),
        14 => IndexOp::RoiAlign(RoiAttributes {
            max: flag,
            bins: [number(random), number(random)],
            sampling_ratio: number(random) % 4,
            spatial_scale: *random.choose(&[1.0, -1.0, f32::MAX, f32::NAN]),
            half_pixel: flag,
        }),
        15 => IndexOp::Col2Im { strides, dilations, pads },
        17 => IndexOp::Resample(ResampleAttributes {
            resize: ResizeAttributes {
                mode: *random.choose(ResizeMode::ALL),
                coordinates: CoordinateMode::HalfPixel,
                nearest: NearestMode::Floor,
                cubic: f32::NAN,
                exclude_outside: flag,
            },
            antialias: flag,
            crop: (random.below(2) == 1).then_some(f32::NAN),
        }),
        18 => IndexOp::ReduceBy { op: ReduceOp::Mean, keep_dims: flag, all: axis == 0 },
        16 => IndexOp::MaxPoolIndices { pool: pool(random), column_major: flag },
        _ => IndexOp::MaxUnpool { kernel, strides, pads },
    }
}

fn tensor(random: &mut Random) -> Tensor {
    if random.below(3) == 0 {
        // A list that may say a shape, or an index.
        let values: Vec<i64> = (0..random.below(5)).map(|_| integer(random)).collect();
        return match random.below(4) {
            0 => Tensor::scalar(integer(random)),
            _ => Tensor::from_slice(&[values.len()], &values).unwrap(),
        };
    }
    let extents: Vec<usize> = (0..random.below(5)).map(|_| *random.choose(&[0, 1, 2, 2, 3, 4])).collect();
    let dtype = *random.choose(&[
        DType::F32,
        DType::F32,
        DType::U8,
        DType::I8,
        DType::F16,
        DType::I4,
        DType::U64,
        DType::Bool,
    ]);
    random.tensor(dtype, &extents)
}

fn quant(random: &mut Random) -> Option<QuantParams> {
    let granularity = match random.below(8) {
        0 => Granularity::PerChannel { axis: random.below(5) },
        1 => Granularity::PerBlock { axis: random.below(5), size: number(random) % 5 },
        2 | 3 => Granularity::PerTensor,
        _ => return None,
    };
    let count = if granularity == Granularity::PerTensor { 1 } else { random.below(5) };
    let scales = (0..count).map(|_| *random.choose(&[0.5, 1e-30, 1e30, 3.0])).collect();
    Some(QuantParams {
        granularity,
        scales,
        zero_points: (0..count).map(|_| random.integer(-3, 9) as i32).collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn nothing_panics(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let random = &mut random;
        let mut graph = Graph::new("hostile");
        let tensors: Vec<Option<Tensor>> = (0..random.below(6))
            .map(|_| if random.below(12) == 0 { None } else { Some(tensor(random)) })
            .collect();
        let inputs: Vec<_> = tensors.iter().enumerate().map(|(at, tensor)| {
            let tensor = tensor.as_ref()?;
            let id = graph.add_value(format!("x{at}"), Some(tensor.dtype()), Some(tensor.shape()));
            graph.value_mut(id).quant = quant(random);
            Some(id)
        }).collect();
        let outputs: Vec<_> = (0..=random.below(3)).map(|at| {
            let dtype = if random.below(3) == 0 { Some(*random.choose(&DType::ALL)) } else { None };
            let id = graph.add_value(format!("y{at}"), dtype, None);
            graph.value_mut(id).quant = quant(random);
            id
        }).collect();
        let precision = *random.choose(&[None, None, Some(Precision::W8A8Dynamic), Some(Precision::Bf16)]);
        let node = Node { name: "node".to_owned(), op: op(random), inputs: inputs.clone(), outputs, precision };
        let arguments: Vec<Option<&Tensor>> = tensors.iter().map(Option::as_ref).collect();
        if let Err(error) = evaluate(&graph, &node, &arguments) {
            prop_assert!(!error.to_string().is_empty());
        }
        // The same node in a graph whose inputs are constants, symbols, or of enormous extents.
        for (id, tensor) in inputs.iter().zip(&tensors) {
            let (Some(id), Some(tensor)) = (id, tensor) else { continue };
            let value = graph.value_mut(*id);
            match random.below(3) {
                0 => value.constant = Some(tensor.clone()),
                1 => {
                    let dims = tensor.extents().iter().map(|_| match random.below(3) {
                        0 => Dim::Symbol((*random.choose(&["N", "H"])).to_owned()),
                        _ => Dim::Fixed(number(random)),
                    });
                    value.shape = Some(Shape(dims.collect()));
                }
                _ => {}
            }
        }
        graph.add_node(node);
        if let Err(error) = infer(&mut graph) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
