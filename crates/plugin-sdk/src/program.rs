//! A program as the host hands it over: values, nodes, attributes, options.
//!
//! Everything is checked once, when the view is made: pointers, lengths, texts, indices, the order of nodes. What the
//! view then shows is sound. It borrows from the host and ends with the call; keep copies of what you need.

#![expect(unsafe_code, reason = "reads the host's structs")]

use std::fmt;

use fewbit_abi as abi;

use crate::error::{Error, Result, Why};
use crate::raw;

/// An element type: compare with the constants, which also work as patterns.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DType {
    code: u8,
    bits: u8,
}

impl DType {
    /// Signed, 4 bits, two in a byte.
    pub const I4: DType = DType { code: abi::CODE_INT, bits: 4 };
    /// Signed, 8 bits.
    pub const I8: DType = DType { code: abi::CODE_INT, bits: 8 };
    /// Signed, 16 bits.
    pub const I16: DType = DType { code: abi::CODE_INT, bits: 16 };
    /// Signed, 32 bits.
    pub const I32: DType = DType { code: abi::CODE_INT, bits: 32 };
    /// Signed, 64 bits.
    pub const I64: DType = DType { code: abi::CODE_INT, bits: 64 };
    /// Unsigned, 8 bits.
    pub const U8: DType = DType { code: abi::CODE_UINT, bits: 8 };
    /// Unsigned, 16 bits.
    pub const U16: DType = DType { code: abi::CODE_UINT, bits: 16 };
    /// IEEE 754, 16 bits.
    pub const F16: DType = DType { code: abi::CODE_FLOAT, bits: 16 };
    /// IEEE 754, 32 bits.
    pub const F32: DType = DType { code: abi::CODE_FLOAT, bits: 32 };
    /// IEEE 754, 64 bits.
    pub const F64: DType = DType { code: abi::CODE_FLOAT, bits: 64 };
    /// bfloat16.
    pub const BF16: DType = DType { code: abi::CODE_BFLOAT, bits: 16 };
    /// Truth values, a byte each.
    pub const BOOL: DType = DType { code: abi::CODE_BOOL, bits: 8 };

    pub(crate) const fn from_parts(code: u8, bits: u8) -> DType {
        DType { code, bits }
    }

    /// DLPack's type code.
    pub fn code(self) -> u8 {
        self.code
    }

    /// Bits of an element in storage.
    pub fn bits(self) -> u32 {
        self.bits.into()
    }

    /// Bytes that `elements` take, the last one filled up; `None` where that is more than memory can have.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        Some(elements.checked_mul(usize::from(self.bits))?.div_ceil(8))
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            abi::CODE_INT => write!(f, "i{}", self.bits),
            abi::CODE_UINT => write!(f, "u{}", self.bits),
            abi::CODE_FLOAT => write!(f, "f{}", self.bits),
            abi::CODE_BFLOAT => write!(f, "bf{}", self.bits),
            abi::CODE_BOOL => f.write_str("bool"),
            other => write!(f, "type {other} of {} bits", self.bits),
        }
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where zero may lie and what scales may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Any zero point.
    Affine,
    /// Every zero point is 0.
    Symmetric,
    /// Scales are powers of two.
    Pow2,
    /// A microscaling format.
    Mx,
    /// A number of a newer header: refuse it.
    Other(u8),
}

/// What shares a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granularity {
    /// All elements.
    Tensor,
    /// Those of one slice of the axis.
    Channel {
        /// The axis.
        axis: usize,
    },
    /// Those of one run along the axis.
    Block {
        /// The axis.
        axis: usize,
        /// Elements of a run.
        size: u32,
    },
    /// A number of a newer header: refuse it.
    Other(u8),
}

/// How codes stand for reals: `real = scale * (code - zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quant<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// What shares a scale.
    pub granularity: Granularity,
    /// The scales: one for the whole tensor, or one per channel or block.
    pub scales: &'a [f32],
    /// The zero points: as many as scales, or none where all are 0.
    pub zero_points: &'a [i32],
}

