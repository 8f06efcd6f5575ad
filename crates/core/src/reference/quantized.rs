//! Operators on quantized values: the integer rules, and the way through floats where there is none.

mod products;

use super::convert_ops::rounded;
use super::functions::unary_function;
use super::indexing::{broadcast, project};
use super::{Call, plain, pool, resize, shape_ops};
use crate::error::{CoreErrorKind, Result};
use crate::ir::{
    Activation, BinaryOp, DType, Op, PadMode, PoolAttributes, ReduceOp, ResizeAttributes, ResizeMode, Tensor,
    UnaryOp,
};
use crate::plan::Precision;
use crate::quant::convert::{self, CodeRange};
use crate::quant::{Granularity, QuantParams};

/// The parameters of a tensor that shares one scale, and its type's codes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Codes {
    scale: f32,
    zero_point: i32,
    range: CodeRange,
}

impl Codes {
    /// `None` where the tensor is not quantized or shares less than one scale.
    fn of(quant: Option<&QuantParams>, dtype: DType) -> Option<Codes> {
        let (scale, zero_point) = quant?.tensor_wide()?;
        Some(Codes { scale, zero_point, range: code_range(dtype) })
    }

    fn input(call: &Call, index: usize) -> Option<Codes> {
        Self::of(call.input_quant(index), call.optional(index)?.dtype())
    }

    fn output(call: &Call) -> Option<Codes> {
        Self::of(call.output_quant(), call.dtype())
    }

    fn quantize(self, x: f32) -> i64 {
        i64::from(convert::quantize(x, self.scale, self.zero_point, self.range))
    }

    fn dequantize(self, q: i64) -> f32 {
        (q - i64::from(self.zero_point)) as f32 * self.scale
    }

    /// The code of `other`'s code `q`.
    fn requantize(self, q: i64, other: Codes) -> i64 {
        if self == other {
            return q;
        }
        let difference = (q - i64::from(other.zero_point)) as f32;
        i64::from(convert::round_to_code(
            difference * (other.scale / self.scale),
            self.zero_point,
            self.range,
        ))
    }
}

/// All codes of an integer type of at most 32 bits.
pub(super) fn code_range(dtype: DType) -> CodeRange {
    let (min, max) = dtype.integer_range().unwrap_or((0, 0));
    CodeRange { min: min as i32, max: max.min(i64::from(i32::MAX)) as i32 }
}

/// For each element of a tensor, the number of its scale and zero point.
pub(super) fn parameter_indices(extents: &[usize], granularity: Granularity) -> Vec<usize> {
    match granularity {
        Granularity::PerTensor => vec![0; extents.iter().product()],
        Granularity::PerChannel { axis } => {
            let others: Vec<usize> = (0..extents.len()).filter(|&at| at != axis).collect();
            project(extents, &others)
        }
        Granularity::PerBlock { axis, size } => {
            let mut blocks = extents.to_vec();
            blocks[axis] = blocks[axis].div_ceil(size);
            let (_, extent, inner) = super::indexing::around(extents, axis);
            let count = blocks[axis];
            (0..extents.iter().product())
                .map(|at: usize| {
                    let (row, index, column) = (at / (extent * inner), at / inner % extent, at % inner);
                    (row * count + index / size) * inner + column
                })
                .collect()
        }
    }
}

/// The real numbers of a quantized tensor, each `f32(q - zp) * s`, as a float type.
pub fn dequantize(tensor: &Tensor, quant: &QuantParams, to: DType) -> Result<Tensor> {
    let at = parameter_indices(tensor.extents(), quant.granularity);
    let reals: Vec<f64> = tensor
        .to_i64_vec()
        .into_iter()
        .zip(at)
        .map(|(q, at)| f64::from((q - i64::from(quant.zero_points[at])) as f32 * quant.scales[at]))
        .collect();
    Tensor::from_f64(to, tensor.extents(), &reals)
}

/// The codes of real numbers.
fn quantize(tensor: &Tensor, quant: &QuantParams, to: DType) -> Result<Tensor> {
    let at = parameter_indices(tensor.extents(), quant.granularity);
    let range = code_range(to);
    let codes: Vec<i64> = tensor
        .to_f32_vec()
        .into_iter()
        .zip(at)
        .map(|(x, at)| i64::from(convert::quantize(x, quant.scales[at], quant.zero_points[at], range)))
        .collect();
    Tensor::from_i64(to, tensor.extents(), &codes)
}

