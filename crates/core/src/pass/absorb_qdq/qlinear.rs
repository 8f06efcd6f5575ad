//! Operators that carry their quantization parameters as operands: ONNX's QLinearConv and QLinearMatMul and the
//! QLinear operators of ONNX Runtime's domain.

use indexmap::IndexMap;

use super::typed::{from_operands, label};
use crate::ir::{
    Activation, Attribute, BinaryOp, ConvAttributes, DType, Graph, Node, NodeId, Op, PoolAttributes, UnaryOp,
    Value, ValueId,
};
use crate::pass::edit::{Uses, insert};
use crate::quant::QuantParams;

/// Spells such an operator out as the ordinary one between Dequantize and Quantize, from which its integer form
/// follows; false where its parameters are not constant or an attribute says more than the ordinary operator can.
pub(super) fn rewrite(graph: &mut Graph, uses: &Uses, id: NodeId) -> bool {
    let Some(node) = graph.node(id).cloned() else { return false };
    let Op::Opaque { domain, op_type, attributes, .. } = &node.op else { return false };
    let attributes = Attributes(attributes);
    if attributes.int("channels_last", 0) != 0 {
        return false;
    }
    let spec = match (domain.as_str(), op_type.as_str()) {
        ("", "QLinearConv") => conv(graph, &node, &attributes),
        ("" | "com.microsoft", "QLinearMatMul") => Some(pair(Op::MatMul, 1)),
        ("com.microsoft", "QLinearAdd") => Some(pair(binary(BinaryOp::Add), 0)),
        ("com.microsoft", "QLinearMul") => Some(pair(binary(BinaryOp::Mul), 0)),
        ("com.microsoft", "QGemm") => Some(gemm(&node, &attributes)),
        ("com.microsoft", "QLinearSigmoid") => Some(single(Op::Unary(UnaryOp::Sigmoid))),
        ("com.microsoft", "QLinearLeakyRelu") => {
            let alpha = attributes.float("alpha", 0.01);
            Some(single(Op::Unary(UnaryOp::LeakyRelu { alpha })))
        }
        ("com.microsoft", "QLinearSoftmax") => softmax(graph, &node, &attributes),
        ("com.microsoft", "QLinearGlobalAveragePool") => Some(single(Op::GlobalAveragePool)),
        ("com.microsoft", "QLinearAveragePool") => average_pool(&attributes),
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
    /// Places of the output's scale and zero point; without a scale the output is float.
    output: (usize, usize),
    /// Place of a 32-bit bias, at the product of the first two scales.
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

/// `[a, a_scale, a_zero, b, b_scale, b_zero, c?, y_scale?, y_zero?]`.
fn gemm(node: &Node, attributes: &Attributes<'_>) -> Spec {
    let trans_b = attributes.int("transB", 0) != 0;
    let op = Op::Gemm {
        alpha: attributes.float("alpha", 1.0),
        beta: 1.0,
        trans_a: attributes.int("transA", 0) != 0,
        trans_b,
        activation: Activation::None,
    };
    let bias = node.input(6).map(|_| 6);
    Spec { output: (7, 8), bias, ..pair(op, usize::from(!trans_b)) }
}

/// As [`single`], over the last axis: on others the operator's meaning depends on the operator set.
fn softmax(graph: &Graph, node: &Node, attributes: &Attributes<'_>) -> Option<Spec> {
    let rank = graph.value(node.input(0)?).shape.as_ref()?.rank();
    let last = rank.checked_sub(1)?;
    let axis = attributes.int("axis", -1);
    let is_last = axis == -1 || usize::try_from(axis).ok() == Some(last);
    is_last.then(|| single(Op::Softmax { axis: last, log: false }))
}

/// As [`single`].
fn average_pool(attributes: &Attributes<'_>) -> Option<Spec> {
    let kernel = attributes.sizes("kernel_shape")?;
    let (rank, explicit) = (kernel.len(), attributes.is_explicit());
    let pool = PoolAttributes {
        strides: attributes.sizes_or("strides", &vec![1; rank])?,
        dilations: vec![1; rank],
        pads: attributes.sizes_or("pads", &vec![0; 2 * rank])?,
        kernel,
        ceil: attributes.int("ceil_mode", 0) != 0,
        count_include_pad: attributes.int("count_include_pad", 0) != 0,
    };
    explicit.then(|| single(Op::AveragePool(pool)))
}

/// As [`pair`], with a bias behind.
fn conv(graph: &Graph, node: &Node, attributes: &Attributes<'_>) -> Option<Spec> {
    let weights = graph.value(node.input(3)?).extents()?;
    let unit = ConvAttributes::unit(weights.get(2..).filter(|_| attributes.is_explicit())?);
    let conv = ConvAttributes {
        strides: attributes.sizes_or("strides", &unit.strides)?,
        dilations: attributes.sizes_or("dilations", &unit.dilations)?,
        pads: attributes.sizes_or("pads", &unit.pads)?,
        groups: usize::try_from(attributes.int("group", 1)).ok()?,
        ..unit
    };
    let op = Op::Conv { conv, activation: Activation::None };
    Some(Spec { bias: node.input(8).map(|_| 8), ..pair(op, 0) })
}

fn apply(graph: &mut Graph, uses: &Uses, id: NodeId, node: &Node, spec: Spec) -> Option<()> {
    let &[y] = node.outputs.as_slice() else { return None };
    let mut labels = Vec::with_capacity(3);
    for &(value, scale, zero, axis) in &spec.data {
        let value = node.input(value)?;
        labels.push((value, from_operands(graph, value, node.input(scale)?, node.input(zero), axis, 0)?));
    }
    if let (Some(bias), [(_, a), (_, b)]) = (spec.bias, labels.as_slice()) {
        let alpha = if let Op::Gemm { alpha, .. } = spec.op { alpha } else { 1.0 };
        let (scale, _) = a.tensor_wide()?;
        let scales = b.scales.iter().map(|&b| alpha * scale * b).collect::<Vec<_>>();
        let params = match scales.as_slice() {
            &[scale] => QuantParams::per_tensor(scale, 0),
            _ => QuantParams::symmetric_per_channel(0, scales),
        };
        labels.push((node.input(bias)?, params));
    }
    let quantized = match node.input(spec.output.0) {
        Some(scale) => {
            let zero = node.input(spec.output.1);
            // The zero point's type is the output's where nothing else declared it.
            let dtype = zero.and_then(|zero| graph.value(zero).dtype).unwrap_or(DType::U8);
            graph.value_mut(y).dtype.get_or_insert(dtype);
            Some(from_operands(graph, y, scale, zero, 0, 0).filter(|params| params.tensor_wide().is_some())?)
        }
        None => None,
    };
    let mut inputs = Vec::with_capacity(labels.len());
    for (value, params) in labels {
        inputs.push(label(graph, uses, value, &params)?);
    }
    let inputs: Vec<ValueId> = inputs
        .into_iter()
        .map(|codes| {
            let name = format!("{}/dequantized", graph.value(codes).name);
            let float = insert(graph, &name, Op::Dequantize, &[codes]);
            let shape = graph.value(codes).shape.clone();
            let value = graph.value_mut(float);
            (value.dtype, value.shape) = (Some(DType::F32), shape);
            float
        })
        .collect();
    let output = match quantized {
        None => y,
        Some(params) => {
            let name = graph.fresh_value_name(&format!("{}/float", graph.value(y).name));
            let shape = graph.value(y).shape.clone();
            let float =
                graph.push_value(Value { name, dtype: Some(DType::F32), shape, quant: None, constant: None });
            graph.value_mut(y).quant = Some(params);
            let name = graph.fresh_node_name(&format!("{}/quantize", node.name));
            graph.add_node(Node {
                name,
                op: Op::Quantize,
                inputs: vec![Some(float)],
                outputs: vec![y],
                precision: None,
            });
            float
        }
    };
    let node = graph.node_mut(id)?;
    node.op = spec.op;
    node.inputs = inputs.into_iter().map(Some).collect();
    node.outputs = vec![output];
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

    /// The extents of that name; `None` where it is absent or negative.
    fn sizes(&self, name: &str) -> Option<Vec<usize>> {
        match self.0.get(name) {
            Some(Attribute::Ints(values)) => values.iter().map(|&x| usize::try_from(x).ok()).collect(),
            _ => None,
        }
    }

    /// The extents of that name, `default` where it is absent; `None` where they are not as many.
    fn sizes_or(&self, name: &str, default: &[usize]) -> Option<Vec<usize>> {
        let sizes = if self.0.contains_key(name) { self.sizes(name)? } else { default.to_vec() };
        (sizes.len() == default.len()).then_some(sizes)
    }

    /// Whether padding is given in numbers.
    fn is_explicit(&self) -> bool {
        match self.0.get("auto_pad") {
            None => true,
            Some(Attribute::Text(text)) => text == "NOTSET" || text == "VALID",
            Some(_) => false,
        }
    }
}
