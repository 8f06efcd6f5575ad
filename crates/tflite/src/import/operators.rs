//! What each operator means, by the schema's number.

use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, CoordinateMode, NearestMode, Op, PadMode, PoolAttributes, ReduceOp,
    ResizeAttributes, ResizeMode, Tensor, UnaryOp, ValueId,
};

use super::Importer;
use crate::error::{Result, TfliteError};
use crate::file::{ABSENT, Operator, Options};

/// Borders such that the output has the input's extent over the stride, rounded up.
const SAME: i8 = 0;
/// Where channels last have their axes once channels come first.
const PLACES: [usize; 4] = [0, 2, 3, 1];

impl Importer<'_> {
    /// Translates one operator.
    pub(super) fn operator(&mut self, operator: &Operator) -> Result<()> {
        let code = &operator.code;
        match code.builtin {
            0 => self.binary(operator, BinaryOp::Add),
            18 => self.binary(operator, BinaryOp::Mul),
            41 => self.binary(operator, BinaryOp::Sub),
            42 => self.binary(operator, BinaryOp::Div),
            55 => self.binary(operator, BinaryOp::Max),
            57 => self.binary(operator, BinaryOp::Min),
            78 => self.binary(operator, BinaryOp::Pow),
            1 | 17 => self.pool(operator),
            2 => self.concatenation(operator),
            3 | 4 => self.conv(operator),
            67 => self.conv_transpose(operator),
            9 => self.fully_connected(operator),
            6 | 114 => self.conversion(operator),
            14 => self.unary(operator, UnaryOp::Sigmoid),
            19 => self.unary(operator, UnaryOp::Relu),
            20 => self.unary(operator, UnaryOp::Clip { min: -1.0, max: 1.0 }),
            21 => self.unary(operator, UnaryOp::Clip { min: 0.0, max: 6.0 }),
            28 => self.unary(operator, UnaryOp::Tanh),
            47 => self.unary(operator, UnaryOp::Exp),
            59 => self.unary(operator, UnaryOp::Neg),
            73 => self.unary(operator, UnaryOp::Log),
            75 => self.unary(operator, UnaryOp::Sqrt),
            101 => self.unary(operator, UnaryOp::Abs),
            111 => self.unary(operator, UnaryOp::Elu { alpha: 1.0 }),
            117 => self.unary(operator, UnaryOp::HardSwish),
            98 => {
                let alpha = if let Options::LeakyRelu { alpha } = operator.options { alpha } else { 0.0 };
                self.unary(operator, UnaryOp::LeakyRelu { alpha })
            }
            150 => {
                let tanh = matches!(operator.options, Options::Gelu { approximate: true });
                self.unary(operator, UnaryOp::Gelu { tanh })
            }
            22 | 43 | 70 => self.reshape(operator),
            25 => self.softmax(operator, false),
            50 => self.softmax(operator, true),
            34 | 60 => self.pad(operator),
            39 => self.transpose(operator),
            40 => self.reduce(operator, ReduceOp::Mean),
            74 => self.reduce(operator, ReduceOp::Sum),
            82 => self.reduce(operator, ReduceOp::Max),
            89 => self.reduce(operator, ReduceOp::Min),
            23 | 97 => self.resize(operator),
            5 | 26 => self.blocks(operator),
            45 => self.strided_slice(operator),
            65 => self.slice(operator),
            _ => Err(TfliteError::import(format!(
                "{}, version {}, has no meaning in this build",
                code.custom.as_ref().map_or_else(
                    || format!("builtin operator {}{}", code.builtin, spelled(code.builtin)),
                    |name| format!("custom operator `{name}`")
                ),
                code.version
            ))
            .with_help("convert the model to ONNX, or leave this operator out of the part that is deployed")),
        }
    }

    /// The clamp that an operator fuses, behind `value`.
    fn clamped(&mut self, at: i32, value: ValueId, activation: i8) -> Result<ValueId> {
        let op = match activation {
            0 => return Ok(value),
            1 => UnaryOp::Relu,
            2 => UnaryOp::Clip { min: -1.0, max: 1.0 },
            3 => UnaryOp::Clip { min: 0.0, max: 6.0 },
            4 => UnaryOp::Tanh,
            other => {
                return Err(TfliteError::import(format!("fused activation {other} has no meaning here")));
            }
        };
        Ok(self.node(at, Op::Unary(op), &[value]))
    }

    fn unary(&mut self, operator: &Operator, op: UnaryOp) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        if self.is_first(x) {
            let value = self.first(x)?;
            let value = self.node(y, Op::Unary(op), &[value]);
            return self.made_first(y, value);
        }
        let value = self.float(x)?;
        let value = self.node(y, Op::Unary(op), &[value]);
        self.made(y, value)
    }

    fn binary(&mut self, operator: &Operator, op: BinaryOp) -> Result<()> {
        let (a, b, y) = (input(operator, 0)?, input(operator, 1)?, output(operator)?);
        let activation = match operator.options {
            Options::Add { activation }
            | Options::Mul { activation }
            | Options::Sub { activation }
            | Options::Div { activation } => activation,
            _ => 0,
        };
        let ranks = (self.tensor(a)?.shape.len(), self.tensor(b)?.shape.len());
        let first = ranks == (4, 4) && (self.is_first(a) || self.is_first(b));
        let op = Op::Binary { op, activation: Activation::None };
        let (left, right) =
            if first { (self.first(a)?, self.first(b)?) } else { (self.float(a)?, self.float(b)?) };
        let value = self.node(y, op, &[left, right]);
        let value = self.clamped(y, value, activation)?;
        if first { self.made_first(y, value) } else { self.made(y, value) }
    }

    fn conv(&mut self, operator: &Operator) -> Result<()> {
        let (x, weights, y) = (input(operator, 0)?, input(operator, 1)?, output(operator)?);
        let (padding, strides, dilations, activation, depthwise) = match operator.options {
            Options::Conv2d { padding, stride_w, stride_h, activation, dilation_w, dilation_h } => {
                (padding, [stride_h, stride_w], [dilation_h, dilation_w], activation, false)
            }
            Options::DepthwiseConv2d {
                padding,
                stride_w,
                stride_h,
                activation,
                dilation_w,
                dilation_h,
                ..
            } => (padding, [stride_h, stride_w], [dilation_h, dilation_w], activation, true),
            _ => return Err(TfliteError::malformed("expected the options of a convolution")),
        };
        let (extents, kernel) = (self.four(x)?, self.four(weights)?);
        let mut conv = ConvAttributes::unit(&kernel[1..3]);
        conv.strides = positive(strides)?;
        conv.dilations = positive(dilations)?;
        if padding == SAME {
            conv.pads = same(&extents[1..3], &kernel[1..3], &conv.strides, &conv.dilations)?;
        }
        let channels = if depthwise { extents[3] } else { kernel[3] };
        if channels == 0 || extents[3] % channels != 0 {
            return Err(TfliteError::malformed(format!(
                "expected weights that divide {} channels, found {kernel:?}",
                extents[3]
            )));
        }
        conv.groups = if depthwise { extents[3] } else { extents[3] / channels };
        let perm: &[usize] = if depthwise { &[3, 0, 1, 2] } else { &[0, 3, 1, 2] };
        let mut inputs = vec![self.first(x)?, self.weights(weights, Some(perm))?];
        inputs.extend(self.bias(operator, 2)?);
        let value = self.node(y, Op::Conv { conv, activation: Activation::None }, &inputs);
        let value = self.clamped(y, value, activation)?;
        self.made_first(y, value)
    }

    fn conv_transpose(&mut self, operator: &Operator) -> Result<()> {
        let (weights, x, y) = (input(operator, 1)?, input(operator, 2)?, output(operator)?);
        let Options::TransposeConv { padding, stride_w, stride_h, activation } = operator.options else {
            return Err(TfliteError::malformed("expected the options of a transposed convolution"));
        };
        let shape = self.integers(input(operator, 0)?)?;
        let (extents, kernel) = (self.four(x)?, self.four(weights)?);
        let mut conv = ConvAttributes::unit(&kernel[1..3]);
        conv.strides = positive([stride_h, stride_w])?;
        let mut output_padding = vec![0; 2];
        for axis in 0..2 {
            let wanted = shape.get(axis + 1).and_then(|&extent| usize::try_from(extent).ok());
            let whole = extents[axis + 1]
                .checked_sub(1)
                .and_then(|steps| steps.checked_mul(conv.strides[axis])?.checked_add(kernel[axis + 1]));
            let (Some(wanted), Some(whole)) = (wanted, whole) else {
                return Err(TfliteError::malformed(format!(
                    "expected the output's extents, found {shape:?}"
                )));
            };
            let cut = whole.saturating_sub(wanted);
            conv.pads[axis] = if padding == SAME { cut / 2 } else { 0 };
            conv.pads[axis + 2] = cut - conv.pads[axis];
            output_padding[axis] = wanted.saturating_sub(whole);
        }
        let mut inputs = vec![self.first(x)?, self.weights(weights, Some(&[3, 0, 1, 2]))?];
        inputs.extend(self.bias(operator, 3)?);
        let op = Op::ConvTranspose { conv, output_padding, activation: Activation::None };
        let value = self.node(y, op, &inputs);
        let value = self.clamped(y, value, activation)?;
        self.made_first(y, value)
    }

    fn bias(&mut self, operator: &Operator, index: usize) -> Result<Option<ValueId>> {
        match operator.inputs.get(index).copied().filter(|&at| at != ABSENT) {
            Some(at) => self.float(at).map(Some),
            None => Ok(None),
        }
    }

    fn fully_connected(&mut self, operator: &Operator) -> Result<()> {
        let (x, weights, y) = (input(operator, 0)?, input(operator, 1)?, output(operator)?);
        let Options::FullyConnected { activation, weights_format, .. } = operator.options else {
            return Err(TfliteError::malformed("expected the options of a fully connected layer"));
        };
        if weights_format != 0 {
            return Err(TfliteError::import("shuffled weights have no meaning here"));
        }
        let kernel = self.extents(weights)?;
        let [_, depth] = kernel[..] else {
            return Err(TfliteError::malformed(format!("expected weights of 2 axes, found {kernel:?}")));
        };
        let mut value = self.float(x)?;
        let extents = self.extents(x)?;
        if extents.len() != 2 || extents[1] != depth {
            let shape = self.numbers(y, &[-1, signed(depth)])?;
            value = self.node(y, Op::Reshape { allow_zero: false }, &[value, shape]);
        }
        let mut inputs = vec![value, self.float(weights)?];
        inputs.extend(self.bias(operator, 2)?);
        let op =
            Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true, activation: Activation::None };
        let value = self.node(y, op, &inputs);
        let mut value = self.clamped(y, value, activation)?;
        let extents = self.extents(y)?;
        if extents.len() != 2 {
            let shape: Vec<i64> = extents.iter().map(|&extent| signed(extent)).collect();
            // Rounded before it gets another shape: the product then writes codes itself.
            value = self.through_codes(y, value)?;
            let shape = self.numbers(y, &shape)?;
            value = self.node(y, Op::Reshape { allow_zero: true }, &[value, shape]);
        }
        self.made(y, value)
    }

    fn pool(&mut self, operator: &Operator) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let Options::Pool2d { padding, stride_w, stride_h, filter_w, filter_h, activation } =
            operator.options
        else {
            return Err(TfliteError::malformed("expected the options of a pool"));
        };
        let kernel = positive([filter_h, filter_w])?;
        let strides = positive([stride_h, stride_w])?;
        let extents = self.four(x)?;
        let pads =
            if padding == SAME { same(&extents[1..3], &kernel, &strides, &[1, 1])? } else { vec![0; 4] };
        let pool = PoolAttributes {
            kernel,
            strides,
            dilations: vec![1; 2],
            pads,
            ceil: false,
            count_include_pad: false,
        };
        let op = if operator.code.builtin == 17 { Op::MaxPool(pool) } else { Op::AveragePool(pool) };
        let value = self.first(x)?;
        let value = self.node(y, op, &[value]);
        let value = self.clamped(y, value, activation)?;
        self.made_first(y, value)
    }

    fn concatenation(&mut self, operator: &Operator) -> Result<()> {
        let y = output(operator)?;
        let Options::Concatenation { axis, activation } = operator.options else {
            return Err(TfliteError::malformed("expected the options of a concatenation"));
        };
        let rank = self.tensor(y)?.shape.len();
        let axis = counted(i64::from(axis), rank)?;
        let first = rank == 4 && operator.inputs.iter().any(|&at| at != ABSENT && self.is_first(at));
        let mut inputs = Vec::new();
        for index in 0..operator.inputs.len() {
            let at = input(operator, index)?;
            inputs.push(if first { self.first(at)? } else { self.float(at)? });
        }
        let axis = if first { PLACES[axis] } else { axis };
        let value = self.node(y, Op::Concat { axis }, &inputs);
        let value = self.clamped(y, value, activation)?;
        if first { self.made_first(y, value) } else { self.made(y, value) }
    }

    fn conversion(&mut self, operator: &Operator) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let first = self.is_first(x);
        let mut value = if first { self.first(x)? } else { self.float(x)? };
        if self.tensor(x)?.dtype == 1 {
            value = self.node(y, Op::Cast { to: super::dtype(self.tensor(y)?)? }, &[value]);
        }
        if first { self.made_first(y, value) } else { self.made(y, value) }
    }

    fn reshape(&mut self, operator: &Operator) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let value = self.float(x)?;
        let shape: Vec<i64> = self.extents(y)?.iter().map(|&extent| signed(extent)).collect();
        let shape = self.numbers(y, &shape)?;
        let value = self.node(y, Op::Reshape { allow_zero: true }, &[value, shape]);
        self.made(y, value)
    }

    fn softmax(&mut self, operator: &Operator, log: bool) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let mut value = self.float(x)?;
        if let Options::Softmax { beta } = operator.options
            && (beta - 1.0).abs() > f32::EPSILON
        {
            let factor = self.constant(y, Tensor::scalar(beta));
            let op = Op::Binary { op: BinaryOp::Mul, activation: Activation::None };
            value = self.node(y, op, &[value, factor]);
        }
        let axis = counted(-1, self.tensor(x)?.shape.len())?;
        let value = self.node(y, Op::Softmax { axis, log }, &[value]);
        self.made(y, value)
    }

    fn pad(&mut self, operator: &Operator) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let pads = self.integers(input(operator, 1)?)?;
        let rank = self.tensor(x)?.shape.len();
        if pads.len() != 2 * rank {
            return Err(TfliteError::malformed(format!("expected paddings of {rank} axes, found {pads:?}")));
        }
        let first = rank == 4;
        let order: Vec<usize> = if first { super::TO_FIRST.to_vec() } else { (0..rank).collect() };
        let sides = (0..2).flat_map(|side| order.iter().map(move |&axis| (axis, side)));
        let pads: Vec<i64> = sides.map(|(axis, side)| pads[2 * axis + side]).collect();
        let pads = self.numbers(y, &pads)?;
        let mut inputs = vec![if first { self.first(x)? } else { self.float(x)? }, pads];
        if operator.code.builtin == 60 {
            inputs.push(self.float(input(operator, 2)?)?);
        }
        let value = self.node(y, Op::Pad { mode: PadMode::Constant }, &inputs);
        if first { self.made_first(y, value) } else { self.made(y, value) }
    }

    fn transpose(&mut self, operator: &Operator) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let rank = self.tensor(x)?.shape.len();
        let perm = self.integers(input(operator, 1)?)?;
        let perm = perm.iter().map(|&axis| counted(axis, rank)).collect::<Result<Vec<_>>>()?;
        let value = self.float(x)?;
        let value = self.node(y, Op::Transpose { perm }, &[value]);
        self.made(y, value)
    }

    fn reduce(&mut self, operator: &Operator, op: ReduceOp) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let keep_dims = matches!(operator.options, Options::Reducer { keep_dims: true });
        let rank = self.tensor(x)?.shape.len();
        let axes = self.integers(input(operator, 1)?)?;
        let mut axes = axes.iter().map(|&axis| counted(axis, rank)).collect::<Result<Vec<_>>>()?;
        axes.sort_unstable();
        axes.dedup();
        let spatial = axes == [1, 2];
        if self.is_first(x) && (keep_dims || spatial) {
            let mut axes: Vec<usize> = axes.iter().map(|&axis| PLACES[axis]).collect();
            axes.sort_unstable();
            let value = self.first(x)?;
            let value = self.node(y, Op::Reduce { op, axes, keep_dims }, &[value]);
            // Without its axes of space the tensor has the same order both ways.
            return if keep_dims { self.made_first(y, value) } else { self.made(y, value) };
        }
        let value = self.float(x)?;
        let value = self.node(y, Op::Reduce { op, axes, keep_dims }, &[value]);
        self.made(y, value)
    }

    fn resize(&mut self, operator: &Operator) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let (mode, corners, half) = match operator.options {
            Options::ResizeBilinear { align_corners, half_pixel_centers } => {
                (ResizeMode::Linear, align_corners, half_pixel_centers)
            }
            Options::ResizeNearest { align_corners, half_pixel_centers } => {
                (ResizeMode::Nearest, align_corners, half_pixel_centers)
            }
            _ => return Err(TfliteError::malformed("expected the options of a resize")),
        };
        let size = self.integers(input(operator, 1)?)?;
        let (&[height, width], [batch, _, _, channels]) = (&size[..], self.four(x)?) else {
            return Err(TfliteError::malformed(format!("expected a height and a width, found {size:?}")));
        };
        let attributes = ResizeAttributes {
            mode,
            coordinates: match (corners, half) {
                (true, _) => CoordinateMode::AlignCorners,
                (false, true) => CoordinateMode::HalfPixel,
                (false, false) => CoordinateMode::Asymmetric,
            },
            nearest: if corners || half { NearestMode::RoundPreferCeil } else { NearestMode::Floor },
            cubic: -0.75,
            exclude_outside: false,
        };
        let sizes = self.numbers(y, &[signed(batch), signed(channels), height, width])?;
        let value = self.first(x)?;
        let inputs = vec![Some(value), None, None, Some(sizes)];
        let value = self.sparse_node(y, Op::Resize(attributes), inputs);
        self.made_first(y, value)
    }

    fn blocks(&mut self, operator: &Operator) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let op = match operator.options {
            Options::DepthToSpace { block_size } => {
                Op::DepthToSpace { block: positive([block_size])?[0], crd: false }
            }
            Options::SpaceToDepth { block_size } => Op::SpaceToDepth { block: positive([block_size])?[0] },
            _ => return Err(TfliteError::malformed("expected the extent of a block")),
        };
        self.four(x)?;
        let value = self.first(x)?;
        let value = self.node(y, op, &[value]);
        self.made_first(y, value)
    }

    fn slice(&mut self, operator: &Operator) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let begins = self.integers(input(operator, 1)?)?;
        let sizes = self.integers(input(operator, 2)?)?;
        if begins.len() != sizes.len() {
            return Err(TfliteError::malformed("expected as many sizes as begins"));
        }
        let ends: Vec<i64> = begins
            .iter()
            .zip(&sizes)
            .map(|(begin, &size)| if size < 0 { i64::MAX } else { begin.saturating_add(size) })
            .collect();
        let (begins, ends) = (self.numbers(y, &begins)?, self.numbers(y, &ends)?);
        let value = self.float(x)?;
        let value = self.node(y, Op::Slice, &[value, begins, ends]);
        self.made(y, value)
    }

    fn strided_slice(&mut self, operator: &Operator) -> Result<()> {
        let (x, y) = (input(operator, 0)?, output(operator)?);
        let Options::StridedSlice { begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask } =
            operator.options
        else {
            return Err(TfliteError::malformed("expected the options of a strided slice"));
        };
        if ellipsis_mask != 0 || new_axis_mask != 0 {
            return Err(TfliteError::import("an ellipsis and new axes have no meaning here"));
        }
        let mut begins = self.integers(input(operator, 1)?)?;
        let mut ends = self.integers(input(operator, 2)?)?;
        let steps = self.integers(input(operator, 3)?)?;
        let count = begins.len();
        if ends.len() != count || steps.len() != count || count > self.tensor(x)?.shape.len() || count > 31 {
            return Err(TfliteError::malformed("expected one begin, end and step for each axis"));
        }
        let mut gone = Vec::new();
        for axis in 0..count {
            let has = |mask: i32| mask & (1 << axis) != 0;
            if has(shrink_axis_mask) {
                gone.push(axis);
                ends[axis] = if begins[axis] == -1 { i64::MAX } else { begins[axis].saturating_add(1) };
                continue;
            }
            if has(begin_mask) {
                begins[axis] = if steps[axis] < 0 { i64::MAX } else { 0 };
            }
            if has(end_mask) {
                ends[axis] = if steps[axis] < 0 { i64::MIN } else { i64::MAX };
            }
        }
        let axes: Vec<i64> = (0..count).map(signed).collect();
        let mut inputs = vec![self.float(x)?];
        for list in [&begins, &ends, &axes, &steps] {
            inputs.push(self.numbers(y, list)?);
        }
        let mut value = self.node(y, Op::Slice, &inputs);
        if !gone.is_empty() {
            value = self.node(y, Op::Squeeze { axes: gone }, &[value]);
        }
        self.made(y, value)
    }

    /// The extents of a tensor of four axes.
    fn four(&self, at: i32) -> Result<[usize; 4]> {
        let extents = self.extents(at)?;
        <[usize; 4]>::try_from(extents).map_err(|extents| {
            TfliteError::malformed(format!("expected a tensor of 4 axes, found {extents:?}"))
        })
    }
}

