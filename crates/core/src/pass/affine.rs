//! Folding of per-channel scales and offsets into the weights before them.

use super::Pass;
use super::edit::{Uses, constant, insert, is_plain_float, plain_constant, produce_instead, replace, sweep};
use crate::error::Result;
use crate::ir::{Activation, BinaryOp, Graph, Node, NodeId, Op, Tensor, ValueId};

/// Folds BatchNorm, and Mul, Div, Add and Sub by constants per channel, into the weights and bias of a Conv,
/// ConvTranspose or Gemm that nobody else reads. Any other BatchNorm becomes a Mul and an Add per channel.
///
/// Products are made in f64 and rounded once to the weights' type.
pub(super) struct AffineFolding;

impl Pass for AffineFolding {
    fn name(&self) -> &'static str {
        "affine-folding"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        sweep(graph, |graph, uses, id| {
            if fold(graph, uses, id)?.is_some() {
                return Ok(true);
            }
            Ok(spell_out(graph, id)?.is_some())
        })
    }
}

/// `y = scale[c] * x + offset[c]`.
struct Affine {
    scale: Vec<f64>,
    offset: Vec<f64>,
}

impl Affine {
    fn is_finite(&self) -> bool {
        self.scale.iter().chain(&self.offset).all(|x| x.is_finite())
    }
}

/// Folds node `id` into the producer of its input.
fn fold(graph: &mut Graph, uses: &Uses, id: NodeId) -> Result<Option<()>> {
    let Some((producer, x, affine)) = graph.node(id).and_then(|node| candidate(graph, uses, node)) else {
        return Ok(None);
    };
    let Some(weighted) = graph.node(producer).cloned() else { return Ok(None) };
    let Some(folded) = weights(graph, &weighted, &affine)? else { return Ok(None) };
    let Some(node) = graph.remove_node(id) else { return Ok(None) };
    let weight = match (folded.weight, weighted.input(1)) {
        (Some(tensor), Some(old)) => Some(set(graph, uses, old, tensor)),
        (None, old) => old,
        (Some(_), None) => return Ok(None),
    };
    let bias = match weighted.input(2) {
        Some(old) => set(graph, uses, old, folded.bias),
        None => constant(graph, &format!("{}/bias", weighted.name), folded.bias),
    };
    if let Some(weighted) = graph.node_mut(producer) {
        weighted.inputs = vec![weighted.input(0), weight, Some(bias)];
        weighted.op = folded.op;
        if let Some(activation) = weighted.op.activation_mut() {
            *activation = node.op.activation();
        }
    }
    if let Some(&y) = node.outputs.first() {
        produce_instead(graph, producer, x, y);
    }
    Ok(Some(()))
}

/// Puts a new tensor into the constant `old`, or into a new one where others read it too.
fn set(graph: &mut Graph, uses: &Uses, old: ValueId, tensor: Tensor) -> ValueId {
    if uses.single(old) {
        let value = graph.value_mut(old);
        value.shape = Some(tensor.shape());
        value.dtype = Some(tensor.dtype());
        value.constant = Some(tensor);
        return old;
    }
    let name = graph.value(old).name.clone();
    constant(graph, &name, tensor)
}

/// The weighted node that `node` can be folded into, the value between, and what `node` does per channel.
fn candidate(graph: &Graph, uses: &Uses, node: &Node) -> Option<(NodeId, ValueId, Affine)> {
    let operand = |at: usize| node.input(at).and_then(|id| plain_constant(graph, id)).is_some();
    let at = match &node.op {
        Op::Binary { op: BinaryOp::Add | BinaryOp::Mul | BinaryOp::Sub, .. } => usize::from(operand(0)),
        Op::BatchNorm { .. } | Op::Binary { op: BinaryOp::Div, .. } => 0,
        _ => return None,
    };
    let x = node.input(at)?;
    let &y = node.outputs.first()?;
    if !uses.single(x) || !is_plain_float(graph, x) || !is_plain_float(graph, y) {
        return None;
    }
    let producer = uses.producer(x)?;
    let weighted = graph.node(producer)?;
    if weighted.op.activation() != Activation::None || graph.value(x).shape.is_none() {
        return None;
    }
    let channels = channels(graph, weighted)?;
    let affine = match &node.op {
        Op::BatchNorm { epsilon } => batch_norm(graph, node, *epsilon)?,
        Op::Binary { op, .. } => {
            let rank = graph.value(y).shape.as_ref()?.rank();
            let same = graph.value(x).shape.as_ref()?.rank() == rank;
            let numbers = per_channel(plain_constant(graph, node.input(1 - at)?)?, rank, channels)?;
            binary(*op, at, numbers).filter(|_| same)?
        }
        _ => return None,
    };
    (affine.scale.len() == channels && affine.is_finite()).then_some((producer, x, affine))
}