/// Computes any node: by its integer rule where one fits, else in floats.
pub(super) fn evaluate(call: &Call) -> Result<Vec<Tensor>> {
    let dynamic = call.precision() == Some(Precision::W8A8Dynamic) && call.op().has_weights();
    let quantized = call.input_quant.iter().chain(&call.output_quant).any(Option::is_some);
    if !quantized && !dynamic {
        return in_precision(call);
    }
    match call.op() {
        Op::Shape { .. } | Op::Size => return plain(call),
        Op::Quantize if call.input_quant(0).is_none() => {
            if let Some(quant) = call.output_quant() {
                return Ok(vec![quantize(call.input(0)?, quant, call.dtype())?]);
            }
        }
        Op::Dequantize if call.output_quant().is_none() => {
            if let Some(quant) = call.input_quant(0) {
                return Ok(vec![dequantize(call.input(0)?, quant, call.dtype())?]);
            }
        }
        Op::Quantize | Op::Dequantize => {}
        op if op.moves_elements() => return moved(call),
        _ => {
            if let Some(tensor) = by_rule(call)? {
                return Ok(vec![tensor]);
            }
        }
    }
    if let Op::Requantize = call.op()
        && let (Some(from), Some(to)) = (call.input_quant(0), call.output_quant())
    {
        // Parameters of which not both are tensor-wide.
        let real = dequantize(call.input(0)?, from, DType::F32)?;
        return Ok(vec![quantize(&real, to, call.dtype())?]);
    }
    if dynamic {
        return Err(call.error(
            CoreErrorKind::Quantization,
            "expected weights quantized per tensor or output channel, and alpha and beta of 1, for w8a8-dynamic",
        ));
    }
    let outputs = in_precision(&call.in_floats()?)?;
    let quants = call.output_quant.iter().zip(&call.outputs);
    outputs
        .into_iter()
        .zip(quants)
        .map(|(real, (quant, (dtype, _)))| match quant {
            Some(quant) => quantize(&real, quant, *dtype),
            None => Ok(real),
        })
        .collect()
}

/// Floats, rounded to the precision of the node first.
fn in_precision(call: &Call) -> Result<Vec<Tensor>> {
    let to = match call.precision() {
        Some(Precision::F16) => DType::F16,
        Some(Precision::Bf16) => DType::Bf16,
        _ => return plain(call),
    };
    let operands = if call.op().has_weights() { 2 } else { usize::MAX };
    let inputs = call
        .inputs
        .iter()
        .enumerate()
        .map(|(index, input)| match input {
            Some(tensor) if index < operands => {
                rounded(tensor, to).map(|tensor| Some(std::borrow::Cow::Owned(tensor)))
            }
            other => Ok(other.clone()),
        })
        .collect::<Result<_>>()?;
    plain(&Call {
        site: call.site,
        inputs,
        input_quant: call.input_quant.clone(),
        outputs: call.outputs.clone(),
        output_quant: call.output_quant.clone(),
    })
}

/// Operators that move elements move codes; parameters stay.
fn moved(call: &Call) -> Result<Vec<Tensor>> {
    let input = call.input_quant(0);
    for output in call.output_quant.iter().flatten() {
        // Where not the whole tensor shares a scale, moving may move the axis too.
        let fits = input.is_some_and(|input| input.tensor_wide() == output.tensor_wide());
        if !fits {
            return Err(call
                .error(
                    CoreErrorKind::Quantization,
                    "expected the output to have the input's quantization parameters",
                )
                .help("put a Requantize behind the node"));
        }
    }
    plain(call)
}

/// The output by the integer rule of the operator; `None` where no rule fits.
fn by_rule(call: &Call) -> Result<Option<Tensor>> {
    match call.op() {
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Gemm { .. } | Op::MatMul => products::evaluate(call),
        Op::Binary { op, activation } => binary(call, *op, *activation),
        Op::Unary(op) => unary(call, *op),
        Op::Concat { axis } => concat(call, *axis),
        Op::Requantize => requantize(call),
        Op::AveragePool(pool) => average_pool(call, pool),
        Op::GlobalAveragePool => {
            let axes: Vec<usize> = (2..call.input(0)?.extents().len()).collect();
            mean(call, &axes)
        }
        Op::Reduce { op: ReduceOp::Mean, axes, .. } => mean(call, axes),
        Op::Resize(attributes) if attributes.mode == ResizeMode::Linear => linear_resize(call, *attributes),
        Op::Pad { mode } => pad(call, *mode),
        _ => Ok(None),
    }
}

