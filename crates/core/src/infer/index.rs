//! Operators that find, pick, place, order or count elements by position.

mod sampling;

pub(crate) use sampling::{blocks, unpooled};

use super::compute;
use super::dims::{self, unify};
use super::moving::check_integers;
use super::site::{Inferred, Number, Operand, Site};
use crate::error::Result;
use crate::ir::{DType, Dim, IndexOp, ReduceOp, ScatterReduction, Shape, Tensor};

pub(super) fn outputs(site: &Site, op: &IndexOp) -> Result<Vec<Inferred>> {
    match op {
        IndexOp::GatherElements { axis } => gather_elements(site, *axis),
        IndexOp::GatherNd { batch_dims } => gather_nd(site, *batch_dims),
        IndexOp::ScatterElements { axis, reduction } => scatter_elements(site, *axis, *reduction),
        IndexOp::ScatterNd { reduction } => scatter_nd(site, *reduction),
        IndexOp::OneHot { axis } => one_hot(site, *axis),
        IndexOp::CumSum { .. } => cum_sum(site),
        IndexOp::TopK { axis, .. } => top_k(site, *axis),
        IndexOp::NonMaxSuppression { .. } => non_max_suppression(site),
        IndexOp::NonZero => non_zero(site),
        IndexOp::Compress { axis } => compress(site, *axis),
        IndexOp::Trilu { .. } => trilu(site),
        IndexOp::ReverseSequence { batch_axis, time_axis } => reverse_sequence(site, *batch_axis, *time_axis),
        IndexOp::Unique { axis, .. } => unique(site, *axis),
        IndexOp::GridSample(_) => sampling::grid_sample(site),
        IndexOp::RoiAlign(roi) => sampling::roi_align(site, roi),
        IndexOp::ReduceBy { op, keep_dims, all } => reduce_by(site, *op, *keep_dims, *all),
        IndexOp::Resample(attributes) => sampling::resample(site, *attributes),
        IndexOp::Col2Im { strides, dilations, pads } => sampling::col2im(site, (strides, dilations, pads)),
        IndexOp::MaxPoolIndices { pool, .. } => sampling::max_pool_indices(site, pool),
        IndexOp::MaxUnpool { kernel, strides, pads } => sampling::max_unpool(site, (kernel, strides, pads)),
    }
}

fn ranked(dtype: Option<DType>, dims: Option<Vec<Dim>>) -> Vec<Inferred> {
    vec![Inferred { dtype, shape: dims.map(Shape) }]
}

fn shown(dims: &[Dim]) -> Shape {
    Shape(dims.to_vec())
}

/// The type of elements that are computed from the first input's, or stored among them.
fn element_type(site: &Site) -> Result<Option<DType>> {
    let x = site.required(0)?;
    if x.quantized { site.result_dtype(None) } else { Ok(x.dtype) }
}

/// The indices at input `index`, which must be integers of 32 or 64 bits.
fn indices<'s, 'a>(site: &'s Site<'a>, index: usize) -> Result<&'s Operand<'a>> {
    let operand = site.required(index)?;
    if let Some(dtype) = operand.dtype.filter(|dtype| !matches!(dtype, DType::I32 | DType::I64)) {
        return Err(
            site.error(format!("expected indices of type i32 or i64 in `{}`, found {dtype}", operand.name))
        );
    }
    Ok(operand)
}

/// An input of one number.
fn one_number<'s, 'a>(site: &'s Site<'a>, operand: &'s Operand<'a>) -> Result<Option<&'a Tensor>> {
    if operand.shape.as_ref().and_then(Shape::elements).is_some_and(|elements| elements != 1) {
        return Err(site.error(format!("expected one number in `{}`", operand.name)));
    }
    Ok(operand.tensor)
}

/// The one integer of an input, as far as it is known.
fn one_integer(site: &Site, operand: &Operand) -> Result<Option<Number>> {
    check_integers(site, operand)?;
    one_number(site, operand)?;
    Ok(operand.numbers().and_then(|numbers| numbers.into_iter().next()))
}

