//! Compilation: from a program to steps over buffers.
//!
//! Owns the choice of kernel and layout per node. [`gap`] says why no kernel covers a node; what it lets through,
//! [`Compiler`] lowers natively, and the rest goes to the reference interpreter.

mod broadcast;
mod emulated;
mod gap;
mod products;
mod shapes;

use std::sync::Arc;

use fewbit_core::ir::{DType, Graph, Node, Op, UnaryOp, Value, ValueId};
use fewbit_core::quant::{QuantParams, convert};
use fewbit_core::{CoreError, CoreErrorKind};
use fewbit_kernels::{Codes, KernelError, TierToken, Transpose, requantize_table};

use crate::buffer::{Buffer, Layout, Lifetime, MemoryPlan, Place, Slot};
use crate::step::{ConvOutput, Step, Work, unary_kernel, unary_table};

pub(crate) use emulated::Emulated;
pub(crate) use gap::{gap, widened};

type Result<T> = fewbit_core::error::Result<T>;

/// A compiled program before it gets threads.
pub(crate) struct Compiled {
    pub(crate) steps: Vec<Step>,
    pub(crate) constants: Vec<Buffer>,
    pub(crate) memory: MemoryPlan,
    /// Plain forms of the outputs, in order.
    pub(crate) outputs: Vec<Slot>,
    pub(crate) weight_bytes: usize,
    pub(crate) scratch_bytes: usize,
}

/// Scale, zero point and type of an 8-bit quantized value with one scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Q8 {
    pub(crate) scale: f32,
    pub(crate) zero: i32,
    pub(crate) dtype: DType,
}

impl Q8 {
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let dtype = value.dtype.filter(|dtype| matches!(dtype, DType::U8 | DType::I8))?;
        let (scale, zero) = value.quant.as_ref().and_then(QuantParams::tensor_wide)?;
        Some(Self { scale, zero, dtype })
    }

    /// What is added to codes in storage.
    fn bias(self) -> i32 {
        if self.dtype == DType::I8 { 128 } else { 0 }
    }

    /// The zero point as it is stored.
    pub(crate) fn stored_zero(self) -> u8 {
        (self.zero + self.bias()) as u8
    }

    /// The code range narrowed by a fused clamp, in codes of the type itself.
    fn range(self, bounds: (f32, f32)) -> convert::CodeRange {
        let full = if self.dtype == DType::I8 { convert::CodeRange::I8 } else { convert::CodeRange::U8 };
        full.clipped(bounds.0, bounds.1, self.scale, self.zero)
    }

    /// Zero point and bounds as they are stored.
    pub(crate) fn codes(self, bounds: (f32, f32)) -> Result<Codes> {
        let range = self.range(bounds);
        let stored = |code: i32| (code + self.bias()) as u8;
        Codes::new(self.stored_zero(), stored(range.min), stored(range.max)).map_err(defect)
    }
}

pub(crate) const OPEN: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

pub(crate) struct Compiler<'g> {
    pub(crate) graph: &'g Arc<Graph>,
    pub(crate) token: TierToken,
    steps: Vec<Step>,
    /// Bytes of each virtual buffer.
    virtual_bytes: Vec<usize>,
    constants: Vec<Buffer>,
    /// Per value, its plain and its channels-last form.
    forms: Vec<[Option<Slot>; 2]>,
    weight_bytes: usize,
    scratch_bytes: usize,
}

impl<'g> Compiler<'g> {
    /// Compiles a program whose nodes all are supported.
    pub(crate) fn compile(graph: &'g Arc<Graph>, token: TierToken) -> Result<Compiled> {
        let mut this = Self {
            graph,
            token,
            steps: Vec::new(),
            virtual_bytes: Vec::new(),
            constants: Vec::new(),
            forms: vec![[None; 2]; graph.value_ids().len()],
            weight_bytes: 0,
            scratch_bytes: 0,
        };
        for (index, &id) in graph.inputs.iter().enumerate() {
            this.input(index, id)?;
        }
        for (_, node) in graph.nodes() {
            this.node(node).map_err(|error| error.at(&node.name))?;
        }
        this.finish()
    }

