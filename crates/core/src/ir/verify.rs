//! The verifier: what every graph must fulfil between passes.
//!
//! Owns the structural rules (names, order, arity, attribute ranks), the fit of constants and quantization
//! parameters to their values, and the agreement of recorded types with inference. It never changes a graph.

use std::collections::HashSet;
use std::fmt;

use super::{
    ConvAttributes, DType, Dim, Graph, MOST_NESTING, Node, Op, PoolAttributes, UnaryOp, Value, ValueId,
};
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::infer::infer_node;

mod arity;

use arity::Arity;

/// Checks the whole graph.
///
/// Names of nodes and of used values are unique; inputs exist and are produced before they are read; every value
/// has one origin; constants and quantization parameters fit their values; attributes fit their operator's arity
/// and rank; bodies fit their nodes, are at most [`MOST_NESTING`] deep, and are sound themselves.
///
/// # Errors
/// [`CoreErrorKind::Structure`], [`CoreErrorKind::Shape`] or [`CoreErrorKind::Quantization`] with the node or value
/// at fault: the first one in the graph's order.
pub fn verify(graph: &Graph) -> Result<()> {
    verify_nested(graph, 0)
}

/// Checks a graph inside `depth` operators of control flow.
fn verify_nested(graph: &Graph, depth: usize) -> Result<()> {
    let count = graph.value_ids().len();
    let known = |id: ValueId, place: &str| {
        if id.index() < count {
            return Ok(());
        }
        Err(structure(format!("expected a value of this graph, found {id}")).at(place))
    };
    for &id in graph.inputs.iter().chain(&graph.outputs) {
        known(id, "the graph's inputs and outputs")?;
    }
    let mut node_names = HashSet::new();
    for (_, node) in graph.nodes() {
        if !node_names.insert(node.name.as_str()) {
            return Err(structure("expected unique node names, found two nodes of this name")
                .at(&node.name)
                .help("rename one of them"));
        }
        for &id in node.inputs.iter().flatten().chain(&node.outputs) {
            known(id, &node.name)?;
        }
    }
    let defined = origins(graph)?;
    for &id in &graph.outputs {
        if !defined[id.index()] {
            return Err(structure("expected an output that a node produces, found no producer")
                .at(&graph.value(id).name));
        }
    }
    values(graph, &defined, depth == 0)?;
    for (_, node) in graph.nodes() {
        node_rules(graph, node).map_err(|error| error.at(&node.name))?;
        if let Op::Control(control) = &node.op {
            if depth == MOST_NESTING {
                return Err(structure(format!(
                    "expected control flow at most {MOST_NESTING} deep, found more"
                ))
                .at(&node.name));
            }
            for (_, body) in control.bodies() {
                verify_nested(body, depth + 1).map_err(|error| error.at(&node.name))?;
            }
        }
        types(graph, node)?;
    }
    Ok(())
}

/// The agreement of what the outputs of `node` declare with what its inputs imply.
fn types(graph: &Graph, node: &Node) -> Result<()> {
    let inferred = match infer_node(graph, node) {
        Ok(inferred) => inferred,
        // Too little is known yet: nothing to contradict.
        Err(error) if error.kind() == CoreErrorKind::Dynamic => return Ok(()),
        Err(error) => return Err(error),
    };
    for (&output, (dtype, shape)) in node.outputs.iter().zip(inferred) {
        let value = graph.value(output);
        if value.dtype.is_some_and(|declared| declared != dtype) {
            return Err(mismatch(node, value, &dtype, &value.dtype.map_or("", DType::name)));
        }
        let Some(declared) = &value.shape else { continue };
        let contradicts = |(a, b): (&Dim, &Dim)| a.fixed().zip(b.fixed()).is_some_and(|(a, b)| a != b);
        let same_rank = declared.rank() == shape.rank();
        if !same_rank || declared.dims().iter().zip(shape.dims()).any(contradicts) {
            return Err(mismatch(node, value, &shape, declared));
        }
    }
    Ok(())
}

