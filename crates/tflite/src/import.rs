//! What a file means: from a TFLite model to a graph.
//!
//! Owns tensors and layouts; `operators` owns what each operator means. A quantized file becomes what an ONNX file with
//! QuantizeLinear and DequantizeLinear is: every tensor of codes is read through its parameters and written through
//! them, and the passes turn that into integer operators. The graph's own inputs and outputs are floats. Windows are
//! computed with channels first; inputs and outputs keep the file's order.

mod operators;

use std::collections::{HashMap, HashSet};

use fewbit_core::ir::{DType, Graph, Node, Op, Shape, Tensor, ValueId};

use crate::error::{Result, TfliteError};
use crate::file::{self, Model, Quantization};

/// The order of axes that moves channels in front of space.
const TO_FIRST: [usize; 4] = [0, 3, 1, 2];
/// The order of axes that moves channels behind space.
const TO_LAST: [usize; 4] = [0, 2, 3, 1];
/// How many times a file's constants may be taken over: tensors can share one buffer.
const MOST_SHARED: usize = 16;

/// Reads a model from bytes.
///
/// # Errors
/// [`TfliteErrorKind::Malformed`](crate::TfliteErrorKind::Malformed) for what is no model,
/// [`TfliteErrorKind::Version`](crate::TfliteErrorKind::Version) for another version of the schema,
/// [`TfliteErrorKind::Import`](crate::TfliteErrorKind::Import) for an operator, an element type or a form that has no
/// meaning here; the error names the operator and the tensor that it makes.
pub fn import(bytes: &[u8]) -> Result<Graph> {
    let model = Model::read(bytes)?;
    let [graph, ..] = &model.graphs[..] else {
        return Err(TfliteError::malformed("expected a model with a graph, found none"));
    };
    if model.graphs.len() > 1 {
        return Err(TfliteError::import(format!(
            "expected one graph, found {}: control flow has no meaning here",
            model.graphs.len()
        )));
    }
    let mut importer = Importer::new(&model, graph);
    importer.take_inputs()?;
    for operator in &graph.operators {
        let place = operator.outputs.first().map_or_else(String::new, |&at| importer.tensor_name(at));
        importer.operator(operator).map_err(|error| error.at(place))?;
    }
    importer.finish()
}

/// The numbers that a tensor stands for, in one or both orders of its axes.
#[derive(Debug, Clone, Copy, Default)]
struct Forms {
    /// As in the file.
    plain: Option<ValueId>,
    /// With channels in front of space.
    first: Option<ValueId>,
}

/// What is known while operators are translated.
struct Importer<'a> {
    model: &'a Model,
    source: &'a file::Graph,
    graph: Graph,
    forms: Vec<Forms>,
    names: HashSet<String>,
    /// The names of inputs and outputs that the file's signature gives.
    ports: HashMap<i32, &'a str>,
    /// Bytes of constants that may still be taken over.
    allowance: usize,
}

impl<'a> Importer<'a> {
    fn new(model: &'a Model, source: &'a file::Graph) -> Self {
        let ports = model
            .signatures
            .iter()
            .filter(|signature| signature.graph == 0)
            .take(1)
            .flat_map(|signature| signature.inputs.iter().chain(&signature.outputs))
            .filter_map(|(name, at)| Some((i32::try_from(*at).ok()?, name.as_str())))
            .collect();
        let bytes: usize = model.buffers.iter().map(Vec::len).sum();
        Self {
            model,
            source,
            graph: Graph::new(source.name.clone()),
            forms: vec![Forms::default(); source.tensors.len()],
            names: HashSet::new(),
            ports,
            allowance: bytes.saturating_mul(MOST_SHARED),
        }
    }

