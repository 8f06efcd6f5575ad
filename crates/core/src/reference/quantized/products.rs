//! Convolutions and matrix products in integers.

use super::{Call, Codes, Result, Tensor, parameter_indices};
use crate::ir::{DType, Op};
use crate::plan::Precision;
use crate::quant::convert::{self, CodeRange};
use crate::quant::{Granularity, QuantParams};
use crate::reference::convolution::{self, Geometry, Mac};
use crate::reference::indexing::broadcast;
use crate::reference::matmul::{self, Batches};

/// What is added to an accumulator.
enum Addend {
    Nothing,
    /// Integers of the accumulator's scale.
    Codes(Vec<i64>),
    /// Real numbers.
    Reals(Vec<f32>),
}

/// An input as integers without their zero points.
struct Integers {
    values: Vec<i64>,
    scales: Vec<f32>,
    bits: usize,
}

/// The product by integer arithmetic; `None` where parameters fit no rule.
pub(super) fn evaluate(call: &Call) -> Result<Option<Tensor>> {
    let Some(x) = activations(call)? else { return Ok(None) };
    let Some(w) = weights(call)? else { return Ok(None) };
    // 8-bit kernels accumulate in 32 bits, which wrap; wider ones in 64.
    let narrow = x.bits <= 8 && w.bits <= 8;
    let sums: Vec<i64> = if narrow {
        let narrow = |values: &[i64]| values.iter().map(|&value| value as i32).collect::<Vec<_>>();
        sums(call, &narrow(&x.values), &narrow(&w.values))?.into_iter().map(i64::from).collect()
    } else {
        sums(call, &x.values, &w.values)?
    };
    let extents = call.extents();
    let finish = Finish::new(call);
    let addend = addend(call)?;
    // Of each element of the output: its channel, which decides the weights' scale, and its element of the addend.
    let (plane, channels) = match call.op() {
        Op::Conv { .. } | Op::ConvTranspose { .. } => (extents[2..].iter().product(), extents[1]),
        _ => (1, w.scales.len()),
    };
    let positions = match (call.op(), call.optional(2)) {
        (Op::Gemm { .. }, Some(addend)) => Some(broadcast(addend.extents(), extents)),
        _ => None,
    };
    let result = sums.into_iter().enumerate().map(|(at, sum)| {
        let channel = at / plane % channels;
        let scales = (x.scales[0], w.scales[channel % w.scales.len()]);
        let addend_at = positions.as_ref().map_or(channel, |positions| positions[at]);
        finish.element(sum, scales, (&addend, addend_at), narrow)
    });
    match finish.output {
        Some(_) => {
            let codes: Vec<i64> = result.map(|value| value as i64).collect();
            Tensor::from_i64(call.dtype(), extents, &codes).map(Some)
        }
        None => Tensor::from_f64(call.dtype(), extents, &result.collect::<Vec<_>>()).map(Some),
    }
}

/// The last steps from accumulator to output.
struct Finish {
    output: Option<Codes>,
    range: CodeRange,
    low: f32,
    high: f32,
}

impl Finish {
    fn new(call: &Call) -> Self {
        let (low, high) = call.op().activation().bounds();
        let output = Codes::output(call);
        let range = output.map_or(CodeRange::U8, |y| y.range.clipped(low, high, y.scale, y.zero_point));
        Self { output, range, low, high }
    }

    /// The code or real number of one accumulator; both are exact in f64.
    fn element(
        &self,
        sum: i64,
        (scale_x, scale_w): (f32, f32),
        (addend, at): (&Addend, usize),
        narrow: bool,
    ) -> f64 {
        let product = scale_x * scale_w;
        let mut sum = sum;
        let mut real = None;
        match addend {
            Addend::Nothing => {}
            Addend::Codes(codes) => sum = sum.wrapping_add(codes[at]),
            Addend::Reals(reals) if self.output.is_none() => real = Some(reals[at]),
            // A quantized output takes the bias at the accumulator's scale.
            Addend::Reals(reals) => {
                let range = CodeRange { min: i32::MIN, max: i32::MAX };
                sum = sum.wrapping_add(i64::from(convert::quantize(reals[at], product, 0, range)));
            }
        }
        if narrow {
            sum = i64::from(sum as i32);
        }
        if let Some(y) = self.output {
            let multiplier = convert::product_multiplier(scale_x, scale_w, y.scale);
            return f64::from(convert::round_to_code(sum as f32 * multiplier, y.zero_point, self.range));
        }
        let value = sum as f32 * product;
        let value = real.map_or(value, |bias| value + bias);
        f64::from(if value.is_nan() { value } else { value.max(self.low).min(self.high) })
    }
}

