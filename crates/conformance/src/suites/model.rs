//! Suite `model`: small whole networks, quantized by the core's own lowering from ranges of the float reference.

use fewbit_core::capability::WeightGranularity;
use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, DType, Graph, Op, PoolAttributes, Tensor, UnaryOp, ValueId,
};
use fewbit_core::lower::{Choices, has_integer_form, keeps_parameters, lower};
use fewbit_core::plan::Precision;
use fewbit_core::quant::{Granularity, QuantParams, Scheme, Symmetry};
use fewbit_core::reference::Interpreter;

use crate::build::{Builder, Store};
use crate::case::{Case, Compare, Form, Problem, Suite};
use crate::error::Result;
use crate::random::Random;

/// Forms in which the networks are quantized.
const FORMS: [Form; 3] = [
    Form::new(DType::U8, Symmetry::Affine, Some(WeightGranularity::PerChannel)),
    Form::new(DType::I8, Symmetry::Affine, Some(WeightGranularity::PerChannel)),
    Form::new(DType::I8, Symmetry::Symmetric, Some(WeightGranularity::PerChannel)),
];

/// A float network under construction.
struct Network<'r> {
    builder: Builder,
    random: &'r mut Random,
}

impl<'r> Network<'r> {
    fn new(random: &'r mut Random, extents: &[usize]) -> Result<(Self, ValueId)> {
        let mut builder = Builder::new();
        let data = random.floats(extents, -1.0, 1.0)?;
        let input = builder.input(data, None);
        Ok((Self { builder, random }, input))
    }

    fn op(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        self.builder.op(op, inputs, Store::f32())
    }

    /// Weights even over a range that keeps the size of what passes through.
    fn weights(&mut self, extents: &[usize], terms: usize) -> Result<ValueId> {
        let reach = (6.0 / terms as f32).sqrt();
        let tensor = self.random.floats(extents, -reach, reach)?;
        Ok(self.builder.constant(tensor, None))
    }

    fn conv(
        &mut self,
        x: ValueId,
        channels: usize,
        (kernel, stride, groups): (usize, usize, usize),
        activation: Activation,
    ) -> Result<ValueId> {
        let per_group = self.builder.extents(x)[1] / groups;
        let weight = self.weights(&[channels, per_group, kernel, kernel], per_group * kernel * kernel)?;
        let bias = self.random.floats(&[channels], -0.2, 0.2)?;
        let bias = self.builder.constant(bias, None);
        let conv = ConvAttributes {
            strides: vec![stride; 2],
            pads: vec![kernel / 2; 4],
            groups,
            ..ConvAttributes::unit(&[kernel; 2])
        };
        self.op(Op::Conv { conv, activation }, &[x, weight, bias])
    }

    fn matmul(&mut self, x: ValueId, outputs: usize) -> Result<ValueId> {
        let inputs = self.builder.extents(x).last().copied().unwrap_or(1);
        let weight = self.weights(&[inputs, outputs], inputs)?;
        self.op(Op::MatMul, &[x, weight])
    }

    fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.op(Op::Binary { op: BinaryOp::Add, activation: Activation::None }, &[a, b])
    }

    fn unary(&mut self, x: ValueId, op: UnaryOp) -> Result<ValueId> {
        self.op(Op::Unary(op), &[x])
    }

    fn finish(self, output: ValueId) -> Problem {
        self.builder.finish(&[output], Compare::Model)
    }
}

/// Convolutions only.
fn plain(random: &mut Random) -> Result<Problem> {
    let (mut net, x) = Network::new(random, &[1, 3, 16, 16])?;
    let x = net.conv(x, 8, (3, 2, 1), Activation::Relu)?;
    let x = net.conv(x, 12, (1, 1, 1), Activation::None)?;
    let x = net.conv(x, 9, (3, 1, 1), Activation::Clip { min: 0.0, max: 6.0 })?;
    let x = net.conv(x, 5, (1, 1, 1), Activation::None)?;
    Ok(net.finish(x))
}

/// A block that is added to what goes around it.
fn residual(random: &mut Random) -> Result<Problem> {
    let (mut net, x) = Network::new(random, &[1, 4, 10, 10])?;
    let x = net.conv(x, 8, (3, 1, 1), Activation::None)?;
    let x = net.unary(x, UnaryOp::Relu)?;
    let y = net.conv(x, 8, (3, 1, 1), Activation::Relu)?;
    let y = net.conv(y, 8, (1, 1, 1), Activation::None)?;
    let z = net.add(x, y)?;
    let z = net.unary(z, UnaryOp::Relu)?;
    Ok(net.finish(z))
}

/// Matrix products with functions between them.
fn perceptron(random: &mut Random) -> Result<Problem> {
    let (mut net, x) = Network::new(random, &[4, 20])?;
    let x = net.matmul(x, 32)?;
    let x = net.unary(x, UnaryOp::Relu)?;
    let x = net.matmul(x, 24)?;
    let x = net.unary(x, UnaryOp::Relu)?;
    let x = net.matmul(x, 10)?;
    Ok(net.finish(x))
}

