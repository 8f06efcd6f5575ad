//! The rule of each operator, and those too small for a file of their own.

use super::dims;
use super::site::{Inferred, Number, Site};
use super::{compute, control, index, moving, recurrent, window};
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::{ConvAttributes, DType, Dim, Op, Shape};

/// What is known of the node's outputs; an [`Op::Opaque`] tells nothing.
pub(crate) fn outputs(site: &Site) -> Result<Vec<Inferred>> {
    let inferred = match &site.node.op {
        Op::Identity => same(site),
        Op::Conv { conv, .. } => window::conv(site, conv),
        Op::ConvTranspose { conv, output_padding, .. } => window::conv_transpose(site, conv, output_padding),
        Op::Gemm { trans_a, trans_b, .. } => compute::gemm(site, *trans_a, *trans_b),
        Op::MatMul => compute::mat_mul(site),
        Op::MaxPool(pool) => window::pool(site, pool, true),
        Op::AveragePool(pool) => window::pool(site, pool, false),
        Op::GlobalAveragePool => window::global_pool(site, false),
        Op::GlobalMaxPool => window::global_pool(site, true),
        Op::Unary(op) => compute::unary(site, *op),
        Op::Binary { op, .. } => compute::binary(site, *op),
        Op::Compare(op) => compute::compare(site, *op),
        Op::Logic(op) => compute::logic(site, *op),
        Op::Where => compute::choose(site),
        Op::Softmax { axis, .. } => compute::softmax(site, *axis),
        Op::BatchNorm { .. } => compute::channel_norm(site, 4),
        Op::InstanceNorm { .. } => compute::channel_norm(site, 2),
        Op::LayerNorm { axis, .. } => compute::layer_norm(site, *axis),
        Op::Reduce { op, axes, keep_dims } => compute::reduce(site, *op, axes, *keep_dims),
        Op::ArgMax { axis, keep_dims, .. } => compute::arg_max(site, *axis, *keep_dims),
        Op::Reshape { allow_zero } => moving::reshape(site, *allow_zero),
        Op::Flatten { axis } => moving::flatten(site, *axis),
        Op::Transpose { perm } => moving::transpose(site, perm),
        Op::Squeeze { axes } => moving::squeeze(site, axes),
        Op::Unsqueeze { axes } => moving::unsqueeze(site, axes),
        Op::Concat { axis } => moving::concat(site, *axis),
        Op::Split { axis, sizes } => moving::split(site, *axis, sizes),
        Op::Slice => moving::slice(site),
        Op::Gather { axis } => moving::gather(site, *axis),
        Op::Index(op) => index::outputs(site, op),
        Op::Recurrent(layer) => recurrent::outputs(site, layer),
        Op::Control(op) => control::outputs(site, op),
        Op::Expand => moving::expand(site),
        Op::Tile => moving::tile(site),
        Op::Pad { mode } => moving::pad(site, *mode),
        Op::Resize(attributes) => moving::resize(site, *attributes),
        Op::DepthToSpace { block, .. } => moving::depth_to_space(site, *block),
        Op::SpaceToDepth { block } => moving::space_to_depth(site, *block),
        Op::Shape { start, end } => shape(site, *start, *end),
        Op::Size => Ok(vec![Inferred::of(Some(DType::I64), Vec::new())]),
        Op::ConstantOfShape { value } => constant_of_shape(site, value.dtype(), value.elements()),
        Op::Range => range(site),
        Op::Cast { to } => retyped(site, Some(*to)),
        Op::QuantizeLinear { axis, block, to } => quantize_linear(site, *axis, *block, *to),
        Op::DequantizeLinear { axis, block } => dequantize_linear(site, *axis, *block),
        Op::Quantize | Op::Requantize => retyped(site, quantized_dtype(site)?),
        Op::Dequantize => {
            let declared = site.outputs.first().and_then(|output| output.dtype);
            retyped(site, Some(declared.filter(|dtype| dtype.is_float()).unwrap_or(DType::F32)))
        }
        Op::DynamicQuantizeLinear => {
            let shape = site.required(0)?.shape.clone();
            Ok(vec![
                Inferred { dtype: Some(DType::U8), shape },
                Inferred::of(Some(DType::F32), Vec::new()),
                Inferred::of(Some(DType::U8), Vec::new()),
            ])
        }
        // Products of codes have a known form, so that what follows can be read and absorbed (see `pass::dynamic`).
        Op::Opaque { domain, op_type, .. } if domain.is_empty() && op_type == "MatMulInteger" => {
            compute::matrices(site, Some(DType::I32))
        }
        Op::Opaque { domain, op_type, attributes, .. }
            if domain.is_empty()
                && op_type == "ConvInteger"
                && let Some(conv) = ConvAttributes::explicit(attributes) =>
        {
            window::conv_integer(site, &conv)
        }
        Op::Opaque { .. } => Ok(vec![Inferred::unranked(None); site.node.outputs.len()]),
    }?;
    if inferred.len() != site.node.outputs.len() {
        return Err(CoreError::new(
            CoreErrorKind::Structure,
            format!(
                "expected {} outputs of {}, found {}",
                inferred.len(),
                site.node.op.kind(),
                site.node.outputs.len()
            ),
        )
        .at(&site.node.name));
    }
    for output in &inferred {
        if let Some(shape) = &output.shape
            && dims::product(shape.dims()).is_none()
        {
            return Err(
                site.error(format!("expected a number of elements that fits an address, found {shape}"))
            );
        }
    }
    Ok(inferred)
}