/// The tensor of an input that must be there.
fn input(operator: &Operator, index: usize) -> Result<i32> {
    operator
        .inputs
        .get(index)
        .copied()
        .filter(|&at| at != ABSENT)
        .ok_or_else(|| TfliteError::malformed(format!("expected input {index}, found none")))
}

/// The only output.
fn output(operator: &Operator) -> Result<i32> {
    match operator.outputs[..] {
        [only] => Ok(only),
        _ => Err(TfliteError::malformed(format!("expected one output, found {}", operator.outputs.len()))),
    }
}

/// An axis counted from the front.
fn counted(axis: i64, rank: usize) -> Result<usize> {
    let counted = if axis < 0 { axis.saturating_add(signed(rank)) } else { axis };
    usize::try_from(counted)
        .ok()
        .filter(|&axis| axis < rank)
        .ok_or_else(|| TfliteError::malformed(format!("expected one of {rank} axes, found {axis}")))
}

fn signed(extent: usize) -> i64 {
    i64::try_from(extent).unwrap_or(i64::MAX)
}

fn positive<const N: usize>(numbers: [i32; N]) -> Result<Vec<usize>> {
    let list: Option<Vec<usize>> =
        numbers.iter().map(|&number| usize::try_from(number).ok().filter(|&number| number > 0)).collect();
    list.ok_or_else(|| TfliteError::malformed(format!("expected positive extents, found {numbers:?}")))
}