fn codes(call: &Call, values: &[i64]) -> Result<Option<Tensor>> {
    Tensor::from_i64(call.dtype(), call.extents(), values).map(Some)
}

fn binary(call: &Call, op: BinaryOp, activation: Activation) -> Result<Option<Tensor>> {
    let (Some(a), Some(b), Some(y)) = (Codes::input(call, 0), Codes::input(call, 1), Codes::output(call))
    else {
        return Ok(None);
    };
    let (low, high) = activation.bounds();
    let range = y.range.clipped(low, high, y.scale, y.zero_point);
    let (ratio_a, ratio_b) = (a.scale / y.scale, b.scale / y.scale);
    let product = convert::product_multiplier(a.scale, b.scale, y.scale);
    let function = |left: i64, right: i64| match op {
        BinaryOp::Add => convert::add(left as i32, ratio_a, right as i32, ratio_b, y.zero_point, range),
        BinaryOp::Sub => convert::add(left as i32, ratio_a, right as i32, -ratio_b, y.zero_point, range),
        _ => convert::round_to_code((left * right) as f32 * product, y.zero_point, range),
    };
    let wide = [a.range, b.range].into_iter().any(|range| range.max > i32::from(u16::MAX));
    if !matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul) || wide {
        return Ok(None);
    }
    let (left, right) = (call.input(0)?, call.input(1)?);
    let (left_codes, right_codes) = (left.to_i64_vec(), right.to_i64_vec());
    let at_left = broadcast(left.extents(), call.extents());
    let at_right = broadcast(right.extents(), call.extents());
    let result: Vec<i64> = at_left
        .into_iter()
        .zip(at_right)
        .map(|(i, j)| {
            let (left, right) =
                (left_codes[i] - i64::from(a.zero_point), right_codes[j] - i64::from(b.zero_point));
            i64::from(function(left, right))
        })
        .collect();
    codes(call, &result)
}

fn unary(call: &Call, op: UnaryOp) -> Result<Option<Tensor>> {
    let (Some(x), Some(y)) = (Codes::input(call, 0), Codes::output(call)) else { return Ok(None) };
    let function = |q: i64| y.quantize(unary_function(op, f64::from(x.dequantize(q))) as f32);
    let result: Vec<i64> = call.input(0)?.to_i64_vec().into_iter().map(function).collect();
    codes(call, &result)
}

fn requantize(call: &Call) -> Result<Option<Tensor>> {
    let (Some(x), Some(y)) = (Codes::input(call, 0), Codes::output(call)) else { return Ok(None) };
    let result: Vec<i64> = call.input(0)?.to_i64_vec().into_iter().map(|q| y.requantize(q, x)).collect();
    codes(call, &result)
}

fn concat(call: &Call, axis: usize) -> Result<Option<Tensor>> {
    let Some(y) = Codes::output(call) else { return Ok(None) };
    let Some(inputs) =
        (0..call.inputs.len()).map(|index| Codes::input(call, index)).collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    let converted = inputs
        .into_iter()
        .enumerate()
        .map(|(index, from)| {
            let tensor = call.input(index)?;
            let values: Vec<i64> = tensor.to_i64_vec().into_iter().map(|q| y.requantize(q, from)).collect();
            Tensor::from_i64(call.dtype(), tensor.extents(), &values)
                .map(|tensor| Some(std::borrow::Cow::Owned(tensor)))
        })
        .collect::<Result<Vec<_>>>()?;
    let moved = Call {
        site: call.site,
        inputs: converted,
        input_quant: call.input_quant.clone(),
        outputs: call.outputs.clone(),
        output_quant: call.output_quant.clone(),
    };
    Ok(shape_ops::concat(&moved, axis)?.pop())
}