/// The input's shape under another type.
fn retyped(site: &Site, dtype: Option<DType>) -> Result<Vec<Inferred>> {
    Ok(vec![Inferred { dtype, shape: site.required(0)?.shape.clone() }])
}

fn same(site: &Site) -> Result<Vec<Inferred>> {
    retyped(site, site.required(0)?.dtype)
}

/// The type of a value that something quantizes to: whoever made the value chose it.
fn quantized_dtype(site: &Site) -> Result<Option<DType>> {
    match site.outputs.first().and_then(|output| output.dtype) {
        Some(dtype) if dtype.is_integer() => Ok(Some(dtype)),
        found => Err(site.error(format!(
            "expected an integer type on the output, found {}",
            found.map_or("none", DType::name)
        ))),
    }
}

fn shape(site: &Site, start: usize, end: Option<usize>) -> Result<Vec<Inferred>> {
    let length = match site.required(0)?.dims() {
        Some(dims) => Dim::Fixed(end.unwrap_or(dims.len()).min(dims.len()).saturating_sub(start)),
        None => site.unknown(0, 0),
    };
    Ok(vec![Inferred::of(Some(DType::I64), vec![length])])
}

fn constant_of_shape(site: &Site, dtype: DType, elements: usize) -> Result<Vec<Inferred>> {
    if elements != 1 {
        return Err(site.error(format!("expected a value of one element, found {elements}")));
    }
    let shape = site.required(0)?;
    let dims = match shape.numbers() {
        Some(numbers) => Some(
            numbers
                .iter()
                .map(|number| match number {
                    Number::Symbol(name) => Ok(Dim::Symbol(name.clone())),
                    Number::Known(extent) => {
                        site.dim(dims::fixed(i128::from(*extent)), &format!("an extent ({extent})"))
                    }
                })
                .collect::<Result<Vec<_>>>()?,
        ),
        None => shape.length().map(|rank| site.unknowns(rank)).transpose()?,
    };
    Ok(vec![Inferred { dtype: Some(dtype), shape: dims.map(Shape) }])
}

/// The number of elements of a range; `None` for a step of zero or a number that is not finite.
fn range_length(start: f64, limit: f64, step: f64) -> Option<usize> {
    let length = ((limit - start) / step).ceil().max(0.0);
    (step != 0.0 && length.is_finite() && start.is_finite() && length < 9_007_199_254_740_992.0)
        .then_some(length as usize)
}

