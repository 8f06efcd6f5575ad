//! What tests of passes share: a builder of graphs, and the comparison of what a graph computes before and after.

mod quantized;
mod random;
mod rewrites;

use super::{Pass, PassPipeline, optimize};
use crate::infer::infer;
use crate::ir::text::render;
use crate::ir::{
    Activation, BinaryOp, ConvAttributes, DType, Graph, Node, Op, Shape, Tensor, UnaryOp, ValueId,
};
use crate::reference::Interpreter;

/// Builds graphs with constants of reproducible noise.
pub(super) struct Build {
    pub(super) graph: Graph,
    noise: Noise,
    dtype: DType,
}

/// A linear congruential generator: what tests need of randomness.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    /// A number in [-1, 1).
    pub(super) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// An index below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (f32::midpoint(self.next(), 1.0) * bound as f32) as usize % bound
    }

    pub(super) fn tensor(&mut self, extents: &[usize]) -> Tensor {
        let values: Vec<f32> = (0..extents.iter().product()).map(|_| self.next()).collect();
        Tensor::from_slice(extents, &values).unwrap()
    }
}

impl Build {
    pub(super) fn new(seed: u64) -> Self {
        Self { graph: Graph::new("test"), noise: Noise::new(seed), dtype: DType::F32 }
    }

    /// Of double precision: for graphs whose differences cancel.
    pub(super) fn double(seed: u64) -> Self {
        Self { dtype: DType::F64, ..Self::new(seed) }
    }

    pub(super) fn input(&mut self, name: &str, extents: &[usize]) -> ValueId {
        self.graph.add_input(name, self.dtype, Shape::fixed(extents))
    }

    /// A constant of noise.
    pub(super) fn noise(&mut self, extents: &[usize]) -> ValueId {
        let tensor = self.noise.tensor(extents);
        self.constant("c", tensor)
    }

    /// A constant of noise in [0.5, 1.5).
    pub(super) fn positive(&mut self, extents: &[usize]) -> ValueId {
        let mut tensor = self.noise.tensor(extents);
        tensor.as_mut_slice::<f32>().unwrap().iter_mut().for_each(|x| *x = 1.0 + 0.5 * *x);
        self.constant("c", tensor)
    }

    pub(super) fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let name = self.graph.fresh_value_name(name);
        let double = self.dtype == DType::F64 && tensor.dtype() == DType::F32;
        let tensor =
            if double { Tensor::from_slice(tensor.extents(), &tensor.to_f64_vec()).unwrap() } else { tensor };
        self.graph.add_constant(name, tensor)
    }

    pub(super) fn scalar(&mut self, value: f32) -> ValueId {
        self.constant("s", Tensor::scalar(value))
    }

    pub(super) fn integers(&mut self, values: &[i64]) -> ValueId {
        self.constant("i", Tensor::from_slice(&[values.len()], values).unwrap())
    }

    pub(super) fn op(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.graph.fresh_node_name(&op.kind().as_str().to_lowercase());
        let name = self.graph.fresh_value_name(&name);
        self.graph.add_op(name, op, inputs)
    }

    pub(super) fn unary(&mut self, op: UnaryOp, x: ValueId) -> ValueId {
        self.op(Op::Unary(op), &[x])
    }

    pub(super) fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.op(Op::Binary { op, activation: Activation::None }, &[a, b])
    }

    /// `x op number`.
    pub(super) fn with(&mut self, op: BinaryOp, x: ValueId, number: f32) -> ValueId {
        let number = self.scalar(number);
        self.binary(op, x, number)
    }

    /// A convolution of `channels` to `outputs` without padding.
    pub(super) fn conv(&mut self, x: ValueId, channels: usize, outputs: usize, kernel: usize) -> ValueId {
        let weights = self.noise(&[outputs, channels, kernel, kernel]);
        self.op(conv_op(kernel), &[x, weights])
    }

    pub(super) fn finish(mut self, outputs: &[ValueId]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        infer(&mut self.graph).unwrap();
        self.graph
    }
}

pub(super) fn conv_op(kernel: usize) -> Op {
    Op::Conv { conv: ConvAttributes::unit(&[kernel, kernel]), activation: Activation::None }
}