/// Depthwise separable blocks, a pool, a classifier.
fn mobile(random: &mut Random) -> Result<Problem> {
    let (mut net, x) = Network::new(random, &[1, 3, 20, 20])?;
    let relu6 = Activation::Clip { min: 0.0, max: 6.0 };
    let x = net.conv(x, 8, (3, 2, 1), relu6)?;
    let x = net.conv(x, 8, (3, 1, 8), relu6)?;
    let x = net.conv(x, 16, (1, 1, 1), Activation::None)?;
    let x = net.unary(x, UnaryOp::HardSwish)?;
    let pool = PoolAttributes {
        kernel: vec![2; 2],
        strides: vec![2; 2],
        dilations: vec![1; 2],
        pads: vec![0; 4],
        ceil: false,
        count_include_pad: false,
    };
    let x = net.op(Op::MaxPool(pool), &[x])?;
    let x = net.op(Op::GlobalAveragePool, &[x])?;
    let x = net.op(Op::Flatten { axis: 1 }, &[x])?;
    let weight = net.weights(&[10, 16], 16)?;
    let bias = net.random.floats(&[10], -0.2, 0.2)?;
    let bias = net.builder.constant(bias, None);
    let gemm =
        Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true, activation: Activation::None };
    let x = net.op(gemm, &[x, weight, bias])?;
    Ok(net.finish(x))
}

/// Attention of one head and a feed-forward layer; softmax and normalisation stay in float.
fn encoder(random: &mut Random) -> Result<Problem> {
    let (mut net, x) = Network::new(random, &[1, 6, 16])?;
    let (q, k, v) = (net.matmul(x, 16)?, net.matmul(x, 16)?, net.matmul(x, 16)?);
    let k = net.op(Op::Transpose { perm: vec![0, 2, 1] }, &[k])?;
    let scores = net.op(Op::MatMul, &[q, k])?;
    let scores = net.op(Op::Softmax { axis: 2, log: false }, &[scores])?;
    let mixed = net.op(Op::MatMul, &[scores, v])?;
    let x = net.add(x, mixed)?;
    let scale = net.random.floats(&[16], 0.5, 1.5)?;
    let scale = net.builder.constant(scale, None);
    let bias = net.random.floats(&[16], -0.2, 0.2)?;
    let bias = net.builder.constant(bias, None);
    let x = net.op(Op::LayerNorm { axis: 2, epsilon: 1e-5 }, &[x, scale, bias])?;
    let y = net.matmul(x, 32)?;
    let y = net.unary(y, UnaryOp::Gelu { tanh: false })?;
    let y = net.matmul(y, 16)?;
    let y = net.add(x, y)?;
    Ok(net.finish(y))
}

/// The network as a program of the form: every node that has an integer rule computes in it.
fn quantized(float: &Problem, form: Form) -> Result<Problem> {
    let graph = &float.program;
    let mut choices = Choices::default();
    let kept: Vec<ValueId> = graph
        .nodes()
        .filter(|(_, node)| keeps_parameters(&node.op))
        .flat_map(|(_, node)| node.outputs.clone())
        .collect();
    let in_floats: Vec<ValueId> = graph
        .nodes()
        .filter(|(_, node)| !has_integer_form(&node.op))
        .flat_map(|(_, node)| node.outputs.clone())
        .collect();
    let scheme = Scheme { dtype: form.dtype, symmetry: form.symmetry, granularity: Granularity::PerTensor };
    let mut failure = None;
    Interpreter::new(graph)?.run_observed(&float.inputs, &mut |id: ValueId, tensor: &Tensor| {
        if kept.contains(&id) {
            return;
        }
        let values = tensor.to_f32_vec();
        let (low, high) = values
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
        match scheme.parameters(low, high) {
            Ok((scale, zero)) => {
                let params = (form.dtype, QuantParams::per_tensor(scale, zero));
                choices.activations.insert(graph.value(id).name.clone(), params);
            }
            Err(error) => failure = Some(error),
        }
    })?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    // What a float operator makes is quantized where an integer operator reads it: both forms are planned above.
    for (_, node) in graph.nodes() {
        if !node.outputs.iter().any(|output| in_floats.contains(output)) {
            choices.precisions.insert(node.name.clone(), Precision::W8A8);
        }
    }
    let program: Graph = lower(graph, &choices)?;
    Ok(Problem { program, ..float.clone() })
}

/// All cases of the suite.
pub(super) fn cases() -> Vec<Case> {
    type Make = fn(&mut Random) -> Result<Problem>;
    let networks: [(&str, Make); 5] = [
        ("plain", plain),
        ("residual", residual),
        ("perceptron", perceptron),
        ("mobile", mobile),
        ("encoder", encoder),
    ];
    let mut cases = Vec::new();
    for (name, make) in networks {
        for form in FORMS {
            for seed in 1..=2 {
                let id = format!("model/{name}/int8/{form}/seed{seed}");
                cases.push(Case::program(id, Suite::Model, name, Some(form), move |random| {
                    quantized(&make(random)?, form)
                }));
            }
        }
        let id = format!("model/{name}/float/seed1");
        cases.push(Case::program(id, Suite::Model, name, None, move |random| {
            let problem = make(random)?;
            Ok(Problem { compare: Compare::Nmse(1e-10), ..problem })
        }));
    }
    cases
}
