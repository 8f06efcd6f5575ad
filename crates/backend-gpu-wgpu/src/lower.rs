//! From a program to launches: which nodes are supported, how each value lies in memory, what each node launches.
//!
//! One function per operator serves `supports` and `compile`, so that they cannot disagree: `Lowering::node` sends an
//! operator to its family in `kernels`. What is not known is refused with a reason.
//!
//! Memory is seen in *quads*: four neighbouring elements, one 32-bit word of codes or one vector of floats. An
//! invocation reads and writes whole quads. A row that does not fill its last quad is padded; what lies in the padding is
//! never defined, and no result depends on it.

mod form;
mod value;

use std::collections::HashMap;

use fewbit_core::capability::{Reason, reasons};
use fewbit_core::error::{CoreError, CoreErrorKind};
use fewbit_core::infer;
use fewbit_core::ir::{DType, Graph, Node, Op, Value, ValueId};
use fewbit_core::plan::Precision;
use fewbit_core::quant::convert::{self, CodeRange};

pub(crate) use form::{Layout, reorder};
pub(crate) use value::{constant_of, expect_shape, extents_of, is_real, require_real, usable, width_of};

use crate::kernels::{self, linear};
use crate::plan::{Arg, Constant, Launch, Lifetime, Plan, Port, Shader};

/// Elements that a tensor may have: kernels count in 32 bits.
const ELEMENTS_MAX: usize = 1 << 30;
/// Dimensions that a kernel walks over.
pub(crate) const DIMS: usize = 8;
/// Scales beyond these are refused: below, what a device may flush to zero would matter.
const SCALES: std::ops::RangeInclusive<f32> = 1e-36..=f32::MAX;

/// Why a node does not run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

pub(crate) type Result<T> = std::result::Result<T, Refused>;

/// A refusal.
pub(crate) fn refused<T>(code: &'static str, message: impl Into<String>) -> Result<T> {
    Err(Refused { code, message: message.into() })
}

impl From<Refused> for Reason {
    fn from(refused: Refused) -> Reason {
        Reason { code: refused.code.to_owned(), rule: None, message: refused.message, fix: None }
    }
}

/// What of a device decides launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuning {
    /// Bytes of a storage binding.
    pub(crate) binding_max: u64,
    /// Whether f32 products, sums and conversions round to nearest, ties to even: found by running them.
    pub(crate) exact: bool,
    /// Whether lanes of a group should share their weights, as on processors and where there is little cache.
    pub(crate) software: bool,
    /// The size of subgroups, where lanes should share what they load.
    pub(crate) subgroup: Option<usize>,
}

/// An 8-bit type with its scale and zero point as kernels see it: signed, u8 moved down by 128.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Codes {
    pub(crate) dtype: DType,
    pub(crate) scale: f32,
    /// Of the program's own codes.
    zero_point: i32,
}

impl Codes {
    /// What makes a word of four codes signed, and back.
    pub(crate) fn flip(self) -> u32 {
        if self.dtype == DType::U8 { 0x8080_8080 } else { 0 }
    }

    /// From the program's code to the signed one.
    fn moved(self) -> i32 {
        if self.dtype == DType::U8 { -128 } else { 0 }
    }

    /// The signed zero point.
    pub(crate) fn zero(self) -> i32 {
        self.zero_point + self.moved()
    }

    /// The program's zero point.
    pub(crate) fn own_zero(self) -> i32 {
        self.zero_point
    }

    /// All codes of the program's type.
    pub(crate) fn range(self) -> CodeRange {
        if self.dtype == DType::U8 { CodeRange::U8 } else { CodeRange::I8 }
    }

    /// The signed codes that a fused clamp leaves.
    pub(crate) fn bounds(self, (low, high): (f32, f32)) -> (i32, i32) {
        let range = self.range().clipped(low, high, self.scale, self.zero_point);
        (range.min + self.moved(), range.max + self.moved())
    }
}

/// One verdict per node of a program: a refusal, or the kernel's family.
pub(crate) fn verdicts(graph: &Graph, tuning: Tuning) -> Vec<Result<()>> {
    graph
        .nodes()
        .map(|(_, node)| {
            let mut lowering = Lowering::new(graph, tuning, true);
            for &input in node.inputs.iter().flatten() {
                lowering.given(input);
            }
            lowering.node(node)
        })
        .collect()
}

