//! Suite `op_float`: operators in single precision.
//!
//! Products of small integers are exact in any order of summation and are compared exactly; random numbers are compared
//! by units in the last place where every output is one operation, and by mean squares where many are summed.

use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, Op, PoolAttributes, ReduceOp, Tensor, UnaryOp, ValueId,
};

use crate::build::{Builder, Store};
use crate::case::{Case, Compare, Generate, Problem, Suite};
use crate::error::Result;
use crate::random::Random;

/// Mean squares of sums of products, over mean squares of what is expected.
const SUMS: Compare = Compare::Nmse(1e-11);
/// Of means, normalisations and exponentials over rows.
const ROWS: Compare = Compare::Nmse(1e-10);
/// Units in the last place of one operation that IEEE 754 rounds itself.
const ROUNDED: Compare = Compare::Ulp(1);
/// Units in the last place of a function of one element.
const FUNCTION: Compare = Compare::Ulp(32);

/// What inputs hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    /// Integers from -4 to 4.
    Integers,
    /// Numbers from -2 to 2.
    Numbers,
    /// Infinities, NaN, zeros of both signs and the smallest numbers among others.
    Special,
}

impl Data {
    fn tensor(self, random: &mut Random, extents: &[usize]) -> Result<Tensor> {
        let count = extents.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| match self {
                Data::Integers => random.integer(-4, 4) as f32,
                Data::Numbers => random.float(-2.0, 2.0),
                Data::Special => match random.integer(0, 9) {
                    0 => f32::INFINITY,
                    1 => f32::NEG_INFINITY,
                    2 => f32::NAN,
                    3 => -0.0,
                    4 => 1e-40,
                    _ => random.float(-2.0, 2.0),
                },
            })
            .collect();
        Ok(Tensor::from_slice(extents, &values)?)
    }

    fn compare(self, otherwise: Compare) -> Compare {
        if self == Data::Integers { Compare::Exact } else { otherwise }
    }

    /// What ids call it, of products.
    fn name(self) -> &'static str {
        match self {
            Data::Integers => "integers",
            Data::Numbers | Data::Special => "numbers",
        }
    }
}

/// A node over run-time inputs and constants of these extents.
fn node(
    random: &mut Random,
    data: Data,
    op: Op,
    inputs: &[&[usize]],
    constants: &[&[usize]],
    compare: Compare,
) -> Result<Problem> {
    let mut builder = Builder::new();
    let mut values: Vec<ValueId> = Vec::new();
    for extents in inputs {
        values.push(builder.input(data.tensor(random, extents)?, None));
    }
    for extents in constants {
        values.push(builder.constant(data.tensor(random, extents)?, None));
    }
    let output = builder.op(op, &values, Store::f32())?;
    Ok(builder.finish(&[output], data.compare(compare)))
}

fn window(kernel: usize, stride: usize, dilation: usize, groups: usize) -> ConvAttributes {
    ConvAttributes {
        strides: vec![stride; 2],
        dilations: vec![dilation; 2],
        pads: vec![dilation * (kernel / 2); 4],
        groups,
        ..ConvAttributes::unit(&[kernel; 2])
    }
}

