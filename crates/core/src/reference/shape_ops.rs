//! Operators that move, choose, repeat or make elements.

use super::Call;
use super::indexing::{around, broadcast, from_integers, integers, positions, select, strides};
use crate::error::{CoreErrorKind, Result};
use crate::infer;
use crate::ir::{PadMode, Tensor};

/// Element `positions[i]` of `x` at place `i` of the first output.
fn moved(call: &Call, x: &Tensor, positions: Vec<usize>) -> Result<Vec<Tensor>> {
    Ok(vec![select(&[x], call.extents(), positions.into_iter().map(|at| (0, at)))?])
}

pub(super) fn transpose(call: &Call, perm: &[usize]) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let own = strides(x.extents());
    let steps: Vec<isize> = perm.iter().map(|&axis| own[axis] as isize).collect();
    moved(call, x, positions(call.extents(), 0, &steps))
}

pub(super) fn concat(call: &Call, axis: usize) -> Result<Vec<Tensor>> {
    let inputs: Vec<&Tensor> =
        (0..call.inputs.len()).map(|index| call.input(index)).collect::<Result<_>>()?;
    let (outer, _, inner) = around(call.extents(), axis);
    let picks = (0..outer).flat_map(|row| {
        inputs.iter().enumerate().flat_map(move |(source, tensor)| {
            let run = tensor.extents()[axis] * inner;
            (row * run..(row + 1) * run).map(move |at| (source, at))
        })
    });
    Ok(vec![select(&inputs, call.extents(), picks)?])
}

pub(super) fn split(call: &Call, axis: usize) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let (outer, whole, inner) = around(x.extents(), axis);
    let mut start = 0;
    let mut pieces = Vec::with_capacity(call.outputs.len());
    for (_, extents) in &call.outputs {
        let length = extents[axis];
        let picks = (0..outer).flat_map(|row| {
            let first = (row * whole + start) * inner;
            (first..first + length * inner).map(|at| (0, at))
        });
        pieces.push(select(&[x], extents, picks)?);
        start += length;
    }
    Ok(pieces)
}

pub(super) fn slice(call: &Call) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let own = strides(x.extents());
    let mut steps: Vec<isize> = own.iter().map(|&stride| stride as isize).collect();
    let mut first = 0isize;
    let bounds = infer::slice_bounds(call.site, x.extents().len())?.unwrap_or_default();
    for bounds in bounds {
        let axis = bounds.axis;
        let (start, count) = infer::slice_range(x.extents()[axis], bounds.start, bounds.end, bounds.step);
        if count > 0 {
            first += start as isize * own[axis] as isize;
        }
        // With one element the step is never taken, and may be too large to multiply.
        steps[axis] = if count > 1 { bounds.step as isize * own[axis] as isize } else { 0 };
    }
    moved(call, x, positions(call.extents(), first, &steps))
}

pub(super) fn gather(call: &Call, axis: usize) -> Result<Vec<Tensor>> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let (outer, extent, inner) = around(x.extents(), axis);
    let chosen = indices
        .to_i64_vec()
        .into_iter()
        .map(|index| {
            let at = if index < 0 { index + extent as i64 } else { index };
            usize::try_from(at).ok().filter(|&at| at < extent).ok_or_else(|| {
                call.error(
                    CoreErrorKind::Tensor,
                    format!("expected indices from -{extent} to below {extent}, found {index}"),
                )
            })
        })
        .collect::<Result<Vec<usize>>>()?;
    let picks = (0..outer).flat_map(|row| {
        chosen.iter().flat_map(move |&at| {
            let first = (row * extent + at) * inner;
            (first..first + inner).map(|at| (0, at))
        })
    });
    Ok(vec![select(&[x], call.extents(), picks)?])
}

pub(super) fn expand(call: &Call) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    moved(call, x, broadcast(x.extents(), call.extents()))
}

pub(super) fn tile(call: &Call) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    // The position of each element along each axis, modulo the input's extent.
    let own = strides(x.extents());
    let out = strides(call.extents());
    let count: usize = call.extents().iter().product();
    let at = |place: usize| -> usize {
        let axes = x.extents().iter().zip(call.extents()).zip(own.iter().zip(&out));
        axes.map(|((&extent, &repeated), (own, out))| place / out % repeated % extent * own).sum()
    };
    moved(call, x, (0..count).map(at).collect())
}

/// The index of an axis of `extent` that padding mode `mode` shows at `at`; `None` for the padding value.
fn padded(mode: PadMode, at: i128, extent: usize) -> Option<usize> {
    let count = extent as i128;
    if (0..count).contains(&at) {
        return Some(at as usize);
    }
    match mode {
        PadMode::Constant => None,
        PadMode::Edge => Some(at.clamp(0, count - 1) as usize),
        PadMode::Wrap => Some(at.rem_euclid(count) as usize),
        PadMode::Reflect => {
            let period = 2 * (count - 1);
            let folded = if period == 0 { 0 } else { at.rem_euclid(period) };
            Some(folded.min(period - folded) as usize)
        }
    }
}

