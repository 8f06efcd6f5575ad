//! Layers that exporters spell out: LayerNorm, global pooling, Gemm.

use crate::error::Result;
use crate::ir::{
    Activation, BinaryOp, Dim, Graph, Node, NodeId, Op, PoolAttributes, ReduceOp, Shape, Tensor, UnaryOp,
    ValueId,
};
use crate::pass::edit::{Uses, constant, insert, is_plain_float, plain_constant, replace};
use crate::pass::matcher::Matcher;
use crate::plan::Precision;

/// Rewrites node `id` where it is the root of a LayerNorm, or its scale or bias.
pub(super) fn normalisation(graph: &mut Graph, uses: &Uses, id: NodeId) -> Result<bool> {
    Ok(layer_norm(graph, uses, id)? || layer_norm_affine(graph, uses, id)?)
}

/// Rewrites node `id` where it is a global pooling or a Gemm.
pub(super) fn pooling_and_products(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    global_pool(graph, id) || gemm(graph, uses, id) || matrix_product(graph, uses, id)
}

/// `(x - mean) / sqrt(variance + epsilon)` over the last axes becomes a LayerNorm of scale 1.
fn layer_norm(graph: &mut Graph, uses: &Uses, id: NodeId) -> Result<bool> {
    let Some((x, axis, epsilon)) = normalised(graph, uses, id) else { return Ok(false) };
    let value = graph.value(x);
    let (Some(extents), Some(dtype)) = (extents_from(graph, x, axis), value.dtype) else { return Ok(false) };
    let ones = Tensor::from_f64(dtype, &extents, &vec![1.0; extents.iter().product()])?;
    let name = graph.node(id).map(|node| format!("{}/scale", node.name)).unwrap_or_default();
    let scale = constant(graph, &name, ones);
    replace(graph, id, Op::LayerNorm { axis, epsilon: epsilon as f32 }, &[x, scale]);
    Ok(true)
}

/// What is normalised, from which axis on, and what is added to the variance.
fn normalised(graph: &Graph, uses: &Uses, id: NodeId) -> Option<(ValueId, usize, f64)> {
    let matcher = Matcher::new(graph, uses);
    let &root = graph.node(id)?.outputs.first()?;
    let (centred, deviation) = matcher.binary(BinaryOp::Div, root).or_else(|| {
        matcher
            .either(BinaryOp::Mul, root)
            .find_map(|(d, inverse)| Some((d, matcher.applied(UnaryOp::Reciprocal, inverse)?)))
    })?;
    let sum =
        matcher.applied(UnaryOp::Sqrt, deviation).or_else(|| matcher.with(BinaryOp::Pow, 0.5, deviation))?;
    let (variance, epsilon) = matcher.with_number(BinaryOp::Add, sum)?;
    let (square, axis) = matcher.trailing_mean(variance)?;
    let base = matcher.with(BinaryOp::Pow, 2.0, square).or_else(|| {
        let (a, b) = matcher.binary(BinaryOp::Mul, square)?;
        (a == b).then_some(a)
    })?;
    let (x, mean) = matcher.binary(BinaryOp::Sub, centred)?;
    let again = base == centred || matcher.binary(BinaryOp::Sub, base) == Some((x, mean));
    (again && matcher.trailing_mean(mean) == Some((x, axis))).then_some((x, axis, epsilon))
}

/// The extents of `value` from `axis` on.
fn extents_from(graph: &Graph, value: ValueId, axis: usize) -> Option<Vec<usize>> {
    graph.value(value).shape.as_ref()?.dims().get(axis..)?.iter().map(Dim::fixed).collect()
}

/// Mul and Add of constants behind a LayerNorm that nobody else reads become its scale and bias.
fn layer_norm_affine(graph: &mut Graph, uses: &Uses, id: NodeId) -> Result<bool> {
    let Some(node) = graph.node(id) else { return Ok(false) };
    let &Op::Binary { op: op @ (BinaryOp::Mul | BinaryOp::Add), activation: Activation::None } = &node.op
    else {
        return Ok(false);
    };
    let Some((normalised, constant_value)) = [(0, 1), (1, 0)]
        .into_iter()
        .filter_map(|(a, b)| Some((node.input(a)?, node.input(b)?)))
        .find(|&(_, b)| plain_constant(graph, b).is_some())
    else {
        return Ok(false);
    };
    let Some(norm) =
        uses.producer(normalised).filter(|_| uses.single(normalised)).and_then(|id| graph.node(id)).cloned()
    else {
        return Ok(false);
    };
    let Op::LayerNorm { axis, .. } = norm.op else { return Ok(false) };
    let (Some(x), Some(scale)) = (norm.input(0), norm.input(1)) else { return Ok(false) };
    let Some(extents) = extents_from(graph, normalised, axis) else { return Ok(false) };
    let (Some(factors), Some(scales)) = (plain_constant(graph, constant_value), plain_constant(graph, scale))
    else {
        return Ok(false);
    };
    if factors.extents() != extents || scales.extents() != extents || norm.input(2).is_some() {
        return Ok(false);
    }
    let inputs = if op == BinaryOp::Mul {
        let product: Vec<f64> =
            scales.to_f64_vec().iter().zip(factors.to_f64_vec()).map(|(a, b)| a * b).collect();
        let product = Tensor::from_f64(scales.dtype(), &extents, &product)?;
        let name = graph.value(constant_value).name.clone();
        vec![x, constant(graph, &name, product)]
    } else {
        vec![x, scale, constant_value]
    };
    replace(graph, id, norm.op, &inputs);
    Ok(true)
}