fn mismatch(
    node: &Node,
    value: &Value,
    inferred: &dyn fmt::Display,
    declared: &dyn fmt::Display,
) -> CoreError {
    shape(format!("expected `{}` to be {inferred} as its inputs imply, found {declared}", value.name))
        .at(&node.name)
}

/// Per value whether it has an origin, checked to be the only one and to come before every reader.
fn origins(graph: &Graph) -> Result<Vec<bool>> {
    let mut defined: Vec<bool> = graph.value_ids().map(|id| graph.value(id).constant.is_some()).collect();
    for &id in &graph.inputs {
        if std::mem::replace(&mut defined[id.index()], true) {
            return Err(structure(
                "expected an input listed once and not constant, found it defined already",
            )
            .at(&graph.value(id).name));
        }
    }
    let producers = graph.producers();
    for (_, node) in graph.nodes() {
        for &id in node.inputs.iter().flatten() {
            if defined[id.index()] {
                continue;
            }
            let name = &graph.value(id).name;
            let message = match producers[id.index()].and_then(|id| graph.node(id)) {
                Some(producer) => format!(
                    "expected inputs produced before, found `{name}` of the later node `{}`",
                    producer.name
                ),
                None => format!("expected inputs that something produces, found `{name}` without origin"),
            };
            return Err(structure(message).at(&node.name));
        }
        for &id in &node.outputs {
            if std::mem::replace(&mut defined[id.index()], true) {
                return Err(structure(format!(
                    "expected outputs with one origin, found `{}` defined already",
                    graph.value(id).name
                ))
                .at(&node.name));
            }
        }
    }
    Ok(defined)
}

/// Names, constants and parameters of the values in use.
fn values(graph: &Graph, defined: &[bool], typed_inputs: bool) -> Result<()> {
    let mut used = vec![false; defined.len()];
    for &id in graph.inputs.iter().chain(&graph.outputs) {
        used[id.index()] = true;
    }
    for (_, node) in graph.nodes() {
        for &id in node.inputs.iter().flatten().chain(&node.outputs) {
            used[id.index()] = true;
        }
    }
    let mut names = HashSet::new();
    for id in graph.value_ids().filter(|id| used[id.index()]) {
        let value = graph.value(id);
        if !names.insert(value.name.as_str()) {
            return Err(structure("expected unique value names, found two values of this name")
                .at(&value.name)
                .help("rename one of them"));
        }
        value_rules(value).map_err(|error| error.at(&value.name))?;
    }
    for &id in graph.inputs.iter().filter(|_| typed_inputs) {
        let value = graph.value(id);
        if value.dtype.is_none() || value.shape.is_none() {
            return Err(CoreError::new(
                CoreErrorKind::Shape,
                "expected an input of known element type and rank, found neither or one",
            )
            .at(&value.name));
        }
    }
    Ok(())
}

fn value_rules(value: &Value) -> Result<()> {
    if let Some(tensor) = &value.constant {
        if value.dtype != Some(tensor.dtype()) {
            return Err(shape(format!(
                "expected a constant of its value's element type {}, found {}",
                value.dtype.map_or("(unknown)", DType::name),
                tensor.dtype()
            )));
        }
        if value.extents().as_deref() != Some(tensor.extents()) {
            return Err(shape(format!(
                "expected a constant of its value's shape {}, found {}",
                value.shape.clone().unwrap_or_default(),
                tensor.shape()
            )));
        }
    }
    let Some(quant) = &value.quant else { return Ok(()) };
    let dtype = value.dtype.filter(|dtype| dtype.is_integer()).ok_or_else(|| {
        CoreError::new(
            CoreErrorKind::Quantization,
            format!(
                "expected a quantized value of an integer type, found {}",
                value.dtype.map_or("(unknown)", DType::name)
            ),
        )
    })?;
    match (value.extents(), quant.tensor_wide()) {
        (Some(extents), _) => quant.validate(dtype, &extents),
        (None, Some(_)) => quant.validate(dtype, &[]),
        (None, None) => Ok(()),
    }
}