    fn input(&mut self, index: usize, id: ValueId) -> Result<()> {
        let value = self.graph.value(id);
        let slot = Slot {
            place: Place::Input(index),
            dtype: value.dtype.ok_or_else(|| untyped(value))?,
            elements: elements(value)?,
            layout: Layout::Plain,
        };
        let slot = if slot.dtype == DType::I8 {
            let stored = self.buffer(DType::I8, slot.elements, Layout::Plain);
            self.push(
                "input",
                "flip_u8",
                vec![slot],
                vec![stored],
                Work::Copy { flip: true },
                slot.elements as u64,
            );
            stored
        } else {
            slot
        };
        self.forms[id.index()][0] = Some(slot);
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        if gap(self.graph, node).is_some() {
            return self.emulate(node);
        }
        match &node.op {
            Op::Conv { .. } | Op::Gemm { .. } | Op::MatMul => self.product(node),
            Op::Binary { .. } => self.binary(node),
            Op::Unary(op) => self.unary(node, *op),
            Op::MaxPool(_) | Op::AveragePool(_) => self.pool(node),
            Op::GlobalAveragePool | Op::Reduce { .. } => self.global_average(node),
            Op::Concat { axis } => self.concat(node, *axis),
            Op::Resize(_) => self.resize(node),
            Op::Softmax { log, .. } => self.softmax(node, *log),
            Op::LayerNorm { axis, epsilon } => self.layer_norm(node, *axis, *epsilon),
            Op::Transpose { perm } => self.transpose(node, perm),
            Op::Identity
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. } => self.alias(node),
            Op::Quantize => self.quantize(node),
            Op::Dequantize => self.dequantize(node),
            Op::Requantize => self.requantize(node),
            _ => self.emulate(node),
        }
    }

    // ---- values and forms

    pub(crate) fn in_value(&self, node: &Node, index: usize) -> Result<(ValueId, &'g Value)> {
        let graph: &'g Graph = self.graph;
        let id = node.input(index).ok_or_else(|| defect("an input that the check found is missing"))?;
        Ok((id, graph.value(id)))
    }

    pub(crate) fn out_value(&self, node: &Node) -> Result<(ValueId, &'g Value)> {
        let graph: &'g Graph = self.graph;
        let id = node.outputs.first().copied().ok_or_else(|| defect("a node without an output"))?;
        Ok((id, graph.value(id)))
    }

    pub(crate) fn buffer(&mut self, dtype: DType, elements: usize, layout: Layout) -> Slot {
        let slot = Slot { place: Place::Buffer(self.virtual_bytes.len()), dtype, elements, layout };
        self.virtual_bytes.push(slot.bytes());
        slot
    }

    /// A new buffer for the node's output in `layout`, registered as the value's form.
    pub(crate) fn output(&mut self, node: &Node, layout: Layout) -> Result<Slot> {
        let (id, value) = self.out_value(node)?;
        let slot = self.buffer(value.dtype.ok_or_else(|| untyped(value))?, elements(value)?, layout);
        self.forms[id.index()][layout as usize] = Some(slot);
        Ok(slot)
    }

    pub(crate) fn constant(&mut self, buffer: Buffer, dtype: DType, elements: usize, layout: Layout) -> Slot {
        self.constants.push(buffer);
        Slot { place: Place::Constant(self.constants.len() - 1), dtype, elements, layout }
    }

    /// Whether a value has a channels-last form already.
    pub(crate) fn is_last(&self, id: ValueId) -> bool {
        self.forms[id.index()][Layout::Last as usize].is_some()
    }

    /// The form of a value in `layout`; made by a transposing step where it is missing.
    pub(crate) fn form(&mut self, id: ValueId, layout: Layout) -> Result<Slot> {
        if let Some(slot) = self.forms[id.index()][layout as usize] {
            return Ok(slot);
        }
        let graph: &'g Graph = self.graph;
        let value = graph.value(id);
        let other = match layout {
            Layout::Plain => Layout::Last,
            Layout::Last => Layout::Plain,
        };
        let slot = if let Some(slot) = self.forms[id.index()][other as usize] {
            self.transposed(value, slot, layout)?
        } else {
            let plain = self.constant_form(value)?;
            self.forms[id.index()][Layout::Plain as usize] = Some(plain);
            if layout == Layout::Plain { plain } else { self.transposed(value, plain, layout)? }
        };
        self.forms[id.index()][layout as usize] = Some(slot);
        Ok(slot)
    }

    fn constant_form(&mut self, value: &Value) -> Result<Slot> {
        let tensor = value.constant.as_ref().ok_or_else(|| {
            CoreError::new(CoreErrorKind::Structure, "expected a value to be produced before it is read")
                .at(&value.name)
        })?;
        let mut buffer = Buffer::of(tensor.bytes());
        if tensor.dtype() == DType::I8 {
            crate::step::flip_sign(buffer.slice_mut(tensor.bytes().len()));
        }
        Ok(self.constant(buffer, tensor.dtype(), tensor.elements(), Layout::Plain))
    }

    /// `slot` in the other layout: the same memory where the order is the same, else a new buffer.
    fn transposed(&mut self, value: &Value, slot: Slot, to: Layout) -> Result<Slot> {
        let extents = value.extents().ok_or_else(|| untyped(value))?;
        let (batch, channels, pixels) = match *extents {
            [n, c, ref spatial @ ..] if !spatial.is_empty() => (n, c, spatial.iter().product::<usize>()),
            _ => return Ok(Slot { layout: to, ..slot }),
        };
        if channels == 1 || pixels == 1 || slot.elements == 0 {
            return Ok(Slot { layout: to, ..slot });
        }
        let transpose = match to {
            Layout::Last => Transpose::nchw_to_nhwc(batch, channels, pixels),
            Layout::Plain => Transpose::nhwc_to_nchw(batch, channels, pixels),
        }
        .map_err(defect)?;
        let out = self.buffer(slot.dtype, slot.elements, to);
        let name = value.name.clone();
        self.push(
            &name,
            "transpose",
            vec![slot],
            vec![out],
            Work::Transpose(transpose),
            slot.elements as u64 * 4,
        );
        Ok(out)
    }

    pub(crate) fn push(
        &mut self,
        node: &str,
        kernel: &str,
        inputs: Vec<Slot>,
        outputs: Vec<Slot>,
        work: Work,
        operations: u64,
    ) {
        self.steps.push(Step {
            node: node.to_owned(),
            kernel: kernel.to_owned(),
            inputs,
            outputs,
            work,
            operations,
        });
    }

    pub(crate) fn note(&mut self, weight_bytes: usize, scratch_bytes: usize) {
        self.weight_bytes += weight_bytes;
        self.scratch_bytes = self.scratch_bytes.max(scratch_bytes);
    }

    /// The layout in which an element-wise node reads its first input: as it lies.
    pub(crate) fn present_layout(&self, id: ValueId) -> Layout {
        let forms = self.forms[id.index()];
        if forms[Layout::Plain as usize].is_none() && forms[Layout::Last as usize].is_some() {
            Layout::Last
        } else {
            Layout::Plain
        }
    }

    // ---- nodes of one element at a time

    fn unary(&mut self, node: &Node, op: UnaryOp) -> Result<()> {
        let (id, x) = self.in_value(node, 0)?;
        let (_, y) = self.out_value(node)?;
        let layout = self.present_layout(id);
        let input = self.form(id, layout)?;
        let output = self.output(node, layout)?;
        let (work, kernel) = if let (Some(x), Some(y)) = (Q8::of(x), Q8::of(y)) {
            let table =
                unary_table(op, (x.scale, x.zero, x.dtype), (y.scale, y.zero, y.dtype), y.range(OPEN));
            (Work::Table(table), "table_u8".to_owned())
        } else {
            let kernel = unary_kernel(op).ok_or_else(|| defect("a function without a kernel"))?;
            (Work::UnaryF32(kernel), format!("{}_f32", op.name().to_lowercase()))
        };
        self.push(&node.name, &kernel, vec![input], vec![output], work, output.elements as u64 * 4);
        Ok(())
    }

    fn quantize(&mut self, node: &Node) -> Result<()> {
        let (id, _) = self.in_value(node, 0)?;
        let (_, y) = self.out_value(node)?;
        let y = Q8::of(y).ok_or_else(|| defect("a quantized output"))?;
        let layout = self.present_layout(id);
        let input = self.form(id, layout)?;
        let output = self.output(node, layout)?;
        let work = Work::Quantize { scale: y.scale, codes: y.codes(OPEN)? };
        self.push(&node.name, "quantize_f32_u8", vec![input], vec![output], work, output.elements as u64 * 2);
        Ok(())
    }

    fn dequantize(&mut self, node: &Node) -> Result<()> {
        let (id, x) = self.in_value(node, 0)?;
        let x = Q8::of(x).ok_or_else(|| defect("a quantized input"))?;
        let layout = self.present_layout(id);
        let input = self.form(id, layout)?;
        let output = self.output(node, layout)?;
        let work = Work::Dequantize { scale: x.scale, zero: x.stored_zero() };
        self.push(
            &node.name,
            "dequantize_u8_f32",
            vec![input],
            vec![output],
            work,
            output.elements as u64 * 2,
        );
        Ok(())
    }

    fn requantize(&mut self, node: &Node) -> Result<()> {
        let (id, x) = self.in_value(node, 0)?;
        let (_, y) = self.out_value(node)?;
        let (Some(x), Some(y)) = (Q8::of(x), Q8::of(y)) else { return Err(defect("quantized values")) };
        let layout = self.present_layout(id);
        let input = self.form(id, layout)?;
        let output = self.output(node, layout)?;
        let table = Work::Table(requantize(x, y)?);
        self.push(&node.name, "table_u8", vec![input], vec![output], table, output.elements as u64);
        Ok(())
    }

    // ---- the end

    fn finish(mut self) -> Result<Compiled> {
        let graph: &'g Graph = self.graph;
        let outputs =
            graph.outputs.iter().map(|&id| self.form(id, Layout::Plain)).collect::<Result<Vec<_>>>()?;
        let mut lives: Vec<Lifetime> =
            self.virtual_bytes.iter().map(|&bytes| Lifetime { bytes, first: usize::MAX, last: 0 }).collect();
        let mut touch = |slot: &Slot, at: usize| {
            if let Place::Buffer(id) = slot.place {
                lives[id].first = lives[id].first.min(at);
                lives[id].last = lives[id].last.max(at);
            }
        };
        for (at, step) in self.steps.iter().enumerate() {
            step.inputs.iter().chain(&step.outputs).for_each(|slot| touch(slot, at));
        }
        // Outputs are read after the last step.
        for slot in &outputs {
            touch(slot, self.steps.len());
        }
        let memory = MemoryPlan::new(&lives);
        let resolve = |slot: &mut Slot| {
            if let Place::Buffer(id) = slot.place {
                slot.place = Place::Buffer(memory.real[id]);
            }
        };
        for step in &mut self.steps {
            step.inputs.iter_mut().chain(&mut step.outputs).for_each(resolve);
        }
        let mut outputs = outputs;
        outputs.iter_mut().for_each(resolve);
        Ok(Compiled {
            steps: self.steps,
            constants: self.constants,
            memory,
            outputs,
            weight_bytes: self.weight_bytes,
            scratch_bytes: self.scratch_bytes,
        })
    }
}

