//! Absorbing dynamic quantization: DynamicQuantizeLinear, ConvInteger or MatMulInteger, Cast and the products with both
//! scales become one Conv or product at precision `w8a8-dynamic`.

use super::Pass;
use super::edit::{Uses, sweep};
use crate::error::Result;
use crate::ir::{
    Activation, BinaryOp, ConvAttributes, DType, Graph, Node, NodeId, Op, Tensor, Value, ValueId,
};
use crate::plan::Precision;
use crate::quant::QuantParams;

/// The pass. It runs first, while the parts still stand as they were written.
pub(super) struct AbsorbDynamic;

impl Pass for AbsorbDynamic {
    fn name(&self) -> &'static str {
        "absorb-dynamic"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        sweep(graph, |graph, uses, id| {
            let Some(found) = find(graph, uses, id) else { return Ok(false) };
            rewrite(graph, found)?;
            Ok(true)
        })
    }
}

/// A product that was found.
struct Found {
    op: Op,
    x: ValueId,
    w: ValueId,
    /// Axis of the weights that output channels lie along.
    axis: usize,
    scales: Vec<f32>,
    bias: Option<Vec<f32>>,
    /// The node whose output the product takes over.
    last: NodeId,
}

fn find(graph: &Graph, uses: &Uses, id: NodeId) -> Option<Found> {
    let node = graph.node(id)?;
    let Op::Opaque { domain, op_type, attributes, .. } = &node.op else { return None };
    let is_conv = match (domain.as_str(), op_type.as_str()) {
        ("", "ConvInteger") => true,
        ("", "MatMulInteger") => false,
        _ => return None,
    };
    let (codes, w) = (node.input(0)?, node.input(1)?);
    let weights = graph.value(w).constant.as_ref()?;
    if weights.dtype() != DType::I8 || node.input(3).is_some() {
        return None;
    }
    let quantize = graph.node(uses.producer(codes)?)?;
    let (&[quantized, scale, zero], Op::DynamicQuantizeLinear) = (quantize.outputs.as_slice(), &quantize.op)
    else {
        return None;
    };
    if quantized != codes || node.input(2) != Some(zero) {
        return None;
    }
    let extents = weights.extents();
    let (op, axis, channels) = match (is_conv, extents) {
        (true, &[channels, _, ref kernel @ ..]) => {
            let conv = ConvAttributes::explicit(attributes).filter(|conv| conv.kernel == kernel)?;
            (Op::Conv { conv, activation: Activation::None }, 0, channels)
        }
        (false, &[_, channels]) => (Op::MatMul, 1, channels),
        _ => return None,
    };
    let readers = graph.consumers();
    let only_reader = |value: ValueId| -> Option<(NodeId, &Node)> {
        let reader = readers.get(value.index())?.first().copied().filter(|_| uses.single(value))?;
        Some((reader, graph.node(reader)?))
    };
    let (_, cast) = only_reader(*node.outputs.first()?)?;
    let Op::Cast { .. } = cast.op else { return None };
    let wide = *cast.outputs.first()?;
    let (mut last, product) = only_reader(wide)?;
    let factor = other_operand(product, BinaryOp::Mul, wide)?;
    let factors = graph.node(uses.producer(factor)?)?;
    let weight_scale = other_operand(factors, BinaryOp::Mul, scale)?;
    let scales = graph.value(weight_scale).constant.as_ref()?.to_f32_vec();
    if scales.len() != 1 && scales.len() != channels {
        return None;
    }
    // A product of matrices has no bias of its own; that of a Conv lies along its channels.
    let scaled = *product.outputs.first()?;
    let mut bias = None;
    if is_conv
        && let Some((next, sum)) = only_reader(scaled)
        && let Some(added) = other_operand(sum, BinaryOp::Add, scaled)
        && let Some(constant) = &graph.value(added).constant
        && constant.elements() == channels
        && constant.extents().get(1) == Some(&channels)
    {
        (last, bias) = (next, Some(constant.to_f32_vec()));
    }
    Some(Found { op, x: quantize.input(0)?, w, axis, scales, bias, last })
}

/// The other operand of an unclamped `op` that reads `one`.
fn other_operand(node: &Node, op: BinaryOp, one: ValueId) -> Option<ValueId> {
    let Op::Binary { op: found, activation: Activation::None } = node.op else { return None };
    let (a, b) = (node.input(0)?, node.input(1)?);
    match (found == op, a == one, b == one) {
        (true, true, false) => Some(b),
        (true, false, true) => Some(a),
        _ => None,
    }
}

fn rewrite(graph: &mut Graph, found: Found) -> Result<()> {
    let Found { op, x, w, axis, scales, bias, last } = found;
    let weights = graph.value(w).clone();
    let quant = match scales.as_slice() {
        &[scale] => QuantParams::per_tensor(scale, 0),
        _ => QuantParams::symmetric_per_channel(axis, scales),
    };
    let name = graph.fresh_value_name(&format!("{}_codes", weights.name));
    let w = graph.push_value(Value { name, quant: Some(quant), ..weights });
    let mut inputs = vec![Some(x), Some(w)];
    if let Some(bias) = bias {
        let name = graph.fresh_value_name(&format!("{}_bias", graph.value(w).name));
        inputs.push(Some(graph.add_constant(name, Tensor::from_slice(&[bias.len()], &bias)?)));
    }
    if let Some(node) = graph.node_mut(last) {
        (node.op, node.inputs, node.precision) = (op, inputs, Some(Precision::W8A8Dynamic));
    }
    Ok(())
}