fn node_rules(graph: &Graph, node: &Node) -> Result<()> {
    Arity::of(&node.op).check(node)?;
    attributes(graph, node)?;
    let quantized = |id: Option<ValueId>| id.is_some_and(|id| graph.value(id).quant.is_some());
    let fail = |message: &str| Err(CoreError::new(CoreErrorKind::Quantization, message));
    let (x, y) = (node.input(0), node.outputs.first().copied());
    match node.op {
        Op::Quantize if quantized(x) || !quantized(y) => {
            fail("expected a float input and an output with quantization parameters, found otherwise")
        }
        Op::Dequantize if !quantized(x) || quantized(y) => {
            fail("expected an input with quantization parameters and a float output, found otherwise")
        }
        Op::Requantize if !quantized(x) || !quantized(y) => {
            fail("expected quantization parameters on input and output, found one without")
        }
        _ => Ok(()),
    }
}

/// Ranks and ranges of attributes, against the input's rank where that is known.
fn attributes(graph: &Graph, node: &Node) -> Result<()> {
    let rank = node.input(0).and_then(|id| graph.value(id).shape.as_ref()).map(super::Shape::rank);
    let output_rank =
        node.outputs.first().and_then(|&id| graph.value(id).shape.as_ref()).map(super::Shape::rank);
    clamp_bounds(node.op.activation().bounds())?;
    match &node.op {
        Op::Conv { conv, .. } => convolution(graph, node, conv, rank),
        Op::ConvTranspose { conv, output_padding, .. } => {
            convolution(graph, node, conv, rank)?;
            length("output_padding", output_padding.len(), conv.kernel.len())
        }
        Op::MaxPool(pool) | Op::AveragePool(pool) => pooling(pool, rank),
        Op::Unary(UnaryOp::Clip { min, max }) => clamp_bounds((*min, *max)),
        Op::Softmax { axis, .. }
        | Op::ArgMax { axis, .. }
        | Op::Split { axis, .. }
        | Op::Concat { axis }
        | Op::Gather { axis }
        | Op::LayerNorm { axis, .. } => below("axis", *axis, rank),
        Op::Flatten { axis } => below("axis", *axis, rank.map(|rank| rank + 1)),
        Op::Reduce { axes, .. } | Op::Squeeze { axes } => ascending(axes, rank),
        Op::Unsqueeze { axes } => {
            ascending(axes, rank.map(|rank| rank + axes.len()))?;
            ascending(axes, output_rank)
        }
        Op::Transpose { perm } => {
            if let Some(rank) = rank {
                length("perm", perm.len(), rank)?;
            }
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if sorted.iter().enumerate().any(|(at, &axis)| at != axis) {
                return Err(shape(format!("expected a permutation of the axes, found {perm:?}")));
            }
            Ok(())
        }
        Op::DepthToSpace { block, .. } | Op::SpaceToDepth { block } if *block == 0 => {
            Err(shape("expected a block size above 0, found 0"))
        }
        Op::ConstantOfShape { value } if value.elements() != 1 => {
            Err(shape(format!("expected a value of one element, found {}", value.elements())))
        }
        _ => Ok(()),
    }
}

fn convolution(graph: &Graph, node: &Node, conv: &ConvAttributes, rank: Option<usize>) -> Result<()> {
    window(&conv.kernel, &conv.strides, &conv.dilations, &conv.pads, rank)?;
    if conv.groups == 0 {
        return Err(shape("expected at least one group, found 0"));
    }
    let weight = node.input(1).and_then(|id| graph.value(id).extents());
    if let Some(weight) = weight {
        let spatial = weight.get(2..).unwrap_or_default();
        if spatial != conv.kernel {
            return Err(shape(format!(
                "expected weights of the kernel's extents {:?}, found {weight:?}",
                conv.kernel
            )));
        }
    }
    Ok(())
}

fn pooling(pool: &PoolAttributes, rank: Option<usize>) -> Result<()> {
    window(&pool.kernel, &pool.strides, &pool.dilations, &pool.pads, rank)
}

