//! Elements chosen by indices or conditions.

use super::super::Call;
use super::super::indexing::{around, select, strides};
use super::{element_places, slice_places};
use crate::error::{CoreErrorKind, Result};
use crate::ir::Tensor;

pub(super) fn gather_elements(call: &Call, axis: usize) -> Result<Vec<Tensor>> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let places = element_places(call, x.extents(), indices, axis)?;
    Ok(vec![select(&[x], call.extents(), places.into_iter().map(|at| (0, at)))?])
}

pub(super) fn gather_nd(call: &Call, batch_dims: usize) -> Result<Vec<Tensor>> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let (places, run) = slice_places(call, x.extents(), indices, batch_dims)?;
    let picks = places.into_iter().flat_map(|first| (first..first + run).map(|at| (0, at)));
    Ok(vec![select(&[x], call.extents(), picks)?])
}

pub(super) fn one_hot(call: &Call, axis: usize) -> Result<Vec<Tensor>> {
    let (indices, values) = (call.input(0)?, call.input(2)?);
    let (outer, depth, inner) = around(call.extents(), axis);
    let hot: Vec<Option<usize>> = indices
        .to_i64_vec()
        .into_iter()
        .map(|index| {
            let at = if index < 0 { index.saturating_add_unsigned(depth as u64) } else { index };
            usize::try_from(at).ok()
        })
        .collect();
    let hot = &hot;
    let picks = (0..outer).flat_map(|row| {
        (0..depth).flat_map(move |at| {
            (0..inner).map(move |column| (0, usize::from(hot[row * inner + column] == Some(at))))
        })
    });
    Ok(vec![select(&[values], call.extents(), picks)?])
}

pub(super) fn non_zero(call: &Call) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let values = x.to_f64_vec();
    let found: Vec<usize> = (0..values.len()).filter(|&at| values[at] != 0.0).collect();
    let axes = x.extents().iter().zip(strides(x.extents()));
    let indices: Vec<i64> = axes
        .flat_map(|(&extent, stride)| found.iter().map(move |at| (at / stride % extent) as i64))
        .collect();
    Ok(vec![Tensor::from_slice(&[x.extents().len(), found.len()], &indices)?])
}

pub(super) fn compress(call: &Call, axis: Option<usize>) -> Result<Vec<Tensor>> {
    let (x, condition) = (call.input(0)?, call.input(1)?);
    let (outer, whole, inner) = match axis {
        Some(axis) => around(x.extents(), axis),
        None => (1, x.elements(), 1),
    };
    let kept: Vec<usize> = condition
        .to_i64_vec()
        .iter()
        .enumerate()
        .filter(|(_, holds)| **holds != 0)
        .map(|(at, _)| at)
        .collect();
    let mut extents = axis.map_or_else(|| vec![0], |_| x.extents().to_vec());
    extents[axis.unwrap_or(0)] = kept.len();
    let kept = &kept;
    let picks = (0..outer).flat_map(|row| {
        kept.iter().flat_map(move |at| {
            let first = (row * whole + at) * inner;
            (first..first + inner).map(|at| (0, at))
        })
    });
    Ok(vec![select(&[x], &extents, picks)?])
}

pub(super) fn trilu(call: &Call, upper: bool) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let diagonal = call.optional(1).and_then(|k| k.to_i64_vec().first().copied()).unwrap_or(0);
    let zero = Tensor::zeros(x.dtype(), &[1])?;
    let rank = x.extents().len();
    let (rows, columns) = (x.extents()[rank - 2], x.extents()[rank - 1]);
    let picks = (0..x.elements()).map(|at| {
        let (row, column) = ((at / columns % rows) as i64, (at % columns) as i64);
        // How far the element lies to the right of the diagonal.
        let right = i128::from(column - row) - i128::from(diagonal);
        let stays = if upper { right >= 0 } else { right <= 0 };
        if stays { (0, at) } else { (1, 0) }
    });
    Ok(vec![select(&[x, &zero], call.extents(), picks)?])
}

pub(super) fn reverse_sequence(call: &Call, batch_axis: usize, time_axis: usize) -> Result<Vec<Tensor>> {
    let (x, lengths) = (call.input(0)?, call.input(1)?);
    let own = strides(x.extents());
    let (batch, time) = (x.extents()[batch_axis], x.extents()[time_axis]);
    let lengths = lengths
        .to_i64_vec()
        .into_iter()
        .map(|length| {
            usize::try_from(length).ok().filter(|&length| length <= time).ok_or_else(|| {
                call.error(
                    CoreErrorKind::Tensor,
                    format!("expected lengths from 0 to {time}, found {length}"),
                )
            })
        })
        .collect::<Result<Vec<usize>>>()?;
    let picks = (0..x.elements()).map(|at| {
        let length = lengths[at / own[batch_axis] % batch];
        let step = at / own[time_axis] % time;
        let source = if step < length { length - 1 - step } else { step };
        (0, at - step * own[time_axis] + source * own[time_axis])
    });
    Ok(vec![select(&[x], call.extents(), picks)?])
}
