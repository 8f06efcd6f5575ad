//! Running sums, and elements in order.

use std::cmp::Ordering;

use super::super::Call;
use super::super::indexing::{around, from_integers, integers, select};
use crate::error::{CoreErrorKind, Result};
use crate::ir::Tensor;

/// The order of a tensor's elements, by their positions; NaN is larger than any number, and equals itself.
pub(super) fn comparison(x: &Tensor) -> Box<dyn Fn(usize, usize) -> Ordering> {
    if x.dtype().is_float() {
        let values = x.to_f64_vec();
        return Box::new(move |a, b| {
            let (a, b) = (values[a], values[b]);
            a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        });
    }
    let values = integers(x);
    Box::new(move |a, b| values[a].cmp(&values[b]))
}

pub(super) fn top_k(call: &Call, axis: usize, largest: bool) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let compare = comparison(x);
    let (outer, extent, inner) = around(x.extents(), axis);
    let count = call.extents()[axis];
    let out = outer * count * inner;
    let (mut picks, mut indices) = (vec![(0, 0); out], vec![0i64; out]);
    for row in 0..outer {
        for column in 0..inner {
            let at = |index: usize| (row * extent + index) * inner + column;
            let mut order: Vec<usize> = (0..extent).collect();
            // Stable: of equals the first comes first.
            order.sort_by(|&a, &b| if largest { compare(at(b), at(a)) } else { compare(at(a), at(b)) });
            for (rank, &index) in order[..count].iter().enumerate() {
                let place = (row * count + rank) * inner + column;
                picks[place] = (0, at(index));
                indices[place] = index as i64;
            }
        }
    }
    let values = select(&[x], call.extents(), picks.into_iter())?;
    Ok(vec![values, Tensor::from_slice(&call.outputs[1].1, &indices)?])
}

pub(super) fn cum_sum(call: &Call, exclusive: bool, reverse: bool) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let axis = call
        .input(1)?
        .to_i64_vec()
        .first()
        .copied()
        .ok_or_else(|| call.error(CoreErrorKind::Tensor, "expected an axis, found none"))?;
    let axis = call.site.signed_axis(axis, x.extents().len())?;
    if call.dtype().is_float() {
        let sums = running(&x.to_f64_vec(), x.extents(), axis, (exclusive, reverse), 0.0, |sum, x| sum + x);
        return call.floats(&sums);
    }
    let add = |sum: i128, x: i128| sum.wrapping_add(x);
    let sums = running(&integers(x), x.extents(), axis, (exclusive, reverse), 0, add);
    Ok(vec![from_integers(call.dtype(), call.extents(), &sums)?])
}

/// Running sums along `axis`.
fn running<T: Copy>(
    values: &[T],
    extents: &[usize],
    axis: usize,
    (exclusive, reverse): (bool, bool),
    zero: T,
    add: impl Fn(T, T) -> T,
) -> Vec<T> {
    let (outer, extent, inner) = around(extents, axis);
    let mut sums = vec![zero; values.len()];
    for row in 0..outer {
        for column in 0..inner {
            let mut sum = zero;
            for step in 0..extent {
                let index = if reverse { extent - 1 - step } else { step };
                let at = (row * extent + index) * inner + column;
                let through = add(sum, values[at]);
                sums[at] = if exclusive { sum } else { through };
                sum = through;
            }
        }
    }
    sums
}

pub(super) fn unique(call: &Call, axis: Option<usize>, sorted: bool) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let compare = comparison(x);
    let (outer, whole, inner) = match axis {
        Some(axis) => around(x.extents(), axis),
        None => (1, x.elements(), 1),
    };
    // The elements of slice `at`, in row-major order.
    let slice = |at: usize| {
        (0..outer).flat_map(move |row| (row * whole + at) * inner..(row * whole + at + 1) * inner)
    };
    let order = |a: usize, b: usize| {
        slice(a)
            .zip(slice(b))
            .map(|(a, b)| compare(a, b))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    };
    let mut ascending: Vec<usize> = (0..whole).collect();
    ascending.sort_by(|&a, &b| order(a, b));
    // Of equals, which the stable sort leaves in their order, the first stands for all.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for at in ascending {
        match groups.last_mut() {
            Some(group) if order(group[0], at).is_eq() => group.push(at),
            _ => groups.push(vec![at]),
        }
    }
    if !sorted {
        groups.sort_by_key(|group| group[0]);
    }
    let mut inverse = vec![0i64; whole];
    for (number, group) in groups.iter().enumerate() {
        for &at in group {
            inverse[at] = number as i64;
        }
    }
    let count = groups.len();
    let mut extents = axis.map_or_else(|| vec![0], |_| x.extents().to_vec());
    extents[axis.unwrap_or(0)] = count;
    let groups = &groups;
    let picks = (0..outer).flat_map(|row| {
        groups.iter().flat_map(move |group| {
            let first = (row * whole + group[0]) * inner;
            (first..first + inner).map(|at| (0, at))
        })
    });
    let first: Vec<i64> = groups.iter().map(|group| group[0] as i64).collect();
    let counts: Vec<i64> = groups.iter().map(|group| group.len() as i64).collect();
    Ok(vec![
        select(&[x], &extents, picks)?,
        Tensor::from_slice(&[count], &first)?,
        Tensor::from_slice(&[whole], &inverse)?,
        Tensor::from_slice(&[count], &counts)?,
    ])
}
