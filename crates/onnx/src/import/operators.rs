//! One operator at a time: from ONNX's definition, of whatever set, to the IR's.

mod attention;
mod compose;
mod computed;
mod index;
mod norms;
mod old;
mod recurrent;
mod resize;
mod rotary;
pub(super) mod table;

use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, DType, IndexOp, Op, PadMode, PoolAttributes, ReduceOp, Tensor,
    UnaryOp, ValueId,
};

use self::table::Operator;
use super::attributes::Attributes;
use super::{Importer, Translated};
use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::proto::NodeProto;
use crate::tensor;

/// Translates a node by its operator's entry in the table.
///
/// # Errors
/// One that says so (see [`OnnxError::lack`]) where the IR lacks the node's form of the operator.
pub(super) fn translate(
    importer: &mut Importer,
    operator: &Operator,
    to_op: fn(&mut Site<'_, '_>) -> Result<Op>,
    proto: &NodeProto,
    attributes: &Attributes,
    inputs: Vec<Option<ValueId>>,
) -> Result<Translated> {
    let mut outputs = proto.output.clone();
    // Optional outputs behind the first are dropped where nobody names them.
    while outputs.len() > 1 && outputs.last().is_some_and(String::is_empty) {
        outputs.pop();
    }
    let mut site = Site { importer, attributes, inputs, outputs };
    if site.importer.opset < 7 && operator.domain.is_empty() {
        site.align_old(operator.name)?;
    }
    let op = to_op(&mut site)?;
    let Site { inputs, mut outputs, .. } = site;
    // Outputs that nobody names are still made.
    let made = match &op {
        Op::Index(op) => op.arity().2,
        Op::Recurrent(layer) => layer.arity().2,
        _ => 1,
    };
    while outputs.len() < made {
        outputs.push(String::new());
    }
    let single = !matches!(
        op,
        Op::Split { .. } | Op::Index(_) | Op::Recurrent(_) | Op::DynamicQuantizeLinear | Op::Opaque { .. }
    );
    if single && outputs.len() > 1 {
        return Err(attributes.lacks(format!("{} outputs; one is supported", outputs.len())));
    }
    Ok(Translated { op, inputs, outputs })
}

/// What a node says of its axes.
enum Given {
    /// Nothing: the operator's default holds.
    Nothing,
    /// These.
    Axes(Vec<i64>),
    /// Something that is only known while running.
    Computed,
}

pub(super) struct Site<'a, 'b> {
    importer: &'a mut Importer<'b>,
    attributes: &'a Attributes<'a>,
    inputs: Vec<Option<ValueId>>,
    /// The outputs' names; what a composition makes itself is taken out.
    outputs: Vec<String>,
}

impl Site<'_, '_> {
    /// In inference the mask is all ones; a model in training mode is none that we can run.
    fn dropout(&mut self) -> Result<Op> {
        if self.outputs.len() > 1 {
            self.dropout_mask()?;
        }
        self.inputs.truncate(1);
        Ok(Op::Identity)
    }

    fn gelu(&self) -> Result<Op> {
        match self.attributes.text("approximate", "none") {
            "none" => Ok(Op::Unary(UnaryOp::Gelu { tanh: false })),
            "tanh" => Ok(Op::Unary(UnaryOp::Gelu { tanh: true })),
            other => Err(self.attributes.lacks(format!("approximate {other}; none and tanh are supported"))),
        }
    }

    fn cast(&self) -> Result<Op> {
        Ok(Op::Cast { to: self.type_by_number("to", self.attributes.int("to", 0))? })
    }

    fn bit_shift(&self) -> Result<Op> {
        let op = match self.attributes.text("direction", "") {
            "LEFT" => BinaryOp::ShiftLeft,
            "RIGHT" => BinaryOp::ShiftRight,
            other => {
                return Err(self
                    .attributes
                    .fail(format!("expects direction LEFT or RIGHT, found `{other}`")));
            }
        };
        Ok(Op::Binary { op, activation: Activation::None })
    }

    fn gemm(&self) -> Op {
        let a = self.attributes;
        Op::Gemm {
            alpha: a.float("alpha", 1.0),
            beta: a.float("beta", 1.0),
            trans_a: a.flag("transA", false),
            trans_b: a.flag("transB", false),
            activation: Activation::None,
        }
    }

