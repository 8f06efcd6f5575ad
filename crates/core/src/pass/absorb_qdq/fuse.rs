//! Integer forms of operators without weights.

use super::{activation, form, quantize_output, source, targets};
use crate::ir::{BinaryOp, DType, Graph, Node, NodeId, Op, ReduceOp, ResizeMode, UnaryOp, Value, ValueId};
use crate::pass::edit::Uses;
use crate::quant::{Granularity, QuantParams};

/// Rewrites node `id` to read and write quantized values, where it has an integer form and its neighbours allow it.
pub(super) fn rewrite(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    let Some(node) = graph.node(id) else { return false };
    if node.op.moves_elements() {
        return sink_dequantize(graph, uses, id);
    }
    if matches!(&node.op, Op::Resize(resize) if resize.mode == ResizeMode::Linear) {
        // Its integer form keeps parameters, too, but rounds: only where the model rounds in the same way.
        let wanted = node.outputs.first().and_then(|&y| target_form(graph, y));
        let given = node.input(0).and_then(|x| form(graph, activation(graph, uses, x, &[8])?));
        return given.is_some() && given == wanted && sink_dequantize(graph, uses, id);
    }
    let Some(widths) = widths(&node.op) else { return false };
    let &[y] = node.outputs.as_slice() else { return false };
    let inputs: Option<Vec<ValueId>> =
        node.inputs.iter().map(|&input| activation(graph, uses, input?, widths)).collect();
    let (Some(inputs), Some(targets)) = (inputs, targets(graph, y, widths)) else { return false };
    if let Some(node) = graph.node_mut(id) {
        node.inputs = inputs.into_iter().map(Some).collect();
    }
    quantize_output(graph, id, &targets);
    true
}

/// Whether an operator without weights has an integer form that reads and writes values of 8 bits.
pub(super) fn has_form(op: &Op) -> bool {
    widths(op).is_some() || matches!(op, Op::Resize(resize) if resize.mode == ResizeMode::Linear)
}

/// The 8-bit form that all readers of `value` quantize it to.
fn target_form(graph: &Graph, value: ValueId) -> Option<(DType, QuantParams)> {
    let targets = targets(graph, value, &[8])?;
    form(graph, *graph.node(*targets.first()?)?.outputs.first()?)
}

/// The widths in bits of the values an operator has an integer form for, all of whose inputs are values to quantize.
fn widths(op: &Op) -> Option<&'static [usize]> {
    match op {
        Op::Binary { op: BinaryOp::Add | BinaryOp::Sub, .. } | Op::Concat { .. } => Some(&[8, 16]),
        Op::Unary(UnaryOp::Not) => None,
        Op::Binary { op: BinaryOp::Mul, .. }
        | Op::Unary(_)
        | Op::AveragePool(_)
        | Op::GlobalAveragePool
        | Op::Reduce { op: ReduceOp::Mean, .. } => Some(&[8]),
        _ => None,
    }
}

/// Lets an operator that keeps parameters read what its input was dequantized from, and dequantizes its outputs.
fn sink_dequantize(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    let Some(node) = graph.node(id).cloned() else { return false };
    let Some(codes) = node.input(0).and_then(|x| source(graph, uses, x)) else { return false };
    let Some((dtype, params)) = form(graph, codes) else { return false };
    let Some(params) = moved(&node, &params) else { return false };
    let mut outputs = Vec::with_capacity(node.outputs.len());
    for &output in &node.outputs {
        let name = graph.fresh_value_name(&format!("{}/quantized", graph.value(output).name));
        let shape = graph.value(output).shape.clone();
        let quant = Some(params.clone());
        let quantized = graph.push_value(Value { name, dtype: Some(dtype), shape, quant, constant: None });
        let name = graph.fresh_node_name(&format!("{}/dequantize", node.name));
        graph.add_node(Node {
            name,
            op: Op::Dequantize,
            inputs: vec![Some(quantized)],
            outputs: vec![output],
            precision: None,
        });
        outputs.push(quantized);
    }
    if let Some(node) = graph.node_mut(id) {
        node.inputs[0] = Some(codes);
        node.outputs = outputs;
    }
    true
}

/// The parameters of the elements that `node` moves: the same, or with the axis where it went.
fn moved(node: &Node, params: &QuantParams) -> Option<QuantParams> {
    match (params.granularity, &node.op) {
        (Granularity::PerTensor, _) => Some(params.clone()),
        (Granularity::PerChannel { axis }, Op::Transpose { perm }) => {
            let axis = perm.iter().position(|&from| from == axis)?;
            Some(QuantParams { granularity: Granularity::PerChannel { axis }, ..params.clone() })
        }
        _ => None,
    }
}
