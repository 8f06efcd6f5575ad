//! Export: float and quantized graphs as ONNX.
//!
//! A quantized value is written in QDQ form: the node that makes it is followed by QuantizeLinear, and every reader
//! has a DequantizeLinear before it, which is the form that other runtimes turn back into integer kernels.
//! Quantized constants are written as integers behind one DequantizeLinear. A fused clamp is left out where the
//! saturation of the following QuantizeLinear does the same.

mod index;
mod operators;
mod opset;
mod recurrent;
mod resize;

use std::collections::{HashMap, HashSet};

use fewbit_core::ir::{DType, Dim, Graph, Node, Op, Shape, Tensor, Value, ValueId};
use fewbit_core::plan::Precision;
use fewbit_core::quant::{Granularity, QuantParams};
use prost::Message;

use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto, tensor_shape_proto,
    type_proto,
};
use crate::tensor;

/// What an exported file says of its maker.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ExportOptions {
    /// Entries of the file's metadata, such as the plan's hash.
    pub metadata: Vec<(String, String)>,
}

impl ExportOptions {
    /// Options with these metadata entries.
    pub fn with_metadata(metadata: Vec<(String, String)>) -> Self {
        Self { metadata }
    }
}

/// Writes `graph` as an ONNX model.
///
/// The operator set is 17 where nothing newer is needed.
///
/// # Errors
/// [`OnnxErrorKind::Export`] naming a node that ONNX has no form for.
pub fn export(graph: &Graph, options: &ExportOptions) -> Result<Vec<u8>> {
    let opset = opset::needed(graph);
    let mut writer = Writer::new(graph, opset);
    for (_, node) in graph.nodes() {
        writer.node(node).map_err(|error| error.at(&node.name))?;
    }
    let graph_proto = writer.finish()?;
    let mut metadata = options.metadata.clone();
    metadata.extend(graph.metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
    let mut keys = HashSet::new();
    metadata.retain(|(key, _)| keys.insert(key.clone()));
    let model = ModelProto {
        ir_version: Some(opset::ir_version(opset)),
        producer_name: Some("fewbit".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
        graph: Some(graph_proto),
        metadata_props: metadata
            .into_iter()
            .map(|(key, value)| StringStringEntryProto { key: Some(key), value: Some(value) })
            .collect(),
        ..ModelProto::default()
    };
    Ok(model.encode_to_vec())
}

/// The file's graph as it grows.
struct Writer<'a> {
    graph: &'a Graph,
    /// The operator set in which nodes are written.
    opset: i64,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    names: HashSet<String>,
    /// Constants that were written, and under which name their readers find them.
    constants: HashMap<ValueId, String>,
    /// Dequantized forms of quantized values, by value.
    real: HashMap<ValueId, String>,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a Graph, opset: i64) -> Self {
        let names = graph
            .value_ids()
            .map(|id| graph.value(id).name.clone())
            .chain(graph.nodes().map(|(_, node)| node.name.clone()))
            .collect();
        Self {
            graph,
            opset,
            nodes: Vec::new(),
            initializers: Vec::new(),
            names,
            constants: HashMap::new(),
            real: HashMap::new(),
        }
    }

    /// A name that nothing has yet.
    fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut number = 2u64;
        while !self.names.insert(name.clone()) {
            name = format!("{base}_{number}");
            number += 1;
        }
        name
    }

    fn push(
        &mut self,
        op_type: &str,
        name: String,
        inputs: Vec<String>,
        outputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            op_type: Some(op_type.to_owned()),
            name: Some(name),
            input: inputs,
            output: outputs,
            attribute: attributes,
            ..NodeProto::default()
        });
    }

    fn initializer(&mut self, base: &str, tensor: &Tensor) -> Result<String> {
        let name = self.fresh(base);
        self.initializers.push(tensor::write(&name, tensor)?);
        Ok(name)
    }

    /// The name under which readers find a value in real numbers: dequantized where it is quantized.
    fn real(&mut self, id: ValueId) -> Result<String> {
        if let Some(name) = self.real.get(&id) {
            return Ok(name.clone());
        }
        let value = self.graph.value(id);
        let stored = self.stored(id)?;
        let Some(quant) = &value.quant else { return Ok(stored) };
        let (scale, zero, attributes) = self.parameters(value, quant)?;
        let output = self.fresh(&format!("{}_real", value.name));
        let node = self.fresh(&format!("{}_dequantize", value.name));
        let mut inputs = vec![stored, scale];
        inputs.extend(zero);
        self.push("DequantizeLinear", node, inputs, vec![output.clone()], attributes);
        self.real.insert(id, output.clone());
        Ok(output)
    }

    /// The name of a value as it is stored.
    fn stored(&mut self, id: ValueId) -> Result<String> {
        if let Some(name) = self.constants.get(&id) {
            return Ok(name.clone());
        }
        let value = self.graph.value(id);
        if let Some(constant) = &value.constant {
            self.initializers.push(tensor::write(&value.name, constant)?);
            self.constants.insert(id, value.name.clone());
        }
        Ok(value.name.clone())
    }

    /// Scale, zero point (absent for 32-bit integers, where it must be 0) and axis of quantization parameters.
    fn parameters(
        &mut self,
        value: &Value,
        quant: &QuantParams,
    ) -> Result<(String, Option<String>, Vec<AttributeProto>)> {
        let from_core = |error| OnnxError::core(OnnxErrorKind::Export, error);
        let dtype = value.dtype.unwrap_or(DType::U8);
        let zeros: Vec<i64> = quant.zero_points.iter().map(|&zero| i64::from(zero)).collect();
        let (extents, mut attributes) = match quant.granularity {
            Granularity::PerTensor => (vec![], vec![]),
            Granularity::PerChannel { axis } => (vec![quant.scales.len()], vec![int("axis", axis as i64)]),
            Granularity::PerBlock { axis, size } => {
                let mut extents = value.extents().unwrap_or_default();
                if let Some(extent) = extents.get_mut(axis) {
                    *extent = extent.div_ceil(size.max(1));
                }
                (extents, vec![int("axis", axis as i64), int("block_size", size as i64)])
            }
        };
        let scale = Tensor::from_slice(&extents, &quant.scales).map_err(from_core)?;
        let scale = self.initializer(&format!("{}_scale", value.name), &scale)?;
        let zero = if dtype == DType::I32 {
            None
        } else {
            let zero = Tensor::from_i64(dtype, &extents, &zeros).map_err(from_core)?;
            Some(self.initializer(&format!("{}_zero_point", value.name), &zero)?)
        };
        attributes.shrink_to_fit();
        Ok((scale, zero, attributes))
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        match node.op {
            Op::Quantize | Op::Requantize => return self.quantize(node),
            Op::Dequantize => return self.dequantize(node),
            _ => {}
        }
        if node.precision == Some(Precision::W8A8Dynamic) {
            return self.dynamic(node);
        }
        let inputs = node
            .inputs
            .iter()
            .map(|input| match input {
                Some(id) => self.operand(*id),
                None => Ok(String::new()),
            })
            .collect::<Result<Vec<_>>>()?;
        let outputs: Vec<String> = node
            .outputs
            .iter()
            .map(|&id| {
                let value = self.graph.value(id);
                if value.quant.is_some() {
                    self.fresh(&format!("{}_computed", value.name))
                } else {
                    value.name.clone()
                }
            })
            .collect();
        let implied = node.outputs.first().is_some_and(|&id| saturation_clamps(self.graph.value(id), node));
        operators::write(self, node, inputs, &outputs, implied)?;
        for (&id, computed) in node.outputs.iter().zip(&outputs) {
            let value = self.graph.value(id);
            if let Some(quant) = &value.quant {
                self.quantize_linear(value, quant, computed.clone())?;
            }
        }
        Ok(())
    }

    /// An operand in real numbers; constants in half precision are widened where they are read.
    fn operand(&mut self, id: ValueId) -> Result<String> {
        let value = self.graph.value(id);
        if value.constant.is_some()
            && matches!(value.dtype, Some(DType::F16 | DType::Bf16))
            && !self.real.contains_key(&id)
        {
            let stored = self.stored(id)?;
            let output = self.fresh(&format!("{}_f32", value.name));
            let name = self.fresh(&format!("{}_cast", value.name));
            let to = int("to", tensor::data_type(DType::F32)? as i64);
            self.push("Cast", name, vec![stored], vec![output.clone()], vec![to]);
            self.real.insert(id, output);
        }
        self.real(id)
    }

    fn quantize_linear(&mut self, value: &Value, quant: &QuantParams, from: String) -> Result<()> {
        let (scale, zero, attributes) = self.parameters(value, quant)?;
        let name = self.fresh(&format!("{}_quantize", value.name));
        let mut inputs = vec![from, scale];
        inputs.extend(zero);
        self.push("QuantizeLinear", name, inputs, vec![value.name.clone()], attributes);
        Ok(())
    }

    /// Quantize and Requantize: the input's real form, quantized with the output's parameters.
    fn quantize(&mut self, node: &Node) -> Result<()> {
        let (Some(from), Some(&to)) = (node.input(0), node.outputs.first()) else {
            return Err(malformed("expected one input and one output"));
        };
        let from = self.real(from)?;
        let value = self.graph.value(to);
        let quant = value.quant.as_ref().ok_or_else(|| malformed("expected a quantized output"))?;
        self.quantize_linear(value, quant, from)
    }

    fn dequantize(&mut self, node: &Node) -> Result<()> {
        let (Some(from), Some(&to)) = (node.input(0), node.outputs.first()) else {
            return Err(malformed("expected one input and one output"));
        };
        let value = self.graph.value(from);
        let quant = value.quant.as_ref().ok_or_else(|| malformed("expected a quantized input"))?;
        let stored = self.stored(from)?;
        let (scale, zero, attributes) = self.parameters(value, quant)?;
        let mut inputs = vec![stored, scale];
        inputs.extend(zero);
        let output = self.graph.value(to).name.clone();
        self.push("DequantizeLinear", node.name.clone(), inputs, vec![output], attributes);
        Ok(())
    }

    /// Dynamic quantization: the input is quantized while running, the product is scaled back to float.
    fn dynamic(&mut self, node: &Node) -> Result<()> {
        let (Some(x), Some(w), Some(&y)) = (node.input(0), node.input(1), node.outputs.first()) else {
            return Err(malformed("expected an input, weights and an output"));
        };
        let x = self.real(x)?;
        let weights = self.graph.value(w);
        let (Some(quant), Some(constant)) = (&weights.quant, &weights.constant) else {
            return Err(malformed("expected quantized constant weights"));
        };
        let base = node.name.clone();
        let part = |this: &mut Self, what: &str| this.fresh(&format!("{base}_{what}"));
        let (codes, scale, zero) = (part(self, "codes"), part(self, "scale"), part(self, "zero"));
        let name = part(self, "dynamic_quantize");
        self.push(
            "DynamicQuantizeLinear",
            name,
            vec![x],
            vec![codes.clone(), scale.clone(), zero.clone()],
            vec![],
        );
        let rank = self.graph.value(y).shape.as_ref().map_or(0, Shape::rank);
        let (op_type, stored, attributes) = match &node.op {
            Op::Conv { conv, .. } => ("ConvInteger", self.stored(w)?, operators::conv_attributes(conv)),
            Op::Gemm { trans_b: true, trans_a: false, .. } => {
                let transposed = transposed(constant)?;
                (
                    "MatMulInteger",
                    self.initializer(&format!("{}_transposed", weights.name), &transposed)?,
                    vec![],
                )
            }
            Op::Gemm { trans_a: false, .. } | Op::MatMul => ("MatMulInteger", self.stored(w)?, vec![]),
            op => {
                return Err(malformed(format!(
                    "expected a product that runs dynamically quantized, found {}",
                    op.kind()
                )));
            }
        };
        let sums = part(self, "sums");
        let name = part(self, "product");
        self.push(op_type, name, vec![codes, stored, zero], vec![sums.clone()], attributes);
        let wide = part(self, "sums_f32");
        let name = part(self, "cast");
        let to = int("to", tensor::data_type(DType::F32)? as i64);
        self.push("Cast", name, vec![sums], vec![wide.clone()], vec![to]);
        // Per-channel factors lie along the output's channel axis; where that is the last one, they have no other axis:
        // ONNX Runtime's fusion of these nodes takes the first factor for all columns otherwise.
        let (rank, channel_axis) = if op_type == "MatMulInteger" { (1, 0) } else { (rank, 1) };
        let mut extents = vec![1; rank];
        if quant.scales.len() > 1
            && let Some(extent) = extents.get_mut(channel_axis)
        {
            *extent = quant.scales.len();
        }
        let from_core = |error| OnnxError::core(OnnxErrorKind::Export, error);
        let weight_scale = Tensor::from_slice(&extents, &quant.scales).map_err(from_core)?;
        let weight_scale = self.initializer(&format!("{}_scale", weights.name), &weight_scale)?;
        let factor = part(self, "factor");
        let name = part(self, "scales");
        self.push("Mul", name, vec![scale, weight_scale], vec![factor.clone()], vec![]);
        let mut last = part(self, "scaled");
        let name = part(self, "rescale");
        self.push("Mul", name, vec![wide, factor], vec![last.clone()], vec![]);
        if let Some(bias) = node.input(2).and_then(|id| self.graph.value(id).constant.as_ref()) {
            let mut extents = vec![1; rank];
            if let Some(extent) = extents.get_mut(channel_axis) {
                *extent = bias.elements();
            }
            let bias = bias.reshaped(&extents).map_err(from_core)?;
            let bias = self.initializer(&format!("{base}_bias"), &bias)?;
            let biased = part(self, "biased");
            let name = part(self, "add_bias");
            self.push("Add", name, vec![last, bias], vec![biased.clone()], vec![]);
            last = biased;
        }
        let output = self.graph.value(y).name.clone();
        operators::write_clamp(self, &base, node.op.activation(), last, output)
    }

    fn finish(mut self) -> Result<GraphProto> {
        let info = |id: ValueId| -> Result<ValueInfoProto> {
            let value = self.graph.value(id);
            let dtype =
                value.dtype.ok_or_else(|| malformed(format!("expected `{}` to have a type", value.name)))?;
            let dims = value.shape.as_ref().map_or(&[][..], Shape::dims).iter().map(|dim| {
                let value = match dim {
                    Dim::Fixed(extent) => tensor_shape_proto::dimension::Value::DimValue(*extent as i64),
                    Dim::Symbol(name) => tensor_shape_proto::dimension::Value::DimParam(name.clone()),
                };
                tensor_shape_proto::Dimension { value: Some(value), ..Default::default() }
            });
            Ok(ValueInfoProto {
                name: Some(value.name.clone()),
                r#type: Some(TypeProto {
                    value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                        elem_type: Some(tensor::data_type(dtype)? as i32),
                        shape: Some(TensorShapeProto { dim: dims.collect() }),
                    })),
                    ..TypeProto::default()
                }),
                ..ValueInfoProto::default()
            })
        };
        let input = self.graph.inputs.iter().map(|&id| info(id)).collect::<Result<_>>()?;
        let output = self.graph.outputs.iter().map(|&id| info(id)).collect::<Result<_>>()?;
        for &id in &self.graph.outputs {
            // An output may be a constant.
            if self.graph.value(id).constant.is_some() {
                self.stored(id)?;
            }
        }
        let name = if self.graph.name.is_empty() { "model".to_owned() } else { self.graph.name.clone() };
        Ok(GraphProto {
            name: Some(name),
            node: self.nodes,
            initializer: self.initializers,
            input,
            output,
            ..GraphProto::default()
        })
    }
}