/// Padding with `value`, an element of the input's type; zero where absent.
pub(super) fn pad(call: &Call, mode: PadMode, value: Option<&Tensor>) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let amounts = infer::pad_amounts(call.site, x.extents().len())?.unwrap_or_default();
    let zero = Tensor::zeros(x.dtype(), &[1])?;
    let sources = [x, value.unwrap_or(&zero)];
    let own = strides(x.extents());
    // Per axis and index of the output, the offset in the input.
    let offsets: Vec<Vec<Option<usize>>> = amounts
        .iter()
        .enumerate()
        .map(|(axis, &(before, _))| {
            let extent = x.extents()[axis];
            let at = |index: usize| {
                padded(mode, index as i128 - i128::from(before), extent).map(|at| at * own[axis])
            };
            (0..call.extents()[axis]).map(at).collect()
        })
        .collect();
    let out = strides(call.extents());
    let count: usize = call.extents().iter().product();
    let picks = (0..count).map(|place| {
        let mut at = 0;
        for (axis, offsets) in offsets.iter().enumerate() {
            match offsets[place / out[axis] % call.extents()[axis]] {
                Some(offset) => at += offset,
                None => return (1, 0),
            }
        }
        (0, at)
    });
    Ok(vec![select(&sources, call.extents(), picks)?])
}

pub(super) fn choose(call: &Call) -> Result<Vec<Tensor>> {
    let (condition, a, b) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let truths = condition.to_i64_vec();
    let at = |tensor: &Tensor| broadcast(tensor.extents(), call.extents());
    let (at_condition, at_a, at_b) = (at(condition), at(a), at(b));
    let picks = (0..at_a.len())
        .map(|place| if truths[at_condition[place]] != 0 { (0, at_a[place]) } else { (1, at_b[place]) });
    Ok(vec![select(&[a, b], call.extents(), picks)?])
}

pub(super) fn depth_to_space(call: &Call, block: usize, crd: bool) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let own = strides(x.extents());
    let (channels, y) = (call.extents()[1], call.extents());
    let (out, count) = (strides(y), y.iter().product::<usize>());
    let at = |place: usize| {
        let [n, c, h, w] = [0, 1, 2, 3].map(|axis| place / out[axis] % y[axis]);
        let (within_h, within_w) = (h % block, w % block);
        let channel = if crd {
            (c * block + within_h) * block + within_w
        } else {
            (within_h * block + within_w) * channels + c
        };
        n * own[0] + channel * own[1] + h / block * own[2] + w / block
    };
    moved(call, x, (0..count).map(at).collect())
}

pub(super) fn space_to_depth(call: &Call, block: usize) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let own = strides(x.extents());
    let (channels, y) = (x.extents()[1], call.extents());
    let (out, count) = (strides(y), y.iter().product::<usize>());
    let at = |place: usize| {
        let [n, c, h, w] = [0, 1, 2, 3].map(|axis| place / out[axis] % y[axis]);
        let (within, channel) = (c / channels, c % channels);
        n * own[0] + channel * own[1] + (h * block + within / block) * own[2] + w * block + within % block
    };
    moved(call, x, (0..count).map(at).collect())
}

pub(super) fn shape(call: &Call, start: usize) -> Result<Vec<Tensor>> {
    let extents = call.input(0)?.extents();
    let kept: Vec<i64> =
        extents.iter().skip(start).take(call.extents()[0]).map(|&extent| extent as i64).collect();
    Ok(vec![Tensor::from_slice(call.extents(), &kept)?])
}

pub(super) fn constant_of_shape(call: &Call, value: &Tensor) -> Result<Vec<Tensor>> {
    let count: usize = call.extents().iter().product();
    Ok(vec![select(&[value], call.extents(), (0..count).map(|_| (0, 0)))?])
}

pub(super) fn range(call: &Call) -> Result<Vec<Tensor>> {
    let count = call.extents()[0];
    if call.dtype().is_float() {
        let number = |index| -> Result<f64> { Ok(call.input(index)?.to_f64_vec()[0]) };
        let (start, step) = (number(0)?, number(2)?);
        return call.floats(&(0..count).map(|at| start + at as f64 * step).collect::<Vec<_>>());
    }
    let number = |index| -> Result<i128> { Ok(integers(call.input(index)?)[0]) };
    let (start, step) = (number(0)?, number(2)?);
    let values: Vec<i128> = (0..count).map(|at| start + at as i128 * step).collect();
    Ok(vec![from_integers(call.dtype(), call.extents(), &values)?])
}
