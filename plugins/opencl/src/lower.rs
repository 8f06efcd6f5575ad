//! From a program to launches: which nodes are supported, in which layout each value lies, what each node launches.
//!
//! One function per operator serves `supports` and `compile`, so that they cannot disagree. What is not known is
//! refused with a reason: an operator, an attribute, a type, a form of scales.
//!
//! `product` owns convolutions and products of matrices, `element` functions of elements, `window` pools, means,
//! resizes and rows, `moving` what only moves elements.

mod element;
mod moving;
mod product;
mod window;

use std::collections::HashMap;

use fewbit_plugin_sdk::{DType, Node, Program, Result, Value, Verdict, Why};

use crate::device::Tuning;
use crate::plan::{Arg, Launch, Lifetime, Plan};

/// Elements that a tensor may have: kernels count in 32 bits.
const ELEMENTS_MAX: usize = (1 << 31) - 1024;
/// Dimensions that a kernel walks over.
const DIMS: usize = 8;

/// How a tensor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Layout {
    /// Row-major.
    Rows,
    /// Row-major with the second dimension, the channels, moved to the end; of three dimensions or more.
    Channels,
}

impl Layout {
    /// The dimensions in the order in which they lie in memory.
    fn order(self, rank: usize) -> Vec<usize> {
        match self {
            Layout::Channels if rank >= 3 => [0].into_iter().chain(2..rank).chain([1]).collect(),
            _ => (0..rank).collect(),
        }
    }

    /// For each dimension, how far apart its elements are.
    fn strides(self, shape: &[usize]) -> Vec<usize> {
        let mut strides = vec![0; shape.len()];
        let mut stride = 1;
        for axis in self.order(shape.len()).into_iter().rev() {
            strides[axis] = stride;
            stride *= shape[axis];
        }
        strides
    }
}

/// An 8-bit type with its scale and zero point, as kernels see it: unsigned, i8 moved up by 128.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Codes {
    signed: bool,
    scale: f32,
    /// Of the unsigned code.
    zero: i32,
}

impl Codes {
    /// What makes a byte unsigned, and back.
    fn flip(self) -> u32 {
        if self.signed { 0x80 } else { 0 }
    }

    /// The unsigned code of a real number: `clamp(rhe(x / s) + z)`.
    fn quantize(self, real: f32) -> i32 {
        // The cast saturates and takes NaN to 0.
        ((real / self.scale).round_ties_even() as i64 + i64::from(self.zero)).clamp(0, 255) as i32
    }

    /// The unsigned bounds of a fused clamp.
    fn bounds(self, (low, high): (f32, f32)) -> (i32, i32) {
        let code = |real: f32, open| if real.is_infinite() { open } else { self.quantize(real) };
        (code(low, 0), code(high, 255))
    }
}

/// What a program gives: verdicts per node.
pub(crate) fn verdicts(program: &Program<'_>, tuning: Tuning) -> Vec<Verdict> {
    program
        .nodes()
        .iter()
        .map(|node| {
            let mut lowering = Lowering::new(program, tuning, true);
            for &input in node.inputs.iter().flatten() {
                lowering.given(input);
            }
            lowering.node(node).into()
        })
        .collect()
}

/// The plan of a program.
pub(crate) fn lower(program: &Program<'_>, tuning: Tuning) -> Result<Plan> {
    let mut lowering = Lowering::new(program, tuning, false);
    for &input in program.inputs() {
        let place = lowering.given(input);
        lowering.plan.inputs.push(place);
    }
    for node in program.nodes() {
        lowering.node(node)?;
    }
    lowering.end = true;
    for &output in program.outputs() {
        let place = lowering.want(output, Layout::Rows)?;
        lowering.plan.outputs.push(place);
    }
    lowering.plan.nodes = program.nodes().len();
    let mut plan = lowering.plan;
    // The last launch that reads an output is the reading at the end.
    let end = plan.launches.len() + 1;
    for output in &plan.outputs {
        if let Arg::Tensor(tensor) = *output {
            plan.tensors[tensor].last = end;
        }
    }
    for input in &mut plan.inputs {
        *input = input.filter(|&tensor| plan.tensors[tensor].last > 0);
    }
    Ok(plan)
}

struct Lowering<'p> {
    program: &'p Program<'p>,
    tuning: Tuning,
    plan: Plan,
    /// Where values lie, by layout.
    places: HashMap<(u32, Layout), Arg>,
    /// The node that is lowered.
    at: usize,
    /// Whether this only finds out if a node is supported: then constants are not packed.
    dry: bool,
    /// Whether every node is done.
    end: bool,
}

impl<'p> Lowering<'p> {
    fn new(program: &'p Program<'p>, tuning: Tuning, dry: bool) -> Self {
        Self { program, tuning, plan: Plan::default(), places: HashMap::new(), at: 0, dry, end: false }
    }