/// The table from codes of `x` to codes of `y`, as they are stored.
pub(crate) fn requantize(x: Q8, y: Q8) -> Result<Box<[u8; 256]>> {
    if (x.scale, x.zero) == (y.scale, y.zero) && x.dtype == y.dtype {
        return Ok(Box::new(std::array::from_fn(|code| code as u8)));
    }
    Ok(Box::new(requantize_table(x.stored_zero(), x.scale / y.scale, y.codes(OPEN)?).map_err(defect)?))
}

/// Channels-last weights `[out][taps][in]` of weights `[out][in][taps]`.
pub(crate) fn taps_last<T: Copy + Default>(weights: &[T], inputs: usize, taps: usize) -> Vec<T> {
    let mut out = vec![T::default(); weights.len()];
    for (from, to) in weights.chunks_exact(inputs * taps).zip(out.chunks_exact_mut(inputs * taps)) {
        for input in 0..inputs {
            for tap in 0..taps {
                to[tap * inputs + input] = from[input * taps + tap];
            }
        }
    }
    out
}

/// The epilogue of a product from the output's parameters.
pub(crate) fn conv_output(x: Q8, weight_scales: &[f32], y: &Value, bounds: (f32, f32)) -> Result<ConvOutput> {
    match Q8::of(y) {
        Some(y) => {
            let multipliers =
                weight_scales.iter().map(|&w| convert::product_multiplier(x.scale, w, y.scale)).collect();
            let codes = y.codes(bounds)?;
            let (min, max) = codes.bounds();
            fewbit_kernels::Requantize::new(
                multipliers,
                i32::from(codes.zero_point()),
                i32::from(min),
                i32::from(max),
            )
            .map(ConvOutput::Codes)
            .map_err(defect)
        }
        None => Ok(ConvOutput::Real {
            scale: weight_scales.iter().map(|&w| x.scale * w).collect(),
            min: bounds.0,
            max: bounds.1,
        }),
    }
}

pub(crate) fn elements(value: &Value) -> Result<usize> {
    value.extents().map(|extents| extents.iter().product()).ok_or_else(|| untyped(value))
}

pub(crate) fn untyped(value: &Value) -> CoreError {
    CoreError::new(CoreErrorKind::Dynamic, "expected a known type and shape").at(&value.name)
}

/// A contradiction between the check and the lowering, or a kernel's refusal of what we gave it.
pub(crate) fn defect(what: impl std::fmt::Display) -> CoreError {
    CoreError::new(CoreErrorKind::Backend, format!("the CPU backend contradicts itself: {what}"))
}

/// For `?` on kernels' errors.
pub(crate) fn kernel_error(error: KernelError) -> CoreError {
    defect(error)
}
