//! The reference interpreter: scalar, plain, and the oracle of every backend.
//!
//! Owns [`evaluate`] for one node, [`Interpreter`] for a graph, and those functions that backends must share to equal
//! it: [`unary_function`], [`erf`], and the sampling positions of a resize ([`nearest_sample`], [`linear_samples`]).
//!
//! - Float operators compute in f64 and round once to the output's type, f16 and bf16 included.
//! - Operators on quantized values compute the integer rules of [`quant::convert`](crate::quant::convert). Operators
//!   that it has no rule for dequantize, compute in float and quantize. Accumulators wrap at 32 bits where activations
//!   have at most 8; with 16-bit activations they have 64.
//! - [`Node::precision`] of `f16` or `bf16` rounds float operands first (of products: not the bias); `w8a8-dynamic`
//!   quantizes the whole input as DynamicQuantizeLinear does, accumulates integers and computes
//!   `f32(acc) * f32(s_x * s_w) + bias`, each step rounded; weight-only precisions dequantize the weights.
//! - Results of integer arithmetic wrap to the output's type.
//!
//! Inference says which shapes an operator takes and gives; nothing here is asked about a shape it has refused.

mod control;
mod convert_ops;
mod convolution;
mod elementwise;
mod functions;
mod index;
mod indexing;
mod matmul;
mod norm;
mod pool;
mod quantized;
mod recurrent;
mod reduce;
mod resize;
mod shape_ops;

use std::borrow::Cow;

pub use functions::{erf, erfc, unary_function};
pub use quantized::dequantize;
pub use resize::{linear_samples, nearest_sample, resize_scale};

use crate::error::{CoreError, CoreErrorKind, Result};
use crate::infer::{self, Site};
use crate::ir::{DType, Dim, Graph, Node, Op, Tensor, ValueId};
use crate::plan::Precision;
use crate::quant::QuantParams;

/// Most elements of a tensor here: more than any activation of a real model, and 2 GiB in f64.
///
/// Shapes are a model's word, and cost nothing; this bounds what believing them costs.
const MOST_ELEMENTS: usize = 1 << 28;

/// One node with its inputs and what is known of its outputs.
struct Call<'a> {
    site: &'a Site<'a>,
    inputs: Vec<Option<Cow<'a, Tensor>>>,
    input_quant: Vec<Option<&'a QuantParams>>,
    /// Types and extents; of an operator that decides its own, 0 stands where an extent is open.
    outputs: Vec<(DType, Vec<usize>)>,
    output_quant: Vec<Option<&'a QuantParams>>,
}

impl Call<'_> {
    fn op(&self) -> &Op {
        &self.site.node.op
    }

    fn precision(&self) -> Option<Precision> {
        self.site.node.precision
    }

    /// The input at `index`.
    fn input(&self, index: usize) -> Result<&Tensor> {
        self.optional(index).ok_or_else(|| {
            self.error(CoreErrorKind::Structure, format!("expected input {index}, found none"))
        })
    }

    /// The input at `index`, where present.
    fn optional(&self, index: usize) -> Option<&Tensor> {
        self.inputs.get(index).and_then(Option::as_deref)
    }

    /// The parameters of the input at `index`, where it is quantized.
    fn input_quant(&self, index: usize) -> Option<&QuantParams> {
        self.input_quant.get(index).copied().flatten()
    }

    /// The parameters of the first output, where it is quantized.
    fn output_quant(&self) -> Option<&QuantParams> {
        self.output_quant.first().copied().flatten()
    }

    /// The type of the first output.
    fn dtype(&self) -> DType {
        self.outputs[0].0
    }

    /// The extents of the first output.
    fn extents(&self) -> &[usize] {
        &self.outputs[0].1
    }

    /// The first output, from its real elements.
    fn floats(&self, values: &[f64]) -> Result<Vec<Tensor>> {
        Ok(vec![Tensor::from_f64(self.dtype(), self.extents(), values)?])
    }

    fn error(&self, kind: CoreErrorKind, message: impl AsRef<str>) -> CoreError {
        CoreError::new(kind, format!("{}: {}", self.op().kind(), message.as_ref())).at(&self.site.node.name)
    }

    /// The node with other inputs, as if nothing were quantized.
    fn in_floats(&self) -> Result<Call<'_>> {
        let inputs = self
            .inputs
            .iter()
            .enumerate()
            .map(|(index, input)| {
                input
                    .as_deref()
                    .map(|tensor| match self.input_quant(index) {
                        Some(quant) => quantized::dequantize(tensor, quant, DType::F32).map(Cow::Owned),
                        None => Ok(Cow::Borrowed(tensor)),
                    })
                    .transpose()
            })
            .collect::<Result<_>>()?;
        let outputs = self.outputs.iter().zip(&self.output_quant).map(|((dtype, extents), quant)| {
            (if quant.is_some() { DType::F32 } else { *dtype }, extents.clone())
        });
        Ok(Call {
            site: self.site,
            inputs,
            input_quant: vec![None; self.input_quant.len()],
            outputs: outputs.collect(),
            output_quant: vec![None; self.output_quant.len()],
        })
    }
}