    /// A tensor by its number; the reader checked that it is one.
    fn tensor(&self, at: i32) -> Result<&'a file::Tensor> {
        usize::try_from(at)
            .ok()
            .and_then(|at| self.source.tensors.get(at))
            .ok_or_else(|| TfliteError::malformed(format!("expected a tensor, found number {at}")))
    }

    fn tensor_name(&self, at: i32) -> String {
        let own = self.tensor(at).map_or("", |tensor| tensor.name.as_str());
        // Converters list all that they fused into an operator, with semicolons between.
        let own = own.split(';').next().unwrap_or(own);
        let name = self.ports.get(&at).copied().filter(|name| !name.is_empty()).unwrap_or(own);
        if name.is_empty() { format!("tensor_{at}") } else { name.to_owned() }
    }

    /// A tensor's extents.
    fn extents(&self, at: i32) -> Result<Vec<usize>> {
        let tensor = self.tensor(at)?;
        tensor
            .shape
            .iter()
            .map(|&extent| usize::try_from(extent).ok())
            .collect::<Option<_>>()
            .ok_or_else(|| TfliteError::malformed(format!("expected extents, found {:?}", tensor.shape)))
    }

    /// A name that nothing has yet.
    fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut number = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{base}_{number}");
            number += 1;
        }
        name
    }

    fn take_inputs(&mut self) -> Result<()> {
        let source = self.source;
        for &at in &source.inputs {
            if self.forms[at as usize].plain.is_some() {
                return Err(TfliteError::import("expected every input once").at(self.tensor_name(at)));
            }
            let tensor = self.tensor(at)?;
            let dtype = dtype(tensor)?;
            let extents = self.extents(at)?;
            let name = self.tensor_name(at);
            let name = self.fresh(&name);
            let read = if tensor.quantization.is_some() { DType::F32 } else { dtype };
            let value = self.graph.add_input(name, read, Shape::fixed(&extents));
            let value = self.through_codes(at, value)?;
            self.forms[at as usize].plain = Some(value);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Graph> {
        let source = self.source;
        for &at in &source.outputs {
            let value = self.float(at)?;
            // An output has its tensor's name, and is no constant and nobody else's.
            let name = self.tensor_name(at);
            let name = self.fresh(&format!("{name}.out"));
            let output = self.graph.add_op(name, Op::Identity, &[value]);
            let name = self.tensor_name(at);
            let taken = self
                .graph
                .inputs
                .iter()
                .chain(&self.graph.outputs)
                .any(|&id| self.graph.value(id).name == name);
            if !taken {
                if let Some(other) = self.graph.find_value(&name) {
                    let renamed = self.fresh(&format!("{name}.made"));
                    self.graph.value_mut(other).name = renamed;
                }
                self.graph.value_mut(output).name = name;
            }
            self.graph.outputs.push(output);
        }
        if self.graph.outputs.is_empty() {
            return Err(TfliteError::malformed("expected a graph with outputs, found none"));
        }
        for (name, buffer) in &self.model.metadata {
            let text =
                self.model.buffers.get(*buffer as usize).and_then(|bytes| std::str::from_utf8(bytes).ok());
            if let Some(text) = text.filter(|text| text.len() < 4096 && !text.contains('\0')) {
                self.graph.metadata.insert(name.clone(), text.to_owned());
            }
        }
        Ok(self.graph)
    }

    /// A node with one output, called after the tensor `at`.
    fn node(&mut self, at: i32, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.sparse_node(at, op, inputs)
    }

    /// As [`Importer::node`], with inputs that may be absent.
    fn sparse_node(&mut self, at: i32, op: Op, inputs: Vec<Option<ValueId>>) -> ValueId {
        let name = self.tensor_name(at);
        let name = self.fresh(&name);
        let output = self.graph.add_value(name.clone(), None, None);
        self.graph.add_node(Node { name, op, inputs, outputs: vec![output], precision: None });
        output
    }

    fn constant(&mut self, at: i32, tensor: Tensor) -> ValueId {
        let name = self.tensor_name(at);
        let name = self.fresh(&format!("{name}.constant"));
        self.graph.add_constant(name, tensor)
    }

    /// A list of numbers as a constant.
    fn numbers(&mut self, at: i32, values: &[i64]) -> Result<ValueId> {
        let tensor = Tensor::from_slice(&[values.len()], values)?;
        Ok(self.constant(at, tensor))
    }

    /// Whether a tensor is constant.
    fn is_constant(&self, at: i32) -> Result<bool> {
        let buffer = self.tensor(at)?.buffer as usize;
        Ok(self.model.buffers.get(buffer).is_some_and(|bytes| !bytes.is_empty()))
    }

    /// The elements of a constant tensor, as stored.
    fn stored(&mut self, at: i32) -> Result<Tensor> {
        let tensor = self.tensor(at)?;
        let extents = self.extents(at)?;
        let bytes: &[u8] = self.model.buffers.get(tensor.buffer as usize).map_or(&[], Vec::as_slice);
        let name = self.tensor_name(at);
        self.allowance = self.allowance.checked_sub(bytes.len()).ok_or_else(|| {
            TfliteError::import(
                "expected constants of about the file's size, found many tensors over one buffer",
            )
            .at(name.clone())
        })?;
        Tensor::from_bytes(dtype(tensor)?, &extents, bytes)
            .map_err(|error| TfliteError::malformed(error.to_string()).at(name))
    }

    /// The integers of a constant input such as a shape or a list of axes.
    fn integers(&mut self, at: i32) -> Result<Vec<i64>> {
        if !self.is_constant(at)? {
            let name = self.tensor_name(at);
            return Err(TfliteError::import(format!(
                "expected `{name}` to be constant, found a computed tensor"
            )));
        }
        Ok(self.stored(at)?.to_i64_vec())
    }

    /// The numbers of a tensor, in the file's order of axes.
    fn float(&mut self, at: i32) -> Result<ValueId> {
        let forms = self.forms[at as usize];
        if let Some(value) = forms.plain {
            return Ok(value);
        }
        let value = match forms.first {
            Some(first) => self.node(at, Op::Transpose { perm: TO_LAST.to_vec() }, &[first]),
            None => self.weights(at, None)?,
        };
        self.forms[at as usize].plain = Some(value);
        Ok(value)
    }

    /// The numbers of a tensor of four axes with its channels in front of space.
    fn first(&mut self, at: i32) -> Result<ValueId> {
        if let Some(value) = self.forms[at as usize].first {
            return Ok(value);
        }
        let plain = self.float(at)?;
        let value = self.node(at, Op::Transpose { perm: TO_FIRST.to_vec() }, &[plain]);
        self.forms[at as usize].first = Some(value);
        Ok(value)
    }

    /// Whether a tensor was computed with its channels in front of space.
    fn is_first(&self, at: i32) -> bool {
        self.forms[at as usize].first.is_some()
    }

    /// The numbers of a constant with its axes in another order.
    fn weights(&mut self, at: i32, perm: Option<&[usize]>) -> Result<ValueId> {
        if !self.is_constant(at)? {
            let name = self.tensor_name(at);
            return Err(TfliteError::malformed(format!(
                "expected `{name}` to be constant or made by an earlier operator"
            )));
        }
        let tensor = self.tensor(at)?;
        let mut stored = self.stored(at)?;
        let mut quantization = tensor.quantization.clone();
        if let Some(perm) = perm {
            stored = permuted(&stored, perm)?;
            if let Some(quantization) = &mut quantization {
                let place = perm.iter().position(|&axis| i32::try_from(axis) == Ok(quantization.axis));
                quantization.axis = place.unwrap_or(0) as i32;
            }
        }
        let value = self.constant(at, stored);
        match quantization {
            Some(quantization) => self.dequantized(at, value, dtype(tensor)?, &quantization),
            None => Ok(value),
        }
    }

    /// Scale and zero point as constants, and their axis.
    fn parameters(
        &mut self,
        at: i32,
        dtype: DType,
        quantization: &Quantization,
    ) -> Result<(ValueId, Option<ValueId>, usize)> {
        let Quantization { scales, zero_points, axis } = quantization;
        if !matches!(dtype, DType::I4 | DType::I8 | DType::U8 | DType::I16 | DType::I32) {
            return Err(TfliteError::import(format!(
                "expected codes of i4, i8, u8, i16 or i32, found {dtype}"
            )));
        }
        let zeros: Vec<i64> =
            if zero_points.is_empty() { vec![0; scales.len()] } else { zero_points.clone() };
        if zeros.len() != scales.len() {
            return Err(TfliteError::malformed(format!(
                "expected as many zero points as the {} scales, found {}",
                scales.len(),
                zeros.len()
            )));
        }
        if let Some(scale) = scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
            return Err(TfliteError::malformed(format!("expected positive scales, found {scale}")));
        }
        let extents: Vec<usize> = if scales.len() == 1 { Vec::new() } else { vec![scales.len()] };
        let scale = Tensor::from_slice(&extents, scales)?;
        // Biases have no zero point, and their type none that QuantizeLinear would take.
        let zero = match dtype {
            DType::I32 if zeros.iter().all(|&zero| zero == 0) => None,
            _ => Some(Tensor::from_i64(dtype, &extents, &zeros)?),
        };
        let scale = self.constant(at, scale);
        let zero = zero.map(|zero| self.constant(at, zero));
        Ok((scale, zero, usize::try_from(*axis).unwrap_or(0)))
    }

    fn dequantized(
        &mut self,
        at: i32,
        codes: ValueId,
        dtype: DType,
        quantization: &Quantization,
    ) -> Result<ValueId> {
        let (scale, zero, axis) = self.parameters(at, dtype, quantization)?;
        let op = Op::DequantizeLinear { axis, block: 0 };
        Ok(self.sparse_node(at, op, vec![Some(codes), Some(scale), zero]))
    }

    /// Numbers as the tensor `at` can hold them: rounded to its codes where it has some.
    fn through_codes(&mut self, at: i32, value: ValueId) -> Result<ValueId> {
        let tensor = self.tensor(at)?;
        let Some(quantization) = &tensor.quantization else { return Ok(value) };
        let to = dtype(tensor)?;
        if quantization.scales.len() != 1 || !matches!(to, DType::I8 | DType::U8 | DType::I16) {
            return Err(TfliteError::import(format!(
                "expected computed codes of i8, u8 or i16 with one scale, found {} of {to}",
                quantization.scales.len()
            )));
        }
        let (scale, zero, _) = self.parameters(at, to, quantization)?;
        let op = Op::QuantizeLinear { axis: 0, block: 0, to };
        let codes = self.sparse_node(at, op, vec![Some(value), Some(scale), zero]);
        let op = Op::DequantizeLinear { axis: 0, block: 0 };
        Ok(self.sparse_node(at, op, vec![Some(codes), Some(scale), zero]))
    }

    /// The tensor `at` was computed, with its axes as in the file.
    fn made(&mut self, at: i32, value: ValueId) -> Result<()> {
        let value = self.through_codes(at, value)?;
        self.set(at, Forms { plain: Some(value), first: None })
    }

    /// The tensor `at` was computed, with its channels in front of space.
    fn made_first(&mut self, at: i32, value: ValueId) -> Result<()> {
        let value = self.through_codes(at, value)?;
        self.set(at, Forms { plain: None, first: Some(value) })
    }

    fn set(&mut self, at: i32, forms: Forms) -> Result<()> {
        let place = &mut self.forms[at as usize];
        if place.plain.is_some() || place.first.is_some() {
            return Err(TfliteError::malformed("expected every tensor to be made once"));
        }
        *place = forms;
        Ok(())
    }
}

