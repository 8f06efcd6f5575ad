//! Pooling with indices and the inverses of windows.

use super::super::Call;
use super::super::indexing::{from_integers, integers, select, strides};
use super::super::pool::{Windows, best};
use crate::error::{CoreErrorKind, Result};
use crate::infer;
use crate::ir::{PoolAttributes, Tensor};

/// The largest element of each window, and its place in the whole tensor.
pub(super) fn max_pool_indices(
    call: &Call,
    pool: &PoolAttributes,
    column_major: bool,
) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let values = x.to_f64_vec();
    let lowest = match x.dtype().integer_range() {
        Some((low, _)) => Tensor::from_i64(x.dtype(), &[1], &[low])?,
        None => Tensor::from_f64(x.dtype(), &[1], &[f64::NEG_INFINITY])?,
    };
    let found = Windows::new(call, pool)?.map(None, |first, window| best(&values, first, window));
    let picks = found.iter().map(|at| at.map_or((1, 0), |at| (0, at)));
    let largest = select(&[x, &lowest], call.extents(), picks)?;
    let spatial = &x.extents()[2..];
    let (own, plane) = (strides(spatial), spatial.iter().product::<usize>());
    let place = |at: usize| {
        if !column_major {
            return at;
        }
        let (mut index, mut step) = (at / plane * plane, 1);
        for (axis, &extent) in spatial.iter().enumerate() {
            index += at % plane / own[axis] % extent * step;
            step *= extent;
        }
        index
    };
    // A window altogether in the padding has no place.
    let indices: Vec<i64> = found.iter().map(|at| at.map_or(-1, |at| place(at) as i64)).collect();
    Ok(vec![largest, Tensor::from_slice(call.extents(), &indices)?])
}

/// Zeros with the elements at the places from which pooling took them.
///
/// The places count in the shape that the window alone implies; a larger output keeps their coordinates.
pub(super) fn max_unpool(
    call: &Call,
    (kernel, steps, pads): (&[usize], &[usize], &[usize]),
) -> Result<Vec<Tensor>> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let mut implied = x.extents()[..2].to_vec();
    for (axis, &places) in x.extents()[2..].iter().enumerate() {
        let extent = infer::unpooled(places, axis, kernel, steps, pads);
        implied.push(usize::try_from(extent).unwrap_or(0));
    }
    let (own, out) = (strides(&implied), strides(call.extents()));
    let count: usize = implied.iter().product();
    let zero = Tensor::zeros(x.dtype(), &[1])?;
    let mut picks = vec![(1, 0); call.extents().iter().product()];
    for (source, index) in indices.to_i64_vec().into_iter().enumerate() {
        let at = usize::try_from(index).ok().filter(|&at| at < count).ok_or_else(|| {
            call.error(
                CoreErrorKind::Tensor,
                format!("expected indices from 0 to below {count}, found {index}"),
            )
        })?;
        let place: usize = (0..implied.len()).map(|axis| at / own[axis] % implied[axis] * out[axis]).sum();
        picks[place] = (0, source);
    }
    Ok(vec![select(&[x, &zero], call.extents(), picks.into_iter())?])
}

/// Columns of blocks summed where the blocks overlap in the image.
pub(super) fn col2im(
    call: &Call,
    (steps, dilations, pads): (&[usize], &[usize], &[usize]),
) -> Result<Vec<Tensor>> {
    let (x, block) = (call.input(0)?, call.input(2)?.to_i64_vec());
    let image = &call.extents()[2..];
    let block: Vec<usize> = block.into_iter().map(|extent| usize::try_from(extent).unwrap_or(0)).collect();
    let places: Vec<usize> = (0..image.len())
        .map(|at| infer::blocks(image[at], block[at], at, (steps, dilations, pads)).unwrap_or(0))
        .collect();
    let (within, among, own) = (strides(&block), strides(&places), strides(image));
    let (taps, columns) = (block.iter().product::<usize>(), places.iter().product::<usize>());
    let plane: usize = image.iter().product();
    // Where tap `tap` of the block at `column` lies in the image, unless it lies in the padding.
    let target = |tap: usize, column: usize| -> Option<usize> {
        let mut at = 0;
        for axis in 0..image.len() {
            let place = (column / among[axis] % places[axis]) as i128 * steps[axis] as i128;
            let offset = (tap / within[axis] % block[axis]) as i128 * dilations[axis] as i128;
            let index = usize::try_from(place + offset - pads[axis] as i128).ok()?;
            at += own[axis] * Some(index).filter(|&index| index < image[axis])?;
        }
        Some(at)
    };
    let landed = (0..x.elements()).filter_map(|at| {
        let (channel, tap, column) = (at / (taps * columns), at / columns % taps, at % columns);
        Some((at, channel * plane + target(tap, column)?))
    });
    if call.dtype().is_float() {
        let (values, mut sums) = (x.to_f64_vec(), vec![0.0; call.extents().iter().product()]);
        landed.for_each(|(at, to)| sums[to] += values[at]);
        return call.floats(&sums);
    }
    let (values, mut sums) = (integers(x), vec![0i128; call.extents().iter().product()]);
    landed.for_each(|(at, to)| sums[to] += values[at]);
    Ok(vec![from_integers(call.dtype(), call.extents(), &sums)?])
}