fn gather_elements(site: &Site, axis: usize) -> Result<Vec<Inferred>> {
    let (x, indices) = (site.required(0)?, indices(site, 1)?);
    if let (Some(data), Some(at)) = (x.dims(), indices.dims()) {
        check_places(site, data, at, axis)?;
    }
    Ok(ranked(x.dtype, indices.dims().map(<[Dim]>::to_vec)))
}

/// Checks that indices of shape `at` speak of places in `data`: the same rank, and inside it but for `axis`.
fn check_places(site: &Site, data: &[Dim], at: &[Dim], axis: usize) -> Result<()> {
    site.axis(axis, data.len())?;
    let outside = |(place, (dim, index)): (usize, (&Dim, &Dim))| {
        place != axis && matches!((dim, index), (Dim::Fixed(dim), Dim::Fixed(index)) if index > dim)
    };
    if data.len() != at.len() || data.iter().zip(at).enumerate().any(outside) {
        return Err(site.error(format!(
            "expected indices no larger than {} but for axis {axis}, found shape {}",
            shown(data),
            shown(at)
        )));
    }
    Ok(())
}

/// The number of axes that each tuple of indices picks in; `None` while it is unknown.
fn tuple_length(site: &Site, at: &[Dim], rank: Option<usize>, batch_dims: usize) -> Result<Option<usize>> {
    let Some((last, leading)) = at.split_last() else {
        return Err(site.error("expected indices of at least one axis, found a scalar"));
    };
    if leading.len() < batch_dims {
        return Err(site.error(format!(
            "expected indices of more than {batch_dims} axes, which both inputs share, found {}",
            shown(at)
        )));
    }
    let length = last.fixed();
    if let (Some(length), Some(rank)) = (length, rank)
        && length.checked_add(batch_dims).is_none_or(|needed| needed > rank)
    {
        return Err(site.error(format!(
            "expected tuples of at most {} indices along the last axis, found {length}",
            rank.saturating_sub(batch_dims)
        )));
    }
    Ok(length)
}

fn gather_nd(site: &Site, batch_dims: usize) -> Result<Vec<Inferred>> {
    let (x, indices) = (site.required(0)?, indices(site, 1)?);
    let Some(at) = indices.dims() else { return Ok(vec![Inferred::unranked(x.dtype)]) };
    let length = tuple_length(site, at, x.dims().map(<[Dim]>::len), batch_dims)?;
    let (Some(data), Some(length)) = (x.dims(), length) else {
        return Ok(vec![Inferred::unranked(x.dtype)]);
    };
    if (0..batch_dims).any(|axis| unify(&data[axis], &at[axis]).is_none()) {
        return Err(site.error(format!(
            "expected {batch_dims} equal axes in front, found {} and {}",
            shown(data),
            shown(at)
        )));
    }
    let output = [&at[..at.len() - 1], &data[batch_dims + length..]].concat();
    Ok(ranked(x.dtype, Some(output)))
}

/// The type and shape of what `x` with updates is.
fn scattered(site: &Site, reduction: ScatterReduction) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    site.required(2)?;
    let natural = site.common_dtype([0, 2])?;
    if reduction != ScatterReduction::None && natural == Some(DType::Bool) {
        return Err(site.error(format!("expected numbers to {}, found truth values", reduction.name())));
    }
    let quantized = [0, 2].into_iter().any(|at| site.optional(at).is_some_and(|operand| operand.quantized));
    let dtype = if quantized { site.result_dtype(None)? } else { natural };
    Ok(ranked(dtype, x.dims().map(<[Dim]>::to_vec)))
}