/// Operator, variant and problem.
type Row = (&'static str, String, Box<Generate>);

fn products() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for data in [Data::Integers, Data::Numbers] {
        let convs: [(&'static str, usize, usize, ConvAttributes, Activation); 8] = [
            ("k1", 9, 17, window(1, 1, 1, 1), Activation::None),
            ("k3", 6, 9, window(3, 1, 1, 1), Activation::None),
            ("k3s2", 5, 8, window(3, 2, 1, 1), Activation::None),
            ("k3d2", 5, 8, window(3, 1, 2, 1), Activation::None),
            ("k3-relu", 5, 8, window(3, 1, 1, 1), Activation::Relu),
            ("k3-relu6", 5, 8, window(3, 1, 1, 1), Activation::Clip { min: 0.0, max: 6.0 }),
            ("depthwise", 9, 9, window(3, 1, 1, 9), Activation::None),
            ("grouped", 8, 6, window(3, 1, 1, 2), Activation::None),
        ];
        for (variant, inputs, channels, conv, activation) in convs {
            let per_group = inputs / conv.groups;
            let kernel = conv.kernel[0];
            rows.push((
                "Conv",
                format!("{variant}-{}", data.name()),
                Box::new(move |random| {
                    let op = Op::Conv { conv: conv.clone(), activation };
                    let weights = [channels, per_group, kernel, kernel];
                    node(random, data, op, &[&[1, inputs, 9, 8]], &[&weights, &[channels]], SUMS)
                }),
            ));
        }
        let name = |variant: &str| format!("{variant}-{}", data.name());
        rows.push((
            "Gemm",
            name("row"),
            Box::new(move |random| {
                let op = Op::Gemm {
                    alpha: 1.0,
                    beta: 1.0,
                    trans_a: false,
                    trans_b: true,
                    activation: Activation::None,
                };
                node(random, data, op, &[&[3, 65]], &[&[18, 65], &[18]], SUMS)
            }),
        ));
        rows.push((
            "MatMul",
            name("constant"),
            Box::new(move |random| node(random, data, Op::MatMul, &[&[2, 7, 33]], &[&[33, 19]], SUMS)),
        ));
        rows.push((
            "MatMul",
            name("activations"),
            Box::new(move |random| node(random, data, Op::MatMul, &[&[3, 5, 16], &[3, 16, 9]], &[], SUMS)),
        ));
    }
    rows
}

fn binaries() -> Vec<(&'static str, BinaryOp, Compare)> {
    vec![
        ("Add", BinaryOp::Add, ROUNDED),
        ("Sub", BinaryOp::Sub, ROUNDED),
        ("Mul", BinaryOp::Mul, ROUNDED),
        ("Div", BinaryOp::Div, ROUNDED),
        ("Min", BinaryOp::Min, ROUNDED),
        ("Max", BinaryOp::Max, ROUNDED),
    ]
}

fn functions() -> Vec<UnaryOp> {
    vec![
        UnaryOp::Relu,
        UnaryOp::LeakyRelu { alpha: 0.1 },
        UnaryOp::Clip { min: -1.0, max: 1.5 },
        UnaryOp::Sigmoid,
        UnaryOp::HardSigmoid { alpha: 0.2, beta: 0.5 },
        UnaryOp::HardSwish,
        UnaryOp::Silu,
        UnaryOp::Gelu { tanh: false },
        UnaryOp::Tanh,
        UnaryOp::Erf,
        UnaryOp::Exp,
        UnaryOp::Abs,
        UnaryOp::Neg,
        UnaryOp::Floor,
        UnaryOp::Ceil,
        UnaryOp::Round,
    ]
}

/// Whether a function's result near a zero of it is only as exact as its argument: it is held to mean squares.
fn cancels(op: UnaryOp) -> bool {
    matches!(op, UnaryOp::Gelu { .. } | UnaryOp::Silu | UnaryOp::HardSwish | UnaryOp::HardSigmoid { .. })
}

/// All cases of the suite.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut push = |id: String, operator: &str, make: Box<Generate>| {
        cases.push(Case::program(id, Suite::OpFloat, operator, None, make));
    };
    for (operator, variant, make) in products() {
        push(format!("op_float/{}/{variant}/seed1", operator.to_lowercase()), operator, make);
    }
    let shapes: [(&str, &[usize], &[usize]); 4] = [
        ("same", &[2, 5, 6, 7], &[2, 5, 6, 7]),
        ("channel", &[2, 6, 5, 5], &[1, 6, 1, 1]),
        ("last", &[4, 5, 19], &[19]),
        ("scalar", &[3, 40], &[1]),
    ];
    for (operator, op, compare) in binaries() {
        let name = operator.to_lowercase();
        for (variant, left, right) in shapes {
            push(
                format!("op_float/{name}/{variant}/seed1"),
                operator,
                Box::new(move |random| {
                    let op = Op::Binary { op, activation: Activation::None };
                    node(random, Data::Numbers, op, &[left, right], &[], compare)
                }),
            );
        }
    }
    for (operator, op) in [("Add", BinaryOp::Add), ("Mul", BinaryOp::Mul)] {
        push(
            format!("op_float/{}/special/seed1", operator.to_lowercase()),
            operator,
            Box::new(move |random| {
                let op = Op::Binary { op, activation: Activation::None };
                node(random, Data::Special, op, &[&[3, 150], &[3, 150]], &[], ROUNDED)
            }),
        );
    }
    for op in functions() {
        let name = op.name();
        let compare = if cancels(op) { ROWS } else { FUNCTION };
        push(
            format!("op_float/{}/numbers/seed1", name.to_lowercase()),
            name,
            Box::new(move |random| node(random, Data::Numbers, Op::Unary(op), &[&[3, 211]], &[], compare)),
        );
    }
    push(
        "op_float/relu/special/seed1".to_owned(),
        "Relu",
        Box::new(|random| {
            node(random, Data::Special, Op::Unary(UnaryOp::Relu), &[&[3, 211]], &[], Compare::Exact)
        }),
    );
    for (operator, log) in [("Softmax", false), ("LogSoftmax", true)] {
        for (variant, extents) in [("row", [1usize, 37]), ("rows", [12, 10])] {
            push(
                format!("op_float/{}/{variant}/seed1", operator.to_lowercase()),
                operator,
                Box::new(move |random| {
                    node(random, Data::Numbers, Op::Softmax { axis: 1, log }, &[&extents], &[], ROWS)
                }),
            );
        }
    }
    push(
        "op_float/layernormalization/rows/seed1".to_owned(),
        "LayerNormalization",
        Box::new(|random| {
            let op = Op::LayerNorm { axis: 2, epsilon: 1e-5 };
            node(random, Data::Numbers, op, &[&[2, 9, 48]], &[&[48], &[48]], ROWS)
        }),
    );
    let pool = |kernel: usize, stride: usize, pad: usize| PoolAttributes {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads: vec![pad; 4],
        ceil: false,
        count_include_pad: false,
    };
    for (variant, attributes) in [("k2s2", pool(2, 2, 0)), ("k3s1", pool(3, 1, 1))] {
        let (largest, mean) = (attributes.clone(), attributes);
        push(
            format!("op_float/maxpool/{variant}/seed1"),
            "MaxPool",
            Box::new(move |random| {
                node(
                    random,
                    Data::Numbers,
                    Op::MaxPool(largest.clone()),
                    &[&[1, 7, 9, 9]],
                    &[],
                    Compare::Exact,
                )
            }),
        );
        push(
            format!("op_float/averagepool/{variant}/seed1"),
            "AveragePool",
            Box::new(move |random| {
                node(random, Data::Numbers, Op::AveragePool(mean.clone()), &[&[1, 7, 9, 9]], &[], ROWS)
            }),
        );
    }
    push(
        "op_float/globalaveragepool/image/seed1".to_owned(),
        "GlobalAveragePool",
        Box::new(|random| node(random, Data::Numbers, Op::GlobalAveragePool, &[&[2, 17, 7, 7]], &[], ROWS)),
    );
    push(
        "op_float/reducemean/spatial/seed1".to_owned(),
        "ReduceMean",
        Box::new(|random| {
            let op = Op::Reduce { op: ReduceOp::Mean, axes: vec![2, 3], keep_dims: true };
            node(random, Data::Numbers, op, &[&[2, 17, 5, 6]], &[], ROWS)
        }),
    );
    let moves: [(&str, &str, Op); 4] = [
        ("Transpose", "nhwc", Op::Transpose { perm: vec![0, 2, 3, 1] }),
        ("Flatten", "channels", Op::Flatten { axis: 1 }),
        ("Identity", "image", Op::Identity),
        ("Concat", "channels", Op::Concat { axis: 1 }),
    ];
    for (operator, variant, op) in moves {
        push(
            format!("op_float/{}/{variant}/seed1", operator.to_lowercase()),
            operator,
            Box::new(move |random| {
                let extents: &[usize] = &[1, 3, 5, 4];
                let inputs = if operator == "Concat" { vec![extents, &[1, 4, 5, 4]] } else { vec![extents] };
                // What only moves leaves special numbers as they are.
                node(random, Data::Special, op.clone(), &inputs, &[], Compare::Exact)
            }),
        );
    }
    cases
}
