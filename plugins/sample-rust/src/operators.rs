//! Which nodes are supported, and how each becomes a step.
//!
//! What is not known is refused with a reason, never ignored: an operator, an attribute, a type, a form of scales.

use fewbit_plugin_sdk::{DType, Granularity, Node, Program, Result, Scheme, Value, Why};

/// An 8-bit type with its scale and zero point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Codes {
    pub(crate) signed: bool,
    pub(crate) scale: f32,
    pub(crate) zero_point: i32,
}

impl Codes {
    /// The lowest and the highest code.
    pub(crate) fn range(self) -> (i32, i32) {
        if self.signed { (-128, 127) } else { (0, 255) }
    }
}

/// A node with everything that can be known before a run.
#[derive(Debug)]
pub(crate) struct Step {
    kind: Kind,
    operands: Vec<u32>,
    output: u32,
}

/// What a step computes.
#[derive(Debug)]
pub(crate) enum Kind {
    /// `y[m, n] = sum over k of x[m, k] * w[k, n]`, with a multiplier per column; to f32 where `y` is `None`.
    MatMul {
        x: Codes,
        y: Option<Codes>,
        k: usize,
        n: usize,
        multipliers: Vec<f32>,
    },
    /// Of each element of the output, the elements of the operands are found by these strides.
    Add {
        sides: [(Codes, Vec<usize>); 2],
        y: Codes,
        dims: Vec<usize>,
        low: i32,
        high: i32,
    },
    /// `y = table[bits of x]`.
    Table,
    Relu,
    Quantize(Codes),
    Dequantize(Codes),
    Requantize(Codes, Codes),
}

impl Step {
    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The values that it reads.
    pub(crate) fn operands(&self) -> &[u32] {
        &self.operands
    }

    /// The value that it writes.
    pub(crate) fn output(&self) -> u32 {
        self.output
    }

    /// The step of a node, or why there is none.
    pub(crate) fn new(program: &Program<'_>, node: &Node<'_>) -> Result<Step> {
        let query = Query { program, node };
        if node.op_version != 1 {
            return Err(node.unsupported(Why::OP, format!("operators of version {}", node.op_version)));
        }
        let kind = match (node.domain, node.op_type) {
            ("", "MatMul") => query.matmul(),
            ("", "Add") => query.add(),
            ("", "Relu") => query.relu(),
            ("fewbit", "Table") => query.table(),
            ("fewbit", "Quantize") => query.quantize(),
            ("fewbit", "Dequantize") => query.dequantize(),
            ("fewbit", "Requantize") => query.requantize(),
            _ => Err(node.unsupported(Why::OP, "the operator is not known")),
        }?;
        Ok(Step { kind, operands: node.inputs.iter().flatten().copied().collect(), output: node.outputs[0] })
    }
}

struct Query<'p> {
    program: &'p Program<'p>,
    node: &'p Node<'p>,
}

impl<'p> Query<'p> {
    /// Exactly `N` inputs and one output, of known extents, and no attributes but these.
    fn values<const N: usize>(&self, attributes: &[&str]) -> Result<([&'p Value<'p>; N], &'p Value<'p>)> {
        let (node, program) = (self.node, self.program);
        let inputs: Vec<&Value<'_>> =
            node.inputs.iter().flatten().map(|&index| program.value(index)).collect();
        let (Ok(inputs), [output], true) = (<[_; N]>::try_from(inputs), node.outputs, node.inputs.len() == N)
        else {
            return Err(node.unsupported(Why::OP, format!("expected {N} inputs and one output")));
        };
        // `precision` may be there where it says what the types say already.
        let known = [attributes, &["precision"]].concat();
        node.only(&known)?;
        if node.attribute("precision").is_some() && !["w8a8", "f32"].contains(&node.text("precision")?) {
            return Err(node.unsupported(Why::ATTRIBUTE, "precision is not w8a8 or f32"));
        }
        let output = program.value(*output);
        if inputs.iter().chain([&output]).any(|value| value.byte_len().is_none()) {
            return Err(node.unsupported(Why::SHAPE, "expected fixed extents"));
        }
        Ok((inputs, output))
    }

    /// An activation of 8 bits.
    fn codes(&self, value: &Value<'_>) -> Result<Codes> {
        let signed = match value.dtype {
            DType::I8 => true,
            DType::U8 => false,
            other => {
                return Err(self
                    .node
                    .unsupported(Why::DTYPE, format!("`{}` is {other}, not u8 or i8", value.name)));
            }
        };
        let Some(quant) = value.quant else {
            return Err(self.node.unsupported(Why::SCHEME, format!("`{}` has no scale", value.name)));
        };
        let (scale, zero_point) = quant.per_tensor()?;
        let codes = Codes { signed, scale, zero_point };
        let (low, high) = codes.range();
        if !(scale > 0.0 && scale.is_finite() && (low..=high).contains(&zero_point)) {
            return Err(self
                .node
                .unsupported(Why::SCHEME, format!("scale {scale}, zero point {zero_point}")));
        }
        Ok(codes)
    }

    fn is_real(value: &Value<'_>) -> bool {
        value.dtype == DType::F32 && value.quant.is_none()
    }

    fn reals(&self, value: &Value<'_>) -> Result<()> {
        if Self::is_real(value) {
            return Ok(());
        }
        Err(self.node.unsupported(Why::DTYPE, format!("`{}` is {}, not f32", value.name, value.dtype)))
    }

    fn same_extents(&self, x: &Value<'_>, y: &Value<'_>) -> Result<()> {
        if x.dims == y.dims {
            return Ok(());
        }
        Err(self
            .node
            .unsupported(Why::SHAPE, format!("expected an output of {:?}, found {:?}", x.dims, y.dims)))
    }

