//! Conversions between element types, ONNX's quantization operators among them.

use half::{bf16, f16};

use super::Call;
use super::indexing::{from_integers, integers};
use super::quantized::{code_range, parameter_indices};
use crate::error::Result;
use crate::ir::{DType, Tensor};
use crate::quant::Granularity;
use crate::quant::convert::{self, CodeRange};

/// Floats to integers truncate and saturate (4-bit ones wrap), integers to narrower ones wrap, all but zero is true.
pub(super) fn cast(call: &Call, to: DType) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let from = x.dtype();
    if from == to {
        return Ok(vec![x.clone()]);
    }
    let extents = x.extents();
    let tensor = match (from.is_float(), to.is_float()) {
        (true, true) => Tensor::from_f64(to, extents, &x.to_f64_vec())?,
        (true, false) if to == DType::Bool => {
            Tensor::from_bools(extents, &x.to_f64_vec().into_iter().map(|x| x != 0.0).collect::<Vec<_>>())?
        }
        (true, false) if to == DType::U64 => {
            Tensor::from_slice(extents, &x.to_f64_vec().into_iter().map(|x| x as u64).collect::<Vec<_>>())?
        }
        // ONNX's own tests wrap 4-bit integers, and leave wider ones open.
        (true, false) if to.bits() < 8 => {
            from_integers(to, extents, &x.to_f64_vec().into_iter().map(|x| x as i128).collect::<Vec<_>>())?
        }
        (true, false) => Tensor::from_i64(to, extents, &x.to_i64_vec())?,
        // Straight to f32: by way of f64 a 64-bit integer would round twice.
        (false, true) if to == DType::F32 => {
            Tensor::from_slice(extents, &integers(x).into_iter().map(|x| x as f32).collect::<Vec<_>>())?
        }
        (false, true) => {
            Tensor::from_f64(to, extents, &integers(x).into_iter().map(|x| x as f64).collect::<Vec<_>>())?
        }
        (false, false) => from_integers(to, extents, &integers(x))?,
    };
    Ok(vec![tensor])
}

/// What of the scales is shared by what.
fn granularity(scale: &Tensor, axis: usize, block: usize) -> Granularity {
    match block {
        _ if block == 0 && scale.elements() == 1 => Granularity::PerTensor,
        0 => Granularity::PerChannel { axis },
        size => Granularity::PerBlock { axis, size },
    }
}

/// Zero points as integers, zeros where absent.
fn zero_points(call: &Call, count: usize) -> Vec<i64> {
    match call.optional(2) {
        Some(tensor) => {
            let given = tensor.to_i64_vec();
            if given.len() == count { given } else { vec![given.first().copied().unwrap_or(0); count] }
        }
        None => vec![0; count],
    }
}

pub(super) fn quantize_linear(call: &Call, axis: usize, block: usize) -> Result<Vec<Tensor>> {
    let (x, scale) = (call.input(0)?, call.input(1)?);
    let scales = scale.to_f32_vec();
    let zeros = zero_points(call, scales.len());
    let range = code_range(call.dtype());
    let at = parameter_indices(x.extents(), granularity(scale, axis, block));
    let codes: Vec<i64> = x
        .to_f32_vec()
        .into_iter()
        .zip(at)
        .map(|(x, at)| i64::from(convert::quantize(x, scales[at], zeros[at] as i32, range)))
        .collect();
    Ok(vec![Tensor::from_i64(call.dtype(), call.extents(), &codes)?])
}

pub(super) fn dequantize_linear(call: &Call, axis: usize, block: usize) -> Result<Vec<Tensor>> {
    let (x, scale) = (call.input(0)?, call.input(1)?);
    let scales = scale.to_f32_vec();
    let zeros = zero_points(call, scales.len());
    let at = parameter_indices(x.extents(), granularity(scale, axis, block));
    let reals: Vec<f64> = x
        .to_i64_vec()
        .into_iter()
        .zip(at)
        .map(|(q, at)| f64::from((q - zeros[at]) as f32 * scales[at]))
        .collect();
    call.floats(&reals)
}

pub(super) fn dynamic_quantize_linear(call: &Call) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let values = x.to_f32_vec();
    let (scale, zero_point) = convert::dynamic_parameters(&values);
    let codes: Vec<u8> =
        values.into_iter().map(|x| convert::quantize(x, scale, zero_point, CodeRange::U8) as u8).collect();
    Ok(vec![
        Tensor::from_slice(x.extents(), &codes)?,
        Tensor::scalar(scale),
        Tensor::scalar(zero_point as u8),
    ])
}

/// The f32 elements rounded to f16 or bf16 and back; other tensors as they are.
pub(super) fn rounded(tensor: &Tensor, to: DType) -> Result<Tensor> {
    if tensor.dtype() != DType::F32 {
        return Ok(tensor.clone());
    }
    let round = |x: f32| match to {
        DType::F16 => f16::from_f32(x).to_f32(),
        _ => bf16::from_f32(x).to_f32(),
    };
    Tensor::from_slice(tensor.extents(), &tensor.to_f32_vec().into_iter().map(round).collect::<Vec<_>>())
}
