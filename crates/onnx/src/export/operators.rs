//! One operator at a time: from the IR's operator to ONNX's node.

use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, Graph, IndexOp, Node, Op, PoolAttributes, Tensor, UnaryOp,
};

use super::{Writer, float, index, int, ints, malformed, recurrent, resize, text};
use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::proto::AttributeProto;
use crate::tensor;

/// Writes a node over named inputs and outputs; `implied` tells that its fused clamp need not be written.
pub(super) fn write(
    writer: &mut Writer,
    node: &Node,
    mut inputs: Vec<String>,
    outputs: &[String],
    implied: bool,
) -> Result<()> {
    let integers = |writer: &mut Writer, what: &str, values: &[usize]| -> Result<String> {
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        let tensor = Tensor::from_slice(&[values.len()], &values).map_err(core)?;
        writer.initializer(&format!("{}_{what}", node.name), &tensor)
    };
    let mut kind = node.op.kind().as_str().to_owned();
    let attributes: Vec<AttributeProto> = match &node.op {
        Op::Conv { conv, .. } => conv_attributes(conv),
        Op::ConvTranspose { conv, output_padding, .. } => {
            let mut attributes = conv_attributes(conv);
            if output_padding.iter().any(|&extent| extent > 0) {
                attributes.push(ints("output_padding", output_padding));
            }
            attributes
        }
        Op::Gemm { alpha, beta, trans_a, trans_b, .. } => {
            let mut attributes = Vec::new();
            if *alpha != 1.0 {
                attributes.push(float("alpha", *alpha));
            }
            if *beta != 1.0 {
                attributes.push(float("beta", *beta));
            }
            if *trans_a {
                attributes.push(int("transA", 1));
            }
            if *trans_b {
                attributes.push(int("transB", 1));
            }
            attributes
        }
        Op::MaxPool(pool) => pool_attributes(pool),
        Op::AveragePool(pool) => {
            let mut attributes = pool_attributes(pool);
            attributes.push(int("count_include_pad", i64::from(pool.count_include_pad)));
            attributes
        }
        Op::Unary(op) => return write_unary(writer, node, *op, &inputs, outputs),
        Op::Softmax { axis, .. } | Op::Concat { axis } | Op::Gather { axis } | Op::Flatten { axis } => {
            vec![int("axis", *axis as i64)]
        }
        Op::BatchNorm { epsilon } | Op::InstanceNorm { epsilon } => vec![float("epsilon", *epsilon)],
        Op::LayerNorm { axis, epsilon } => vec![int("axis", *axis as i64), float("epsilon", *epsilon)],
        Op::Reduce { op, axes, keep_dims } => {
            let mut attributes = vec![int("keepdims", i64::from(*keep_dims))];
            // Before operator set 18 only the sum takes its axes as an input.
            if writer.opset >= 18 || *op == fewbit_core::ir::ReduceOp::Sum {
                inputs.push(integers(writer, "axes", axes)?);
            } else {
                attributes.push(ints("axes", axes));
            }
            if axes.is_empty() {
                "Identity".clone_into(&mut kind);
                inputs.truncate(1);
                attributes.clear();
            }
            attributes
        }
        Op::ArgMax { axis, keep_dims, last, .. } => vec![
            int("axis", *axis as i64),
            int("keepdims", i64::from(*keep_dims)),
            int("select_last_index", i64::from(*last)),
        ],
        Op::Reshape { allow_zero: true } => vec![int("allowzero", 1)],
        Op::Transpose { perm } => vec![ints("perm", perm)],
        Op::Squeeze { axes } | Op::Unsqueeze { axes } => {
            if !axes.is_empty() {
                inputs.push(integers(writer, "axes", axes)?);
            }
            vec![]
        }
        Op::Split { axis, sizes } => {
            let mut attributes = vec![int("axis", *axis as i64)];
            let known =
                if sizes.is_empty() { pieces(writer.graph, node, *axis) } else { Some(sizes.clone()) };
            match known {
                Some(sizes) => inputs.push(integers(writer, "sizes", &sizes)?),
                None => attributes.push(int("num_outputs", outputs.len() as i64)),
            }
            attributes
        }
        Op::Pad { mode } => vec![text("mode", mode.name())],
        Op::Resize(resize) => resize::attributes(*resize),
        Op::DepthToSpace { block, crd } => {
            vec![int("blocksize", *block as i64), text("mode", if *crd { "CRD" } else { "DCR" })]
        }
        Op::SpaceToDepth { block } => vec![int("blocksize", *block as i64)],
        Op::Shape { start, end } => {
            let mut attributes = vec![int("start", *start as i64)];
            attributes.extend(end.map(|end| int("end", end as i64)));
            attributes
        }
        Op::ConstantOfShape { value } => {
            let mut attribute =
                super::attribute("value", crate::proto::attribute_proto::AttributeType::Tensor);
            let one = value.reshaped(&[1]).map_err(core)?;
            attribute.t = Some(tensor::write("value", &one)?);
            vec![attribute]
        }
        Op::Cast { to } => vec![int("to", tensor::data_type(*to)? as i64)],
        Op::QuantizeLinear { axis, block, .. } | Op::DequantizeLinear { axis, block } => {
            let mut attributes = vec![int("axis", *axis as i64)];
            if *block > 0 {
                attributes.push(int("block_size", *block as i64));
            }
            attributes
        }
        Op::Index(IndexOp::Resample(resample)) => {
            "Resize".clone_into(&mut kind);
            resize::resample(writer, node, resample, &mut inputs)?
        }
        Op::Index(op) => {
            if let IndexOp::MaxPoolIndices { .. } = op {
                "MaxPool".clone_into(&mut kind);
            }
            if let IndexOp::ReduceBy { op, .. } = op {
                op.name().clone_into(&mut kind);
            }
            index::attributes(op, writer.opset)
        }
        Op::Recurrent(layer) => recurrent::attributes(layer)?,
        Op::Binary { op: BinaryOp::Fmod, .. } => vec![int("fmod", 1)],
        Op::Binary { op: BinaryOp::ShiftLeft | BinaryOp::ShiftRight, .. }
            if node
                .input(0)
                .and_then(|x| writer.graph.value(x).dtype)
                .is_some_and(fewbit_core::ir::DType::is_signed_integer) =>
        {
            return Err(malformed(
                "expected unsigned integers to shift, as operator sets before 28 have them",
            ));
        }
        Op::Binary { op: BinaryOp::ShiftLeft, .. } => vec![text("direction", "LEFT")],
        Op::Binary { op: BinaryOp::ShiftRight, .. } => vec![text("direction", "RIGHT")],
        Op::Control(control) => {
            return Err(malformed(format!(
                "expected nodes without bodies, found control flow: {} `{}`",
                control.name(),
                node.name
            ))
            .with_help(
                "a branch whose condition is known is taken: set the input that decides it with --set",
            ));
        }
        Op::Opaque { domain, op_type, .. } => {
            let name = if domain.is_empty() { op_type.clone() } else { format!("{domain}.{op_type}") };
            return Err(malformed(format!(
                "expected operators that can be written, found {name} at `{}`",
                node.name
            )));
        }
        _ => vec![],
    };
    let activation = if implied { Activation::None } else { node.op.activation() };
    match (activation, outputs) {
        (Activation::None, _) => {
            writer.push(&kind, node.name.clone(), inputs, outputs.to_vec(), attributes);
            Ok(())
        }
        (activation, [output]) => {
            let between = writer.fresh(&format!("{}_unclamped", node.name));
            writer.push(&kind, node.name.clone(), inputs, vec![between.clone()], attributes);
            write_clamp(writer, &node.name, activation, between, output.clone())
        }
        _ => Err(malformed("expected one output behind a fused clamp")),
    }
}