fn window(
    kernel: &[usize],
    strides: &[usize],
    dilations: &[usize],
    pads: &[usize],
    rank: Option<usize>,
) -> Result<()> {
    let spatial = kernel.len();
    length("strides", strides.len(), spatial)?;
    length("dilations", dilations.len(), spatial)?;
    length("pads", pads.len(), 2 * spatial)?;
    if let Some(rank) = rank {
        length("kernel", spatial + 2, rank).map_err(|_| {
            shape(format!("expected {} spatial axes, found {spatial}", rank.saturating_sub(2)))
        })?;
    }
    if kernel.iter().chain(strides).chain(dilations).any(|&extent| extent == 0) {
        return Err(shape(format!(
            "expected kernel, strides and dilations above 0, found {kernel:?}, {strides:?} and {dilations:?}"
        )));
    }
    Ok(())
}

fn length(name: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(shape(format!("expected {name} of length {expected}, found {found}")))
}

fn below(name: &str, axis: usize, rank: Option<usize>) -> Result<()> {
    match rank {
        Some(rank) if axis >= rank => Err(shape(format!("expected {name} below {rank}, found {axis}"))),
        _ => Ok(()),
    }
}

fn ascending(axes: &[usize], rank: Option<usize>) -> Result<()> {
    if axes.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(shape(format!("expected ascending axes, found {axes:?}")));
    }
    axes.last().map_or(Ok(()), |&axis| below("axes", axis, rank))
}

fn clamp_bounds((min, max): (f32, f32)) -> Result<()> {
    if min.is_nan() || max.is_nan() {
        return Err(shape(format!("expected the bounds of a clamp to be numbers, found {min} and {max}")));
    }
    Ok(())
}

fn structure(message: impl Into<String>) -> CoreError {
    CoreError::new(CoreErrorKind::Structure, message)
}