/// Inputs of noise for a graph of fixed shapes.
pub(super) fn inputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let mut noise = Noise::new(seed ^ 0xabcd);
    graph
        .inputs
        .iter()
        .map(|&id| {
            let value = graph.value(id);
            let mut tensor = noise.tensor(&value.extents().unwrap());
            tensor.as_mut_slice::<f32>().unwrap().iter_mut().for_each(|x| *x *= 4.0);
            Tensor::from_f64(value.dtype.unwrap(), tensor.extents(), &tensor.to_f64_vec()).unwrap()
        })
        .collect()
}

pub(super) fn outputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    Interpreter::new(graph).unwrap().run(&inputs(graph, seed)).unwrap()
}

/// Asserts that outputs are the same to within 1e-5 of the largest.
pub(super) fn assert_close(graph: &Graph, expected: &[Tensor], seed: u64, place: &str) {
    let found = outputs(graph, seed);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.extents(), expected.extents(), "after {place}");
        let (found, expected) = (found.to_f64_vec(), expected.to_f64_vec());
        let size = expected.iter().fold(1.0f64, |size, x| size.max(x.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let close = (found - expected).abs() <= 1e-5 * size || found == expected;
            assert!(close, "after {place}: {found} for {expected}\n{}", render(graph));
        }
    }
}

/// Runs one pass to its fixed point and asserts that the graph computes the same; gives its text before and after.
pub(super) fn run_pass(pass: impl Pass + 'static, mut graph: Graph) -> String {
    let before = render(&graph);
    let expected = outputs(&graph, 7);
    let name = pass.name();
    // Dead code goes along, so that the text shows what counts.
    let pipeline = PassPipeline::new(vec![Box::new(pass), Box::new(super::dead::DeadCode)]);
    pipeline.run(&mut graph, &mut |_, _, _| {}).unwrap();
    assert_close(&graph, &expected, 7, name);
    format!("{before}\n{}", render(&graph))
}

/// Runs all passes and asserts that the graph computes the same after each; gives the result.
pub(super) fn optimized(mut graph: Graph, seed: u64) -> Graph {
    let expected = outputs(&graph, seed);
    optimize(&mut graph, &mut |pass, graph, changes| {
        if changes > 0 {
            assert_close(graph, &expected, seed, pass);
        }
    })
    .unwrap();
    graph
}

/// The operators of a graph, in order.
pub(super) fn kinds(graph: &Graph) -> Vec<String> {
    graph.nodes().map(|(_, node)| node.op.kind().to_string()).collect()
}

#[test]
fn a_failing_pass_stops_the_pipeline_and_is_named() {
    struct Broken;
    impl Pass for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }
        fn run(&self, graph: &mut Graph) -> crate::error::Result<usize> {
            let id = graph.find_node("relu").unwrap();
            graph.node_mut(id).unwrap().inputs.push(None);
            Ok(1)
        }
    }
    let mut build = Build::new(0);
    let x = build.input("x", &[2]);
    let y = build.unary(UnaryOp::Relu, x);
    let mut graph = build.finish(&[y]);
    let mut seen = Vec::new();
    let error = PassPipeline::new(vec![Box::new(Broken)])
        .run(&mut graph, &mut |pass, _, _| seen.push(pass.to_owned()))
        .unwrap_err();
    assert!(error.to_string().starts_with("pass `broken` failed: relu: expected 1 input"), "{error}");
    assert!(seen.is_empty());
}

#[test]
fn the_observer_sees_every_run() {
    let mut build = Build::new(0);
    let x = build.input("x", &[1, 2, 4, 4]);
    let y = build.conv(x, 2, 3, 3);
    let y = build.unary(UnaryOp::Relu, y);
    let mut graph = build.finish(&[y]);
    let mut seen = Vec::new();
    optimize(&mut graph, &mut |pass, _, changes| seen.push((pass.to_owned(), changes))).unwrap();
    let names = PassPipeline::standard().names();
    // Once with changes and without the last pass, once without changes.
    assert_eq!(seen.len(), 2 * names.len() - 1);
    assert!(seen.contains(&("clamp-fusion".to_owned(), 1)));
    assert!(seen[names.len() - 1..].iter().all(|(_, changes)| *changes == 0));
}

/// A node with absent inputs.
pub(super) fn push(build: &mut Build, op: Op, inputs: &[Option<ValueId>]) -> ValueId {
    let name = build.graph.fresh_node_name("node");
    let output = build.graph.add_value(name.clone(), None, None);
    build.graph.add_node(Node { name, op, inputs: inputs.to_vec(), outputs: vec![output], precision: None });
    output
}