impl Quant<'_> {
    /// Scale and zero point of an activation: one for the whole tensor.
    ///
    /// # Errors
    /// A refusal by scheme or granularity where there are several, or of another scheme.
    pub fn per_tensor(&self) -> Result<(f32, i32)> {
        if !matches!(self.scheme, Scheme::Affine | Scheme::Symmetric) {
            return Err(Error::unsupported(
                Why::SCHEME,
                format!("scheme {:?} is not supported", self.scheme),
            ));
        }
        if self.granularity != Granularity::Tensor {
            return Err(Error::unsupported(Why::GRANULARITY, "expected one scale for the whole tensor"));
        }
        Ok((self.scales[0], self.zero_point(0)))
    }

    /// The zero point that goes with the scale of that index.
    pub fn zero_point(&self, index: usize) -> i32 {
        self.zero_points.get(index).copied().unwrap_or(0)
    }
}

/// A value of a program.
#[derive(Debug, Clone)]
pub struct Value<'a> {
    /// Unique in the program.
    pub name: &'a str,
    /// Extents, outermost first; -1 where one is known only at run.
    pub dims: &'a [i64],
    /// Type in storage.
    pub dtype: DType,
    /// `None`: the elements are plain numbers.
    pub quant: Option<Quant<'a>>,
    /// The elements of a constant: dense, row-major, exactly as many bytes as extents and type say.
    pub data: Option<&'a [u8]>,
    /// The header's `FEWBIT_V_*`.
    pub flags: u32,
}

impl Value<'_> {
    /// Whether `run` is given it.
    pub fn is_input(&self) -> bool {
        self.flags & abi::V_INPUT != 0
    }

    /// Whether `run` gives it.
    pub fn is_output(&self) -> bool {
        self.flags & abi::V_OUTPUT != 0
    }

    /// Whether its elements are known now.
    pub fn is_constant(&self) -> bool {
        self.data.is_some()
    }

    /// Number of elements, where every extent is known.
    pub fn elements(&self) -> Option<usize> {
        elements(self.dims)
    }

    /// Number of bytes, where every extent is known.
    pub fn byte_len(&self) -> Option<usize> {
        self.dtype.bytes(self.elements()?)
    }

    /// Extents, where all are known.
    pub fn shape(&self) -> Option<Vec<usize>> {
        self.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect()
    }
}

/// Product of extents; `None` where one is not known or the product is too large.
pub(crate) fn elements(dims: &[i64]) -> Option<usize> {
    // Zero first: an empty tensor may have extents whose product would not fit.
    if dims.contains(&0) {
        return dims.iter().all(|&dim| dim >= 0).then_some(0);
    }
    dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))
}

/// An attribute's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attribute<'a> {
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A text.
    Text(&'a str),
    /// Whole numbers.
    Ints(&'a [i64]),
    /// Real numbers.
    Floats(&'a [f64]),
    /// A kind of a newer header: refuse it.
    Other(u32),
}

/// A node of a program.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    /// Its place in the program.
    pub index: usize,
    /// Empty for ONNX's operators, `fewbit` for the others.
    pub domain: &'a str,
    /// The operator.
    pub op_type: &'a str,
    /// Version of the operator's meaning.
    pub op_version: u32,
    /// Unique in the program.
    pub name: &'a str,
    /// Values read, by index into [`Program::values`]; `None` where one is left out.
    pub inputs: Vec<Option<u32>>,
    /// Values produced.
    pub outputs: &'a [u32],
    /// Attributes by name.
    pub attributes: Vec<(&'a str, Attribute<'a>)>,
}

macro_rules! typed_attribute {
    ($($(#[$doc:meta])* $name:ident, $variant:ident, $type:ty, $kind:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// A refusal by attribute where it is absent or of another kind.
            pub fn $name(&self, name: &str) -> Result<$type> {
                match self.attribute(name) {
                    Some(Attribute::$variant(value)) => Ok(value),
                    found => Err(self.unsupported(
                        Why::ATTRIBUTE,
                        format!("expected attribute `{name}` as {}, found {found:?}", $kind),
                    )),
                }
            }
        )*
    };
}

impl<'a> Node<'a> {
    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<Attribute<'a>> {
        self.attributes.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    typed_attribute! {
        /// The whole number of that name.
        int, Int, i64, "a whole number";
        /// The real number of that name.
        float, Float, f64, "a real number";
        /// The text of that name.
        text, Text, &'a str, "a text";
        /// The whole numbers of that name.
        ints, Ints, &'a [i64], "whole numbers";
        /// The real numbers of that name.
        floats, Floats, &'a [f64], "real numbers";
    }

    /// The first attribute that is not among `known`: refuse a node that has one, for it may change its meaning.
    pub fn unknown(&self, known: &[&str]) -> Option<&'a str> {
        self.attributes.iter().map(|(name, _)| *name).find(|name| !known.contains(name))
    }

    /// Refuses the node where it has an attribute that is not among `known`.
    ///
    /// # Errors
    /// A refusal by attribute that names it.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        match self.unknown(known) {
            None => Ok(()),
            Some(name) => Err(self.unsupported(Why::ATTRIBUTE, format!("attribute `{name}` is not known"))),
        }
    }

    /// A refusal of this node.
    pub fn unsupported(&self, why: Why, message: impl fmt::Display) -> Error {
        Error::unsupported(why, format!("{} `{}`: {message}", self.op_type, self.name)).at_node(self.index)
    }
}

