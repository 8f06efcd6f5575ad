//! Integer forms of operators with weights.

use super::{activation, is_activation, quantize_output, source, targets};
use crate::error::Result;
use crate::ir::{DType, Graph, Node, NodeId, Op, Tensor, Value, ValueId};
use crate::pass::edit::{Uses, is_plain_float};
use crate::quant::weights::{QuantizedTensor, quantize_bias};
use crate::quant::{Granularity, QuantParams};

/// Widths in bits of the activations that products take.
const WIDTHS: &[usize] = &[8, 16];

/// How far a bias's scale may be from the product of input and weight scale for its codes to stay.
const SCALE_TOLERANCE: f32 = 1e-5;

/// Lets Conv, ConvTranspose, Gemm and MatMul read quantized values; what they give is quantized where all readers
/// quantize it alike, float otherwise.
pub(super) fn rewrite(graph: &mut Graph, uses: &Uses, id: NodeId) -> Result<bool> {
    let Some(node) = graph.node(id).filter(|node| node.op.has_weights()).cloned() else { return Ok(false) };
    let &[y] = node.outputs.as_slice() else { return Ok(false) };
    let Some(inputs) = operands(graph, uses, &node) else { return Ok(false) };
    let mut bias = None;
    if let Some(float) = node.input(2) {
        match quantized_bias(graph, uses, float, &inputs) {
            Some(quantized) => bias = Some((float, quantized)),
            None => return Ok(false),
        }
    }
    if !is_plain_float(graph, y) {
        return Ok(false);
    }
    let mut operands = vec![Some(inputs.x), Some(weights(graph, inputs.w)?)];
    if let Some((float, quantized)) = bias {
        operands.push(Some(match quantized {
            Bias::Codes(value) => value,
            Bias::Made(made) => {
                let name = graph.fresh_value_name(&format!("{}/quantized", graph.value(float).name));
                push(graph, name, made)
            }
        }));
    }
    let targets = targets(graph, y, WIDTHS);
    if let Some(node) = graph.node_mut(id) {
        node.inputs = operands;
        if let Op::Gemm { beta, .. } = &mut node.op {
            *beta = 1.0;
        }
    }
    match targets {
        Some(targets) => quantize_output(graph, id, &targets),
        None => graph.value_mut(y).dtype = Some(DType::F32),
    }
    Ok(true)
}

/// What a product reads: codes of the activation and of the weights, and the scales of both.
struct Operands {
    x: ValueId,
    w: ValueId,
    input_scale: f32,
    weight_scales: Vec<f32>,
}

fn operands(graph: &Graph, uses: &Uses, node: &Node) -> Option<Operands> {
    if let Op::Gemm { alpha, beta, trans_a, .. } = node.op
        && (alpha != 1.0 || trans_a || (beta != 1.0 && node.input(2).is_some()))
    {
        return None;
    }
    let x = activation(graph, uses, node.input(0)?, WIDTHS)?;
    let (input_scale, _) = graph.value(x).quant.as_ref()?.tensor_wide()?;
    let w = source(graph, uses, node.input(1)?)?;
    let weight = graph.value(w);
    let quant = weight.quant.as_ref()?;
    let fits = if weight.constant.is_some() {
        let bits = weight.dtype?.bits();
        let sharing = match quant.granularity {
            Granularity::PerTensor => true,
            Granularity::PerChannel { axis } => channel_axis(graph, node, w) == Some(axis),
            Granularity::PerBlock { .. } => false,
        };
        bits <= 8 && sharing && centred(weight).is_some()
    } else {
        // A product of two activations.
        matches!(node.op, Op::MatMul) && is_activation(graph, w, &[8]) && is_activation(graph, x, &[8])
    };
    // Products without outputs have no scales.
    (fits && !quant.scales.is_empty()).then(|| Operands {
        x,
        w,
        input_scale,
        weight_scales: quant.scales.clone(),
    })
}

/// The axis of the weights that output channels lie along.
fn channel_axis(graph: &Graph, node: &Node, weights: ValueId) -> Option<usize> {
    let rank = graph.value(weights).shape.as_ref()?.rank();
    match &node.op {
        Op::Conv { .. } => Some(0),
        Op::ConvTranspose { conv, .. } if conv.groups == 1 => Some(1),
        Op::Gemm { trans_b, .. } => Some(usize::from(!trans_b)),
        Op::MatMul if rank == 2 => Some(1),
        _ => None,
    }
}

