//! The format: a TFLite file as plain data, read and written.
//!
//! Fields and their places are those of TensorFlow's `lite/schema/schema.fbs`, version 3. What this crate does not use
//! (sparsity, control flow's further subgraphs, variables, control dependencies) is not kept.

mod options;

use std::collections::HashMap;

use crate::error::{Result, TfliteError, TfliteErrorKind};
use crate::flat::{Field, Fields, Flat, Table, write};
pub use options::Options;

/// What a file begins with, behind the offset of its root.
const IDENTIFIER: &str = "TFL3";
/// The version of the schema.
const VERSION: u32 = 3;
/// What readers from before there were 127 operators find for newer ones.
const PLACEHOLDER: i8 = 127;
/// An input that is absent.
pub const ABSENT: i32 = -1;

/// A whole file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// What it says of itself.
    pub description: String,
    /// Its graphs; the first is what runs.
    pub graphs: Vec<Graph>,
    /// Bytes of constants; the first is empty.
    pub buffers: Vec<Vec<u8>>,
    /// Named bytes: name and buffer.
    pub metadata: Vec<(String, u32)>,
    /// How the graphs are called.
    pub signatures: Vec<Signature>,
}

/// One graph.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// Its tensors.
    pub tensors: Vec<Tensor>,
    /// Inputs by tensor.
    pub inputs: Vec<i32>,
    /// Outputs by tensor.
    pub outputs: Vec<i32>,
    /// Operators in the order in which they run.
    pub operators: Vec<Operator>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its extents.
    pub shape: Vec<i32>,
    /// Its element type: a number of the schema's `TensorType`.
    pub dtype: i8,
    /// Its bytes; the first buffer where it is computed.
    pub buffer: u32,
    /// How its codes stand for numbers.
    pub quantization: Option<Quantization>,
}

/// Scales and zero points: one of each, or one for each index of an axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Quantization {
    /// Scales.
    pub scales: Vec<f32>,
    /// Zero points.
    pub zero_points: Vec<i64>,
    /// The axis.
    pub axis: i32,
}

/// One operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Operator {
    /// What it computes.
    pub code: Code,
    /// Inputs by tensor, [`ABSENT`] where there is none.
    pub inputs: Vec<i32>,
    /// Outputs by tensor.
    pub outputs: Vec<i32>,
    /// What it says of itself.
    pub options: Options,
}

/// What an operator computes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Code {
    /// A number of the schema's `BuiltinOperator`.
    pub builtin: i32,
    /// The name of an operator that is not the schema's.
    pub custom: Option<String>,
    /// Its version.
    pub version: i32,
}

/// A way to call a graph.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Signature {
    /// Its name.
    pub key: String,
    /// Names of inputs and their tensors.
    pub inputs: Vec<(String, u32)>,
    /// Names of outputs and their tensors.
    pub outputs: Vec<(String, u32)>,
    /// The graph.
    pub graph: u32,
}

