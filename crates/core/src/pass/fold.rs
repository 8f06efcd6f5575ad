//! Constant folding: what depends on constants (or known shapes) only is computed once, by the reference.

use super::Pass;
use super::edit::plain_constant;
use crate::error::{CoreErrorKind, Result};
use crate::infer::known_tensors;
use crate::ir::{Graph, NodeId, Op, Tensor, ValueId};
use crate::reference::evaluate;

/// Computes nodes of constant inputs.
///
/// Dequantized weights stay integers: DequantizeLinear and Dequantize are never folded. A result much larger than
/// its inputs (a broadcast, a tiling) is folded only while all such growth together stays below a bound, so that a
/// small file cannot ask for any amount of memory; so are products with very many multiplications.
pub(super) struct ConstantFolding;

/// Bytes by which all results of one run may exceed four times their inputs.
const GROWTH: usize = 64 << 20;

/// Most multiplications of a folded product.
const PRODUCTS: usize = 1 << 28;

impl Pass for ConstantFolding {
    fn name(&self) -> &'static str {
        "constant-folding"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let known = known_tensors(graph)?;
        let mut growth = GROWTH;
        let mut changes = 0;
        for id in graph.node_ids() {
            let Some(results) = fold(graph, id, &known, &mut growth)? else { continue };
            if let Some(node) = graph.remove_node(id) {
                for (&output, tensor) in node.outputs.iter().zip(results) {
                    let value = graph.value_mut(output);
                    value.dtype = Some(tensor.dtype());
                    value.shape = Some(tensor.shape());
                    value.constant = Some(tensor);
                }
                changes += 1;
            }
        }
        Ok(changes)
    }
}

/// The results of a node, where they can and should be computed now.
fn fold(
    graph: &Graph,
    id: NodeId,
    known: &[Option<Tensor>],
    growth: &mut usize,
) -> Result<Option<Vec<Tensor>>> {
    let Some(node) = graph.node(id) else { return Ok(None) };
    if matches!(
        node.op,
        Op::DequantizeLinear { .. }
            | Op::Dequantize
            | Op::Quantize
            | Op::Requantize
            // The pass over control flow decides what of it may run now: a loop may be without end.
            | Op::Control(_)
            | Op::Opaque { .. }
    ) {
        return Ok(None);
    }
    // Moved codes keep the parameters that their value has; nothing else is computed on quantized constants.
    let moves = node.op.moves_elements();
    let quantized = node.outputs.iter().any(|&output| graph.value(output).quant.is_some());
    if quantized && !moves {
        return Ok(None);
    }
    // Shape arithmetic, which may know an extent before the whole shape. Floats are left to the rules below, since
    // inference sees through Dequantize.
    let known = |id: &ValueId| known[id.index()].clone().filter(|tensor| !tensor.dtype().is_float());
    if let Some(results) = node.outputs.iter().map(known).collect::<Option<Vec<_>>>() {
        return Ok(Some(results));
    }
    let constant = |id: ValueId| {
        if moves { graph.value(id).constant.as_ref() } else { plain_constant(graph, id) }
    };
    let inputs: Option<Vec<Option<&Tensor>>> =
        node.inputs.iter().map(|input| input.map_or(Some(None), |id| constant(id).map(Some))).collect();
    let Some(inputs) = inputs.filter(|inputs| inputs.iter().any(Option::is_some)) else { return Ok(None) };
    let given: usize = inputs.iter().flatten().map(|tensor| tensor.bytes().len()).sum();
    let Some(needed) = node.outputs.iter().try_fold(0usize, |sum, &id| sum.checked_add(bytes(graph, id)?))
    else {
        return Ok(None);
    };
    let excess = needed.saturating_sub(given.saturating_mul(4));
    if excess > *growth {
        return Ok(None);
    }
    if node.op.has_weights() {
        let elements = |tensor: Option<&Tensor>| tensor.map_or(1, Tensor::elements);
        let factors = inputs.iter().map(|&tensor| elements(tensor));
        if factors.fold(1usize, usize::saturating_mul) > PRODUCTS {
            return Ok(None);
        }
    }
    match evaluate(graph, node, &inputs) {
        Ok(results) => {
            *growth -= excess;
            Ok(Some(results))
        }
        Err(error) if error.kind() == CoreErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error.at(&node.name)),
    }
}

/// The bytes of a value of known type and shape.
fn bytes(graph: &Graph, id: ValueId) -> Option<usize> {
    let value = graph.value(id);
    value.dtype?.byte_len(value.shape.as_ref()?.elements()?)
}