/// Means and maxima over exactly the spatial axes.
fn global_pool(graph: &mut Graph, id: NodeId) -> bool {
    let Some((op, x, keep)) = graph.node(id).and_then(|node| global(graph, node)) else { return false };
    if keep {
        replace(graph, id, op, &[x]);
        return true;
    }
    let rank = graph.value(x).shape.as_ref().map_or(0, Shape::rank);
    let name = graph.node(id).map(|node| format!("{}/pool", node.name)).unwrap_or_default();
    let pooled = insert(graph, &name, op, &[x]);
    replace(graph, id, Op::Squeeze { axes: (2..rank).collect() }, &[pooled]);
    true
}

fn global(graph: &Graph, node: &Node) -> Option<(Op, ValueId, bool)> {
    let x = node.input(0)?;
    let shape = graph.value(x).shape.as_ref()?;
    if !is_plain_float(graph, x) || !is_plain_float(graph, *node.outputs.first()?) || shape.rank() < 3 {
        return None;
    }
    let whole = |pool: &PoolAttributes| {
        let window = shape.dims()[2..].iter().map(Dim::fixed).eq(pool.kernel.iter().map(|&k| Some(k)));
        window && pool.pads.iter().all(|&pad| pad == 0) && pool.dilations.iter().all(|&d| d == 1)
    };
    match &node.op {
        Op::Reduce { op: op @ (ReduceOp::Mean | ReduceOp::Max), axes, keep_dims }
            if axes.iter().copied().eq(2..shape.rank()) =>
        {
            let pool = if *op == ReduceOp::Mean { Op::GlobalAveragePool } else { Op::GlobalMaxPool };
            Some((pool, x, *keep_dims))
        }
        Op::AveragePool(pool) if whole(pool) => Some((Op::GlobalAveragePool, x, true)),
        Op::MaxPool(pool) if whole(pool) => Some((Op::GlobalMaxPool, x, true)),
        _ => None,
    }
}

/// `a * b + c` of matrices with a bias per column.
fn gemm(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    let Some((op, inputs, precision)) = graph.node(id).and_then(|node| product_and_bias(graph, uses, node))
    else {
        return false;
    };
    replace(graph, id, op, &inputs);
    if let Some(node) = graph.node_mut(id) {
        node.precision = precision;
    }
    true
}

/// `a * b` of matrices with a fixed `b`: unlike MatMul, Gemm takes scales, biases and clamps in.
fn matrix_product(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    let Some(node) = graph.node(id).filter(|node| matches!(node.op, Op::MatMul)) else { return false };
    let (Some(a), Some(b), Some(&y)) = (node.input(0), node.input(1), node.outputs.first()) else {
        return false;
    };
    let rank = |id: ValueId| graph.value(id).shape.as_ref().map(Shape::rank);
    let plain = [a, b, y].iter().all(|&id| is_plain_float(graph, id));
    if rank(a) != Some(2) || rank(b) != Some(2) || !plain || !is_fixed(graph, uses, b) {
        return false;
    }
    replace(graph, id, PRODUCT, &[a, b]);
    true
}

/// `a * b + c`.
const PRODUCT: Op =
    Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false, activation: Activation::None };

/// The product that a sum with a bias per column becomes, and the precision that the product had.
fn product_and_bias(
    graph: &Graph,
    uses: &Uses,
    node: &Node,
) -> Option<(Op, [ValueId; 3], Option<Precision>)> {
    let Op::Binary { op: BinaryOp::Add, activation } = node.op else { return None };
    let rank = |id: ValueId| graph.value(id).shape.as_ref().map(Shape::rank);
    [(0, 1), (1, 0)].into_iter().find_map(|(at, other)| {
        let (product, bias) = (node.input(at)?, node.input(other)?);
        let producer = graph.node(uses.producer(product).filter(|_| uses.single(product))?)?;
        let (a, b) = (producer.input(0)?, producer.input(1)?);
        let (mut op, axis) = match &producer.op {
            Op::MatMul => (PRODUCT, 1),
            Op::Gemm { trans_b, activation: Activation::None, .. } if producer.input(2).is_none() => {
                (producer.op.clone(), usize::from(!trans_b))
            }
            _ => return None,
        };
        if let Op::Gemm { beta, activation: fused, .. } = &mut op {
            (*beta, *fused) = (1.0, activation);
        }
        let matrices = rank(a) == Some(2) && rank(b) == Some(2);
        let columns = graph.value(b).extents()?.get(axis).copied()?;
        let per_column = graph
            .value(bias)
            .extents()
            .is_some_and(|extents| extents == [columns] || extents == [1, columns]);
        let plain = [product, *node.outputs.first()?].iter().all(|&id| is_plain_float(graph, id));
        (matrices && per_column && plain && is_fixed(graph, uses, bias)).then_some((
            op,
            [a, b, bias],
            producer.precision,
        ))
    })
}

/// Whether a value is a constant, or one that is only dequantized.
fn is_fixed(graph: &Graph, uses: &Uses, value: ValueId) -> bool {
    let constant = |value: ValueId| graph.value(value).constant.is_some();
    let producer = uses.producer(value).and_then(|id| graph.node(id));
    let dequantized = producer.is_some_and(|node| {
        matches!(node.op, Op::Dequantize | Op::DequantizeLinear { .. }) && node.input(0).is_some_and(constant)
    });
    constant(value) || dequantized
}
