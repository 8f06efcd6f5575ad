//! Operators that find, pick, place, order or count elements by position.

mod order;
mod pick;
mod resample;
mod sample;
mod scatter;
mod suppress;
mod unpool;

use super::Call;
use crate::error::{CoreErrorKind, Result};
use crate::infer;
use crate::ir::{IndexOp, Tensor};

pub(super) fn evaluate(call: &Call, op: &IndexOp) -> Result<Vec<Tensor>> {
    match op {
        IndexOp::GatherElements { axis } => pick::gather_elements(call, *axis),
        IndexOp::GatherNd { batch_dims } => pick::gather_nd(call, *batch_dims),
        IndexOp::ScatterElements { axis, reduction } => scatter::elements(call, *axis, *reduction),
        IndexOp::ScatterNd { reduction } => scatter::nd(call, *reduction),
        IndexOp::OneHot { axis } => pick::one_hot(call, *axis),
        IndexOp::CumSum { exclusive, reverse } => order::cum_sum(call, *exclusive, *reverse),
        IndexOp::TopK { axis, largest } => order::top_k(call, *axis, *largest),
        IndexOp::NonMaxSuppression { center } => suppress::non_max_suppression(call, *center),
        IndexOp::NonZero => pick::non_zero(call),
        IndexOp::Compress { axis } => pick::compress(call, *axis),
        IndexOp::Trilu { upper } => pick::trilu(call, *upper),
        IndexOp::ReverseSequence { batch_axis, time_axis } => {
            pick::reverse_sequence(call, *batch_axis, *time_axis)
        }
        IndexOp::Unique { axis, sorted } => order::unique(call, *axis, *sorted),
        IndexOp::GridSample(attributes) => sample::grid_sample(call, *attributes),
        IndexOp::RoiAlign(roi) => sample::roi_align(call, roi),
        IndexOp::ReduceBy { op, all, .. } => {
            let rank = call.input(0)?.extents().len();
            let axes = infer::reduced_axes(call.site, rank, *all)?.unwrap_or_default();
            super::reduce::reduce(call, *op, &axes)
        }
        IndexOp::Resample(attributes) => resample::resample(call, *attributes),
        IndexOp::Col2Im { strides, dilations, pads } => unpool::col2im(call, (strides, dilations, pads)),
        IndexOp::MaxPoolIndices { pool, column_major } => unpool::max_pool_indices(call, pool, *column_major),
        IndexOp::MaxUnpool { kernel, strides, pads } => unpool::max_unpool(call, (kernel, strides, pads)),
    }
}

/// The index, counted from the front, into an axis of `extent`.
fn resolve(call: &Call, index: i64, extent: usize) -> Result<usize> {
    let at = if index < 0 { index.saturating_add_unsigned(extent as u64) } else { index };
    usize::try_from(at).ok().filter(|&at| at < extent).ok_or_else(|| {
        call.error(
            CoreErrorKind::Tensor,
            format!("expected indices from -{extent} to below {extent}, found {index}"),
        )
    })
}

/// For each element of `indices`, the element of a tensor of `extents` that it names: its own place but for `axis`.
fn element_places(call: &Call, extents: &[usize], indices: &Tensor, axis: usize) -> Result<Vec<usize>> {
    let own = super::indexing::strides(extents);
    let mut steps: Vec<isize> = own.iter().map(|&stride| stride as isize).collect();
    steps[axis] = 0;
    super::indexing::positions(indices.extents(), 0, &steps)
        .into_iter()
        .zip(indices.to_i64_vec())
        .map(|(base, index)| Ok(base + resolve(call, index, extents[axis])? * own[axis]))
        .collect()
}

/// For each tuple of `indices`, the first element of the slice of a tensor of `extents` that it names, and the number
/// of elements of a slice.
fn slice_places(
    call: &Call,
    extents: &[usize],
    indices: &Tensor,
    batch_dims: usize,
) -> Result<(Vec<usize>, usize)> {
    let (length, leading) = indices.extents().split_last().map_or((0, &[][..]), |(last, rest)| (*last, rest));
    let own = super::indexing::strides(extents);
    let run = extents[batch_dims + length..].iter().product();
    let batches: usize = extents[..batch_dims].iter().product();
    let batch: usize = extents[batch_dims..].iter().product();
    let tuples: usize = leading.iter().product();
    let per_batch = tuples.checked_div(batches).unwrap_or(0);
    let values = indices.to_i64_vec();
    let place = |tuple: usize| -> Result<usize> {
        let mut at = tuple.checked_div(per_batch).unwrap_or(0) * batch;
        for (offset, &index) in values[tuple * length..(tuple + 1) * length].iter().enumerate() {
            let axis = batch_dims + offset;
            at += resolve(call, index, extents[axis])? * own[axis];
        }
        Ok(at)
    };
    Ok(((0..tuples).map(place).collect::<Result<_>>()?, run))
}