/// Checks that there is one update per place.
fn check_updates(site: &Site, expected: &[Dim]) -> Result<()> {
    let Some(updates) = site.required(2)?.dims() else { return Ok(()) };
    let fits = updates.len() == expected.len()
        && updates.iter().zip(expected).all(|(update, expected)| unify(update, expected).is_some());
    if fits {
        return Ok(());
    }
    Err(site.error(format!("expected updates of shape {}, found {}", shown(expected), shown(updates))))
}

fn scatter_elements(site: &Site, axis: usize, reduction: ScatterReduction) -> Result<Vec<Inferred>> {
    let (x, indices) = (site.required(0)?, indices(site, 1)?);
    if let Some(at) = indices.dims() {
        if let Some(data) = x.dims() {
            check_places(site, data, at, axis)?;
        }
        check_updates(site, at)?;
    }
    scattered(site, reduction)
}

fn scatter_nd(site: &Site, reduction: ScatterReduction) -> Result<Vec<Inferred>> {
    let (x, indices) = (site.required(0)?, indices(site, 1)?);
    if let Some(at) = indices.dims() {
        let length = tuple_length(site, at, x.dims().map(<[Dim]>::len), 0)?;
        if let (Some(data), Some(length)) = (x.dims(), length) {
            check_updates(site, &[&at[..at.len() - 1], &data[length..]].concat())?;
        }
    }
    scattered(site, reduction)
}

fn one_hot(site: &Site, axis: usize) -> Result<Vec<Inferred>> {
    let (at, depth, values) = (site.required(0)?, site.required(1)?, site.required(2)?);
    if values.shape.as_ref().is_some_and(|shape| shape.rank() != 1 || values.length().is_some_and(|n| n != 2))
    {
        return Err(site.error(format!("expected two values, off and on, in `{}`", values.name)));
    }
    let dtype = if values.quantized { site.result_dtype(None)? } else { values.dtype };
    let known = one_number(site, depth)?.and_then(|tensor| tensor.to_i64_vec().first().copied());
    let extent = match (known, depth.numbers().as_deref()) {
        (Some(depth), _) => {
            let extent = dims::fixed(i128::from(depth)).filter(|extent| *extent != Dim::Fixed(0));
            site.dim(extent, &format!("a depth ({depth}) of at least 1"))?
        }
        (None, Some([Number::Symbol(name)])) => Dim::Symbol(name.clone()),
        (None, _) => site.unknown(0, axis),
    };
    let output = at.dims().map(|dims| {
        if axis > dims.len() {
            return Err(site.error(format!("expected an axis of at most {}, found {axis}", dims.len())));
        }
        let mut output = dims.to_vec();
        output.insert(axis, extent);
        Ok(output)
    });
    Ok(ranked(dtype, output.transpose()?))
}

/// Sums and orders are of numbers.
fn check_numbers(site: &Site) -> Result<()> {
    if site.required(0)?.dtype == Some(DType::Bool) {
        return Err(site.error("expected numbers, found truth values"));
    }
    Ok(())
}

fn cum_sum(site: &Site) -> Result<Vec<Inferred>> {
    check_numbers(site)?;
    let x = site.required(0)?;
    let axis = one_integer(site, site.required(1)?)?;
    if let (Some(dims), Some(axis)) = (x.dims(), axis.and_then(|axis| axis.known())) {
        site.signed_axis(axis, dims.len())?;
    }
    Ok(ranked(element_type(site)?, x.dims().map(<[Dim]>::to_vec)))
}

fn top_k(site: &Site, axis: usize) -> Result<Vec<Inferred>> {
    check_numbers(site)?;
    let x = site.required(0)?;
    let count = match one_integer(site, site.required(1)?)? {
        Some(Number::Known(count)) => {
            site.dim(dims::fixed(i128::from(count)), &format!("a number of elements ({count})"))?
        }
        Some(Number::Symbol(name)) => Dim::Symbol(name),
        None => site.unknown(0, axis),
    };
    let output = x.dims().map(|dims| {
        let whole = &dims[site.axis(axis, dims.len())?];
        if matches!((whole, &count), (Dim::Fixed(whole), Dim::Fixed(count)) if count > whole) {
            return Err(site.error(format!(
                "expected at most {whole} elements of axis {axis}, found {count} asked for"
            )));
        }
        let mut output = dims.to_vec();
        output[axis] = count;
        Ok(output)
    });
    let shape = output.transpose()?.map(Shape);
    let values = Inferred { dtype: element_type(site)?, shape: shape.clone() };
    Ok(vec![values, Inferred { dtype: Some(DType::I64), shape }])
}

