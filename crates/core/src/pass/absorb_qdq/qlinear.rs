//! Operators that carry their quantization parameters as operands: ONNX's QLinearConv and QLinearMatMul and the
//! QLinear operators of ONNX Runtime's domain.

use indexmap::IndexMap;

use super::typed::{from_operands, label};
use crate::ir::{Activation, Attribute, BinaryOp, ConvAttributes, Graph, Node, NodeId, Op, UnaryOp};
use crate::pass::edit::Uses;
use crate::quant::QuantParams;

/// Turns such an operator into the ordinary one on quantized values; false where its parameters are not constant or
/// an attribute says more than the ordinary operator can.
pub(super) fn rewrite(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    let Some(node) = graph.node(id).cloned() else { return false };
    let Op::Opaque { domain, op_type, attributes } = &node.op else { return false };
    let attributes = Attributes(attributes);
    let spec = match (domain.as_str(), op_type.as_str()) {
        ("", "QLinearConv") => conv(graph, &node, &attributes),
        ("", "QLinearMatMul") => Some(pair(Op::MatMul, 1)),
        ("com.microsoft", "QLinearAdd") => Some(pair(binary(BinaryOp::Add), 0)),
        ("com.microsoft", "QLinearMul") => Some(pair(binary(BinaryOp::Mul), 0)),
        ("com.microsoft", "QLinearSigmoid") => Some(single(Op::Unary(UnaryOp::Sigmoid))),
        ("com.microsoft", "QLinearLeakyRelu") => {
            let alpha = attributes.float("alpha", 0.01);
            Some(single(Op::Unary(UnaryOp::LeakyRelu { alpha })))
        }
        ("com.microsoft", "QLinearGlobalAveragePool") if attributes.int("channels_last", 0) == 0 => {
            Some(single(Op::GlobalAveragePool))
        }
        ("com.microsoft", "QLinearConcat") => concat(&node, &attributes),
        _ => None,
    };
    spec.and_then(|spec| apply(graph, uses, id, &node, spec)).is_some()
}

/// Which operand is what: data operands with the places of their value, scale and zero point.
struct Spec {
    op: Op,
    /// Places of value, scale and zero point of each data operand, and the axis of its channels.
    data: Vec<(usize, usize, usize, usize)>,
    /// Places of the output's scale and zero point.
    output: (usize, usize),
    /// Place of a 32-bit bias.
    bias: Option<usize>,
}

fn binary(op: BinaryOp) -> Op {
    Op::Binary { op, activation: Activation::None }
}

/// `[a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero]`.
fn pair(op: Op, axis: usize) -> Spec {
    Spec { op, data: vec![(0, 1, 2, 0), (3, 4, 5, axis)], output: (6, 7), bias: None }
}

/// `[x, x_scale, x_zero, y_scale, y_zero]`.
fn single(op: Op) -> Spec {
    Spec { op, data: vec![(0, 1, 2, 0)], output: (3, 4), bias: None }
}

/// `[y_scale, y_zero, x0, x0_scale, x0_zero, …]`.
fn concat(node: &Node, attributes: &Attributes<'_>) -> Option<Spec> {
    let axis = usize::try_from(attributes.int("axis", -1)).ok()?;
    let count = node.inputs.len().checked_sub(2).filter(|count| count % 3 == 0)? / 3;
    let data = (0..count).map(|at| (2 + 3 * at, 3 + 3 * at, 4 + 3 * at, 0)).collect();
    Some(Spec { op: Op::Concat { axis }, data, output: (0, 1), bias: None })
}

/// As [`pair`], with a bias behind.
fn conv(graph: &Graph, node: &Node, attributes: &Attributes<'_>) -> Option<Spec> {
    let explicit = matches!(attributes.0.get("auto_pad"), None | Some(Attribute::Text(_)))
        && !attributes.text("auto_pad").is_some_and(|text| text.starts_with("SAME"));
    let weights = graph.value(node.input(3)?).extents()?;
    let kernel = weights.get(2..).filter(|_| explicit)?;
    let mut conv = ConvAttributes::unit(kernel);
    for (name, values) in
        [("strides", &mut conv.strides), ("dilations", &mut conv.dilations), ("pads", &mut conv.pads)]
    {
        if let Some(found) = attributes.ints(name) {
            let found: Vec<usize> = found.iter().map(|&x| usize::try_from(x).ok()).collect::<Option<_>>()?;
            *values = (found.len() == values.len()).then_some(found)?;
        }
    }
    conv.groups = usize::try_from(attributes.int("group", 1)).ok()?;
    let op = Op::Conv { conv, activation: Activation::None };
    Some(Spec { bias: node.input(8).map(|_| 8), ..pair(op, 0) })
}

fn apply(graph: &mut Graph, uses: &Uses, id: NodeId, node: &Node, spec: Spec) -> Option<()> {
    let &[y] = node.outputs.as_slice() else { return None };
    // The zero point's type is the output's where nothing else declared it.
    if graph.value(y).dtype.is_none() {
        graph.value_mut(y).dtype = graph.value(node.input(spec.output.1)?).dtype;
    }
    let output = from_operands(graph, y, node.input(spec.output.0)?, node.input(spec.output.1), 0, 0)
        .filter(|params| params.tensor_wide().is_some() && graph.value(y).quant.is_none())?;
    let mut params = Vec::with_capacity(spec.data.len());
    for &(value, scale, zero, axis) in &spec.data {
        let value = node.input(value)?;
        params.push((value, from_operands(graph, value, node.input(scale)?, node.input(zero), axis, 0)?));
    }
    let weighted = spec.op.has_weights();
    if weighted && params.get(1).is_some_and(|(_, params)| params.zero_points.iter().any(|&zero| zero != 0)) {
        return None;
    }
    let mut inputs = Vec::with_capacity(3);
    for (value, params) in &params {
        inputs.push(Some(label(graph, uses, *value, params)?));
    }
    if let (Some(bias), [(_, x), (_, w)]) = (spec.bias, params.as_slice()) {
        let (scale, _) = x.tensor_wide()?;
        let scales = w.scales.iter().map(|&w| scale * w).collect::<Vec<_>>();
        let params = match scales.as_slice() {
            &[scale] => QuantParams::per_tensor(scale, 0),
            _ => QuantParams::symmetric_per_channel(0, scales),
        };
        inputs.push(Some(label(graph, uses, node.input(bias)?, &params)?));
    }
    graph.value_mut(y).quant = Some(output);
    let node = graph.node_mut(id)?;
    node.op = spec.op;
    node.inputs = inputs;
    Some(())
}

/// Attributes of an operator as the file has them.
struct Attributes<'a>(&'a IndexMap<String, Attribute>);

impl Attributes<'_> {
    fn int(&self, name: &str, default: i64) -> i64 {
        match self.0.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    fn float(&self, name: &str, default: f32) -> f32 {
        match self.0.get(name) {
            Some(Attribute::Float(value)) => *value,
            _ => default,
        }
    }

    fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.0.get(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Attribute::Text(text)) => Some(text),
            _ => None,
        }
    }
}
