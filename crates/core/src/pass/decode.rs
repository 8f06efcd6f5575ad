//! Weights that were stored in integers but are read in floats.

use super::Pass;
use super::edit::sweep;
use crate::error::Result;
use crate::ir::{Graph, Op};
use crate::reference::evaluate;

/// Turns quantized constants that only float operators read into float constants, from which a plan can start.
///
/// It runs when nothing else changes the graph, so that what has an integer form has taken it. Constants of less
/// than 8 bits stay as they are: their size is why they were made.
pub(super) struct WeightDecoding;

impl Pass for WeightDecoding {
    fn name(&self) -> &'static str {
        "weight-decoding"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        sweep(graph, |graph, _, id| {
            let Some(node) = graph.node(id) else { return Ok(false) };
            if !matches!(node.op, Op::Dequantize | Op::DequantizeLinear { .. }) {
                return Ok(false);
            }
            let inputs: Option<Vec<_>> = node
                .inputs
                .iter()
                .map(|input| input.map_or(Some(None), |id| graph.value(id).constant.as_ref().map(Some)))
                .collect();
            let (Some(inputs), Some(&y)) = (inputs, node.outputs.first()) else { return Ok(false) };
            if inputs.first().copied().flatten().is_none_or(|codes| codes.dtype().bits() < 8) {
                return Ok(false);
            }
            let Some(tensor) = evaluate(graph, node, &inputs)?.into_iter().next() else { return Ok(false) };
            graph.remove_node(id);
            let value = graph.value_mut(y);
            value.dtype = Some(tensor.dtype());
            value.shape = Some(tensor.shape());
            value.constant = Some(tensor);
            Ok(true)
        })
    }
}