    fn max_pool(&self) -> Result<Op> {
        let pool = self.pool(false)?;
        if self.outputs.len() == 1 {
            return Ok(Op::MaxPool(pool));
        }
        let column_major = self.attributes.flag("storage_order", false);
        Ok(Op::Index(IndexOp::MaxPoolIndices { pool, column_major }))
    }

    fn batch_norm(&self) -> Result<Op> {
        let a = self.attributes;
        if a.flag("training_mode", false) {
            return Err(a.lacks("training_mode 1; inference, training_mode 0, is supported"));
        }
        Ok(Op::BatchNorm { epsilon: a.float("epsilon", 1e-5) })
    }

    fn layer_norm(&mut self) -> Result<Op> {
        let (axis, epsilon) = (self.own_axis(-1)?, self.attributes.float("epsilon", 1e-5));
        if self.outputs.len() > 1 {
            self.layer_statistics(axis, epsilon)?;
        }
        Ok(Op::LayerNorm { axis, epsilon })
    }

    fn arg_max(&self, min: bool) -> Result<Op> {
        let a = self.attributes;
        let (keep_dims, last) = (a.flag("keepdims", true), a.flag("select_last_index", false));
        Ok(Op::ArgMax { axis: self.own_axis(0)?, keep_dims, last, min })
    }

    fn flatten(&self) -> Result<Op> {
        let rank = self.importer.rank(self.input(0))?;
        let axis = self.attributes.int("axis", 1);
        // The axis behind the last is allowed, but negative ones count from the rank.
        let bound = rank + usize::from(axis >= 0);
        Ok(Op::Flatten { axis: from_front(axis, bound).ok_or_else(|| self.bad_axis(rank))? })
    }

    fn space_to_depth(&mut self) -> Result<Op> {
        let block = self.block()?;
        if self.attributes.text("mode", "DCR") == "CRD" {
            return self.space_to_depth_crd(block);
        }
        Ok(Op::SpaceToDepth { block })
    }

    fn constant_of_shape(&self) -> Result<Op> {
        let a = self.attributes;
        let value = a.tensor("value", self.importer.folder)?.unwrap_or_else(|| Tensor::scalar(0f32));
        if value.elements() != 1 {
            return Err(a.fail(format!("expects a value of one element, found {}", value.elements())));
        }
        Ok(Op::ConstantOfShape { value })
    }

    fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    fn constant(&self, index: usize) -> Option<&Tensor> {
        self.importer.constant_of(self.input(index))
    }

    fn bad_axis(&self, rank: usize) -> OnnxError {
        self.attributes.fail(format!("expects axes that an input of rank {rank} has"))
    }

    /// The axis that the attribute `axis` names, or `default`, counted from the front.
    fn own_axis(&self, default: i64) -> Result<usize> {
        self.axis(self.attributes.int("axis", default))
    }

    /// An axis of the first input, counted from the front.
    fn axis(&self, axis: i64) -> Result<usize> {
        if let (Ok(axis), Err(_)) = (usize::try_from(axis), self.importer.rank(self.input(0))) {
            return Ok(axis);
        }
        let rank = self.importer.rank(self.input(0))?;
        from_front(axis, rank).ok_or_else(|| self.bad_axis(rank))
    }