/// The element type of a tensor.
fn dtype(tensor: &file::Tensor) -> Result<DType> {
    Ok(match tensor.dtype {
        0 => DType::F32,
        1 => DType::F16,
        2 => DType::I32,
        3 => DType::U8,
        4 => DType::I64,
        6 => DType::Bool,
        7 => DType::I16,
        9 => DType::I8,
        10 => DType::F64,
        12 => DType::U64,
        15 => DType::U32,
        16 => DType::U16,
        17 => DType::I4,
        other => {
            return Err(TfliteError::import(format!(
                "element type {other} of the schema (texts, complex numbers, variants) has no meaning here"
            ))
            .at(tensor.name.clone()));
        }
    })
}

/// The same elements with their axes in another order.
fn permuted(tensor: &Tensor, perm: &[usize]) -> Result<Tensor> {
    let extents = tensor.extents();
    if extents.len() != perm.len() {
        return Err(TfliteError::malformed(format!(
            "expected weights of {} axes, found {extents:?}",
            perm.len()
        )));
    }
    let strides: Vec<usize> = (0..extents.len()).map(|axis| extents[axis + 1..].iter().product()).collect();
    let moved: Vec<usize> = perm.iter().map(|&axis| extents[axis]).collect();
    let mut order = Vec::with_capacity(tensor.elements());
    let mut index = vec![0usize; perm.len()];
    for _ in 0..tensor.elements() {
        order.push(index.iter().zip(perm).map(|(at, &axis)| at * strides[axis]).sum::<usize>());
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < moved[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    if tensor.dtype() == DType::F32 {
        let values = tensor.as_slice::<f32>()?;
        let values: Vec<f32> = order.iter().map(|&at| values[at]).collect();
        return Ok(Tensor::from_slice(&moved, &values)?);
    }
    let values = tensor.to_f64_vec();
    let values: Vec<f64> = order.iter().map(|&at| values[at]).collect();
    Ok(Tensor::from_f64(tensor.dtype(), &moved, &values)?)
}
