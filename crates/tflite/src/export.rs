//! Export: a program as a TFLite file.
//!
//! TFLite keeps images with their channels last, ONNX and programs behind the batch. A value of four axes has up to two
//! forms in the file, one in each order; operators on windows take and give channels last, others whatever their
//! operands have, and a TRANSPOSE stands only where a reader needs the other order. Inputs and outputs of the file are
//! codes rather than floats, and images have their channels last: what compilers for NPUs expect.

mod codes;
mod elements;
mod products;
mod shapes;
mod windows;

use std::collections::{HashMap, HashSet};

use fewbit_core::ir::{DType, Graph, Node, Op, Tensor, ValueId};
use fewbit_core::quant::{Granularity, QuantParams};

use crate::error::{Result, TfliteError};
use crate::file::{self, Code, Operator, Options, Quantization, Signature};

/// From ONNX's order of an image's axes to channels last.
const TO_LAST: [usize; 4] = [0, 2, 3, 1];
/// And back.
const TO_PLAIN: [usize; 4] = [0, 3, 1, 2];

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

/// A file, and how it is called.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Exported {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its inputs, in the program's order.
    pub inputs: Vec<Port>,
    /// Its outputs, in the program's order.
    pub outputs: Vec<Port>,
}

/// An input or output of a file.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Port {
    /// Its name in the model.
    pub name: String,
    /// Its extents in the file.
    pub extents: Vec<usize>,
    /// Its element type in the file.
    pub dtype: DType,
    /// Scale and zero point, where it holds codes.
    pub quant: Option<(f32, i32)>,
    /// Whether channels lie last in the file, and behind the batch in the model.
    pub channels_last: bool,
}

/// Writes `program` as a TFLite model.
///
/// Codes of u8 become codes of i8 with another zero point, which changes no number they stand for. A quantize at an
/// input and a dequantize at an output are left to the caller: the file takes and gives codes there.
///
/// # Errors
/// [`crate::TfliteErrorKind::Export`] naming a node that TFLite has no form for.
pub fn export(program: &Graph, options: &ExportOptions) -> Result<Exported> {
    let mut writer = Writer::new(program);
    for (_, node) in program.nodes() {
        writer.node(node).map_err(|error| error.at(&node.name))?;
    }
    writer.finish(options)
}

/// Order of a value's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// As in the program.
    Plain,
    /// Channels last.
    Last,
}

/// The tensors that hold a value.
#[derive(Debug, Clone, Copy, Default)]
struct Forms {
    plain: Option<i32>,
    last: Option<i32>,
}

/// The file as it grows.
struct Writer<'a> {
    program: &'a Graph,
    consumers: Vec<Vec<fewbit_core::ir::NodeId>>,
    graph: file::Graph,
    buffers: Vec<Vec<u8>>,
    forms: HashMap<ValueId, Forms>,
    /// Values that stand for an input of the program: the input itself, or its codes.
    inputs: HashMap<ValueId, ValueId>,
    names: HashSet<String>,
}

/// Where a node writes, and what comes behind it.
struct Place {
    /// The tensor to write.
    tensor: i32,
    /// Where it goes from there by a conversion, if its parameters are not those that the program gives the value.
    then: Option<i32>,
}

impl<'a> Writer<'a> {
    fn new(program: &'a Graph) -> Self {
        let graph = file::Graph { name: program.name.clone(), ..file::Graph::default() };
        let mut writer = Self {
            program,
            consumers: program.consumers(),
            graph,
            buffers: vec![Vec::new()],
            forms: HashMap::new(),
            inputs: HashMap::new(),
            names: HashSet::new(),
        };
        for &input in &program.inputs {
            let holds = writer.codes_of(input).unwrap_or(input);
            writer.inputs.insert(holds, input);
        }
        writer
    }