/// Computes the outputs of `node` of `graph` from its inputs, one per [`Node::inputs`].
///
/// Of the graph only names, quantization parameters and declared element types of the node's values are read;
/// constants are given among `inputs` like everything else.
///
/// # Errors
/// [`CoreErrorKind::Unsupported`] for [`Op::Opaque`]; [`CoreErrorKind::Shape`] when inputs do not fit the operator;
/// [`CoreErrorKind::Quantization`] when quantization parameters do not fit their tensors; [`CoreErrorKind::Tensor`]
/// for what only elements tell (an index out of range, an integer division by zero) and for tensors of more than
/// 2^28 elements.
pub fn evaluate(graph: &Graph, node: &Node, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
    refuse_opaque(node)?;
    if inputs.len() != node.inputs.len() {
        return Err(CoreError::new(
            CoreErrorKind::Structure,
            format!("expected {} inputs, found {}", node.inputs.len(), inputs.len()),
        )
        .at(&node.name));
    }
    if let Op::Control(op) = &node.op {
        return control::evaluate(node, op, inputs).map_err(|error| error.at(&node.name));
    }
    let site = Site::from_tensors(graph, node, inputs);
    let decides = matches!(&node.op, Op::Index(op) if op.decides_extents());
    let extent = |dim: &Dim| dim.fixed().or(decides.then_some(0));
    let outputs = infer::outputs(&site)?
        .into_iter()
        .map(|output| {
            Some((output.dtype?, output.shape?.dims().iter().map(extent).collect::<Option<Vec<_>>>()?))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| site.error("expected inputs that decide the output's type and shape"))?;
    let sizes = inputs.iter().flatten().map(|tensor| tensor.extents());
    for extents in sizes.chain(outputs.iter().map(|(_, extents)| extents.as_slice())) {
        // An extent of zero must not hide others whose products overflow.
        let bound = extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent.max(1)));
        if bound.is_none_or(|bound| bound > MOST_ELEMENTS) {
            return Err(CoreError::new(
                CoreErrorKind::Tensor,
                format!("expected tensors of at most {MOST_ELEMENTS} elements, found extents {extents:?}"),
            )
            .at(&node.name));
        }
    }
    let quant = |id: ValueId| graph.value(id).quant.as_ref();
    let call = Call {
        inputs: inputs.iter().map(|input| input.map(Cow::Borrowed)).collect(),
        input_quant: node.inputs.iter().map(|id| id.and_then(quant)).collect(),
        output_quant: node.outputs.iter().map(|&id| quant(id)).collect(),
        outputs,
        site: &site,
    };
    for (tensor, quant) in call.inputs.iter().zip(&call.input_quant) {
        if let (Some(tensor), Some(quant)) = (tensor, quant) {
            quant.validate(tensor.dtype(), tensor.extents()).map_err(|error| error.at(&node.name))?;
        }
    }
    for ((dtype, extents), quant) in call.outputs.iter().zip(&call.output_quant) {
        if let Some(quant) = quant {
            quant.validate(*dtype, extents).map_err(|error| error.at(&node.name))?;
        }
    }
    quantized::evaluate(&call).map_err(|error| error.at(&node.name))
}

fn refuse_opaque(node: &Node) -> Result<()> {
    node.unsupported().map_or(Ok(()), Err)
}