/// A program.
#[derive(Debug, Clone)]
pub struct Program<'a> {
    values: Vec<Value<'a>>,
    nodes: Vec<Node<'a>>,
    inputs: &'a [u32],
    outputs: &'a [u32],
    options: Vec<(&'a str, Attribute<'a>)>,
}

impl<'a> Program<'a> {
    /// Every value; indices elsewhere are places in this list.
    pub fn values(&self) -> &[Value<'a>] {
        &self.values
    }

    /// The value of that index, as nodes and lists of this program give them.
    ///
    /// # Panics
    /// For an index that is none of theirs.
    pub fn value(&self, index: u32) -> &Value<'a> {
        &self.values[index as usize]
    }

    /// Nodes, producers before readers.
    pub fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    /// Values that `run` is given, in this order.
    pub fn inputs(&self) -> &'a [u32] {
        self.inputs
    }

    /// Values that `run` gives, in this order.
    pub fn outputs(&self) -> &'a [u32] {
        self.outputs
    }

    /// The whole number of that name among the options.
    pub fn option_int(&self, name: &str) -> Option<i64> {
        match self.options.iter().find(|(found, _)| *found == name) {
            Some((_, Attribute::Int(value))) => Some(*value),
            _ => None,
        }
    }

    /// The view of a program.
    ///
    /// # Safety
    /// `program` is null or points to a program as the header describes it, unchanged for `'a`.
    pub(crate) unsafe fn new(program: *const abi::Program) -> Result<Program<'a>> {
        // SAFETY: the caller's promise, here and for every pointer that the structs hold.
        let raw = unsafe { raw::complete(program, "program")? };
        if raw.ir_version != 1 {
            return Err(Error::unsupported(
                Why::OP,
                format!("expected a program of version 1, found version {}", raw.ir_version),
            ));
        }
        // SAFETY: as above.
        let (values, nodes, inputs, outputs) = unsafe {
            (
                raw::slice(raw.values, raw.n_values as usize, "program.values")?,
                raw::slice(raw.nodes, raw.n_nodes as usize, "program.nodes")?,
                raw::slice(raw.inputs, raw.n_inputs as usize, "program.inputs")?,
                raw::slice(raw.outputs, raw.n_outputs as usize, "program.outputs")?,
            )
        };
        // SAFETY: as above.
        let options = unsafe { attributes(raw.options, raw.n_options, "option")? };
        // SAFETY: as above.
        let values: Vec<Value<'a>> = values.iter().map(|&v| unsafe { value(v) }).collect::<Result<_>>()?;
        let nodes = nodes
            .iter()
            .enumerate()
            // SAFETY: as above.
            .map(|(index, &n)| unsafe { node(n, index) }.map_err(|error| error.at_node(index)))
            .collect::<Result<_>>()?;
        let program = Program { values, nodes, inputs, outputs, options };
        program.check()?;
        Ok(program)
    }

    /// Indices are in range, every value has one producer, and producers come before readers.
    fn check(&self) -> Result<()> {
        let mut known: Vec<bool> = self.values.iter().map(Value::is_constant).collect();
        let place = |index: u32| {
            Some(index as usize).filter(|&index| index < self.values.len()).ok_or_else(|| {
                Error::invalid(format!("there is no value {index}, only {}", self.values.len()))
            })
        };
        let produce = |index: u32, known: &mut Vec<bool>| {
            let place = place(index)?;
            if std::mem::replace(&mut known[place], true) {
                return Err(Error::invalid(format!("value {index} is produced twice")));
            }
            Ok(())
        };
        for &input in self.inputs {
            produce(input, &mut known)?;
        }
        for node in &self.nodes {
            for &input in node.inputs.iter().flatten() {
                if !known[place(input)?] {
                    return Err(Error::invalid(format!("value {input} is read before it is produced"))
                        .at_node(node.index));
                }
            }
            for &output in node.outputs {
                produce(output, &mut known).map_err(|error| error.at_node(node.index))?;
            }
        }
        for &output in self.outputs {
            if !known[place(output)?] {
                return Err(Error::invalid(format!("value {output} is an output and nothing produces it")));
            }
        }
        Ok(())
    }
}

