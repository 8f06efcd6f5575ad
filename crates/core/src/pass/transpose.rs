//! Transposes: merged, and moved behind what works in any order of axes, so that inverse pairs meet and cancel.

use super::Pass;
use super::edit::{Uses, constant, integers, plain_constant, sweep};
use crate::error::Result;
use crate::ir::{Graph, Node, NodeId, Op, Tensor, Value, ValueId};

/// Merges a Transpose into the one it reads, and lets transposes that nobody else reads sink below functions of
/// elements, sums with constants or with equally transposed values, concatenations, reductions, Pad and Softmax.
///
/// What is merged into no change of order goes with identity removal. A transpose sinks only, and never across
/// Dequantize, where it would move more bytes.
pub(super) struct Transposes;

impl Pass for Transposes {
    fn name(&self) -> &'static str {
        "transposes"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        sweep(graph, |graph, uses, id| Ok(merge(graph, uses, id) || sink(graph, uses, id)?))
    }
}

/// The transpose that makes `value`: its argument and permutation.
fn transposed<'a>(graph: &'a Graph, uses: &Uses, value: ValueId) -> Option<(ValueId, &'a [usize])> {
    let node = graph.node(uses.producer(value)?)?;
    let Op::Transpose { perm } = &node.op else { return None };
    let x = node.input(0)?;
    (graph.value(x).quant == graph.value(value).quant).then_some((x, perm))
}

fn merge(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    let Some(node) = graph.node(id) else { return false };
    let (Op::Transpose { perm }, Some(between)) = (&node.op, node.input(0)) else { return false };
    let Some((x, first)) = transposed(graph, uses, between) else { return false };
    let Some(merged) = perm.iter().map(|&axis| first.get(axis).copied()).collect() else { return false };
    if let Some(node) = graph.node_mut(id) {
        node.op = Op::Transpose { perm: merged };
        node.inputs = vec![Some(x)];
    }
    true
}

/// How a node looks before the transposes it reads, and the transpose that then follows it.
struct Sunk {
    op: Op,
    inputs: Vec<Option<ValueId>>,
    perm: Vec<usize>,
}

fn sink(graph: &mut Graph, uses: &Uses, id: NodeId) -> Result<bool> {
    let Some(node) = graph.node(id).cloned() else { return Ok(false) };
    let &[y] = node.outputs.as_slice() else { return Ok(false) };
    let Some(sunk) = sunk(graph, uses, &node)? else { return Ok(false) };
    let value = graph.value(y);
    let name = graph.fresh_value_name(&format!("{}/untransposed", value.name));
    let before = Value { name, dtype: value.dtype, shape: None, quant: value.quant.clone(), constant: None };
    let before = graph.push_value(before);
    let name = graph.fresh_node_name(&format!("{}/transpose", node.name));
    graph.add_node(Node {
        name,
        op: Op::Transpose { perm: sunk.perm },
        inputs: vec![Some(before)],
        outputs: vec![y],
        precision: None,
    });
    if let Some(node) = graph.node_mut(id) {
        node.op = sunk.op;
        node.inputs = sunk.inputs;
        node.outputs = vec![before];
    }
    Ok(true)
}