fn shape(message: impl Into<String>) -> CoreError {
    CoreError::new(CoreErrorKind::Shape, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Activation, Shape, Tensor};
    use crate::quant::QuantParams;

    fn conv_graph() -> Graph {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", DType::F32, Shape::fixed(&[1, 2, 4, 4]));
        let w = graph.add_constant("w", Tensor::zeros(DType::F32, &[3, 2, 3, 3]).unwrap());
        let conv = Op::Conv { conv: ConvAttributes::unit(&[3, 3]), activation: Activation::None };
        let y = graph.add_op("conv", conv, &[x, w]);
        let z = graph.add_op("relu", Op::Unary(UnaryOp::Relu), &[y]);
        graph.outputs.push(z);
        graph
    }

    fn message(graph: &Graph) -> String {
        verify(graph).unwrap_err().to_string()
    }

    #[test]
    fn a_sound_graph_passes() {
        verify(&conv_graph()).unwrap();
    }

    #[test]
    fn names_are_unique() {
        let mut graph = conv_graph();
        let id = graph.find_node("relu").unwrap();
        graph.node_mut(id).unwrap().name = "conv".into();
        assert_eq!(message(&graph), "conv: expected unique node names, found two nodes of this name");
        let mut graph = conv_graph();
        let id = graph.find_value("relu").unwrap();
        graph.value_mut(id).name = "x".into();
        assert_eq!(message(&graph), "x: expected unique value names, found two values of this name");
    }

    #[test]
    fn inputs_are_produced_before() {
        let mut graph = conv_graph();
        let (conv, relu) = (graph.find_node("conv").unwrap(), graph.find_value("relu").unwrap());
        graph.node_mut(conv).unwrap().inputs[0] = Some(relu);
        assert_eq!(
            message(&graph),
            "conv: expected inputs produced before, found `relu` of the later node `relu`"
        );
        let lost = graph.add_value("lost", None, None);
        graph.node_mut(conv).unwrap().inputs[0] = Some(lost);
        assert!(message(&graph).contains("`lost` without origin"));
        graph.node_mut(conv).unwrap().inputs[0] = Some(ValueId(99));
        assert!(message(&graph).contains("expected a value of this graph"));
    }

    #[test]
    fn values_have_one_origin() {
        let mut graph = conv_graph();
        let relu = graph.find_node("relu").unwrap();
        let w = graph.find_value("w").unwrap();
        graph.node_mut(relu).unwrap().outputs = vec![w];
        assert!(message(&graph).contains("`w` defined already"));
        let mut graph = conv_graph();
        graph.inputs.push(graph.inputs[0]);
        assert!(message(&graph).contains("listed once"));
        let mut graph = conv_graph();
        let lost = graph.add_value("lost", None, None);
        graph.outputs.push(lost);
        assert!(message(&graph).contains("no producer"));
    }

    #[test]
    fn constants_fit_their_values() {
        let mut graph = conv_graph();
        let w = graph.find_value("w").unwrap();
        graph.value_mut(w).shape = Some(Shape::fixed(&[3, 2, 9]));
        assert!(message(&graph).contains("w: expected a constant of its value's shape [3, 2, 9]"));
        graph.value_mut(w).shape = Some(Shape::fixed(&[3, 2, 3, 3]));
        graph.value_mut(w).dtype = Some(DType::F16);
        assert!(message(&graph).contains("element type f16, found f32"));
    }

    #[test]
    fn parameters_fit_their_values() {
        let mut graph = conv_graph();
        let y = graph.find_value("conv").unwrap();
        graph.value_mut(y).quant = Some(QuantParams::per_tensor(0.1, 0));
        assert!(message(&graph).contains("quantized value of an integer type"));
        graph.value_mut(y).dtype = Some(DType::U8);
        verify(&graph).unwrap();
        graph.value_mut(y).quant = Some(QuantParams::per_tensor(0.1, 256));
        assert!(message(&graph).contains("zero points from 0 to 255"));
    }

    #[test]
    fn declared_types_agree_with_inference() {
        let mut graph = conv_graph();
        crate::infer::infer(&mut graph).unwrap();
        verify(&graph).unwrap();
        let y = graph.find_value("conv").unwrap();
        graph.value_mut(y).shape = Some(Shape::fixed(&[1, 3, 2, 3]));
        assert_eq!(
            message(&graph),
            "conv: expected `conv` to be [1, 3, 2, 2] as its inputs imply, found [1, 3, 2, 3]"
        );
    }

    #[test]
    fn conversions_have_parameters_where_they_need_them() {
        let mut graph = conv_graph();
        let relu = graph.find_node("relu").unwrap();
        graph.node_mut(relu).unwrap().op = Op::Quantize;
        assert!(message(&graph).contains("relu: expected a float input and an output with"));
        graph.node_mut(relu).unwrap().op = Op::Dequantize;
        assert!(message(&graph).contains("relu: expected an input with quantization parameters"));
    }

    #[test]
    fn attributes_fit_arity_and_rank() {
        let change = |edit: &dyn Fn(&mut Node)| {
            let mut graph = conv_graph();
            let conv = graph.find_node("conv").unwrap();
            edit(graph.node_mut(conv).unwrap());
            message(&graph)
        };
        assert!(change(&|node| node.inputs.truncate(1)).contains("expected 2 to 3 inputs, found 1"));
        assert!(change(&|node| node.inputs[1] = None).contains("expected input 1 to be present"));
        let conv = |edit: &dyn Fn(&mut ConvAttributes)| {
            change(&|node| {
                if let Op::Conv { conv, .. } = &mut node.op {
                    edit(conv);
                }
            })
        };
        assert!(conv(&|conv| conv.pads.truncate(2)).contains("expected pads of length 4, found 2"));
        assert!(conv(&|conv| conv.strides[0] = 0).contains("above 0"));
        assert!(
            conv(&|conv| *conv = ConvAttributes::unit(&[3])).contains("expected 2 spatial axes, found 1")
        );
        assert!(conv(&|conv| conv.kernel[0] = 2).contains("expected weights of the kernel's extents [2, 3]"));
        assert!(
            change(&|node| {
                node.op = Op::Transpose { perm: vec![0, 2, 2, 1] };
                node.inputs.truncate(1);
            })
            .contains("expected a permutation")
        );
        assert!(
            change(&|node| {
                node.op = Op::Reduce { op: crate::ir::ReduceOp::Mean, axes: vec![3, 2], keep_dims: true };
                node.inputs.truncate(1);
            })
            .contains("expected ascending axes")
        );
        assert!(
            change(&|node| {
                node.op = Op::Concat { axis: 4 };
            })
            .contains("expected axis below 4, found 4")
        );
    }
}