/// # Safety
/// As [`Program::new`].
unsafe fn value<'a>(pointer: *const abi::Value) -> Result<Value<'a>> {
    // SAFETY: the caller's promise, here and below.
    let raw = unsafe { raw::complete(pointer, "value")? };
    // SAFETY: as above.
    let name = unsafe { raw::text(raw.name, "value.name")? };
    // SAFETY: as above.
    let dims = unsafe { raw::slice(raw.dims, raw.rank as usize, "value.dims")? };
    let fail = |message: String| Err(Error::invalid(format!("value `{name}`: {message}")));
    if let Some(dim) = dims.iter().find(|&&dim| dim < -1) {
        return fail(format!("extent {dim}"));
    }
    let known = abi::V_INPUT | abi::V_OUTPUT | abi::V_CONST | abi::V_PACKED;
    if raw.flags & !known != 0 {
        return Err(Error::unsupported(
            Why::DTYPE,
            format!("value `{name}` has unknown flags {:#x}", raw.flags),
        ));
    }
    if raw.dtype.lanes != 1 || raw.dtype.bits == 0 {
        return Err(Error::unsupported(
            Why::DTYPE,
            format!("value `{name}` has elements of {} lanes and {} bits", raw.dtype.lanes, raw.dtype.bits),
        ));
    }
    let dtype = DType { code: raw.dtype.code, bits: raw.dtype.bits };
    // SAFETY: as above.
    let quant = if raw.quant.is_null() { None } else { Some(unsafe { quant(raw.quant, name)? }) };
    let data = if raw.flags & abi::V_CONST != 0 {
        let Some(bytes) = elements(dims).and_then(|elements| dtype.bytes(elements)) else {
            return fail("a constant without fixed extents".into());
        };
        if raw.data.len != bytes {
            return fail(format!("expected {bytes} bytes of data, found {}", raw.data.len));
        }
        // SAFETY: as above.
        Some(unsafe { raw::slice(raw.data.ptr.cast::<u8>(), bytes, "value.data")? })
    } else {
        None
    };
    Ok(Value { name, dims, dtype, quant, data, flags: raw.flags })
}