/// The number of output channels of a node with constant weights of known shape.
fn channels(graph: &Graph, node: &Node) -> Option<usize> {
    let extents = graph.value(node.input(1)?).extents()?;
    match &node.op {
        Op::Conv { .. } => extents.first().copied(),
        Op::ConvTranspose { conv, .. } => extents.get(1)?.checked_mul(conv.groups),
        Op::Gemm { trans_b, .. } => extents.get(usize::from(!trans_b)).copied(),
        _ => None,
    }
}

fn batch_norm(graph: &Graph, node: &Node, epsilon: f32) -> Option<Affine> {
    let read = |at: usize| Some(plain_constant(graph, node.input(at)?)?.to_f64_vec());
    let (gamma, beta, mean, variance) = (read(1)?, read(2)?, read(3)?, read(4)?);
    if [&beta, &mean, &variance].iter().any(|other| other.len() != gamma.len()) {
        return None;
    }
    let scale: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(gamma, variance)| gamma / (variance + f64::from(epsilon)).sqrt())
        .collect();
    let offset = (0..scale.len()).map(|c| beta[c] - mean[c] * scale[c]).collect();
    Some(Affine { scale, offset })
}

/// What `x op number` (`number op x` where `x` is operand 1) does.
fn binary(op: BinaryOp, at: usize, numbers: Vec<f64>) -> Option<Affine> {
    let channels = numbers.len();
    let affine = |scale: Vec<f64>, offset: Vec<f64>| Some(Affine { scale, offset });
    let negated = |numbers: Vec<f64>| numbers.into_iter().map(|x| -x).collect::<Vec<_>>();
    match (op, at) {
        (BinaryOp::Add, _) => affine(vec![1.0; channels], numbers),
        (BinaryOp::Sub, 0) => affine(vec![1.0; channels], negated(numbers)),
        (BinaryOp::Sub, _) => affine(vec![-1.0; channels], numbers),
        (BinaryOp::Mul, _) => affine(numbers, vec![0.0; channels]),
        (BinaryOp::Div, 0) => affine(numbers.into_iter().map(f64::recip).collect(), vec![0.0; channels]),
        _ => None,
    }
}

/// The numbers of a constant that is broadcast over every axis but the channels', axis 1 of `rank`.
fn per_channel(tensor: &Tensor, rank: usize, channels: usize) -> Option<Vec<f64>> {
    let missing = rank.checked_sub(tensor.extents().len())?;
    let fits = tensor
        .extents()
        .iter()
        .enumerate()
        .all(|(at, &extent)| extent == 1 || (at + missing == 1 && extent == channels));
    let numbers = tensor.to_f64_vec();
    match numbers.len() {
        _ if !fits || !tensor.dtype().is_float() => None,
        1 => Some(vec![numbers[0]; channels]),
        _ => Some(numbers),
    }
}

/// New weights (`None`: the old ones), bias and operator.
struct Folded {
    weight: Option<Tensor>,
    bias: Tensor,
    op: Op,
}