/// The codes of constant weights less their zero points, where 8 bits with a sign hold them.
fn centred(weight: &Value) -> Option<Vec<i64>> {
    let (tensor, quant) = (weight.constant.as_ref()?, weight.quant.as_ref()?);
    let (channels, inner) = match quant.granularity {
        Granularity::PerTensor => (1, tensor.elements()),
        Granularity::PerChannel { axis } => {
            (*tensor.extents().get(axis)?, tensor.extents().get(axis + 1..)?.iter().product())
        }
        Granularity::PerBlock { .. } => return None,
    };
    let codes = tensor.to_i64_vec().into_iter().enumerate().map(|(at, code)| {
        let channel = at / std::cmp::max(inner, 1) % std::cmp::max(channels, 1);
        let code = code - i64::from(*quant.zero_points.get(channel)?);
        (-128..=127).contains(&code).then_some(code)
    });
    codes.collect()
}

/// The weights as signed codes with zero points 0.
fn weights(graph: &mut Graph, w: ValueId) -> Result<ValueId> {
    let value = graph.value(w);
    let (Some(tensor), Some(quant), Some(dtype)) = (&value.constant, &value.quant, value.dtype) else {
        return Ok(w);
    };
    if dtype.is_signed_integer() && quant.zero_points.iter().all(|&zero| zero == 0) {
        return Ok(w);
    }
    let Some(codes) = centred(value) else { return Ok(w) };
    let signed = QuantizedTensor {
        tensor: Tensor::from_i64(DType::I8, tensor.extents(), &codes)?,
        params: QuantParams { zero_points: vec![0; quant.zero_points.len()], ..quant.clone() },
    };
    let name = graph.fresh_value_name(&value.name);
    Ok(push(graph, name, signed))
}

fn push(graph: &mut Graph, name: String, made: QuantizedTensor) -> ValueId {
    graph.push_value(Value {
        name,
        dtype: Some(made.tensor.dtype()),
        shape: Some(made.tensor.shape()),
        quant: Some(made.params),
        constant: Some(made.tensor),
    })
}

/// A bias at the scale of the accumulator.
enum Bias {
    /// The codes the model has.
    Codes(ValueId),
    /// Codes at another scale than the model's.
    Made(QuantizedTensor),
}

/// The float constant bias, or the dequantized one, as 32-bit codes at the scale of the accumulator.
fn quantized_bias(graph: &Graph, uses: &Uses, bias: ValueId, inputs: &Operands) -> Option<Bias> {
    let scale_of = |channel: usize| {
        inputs.input_scale * inputs.weight_scales[channel.min(inputs.weight_scales.len() - 1)]
    };
    let real: Vec<f32> = if let Some(codes) = source(graph, uses, bias) {
        let value = graph.value(codes);
        let (tensor, quant) = (value.constant.as_ref()?, value.quant.as_ref()?);
        let one_axis = tensor.extents().len() == 1 && quant.zero_points.iter().all(|&zero| zero == 0);
        if !one_axis || matches!(quant.granularity, Granularity::PerBlock { .. }) {
            return None;
        }
        let scales = |channel: usize| quant.scales[channel.min(quant.scales.len() - 1)];
        let channels = tensor.elements();
        let close = (0..channels).all(|c| (scales(c) - scale_of(c)).abs() <= SCALE_TOLERANCE * scale_of(c));
        if close && value.dtype == Some(DType::I32) {
            return Some(Bias::Codes(codes));
        }
        let codes = tensor.to_f64_vec();
        codes.iter().enumerate().map(|(c, &code)| (code * f64::from(scales(c))) as f32).collect()
    } else {
        let value = graph.value(bias);
        let tensor = value.constant.as_ref().filter(|_| value.quant.is_none())?;
        let channels = tensor.elements();
        if tensor.extents().iter().rev().skip(1).any(|&extent| extent != 1) || !tensor.dtype().is_float() {
            return None;
        }
        if inputs.weight_scales.len() > 1 && channels != inputs.weight_scales.len() {
            return None;
        }
        tensor.to_f32_vec()
    };
    // A bias beyond 32 bits keeps the node in float.
    quantize_bias(&real, inputs.input_scale, &inputs.weight_scales).ok().map(Bias::Made)
}