impl Model {
    /// Reads a file.
    ///
    /// Every offset is checked, and what is copied out of a file is at most sixteen times as large as it.
    ///
    /// # Errors
    /// [`TfliteErrorKind::Malformed`] for other bytes, [`TfliteErrorKind::Version`] for another version.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let flat = Flat::new(bytes, IDENTIFIER)?;
        let root = flat.root()?;
        let version = root.u32(0)?;
        if version != VERSION {
            let message = format!("expected version {VERSION} of the schema, found {version}");
            return Err(TfliteError::new(TfliteErrorKind::Version, message));
        }
        let codes = root.tables(1)?.iter().map(read_code).collect::<Result<Vec<_>>>()?;
        let buffers =
            root.tables(4)?.iter().map(|table| read_buffer(table, &flat)).collect::<Result<Vec<_>>>()?;
        let graphs = root
            .tables(2)?
            .iter()
            .map(|table| read_graph(table, &codes, buffers.len()))
            .collect::<Result<_>>()?;
        let metadata =
            root.tables(6)?.iter().map(|table| Ok((table.text(0)?, table.u32(1)?))).collect::<Result<_>>()?;
        let signatures = root.tables(7)?.iter().map(read_signature).collect::<Result<_>>()?;
        Ok(Self { description: root.text(3)?, graphs, buffers, metadata, signatures })
    }

    /// The file's bytes: the same for the same model.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut codes: Vec<&Code> = Vec::new();
        let mut places = HashMap::new();
        for code in self.graphs.iter().flat_map(|graph| &graph.operators).map(|operator| &operator.code) {
            places.entry(code).or_insert_with(|| {
                codes.push(code);
                codes.len() as u32 - 1
            });
        }
        let root = vec![
            (0, Field::U32(VERSION)),
            (1, Field::Tables(codes.into_iter().map(code_fields).collect())),
            (2, Field::Tables(self.graphs.iter().map(|graph| graph_fields(graph, &places)).collect())),
            (3, Field::Text(&self.description)),
            (4, Field::Tables(self.buffers.iter().map(|bytes| buffer_fields(bytes)).collect())),
            (6, Field::Tables(self.metadata.iter().map(named_fields).collect())),
            (7, Field::Tables(self.signatures.iter().map(signature_fields).collect())),
        ];
        write(IDENTIFIER, root)
    }
}

fn read_code(table: &Table<'_, '_>) -> Result<Code> {
    let custom = table.text(1)?;
    Ok(Code {
        // Files from before there were 127 operators have the number in the older field only.
        builtin: table.i32_or(3, 0)?.max(i32::from(table.i8(0)?)),
        custom: (!custom.is_empty()).then_some(custom),
        version: table.i32_or(2, 1)?,
    })
}

fn read_buffer(table: &Table<'_, '_>, flat: &Flat<'_>) -> Result<Vec<u8>> {
    let (offset, size) = (table.u64(1)?, table.u64(2)?);
    if offset <= 1 {
        return Ok(table.blob(0)?.unwrap_or_default().to_vec());
    }
    // Data of files above 2 GB lies behind the flatbuffer.
    let range = usize::try_from(offset)
        .ok()
        .zip(usize::try_from(size).ok())
        .and_then(|(at, size)| flat.bytes().get(at..at.checked_add(size)?));
    range.map(<[u8]>::to_vec).ok_or_else(|| {
        TfliteError::malformed(format!(
            "expected a buffer inside the file, found bytes {offset} to {}",
            offset.saturating_add(size)
        ))
    })
}