fn weights(graph: &Graph, node: &Node, affine: &Affine) -> Result<Option<Folded>> {
    let (Some(weight), channels) = (node.input(1), affine.scale.len()) else { return Ok(None) };
    let mut op = node.op.clone();
    let (mut factor, mut bias_factor) = (1.0, 1.0);
    let unit = affine.scale.iter().all(|&scale| scale == 1.0);
    if let Op::Gemm { alpha, beta, .. } = &mut op {
        bias_factor = f64::from(std::mem::replace(beta, 1.0));
        if !unit {
            factor = f64::from(std::mem::replace(alpha, 1.0));
        }
    }
    let old_bias = match node.input(2) {
        None => vec![0.0; channels],
        Some(bias) => {
            let Some(tensor) = plain_constant(graph, bias).filter(|tensor| tensor.dtype().is_float()) else {
                return Ok(None);
            };
            let row = tensor.extents().iter().rev().skip(1).all(|&extent| extent == 1);
            let numbers = tensor.to_f64_vec();
            match numbers.len() {
                1 => vec![numbers[0]; channels],
                n if n == channels && row => numbers,
                _ => return Ok(None),
            }
        }
    };
    let dtype = match graph.value(weight).dtype {
        Some(dtype) if dtype.is_float() => dtype,
        _ => return Ok(None),
    };
    let bias: Vec<f64> =
        (0..channels).map(|c| old_bias[c] * bias_factor * affine.scale[c] + affine.offset[c]).collect();
    let bias = Tensor::from_f64(dtype, &[channels], &bias)?;
    let weight = if unit {
        None
    } else {
        let Some(tensor) = plain_constant(graph, weight) else { return Ok(None) };
        let mut numbers = tensor.to_f64_vec();
        let Some(channel_of) = channel_of(&op, tensor.extents()) else { return Ok(None) };
        for (index, number) in numbers.iter_mut().enumerate() {
            *number *= factor * affine.scale[channel_of(index)];
        }
        Some(Tensor::from_f64(dtype, tensor.extents(), &numbers)?)
    };
    let finite = |tensor: &Tensor| tensor.to_f64_vec().iter().all(|x| x.is_finite());
    let sound = finite(&bias) && weight.as_ref().is_none_or(finite);
    Ok(sound.then_some(Folded { weight, bias, op }))
}

/// The output channel of each weight, by its position.
fn channel_of(op: &Op, extents: &[usize]) -> Option<Box<dyn Fn(usize) -> usize>> {
    let inner: usize = extents.get(1..)?.iter().product::<usize>().max(1);
    let second = extents.get(1).copied()?.max(1);
    match op {
        Op::Conv { .. } => Some(Box::new(move |index| index / inner)),
        Op::ConvTranspose { conv, .. } => {
            let taps = inner / second;
            let inputs_per_group = (extents[0] / conv.groups).max(1);
            Some(Box::new(move |index| {
                let group = index / inner / inputs_per_group;
                group * second + index / taps % second
            }))
        }
        Op::Gemm { trans_b: true, .. } => Some(Box::new(move |index| index / second)),
        Op::Gemm { trans_b: false, .. } => Some(Box::new(move |index| index % second)),
        _ => None,
    }
}

/// Turns a BatchNorm of constants into a Mul and an Add.
fn spell_out(graph: &mut Graph, id: NodeId) -> Result<Option<()>> {
    let Some(node) = graph.node(id).cloned() else { return Ok(None) };
    let Op::BatchNorm { epsilon } = node.op else { return Ok(None) };
    let Some(affine) = batch_norm(graph, &node, epsilon).filter(Affine::is_finite) else { return Ok(None) };
    let (Some(x), Some(&y)) = (node.input(0), node.outputs.first()) else { return Ok(None) };
    let value = graph.value(x);
    let (Some(dtype), Some(shape)) = (value.dtype, &value.shape) else { return Ok(None) };
    let plain = is_plain_float(graph, x) && is_plain_float(graph, y);
    let Some(spatial) = shape.rank().checked_sub(2).filter(|_| plain) else { return Ok(None) };
    let extents: Vec<usize> = [vec![affine.scale.len()], vec![1; spatial]].concat();
    let scale = Tensor::from_f64(dtype, &extents, &affine.scale)?;
    let offset = Tensor::from_f64(dtype, &extents, &affine.offset)?;
    let scale = constant(graph, &format!("{}/scale", node.name), scale);
    let offset = constant(graph, &format!("{}/offset", node.name), offset);
    let op = |op| Op::Binary { op, activation: Activation::None };
    let product = insert(graph, &format!("{}/scaled", node.name), op(BinaryOp::Mul), &[x, scale]);
    replace(graph, id, op(BinaryOp::Add), &[product, offset]);
    Ok(Some(()))
}