    /// An input of the program, row-major; `None` for types that no kernel reads.
    fn given(&mut self, value: u32) -> Option<usize> {
        let found = self.program.value(value);
        if found.is_constant() || self.places.contains_key(&(value, Layout::Rows)) {
            return None;
        }
        let bytes = found.byte_len()?;
        let tensor = self.plan.tensors.len();
        self.plan.tensors.push(Lifetime { bytes, first: 0, last: 0 });
        self.places.insert((value, Layout::Rows), Arg::Tensor(tensor));
        Some(tensor)
    }

    /// A tensor that the next launch writes.
    fn tensor(&mut self, bytes: usize) -> usize {
        let at = self.plan.launches.len() + 1;
        self.plan.tensors.push(Lifetime { bytes, first: at, last: at });
        self.plan.tensors.len() - 1
    }

    /// A constant of the executable.
    fn constant<T: Bytes>(&mut self, make: impl FnOnce() -> Vec<T>) -> Arg {
        let bytes = if self.dry { Vec::new() } else { make().into_iter().flat_map(T::bytes).collect() };
        self.plan.constants.push(bytes);
        Arg::Constant(self.plan.constants.len() - 1)
    }

    /// The geometry of a launch.
    fn geometry(&mut self, numbers: &[usize]) -> Arg {
        self.numbers(&numbers.iter().map(|&number| number as i32).collect::<Vec<_>>())
    }

    fn numbers(&mut self, numbers: &[i32]) -> Arg {
        let numbers = numbers.to_vec();
        self.constant(|| numbers)
    }

    fn launch(&mut self, kernel: &'static str, args: Vec<Arg>, items: [usize; 3]) {
        if items.contains(&0) {
            return;
        }
        let at = self.plan.launches.len() + 1;
        for arg in &args {
            if let Arg::Tensor(tensor) = *arg {
                let lifetime = &mut self.plan.tensors[tensor];
                lifetime.last = lifetime.last.max(at);
            }
        }
        self.plan.launches.push(Launch { kernel, args, items, node: self.at });
    }

    /// Where a value lies in a layout, moved there if it does not yet.
    fn want(&mut self, value: u32, layout: Layout) -> Result<Arg> {
        if let Some(&place) = self.places.get(&(value, layout)) {
            return Ok(place);
        }
        let found = self.program.value(value).clone();
        let shape = self.shape(&found)?;
        let other = if layout == Layout::Rows { Layout::Channels } else { Layout::Rows };
        // Where only one of channels and the rest is longer than 1, both layouts are the same bytes.
        let same = shape.len() < 3 || shape[1] == 1 || shape[2..].iter().all(|&extent| extent == 1);
        let place = if let Some(data) = found.data {
            let width = self.width(&found)?;
            let (from, to) = (Layout::Rows.strides(&shape), layout.order(shape.len()));
            self.constant(|| reorder(data, width, &shape, &from, &to))
        } else {
            let Some(&place) = self.places.get(&(value, other)) else {
                return Err(fewbit_plugin_sdk::Error::internal(format!("`{}` is nowhere", found.name)));
            };
            if same { place } else { self.moved(&found, place, other, layout)? }
        };
        self.places.insert((value, layout), place);
        Ok(place)
    }

    /// Launches what moves a value into another layout.
    fn moved(&mut self, value: &Value<'_>, from: Arg, old: Layout, new: Layout) -> Result<Arg> {
        let shape = self.shape(value)?;
        let (strides, order) = (old.strides(&shape), new.order(shape.len()));
        let extents: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        let strides: Vec<i64> = order.iter().map(|&axis| strides[axis] as i64).collect();
        let to = Arg::Tensor(self.tensor(shape.iter().product::<usize>() * self.width(value)?));
        self.permute(from, to, self.width(value)?, &extents, &strides, 0);
        Ok(to)
    }

    /// Launches a walk over `extents` that reads at `strides` from `base` on and writes densely.
    fn permute(&mut self, from: Arg, to: Arg, width: usize, extents: &[usize], strides: &[i64], base: i64) {
        let count = extents.iter().product();
        let walk = self.walk(extents, &[strides], base);
        let kernel = if width == 1 { "permute_1" } else { "permute_4" };
        self.launch(kernel, vec![from, to, Arg::Int(count as i32), walk], [count, 1, 1]);
    }

    /// The constant that kernels walk by: rank, extents, strides of each operand, base.
    fn walk(&mut self, extents: &[usize], strides: &[&[i64]], base: i64) -> Arg {
        let (extents, strides) = collapsed(extents, strides);
        let mut numbers = vec![extents.len() as i32];
        let mut list = |values: &mut dyn Iterator<Item = i32>| {
            let start = numbers.len();
            numbers.extend(values);
            numbers.resize(start + DIMS, 0);
        };
        list(&mut extents.iter().map(|&extent| extent as i32));
        for operand in 0..2 {
            list(&mut strides.get(operand).into_iter().flatten().map(|&stride| stride as i32));
        }
        numbers.push(base as i32);
        self.numbers(&numbers)
    }

