//! Random graphs: whatever the passes do to them, they compute the same.

use proptest::prelude::*;

use super::{Build, Noise, optimized};
use crate::ir::{
    Activation, BinaryOp, ConvAttributes, Graph, Op, PadMode, PoolAttributes, ReduceOp, UnaryOp, ValueId,
};

/// A graph of `steps` random operators on tensors of four axes, everything unread being an output.
fn graph(seed: u64, steps: usize) -> Graph {
    let mut noise = Noise::new(seed);
    let mut build = Build::double(seed + 1);
    let x = build.input("x", &[1, 3, 6, 5]);
    // Values with their extents.
    let mut values: Vec<(ValueId, [usize; 4])> = vec![(x, [1, 3, 6, 5])];
    for _ in 0..steps {
        let recent = values.len().min(3);
        let (x, extents) = values[values.len() - 1 - noise.below(recent)];
        values.push(step(&mut build, &mut noise, &values, x, extents));
    }
    let read: Vec<ValueId> = build
        .graph
        .nodes()
        .flat_map(|(_, node)| node.inputs.iter().flatten().copied().collect::<Vec<_>>())
        .collect();
    let mut outputs: Vec<ValueId> =
        values.iter().map(|&(id, _)| id).filter(|id| !read.contains(id)).collect();
    // A value that is read and returned, too.
    let (extra, _) = values[noise.below(values.len())];
    if !outputs.contains(&extra) && extra != values[0].0 {
        outputs.push(extra);
    }
    build.finish(&outputs)
}