/// The plan of a program.
pub(crate) fn lower(graph: &Graph, tuning: Tuning) -> fewbit_core::error::Result<Plan> {
    infer::require_fixed(graph)?;
    let mut lowering = Lowering::new(graph, tuning, false);
    for &input in &graph.inputs {
        let port = lowering.given(input);
        lowering.plan.inputs.push(port);
    }
    for (at, (_, node)) in graph.nodes().enumerate() {
        lowering.at = at;
        lowering.plan.nodes.push(node.name.clone());
        lowering.node(node).map_err(|refused| {
            CoreError::new(CoreErrorKind::Unsupported, refused.message)
                .at(&node.name)
                .help("run this node on another device: --backend wgpu+cpu")
        })?;
    }
    lowering.at = usize::MAX;
    for &output in &graph.outputs {
        let name = &graph.value(output).name;
        let port = lowering
            .port(output)
            .map_err(|refused| CoreError::new(CoreErrorKind::Unsupported, refused.message).at(name))?;
        lowering.plan.outputs.push(port);
    }
    let mut plan = lowering.plan;
    // The last launch that reads an output is the reading at the end.
    let end = plan.launches.len() + 1;
    for port in &plan.outputs {
        if let Arg::Tensor(tensor) = port.place {
            plan.tensors[tensor].last = end;
        }
    }
    for input in &mut plan.inputs {
        *input = input.filter(|port| match port.place {
            Arg::Tensor(tensor) => plan.tensors[tensor].last > 0,
            Arg::Constant(_) => false,
        });
    }
    Ok(plan)
}