    /// A tensor for a node's output in a layout.
    fn output(&mut self, node: &Node<'_>, layout: Layout) -> Result<Arg> {
        let value = self.program.value(node.outputs[0]).clone();
        let bytes = self.shape(&value)?.iter().product::<usize>() * self.width(&value)?;
        let place = Arg::Tensor(self.tensor(bytes));
        self.places.insert((node.outputs[0], layout), place);
        Ok(place)
    }

    /// The layout in which a value lies already; channels last where it lies in both.
    fn layout(&self, value: u32) -> Layout {
        if self.places.contains_key(&(value, Layout::Channels)) { Layout::Channels } else { Layout::Rows }
    }

    fn shape(&self, value: &Value<'_>) -> Result<Vec<usize>> {
        let refused = |message: &str| self.refused(Why::SHAPE, format!("`{}` {message}", value.name));
        let shape = value.shape().ok_or_else(|| refused("has no fixed extents"))?;
        if shape.len() > DIMS {
            let message = format!("expected at most {DIMS} dimensions, found {}", shape.len());
            return Err(self.refused(Why::RANK, message));
        }
        let elements = value.elements().filter(|&elements| elements <= ELEMENTS_MAX);
        elements.map(|_| shape).ok_or_else(|| refused("has more elements than kernels count"))
    }

    /// Bytes of an element: 1 or 4.
    fn width(&self, value: &Value<'_>) -> Result<usize> {
        match value.dtype {
            DType::I8 | DType::U8 | DType::BOOL => Ok(1),
            DType::F32 | DType::I32 => Ok(4),
            other => Err(self.refused(Why::DTYPE, format!("`{}` is {other}", value.name))),
        }
    }

    fn refused(&self, why: Why, message: impl std::fmt::Display) -> fewbit_plugin_sdk::Error {
        match self.program.nodes().get(self.at) {
            Some(node) if !self.end => node.unsupported(why, message),
            _ => fewbit_plugin_sdk::Error::unsupported(why, message.to_string()),
        }
    }

    /// An activation of 8 bits with one scale.
    fn codes(&self, value: &Value<'_>) -> Result<Codes> {
        let signed = match value.dtype {
            DType::I8 => true,
            DType::U8 => false,
            other => {
                return Err(self.refused(Why::DTYPE, format!("`{}` is {other}, not u8 or i8", value.name)));
            }
        };
        let Some(quant) = value.quant else {
            return Err(self.refused(Why::SCHEME, format!("`{}` has no scale", value.name)));
        };
        let (scale, zero) = quant.per_tensor().map_err(|error| error.at_node(self.at))?;
        let zero = zero.saturating_add(if signed { 128 } else { 0 });
        if !(scale > 0.0 && scale.is_finite() && (0..=255).contains(&zero)) {
            return Err(self.refused(Why::SCHEME, format!("`{}` has scale {scale}", value.name)));
        }
        Ok(Codes { signed, scale, zero })
    }

    fn is_real(value: &Value<'_>) -> bool {
        value.dtype == DType::F32 && value.quant.is_none()
    }

    /// Refuses what is not f32.
    fn reals(&self, value: &Value<'_>) -> Result<()> {
        if Self::is_real(value) {
            return Ok(());
        }
        Err(self.refused(Why::DTYPE, format!("`{}` is {}, not f32", value.name, value.dtype)))
    }

    /// The node's inputs, at least `least` and at most `most`, the first `least` of them present; and its one output.
    fn operands(
        &self,
        node: &Node<'p>,
        least: usize,
        most: usize,
        attributes: &[&str],
    ) -> Result<(Vec<Option<&'p Value<'p>>>, &'p Value<'p>)> {
        let program = self.program;
        let count = node.inputs.len();
        let present = node.inputs.iter().take(least).all(Option::is_some);
        let ([output], true) = (node.outputs, (least..=most).contains(&count) && present) else {
            return Err(self.refused(Why::OP, format!("expected {least} to {most} inputs and one output")));
        };
        self.attributes(node, attributes)?;
        let mut inputs: Vec<Option<&Value<'_>>> =
            node.inputs.iter().map(|input| input.map(|index| program.value(index))).collect();
        inputs.resize(most, None);
        Ok((inputs, program.value(*output)))
    }