fn non_max_suppression(site: &Site) -> Result<Vec<Inferred>> {
    let (boxes, scores) = (site.required(0)?, site.required(1)?);
    for operand in [boxes, scores] {
        if let Some(dtype) = operand.dtype.filter(|dtype| !dtype.is_float() && !operand.quantized) {
            return Err(site.error(format!("expected floats in `{}`, found {dtype}", operand.name)));
        }
    }
    let corners = site.dims_of_rank(boxes, 3, "boxes")?;
    let ranks = site.dims_of_rank(scores, 3, "scores")?;
    let fits = corners.is_none_or(|dims| unify(&dims[2], &Dim::Fixed(4)).is_some())
        && corners.zip(ranks).is_none_or(|(boxes, scores)| {
            unify(&boxes[0], &scores[0]).is_some() && unify(&boxes[1], &scores[2]).is_some()
        });
    if !fits {
        return Err(site.error(format!(
            "expected boxes [batch, boxes, 4] and scores [batch, classes, boxes], found {} and {}",
            shown(corners.unwrap_or_default()),
            shown(ranks.unwrap_or_default())
        )));
    }
    if let Some(most) = site.optional(2) {
        one_integer(site, most)?;
    }
    for index in [3, 4] {
        let Some(threshold) = site.optional(index) else { continue };
        let value = one_number(site, threshold)?.and_then(|tensor| tensor.to_f32_vec().first().copied());
        if let Some(value) = value.filter(|value| index == 3 && !(0.0..=1.0).contains(value)) {
            return Err(site.error(format!("expected an overlap from 0 to 1, found {value}")));
        }
    }
    Ok(vec![Inferred::of(Some(DType::I64), vec![site.unknown(0, 0), Dim::Fixed(3)])])
}

fn non_zero(site: &Site) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    let rank = x.dims().map_or_else(|| site.unknown(0, 0), |dims| Dim::Fixed(dims.len()));
    let found = match x.tensor {
        Some(tensor) => Dim::Fixed(tensor.to_f64_vec().into_iter().filter(|&element| element != 0.0).count()),
        None => site.unknown(0, 1),
    };
    Ok(vec![Inferred::of(Some(DType::I64), vec![rank, found])])
}

fn compress(site: &Site, axis: Option<usize>) -> Result<Vec<Inferred>> {
    let (x, condition) = (site.required(0)?, site.required(1)?);
    if let Some(dtype) = condition.dtype.filter(|dtype| *dtype != DType::Bool) {
        return Err(site.error(format!("expected truth values in `{}`, found {dtype}", condition.name)));
    }
    site.dims_of_rank(condition, 1, "a condition")?;
    let Some(dims) = x.dims() else { return Ok(vec![Inferred::unranked(x.dtype)]) };
    let whole = match axis {
        Some(axis) => dims[site.axis(axis, dims.len())?].clone(),
        None => site.dim(dims::product(dims), "a number of elements")?,
    };
    if let (Some(length), Dim::Fixed(whole)) = (condition.length(), &whole)
        && length > *whole
    {
        return Err(site.error(format!("expected at most {whole} conditions, found {length}")));
    }
    let kept = match condition.tensor {
        Some(tensor) => Dim::Fixed(tensor.bytes().iter().filter(|&&holds| holds != 0).count()),
        None => site.unknown(0, axis.unwrap_or(0)),
    };
    let Some(axis) = axis else { return Ok(ranked(x.dtype, Some(vec![kept]))) };
    let mut output = dims.to_vec();
    output[axis] = kept;
    Ok(ranked(x.dtype, Some(output)))
}