/// Writes a fused clamp as Relu or Clip; an Identity-free form where there is none is the caller's `from` itself.
pub(super) fn write_clamp(
    writer: &mut Writer,
    base: &str,
    activation: Activation,
    from: String,
    to: String,
) -> Result<()> {
    let name = writer.fresh(&format!("{base}_clamp"));
    match activation {
        Activation::None => writer.push("Identity", name, vec![from], vec![to], vec![]),
        Activation::Relu => writer.push("Relu", name, vec![from], vec![to], vec![]),
        Activation::Clip { min, max } => {
            let inputs = clip_inputs(writer, base, from, min, max)?;
            writer.push("Clip", name, inputs, vec![to], vec![]);
        }
    }
    Ok(())
}

fn clip_inputs(writer: &mut Writer, base: &str, from: String, min: f32, max: f32) -> Result<Vec<String>> {
    let mut inputs = vec![from];
    for (bound, what) in [(min, "min"), (max, "max")] {
        inputs.push(if bound.is_infinite() {
            String::new()
        } else {
            writer.initializer(&format!("{base}_{what}"), &Tensor::scalar(bound))?
        });
    }
    while inputs.last().is_some_and(String::is_empty) {
        inputs.pop();
    }
    Ok(inputs)
}

fn write_unary(
    writer: &mut Writer,
    node: &Node,
    op: UnaryOp,
    inputs: &[String],
    outputs: &[String],
) -> Result<()> {
    let (Some(x), [y]) = (inputs.first().cloned(), outputs) else {
        return Err(malformed("expected one input and one output"));
    };
    let name = node.name.clone();
    let attributes = match op {
        UnaryOp::LeakyRelu { alpha }
        | UnaryOp::Elu { alpha }
        | UnaryOp::Celu { alpha }
        | UnaryOp::ThresholdedRelu { alpha } => vec![float("alpha", alpha)],
        UnaryOp::Selu { alpha, gamma } => vec![float("alpha", alpha), float("gamma", gamma)],
        UnaryOp::Shrink { bias, lambda } => vec![float("bias", bias), float("lambd", lambda)],
        UnaryOp::HardSigmoid { alpha, beta } => vec![float("alpha", alpha), float("beta", beta)],
        UnaryOp::Gelu { tanh } => vec![text("approximate", if tanh { "tanh" } else { "none" })],
        UnaryOp::Clip { min, max } => {
            let inputs = clip_inputs(writer, &name, x, min, max)?;
            writer.push("Clip", name, inputs, vec![y.clone()], vec![]);
            return Ok(());
        }
        // ONNX has no SiLU before set 24, and Mish only from set 18 on: both are written as what they are made of.
        UnaryOp::Silu => {
            let gate = writer.fresh(&format!("{name}_gate"));
            let gate_name = writer.fresh(&format!("{name}_sigmoid"));
            writer.push("Sigmoid", gate_name, vec![x.clone()], vec![gate.clone()], vec![]);
            writer.push("Mul", name, vec![x, gate], vec![y.clone()], vec![]);
            return Ok(());
        }
        UnaryOp::Mish => {
            let (soft, gate) = (writer.fresh(&format!("{name}_soft")), writer.fresh(&format!("{name}_gate")));
            let (first, second) =
                (writer.fresh(&format!("{name}_softplus")), writer.fresh(&format!("{name}_tanh")));
            writer.push("Softplus", first, vec![x.clone()], vec![soft.clone()], vec![]);
            writer.push("Tanh", second, vec![soft], vec![gate.clone()], vec![]);
            writer.push("Mul", name, vec![x, gate], vec![y.clone()], vec![]);
            return Ok(());
        }
        _ => vec![],
    };
    writer.push(op.name(), name, vec![x], vec![y.clone()], attributes);
    Ok(())
}

/// Attributes of a convolution.
pub(super) fn conv_attributes(conv: &ConvAttributes) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", &conv.kernel),
        ints("strides", &conv.strides),
        ints("dilations", &conv.dilations),
        ints("pads", &conv.pads),
        int("group", conv.groups as i64),
    ]
}

pub(super) fn pool_attributes(pool: &PoolAttributes) -> Vec<AttributeProto> {
    let mut attributes = vec![
        ints("kernel_shape", &pool.kernel),
        ints("strides", &pool.strides),
        ints("pads", &pool.pads),
        int("ceil_mode", i64::from(pool.ceil)),
    ];
    if pool.dilations.iter().any(|&step| step > 1) {
        attributes.push(ints("dilations", &pool.dilations));
    }
    attributes
}

fn core(error: fewbit_core::CoreError) -> OnnxError {
    OnnxError::core(OnnxErrorKind::Export, error)
}

/// The sizes of a split's pieces, where they are known.
pub(super) fn pieces(graph: &Graph, node: &Node, axis: usize) -> Option<Vec<usize>> {
    node.outputs.iter().map(|&piece| graph.value(piece).extents()?.get(axis).copied()).collect()
}