    /// Refuses attributes that are not known; `precision` may say what types say already.
    fn attributes(&self, node: &Node<'_>, attributes: &[&str]) -> Result<()> {
        node.only(&[attributes, &["precision"]].concat())?;
        if node.attribute("precision").is_some()
            && !["w8a8", "w4a8", "f32"].contains(&node.text("precision")?)
        {
            return Err(self.refused(Why::ATTRIBUTE, "expected a precision of w8a8, w4a8 or f32"));
        }
        Ok(())
    }

    /// The fused clamp.
    fn clamp(&self, node: &Node<'_>) -> Result<(f32, f32)> {
        let (low, high) = (node.float("clamp_min")? as f32, node.float("clamp_max")? as f32);
        if low.is_nan() || high.is_nan() || low > high {
            return Err(self.refused(Why::ATTRIBUTE, format!("clamp to {low}..{high}")));
        }
        Ok((low, high))
    }

    fn expect_shape(&self, value: &Value<'_>, expected: &[usize]) -> Result<()> {
        if value.dims.iter().map(|&dim| dim as usize).eq(expected.iter().copied()) {
            return Ok(());
        }
        Err(self.refused(Why::SHAPE, format!("expected extents {expected:?}, found {:?}", value.dims)))
    }

    fn node(&mut self, node: &Node<'p>) -> Result<()> {
        self.at = node.index;
        if node.op_version != 1 {
            return Err(self.refused(Why::OP, format!("operators of version {}", node.op_version)));
        }
        match (node.domain, node.op_type) {
            ("", "Conv") => self.convolution(node),
            ("", "Gemm" | "MatMul") => self.matrices(node),
            ("", "Add" | "Sub" | "Mul" | "Div" | "Min" | "Max" | "Pow" | "PRelu") => self.binary(node),
            ("fewbit", "Table") => self.table(node),
            ("fewbit", "Quantize") => self.quantize(node),
            ("fewbit", "Dequantize") => self.dequantize(node),
            ("fewbit", "Requantize") => self.requantize(node),
            ("" | "fewbit", name) if element::function(name).is_some() => self.unary(node),
            ("", "MaxPool" | "AveragePool" | "GlobalMaxPool") => self.pool(node),
            ("", "GlobalAveragePool" | "ReduceMean") => self.mean(node),
            ("", "Resize") => self.resize(node),
            ("", "Softmax" | "LogSoftmax") => self.softmax(node),
            ("", "LayerNormalization") => self.layer_norm(node),
            ("", "Concat") => self.concat(node),
            ("", "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze") => self.alias(node),
            ("", "Transpose") => self.transpose(node),
            ("", "Split") => self.split(node),
            ("", "DepthToSpace" | "SpaceToDepth") => self.blocks(node),
            _ => Err(self.refused(Why::OP, "the operator is not known")),
        }
    }
}

/// The bytes of elements, row by row of another order of dimensions.
fn reorder(data: &[u8], width: usize, shape: &[usize], strides: &[usize], order: &[usize]) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let mut result = Vec::with_capacity(count * width);
    for mut place in 0..count {
        let mut at = 0;
        for &axis in order.iter().rev() {
            at += place % shape[axis] * strides[axis];
            place /= shape[axis];
        }
        result.extend_from_slice(&data[at * width..(at + 1) * width]);
    }
    result
}

/// The same walk over fewer dimensions: those of extent 1 are left out, and neighbours that every operand crosses in
/// one stride become one.
fn collapsed(extents: &[usize], strides: &[&[i64]]) -> (Vec<usize>, Vec<Vec<i64>>) {
    let mut result: (Vec<usize>, Vec<Vec<i64>>) = (Vec::new(), vec![Vec::new(); strides.len()]);
    for (axis, &extent) in extents.iter().enumerate() {
        if extent == 1 {
            continue;
        }
        let joins = result.0.last().is_some()
            && result
                .1
                .iter()
                .zip(strides)
                .all(|(kept, strides)| kept.last() == Some(&(strides[axis] * extent as i64)));
        if joins {
            if let Some(last) = result.0.last_mut() {
                *last *= extent;
            }
            for (kept, strides) in result.1.iter_mut().zip(strides) {
                if let Some(last) = kept.last_mut() {
                    *last = strides[axis];
                }
            }
        } else {
            result.0.push(extent);
            for (kept, strides) in result.1.iter_mut().zip(strides) {
                kept.push(strides[axis]);
            }
        }
    }
    result
}

/// Numbers that become bytes of a buffer.
trait Bytes {
    fn bytes(self) -> impl Iterator<Item = u8>;
}

macro_rules! bytes {
    ($($type:ty),*) => {
        $(impl Bytes for $type {
            fn bytes(self) -> impl Iterator<Item = u8> {
                self.to_le_bytes().into_iter()
            }
        })*
    };
}

bytes!(u8, i8, i32, f32);

/// The floats of a constant.
fn floats(data: &[u8]) -> Vec<f32> {
    data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}
