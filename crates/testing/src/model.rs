//! Small models with random weights.

use fewbit_core::infer;
use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, DType, Graph, Node, Op, PoolAttributes, Shape, Tensor, UnaryOp,
    ValueId,
};

use crate::Random;

/// What a convolution of [`ModelBuilder`] is like besides its channels.
#[derive(Debug, Clone, Copy)]
pub struct ConvOptions {
    /// Kernel extent along both axes.
    pub kernel: usize,
    /// Stride along both axes.
    pub stride: usize,
    /// Padding on all four sides.
    pub pad: usize,
    /// Channel groups; the input's channels make it depthwise.
    pub groups: usize,
    /// The fused clamp.
    pub activation: Activation,
}

impl ConvOptions {
    /// A square kernel of odd extent that keeps the image's extents.
    pub fn same(kernel: usize) -> Self {
        Self { kernel, stride: 1, pad: kernel / 2, groups: 1, activation: Activation::None }
    }

    /// The same with another stride.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same with groups.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The same with a fused clamp.
    #[must_use]
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }
}

/// Builds a float graph node by node; weights are random, scaled to keep the signal's size.
///
/// Types and shapes are inferred as nodes are added, so that each knows its input's channels. Everything that is
/// wrong panics: it is for tests.
#[derive(Debug)]
pub struct ModelBuilder {
    graph: Graph,
    random: Random,
}

impl ModelBuilder {
    /// An empty model whose weights come from `seed`.
    pub fn new(name: &str, seed: u64) -> Self {
        Self { graph: Graph::new(name), random: Random::new(seed) }
    }

    /// A float input.
    pub fn input(&mut self, name: &str, extents: &[usize]) -> ValueId {
        self.graph.add_input(name, DType::F32, Shape::fixed(extents))
    }