    /// The codes of a float input, where nothing reads it but one quantize.
    fn codes_of(&self, input: ValueId) -> Option<ValueId> {
        match self.consumers[input.index()].as_slice() {
            [only] if !self.program.is_output(input) => {
                let node = self.program.node(*only)?;
                matches!(node.op, Op::Quantize).then(|| node.outputs[0])
            }
            _ => None,
        }
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        if node.outputs.iter().any(|output| self.inputs.contains_key(output)) {
            return Ok(());
        }
        match &node.op {
            // An output of the file holds the codes.
            Op::Dequantize if self.gives_codes(node) => Ok(()),
            Op::Conv { conv, activation } => self.conv(node, conv, *activation),
            Op::ConvTranspose { conv, output_padding, activation } => {
                self.conv_transpose(node, conv, output_padding, *activation)
            }
            Op::MaxPool(pool) => self.pool(node, pool, codes::MAX_POOL_2D),
            Op::AveragePool(pool) => self.pool(node, pool, codes::AVERAGE_POOL_2D),
            Op::Gemm { .. } | Op::MatMul => self.product(node),
            Op::GlobalAveragePool | Op::GlobalMaxPool | Op::Reduce { .. } => self.reduce(node),
            Op::Binary { op, activation } => self.binary(node, *op, *activation),
            Op::Unary(op) => self.unary(node, *op),
            Op::Softmax { axis, log } => self.softmax(node, *axis, *log),
            Op::Quantize | Op::Dequantize | Op::Requantize => self.conversion(node),
            Op::Identity
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. } => self.reshape(node),
            Op::Transpose { perm } => self.transpose(node, perm),
            Op::Concat { axis } => self.concat(node, *axis),
            Op::Split { axis, .. } => self.split(node, *axis),
            Op::Slice => self.slice(node),
            Op::Pad { mode } => self.pad(node, *mode),
            Op::Resize(attributes) => self.resize(node, *attributes),
            Op::DepthToSpace { block, crd } => self.depth_to_space(node, *block, *crd),
            Op::SpaceToDepth { block } => self.space_to_depth(node, *block),
            op => Err(lacking(format!("{} has no form in TFLite that this version writes", op.kind()))),
        }
    }

    /// Whether `node` makes an output of the program out of codes, which the file then gives.
    fn gives_codes(&self, node: &Node) -> bool {
        let output = node.outputs[0];
        self.program.is_output(output) && self.consumers[output.index()].is_empty()
    }

    // ---- values of the program

    fn extents(&self, id: ValueId) -> Result<Vec<usize>> {
        let value = self.program.value(id);
        value.extents().ok_or_else(|| {
            TfliteError::export(format!("expected fixed extents of {}", value.name))
                .with_help("fix them with --shape")
        })
    }

    /// The constant of an input, for extents, axes and the like.
    fn constant(&self, node: &Node, index: usize) -> Result<Option<&'a Tensor>> {
        let program = self.program;
        let Some(id) = node.input(index) else { return Ok(None) };
        match &program.value(id).constant {
            Some(tensor) => Ok(Some(tensor)),
            None => Err(lacking(format!("expected input {index} to be constant"))),
        }
    }

    fn input(node: &Node, index: usize) -> Result<ValueId> {
        node.input(index).ok_or_else(|| TfliteError::export(format!("expected an input {index}")))
    }

    /// Element type and parameters of a value in the file.
    fn stored(&self, id: ValueId) -> Result<(DType, Option<Quantization>)> {
        let value = self.program.value(id);
        let dtype = value.dtype.ok_or_else(|| TfliteError::export("expected a known element type"))?;
        let Some(params) = &value.quant else { return Ok((dtype, None)) };
        let mut quantization = quantization(params)?;
        if dtype == DType::U8 {
            quantization.zero_points.iter_mut().for_each(|zero| *zero -= 128);
            return Ok((DType::I8, Some(quantization)));
        }
        Ok((dtype, Some(quantization)))
    }

    /// Which form a value has; plain where it has none yet.
    fn layout_of(&self, id: ValueId) -> Layout {
        match self.forms.get(&id) {
            Some(Forms { plain: None, last: Some(_) }) => Layout::Last,
            _ => Layout::Plain,
        }
    }

    /// The order that suits all of a node's computed operands: channels last if one of them has only that.
    fn common_layout(&self, ids: &[ValueId]) -> Layout {
        if ids.iter().any(|id| self.layout_of(*id) == Layout::Last) { Layout::Last } else { Layout::Plain }
    }

    /// The tensor with a value in the order asked for; orders differ for four axes only.
    fn want(&mut self, id: ValueId, layout: Layout) -> Result<i32> {
        let extents = self.extents(id)?;
        let layout = if extents.len() == 4 { layout } else { Layout::Plain };
        let forms = self.forms.get(&id).copied().unwrap_or_default();
        let (have, other) = match layout {
            Layout::Plain => (forms.plain, forms.last),
            Layout::Last => (forms.last, forms.plain),
        };
        if let Some(tensor) = have {
            return Ok(tensor);
        }
        if let Some(constant) = &self.program.value(id).constant {
            let perm: &[usize] = if layout == Layout::Last { &TO_LAST } else { &[] };
            let tensor = self.constant_tensor(id, constant, perm)?;
            self.remember(id, layout, tensor);
            return Ok(tensor);
        }
        let tensor = self.define(id, layout)?;
        if let Some(other) = other {
            let perm = if layout == Layout::Last { TO_LAST } else { TO_PLAIN };
            self.emit_transpose(other, tensor, &perm)?;
        } else if !self.inputs.contains_key(&id) {
            return Err(TfliteError::export(format!(
                "expected {} to be computed before it is read",
                self.program.value(id).name
            )));
        }
        Ok(tensor)
    }

    fn remember(&mut self, id: ValueId, layout: Layout, tensor: i32) {
        let forms = self.forms.entry(id).or_default();
        match layout {
            Layout::Plain => forms.plain = Some(tensor),
            Layout::Last => forms.last = Some(tensor),
        }
    }

    /// A new tensor for a value.
    fn define(&mut self, id: ValueId, layout: Layout) -> Result<i32> {
        let extents = self.extents(id)?;
        let layout = if extents.len() == 4 { layout } else { Layout::Plain };
        let extents = if layout == Layout::Last { permuted(&extents, &TO_LAST) } else { extents };
        let (dtype, quantization) = self.stored(id)?;
        let program = self.program;
        let tensor = self.push_tensor(&program.value(id).name, &extents, dtype, quantization, 0)?;
        self.remember(id, layout, tensor);
        Ok(tensor)
    }

    // ---- tensors of the file

    fn push_tensor(
        &mut self,
        name: &str,
        extents: &[usize],
        dtype: DType,
        quantization: Option<Quantization>,
        buffer: u32,
    ) -> Result<i32> {
        let mut unique = name.to_owned();
        let mut number = 2u64;
        while !self.names.insert(unique.clone()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        let shape = extents.iter().map(|&extent| extent_of(extent)).collect::<Result<_>>()?;
        let dtype = codes::tensor_type(dtype)?;
        self.graph.tensors.push(file::Tensor { name: unique, shape, dtype, buffer, quantization });
        Ok(self.graph.tensors.len() as i32 - 1)
    }

    /// A new constant tensor of given bytes.
    fn push_constant(
        &mut self,
        name: &str,
        extents: &[usize],
        dtype: DType,
        quantization: Option<Quantization>,
        bytes: Vec<u8>,
    ) -> Result<i32> {
        self.buffers.push(bytes);
        let buffer = self.buffers.len() as u32 - 1;
        self.push_tensor(name, extents, dtype, quantization, buffer)
    }

    /// A constant list of numbers, such as a shape.
    fn numbers(&mut self, name: &str, extents: &[usize], values: &[i32]) -> Result<i32> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.push_constant(name, extents, DType::I32, None, bytes)
    }

    /// A constant of the program with its axes in the order `perm` (none: as they are).
    fn constant_tensor(&mut self, id: ValueId, constant: &Tensor, perm: &[usize]) -> Result<i32> {
        let (dtype, mut quantization) = self.stored(id)?;
        let mut bytes = constant.bytes().to_vec();
        if constant.dtype() == DType::U8 && dtype == DType::I8 {
            for byte in &mut bytes {
                *byte ^= 0x80;
            }
        }
        let mut extents = constant.extents().to_vec();
        if !perm.is_empty() {
            bytes = permuted_bytes(&bytes, &extents, perm, dtype);
            extents = permuted(&extents, perm);
            if let Some(quantization) = &mut quantization
                && quantization.scales.len() > 1
            {
                let axis = perm.iter().position(|&from| from as i32 == quantization.axis);
                quantization.axis = axis.unwrap_or(0) as i32;
            }
        }
        let program = self.program;
        self.push_constant(&program.value(id).name, &extents, dtype, quantization, bytes)
    }

    /// Another tensor like one, but with other parameters.
    fn like(&mut self, tensor: i32, suffix: &str, quantization: Option<Quantization>) -> i32 {
        let mut copy = self.graph.tensors[tensor as usize].clone();
        let mut name = format!("{}_{suffix}", copy.name);
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        copy.name = name;
        copy.buffer = 0;
        copy.quantization = quantization;
        self.graph.tensors.push(copy);
        self.graph.tensors.len() as i32 - 1
    }

    fn parameters(&self, tensor: i32) -> Option<Quantization> {
        self.graph.tensors[tensor as usize].quantization.clone()
    }

    /// Scale and zero point of a tensor that has one of each.
    fn scale_of(&self, tensor: i32) -> Option<(f32, i64)> {
        let quantization = self.graph.tensors[tensor as usize].quantization.as_ref()?;
        match (quantization.scales.as_slice(), quantization.zero_points.as_slice()) {
            ([scale], [zero]) => Some((*scale, *zero)),
            _ => None,
        }
    }

    // ---- operators of the file

    fn emit(&mut self, builtin: i32, inputs: Vec<i32>, outputs: Vec<i32>, options: Options) {
        let dtype = |tensor: Option<&i32>| {
            tensor.and_then(|at| self.graph.tensors.get(*at as usize)).map_or(0, |tensor| tensor.dtype)
        };
        let version = codes::version(builtin, dtype(inputs.first()), dtype(outputs.first()), &options);
        let code = Code { builtin, custom: None, version };
        self.graph.operators.push(Operator { code, inputs, outputs, options });
    }

    fn emit_transpose(&mut self, from: i32, to: i32, perm: &[usize]) -> Result<()> {
        let perm: Vec<i32> = perm.iter().map(|&axis| axis as i32).collect();
        let perm = self.numbers("perm", &[perm.len()], &perm)?;
        self.emit(codes::TRANSPOSE, vec![from, perm], vec![to], Options::Transpose {});
        Ok(())
    }

    /// Where a node writes a value: straight to its tensor, or to one of the parameters that the operator asks for.
    fn place(&mut self, id: ValueId, layout: Layout, required: Option<Quantization>) -> Result<Place> {
        let tensor = self.define(id, layout)?;
        let own = self.parameters(tensor);
        Ok(match required {
            Some(required) if own.is_some() && own.as_ref() != Some(&required) => {
                Place { tensor: self.like(tensor, "raw", Some(required)), then: Some(tensor) }
            }
            _ => Place { tensor, then: None },
        })
    }

    /// The conversion behind a node, if there is one.
    fn close(&mut self, place: &Place) {
        if let Some(then) = place.then {
            self.emit(codes::QUANTIZE, vec![place.tensor], vec![then], Options::Quantize {});
        }
    }

    /// A tensor with other parameters: itself, or a converted one.
    fn requantized(&mut self, tensor: i32, wanted: Option<&Quantization>) -> i32 {
        if self.parameters(tensor).as_ref() == wanted {
            return tensor;
        }
        let converted = self.like(tensor, "requantized", wanted.cloned());
        self.emit(codes::QUANTIZE, vec![tensor], vec![converted], Options::Quantize {});
        converted
    }

    fn conversion(&mut self, node: &Node) -> Result<()> {
        let source = Self::input(node, 0)?;
        let layout = self.layout_of(source);
        let from = self.want(source, layout)?;
        let to = self.define(node.outputs[0], layout)?;
        let (builtin, options) = match node.op {
            Op::Dequantize => (codes::DEQUANTIZE, Options::Dequantize {}),
            _ => (codes::QUANTIZE, Options::Quantize {}),
        };
        self.emit(builtin, vec![from], vec![to], options);
        Ok(())
    }

    // ---- the end

    fn finish(mut self, options: &ExportOptions) -> Result<Exported> {
        let program = self.program;
        let mut signature = Signature { key: "serving_default".to_owned(), ..Signature::default() };
        let mut inputs = Vec::new();
        for &input in &program.inputs {
            let holds = self.inputs.iter().find(|(_, of)| **of == input).map_or(input, |(holds, _)| *holds);
            let layout = self.layout_of(holds);
            let tensor = self.want(holds, layout)?;
            self.graph.inputs.push(tensor);
            signature.inputs.push((program.value(input).name.clone(), tensor as u32));
            inputs.push(self.port(input, holds, tensor)?);
        }
        let producers = program.producers();
        let mut outputs = Vec::new();
        for &output in &program.outputs {
            let codes = producers[output.index()]
                .and_then(|id| program.node(id))
                .filter(|node| matches!(node.op, Op::Dequantize) && self.gives_codes(node))
                .and_then(|node| node.input(0));
            let holds = codes.unwrap_or(output);
            let layout = self.layout_of(holds);
            let tensor = self.want(holds, layout)?;
            self.graph.outputs.push(tensor);
            signature.outputs.push((program.value(output).name.clone(), tensor as u32));
            outputs.push(self.port(output, holds, tensor)?);
        }
        let mut metadata = Vec::new();
        for (key, value) in &options.metadata {
            self.buffers.push(value.clone().into_bytes());
            metadata.push((key.clone(), self.buffers.len() as u32 - 1));
        }
        let model = file::Model {
            description: format!("fewbit {}", env!("CARGO_PKG_VERSION")),
            graphs: vec![self.graph],
            buffers: self.buffers,
            metadata,
            signatures: vec![signature],
        };
        Ok(Exported { bytes: model.to_bytes(), inputs, outputs })
    }

    fn port(&self, id: ValueId, holds: ValueId, tensor: i32) -> Result<Port> {
        let layout = self.layout_of(holds);
        let channels_last = layout == Layout::Last;
        let extents = self.extents(holds)?;
        Ok(Port {
            name: self.program.value(id).name.clone(),
            extents: if channels_last { permuted(&extents, &TO_LAST) } else { extents },
            dtype: self.stored(holds)?.0,
            quant: self.scale_of(tensor).map(|(scale, zero)| (scale, zero as i32)),
            channels_last,
        })
    }
}