fn sunk(graph: &mut Graph, uses: &Uses, node: &Node) -> Result<Option<Sunk>> {
    let Some(first) = node.inputs.iter().flatten().find_map(|&id| transposed(graph, uses, id)) else {
        return Ok(None);
    };
    let perm = first.1.to_vec();
    // The arguments of the transposes, where all of `inputs` are such and read nowhere else.
    let through = |inputs: &[Option<ValueId>]| -> Option<Vec<Option<ValueId>>> {
        inputs
            .iter()
            .map(|&input| {
                let input = input?;
                let reads = inputs.iter().filter(|&&other| other == Some(input)).count();
                let (x, found) = transposed(graph, uses, input)?;
                (found == perm && uses.count(input) as usize == reads).then_some(Some(x))
            })
            .collect()
    };
    let map = |axis: usize| perm.get(axis).copied();
    let same = |op: Op, inputs: Vec<Option<ValueId>>| Ok(Some(Sunk { op, inputs, perm: perm.clone() }));
    match &node.op {
        Op::Unary(_) | Op::Cast { .. } | Op::Quantize | Op::Requantize => match through(&node.inputs) {
            Some(inputs) => same(node.op.clone(), inputs),
            None => Ok(None),
        },
        Op::QuantizeLinear { block: 0, .. } => {
            let whole =
                node.input(1).is_some_and(|id| graph.value(id).extents().is_some_and(|e| e.is_empty()));
            match through(&node.inputs[..1]).filter(|_| whole) {
                Some(x) => same(node.op.clone(), [&x, &node.inputs[1..]].concat()),
                None => Ok(None),
            }
        }
        Op::Binary { .. } => {
            if let Some(inputs) = through(&node.inputs) {
                return same(node.op.clone(), inputs);
            }
            for at in [0, 1] {
                let Some(x) = through(&node.inputs[at..=at]) else { continue };
                let Some(moved) = untransposed_constant(graph, node, &perm, at) else { continue };
                let moved = constant(graph, &format!("{}/operand", node.name), moved);
                let mut inputs = vec![Some(moved); 2];
                inputs[at] = x[0];
                return same(node.op.clone(), inputs);
            }
            Ok(None)
        }
        Op::Concat { axis } => match (through(&node.inputs), map(*axis)) {
            (Some(inputs), Some(axis)) => same(Op::Concat { axis }, inputs),
            _ => Ok(None),
        },
        Op::Softmax { axis, log } => match (through(&node.inputs), map(*axis)) {
            (Some(inputs), Some(axis)) => same(Op::Softmax { axis, log: *log }, inputs),
            _ => Ok(None),
        },
        Op::Reduce { op, axes, keep_dims } => {
            let mapped: Option<Vec<usize>> = axes.iter().map(|&axis| map(axis)).collect();
            let (Some(inputs), Some(mut mapped)) = (through(&node.inputs), mapped) else { return Ok(None) };
            mapped.sort_unstable();
            let perm = if *keep_dims { perm.clone() } else { remaining(&perm, axes) };
            let op = Op::Reduce { op: *op, axes: mapped, keep_dims: *keep_dims };
            Ok(Some(Sunk { op, inputs, perm }))
        }
        Op::Pad { .. } => {
            let pads = node.input(1).and_then(|id| integers(graph, id)).filter(|_| node.input(3).is_none());
            let rank = perm.len();
            let (Some(x), Some(pads)) = (through(&node.inputs[..1]), pads) else { return Ok(None) };
            if pads.len() != 2 * rank {
                return Ok(None);
            }
            let mut moved = vec![0i64; 2 * rank];
            for (at, &axis) in perm.iter().enumerate() {
                (moved[axis], moved[axis + rank]) = (pads[at], pads[at + rank]);
            }
            let moved = Tensor::from_slice(&[2 * rank], &moved)?;
            let moved = constant(graph, &format!("{}/pads", node.name), moved);
            let inputs = [x.as_slice(), &[Some(moved)], &node.inputs[2..]].concat();
            Ok(Some(Sunk { op: node.op.clone(), inputs, perm }))
        }
        _ => Ok(None),
    }
}

/// The constant beside the transposed operand `at`, as it is before the transpose.
///
/// The constant may differ along one axis at most: its elements then keep their order whichever axis that is.
fn untransposed_constant(graph: &Graph, node: &Node, perm: &[usize], at: usize) -> Option<Tensor> {
    let tensor = plain_constant(graph, node.input(1 - at)?)?;
    let extents = tensor.extents();
    let missing = perm.len().checked_sub(extents.len())?;
    let mut moved = vec![1; perm.len()];
    let mut long = (0..extents.len()).filter(|&axis| extents[axis] != 1);
    if let Some(axis) = long.next() {
        moved[perm[axis + missing]] = extents[axis];
    }
    if long.next().is_some() {
        return None;
    }
    tensor.reshaped(&moved).ok()
}

/// The permutation of the axes that remain when the output axes `gone` of `perm` are reduced away.
fn remaining(perm: &[usize], gone: &[usize]) -> Vec<usize> {
    let kept: Vec<usize> =
        perm.iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, &axis)| axis).collect();
    kept.iter().map(|axis| kept.iter().filter(|other| *other < axis).count()).collect()
}