    fn matmul(&self) -> Result<Kind> {
        let node = self.node;
        let ([x, w], y) = self.values::<2>(&[])?;
        let codes = self.codes(x)?;
        let to = if Self::is_real(y) { None } else { Some(self.codes(y)?) };
        if w.dtype != DType::I8 {
            return Err(node.unsupported(Why::DTYPE, format!("weights are {}, not i8", w.dtype)));
        }
        if !w.is_constant() {
            return Err(node.unsupported(Why::OP, "expected constant weights"));
        }
        let Some(quant) = w.quant else { return Err(node.unsupported(Why::SCHEME, "weights have no scale")) };
        let scales_are_sound = quant.scales.iter().all(|&scale| scale > 0.0 && scale.is_finite());
        if !matches!(quant.scheme, Scheme::Symmetric | Scheme::Affine)
            || quant.zero_points.iter().any(|&zero| zero != 0)
            || !scales_are_sound
        {
            return Err(node.unsupported(Why::SCHEME, "expected symmetric weights"));
        }
        // A vector on the right is one column, which the output then does not have as an axis.
        let (k, n, expected) = match (x.dims, w.dims) {
            (&[m, k], &[rows, n]) if k == rows => (k, n, vec![m, n]),
            (&[m, k], &[rows]) if k == rows => (k, 1, vec![m]),
            (&[_, _], &[_, _] | &[_]) => return Err(node.unsupported(Why::SHAPE, "inner extents differ")),
            _ => return Err(node.unsupported(Why::RANK, "expected matrices")),
        };
        if y.dims != expected {
            return Err(node.unsupported(Why::SHAPE, format!("expected an output of {expected:?}")));
        }
        let (k, n) = (k as usize, n as usize);
        let per_channel = match quant.granularity {
            Granularity::Tensor => false,
            Granularity::Channel { axis: 1 } if w.dims.len() == 2 && quant.scales.len() == n => true,
            _ => return Err(node.unsupported(Why::GRANULARITY, "expected scales per column")),
        };
        let multipliers = (0..n)
            .map(|column| {
                let product = codes.scale * quant.scales[if per_channel { column } else { 0 }];
                to.map_or(product, |y| product / y.scale)
            })
            .collect();
        Ok(Kind::MatMul { x: codes, y: to, k, n, multipliers })
    }

    fn add(&self) -> Result<Kind> {
        let node = self.node;
        let ([a, b], y) = self.values::<2>(&["clamp_min", "clamp_max"])?;
        let to = self.codes(y)?;
        let (min, max) = (node.float("clamp_min")? as f32, node.float("clamp_max")? as f32);
        if min.is_nan() || max.is_nan() || min > max {
            return Err(node.unsupported(Why::ATTRIBUTE, format!("clamp to {min}..{max}")));
        }
        let (lowest, highest) = to.range();
        let code = |real: f32, open: i32| {
            if real.is_infinite() { open } else { crate::kernels::quantize(real, to, lowest, highest) }
        };
        let side = |value: &Value<'_>| {
            let strides = strides(value.dims, y.dims).ok_or_else(|| {
                node.unsupported(Why::SHAPE, format!("`{}` does not broadcast", value.name))
            })?;
            Ok((self.codes(value)?, strides))
        };
        Ok(Kind::Add {
            sides: [side(a)?, side(b)?],
            y: to,
            dims: y.shape().unwrap_or_default(),
            low: code(min, lowest),
            high: code(max, highest),
        })
    }

    fn table(&self) -> Result<Kind> {
        let ([x, table], y) = self.values::<2>(&["function"])?;
        self.codes(x)?;
        self.codes(y)?;
        self.same_extents(x, y)?;
        if table.dtype != y.dtype || table.dims != [256] || !table.is_constant() {
            return Err(self
                .node
                .unsupported(Why::SHAPE, "expected a constant table of 256 codes of the output"));
        }
        Ok(Kind::Table)
    }

    fn relu(&self) -> Result<Kind> {
        let ([x], y) = self.values::<1>(&[])?;
        self.reals(x)?;
        self.reals(y)?;
        self.same_extents(x, y)?;
        Ok(Kind::Relu)
    }

    fn quantize(&self) -> Result<Kind> {
        let ([x], y) = self.values::<1>(&[])?;
        self.reals(x)?;
        self.same_extents(x, y)?;
        Ok(Kind::Quantize(self.codes(y)?))
    }

    fn dequantize(&self) -> Result<Kind> {
        let ([x], y) = self.values::<1>(&[])?;
        self.reals(y)?;
        self.same_extents(x, y)?;
        Ok(Kind::Dequantize(self.codes(x)?))
    }

    fn requantize(&self) -> Result<Kind> {
        let ([x], y) = self.values::<1>(&[])?;
        self.same_extents(x, y)?;
        Ok(Kind::Requantize(self.codes(x)?, self.codes(y)?))
    }
}

/// For each axis of `to`, how far apart the elements of a tensor of extents `from` are when it is broadcast.
fn strides(from: &[i64], to: &[i64]) -> Option<Vec<usize>> {
    let missing = to.len().checked_sub(from.len())?;
    let mut strides = vec![0; to.len()];
    let mut stride = 1;
    for (axis, &extent) in from.iter().enumerate().rev() {
        if extent != 1 {
            if extent != to[missing + axis] {
                return None;
            }
            strides[missing + axis] = stride;
        }
        stride *= extent as usize;
    }
    Some(strides)
}