fn range(site: &Site) -> Result<Vec<Inferred>> {
    let dtype = site.common_dtype([0, 1, 2])?;
    for index in 0..3 {
        let operand = site.required(index)?;
        if operand.shape.as_ref().and_then(Shape::elements).is_some_and(|elements| elements != 1) {
            return Err(site.error(format!("expected one number in `{}`", operand.name)));
        }
    }
    let number = |index: usize| -> Result<Option<f64>> {
        Ok(site.required(index)?.tensor.and_then(|tensor| tensor.to_f64_vec().first().copied()))
    };
    let length = match (number(0)?, number(1)?, number(2)?) {
        (Some(start), Some(limit), Some(step)) => {
            range_length(start, limit, step).map(Dim::Fixed).ok_or_else(|| {
                site.error(format!("expected a finite range, found {start} to {limit} by {step}"))
            })?
        }
        (Some(0.0), None, Some(1.0)) => match site.required(1)?.numbers().as_deref() {
            Some([Number::Symbol(name)]) => Dim::Symbol(name.clone()),
            _ => site.unknown(0, 0),
        },
        _ => site.unknown(0, 0),
    };
    Ok(vec![Inferred::of(dtype, vec![length])])
}

/// Checks that scales (and zero points) are one, one per index of `axis`, or one per block of it.
fn check_parameters(site: &Site, axis: usize, block: usize) -> Result<()> {
    let (x, scale) = (site.required(0)?, site.required(1)?);
    if let Some(dtype) = scale.dtype.filter(|dtype| !dtype.is_float()) {
        return Err(site.error(format!("expected float scales, found {dtype}")));
    }
    if let (Some(a), Some(b)) = (&scale.shape, site.optional(2).and_then(|zero| zero.shape.as_ref()))
        && (a.elements(), b.elements()) != (Some(1), Some(1))
        && (a.rank() != b.rank() || a.0.iter().zip(&b.0).any(|(a, b)| dims::unify(a, b).is_none()))
    {
        return Err(site.error(format!("expected zero points shaped like the scales {a}, found {b}")));
    }
    let (Some(dims), Some(scale)) = (x.dims(), scale.dims()) else { return Ok(()) };
    let mismatch = || {
        Err(site.error(format!(
            "expected scales for {} along axis {axis} in blocks of {block} (0: per channel), found shape {}",
            Shape(dims.to_vec()),
            Shape(scale.to_vec())
        )))
    };
    let single = scale.iter().all(|dim| *dim == Dim::Fixed(1)) && scale.len() <= 1;
    if block == 0 {
        return match scale {
            _ if single => Ok(()),
            [length] if axis < dims.len() && dims::unify(length, &dims[axis]).is_some() => Ok(()),
            _ => mismatch(),
        };
    }
    if scale.len() != dims.len() || axis >= dims.len() {
        return mismatch();
    }
    for (at, (dim, given)) in dims.iter().zip(scale).enumerate() {
        let expected = if at == axis { dims::ceil_div(dim, block) } else { Some(dim.clone()) };
        if expected.is_none_or(|expected| dims::unify(&expected, given).is_none()) {
            return mismatch();
        }
    }
    Ok(())
}

fn quantize_linear(site: &Site, axis: usize, block: usize, to: DType) -> Result<Vec<Inferred>> {
    check_parameters(site, axis, block)?;
    let dtype = match site.optional(2) {
        Some(zero_point) => zero_point.dtype,
        None => Some(to),
    };
    if let Some(dtype) = dtype.filter(|dtype| dtype.integer_range().is_none() || *dtype == DType::U32) {
        return Err(site.error(format!("expected an integer type to quantize to, found {dtype}")));
    }
    if let Some(dtype) = site.required(0)?.dtype.filter(|dtype| !dtype.is_float() && *dtype != DType::I32) {
        return Err(site.error(format!("expected floats to quantize, found {dtype}")));
    }
    retyped(site, dtype)
}

fn dequantize_linear(site: &Site, axis: usize, block: usize) -> Result<Vec<Inferred>> {
    check_parameters(site, axis, block)?;
    let x = site.required(0)?;
    if let Some(dtype) = x.dtype.filter(|dtype| dtype.integer_range().is_none()) {
        return Err(site.error(format!("expected integers of at most 32 bits, found {dtype}")));
    }
    if let (Some(dtype), Some(zero)) = (x.dtype, site.optional(2).and_then(|zero| zero.dtype))
        && dtype != zero
    {
        return Err(site.error(format!("expected zero points of type {dtype}, found {zero}")));
    }
    retyped(site, site.required(1)?.dtype)
}
