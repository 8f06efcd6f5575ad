//! Programs as they cross the boundary: an owned, serialisable mirror of `fewbit_program`.
//!
//! Owns the translation from the IR: which operators cross, under which names and with which attributes
//! (`docs/vendor/operators.md`). One form serves both ways to a plugin: in this process [`View`](crate::view::View)
//! lends it as C structs, to a worker it travels as bytes beside the shared memory that holds its constants.

mod operators;

use fewbit_core::CoreError;
use fewbit_core::backend::CompileOptions;
use fewbit_core::error::CoreErrorKind;
use fewbit_core::ir::{DType, Graph, Node as IrNode, Op, Tensor, UnaryOp, Value as IrValue, ValueId};
use fewbit_core::quant::{Granularity, QuantParams, convert};
use fewbit_core::reference::unary_function;
use serde::{Deserialize, Serialize};

use fewbit_abi as abi;

/// The version of `docs/vendor/operators.md`.
pub(crate) const OPERATORS_VERSION: u32 = 1;
/// The version of the program's form.
pub(crate) const IR_VERSION: u32 = 1;
/// Where constants begin in the memory they share.
const ALIGNMENT: usize = 64;

/// A program without the bytes of its constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<u32>,
    pub(crate) outputs: Vec<u32>,
    pub(crate) options: Vec<Attribute>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) flags: u32,
    pub(crate) dims: Vec<i64>,
    pub(crate) code: u8,
    pub(crate) bits: u8,
    pub(crate) quant: Option<Quant>,
    /// Where the bytes lie among the constants.
    pub(crate) constant: Option<Span>,
}

/// A range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quant {
    pub(crate) scheme: u8,
    pub(crate) granularity: u8,
    pub(crate) axis: i16,
    pub(crate) block_size: u32,
    pub(crate) scales: Vec<f32>,
    /// Empty where all are 0.
    pub(crate) zero_points: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) domain: String,
    pub(crate) op_type: String,
    pub(crate) inputs: Vec<u32>,
    pub(crate) outputs: Vec<u32>,
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) value: Items,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Items {
    Int(i64),
    Float(f64),
    Text(String),
    Ints(Vec<i64>),
}

/// The constants of a program, in the order of their spans.
pub(crate) struct Constants {
    tensors: Vec<(Span, Tensor)>,
    /// Bytes from the first to the end of the last.
    pub(crate) bytes: usize,
}

impl Constants {
    /// The constant that lies at `span`.
    pub(crate) fn at(&self, span: Span) -> Option<&[u8]> {
        let at = self.tensors.binary_search_by_key(&span.offset, |(other, _)| other.offset).ok()?;
        Some(self.tensors[at].1.bytes())
    }

    /// Copies all of them to where their spans say.
    pub(crate) fn copy_into(&self, memory: &mut [u8]) {
        for (span, tensor) in &self.tensors {
            let at = span.offset as usize;
            memory[at..at + tensor.bytes().len()].copy_from_slice(tensor.bytes());
        }
    }
}

/// A program, its constants, and for each node of the graph its place in the program.
pub(crate) struct Translated {
    pub(crate) program: Program,
    pub(crate) constants: Constants,
    /// Per node of the graph in order; `None` where the node does not cross.
    pub(crate) places: Vec<Option<usize>>,
}

impl Translated {
    /// Translates the nodes that can cross; what others produce and these read becomes an input.
    pub(crate) fn of(graph: &Graph, options: &CompileOptions) -> fewbit_core::error::Result<Self> {
        Translator::new(graph).translate(options)
    }
}

struct Translator<'g> {
    graph: &'g Graph,
    /// Per value of the graph, its number in the program.
    numbers: Vec<Option<u32>>,
    values: Vec<Value>,
    constants: Vec<(Span, Tensor)>,
    end: usize,
}

impl<'g> Translator<'g> {
    fn new(graph: &'g Graph) -> Self {
        Self {
            graph,
            numbers: vec![None; graph.value_ids().len()],
            values: Vec::new(),
            constants: Vec::new(),
            end: 0,
        }
    }

