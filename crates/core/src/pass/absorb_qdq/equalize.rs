//! Activations with a scale per channel, as NNCF puts them in front of depthwise convolutions.
//!
//! Integer kernels take activations of one scale. A scale per channel between a convolution and a depthwise one can
//! move into the weights on either side: the codes stay what they are.

use super::{readers, source};
use crate::error::Result;
use crate::ir::{DType, Graph, Node, NodeId, Op, Tensor, ValueId};
use crate::pass::edit::{Uses, constant, insert, plain_constant};
use crate::quant::convert::CodeRange;
use crate::quant::{Granularity, QuantParams};

/// Gives the output of a Quantize per channel one scale, the largest, where a convolution with quantized weights
/// produces its input and depthwise convolutions with quantized weights alone read its output.
///
/// The clamp of the producer must not bite within the range of any channel, since its bounds do not scale.
pub(super) fn rewrite(graph: &mut Graph, uses: &Uses, id: NodeId) -> Result<bool> {
    let Some(found) = find(graph, uses, id) else { return Ok(false) };
    let largest = found.scales.iter().copied().fold(0f32, f32::max);
    let ratios: Vec<f32> = found.scales.iter().map(|&scale| largest / scale).collect();
    scale_channels(graph, uses, found.producer, &ratios)?;
    for &reader in &found.readers {
        let Some(node) = graph.node(reader).cloned() else { continue };
        let outputs = node.input(1).and_then(|w| graph.value(w).extents()).map_or(0, |extents| extents[0]);
        let per_channel = (outputs / ratios.len()).max(1);
        let inverse: Vec<f32> =
            (0..outputs).map(|output| found.scales[output / per_channel] / largest).collect();
        scale_weights(graph, uses, &node, reader, &inverse);
    }
    graph.value_mut(found.codes).quant = Some(QuantParams::per_tensor(largest, found.zero_point));
    Ok(true)
}

struct Found {
    codes: ValueId,
    scales: Vec<f32>,
    zero_point: i32,
    producer: NodeId,
    readers: Vec<NodeId>,
}

fn find(graph: &Graph, uses: &Uses, id: NodeId) -> Option<Found> {
    let node = graph.node(id).filter(|node| matches!(node.op, Op::Quantize))?;
    let (x, codes) = (node.input(0)?, *node.outputs.first()?);
    let value = graph.value(codes);
    let quant = value.quant.as_ref()?;
    let zero_point = *quant.zero_points.first()?;
    let along_channels = matches!(quant.granularity, Granularity::PerChannel { axis: 1 });
    if !along_channels || quant.zero_points.iter().any(|&zero| zero != zero_point) || graph.is_output(codes) {
        return None;
    }
    let producer = uses.producer(x).filter(|_| uses.single(x))?;
    let convolution = graph.node(producer).filter(|node| {
        matches!(node.op, Op::Conv { .. })
            && weights(graph, uses, node).is_some()
            && has_fixed_bias(graph, uses, node)
    })?;
    let range = match value.dtype? {
        DType::U8 => CodeRange::U8,
        DType::I8 => CodeRange::I8,
        _ => return None,
    };
    let (low, high) = convolution.op.activation().bounds();
    if quant.scales.iter().any(|&scale| range.clipped(low, high, scale, zero_point) != range) {
        return None;
    }
    let mut depthwise = Vec::new();
    for reader in readers(graph, codes) {
        let float = graph.node(reader).filter(|node| matches!(node.op, Op::Dequantize))?.outputs.first()?;
        if graph.is_output(*float) {
            return None;
        }
        for id in readers(graph, *float) {
            let node = graph.node(id)?;
            let Op::Conv { conv, .. } = &node.op else { return None };
            let fits = conv.groups == quant.scales.len()
                && node.input(0) == Some(*float)
                && node.inputs.iter().flatten().filter(|&input| input == float).count() == 1
                && weights(graph, uses, node).is_some();
            depthwise.push(fits.then_some(id)?);
        }
    }
    let scales = quant.scales.clone();
    (!depthwise.is_empty()).then_some(Found { codes, scales, zero_point, producer, readers: depthwise })
}

/// The quantized constant weights of a convolution, per output channel or per tensor.
fn weights(graph: &Graph, uses: &Uses, node: &Node) -> Option<ValueId> {
    let codes = source(graph, uses, node.input(1)?)?;
    let value = graph.value(codes);
    let granularity = value.quant.as_ref()?.granularity;
    let sharing = matches!(granularity, Granularity::PerTensor | Granularity::PerChannel { axis: 0 });
    (value.constant.is_some() && sharing).then_some(codes)
}

fn has_fixed_bias(graph: &Graph, uses: &Uses, node: &Node) -> bool {
    node.input(2).is_none_or(|bias| {
        plain_constant(graph, bias).is_some()
            || source(graph, uses, bias).is_some_and(|codes| graph.value(codes).constant.is_some())
    })
}

/// Multiplies the output channels of a convolution, weights and bias.
fn scale_channels(graph: &mut Graph, uses: &Uses, id: NodeId, factors: &[f32]) -> Result<()> {
    let Some(node) = graph.node(id).cloned() else { return Ok(()) };
    scale_weights(graph, uses, &node, id, factors);
    let Some(bias) = node.input(2) else { return Ok(()) };
    let scaled = if let Some(codes) = source(graph, uses, bias) {
        scaled_codes(graph, codes, factors)
    } else if let Some(tensor) = plain_constant(graph, bias) {
        let values: Vec<f64> =
            tensor.to_f64_vec().iter().zip(factors).map(|(x, &factor)| x * f64::from(factor)).collect();
        let tensor = Tensor::from_f64(tensor.dtype(), tensor.extents(), &values)?;
        let name = graph.value(bias).name.clone();
        Some(constant(graph, &name, tensor))
    } else {
        None
    };
    if let (Some(scaled), Some(node)) = (scaled, graph.node_mut(id)) {
        node.inputs[2] = Some(scaled);
    }
    Ok(())
}

fn scale_weights(graph: &mut Graph, uses: &Uses, node: &Node, id: NodeId, factors: &[f32]) {
    let Some(codes) = weights(graph, uses, node) else { return };
    let scaled = scaled_codes(graph, codes, factors);
    if let (Some(scaled), Some(node)) = (scaled, graph.node_mut(id)) {
        node.inputs[1] = Some(scaled);
    }
}

/// The constant `codes` dequantized with scales multiplied by `factors` along axis 0.
fn scaled_codes(graph: &mut Graph, codes: ValueId, factors: &[f32]) -> Option<ValueId> {
    let mut value = graph.value(codes).clone();
    let quant = value.quant.as_mut()?;
    let at = |values: usize, channel: usize| channel.min(values - 1);
    let (scales, zeros) = (quant.scales.len(), quant.zero_points.len());
    *quant = QuantParams {
        granularity: Granularity::PerChannel { axis: 0 },
        scales: factors.iter().enumerate().map(|(c, factor)| quant.scales[at(scales, c)] * factor).collect(),
        zero_points: (0..factors.len()).map(|c| quant.zero_points[at(zeros, c)]).collect(),
    };
    value.name = graph.fresh_value_name(&value.name);
    let (name, shape) = (format!("{}/dequantized", value.name), value.shape.clone());
    let codes = graph.push_value(value);
    let float = insert(graph, &name, Op::Dequantize, &[codes]);
    let value = graph.value_mut(float);
    (value.dtype, value.shape) = (Some(DType::F32), shape);
    Some(float)
}
