//! The question a rule answers: the whole node, at one precision.

use std::borrow::Cow;

use crate::ir::{Activation, DType, Dim, Graph, Node, Op, PoolAttributes, Value, ValueId};
use crate::plan::Precision;
use crate::quant::QuantParams;

/// A node of a graph, with everything it reads and writes, and the precision it is to run at.
#[derive(Debug, Clone, Copy)]
pub struct NodeQuery<'a> {
    /// The graph that the node is part of; types and shapes must be inferred.
    pub graph: &'a Graph,
    /// The node.
    pub node: &'a Node,
    /// The precision asked for.
    pub precision: Precision,
}

/// A window that slides over the spatial axes: a kernel or a pool.
#[derive(Debug, Clone)]
pub(super) struct Window<'a> {
    pub(super) kernel: Cow<'a, [usize]>,
    pub(super) strides: &'a [usize],
    pub(super) dilations: &'a [usize],
}

impl Window<'_> {
    /// Kernel extents with dilation.
    pub(super) fn dilated(&self) -> Vec<usize> {
        self.kernel
            .iter()
            .enumerate()
            .map(|(axis, &kernel)| {
                let dilation = self.dilations.get(axis).copied().unwrap_or(1);
                kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1)
            })
            .collect()
    }
}

impl<'a> NodeQuery<'a> {
    /// The query for `node` of `graph` at `precision`.
    pub fn new(graph: &'a Graph, node: &'a Node, precision: Precision) -> Self {
        Self { graph, node, precision }
    }

    /// The operator's name, as rules write it.
    pub fn op_name(&self) -> String {
        self.node.op.kind().as_str().to_owned()
    }

    /// The clamp fused into the operator.
    pub fn activation(&self) -> Activation {
        self.node.op.activation()
    }

    /// The values that hold elements the node computes with: not shapes, axes, indices or weights.
    ///
    /// Of an operator with weights that is its input, and its second operand unless that is constant.
    pub fn operands(&self) -> Vec<ValueId> {
        operands(self.graph, self.node)
    }

    /// The constant weights, where the operator has some.
    pub fn weights(&self) -> Option<ValueId> {
        let id = self.node.input(1).filter(|_| self.node.op.has_weights())?;
        self.graph.value(id).constant.is_some().then_some(id)
    }