    /// A constant.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let name = self.graph.fresh_value_name(name);
        self.graph.add_constant(name, tensor)
    }

    /// The extents of a value.
    pub fn extents(&self, value: ValueId) -> Vec<usize> {
        self.graph.value(value).extents().expect("shapes are inferred as nodes are added")
    }

    /// The source of the weights.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Any node with one output; `base` becomes its name, with a number where it is taken.
    pub fn op(&mut self, base: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.graph.fresh_node_name(base);
        let output = self.graph.add_op(name, op, inputs);
        infer::infer(&mut self.graph).expect("a node of a test model fits its inputs");
        output
    }

    /// The same with inputs of which some are absent.
    pub fn op_with(&mut self, base: &str, op: Op, inputs: &[Option<ValueId>]) -> ValueId {
        let name = self.graph.fresh_node_name(base);
        let output = self.graph.add_value(self.graph.fresh_value_name(&name), None, None);
        self.graph.add_node(Node {
            name,
            op,
            inputs: inputs.to_vec(),
            outputs: vec![output],
            precision: None,
        });
        infer::infer(&mut self.graph).expect("a node of a test model fits its inputs");
        output
    }

    /// A convolution of an image batch with a bias.
    pub fn conv(&mut self, x: ValueId, channels: usize, options: ConvOptions) -> ValueId {
        let ConvOptions { kernel, stride, pad, groups, activation } = options;
        let per_group = self.extents(x)[1] / groups;
        let deviation = (2.0 / (per_group * kernel * kernel) as f32).sqrt();
        let weight = self.random.normals(&[channels, per_group, kernel, kernel], deviation);
        let bias = self.random.normals(&[channels], 0.1);
        let weight = self.constant("weight", weight);
        let bias = self.constant("bias", bias);
        let conv = ConvAttributes {
            kernel: vec![kernel; 2],
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            pads: vec![pad; 4],
            groups,
        };
        self.op("conv", Op::Conv { conv, activation }, &[x, weight, bias])
    }

    /// A depthwise convolution of stride `stride` that keeps the extents otherwise.
    pub fn depthwise(&mut self, x: ValueId, kernel: usize, stride: usize, activation: Activation) -> ValueId {
        let channels = self.extents(x)[1];
        let options = ConvOptions::same(kernel).stride(stride).groups(channels).activation(activation);
        self.conv(x, channels, options)
    }

    /// A fully connected layer of a matrix, with weights stored transposed and a bias.
    pub fn gemm(&mut self, x: ValueId, outputs: usize) -> ValueId {
        let inputs = self.extents(x)[1];
        let weight = self.random.normals(&[outputs, inputs], (1.0 / inputs as f32).sqrt());
        let bias = self.random.normals(&[outputs], 0.1);
        let weight = self.constant("weight", weight);
        let bias = self.constant("bias", bias);
        let op =
            Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true, activation: Activation::None };
        self.op("gemm", op, &[x, weight, bias])
    }

    /// A product with a random matrix of `outputs` columns.
    pub fn mat_mul(&mut self, x: ValueId, outputs: usize) -> ValueId {
        let inputs = *self.extents(x).last().expect("a matrix has axes");
        let weight = self.random.normals(&[inputs, outputs], (1.0 / inputs as f32).sqrt());
        let weight = self.constant("weight", weight);
        self.op("matmul", Op::MatMul, &[x, weight])
    }

    /// A function of one element.
    pub fn unary(&mut self, x: ValueId, op: UnaryOp) -> ValueId {
        self.op(&op.name().to_lowercase(), Op::Unary(op), &[x])
    }

    /// `max(x, 0)` as a node of its own.
    pub fn relu(&mut self, x: ValueId) -> ValueId {
        self.unary(x, UnaryOp::Relu)
    }

    /// A function of two elements without a fused clamp.
    pub fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.op(&op.name().to_lowercase(), Op::Binary { op, activation: Activation::None }, &[a, b])
    }

    /// The sum.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::Add, a, b)
    }

    /// Channels of both, one behind the other.
    pub fn concat(&mut self, inputs: &[ValueId]) -> ValueId {
        self.op("concat", Op::Concat { axis: 1 }, inputs)
    }

    /// The largest of each square window.
    pub fn max_pool(&mut self, x: ValueId, kernel: usize, stride: usize) -> ValueId {
        self.op("max_pool", Op::MaxPool(window(kernel, stride)), &[x])
    }

    /// The mean of each square window.
    pub fn average_pool(&mut self, x: ValueId, kernel: usize, stride: usize) -> ValueId {
        self.op("average_pool", Op::AveragePool(window(kernel, stride)), &[x])
    }

    /// The mean of each channel.
    pub fn global_average_pool(&mut self, x: ValueId) -> ValueId {
        self.op("global_average_pool", Op::GlobalAveragePool, &[x])
    }

    /// A matrix of one row per image.
    pub fn flatten(&mut self, x: ValueId) -> ValueId {
        self.op("flatten", Op::Flatten { axis: 1 }, &[x])
    }

    /// `exp(x) / sum(exp(x))` along the last axis.
    pub fn softmax(&mut self, x: ValueId) -> ValueId {
        let axis = self.extents(x).len() - 1;
        self.op("softmax", Op::Softmax { axis, log: false }, &[x])
    }

    /// The model, with these outputs, every type and shape inferred.
    pub fn finish(mut self, outputs: &[ValueId]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        infer::infer(&mut self.graph).expect("a test model is consistent");
        self.graph
    }

    /// A small image classifier with all that matters once: convolutions (dense, depthwise, strided, 1×1) with fused
    /// clamps, a residual sum, pooling, a fully connected layer. Input `image`, `[1, 3, 16, 16]`; 10 outputs.
    pub fn classifier(seed: u64) -> Graph {
        let relu6 = Activation::Clip { min: 0.0, max: 6.0 };
        let mut model = Self::new("classifier", seed);
        let image = model.input("image", &[1, 3, 16, 16]);
        let stem = model.conv(image, 16, ConvOptions::same(3).stride(2).activation(Activation::Relu));
        let depthwise = model.depthwise(stem, 3, 1, relu6);
        let pointwise = model.conv(depthwise, 16, ConvOptions::same(1));
        let sum = model.add(stem, pointwise);
        let down = model.conv(sum, 24, ConvOptions::same(3).stride(2).activation(relu6));
        let pooled = model.max_pool(down, 2, 2);
        let mean = model.global_average_pool(pooled);
        let flat = model.flatten(mean);
        let logits = model.gemm(flat, 10);
        model.finish(&[logits])
    }
}

fn window(kernel: usize, stride: usize) -> PoolAttributes {
    PoolAttributes {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads: vec![0; 4],
        ceil: false,
        count_include_pad: false,
    }
}

#[cfg(test)]
mod tests {
    use fewbit_core::reference::Interpreter;

    use super::*;

    #[test]
    fn the_classifier_runs_and_depends_on_its_seed() {
        let run = |seed| {
            let graph = ModelBuilder::classifier(seed);
            let image = Random::new(3).floats(&[1, 3, 16, 16]);
            let outputs = Interpreter::new(&graph).unwrap().run(&[image]).unwrap();
            assert_eq!(outputs[0].extents(), [1, 10]);
            outputs[0].to_f32_vec()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