    fn translate(mut self, options: &CompileOptions) -> fewbit_core::error::Result<Translated> {
        let mut nodes = Vec::new();
        let mut places = Vec::new();
        for &id in &self.graph.inputs {
            let number = self.value(id)?;
            self.values[number as usize].flags |= abi::V_INPUT;
        }
        for (_, node) in self.graph.nodes() {
            match operators::describe(self.graph, node) {
                Some(described) => {
                    places.push(Some(nodes.len()));
                    nodes.push(self.node(node, described)?);
                }
                None => places.push(None),
            }
        }
        let mut outputs = Vec::new();
        for &id in &self.graph.outputs {
            let number = self.value(id)?;
            self.values[number as usize].flags |= abi::V_OUTPUT;
            outputs.push(number);
        }
        let mut produced = vec![false; self.values.len()];
        for &output in nodes.iter().flat_map(|node: &Node| &node.outputs) {
            produced[output as usize] = true;
        }
        for (value, produced) in self.values.iter_mut().zip(produced) {
            if !produced && value.constant.is_none() {
                value.flags |= abi::V_INPUT;
            }
        }
        // The graph's inputs first, in their order, then what nodes that did not cross would have produced.
        let given = self.graph.inputs.iter().filter_map(|id| self.numbers[id.index()]);
        let mut inputs: Vec<u32> = given.collect();
        for (number, value) in self.values.iter().enumerate() {
            if value.flags & abi::V_INPUT != 0 && !inputs.contains(&(number as u32)) {
                inputs.push(number as u32);
            }
        }
        let option = |name: &str, value: i64| Attribute { name: name.to_owned(), value: Items::Int(value) };
        let program = Program {
            values: self.values,
            nodes,
            inputs,
            outputs,
            options: vec![
                option("threads", i64::try_from(options.threads).unwrap_or(i64::MAX)),
                option("profile", i64::from(options.profile)),
            ],
        };
        Ok(Translated { program, constants: Constants { tensors: self.constants, bytes: self.end }, places })
    }

    fn node(&mut self, node: &IrNode, described: operators::Described) -> fewbit_core::error::Result<Node> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            inputs.push(match input {
                Some(id) => self.value(*id)?,
                None => abi::ABSENT,
            });
        }
        let outputs = node.outputs.iter().map(|&id| self.value(id)).collect::<Result<Vec<_>, _>>()?;
        let mut described = described;
        if let Some(function) = described.table {
            inputs.push(self.table(node, function)?);
        }
        if let Some(precision) = node.precision {
            described
                .attributes
                .push(Attribute { name: "precision".to_owned(), value: Items::Text(precision.to_string()) });
        }
        Ok(Node {
            name: node.name.clone(),
            domain: described.domain.to_owned(),
            op_type: described.op_type,
            inputs,
            outputs,
            attributes: described.attributes,
        })
    }

    fn value(&mut self, id: ValueId) -> fewbit_core::error::Result<u32> {
        if let Some(number) = self.numbers[id.index()] {
            return Ok(number);
        }
        let value = self.graph.value(id);
        let dtype = value.dtype.ok_or_else(|| untyped(value))?;
        let dims = match (&value.shape, &value.constant) {
            (_, Some(tensor)) => tensor.extents().iter().map(|&extent| extent as i64).collect(),
            (Some(shape), None) => {
                shape.dims().iter().map(|dim| dim.fixed().map_or(-1, |extent| extent as i64)).collect()
            }
            (None, None) => return Err(untyped(value)),
        };
        let number = self.push(value.name.clone(), dtype, dims, value.quant.as_ref(), value.constant.clone());
        self.numbers[id.index()] = Some(number);
        Ok(number)
    }

    fn push(
        &mut self,
        name: String,
        dtype: DType,
        dims: Vec<i64>,
        quant: Option<&QuantParams>,
        constant: Option<Tensor>,
    ) -> u32 {
        let (code, bits) = dtype_code(dtype);
        let mut flags = if dtype.bits() < 8 { abi::V_PACKED } else { 0 };
        let constant = constant.map(|tensor| {
            flags |= abi::V_CONST;
            let span = Span { offset: self.end as u64, len: tensor.bytes().len() as u64 };
            // At least one byte each, so that no two spans begin at the same place.
            self.end = (self.end + tensor.bytes().len().max(1)).next_multiple_of(ALIGNMENT);
            self.constants.push((span, tensor));
            span
        });
        self.values.push(Value { name, flags, dims, code, bits, quant: quant.map(quantization), constant });
        self.values.len() as u32 - 1
    }

    /// The constant that holds a function of one 8-bit element.
    fn table(&mut self, node: &IrNode, function: UnaryOp) -> fewbit_core::error::Result<u32> {
        let broken = || {
            CoreError::new(CoreErrorKind::Structure, "expected a function of one quantized value")
                .at(&node.name)
        };
        let side = |id: Option<ValueId>| -> Option<(f32, i32, DType)> {
            let value = self.graph.value(id?);
            let (scale, zero) = value.quant.as_ref()?.tensor_wide()?;
            Some((scale, zero, value.dtype?))
        };
        let x = side(node.input(0)).ok_or_else(broken)?;
        let y = side(node.outputs.first().copied()).ok_or_else(broken)?;
        let range = |dtype| if dtype == DType::I8 { convert::CodeRange::I8 } else { convert::CodeRange::U8 };
        let function = |real| unary_function(function, real);
        let codes = convert::table(range(x.2), x.0, x.1, function, y.0, y.1, range(y.2));
        let bytes: Vec<u8> = codes.iter().map(|&code| code as u8).collect();
        let tensor = Tensor::from_bytes(y.2, &[bytes.len()], &bytes)?;
        Ok(self.push(format!("{}.table", node.name), y.2, vec![bytes.len() as i64], None, Some(tensor)))
    }
}

