//! What kernels ask of a value: extents they can count, elements they can hold, numbers they can use.

use fewbit_core::capability::reasons;
use fewbit_core::ir::{DType, Tensor, Value};

use super::{DIMS, ELEMENTS_MAX, Result, refused};

/// The extents of a value that kernels can count.
pub(crate) fn extents_of(value: &Value) -> Result<Vec<usize>> {
    let Some(shape) = value.extents() else {
        return refused(reasons::DYNAMIC, format!("the shape of `{}` is not fixed", value.name));
    };
    if shape.len() > DIMS {
        return refused(
            reasons::RANK,
            format!("`{}` has {} dimensions, and kernels walk over {DIMS}", value.name, shape.len()),
        );
    }
    let count = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    match count {
        Some(0) => refused(reasons::DIM, format!("`{}` is empty", value.name)),
        Some(count) if count <= ELEMENTS_MAX => Ok(shape),
        _ => refused(reasons::DIM, format!("`{}` has more elements than kernels count", value.name)),
    }
}

/// Bytes of an element: 1, 4 or 8.
pub(crate) fn width_of(value: &Value) -> Result<usize> {
    match value.dtype {
        Some(DType::I8 | DType::U8 | DType::Bool) => Ok(1),
        Some(DType::F32 | DType::I32 | DType::U32) => Ok(4),
        Some(DType::I64 | DType::U64) => Ok(8),
        Some(other) => refused(reasons::TYPE, format!("`{}` is {other}", value.name)),
        None => refused(reasons::TYPE, format!("`{}` has no known type", value.name)),
    }
}

/// Whether a value is f32.
pub(crate) fn is_real(value: &Value) -> bool {
    value.dtype == Some(DType::F32) && value.quant.is_none()
}

/// Refuses what is not f32.
pub(crate) fn require_real(value: &Value) -> Result<()> {
    if is_real(value) {
        return Ok(());
    }
    let dtype = value.dtype.map_or_else(|| "unknown".to_owned(), |dtype| dtype.to_string());
    refused(reasons::TYPE, format!("`{}` is {dtype}, and the kernel takes f32", value.name))
}

/// Refuses a multiplier that is no usable number.
pub(crate) fn usable(value: f32) -> Result<f32> {
    if value.is_finite() && (value == 0.0 || value.abs() >= f32::MIN_POSITIVE) {
        return Ok(value);
    }
    refused(reasons::RANGE, format!("the scales give the multiplier {value}"))
}

/// Refuses an output of other extents than the operator gives.
pub(crate) fn expect_shape(value: &Value, extents: &[usize]) -> Result<()> {
    let shape = extents_of(value)?;
    if shape == extents {
        return Ok(());
    }
    refused(reasons::DIM, format!("`{}` is {shape:?}, and the operator gives {extents:?}", value.name))
}

/// The constant of a value.
pub(crate) fn constant_of<'g>(value: &'g Value, what: &str) -> Result<&'g Tensor> {
    match &value.constant {
        Some(tensor) => Ok(tensor),
        None => refused(reasons::CONSTANT, format!("kernels take constant {what}")),
    }
}