/// Means over `axes` by the rule for pooling.
fn mean(call: &Call, axes: &[usize]) -> Result<Option<Tensor>> {
    let (Some(x), Some(y)) = (Codes::input(call, 0), Codes::output(call)) else { return Ok(None) };
    let tensor = call.input(0)?;
    let size: usize = axes.iter().map(|&axis| tensor.extents()[axis]).product();
    let multiplier = convert::mean_multiplier(x.scale, size, y.scale);
    let mut sums = vec![0i64; call.extents().iter().product()];
    for (q, group) in tensor.to_i64_vec().into_iter().zip(project(tensor.extents(), axes)) {
        sums[group] += q - i64::from(x.zero_point);
    }
    let result: Vec<i64> = sums
        .into_iter()
        .map(|sum| i64::from(convert::round_to_code(sum as f32 * multiplier, y.zero_point, y.range)))
        .collect();
    codes(call, &result)
}

fn average_pool(call: &Call, attributes: &PoolAttributes) -> Result<Option<Tensor>> {
    let (Some(x), Some(y)) = (Codes::input(call, 0), Codes::output(call)) else { return Ok(None) };
    let values = call.input(0)?.to_i64_vec();
    let result = pool::Windows::new(call, attributes)?.map(0, |first, window| {
        let sum: i64 = window.samples.iter().map(|at| values[first + at] - i64::from(x.zero_point)).sum();
        let multiplier = convert::mean_multiplier(x.scale, window.divisor, y.scale);
        i64::from(convert::round_to_code(sum as f32 * multiplier, y.zero_point, y.range))
    });
    codes(call, &result)
}

/// Linear resize of the last two axes in steps of 2^-11; parameters stay.
fn linear_resize(call: &Call, attributes: ResizeAttributes) -> Result<Option<Tensor>> {
    let (Some(x), Some(y)) = (Codes::input(call, 0), Codes::output(call)) else { return Ok(None) };
    let input = call.input(0)?;
    let rank = input.extents().len();
    let scales = resize::scales(call);
    let stays = |axis: usize| input.extents()[axis] == call.extents()[axis] && scales[axis] == 1.0;
    if x != y || rank < 2 || !(0..rank - 2).all(stays) {
        return Ok(None);
    }
    let samples = |axis: usize| -> Vec<(usize, usize, i64)> {
        let (from, to) = (input.extents()[axis], call.extents()[axis]);
        let sample = |index| {
            if stays(axis) {
                return (index, index, 0);
            }
            let (low, high, weight) = resize::linear_samples(attributes, index, from, to, scales[axis]);
            (low, high, i64::from(convert::resize_weight(weight)))
        };
        (0..to).map(sample).collect()
    };
    let (rows, columns) = (samples(rank - 2), samples(rank - 1));
    let (height, width) = (input.extents()[rank - 2], input.extents()[rank - 1]);
    let one = 1i64 << convert::RESIZE_BITS;
    let mut result = Vec::with_capacity(call.extents().iter().product());
    for plane in input.to_i64_vec().chunks_exact((height * width).max(1)) {
        for &(top, bottom, weight_y) in &rows {
            for &(left, right, weight_x) in &columns {
                let row = |y: usize| {
                    plane[y * width + left] * (one - weight_x) + plane[y * width + right] * weight_x
                };
                let sum = row(top) * (one - weight_y) + row(bottom) * weight_y;
                result.push(i64::from(convert::resize_round(sum)));
            }
        }
    }
    codes(call, &result)
}

/// Padding of codes with the code of the padding value; parameters stay.
fn pad(call: &Call, mode: PadMode) -> Result<Option<Tensor>> {
    let (Some(x), Some(y)) = (Codes::input(call, 0), Codes::output(call)) else { return Ok(None) };
    if x != y {
        return Ok(None);
    }
    let code = match (call.optional(2), call.input_quant(2)) {
        (None, _) => i64::from(x.zero_point),
        (Some(value), Some(quant)) => {
            let real = dequantize(value, quant, DType::F32)?.to_f32_vec();
            x.quantize(real.first().copied().unwrap_or_default())
        }
        (Some(value), None) if value.dtype().is_float() => {
            x.quantize(value.to_f32_vec().first().copied().unwrap_or_default())
        }
        (Some(value), None) => value.to_i64_vec().first().copied().unwrap_or_default(),
    };
    let fill = Tensor::from_i64(call.dtype(), &[1], &[code])?;
    Ok(shape_ops::pad(call, mode, Some(&fill))?.pop())
}