/// A program on its way to a plan.
pub(crate) struct Lowering<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) tuning: Tuning,
    plan: Plan,
    /// Where values lie, the form that their producer gave them first.
    places: HashMap<ValueId, Vec<(Layout, Arg)>>,
    /// The node that is lowered.
    at: usize,
    /// Whether this only finds out if a node is supported: then constants are not packed.
    pub(crate) dry: bool,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, tuning: Tuning, dry: bool) -> Self {
        Self { graph, tuning, plan: Plan::default(), places: HashMap::new(), at: 0, dry }
    }

    /// Lowers one node.
    fn node(&mut self, node: &'g Node) -> Result<()> {
        if let Some(error) = node.unsupported() {
            return refused(reasons::OP, error.message());
        }
        let weighted =
            node.op.has_weights() && node.input(1).is_some_and(|id| self.graph.value(id).constant.is_some());
        match node.precision {
            None | Some(Precision::F32) => {}
            Some(Precision::F16 | Precision::W8A16F | Precision::W4A16F) if weighted => {}
            Some(precision) => {
                return refused(reasons::PRECISION, format!("no kernel computes this at {precision}"));
            }
        }
        match &node.op {
            Op::Conv { .. } | Op::Gemm { .. } | Op::MatMul => self.product(node),
            Op::Quantize => self.quantize(node),
            Op::Dequantize => self.dequantize(node),
            Op::Requantize => self.requantize(node),
            Op::Unary(op) => self.unary(node, *op),
            Op::Binary { op, activation } => self.binary(node, *op, *activation),
            Op::MaxPool(pool) | Op::AveragePool(pool) => self.pool(node, pool),
            Op::GlobalAveragePool | Op::Reduce { .. } => self.mean(node),
            Op::Softmax { axis, log } => self.softmax(node, *axis, *log),
            Op::LayerNorm { axis, epsilon } => self.layer_norm(node, *axis, *epsilon),
            Op::Resize(attributes) => self.resize(node, *attributes),
            Op::Identity
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. } => self.alias(node),
            Op::Transpose { perm } => self.transpose(node, perm),
            Op::Concat { axis } => self.concat(node, *axis),
            Op::Split { axis, .. } => self.split(node, *axis),
            Op::Slice => self.slice(node),
            Op::Expand => self.expand(node),
            Op::Gather { axis } => self.gather(node, *axis),
            Op::Cast { .. } => self.cast(node),
            Op::DepthToSpace { block, crd } => self.depth_to_space(node, *block, *crd),
            Op::SpaceToDepth { block } => self.space_to_depth(node, *block),
            op => refused(reasons::OP, format!("no kernel computes {}", op.kind())),
        }
    }

    /// An input of the program, or of the one node that is asked about: row-major and dense.
    fn given(&mut self, id: ValueId) -> Option<Port> {
        let value = self.graph.value(id);
        if value.constant.is_some() || self.places.contains_key(&id) {
            return None;
        }
        let (dtype, extents) = (value.dtype?, value.extents()?);
        let count: usize = extents.iter().product();
        let bytes = dtype.byte_len(count)?;
        let tensor = self.plan.tensors.len();
        let padded = bytes.next_multiple_of(16);
        self.plan.tensors.push(Lifetime { bytes: padded, first: 0, last: 0 });
        let place = Arg::Tensor(tensor);
        self.places.insert(id, vec![(Layout::Rows, place)]);
        Some(Port { place, bytes })
    }

    /// An output of the program: row-major and dense.
    fn port(&mut self, id: ValueId) -> Result<Port> {
        let place = self.want(id, Layout::Rows)?;
        let value = self.graph.value(id);
        let bytes = extents_of(value)?.iter().product::<usize>() * width_of(value)?;
        Ok(Port { place, bytes })
    }

    // ---- values

    /// The value at an input of a node.
    pub(crate) fn input(&self, node: &Node, index: usize) -> Result<(ValueId, &'g Value)> {
        let graph: &'g Graph = self.graph;
        match node.input(index) {
            Some(id) => Ok((id, graph.value(id))),
            None => refused(reasons::OP, format!("expected input {index}, found none")),
        }
    }

    /// The value at the first output of a node.
    pub(crate) fn out(&self, node: &Node) -> Result<(ValueId, &'g Value)> {
        let graph: &'g Graph = self.graph;
        match node.outputs.first() {
            Some(&id) => Ok((id, graph.value(id))),
            None => refused(reasons::OP, "expected an output, found none"),
        }
    }

    /// An activation of 8 bits with one scale.
    pub(crate) fn codes(&self, value: &Value) -> Result<Codes> {
        let Some(dtype) = value.dtype.filter(|dtype| matches!(dtype, DType::U8 | DType::I8)) else {
            return refused(reasons::ACTIVATION_TYPE, format!("`{}` is neither u8 nor i8", value.name));
        };
        let wide = value.quant.as_ref().and_then(fewbit_core::quant::QuantParams::tensor_wide);
        let Some((scale, zero_point)) = wide else {
            return refused(reasons::ACTIVATION_TYPE, format!("`{}` has no one scale", value.name));
        };
        if !self.tuning.exact {
            return refused(
                reasons::PRECISION,
                "the adapter's float products do not round to nearest, so that codes would not be exact",
            );
        }
        let codes = Codes { dtype, scale, zero_point };
        let range = codes.range();
        if !SCALES.contains(&scale) || !(range.min..=range.max).contains(&zero_point) {
            return refused(reasons::RANGE, format!("`{}` has scale {scale}, zero {zero_point}", value.name));
        }
        Ok(codes)
    }

    /// Asks for the indices of an input to be checked before every run.
    pub(crate) fn check_indices(&mut self, input: usize, extent: usize) {
        self.plan.checks.push((input, extent));
    }

    // ---- memory

    /// A tensor of so many quads that the next launch writes.
    pub(crate) fn tensor(&mut self, quads: usize, width: usize) -> Result<usize> {
        let bytes = (quads * 4 * width).next_multiple_of(16);
        if bytes as u64 > self.tuning.binding_max {
            return refused(
                reasons::MEMORY,
                format!("a tensor takes {bytes} bytes, and the adapter binds {}", self.tuning.binding_max),
            );
        }
        let at = self.plan.launches.len() + 1;
        self.plan.tensors.push(Lifetime { bytes, first: at, last: at });
        Ok(self.plan.tensors.len() - 1)
    }

    /// A constant of the executable.
    pub(crate) fn constant(&mut self, make: impl FnOnce() -> Vec<u8>) -> Result<Arg> {
        let mut bytes = if self.dry { Vec::new() } else { make() };
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        if bytes.len() as u64 > self.tuning.binding_max {
            return refused(
                reasons::MEMORY,
                format!(
                    "a constant takes {} bytes, and the adapter binds {}",
                    bytes.len(),
                    self.tuning.binding_max
                ),
            );
        }
        self.plan.constants.push(Constant { bytes });
        Ok(Arg::Constant(self.plan.constants.len() - 1))
    }

    /// A constant of numbers.
    pub(crate) fn numbers<T: bytemuck::NoUninit>(&mut self, make: impl FnOnce() -> Vec<T>) -> Result<Arg> {
        self.constant(|| bytemuck::cast_slice(&make()).to_vec())
    }

    /// Launches a kernel.
    pub(crate) fn launch(
        &mut self,
        shader: Shader,
        reads: Vec<Arg>,
        write: usize,
        params: Vec<u32>,
        groups: [u32; 3],
    ) {
        let at = self.plan.launches.len() + 1;
        for arg in reads.iter().copied().chain([Arg::Tensor(write)]) {
            if let Arg::Tensor(tensor) = arg {
                let lifetime = &mut self.plan.tensors[tensor];
                lifetime.last = lifetime.last.max(at);
            }
        }
        let mut params = params;
        params.resize(params.len().next_multiple_of(4), 0);
        self.plan.launches.push(Launch { shader, reads, write, params, groups, node: self.at });
    }

    /// Launches a kernel that computes one quad an invocation.
    pub(crate) fn launch_quads(
        &mut self,
        shader: Shader,
        reads: Vec<Arg>,
        write: usize,
        params: Vec<u32>,
        quads: usize,
    ) {
        self.launch(shader, reads, write, params, linear(quads));
    }

    /// The form in which a value's producer left it; rows for inputs and constants.
    pub(crate) fn layout(&self, id: ValueId) -> Layout {
        self.places.get(&id).and_then(|forms| forms.first()).map_or(Layout::Rows, |form| form.0)
    }

    /// Where a value lies in a layout, moved there if it does not yet.
    pub(crate) fn want(&mut self, id: ValueId, layout: Layout) -> Result<Arg> {
        let value = self.graph.value(id);
        let shape = extents_of(value)?;
        let forms = self.places.get(&id).cloned().unwrap_or_default();
        if let Some(&(_, arg)) = forms.iter().find(|(other, _)| other.is_same(layout, &shape)) {
            return Ok(arg);
        }
        let place = match (&value.constant, forms.first()) {
            (Some(tensor), _) => {
                let width = width_of(value)?;
                self.constant(|| reorder(tensor.bytes(), width, &shape, layout))?
            }
            (None, Some(&(old, arg))) => self.moved(value, &shape, arg, old, layout)?,
            (None, None) => return refused(reasons::OP, format!("`{}` is produced by no node", value.name)),
        };
        self.places.entry(id).or_default().push((layout, place));
        Ok(place)
    }

    /// The first form of a value, whichever it is.
    pub(crate) fn any(&mut self, id: ValueId) -> Result<(Layout, Arg)> {
        let layout = self.layout(id);
        Ok((layout, self.want(id, layout)?))
    }

    /// Says where a value lies.
    pub(crate) fn put(&mut self, id: ValueId, layout: Layout, place: Arg) {
        self.places.insert(id, vec![(layout, place)]);
    }

    /// A tensor for a node's first output in a layout.
    pub(crate) fn output(&mut self, node: &Node, layout: Layout) -> Result<usize> {
        let (id, value) = self.out(node)?;
        let shape = extents_of(value)?;
        let width = width_of(value)?;
        let tensor = self.tensor(layout.quads(&shape), width)?;
        self.put(id, layout, Arg::Tensor(tensor));
        Ok(tensor)
    }

    fn moved(&mut self, value: &Value, shape: &[usize], from: Arg, old: Layout, new: Layout) -> Result<Arg> {
        let width = width_of(value)?;
        let to = self.tensor(new.quads(shape), width)?;
        let strides = old.strides(shape).into_iter().map(|stride| stride as i64).collect::<Vec<_>>();
        let walk = kernels::Walk::new(new, shape, &[&strides]);
        self.launch_move(from, to, width, &walk, 0)?;
        Ok(Arg::Tensor(to))
    }
}

/// Whether two values have the same type and parameters.
pub(crate) fn alike(x: &Value, y: &Value) -> bool {
    x.dtype == y.dtype && x.quant == y.quant
}

/// The multiplier of codes with one scale in codes with another.
pub(crate) fn ratio(from: Codes, to: Codes) -> f32 {
    from.scale / to.scale
}

/// The multiplier of a mean.
pub(crate) fn mean_multiplier(from: Codes, count: usize, to: Codes) -> f32 {
    convert::mean_multiplier(from.scale, count, to.scale)
}