    /// Axes of a tensor of `rank`, counted from the front, ascending, each once.
    fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut list: Vec<usize> = axes
            .iter()
            .map(|&axis| from_front(axis, rank).ok_or_else(|| self.bad_axis(rank)))
            .collect::<Result<_>>()?;
        list.sort_unstable();
        if list.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.attributes.fail(format!("expects each axis once, found {axes:?}")));
        }
        Ok(list)
    }

    /// Axes given as an attribute (older sets) or as a constant input.
    fn given_axes(&self, index: usize) -> Given {
        if let Some(axes) = self.attributes.ints("axes") {
            return Given::Axes(axes.to_vec());
        }
        match (self.input(index), self.constant(index)) {
            (None, _) => Given::Nothing,
            (Some(_), Some(tensor)) => Given::Axes(tensor.to_i64_vec()),
            (Some(_), None) => Given::Computed,
        }
    }

    /// Kernel extents, strides, dilations and pads of a window.
    fn window(&self, kernel: Vec<usize>) -> Result<ConvAttributes> {
        let a = self.attributes;
        let rank = kernel.len();
        let strides = a.extents("strides", rank, 1, 1)?;
        let dilations = a.extents("dilations", rank, 1, 1)?;
        let mut pads = a.extents("pads", 2 * rank, 0, 0)?;
        match a.text("auto_pad", "NOTSET") {
            "NOTSET" | "" | "VALID" => {}
            same @ ("SAME_UPPER" | "SAME_LOWER") => {
                let extents = self
                    .input(0)
                    .and_then(|id| self.importer.graph.value(id).extents())
                    .filter(|extents| extents.len() == rank + 2)
                    .ok_or_else(|| {
                        a.fail("pads by its input's extents, which are not known yet")
                            .with_help("fix the model's inputs with --shape")
                    })?;
                for axis in 0..rank {
                    let reach = (kernel[axis] - 1) * dilations[axis] + 1;
                    let input = extents[axis + 2];
                    let outputs = input.div_ceil(strides[axis]);
                    let total = (outputs.saturating_sub(1) * strides[axis] + reach).saturating_sub(input);
                    let (less, more) = (total / 2, total - total / 2);
                    let (begin, end) = if same == "SAME_UPPER" { (less, more) } else { (more, less) };
                    pads[axis] = begin;
                    pads[axis + rank] = end;
                }
            }
            other => return Err(a.fail(format!("expects a known auto_pad, found `{other}`"))),
        }
        Ok(ConvAttributes { kernel, strides, dilations, pads, groups: 1 })
    }

    /// A window whose extents the attributes give.
    fn own_window(&self) -> Result<ConvAttributes> {
        let a = self.attributes;
        let rank = a.ints("kernel_shape").ok_or_else(|| a.fail("expects kernel_shape, found none"))?.len();
        self.window(a.extents("kernel_shape", rank, 1, 1)?)
    }

    fn conv(&self) -> Result<ConvAttributes> {
        let a = self.attributes;
        let kernel = match a.ints("kernel_shape") {
            Some(kernel) => a.extents("kernel_shape", kernel.len(), 1, 1)?,
            None => self
                .input(1)
                .and_then(|id| self.importer.graph.value(id).extents())
                .and_then(|extents| extents.get(2..).map(<[usize]>::to_vec))
                .ok_or_else(|| a.fail("expects kernel_shape or constant weights"))?,
        };
        let groups = usize::try_from(a.int("group", 1)).ok().filter(|&groups| groups > 0);
        let groups = groups.ok_or_else(|| a.fail("expects at least one group"))?;
        Ok(ConvAttributes { groups, ..self.window(kernel)? })
    }

    fn conv_transpose(&self) -> Result<Op> {
        let a = self.attributes;
        if a.has("output_shape") {
            return Err(a.lacks("output_shape; explicit pads and output_padding are supported"));
        }
        let auto_pad = a.text("auto_pad", "NOTSET");
        if !matches!(auto_pad, "NOTSET" | "VALID" | "") {
            return Err(a.lacks(format!("auto_pad {auto_pad}; NOTSET and VALID are supported")));
        }
        let conv = self.conv()?;
        let output_padding = a.extents("output_padding", conv.kernel.len(), 0, 0)?;
        Ok(Op::ConvTranspose { conv, output_padding, activation: Activation::None })
    }

    fn pool(&self, count_include_pad: bool) -> Result<PoolAttributes> {
        let a = self.attributes;
        let window = self.own_window()?;
        Ok(PoolAttributes {
            kernel: window.kernel,
            strides: window.strides,
            dilations: window.dilations,
            pads: window.pads,
            ceil: a.flag("ceil_mode", false),
            count_include_pad,
        })
    }

    fn clip(&mut self) -> Result<Op> {
        let a = self.attributes;
        if self.importer.opset < 11 {
            let (min, max) = (a.float("min", f32::NEG_INFINITY), a.float("max", f32::INFINITY));
            return Ok(Op::Unary(UnaryOp::Clip { min, max }));
        }
        let bound = |index: usize, open: f32| match (self.input(index), self.constant(index)) {
            (None, _) => Some(open),
            (Some(_), Some(tensor)) => tensor.to_f32_vec().first().copied(),
            (Some(_), None) => None,
        };
        let (Some(min), Some(max)) = (bound(1, f32::NEG_INFINITY), bound(2, f32::INFINITY)) else {
            return self.computed_clip();
        };
        self.inputs.truncate(1);
        Ok(Op::Unary(UnaryOp::Clip { min, max }))
    }

    fn softmax(&self, log: bool) -> Result<Op> {
        let a = self.attributes;
        if self.importer.opset >= 13 {
            return Ok(Op::Softmax { axis: self.axis(a.int("axis", -1))?, log });
        }
        // Before set 13 the axes from `axis` on count as one; only the last axis means the same.
        let rank = self.importer.rank(self.input(0))?;
        let axis = self.axis(a.int("axis", 1))?;
        let extents = self.input(0).and_then(|id| self.importer.graph.value(id).extents());
        let rest_is_one =
            extents.is_some_and(|extents| extents[axis + 1..].iter().all(|&extent| extent == 1));
        if axis + 1 == rank || rest_is_one {
            return Ok(Op::Softmax { axis, log });
        }
        Err(a.lacks(format!(
            "axis {axis} of {rank} before set 13, where all axes from it on count as one; the last axis is supported"
        )))
    }

    fn reduce(&mut self, op: ReduceOp) -> Result<Op> {
        let a = self.attributes;
        let rank = self.importer.rank(self.input(0))?;
        let axes = match self.given_axes(1) {
            Given::Computed => return Ok(self.reduce_computed(op)),
            Given::Axes(axes) if !axes.is_empty() => self.axes(&axes, rank)?,
            _ if a.flag("noop_with_empty_axes", false) => Vec::new(),
            _ => (0..rank).collect(),
        };
        self.inputs.truncate(1);
        Ok(Op::Reduce { op, axes, keep_dims: a.flag("keepdims", true) })
    }

    fn permutation(&self) -> Result<Vec<usize>> {
        let Some(perm) = self.attributes.ints("perm") else {
            return Ok((0..self.importer.rank(self.input(0))?).rev().collect());
        };
        let list: Option<Vec<usize>> = perm.iter().map(|&axis| from_front(axis, perm.len())).collect();
        let list = list.ok_or_else(|| self.bad_axis(perm.len()))?;
        let mut sorted = list.clone();
        sorted.sort_unstable();
        if sorted.iter().enumerate().any(|(at, &axis)| at != axis) {
            return Err(self.attributes.fail(format!("expects a permutation, found {perm:?}")));
        }
        Ok(list)
    }

    fn squeeze(&mut self, insert: bool) -> Result<Op> {
        let op = match (self.given_axes(1), insert) {
            (Given::Computed, _) => return self.squeeze_computed(insert),
            (Given::Axes(axes), true) => {
                let rank = self.importer.rank(self.input(0)).map(|rank| rank + axes.len());
                let rank = match rank {
                    Ok(rank) => rank,
                    // Without a rank only axes from the front can be told.
                    Err(_) if axes.iter().all(|&axis| axis >= 0) => i64::MAX as usize,
                    Err(error) => return Err(error),
                };
                Op::Unsqueeze { axes: self.axes(&axes, rank)? }
            }
            (Given::Axes(axes), false) => {
                Op::Squeeze { axes: self.axes(&axes, self.importer.rank(self.input(0))?)? }
            }
            (Given::Nothing, true) => return Err(self.attributes.fail("expects axes, found none")),
            (Given::Nothing, false) => Op::Squeeze { axes: Vec::new() },
        };
        self.inputs.truncate(1);
        Ok(op)
    }

    fn split(&mut self) -> Result<Op> {
        let a = self.attributes;
        let axis = self.axis(a.int("axis", 0))?;
        let sizes = match (a.ints("split"), self.input(1), self.constant(1)) {
            (Some(sizes), _, _) => sizes.to_vec(),
            (None, None, _) => Vec::new(),
            (None, Some(_), Some(tensor)) => tensor.to_i64_vec(),
            (None, Some(_), None) => return self.split_computed(axis),
        };
        let sizes: Option<Vec<usize>> = sizes.iter().map(|&size| usize::try_from(size).ok()).collect();
        let sizes = sizes.ok_or_else(|| a.fail("expects sizes of 0 or more"))?;
        self.inputs.truncate(1);
        Ok(Op::Split { axis, sizes })
    }

    fn slice(&mut self) -> Result<Op> {
        let a = self.attributes;
        let Some(starts) = a.ints("starts") else { return Ok(Op::Slice) };
        let ends = a.ints("ends").ok_or_else(|| a.fail("expects ends, found none"))?;
        let mut list = vec![starts, ends];
        list.extend(a.ints("axes"));
        for (values, name) in list.into_iter().zip(["starts", "ends", "axes"]) {
            self.push_ints(name, values)?;
        }
        Ok(Op::Slice)
    }

    /// Adds a constant input of integers that older sets give as an attribute.
    fn push_ints(&mut self, name: &str, values: &[i64]) -> Result<()> {
        let tensor = Tensor::from_slice(&[values.len()], values)
            .map_err(|error| OnnxError::core(OnnxErrorKind::Attribute, error))?;
        let base = self.constant_name(name);
        let id = self.importer.new_constant(&base, tensor);
        self.inputs.push(Some(id));
        Ok(())
    }

    fn constant_name(&self, name: &str) -> String {
        let of = self.input(0).map_or("", |id| self.importer.graph.value(id).name.as_str());
        format!("{of}.{name}")
    }

    fn pad(&mut self) -> Result<Op> {
        let a = self.attributes;
        let name = a.text("mode", "constant");
        let mode =
            PadMode::named(name).ok_or_else(|| a.fail(format!("expects a known mode, found `{name}`")))?;
        if let Some(pads) = a.ints("pads") {
            self.push_ints("pads", pads)?;
            let value = a.float("value", 0.0);
            let base = self.constant_name("value");
            let id = self.importer.new_constant(&base, Tensor::scalar(value));
            self.inputs.push(Some(id));
        }
        Ok(Op::Pad { mode })
    }

    fn block(&self) -> Result<usize> {
        usize::try_from(self.attributes.int("blocksize", 0))
            .ok()
            .filter(|&block| block > 0)
            .ok_or_else(|| self.attributes.fail("expects a block of at least 1"))
    }

    fn shape(&self) -> Result<Op> {
        let a = self.attributes;
        if !a.has("start") && !a.has("end") {
            return Ok(Op::Shape { start: 0, end: None });
        }
        let rank = self.importer.rank(self.input(0))? as i64;
        let clamp =
            |axis: i64| (if axis < 0 { axis.saturating_add(rank) } else { axis }).clamp(0, rank) as usize;
        let end = a.has("end").then(|| clamp(a.int("end", 0)));
        Ok(Op::Shape { start: clamp(a.int("start", 0)), end })
    }

    fn linear(&mut self, quantize: bool) -> Result<Op> {
        let a = self.attributes;
        let scale_rank = self.importer.rank(self.input(1)).unwrap_or(0);
        let axis = match self.importer.rank(self.input(0)) {
            // The axis means nothing with a single scale; models carry any number there.
            Ok(rank) if scale_rank == 0 => from_front(a.int("axis", 1), rank).unwrap_or(0),
            Ok(rank) => match from_front(a.int("axis", 1), rank) {
                Some(axis) => axis,
                // A vector with one scale is per tensor too, as opset 10 models write it.
                None if self.constant(1).is_some_and(|scale| scale.elements() == 1) => 0,
                None => return Err(self.bad_axis(rank)),
            },
            Err(_) => usize::try_from(a.int("axis", 1)).unwrap_or(0),
        };
        let block =
            usize::try_from(a.int("block_size", 0)).map_err(|_| a.fail("expects a block of 0 or more"))?;
        if !quantize {
            return Ok(Op::DequantizeLinear { axis, block });
        }
        let to = match (self.input(2), a.int("output_dtype", 0)) {
            (Some(zero), _) => self.importer.graph.value(zero).dtype.unwrap_or(DType::U8),
            (None, 0) => DType::U8,
            (None, number) => match tensor::dtype(number as i32) {
                Ok(dtype) => dtype,
                Err(_) => {
                    return Err(a.lacks(format!(
                        "output_dtype {number}; numbers of integers and floats are supported"
                    )));
                }
            },
        };
        Ok(Op::QuantizeLinear { axis, block, to })
    }
}

/// An axis counted from the front; `None` where the rank has no such axis.
fn from_front(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    (0..rank).contains(&axis).then_some(axis as usize)
}