fn read_graph(table: &Table<'_, '_>, codes: &[Code], buffers: usize) -> Result<Graph> {
    let tensors =
        table.tables(0)?.iter().map(|table| read_tensor(table, buffers)).collect::<Result<Vec<_>>>()?;
    let inside = |tensors: &[Tensor], list: Vec<i32>, absent: bool| -> Result<Vec<i32>> {
        let wrong = list.iter().find(|&&at| {
            !(absent && at == ABSENT) && usize::try_from(at).map_or(true, |at| at >= tensors.len())
        });
        match wrong {
            Some(at) => Err(TfliteError::malformed(format!(
                "expected one of {} tensors, found number {at}",
                tensors.len()
            ))),
            None => Ok(list),
        }
    };
    let operators = table
        .tables(3)?
        .iter()
        .map(|table| {
            let code = table.u32(0)?;
            let code = codes.get(code as usize).ok_or_else(|| {
                TfliteError::malformed(format!(
                    "expected one of {} operator codes, found number {code}",
                    codes.len()
                ))
            })?;
            Ok(Operator {
                code: code.clone(),
                inputs: inside(&tensors, table.i32s(1)?, true)?,
                outputs: inside(&tensors, table.i32s(2)?, false)?,
                options: Options::read(table.u8(3)?, table.table(4)?)?,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Graph {
        name: table.text(4)?,
        inputs: inside(&tensors, table.i32s(1)?, false)?,
        outputs: inside(&tensors, table.i32s(2)?, false)?,
        tensors,
        operators,
    })
}

fn read_tensor(table: &Table<'_, '_>, buffers: usize) -> Result<Tensor> {
    let buffer = table.u32(2)?;
    if buffer as usize >= buffers.max(1) {
        return Err(TfliteError::malformed(format!(
            "expected one of {buffers} buffers, found number {buffer}"
        )));
    }
    let quantization = table.table(4)?.map(|table| -> Result<Quantization> {
        Ok(Quantization { scales: table.f32s(2)?, zero_points: table.i64s(3)?, axis: table.i32_or(6, 0)? })
    });
    Ok(Tensor {
        name: table.text(3)?,
        shape: table.i32s(0)?,
        dtype: table.i8(1)?,
        buffer,
        quantization: quantization.transpose()?.filter(|parameters| !parameters.scales.is_empty()),
    })
}

fn read_signature(table: &Table<'_, '_>) -> Result<Signature> {
    let list = |slot| -> Result<Vec<(String, u32)>> {
        table.tables(slot)?.iter().map(|entry| Ok((entry.text(0)?, entry.u32(1)?))).collect()
    };
    Ok(Signature { key: table.text(2)?, inputs: list(0)?, outputs: list(1)?, graph: table.u32(4)? })
}

fn code_fields(code: &Code) -> Fields<'_> {
    // Readers from before there were 127 operators look at the older field; newer ones take the larger of both.
    let mut fields = vec![
        (0, Field::I8(i8::try_from(code.builtin).unwrap_or(PLACEHOLDER))),
        (2, Field::I32(code.version)),
        (3, Field::I32(code.builtin)),
    ];
    fields.extend(code.custom.as_deref().map(|name| (1, Field::Text(name))));
    fields
}

fn buffer_fields(bytes: &[u8]) -> Fields<'_> {
    if bytes.is_empty() { Vec::new() } else { vec![(0, Field::Bytes(bytes))] }
}

fn graph_fields<'a>(graph: &'a Graph, codes: &HashMap<&Code, u32>) -> Fields<'a> {
    let operators = graph.operators.iter().map(|operator| {
        let mut fields = vec![
            (0, Field::U32(codes[&operator.code])),
            (1, Field::I32s(&operator.inputs)),
            (2, Field::I32s(&operator.outputs)),
        ];
        if let Some(options) = operator.options.fields() {
            fields.extend([(3, Field::U8(operator.options.number())), (4, Field::Table(options))]);
        }
        fields
    });
    vec![
        (0, Field::Tables(graph.tensors.iter().map(tensor_fields).collect())),
        (1, Field::I32s(&graph.inputs)),
        (2, Field::I32s(&graph.outputs)),
        (3, Field::Tables(operators.collect())),
        (4, Field::Text(&graph.name)),
    ]
}

fn tensor_fields(tensor: &Tensor) -> Fields<'_> {
    let mut fields = vec![
        (0, Field::I32s(&tensor.shape)),
        (1, Field::I8(tensor.dtype)),
        (2, Field::U32(tensor.buffer)),
        (3, Field::Text(&tensor.name)),
        // A shape of no extents is that of a number, not an unknown one.
        (8, Field::U8(1)),
    ];
    if let Some(Quantization { scales, zero_points, axis }) = &tensor.quantization {
        let parameters =
            vec![(2, Field::F32s(scales)), (3, Field::I64s(zero_points)), (6, Field::I32(*axis))];
        fields.push((4, Field::Table(parameters)));
    }
    fields
}

fn named_fields((name, number): &(String, u32)) -> Fields<'_> {
    vec![(0, Field::Text(name)), (1, Field::U32(*number))]
}

fn signature_fields(signature: &Signature) -> Fields<'_> {
    vec![
        (0, Field::Tables(signature.inputs.iter().map(named_fields).collect())),
        (1, Field::Tables(signature.outputs.iter().map(named_fields).collect())),
        (2, Field::Text(&signature.key)),
        (4, Field::U32(signature.graph)),
    ]
}
