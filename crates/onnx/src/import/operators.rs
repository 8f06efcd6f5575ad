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

use fewbit_core::ir::{
    Activation, BinaryOp, CompareOp, ConvAttributes, DType, IndexOp, LogicOp, Op, PadMode, PoolAttributes,
    ReduceOp, Tensor, UnaryOp, ValueId,
};

use super::attributes::Attributes;
use super::{Importer, Translated, opaque};
use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::proto::NodeProto;
use crate::tensor;

/// Translates a node. An operator that the IR lacks, or a form of one, becomes [`Op::Opaque`].
pub(super) fn translate(
    importer: &mut Importer,
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
    let known = matches!(proto.domain(), "" | "ai.onnx")
        || (proto.domain() == "com.microsoft"
            && matches!(proto.op_type(), "QuantizeLinear" | "DequantizeLinear" | "Gelu"));
    let op = if known { site.op(proto.op_type())? } else { None };
    let op = op.unwrap_or_else(|| opaque(proto, attributes));
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
        return Ok(Translated { op: opaque(proto, attributes), inputs, outputs });
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

struct Site<'a, 'b> {
    importer: &'a mut Importer<'b>,
    attributes: &'a Attributes<'a>,
    inputs: Vec<Option<ValueId>>,
    /// The outputs' names; what a composition makes itself is taken out.
    outputs: Vec<String>,
}

impl Site<'_, '_> {
    /// The operator; `None` where the IR has no meaning for it.
    fn op(&mut self, op_type: &str) -> Result<Option<Op>> {
        if self.importer.opset < 7 && !self.align_old(op_type)? {
            return Ok(None);
        }
        if let Some(op) = unary(op_type) {
            return Ok(Some(Op::Unary(op)));
        }
        if let Some(op) = binary(op_type) {
            return Ok(Some(Op::Binary { op, activation: Activation::None }));
        }
        let a = self.attributes;
        Ok(Some(match op_type {
            "Identity" => Op::Identity,
            // In inference the mask is all ones; a model in training mode is none that we can run.
            "Dropout" => {
                if self.outputs.len() > 1 {
                    self.dropout_mask()?;
                }
                self.inputs.truncate(1);
                Op::Identity
            }
            "LeakyRelu" => Op::Unary(UnaryOp::LeakyRelu { alpha: a.float("alpha", 0.01) }),
            "Elu" => Op::Unary(UnaryOp::Elu { alpha: a.float("alpha", 1.0) }),
            "Celu" => Op::Unary(UnaryOp::Celu { alpha: a.float("alpha", 1.0) }),
            // The constants of Klambauer et al. 2017, as ONNX rounds them.
            "Selu" => Op::Unary(UnaryOp::Selu {
                alpha: a.float("alpha", 1.673_263_2),
                gamma: a.float("gamma", 1.050_701),
            }),
            "ThresholdedRelu" => Op::Unary(UnaryOp::ThresholdedRelu { alpha: a.float("alpha", 1.0) }),
            "Shrink" => {
                Op::Unary(UnaryOp::Shrink { bias: a.float("bias", 0.0), lambda: a.float("lambd", 0.5) })
            }
            "HardSigmoid" => {
                Op::Unary(UnaryOp::HardSigmoid { alpha: a.float("alpha", 0.2), beta: a.float("beta", 0.5) })
            }
            "Gelu" => Op::Unary(UnaryOp::Gelu { tanh: a.text("approximate", "none") == "tanh" }),
            "Clip" => {
                return Ok(match self.clip() {
                    Some(op) => Some(op),
                    None => self.computed_clip(),
                });
            }
            "Mod" => {
                let op = if a.flag("fmod", false) { BinaryOp::Fmod } else { BinaryOp::Mod };
                Op::Binary { op, activation: Activation::None }
            }
            "BitShift" => Op::Binary {
                op: match a.text("direction", "") {
                    "LEFT" => BinaryOp::ShiftLeft,
                    "RIGHT" => BinaryOp::ShiftRight,
                    other => return Err(a.fail(format!("expects direction LEFT or RIGHT, found `{other}`"))),
                },
                activation: Activation::None,
            },
            "Equal" => Op::Compare(CompareOp::Equal),
            "Greater" => Op::Compare(CompareOp::Greater),
            "GreaterOrEqual" => Op::Compare(CompareOp::GreaterOrEqual),
            "Less" => Op::Compare(CompareOp::Less),
            "LessOrEqual" => Op::Compare(CompareOp::LessOrEqual),
            "And" => Op::Logic(LogicOp::And),
            "Or" => Op::Logic(LogicOp::Or),
            "Xor" => Op::Logic(LogicOp::Xor),
            "Where" => Op::Where,
            "Conv" => Op::Conv { conv: self.conv()?, activation: Activation::None },
            "ConvTranspose" => return self.conv_transpose(),
            "Gemm" => Op::Gemm {
                alpha: a.float("alpha", 1.0),
                beta: a.float("beta", 1.0),
                trans_a: a.flag("transA", false),
                trans_b: a.flag("transB", false),
                activation: Activation::None,
            },
            "MatMul" => Op::MatMul,
            "MaxPool" if self.outputs.len() > 1 => Op::Index(IndexOp::MaxPoolIndices {
                pool: self.pool(false)?,
                column_major: a.flag("storage_order", false),
            }),
            "MaxPool" => Op::MaxPool(self.pool(false)?),
            "AveragePool" => Op::AveragePool(self.pool(a.flag("count_include_pad", false))?),
            "GlobalAveragePool" => Op::GlobalAveragePool,
            "GlobalMaxPool" => Op::GlobalMaxPool,
            "Softmax" | "LogSoftmax" => return self.softmax(op_type == "LogSoftmax"),
            "BatchNormalization" if a.flag("training_mode", false) => return Ok(None),
            "BatchNormalization" => Op::BatchNorm { epsilon: a.float("epsilon", 1e-5) },
            "LayerNormalization" => {
                let (axis, epsilon) = (self.axis(a.int("axis", -1))?, a.float("epsilon", 1e-5));
                if self.outputs.len() > 1 {
                    self.layer_statistics(axis, epsilon)?;
                }
                Op::LayerNorm { axis, epsilon }
            }
            "InstanceNormalization" => Op::InstanceNorm { epsilon: a.float("epsilon", 1e-5) },
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
            | "ReduceL2" | "ReduceSumSquare" | "ReduceLogSumExp" => return self.reduce(op_type),
            "ArgMax" | "ArgMin" => Op::ArgMax {
                axis: self.axis(a.int("axis", 0))?,
                keep_dims: a.flag("keepdims", true),
                last: a.flag("select_last_index", false),
                min: op_type == "ArgMin",
            },
            "Reshape" => Op::Reshape { allow_zero: a.flag("allowzero", false) },
            "Flatten" => {
                let rank = self.importer.rank(self.input(0))?;
                let axis = a.int("axis", 1);
                // The axis behind the last is allowed, but negative ones count from the rank.
                let bound = rank + usize::from(axis >= 0);
                Op::Flatten { axis: from_front(axis, bound).ok_or_else(|| self.bad_axis(rank))? }
            }
            "Transpose" => Op::Transpose { perm: self.permutation()? },
            "Squeeze" | "Unsqueeze" => return self.squeeze(op_type == "Unsqueeze"),
            "Concat" => Op::Concat { axis: self.axis(a.int("axis", 0))? },
            "Split" => return self.split(),
            "Slice" => self.slice()?,
            "Gather" => Op::Gather { axis: self.axis(a.int("axis", 0))? },
            "Expand" => Op::Expand,
            "Tile" => Op::Tile,
            "Pad" => return self.pad(),
            "Resize" | "Upsample" => return self.resize(op_type == "Upsample"),
            "DepthToSpace" => Op::DepthToSpace { block: self.block()?, crd: a.text("mode", "DCR") == "CRD" },
            "SpaceToDepth" if a.text("mode", "DCR") == "CRD" => {
                return self.space_to_depth_crd(self.block()?);
            }
            "SpaceToDepth" => Op::SpaceToDepth { block: self.block()? },
            "Shape" => return self.shape(),
            "Size" => Op::Size,
            "ConstantOfShape" => {
                let value = a.tensor("value", self.importer.folder)?.unwrap_or_else(|| Tensor::scalar(0f32));
                if value.elements() != 1 {
                    return Err(a.fail(format!("expects a value of one element, found {}", value.elements())));
                }
                Op::ConstantOfShape { value }
            }
            "Range" => Op::Range,
            "Cast" => match tensor::dtype(a.int("to", 0) as i32) {
                Ok(to) => Op::Cast { to },
                Err(_) => return Ok(None),
            },
            "QuantizeLinear" | "DequantizeLinear" => return self.linear(op_type == "QuantizeLinear"),
            "DynamicQuantizeLinear" => Op::DynamicQuantizeLinear,
            "RNN" | "GRU" | "LSTM" => return self.recurrent(op_type),
            "Attention" => return self.attention(),
            "RotaryEmbedding" => return self.rotary(),
            _ => {
                return match self.index(op_type)? {
                    Some(op) => Ok(Some(op)),
                    None => self.composed(op_type),
                };
            }
        }))
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

    fn conv_transpose(&self) -> Result<Option<Op>> {
        let a = self.attributes;
        if a.has("output_shape") || !matches!(a.text("auto_pad", "NOTSET"), "NOTSET" | "VALID" | "") {
            return Ok(None);
        }
        let conv = self.conv()?;
        let output_padding = a.extents("output_padding", conv.kernel.len(), 0, 0)?;
        Ok(Some(Op::ConvTranspose { conv, output_padding, activation: Activation::None }))
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

    fn clip(&mut self) -> Option<Op> {
        let a = self.attributes;
        if self.importer.opset < 11 {
            let (min, max) = (a.float("min", f32::NEG_INFINITY), a.float("max", f32::INFINITY));
            return Some(Op::Unary(UnaryOp::Clip { min, max }));
        }
        let bound = |index: usize, open: f32| match (self.input(index), self.constant(index)) {
            (None, _) => Some(open),
            (Some(_), Some(tensor)) => tensor.to_f32_vec().first().copied(),
            (Some(_), None) => None,
        };
        let (min, max) = (bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?);
        self.inputs.truncate(1);
        Some(Op::Unary(UnaryOp::Clip { min, max }))
    }

    fn softmax(&self, log: bool) -> Result<Option<Op>> {
        let a = self.attributes;
        if self.importer.opset >= 13 {
            return Ok(Some(Op::Softmax { axis: self.axis(a.int("axis", -1))?, log }));
        }
        // Before set 13 the axes from `axis` on count as one; only the last axis means the same.
        let rank = self.importer.rank(self.input(0))?;
        let axis = self.axis(a.int("axis", 1))?;
        let extents = self.input(0).and_then(|id| self.importer.graph.value(id).extents());
        let rest_is_one =
            extents.is_some_and(|extents| extents[axis + 1..].iter().all(|&extent| extent == 1));
        Ok((axis + 1 == rank || rest_is_one).then_some(Op::Softmax { axis, log }))
    }

    fn reduce(&mut self, op_type: &str) -> Result<Option<Op>> {
        let a = self.attributes;
        let op = match op_type {
            "ReduceMean" => ReduceOp::Mean,
            "ReduceSum" => ReduceOp::Sum,
            "ReduceMax" => ReduceOp::Max,
            "ReduceMin" => ReduceOp::Min,
            "ReduceProd" => ReduceOp::Prod,
            "ReduceL1" => ReduceOp::L1,
            "ReduceL2" => ReduceOp::L2,
            "ReduceSumSquare" => ReduceOp::SumSquare,
            _ => ReduceOp::LogSumExp,
        };
        let rank = self.importer.rank(self.input(0))?;
        let axes = match self.given_axes(1) {
            Given::Computed => return Ok(Some(self.reduce_computed(op))),
            Given::Axes(axes) if !axes.is_empty() => self.axes(&axes, rank)?,
            _ if a.flag("noop_with_empty_axes", false) => Vec::new(),
            _ => (0..rank).collect(),
        };
        self.inputs.truncate(1);
        Ok(Some(Op::Reduce { op, axes, keep_dims: a.flag("keepdims", true) }))
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

    fn squeeze(&mut self, insert: bool) -> Result<Option<Op>> {
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
        Ok(Some(op))
    }

    fn split(&mut self) -> Result<Option<Op>> {
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
        Ok(Some(Op::Split { axis, sizes }))
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

    fn pad(&mut self) -> Result<Option<Op>> {
        let a = self.attributes;
        let mode = match a.text("mode", "constant") {
            "constant" => PadMode::Constant,
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            "wrap" => PadMode::Wrap,
            other => return Err(a.fail(format!("expects a known mode, found `{other}`"))),
        };
        if let Some(pads) = a.ints("pads") {
            self.push_ints("pads", pads)?;
            let value = a.float("value", 0.0);
            let base = self.constant_name("value");
            let id = self.importer.new_constant(&base, Tensor::scalar(value));
            self.inputs.push(Some(id));
        }
        Ok(Some(Op::Pad { mode }))
    }

    fn block(&self) -> Result<usize> {
        usize::try_from(self.attributes.int("blocksize", 0))
            .ok()
            .filter(|&block| block > 0)
            .ok_or_else(|| self.attributes.fail("expects a block of at least 1"))
    }

    fn shape(&self) -> Result<Option<Op>> {
        let a = self.attributes;
        if !a.has("start") && !a.has("end") {
            return Ok(Some(Op::Shape { start: 0, end: None }));
        }
        let rank = self.importer.rank(self.input(0))? as i64;
        let clamp =
            |axis: i64| (if axis < 0 { axis.saturating_add(rank) } else { axis }).clamp(0, rank) as usize;
        let end = a.has("end").then(|| clamp(a.int("end", 0)));
        Ok(Some(Op::Shape { start: clamp(a.int("start", 0)), end }))
    }

    fn linear(&mut self, quantize: bool) -> Result<Option<Op>> {
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
            return Ok(Some(Op::DequantizeLinear { axis, block }));
        }
        let to = match (self.input(2), a.int("output_dtype", 0)) {
            (Some(zero), _) => self.importer.graph.value(zero).dtype.unwrap_or(DType::U8),
            (None, 0) => DType::U8,
            (None, number) => match tensor::dtype(number as i32) {
                Ok(dtype) => dtype,
                Err(_) => return Ok(None),
            },
        };
        Ok(Some(Op::QuantizeLinear { axis, block, to }))
    }
}

/// An axis counted from the front; `None` where the rank has no such axis.
fn from_front(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    (0..rank).contains(&axis).then_some(axis as usize)
}

/// Functions of one element without attributes.
fn unary(op_type: &str) -> Option<UnaryOp> {
    Some(match op_type {
        "Relu" => UnaryOp::Relu,
        "Sigmoid" => UnaryOp::Sigmoid,
        "HardSwish" => UnaryOp::HardSwish,
        "Mish" => UnaryOp::Mish,
        "Softplus" => UnaryOp::Softplus,
        "Tanh" => UnaryOp::Tanh,
        "Erf" => UnaryOp::Erf,
        "Exp" => UnaryOp::Exp,
        "Log" => UnaryOp::Log,
        "Sqrt" => UnaryOp::Sqrt,
        "Reciprocal" => UnaryOp::Reciprocal,
        "Abs" => UnaryOp::Abs,
        "Neg" => UnaryOp::Neg,
        "Sign" => UnaryOp::Sign,
        "Floor" => UnaryOp::Floor,
        "Ceil" => UnaryOp::Ceil,
        "Round" => UnaryOp::Round,
        "Sin" => UnaryOp::Sin,
        "Cos" => UnaryOp::Cos,
        "Tan" => UnaryOp::Tan,
        "Asin" => UnaryOp::Asin,
        "Acos" => UnaryOp::Acos,
        "Atan" => UnaryOp::Atan,
        "Sinh" => UnaryOp::Sinh,
        "Cosh" => UnaryOp::Cosh,
        "Asinh" => UnaryOp::Asinh,
        "Acosh" => UnaryOp::Acosh,
        "Atanh" => UnaryOp::Atanh,
        "Softsign" => UnaryOp::Softsign,
        "Not" => UnaryOp::Not,
        _ => return None,
    })
}

/// Functions of two elements without attributes.
fn binary(op_type: &str) -> Option<BinaryOp> {
    Some(match op_type {
        "Add" => BinaryOp::Add,
        "Sub" => BinaryOp::Sub,
        "Mul" => BinaryOp::Mul,
        "Div" => BinaryOp::Div,
        "Pow" => BinaryOp::Pow,
        "PRelu" => BinaryOp::PRelu,
        "BitwiseAnd" => BinaryOp::BitAnd,
        "BitwiseOr" => BinaryOp::BitOr,
        "BitwiseXor" => BinaryOp::BitXor,
        _ => return None,
    })
}