/// Whether the saturation of the output's codes does what the node's fused clamp asks for.
fn saturation_clamps(value: &Value, node: &Node) -> bool {
    let Some((scale, zero)) = value.quant.as_ref().and_then(QuantParams::tensor_wide) else { return false };
    let Some((low, high)) = value.dtype.and_then(DType::integer_range) else { return false };
    let full = fewbit_core::quant::convert::CodeRange { min: low as i32, max: high as i32 };
    let (min, max) = node.op.activation().bounds();
    full.clipped(min, max, scale, zero) == full
}

fn malformed(message: impl Into<String>) -> OnnxError {
    OnnxError::new(OnnxErrorKind::Export, message)
}

/// A matrix with its axes swapped.
fn transposed(tensor: &Tensor) -> Result<Tensor> {
    let &[rows, columns] = tensor.extents() else { return Err(malformed("expected a matrix as weights")) };
    let values = tensor.to_i64_vec();
    let swapped: Vec<i64> = (0..columns)
        .flat_map(|column| (0..rows).map(move |row| (row, column)))
        .map(|(row, column)| values[row * columns + column])
        .collect();
    Tensor::from_i64(tensor.dtype(), &[columns, rows], &swapped)
        .map_err(|error| OnnxError::core(OnnxErrorKind::Export, error))
}

fn attribute(name: &str, kind: attribute_proto::AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..AttributeProto::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, attribute_proto::AttributeType::Int) }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, attribute_proto::AttributeType::Float) }
}

fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..attribute(name, attribute_proto::AttributeType::Floats) }
}

fn texts(name: &str, values: &[&str]) -> AttributeProto {
    AttributeProto {
        strings: values.iter().map(|value| value.as_bytes().to_vec().into()).collect(),
        ..attribute(name, attribute_proto::AttributeType::Strings)
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        ints: values.iter().map(|&value| value as i64).collect(),
        ..attribute(name, attribute_proto::AttributeType::Ints)
    }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        s: Some(value.as_bytes().to_vec().into()),
        ..attribute(name, attribute_proto::AttributeType::String)
    }
}