/// The sums of products in the arithmetic of `T`.
fn sums<T: Mac>(call: &Call, x: &[T], w: &[T]) -> Result<Vec<T>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    Ok(match call.op() {
        Op::Conv { conv, .. } => convolution::correlate(&Geometry::new(call, conv)?, x, w),
        Op::ConvTranspose { conv, .. } => convolution::spread(&Geometry::new(call, conv)?, x, w),
        Op::Gemm { trans_a, trans_b, .. } => {
            let (m, n) = (call.extents()[0], call.extents()[1]);
            let k = a.extents()[usize::from(!trans_a)];
            let left = matmul::oriented(x.to_vec(), a.extents(), *trans_a);
            let right = matmul::oriented(w.to_vec(), b.extents(), *trans_b);
            matmul::product(m, k, n, &left, &right)
        }
        _ => Batches::new(a.extents(), b.extents(), call.extents()).product(x, w),
    })
}

/// The first input as integers; quantized on the spot in dynamic quantization.
fn activations(call: &Call) -> Result<Option<Integers>> {
    let x = call.input(0)?;
    if let Some(codes) = Codes::input(call, 0) {
        let zero = i64::from(codes.zero_point);
        let values = x.to_i64_vec().into_iter().map(|q| q - zero).collect();
        return Ok(Some(Integers { values, scales: vec![codes.scale], bits: x.dtype().bits() }));
    }
    if call.precision() != Some(Precision::W8A8Dynamic) || call.input_quant(0).is_some() {
        return Ok(None);
    }
    let reals = x.to_f32_vec();
    let (scale, zero) = convert::dynamic_parameters(&reals);
    let values = reals
        .into_iter()
        .map(|x| i64::from(convert::quantize(x, scale, zero, CodeRange::U8) - zero))
        .collect();
    Ok(Some(Integers { values, scales: vec![scale], bits: 8 }))
}

/// The second input as integers, if its scales belong to the whole tensor or to output channels.
fn weights(call: &Call) -> Result<Option<Integers>> {
    let w = call.input(1)?;
    let Some(quant) = call.input_quant(1) else { return Ok(None) };
    let channel_axis = match call.op() {
        Op::Conv { .. } => 0,
        Op::ConvTranspose { .. } => 1,
        Op::Gemm { alpha, beta, trans_b, .. } => {
            if *alpha != 1.0 || (*beta != 1.0 && call.optional(2).is_some()) {
                return Ok(None);
            }
            usize::from(!trans_b)
        }
        _ if w.extents().len() > 1 => w.extents().len() - 1,
        // A vector has no output channels.
        _ => usize::MAX,
    };
    match quant.granularity {
        Granularity::PerTensor => {}
        Granularity::PerChannel { axis } if axis == channel_axis => {}
        _ => return Ok(None),
    }
    let QuantParams { granularity, scales, zero_points } = quant;
    let at = parameter_indices(w.extents(), *granularity);
    let values = w.to_i64_vec().into_iter().zip(at).map(|(q, at)| q - i64::from(zero_points[at])).collect();
    // Scales are empty only where there are no channels, and then no elements.
    let scales = if scales.is_empty() { vec![1.0] } else { scales.clone() };
    Ok(Some(Integers { values, scales, bits: w.dtype().bits() }))
}

/// The bias or addend.
fn addend(call: &Call) -> Result<Addend> {
    let Some(bias) = call.optional(2) else { return Ok(Addend::Nothing) };
    Ok(match (bias.dtype(), call.input_quant(2)) {
        // 32-bit integers are sums already, whatever name their scale has.
        (DType::I32, _) => Addend::Codes(bias.to_i64_vec()),
        (_, Some(quant)) => Addend::Reals(super::dequantize(bias, quant, DType::F32)?.to_f32_vec()),
        (_, None) => Addend::Reals(bias.to_f32_vec()),
    })
}