fn trilu(site: &Site) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    if let Some(dims) = x.dims().filter(|dims| dims.len() < 2) {
        return Err(site.error(format!("expected matrices, found shape {}", shown(dims))));
    }
    if let Some(diagonal) = site.optional(1) {
        one_integer(site, diagonal)?;
    }
    Ok(ranked(element_type(site)?, x.dims().map(<[Dim]>::to_vec)))
}

fn reverse_sequence(site: &Site, batch_axis: usize, time_axis: usize) -> Result<Vec<Inferred>> {
    let (x, lengths) = (site.required(0)?, indices(site, 1)?);
    if batch_axis.max(time_axis) > 1 || batch_axis == time_axis {
        return Err(site.error(format!(
            "expected the axes 0 and 1 for sequences and steps, found {batch_axis} and {time_axis}"
        )));
    }
    let given = site.dims_of_rank(lengths, 1, "lengths")?;
    if let Some(dims) = x.dims() {
        let fits = dims.len() >= 2 && given.is_none_or(|given| unify(&given[0], &dims[batch_axis]).is_some());
        if !fits {
            return Err(site.error(format!(
                "expected one length per index of axis {batch_axis} of {}, found {}",
                shown(dims),
                shown(given.unwrap_or_default())
            )));
        }
    }
    Ok(ranked(x.dtype, x.dims().map(<[Dim]>::to_vec)))
}

fn unique(site: &Site, axis: Option<usize>) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    let count = || Inferred::of(Some(DType::I64), vec![site.unknown(1, 0)]);
    let found = site.unknown(1, 0);
    let (values, whole) = match (x.dims(), axis) {
        (None, _) => (None, site.unknown(2, 0)),
        (Some(dims), Some(axis)) => {
            let whole = dims[site.axis(axis, dims.len())?].clone();
            let mut values = dims.to_vec();
            values[axis] = found;
            (Some(values), whole)
        }
        (Some(dims), None) => (Some(vec![found]), site.dim(dims::product(dims), "a number of elements")?),
    };
    let values = Inferred { dtype: element_type(site)?, shape: values.map(Shape) };
    Ok(vec![values, count(), Inferred::of(Some(DType::I64), vec![whole]), count()])
}

/// The axes of a reduction, each once; `None` while they are unknown.
pub(crate) fn reduced_axes(site: &Site, rank: usize, all: bool) -> Result<Option<Vec<usize>>> {
    let operand = site.required(1)?;
    check_integers(site, operand)?;
    let Some(axes) = operand.integers() else { return Ok(None) };
    if axes.is_empty() && all {
        return Ok(Some((0..rank).collect()));
    }
    let mut axes = axes.into_iter().map(|axis| site.signed_axis(axis, rank)).collect::<Result<Vec<_>>>()?;
    let count = axes.len();
    axes.sort_unstable();
    axes.dedup();
    if axes.len() != count {
        return Err(site.error("expected each axis once, found one twice"));
    }
    Ok(Some(axes))
}

fn reduce_by(site: &Site, op: ReduceOp, keep_dims: bool, all: bool) -> Result<Vec<Inferred>> {
    let Some(dims) = site.required(0)?.dims() else { return compute::reduce(site, op, &[], keep_dims) };
    if let Some(axes) = reduced_axes(site, dims.len(), all)? {
        return compute::reduce(site, op, &axes, keep_dims);
    }
    let rank = match (keep_dims, site.required(1)?.length()) {
        (true, _) => Some(dims.len()),
        (false, Some(count)) if count > 0 => dims.len().checked_sub(count),
        (false, _) => None,
    };
    let dtype = compute::reduce(site, op, &[], keep_dims)?.first().and_then(|reduced| reduced.dtype);
    Ok(ranked(dtype, rank.map(|rank| site.unknowns(rank)).transpose()?))
}