fn untyped(value: &IrValue) -> CoreError {
    CoreError::new(CoreErrorKind::Structure, "expected a value of known type and rank").at(&value.name)
}

/// Whether a unary node on 8-bit values travels as a table.
fn is_table(graph: &Graph, node: &IrNode) -> bool {
    let eight = |id: Option<ValueId>| {
        id.is_some_and(|id| {
            let value = graph.value(id);
            matches!(value.dtype, Some(DType::U8 | DType::I8))
                && value.quant.as_ref().is_some_and(|quant| quant.tensor_wide().is_some())
        })
    };
    matches!(node.op, Op::Unary(_)) && eight(node.input(0)) && eight(node.outputs.first().copied())
}

fn quantization(quant: &QuantParams) -> Quant {
    let (granularity, axis, block_size) = match quant.granularity {
        Granularity::PerTensor => (abi::G_TENSOR, 0, 0),
        Granularity::PerChannel { axis } => (abi::G_CHANNEL, axis, 0),
        Granularity::PerBlock { axis, size } => (abi::G_BLOCK, axis, size),
    };
    let zero = quant.zero_points.iter().all(|&zero| zero == 0);
    Quant {
        scheme: if zero { abi::Q_SYMMETRIC } else { abi::Q_AFFINE },
        granularity,
        axis: i16::try_from(axis).unwrap_or(i16::MAX),
        block_size: u32::try_from(block_size).unwrap_or(u32::MAX),
        scales: quant.scales.clone(),
        zero_points: if zero { Vec::new() } else { quant.zero_points.clone() },
    }
}

/// DLPack's code and bits.
pub(crate) fn dtype_code(dtype: DType) -> (u8, u8) {
    let bits = dtype.bits() as u8;
    match dtype {
        DType::F32 | DType::F16 | DType::F64 => (abi::CODE_FLOAT, bits),
        DType::Bf16 => (abi::CODE_BFLOAT, bits),
        DType::U4 | DType::U8 | DType::U16 | DType::U32 | DType::U64 => (abi::CODE_UINT, bits),
        DType::Bool => (abi::CODE_BOOL, 8),
        _ => (abi::CODE_INT, bits),
    }
}

#[cfg(test)]
mod tests;