/// # Safety
/// As [`Program::new`].
unsafe fn quant<'a>(pointer: *const abi::Quant, name: &str) -> Result<Quant<'a>> {
    // SAFETY: the caller's promise, here and below.
    let raw = unsafe { raw::complete(pointer, "quant")? };
    let count = raw.count as usize;
    // SAFETY: as above.
    let scales = unsafe { raw::slice(raw.scales, count, "quant.scales")? };
    let zero_points = if raw.zero_points.is_null() {
        &[]
    } else {
        // SAFETY: as above.
        unsafe { raw::slice(raw.zero_points, count, "quant.zero_points")? }
    };
    let scheme = match raw.scheme {
        abi::Q_AFFINE => Scheme::Affine,
        abi::Q_SYMMETRIC => Scheme::Symmetric,
        abi::Q_POW2 => Scheme::Pow2,
        abi::Q_MX => Scheme::Mx,
        other => Scheme::Other(other),
    };
    let axis = || {
        usize::try_from(raw.axis)
            .map_err(|_| Error::invalid(format!("value `{name}` has scales along axis {}", raw.axis)))
    };
    let granularity = match raw.granularity {
        abi::G_TENSOR if count != 1 => {
            return Err(Error::invalid(format!("value `{name}` has {count} scales for the whole tensor")));
        }
        abi::G_TENSOR => Granularity::Tensor,
        abi::G_CHANNEL => Granularity::Channel { axis: axis()? },
        abi::G_BLOCK => Granularity::Block { axis: axis()?, size: raw.block_size },
        other => Granularity::Other(other),
    };
    Ok(Quant { scheme, granularity, scales, zero_points })
}

/// # Safety
/// As [`Program::new`].
unsafe fn node<'a>(pointer: *const abi::Node, index: usize) -> Result<Node<'a>> {
    // SAFETY: the caller's promise, here and below.
    let raw = unsafe { raw::complete(pointer, "node")? };
    // SAFETY: as above.
    let (domain, op_type, name) = unsafe {
        (
            raw::text(raw.domain, "node.domain")?,
            raw::text(raw.op_type, "node.op_type")?,
            raw::text(raw.name, "node.name")?,
        )
    };
    // SAFETY: as above.
    let (inputs, outputs) = unsafe {
        (
            raw::slice(raw.inputs, raw.n_inputs as usize, "node.inputs")?,
            raw::slice(raw.outputs, raw.n_outputs as usize, "node.outputs")?,
        )
    };
    let inputs = inputs.iter().map(|&input| Some(input).filter(|&input| input != abi::ABSENT)).collect();
    // SAFETY: as above.
    let attributes = unsafe { attributes(raw.attrs, raw.n_attrs, "attribute")? };
    Ok(Node { index, domain, op_type, op_version: raw.op_version, name, inputs, outputs, attributes })
}

/// # Safety
/// As [`Program::new`].
unsafe fn attributes<'a>(
    pointers: *const *const abi::Attr,
    count: u32,
    what: &str,
) -> Result<Vec<(&'a str, Attribute<'a>)>> {
    // SAFETY: the caller's promise, here and below.
    let pointers = unsafe { raw::slice(pointers, count as usize, what)? };
    pointers
        .iter()
        .map(|&pointer| {
            // SAFETY: as above.
            let raw = unsafe { raw::complete(pointer, what)? };
            // SAFETY: as above.
            let name = unsafe { raw::text(raw.name, "attr.name")? };
            let one = || {
                if raw.n_items == 1 {
                    Ok(())
                } else {
                    Err(Error::invalid(format!("{what} `{name}` has {} items, not one", raw.n_items)))
                }
            };
            let items = raw.items;
            // SAFETY: as above; the kind says what the items are.
            let value = unsafe {
                match raw.kind {
                    abi::A_INT => {
                        one()?;
                        Attribute::Int(raw::slice(items.cast::<i64>(), 1, name)?[0])
                    }
                    abi::A_FLOAT => {
                        one()?;
                        Attribute::Float(raw::slice(items.cast::<f64>(), 1, name)?[0])
                    }
                    abi::A_STR => {
                        Attribute::Text(raw::text(abi::Str { ptr: items.cast(), len: raw.n_items }, name)?)
                    }
                    abi::A_INTS => Attribute::Ints(raw::slice(items.cast(), raw.n_items, name)?),
                    abi::A_FLOATS => Attribute::Floats(raw::slice(items.cast(), raw.n_items, name)?),
                    other => Attribute::Other(other),
                }
            };
            Ok((name, value))
        })
        .collect()
}