    /// What the node reads and writes while running: operands that are not constant, and outputs.
    pub(super) fn activations(&self) -> impl Iterator<Item = &'a Value> {
        let graph = self.graph;
        let operands = self.operands().into_iter().filter(|&id| graph.value(id).constant.is_none());
        operands.chain(self.node.outputs.iter().copied()).map(move |id| graph.value(id))
    }

    pub(super) fn window(&self) -> Option<Window<'a>> {
        match &self.node.op {
            Op::Conv { conv, .. } | Op::ConvTranspose { conv, .. } => Some(Window {
                kernel: (&conv.kernel).into(),
                strides: &conv.strides,
                dilations: &conv.dilations,
            }),
            Op::MaxPool(PoolAttributes { kernel, strides, dilations, .. })
            | Op::AveragePool(PoolAttributes { kernel, strides, dilations, .. }) => {
                Some(Window { kernel: kernel.into(), strides, dilations })
            }
            Op::GlobalMaxPool | Op::GlobalAveragePool => {
                let extents = self.graph.value(self.node.input(0)?).extents()?;
                let kernel = extents.get(2..)?.to_vec().into();
                Some(Window { kernel, strides: &[], dilations: &[] })
            }
            _ => None,
        }
    }

    /// Whether the node pools over the whole image.
    pub(super) fn is_global_pool(&self) -> bool {
        matches!(self.node.op, Op::GlobalMaxPool | Op::GlobalAveragePool)
    }

    /// Channel groups and the number of input channels of a convolution.
    pub(super) fn groups(&self) -> Option<(usize, Option<usize>)> {
        match &self.node.op {
            Op::Conv { conv, .. } | Op::ConvTranspose { conv, .. } => Some((conv.groups, self.channels().0)),
            _ => None,
        }
    }

    /// Input and output channels of an operator with weights, where known.
    pub(super) fn channels(&self) -> (Option<usize>, Option<usize>) {
        let dim = |id: Option<ValueId>, from_end: bool| {
            let shape = self.graph.value(id?).shape.as_ref()?;
            let dims = shape.dims();
            if from_end { dims.last()?.fixed() } else { dims.get(1)?.fixed() }
        };
        let last = matches!(self.node.op, Op::Gemm { .. } | Op::MatMul);
        (dim(self.node.input(0), last), dim(self.node.outputs.first().copied(), last))
    }

    pub(super) fn resize_mode(&self) -> Option<&'static str> {
        let Op::Resize(attributes) = &self.node.op else { return None };
        Some(attributes.mode.name())
    }

    /// Input and output extents of a resize along each spatial axis, where known.
    pub(super) fn resize_extents(&self) -> Option<Vec<(usize, usize)>> {
        let Op::Resize(_) = &self.node.op else { return None };
        let input = self.graph.value(self.node.input(0)?).extents()?;
        let output = self.graph.value(*self.node.outputs.first()?).extents()?;
        Some(input.into_iter().zip(output).skip(2).collect())
    }

    pub(super) fn pad_mode(&self) -> Option<&'static str> {
        let Op::Pad { mode } = &self.node.op else { return None };
        Some(mode.name())
    }

    /// The axis that a Softmax or Concat works along, and the rank of its input.
    pub(super) fn axis(&self) -> Option<(usize, usize)> {
        let axis = match &self.node.op {
            Op::Softmax { axis, .. } | Op::Concat { axis } | Op::Split { axis, .. } => *axis,
            _ => return None,
        };
        Some((axis, self.graph.value(self.node.input(0)?).shape.as_ref()?.rank()))
    }

    /// Whether every axis behind the operator's own has one element; `true` where that is not known.
    pub(super) fn is_last_axis(&self, axis: usize) -> bool {
        let extents = self.node.input(0).and_then(|id| self.graph.value(id).extents());
        extents.is_none_or(|extents| extents.iter().skip(axis + 1).all(|&extent| extent == 1))
    }

    /// The axes of a reduction, and the rank of its input.
    pub(super) fn reduced_axes(&self) -> Option<(&'a [usize], usize)> {
        let Op::Reduce { axes, .. } = &self.node.op else { return None };
        Some((axes, self.graph.value(self.node.input(0)?).shape.as_ref()?.rank()))
    }

    /// The largest sum of absolute weight codes over output channels, with symmetric scales per channel.
    pub(super) fn weight_sum(&self) -> Option<u64> {
        let value = self.graph.value(self.weights()?);
        let tensor = value.constant.as_ref()?;
        if tensor.dtype().is_integer() {
            return channel_sums(&self.node.op, tensor.extents(), &tensor.to_f64_vec())
                .into_iter()
                .map(|(sum, _)| sum as u64)
                .max();
        }
        let top = (1u32 << (self.precision.weight_bits().min(16) - 1)) - 1;
        channel_sums(&self.node.op, tensor.extents(), &tensor.to_f64_vec())
            .into_iter()
            .map(
                |(sum, largest)| {
                    if largest > 0.0 { (sum / largest * f64::from(top)).ceil() as u64 } else { 0 }
                },
            )
            .max()
    }

    /// The quantization parameters that a value of the graph has already, with its element type.
    pub(super) fn quantized(value: &Value) -> Option<(DType, &QuantParams)> {
        Some((value.dtype?, value.quant.as_ref()?))
    }

    /// The name of the first free dimension of an activation, with the value's name.
    pub(super) fn free_dimension(&self) -> Option<(String, String)> {
        self.activations().find_map(|value| {
            value.shape.as_ref()?.dims().iter().find_map(|dim| match dim {
                Dim::Symbol(name) => Some((value.name.clone(), name.clone())),
                Dim::Fixed(_) => None,
            })
        })
    }
}

/// Per output channel, the sum and the largest of absolute values.
fn channel_sums(op: &Op, extents: &[usize], values: &[f64]) -> Vec<(f64, f64)> {
    let axis = match op {
        Op::Gemm { trans_b: false, .. } | Op::MatMul => extents.len().saturating_sub(1),
        Op::ConvTranspose { .. } => 1.min(extents.len().saturating_sub(1)),
        _ => 0,
    };
    let channels = extents.get(axis).copied().unwrap_or(1).max(1);
    let inner: usize = extents.iter().skip(axis + 1).product::<usize>().max(1);
    let mut sums = vec![(0f64, 0f64); channels];
    for (index, value) in values.iter().enumerate() {
        let (sum, largest) = &mut sums[index / inner % channels];
        *sum += value.abs();
        *largest = largest.max(value.abs());
    }
    sums
}

/// The values that hold elements `node` computes with: not shapes, axes, indices, constant weights or biases.
pub(crate) fn operands(graph: &Graph, node: &Node) -> Vec<ValueId> {
    let limit = match &node.op {
        Op::Resize(_)
        | Op::Slice
        | Op::Gather { .. }
        | Op::Expand
        | Op::Tile
        | Op::Reshape { .. }
        | Op::Conv { .. }
        | Op::ConvTranspose { .. }
        | Op::Pad { .. }
        | Op::LayerNorm { .. }
        | Op::InstanceNorm { .. }
        | Op::BatchNorm { .. } => 1,
        Op::Gemm { .. } | Op::MatMul => 2,
        _ => usize::MAX,
    };
    node.inputs
        .iter()
        .take(limit)
        .flatten()
        .copied()
        .enumerate()
        .filter(|&(index, id)| !(index == 1 && node.op.has_weights() && graph.value(id).constant.is_some()))
        .map(|(_, id)| id)
        .collect()
}