/// Computes operators on float and integer tensors, nothing of them quantized.
fn plain(call: &Call) -> Result<Vec<Tensor>> {
    match call.op() {
        Op::Identity => Ok(vec![call.input(0)?.clone()]),
        Op::Conv { conv, activation } => convolution::conv(call, conv, *activation),
        Op::ConvTranspose { conv, activation, .. } => convolution::conv_transpose(call, conv, *activation),
        Op::Gemm { alpha, beta, trans_a, trans_b, activation } => {
            matmul::gemm(call, *alpha, *beta, (*trans_a, *trans_b), *activation)
        }
        Op::MatMul => matmul::mat_mul(call),
        Op::MaxPool(pool) => pool::max_pool(call, pool),
        Op::AveragePool(pool) => pool::average_pool(call, pool),
        Op::GlobalAveragePool => reduce::global_average(call),
        Op::GlobalMaxPool => reduce::global_max(call),
        Op::Unary(op) => elementwise::unary(call, *op),
        Op::Binary { op, activation } => elementwise::binary(call, *op, *activation),
        Op::Compare(op) => elementwise::compare(call, *op),
        Op::Logic(op) => elementwise::logic(call, *op),
        Op::Where => shape_ops::choose(call),
        Op::Softmax { axis, log } => norm::softmax(call, *axis, *log),
        Op::BatchNorm { epsilon } => norm::batch_norm(call, *epsilon),
        Op::LayerNorm { axis, epsilon } => norm::layer_norm(call, *axis, *epsilon),
        Op::InstanceNorm { epsilon } => norm::instance_norm(call, *epsilon),
        Op::Reduce { op, axes, .. } => reduce::reduce(call, *op, axes),
        Op::ArgMax { axis, last, min, .. } => reduce::arg_max(call, *axis, *last, *min),
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } => {
            Ok(vec![call.input(0)?.reshaped(call.extents())?])
        }
        Op::Transpose { perm } => shape_ops::transpose(call, perm),
        Op::Concat { axis } => shape_ops::concat(call, *axis),
        Op::Split { axis, .. } => shape_ops::split(call, *axis),
        Op::Slice => shape_ops::slice(call),
        Op::Gather { axis } => shape_ops::gather(call, *axis),
        Op::Index(op) => index::evaluate(call, op),
        Op::Recurrent(layer) => recurrent::evaluate(call, layer),
        Op::Expand => shape_ops::expand(call),
        Op::Tile => shape_ops::tile(call),
        Op::Pad { mode } => shape_ops::pad(call, *mode, call.optional(2)),
        Op::Resize(attributes) => resize::resize(call, *attributes),
        Op::DepthToSpace { block, crd } => shape_ops::depth_to_space(call, *block, *crd),
        Op::SpaceToDepth { block } => shape_ops::space_to_depth(call, *block),
        Op::Shape { start, .. } => shape_ops::shape(call, *start),
        Op::Size => Ok(vec![Tensor::scalar(call.input(0)?.elements() as i64)]),
        Op::ConstantOfShape { value } => shape_ops::constant_of_shape(call, value),
        Op::Range => shape_ops::range(call),
        Op::Cast { to } => convert_ops::cast(call, *to),
        Op::QuantizeLinear { axis, block, .. } => convert_ops::quantize_linear(call, *axis, *block),
        Op::DequantizeLinear { axis, block } => convert_ops::dequantize_linear(call, *axis, *block),
        Op::DynamicQuantizeLinear => convert_ops::dynamic_quantize_linear(call),
        Op::Quantize | Op::Dequantize | Op::Requantize => Err(call.error(
            CoreErrorKind::Quantization,
            "expected quantization parameters on the value it converts, found none",
        )),
        Op::Control(_) | Op::Opaque { .. } => {
            Err(call.error(CoreErrorKind::Unsupported, "expected an operator of this build"))
        }
    }
}

/// Runs a graph node by node.
///
/// The graph's free dimensions may stay free: each run takes its extents from the inputs.
#[derive(Debug)]
pub struct Interpreter<'g> {
    graph: &'g Graph,
    /// Per position in the order of nodes, the values nobody reads behind it.
    dead_after: Vec<Vec<ValueId>>,
}