/// The borders of SAME: the smaller half in front.
fn same(extents: &[usize], kernel: &[usize], strides: &[usize], dilations: &[usize]) -> Result<Vec<usize>> {
    let mut pads = vec![0; 4];
    for axis in 0..2 {
        let (extent, stride) = (extents[axis], strides[axis]);
        let reach = kernel[axis]
            .checked_sub(1)
            .and_then(|taps| taps.checked_mul(dilations[axis])?.checked_add(1))
            .filter(|reach| *reach < 1 << 31)
            .ok_or_else(|| TfliteError::malformed(format!("expected a window, found {kernel:?}")))?;
        let last = extent.div_ceil(stride).saturating_sub(1).saturating_mul(stride);
        let whole = last.saturating_add(reach).saturating_sub(extent);
        pads[axis] = whole / 2;
        pads[axis + 2] = whole - whole / 2;
    }
    Ok(pads)
}

/// The schema's names of operators that people meet and this build lacks.
fn spelled(builtin: i32) -> &'static str {
    match builtin {
        7 => " (EMBEDDING_LOOKUP)",
        11 => " (L2_NORMALIZATION)",
        13 => " (LOCAL_RESPONSE_NORMALIZATION)",
        16 => " (LSTM)",
        32 => " (CUSTOM)",
        36 => " (GATHER)",
        37 => " (BATCH_TO_SPACE_ND)",
        38 => " (SPACE_TO_BATCH_ND)",
        44 => " (UNIDIRECTIONAL_SEQUENCE_LSTM)",
        48 => " (TOPK_V2)",
        49 => " (SPLIT)",
        53 => " (CAST)",
        54 => " (PRELU)",
        56 => " (ARG_MAX)",
        76 => " (RSQRT)",
        77 => " (SHAPE)",
        83 => " (PACK)",
        88 => " (UNPACK)",
        100 => " (MIRROR_PAD)",
        102 => " (SPLIT_V)",
        118 => " (IF)",
        119 => " (WHILE)",
        126 => " (BATCH_MATMUL)",
        _ => "",
    }
}