/// A node that has no form.
fn lacking(message: impl Into<String>) -> TfliteError {
    TfliteError::export(message)
}

fn extent_of(extent: usize) -> Result<i32> {
    i32::try_from(extent).map_err(|_| lacking(format!("expected an extent below 2^31, found {extent}")))
}

fn quantization(params: &QuantParams) -> Result<Quantization> {
    let axis = match params.granularity {
        Granularity::PerTensor => 0,
        Granularity::PerChannel { axis } => axis as i32,
        Granularity::PerBlock { .. } => return Err(lacking("scales per block have no form in TFLite")),
    };
    let mut zero_points: Vec<i64> = params.zero_points.iter().map(|&zero| i64::from(zero)).collect();
    zero_points.resize(params.scales.len(), zero_points.first().copied().unwrap_or(0));
    Ok(Quantization { scales: params.scales.clone(), zero_points, axis })
}

fn permuted(extents: &[usize], perm: &[usize]) -> Vec<usize> {
    perm.iter().map(|&from| extents[from]).collect()
}

/// The elements of a row-major tensor with its axes in another order.
fn permuted_bytes(bytes: &[u8], extents: &[usize], perm: &[usize], dtype: DType) -> Vec<u8> {
    if dtype.bits() == 4 {
        let elements = extents.iter().product();
        let apart: Vec<u8> = bytes.iter().flat_map(|pair| [pair & 15, pair >> 4]).take(elements).collect();
        let moved = permuted_bytes(&apart, extents, perm, DType::U8);
        return moved.chunks(2).map(|pair| pair[0] | pair.get(1).copied().unwrap_or(0) << 4).collect();
    }
    let width = dtype.bits() / 8;
    let mut strides = vec![width; extents.len()];
    for axis in (0..extents.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * extents[axis + 1];
    }
    let to = permuted(extents, perm);
    let steps: Vec<usize> = perm.iter().map(|&from| strides[from]).collect();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = vec![0; to.len()];
    let mut at = 0;
    while out.len() < bytes.len() {
        out.extend_from_slice(&bytes[at..at + width]);
        for axis in (0..to.len()).rev() {
            index[axis] += 1;
            at += steps[axis];
            if index[axis] < to[axis] {
                break;
            }
            at -= steps[axis] * to[axis];
            index[axis] = 0;
        }
    }
    out
}