fn step(
    build: &mut Build,
    noise: &mut Noise,
    values: &[(ValueId, [usize; 4])],
    x: ValueId,
    extents: [usize; 4],
) -> (ValueId, [usize; 4]) {
    let [n, c, h, w] = extents;
    match noise.below(16) {
        0 if h >= 3 && w >= 3 && c > 0 => {
            let outputs = 1 + noise.below(4);
            (build.conv(x, c, outputs, 3), [n, outputs, h - 2, w - 2])
        }
        1 => {
            let weights = build.noise(&[c, 1, 1, 1]);
            let bias = build.noise(&[c]);
            let conv = ConvAttributes { groups: c, ..ConvAttributes::unit(&[1, 1]) };
            (build.op(Op::Conv { conv, activation: Activation::None }, &[x, weights, bias]), extents)
        }
        2 => {
            let parameters = [build.noise(&[c]), build.noise(&[c]), build.noise(&[c]), build.positive(&[c])];
            let inputs = [&[x], parameters.as_slice()].concat();
            (build.op(Op::BatchNorm { epsilon: 1e-3 }, &inputs), extents)
        }
        3 => {
            let op = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div][noise.below(4)];
            let constant = match noise.below(4) {
                0 => build.positive(&[]),
                1 => build.positive(&[c, 1, 1]),
                2 => build.positive(&[1, 1, 1, w]),
                _ => build.positive(&[h, w]),
            };
            let first = noise.below(3) == 0 && op != BinaryOp::Div;
            (if first { build.binary(op, constant, x) } else { build.binary(op, x, constant) }, extents)
        }
        4 => {
            let functions = [
                UnaryOp::Relu,
                UnaryOp::Clip { min: -0.5, max: 2.0 },
                UnaryOp::Clip { min: 0.0, max: f32::INFINITY },
                UnaryOp::Sigmoid,
                UnaryOp::Tanh,
                UnaryOp::Neg,
            ];
            (build.unary(functions[noise.below(functions.len())], x), extents)
        }
        5 => {
            let perms = [[0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], [1, 0, 2, 3]];
            let perm = perms[noise.below(4)];
            (build.op(Op::Transpose { perm: perm.to_vec() }, &[x]), perm.map(|axis| extents[axis]))
        }
        6 => {
            let same: Vec<ValueId> =
                values.iter().filter(|(_, other)| *other == extents).map(|&(id, _)| id).collect();
            let other = same[noise.below(same.len())];
            let op = [BinaryOp::Add, BinaryOp::Mul, BinaryOp::Sub][noise.below(3)];
            (build.binary(op, x, other), extents)
        }
        7 => {
            let amounts = [noise.below(2), noise.below(3), noise.below(2), noise.below(3)].map(|x| x as i64);
            let channels = i64::from(noise.below(5) == 0);
            let pads = build.integers(&[0, channels, amounts[0], amounts[1], 0, 0, amounts[2], amounts[3]]);
            let value = [0.0, f32::NEG_INFINITY, 0.5][noise.below(3)];
            let inputs = if value == 0.0 { vec![x, pads] } else { vec![x, pads, build.scalar(value)] };
            let (top, left) = (amounts[0] + amounts[2], amounts[1] + amounts[3]);
            let padded = [n, c + channels as usize, h + top as usize, w + left as usize];
            let y = build.op(Op::Pad { mode: PadMode::Constant }, &inputs);
            if value.is_finite() {
                return (y, padded);
            }
            // Infinities stay out of sums.
            let (y, pooled) = pool(build, noise, y, padded, true);
            (build.unary(UnaryOp::Clip { min: -9.0, max: 9.0 }, y), pooled)
        }
        8 if h >= 2 && w >= 2 => pool(build, noise, x, extents, false),
        9 => {
            let shape = build.integers(&[n as i64, -1]);
            let flat = build.op(Op::Reshape { allow_zero: false }, &[x, shape]);
            let shape = build.integers(&extents.map(|x| x as i64));
            (build.op(Op::Reshape { allow_zero: false }, &[flat, shape]), extents)
        }
        10 => {
            let wide = build.op(Op::Unsqueeze { axes: vec![1] }, &[x]);
            (build.op(Op::Squeeze { axes: vec![1] }, &[wide]), extents)
        }
        11 => {
            let axis = noise.below(4);
            let mut joined = extents;
            joined[axis] *= 2;
            (build.op(Op::Concat { axis }, &[x, x]), joined)
        }
        12 => {
            let gate = build.unary(UnaryOp::Sigmoid, x);
            (build.binary(BinaryOp::Mul, gate, x), extents)
        }
        13 => {
            let sum = build.with(BinaryOp::Add, x, 3.0);
            let clipped = build.unary(UnaryOp::Clip { min: 0.0, max: 6.0 }, sum);
            let scaled = build.with(BinaryOp::Div, clipped, 6.0);
            (if noise.below(2) == 0 { build.binary(BinaryOp::Mul, x, scaled) } else { scaled }, extents)
        }
        14 => {
            let axes = [vec![2, 3], vec![1, 2], vec![3]][noise.below(3)].clone();
            let mut reduced = extents;
            for &axis in &axes {
                reduced[axis] = 1;
            }
            (build.op(Op::Reduce { op: ReduceOp::Mean, axes, keep_dims: true }, &[x]), reduced)
        }
        _ => (build.op(Op::Identity, &[x]), extents),
    }
}

fn pool(
    build: &mut Build,
    noise: &mut Noise,
    x: ValueId,
    [n, c, h, w]: [usize; 4],
    maximum: bool,
) -> (ValueId, [usize; 4]) {
    let mut window = PoolAttributes {
        kernel: vec![h.min(2), w.min(2)],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        pads: vec![0; 4],
        ceil: false,
        count_include_pad: noise.below(2) == 0,
    };
    let mut extents = [n, c, h + 1 - h.min(2), w + 1 - w.min(2)];
    if noise.below(3) == 0 && h >= 2 && w >= 2 {
        window.pads = vec![1, 0, 0, 1];
        (extents[2], extents[3]) = (extents[2] + 1, extents[3] + 1);
    }
    if noise.below(4) == 0 {
        window.kernel = vec![h, w];
        window.pads = vec![0; 4];
        (extents[2], extents[3]) = (1, 1);
    }
    let op = if maximum || noise.below(2) == 0 {
        window.count_include_pad = false;
        Op::MaxPool(window)
    } else {
        Op::AveragePool(window)
    };
    (build.op(op, &[x]), extents)
}

proptest! {
    #[test]
    fn passes_keep_what_random_graphs_compute(seed in any::<u32>(), steps in 1usize..14) {
        let mut graph = optimized(graph(u64::from(seed), steps), u64::from(seed));
        // Nothing is left to do.
        prop_assert_eq!(super::optimize(&mut graph, &mut |_, _, _| {}).unwrap(), 0);
    }
}
