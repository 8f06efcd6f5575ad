//! Weights that are stored in integers but are read in floats.

use super::Pass;
use super::edit::sweep;
use crate::error::Result;
use crate::ir::{DType, Graph, NodeId, Op, ValueId};
use crate::plan::Precision;
use crate::reference::evaluate;

/// What `quantize` writes into the metadata of a file: such a file is run, and not planned again.
const PLANNED: &str = "fewbit.plan";

/// Lets float products read weights that are stored in few bits where their size is why they were made: those of less
/// than 8 bits, and those of a file that was made by a plan. Decodes other quantized constants into floats, from which
/// a plan can start.
///
/// It runs when nothing else changes the graph, so that what has an integer form has taken it.
pub(super) struct WeightDecoding;

impl Pass for WeightDecoding {
    fn name(&self) -> &'static str {
        "weight-decoding"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let planned = graph.metadata.contains_key(PLANNED);
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
            let Some(bits) = inputs.first().copied().flatten().map(|codes| codes.dtype().bits()) else {
                return Ok(false);
            };
            if bits < 8 || planned {
                let (op, codes) = (node.op.clone(), node.input(0));
                if op == Op::Dequantize
                    && let Some(codes) = codes
                    && let Some(readers) = products(graph, y)
                {
                    for reader in readers {
                        if let Some(reader) = graph.node_mut(reader) {
                            reader.inputs[1] = Some(codes);
                            reader.precision =
                                Some(if bits < 8 { Precision::W4A16F } else { Precision::W8A16F });
                        }
                    }
                    graph.remove_node(id);
                    return Ok(true);
                }
            }
            if bits < 8 {
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

/// The float products that read `weights`, where nothing else does.
fn products(graph: &Graph, weights: ValueId) -> Option<Vec<NodeId>> {
    if graph.is_output(weights) {
        return None;
    }
    let mut readers = Vec::new();
    for (id, node) in graph.nodes() {
        let places: Vec<usize> =
            (0..node.inputs.len()).filter(|&at| node.input(at) == Some(weights)).collect();
        if places.is_empty() {
            continue;
        }
        let float = node.input(0).is_some_and(|x| {
            let x = graph.value(x);
            x.dtype == Some(DType::F32) && x.quant.is_none()
        });
        let product = matches!(node.op, Op::Conv { .. } | Op::Gemm { .. } | Op::MatMul);
        if places != [1] || !float || !product || node.precision.is_some() {
            return None;
        }
        readers.push(id);
    }
    (!readers.is_empty()).then_some(readers)
}