impl<'g> Interpreter<'g> {
    /// Prepares to run `graph`.
    ///
    /// # Errors
    /// [`CoreErrorKind::Unsupported`] naming the first operator without a meaning; [`CoreErrorKind::Structure`] when
    /// nodes are not in topological order or a value is read that nothing produces.
    pub fn new(graph: &'g Graph) -> Result<Self> {
        let values = graph.value_ids().len();
        let mut ready = vec![false; values];
        for id in graph.value_ids().filter(|&id| graph.value(id).constant.is_some()) {
            ready[id.index()] = true;
        }
        for id in &graph.inputs {
            ready[id.index()] = true;
        }
        let mut last_use = vec![None; values];
        let missing = |id: ValueId, place: &str| {
            CoreError::new(
                CoreErrorKind::Structure,
                format!("expected `{}` to be produced before it is read", graph.value(id).name),
            )
            .at(place)
        };
        for (position, (_, node)) in graph.nodes().enumerate() {
            refuse_opaque(node)?;
            for &input in node.inputs.iter().flatten() {
                if !ready[input.index()] {
                    return Err(missing(input, &node.name));
                }
                last_use[input.index()] = Some(position);
            }
            for &output in &node.outputs {
                ready[output.index()] = true;
                last_use[output.index()] = Some(position);
            }
        }
        let mut dead_after = vec![Vec::new(); graph.node_count()];
        for &output in &graph.outputs {
            if !ready[output.index()] {
                return Err(missing(output, &graph.name));
            }
            last_use[output.index()] = None;
        }
        for id in graph.value_ids() {
            if let Some(position) = last_use[id.index()] {
                dead_after[position].push(id);
            }
        }
        Ok(Self { graph, dead_after })
    }

    /// Computes the graph's outputs from its inputs, both in the graph's order.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when an input does not fit its declared type or shape; and as [`evaluate`].
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_observed(inputs, &mut |_, _| {})
    }

    /// As [`Interpreter::run`], showing `observe` every input and every value a node produces, in order.
    ///
    /// # Errors
    /// As [`Interpreter::run`].
    pub fn run_observed(
        &self,
        inputs: &[Tensor],
        observe: &mut dyn FnMut(ValueId, &Tensor),
    ) -> Result<Vec<Tensor>> {
        self.check_inputs(inputs)?;
        let mut values: Vec<Option<Tensor>> =
            self.graph.value_ids().map(|id| self.graph.value(id).constant.clone()).collect();
        for (&id, tensor) in self.graph.inputs.iter().zip(inputs) {
            observe(id, tensor);
            values[id.index()] = Some(tensor.clone());
        }
        for ((_, node), dead) in self.graph.nodes().zip(&self.dead_after) {
            let arguments: Vec<Option<&Tensor>> =
                node.inputs.iter().map(|input| input.and_then(|id| values[id.index()].as_ref())).collect();
            let outputs = evaluate(self.graph, node, &arguments)?;
            for (&id, tensor) in node.outputs.iter().zip(outputs) {
                observe(id, &tensor);
                values[id.index()] = Some(tensor);
            }
            for id in dead {
                values[id.index()] = None;
            }
        }
        let output =
            |id: &ValueId| values[id.index()].clone().expect("new checked that outputs are produced");
        Ok(self.graph.outputs.iter().map(output).collect())
    }

    fn check_inputs(&self, inputs: &[Tensor]) -> Result<()> {
        let fail = |message: String| Err(CoreError::new(CoreErrorKind::Tensor, message));
        if inputs.len() != self.graph.inputs.len() {
            return fail(format!("expected {} inputs, found {}", self.graph.inputs.len(), inputs.len()));
        }
        let mut bound: Vec<(&str, usize)> = Vec::new();
        for (&id, tensor) in self.graph.inputs.iter().zip(inputs) {
            let value = self.graph.value(id);
            if let Some(dtype) = value.dtype.filter(|&dtype| dtype != tensor.dtype()) {
                return fail(format!("expected elements of type {dtype}, found {}", tensor.dtype()))
                    .map_err(|error| error.at(&value.name));
            }
            let Some(shape) = &value.shape else { continue };
            let mut fits = shape.rank() == tensor.extents().len();
            for (dim, &extent) in shape.dims().iter().zip(tensor.extents()) {
                fits &= match dim {
                    Dim::Fixed(expected) => *expected == extent,
                    Dim::Symbol(symbol) => {
                        let known = bound.iter().find(|(known, _)| known == symbol).map(|(_, known)| *known);
                        if known.is_none() {
                            bound.push((symbol, extent));
                        }
                        known.is_none_or(|known| known == extent)
                    }
                };
            }
            if !fits {
                return fail(format!("expected shape {shape}, found {:?}", tensor.extents()))
                    .map_err(|error| error.at(&value.name));
            }
        }
        Ok(())
    }
}
