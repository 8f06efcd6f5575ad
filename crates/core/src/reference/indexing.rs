//! Row-major indexing: positions of broadcast, projected and chosen elements.

use std::ops::Range;

use crate::error::Result;
use crate::ir::{DType, Tensor};

/// Elements between neighbours along each axis.
pub(super) fn strides(extents: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; extents.len()];
    for axis in (1..extents.len()).rev() {
        strides[axis - 1] = strides[axis] * extents[axis];
    }
    strides
}

/// For each element of `extents` in row-major order, the sum over axes of index times `steps`, from `start` on.
pub(super) fn positions(extents: &[usize], start: isize, steps: &[isize]) -> Vec<usize> {
    let count: usize = extents.iter().product();
    let mut result = Vec::with_capacity(count);
    if count == 0 {
        return result;
    }
    let mut index = vec![0usize; extents.len()];
    let mut position = start;
    loop {
        result.push(position as usize);
        let mut axis = extents.len();
        loop {
            if axis == 0 {
                return result;
            }
            axis -= 1;
            index[axis] += 1;
            position += steps[axis];
            if index[axis] < extents[axis] {
                break;
            }
            position -= steps[axis] * extents[axis] as isize;
            index[axis] = 0;
        }
    }
}

/// For each element of `output`, the element of a tensor of extents `input` that broadcasts onto it.
pub(super) fn broadcast(input: &[usize], output: &[usize]) -> Vec<usize> {
    let missing = output.len() - input.len();
    let own = strides(input);
    let steps: Vec<isize> = (0..output.len())
        .map(|axis| match axis.checked_sub(missing) {
            Some(axis) if input[axis] != 1 => own[axis] as isize,
            _ => 0,
        })
        .collect();
    positions(output, 0, &steps)
}

/// For each element of `extents`, the element it falls onto when `axes` shrink to extent 1.
pub(super) fn project(extents: &[usize], axes: &[usize]) -> Vec<usize> {
    let shrunk: Vec<usize> = extents
        .iter()
        .enumerate()
        .map(|(axis, &extent)| if axes.contains(&axis) { 1 } else { extent })
        .collect();
    broadcast(&shrunk, extents)
}

/// The parts of a tensor around one axis: the product of extents before it, its extent, the product behind it.
pub(super) fn around(extents: &[usize], axis: usize) -> (usize, usize, usize) {
    (extents[..axis].iter().product(), extents[axis], extents[axis + 1..].iter().product())
}

/// The indices `i` below `count` for which `i * stride + shift` lies in `0..extent`.
pub(super) fn landing(count: usize, extent: usize, stride: usize, shift: i128) -> Range<usize> {
    let stride = stride as i128;
    let short = (-shift).max(0);
    let low = short / stride + i128::from(short % stride != 0);
    let last = extent as i128 - 1 - shift;
    let high = if last < 0 { 0 } else { last / stride + 1 };
    let high = high.min(count as i128);
    if low >= high { 0..0 } else { low as usize..high as usize }
}

/// A tensor of `extents` whose element `i` is element `at` of `sources[source]`, `(source, at) = picks(i)`.
///
/// All sources have one element type.
pub(super) fn select(
    sources: &[&Tensor],
    extents: &[usize],
    picks: impl Iterator<Item = (usize, usize)>,
) -> Result<Tensor> {
    fn words<T: bytemuck::Pod>(sources: &[&Tensor], picks: impl Iterator<Item = (usize, usize)>) -> Vec<u8> {
        let slices: Vec<&[T]> = sources.iter().map(|source| bytemuck::cast_slice(source.bytes())).collect();
        let elements: Vec<T> = picks.map(|(source, at)| slices[source][at]).collect();
        bytemuck::cast_slice(&elements).to_vec()
    }
    let dtype = sources.first().map_or(DType::F32, |source| source.dtype());
    let bytes = match dtype.bits() {
        8 => words::<u8>(sources, picks),
        16 => words::<u16>(sources, picks),
        32 => words::<u32>(sources, picks),
        64 => words::<u64>(sources, picks),
        _ => {
            let unpacked: Vec<Vec<i64>> = sources.iter().map(|source| source.to_i64_vec()).collect();
            let elements: Vec<i64> = picks.map(|(source, at)| unpacked[source][at]).collect();
            return Tensor::from_i64(dtype, extents, &elements);
        }
    };
    Tensor::from_bytes(dtype, extents, &bytes)
}

/// Every element of an integer or truth tensor.
pub(super) fn integers(tensor: &Tensor) -> Vec<i128> {
    let values = tensor.to_i64_vec();
    if tensor.dtype() == DType::U64 {
        return values.into_iter().map(|value| i128::from(value as u64)).collect();
    }
    values.into_iter().map(i128::from).collect()
}

/// An integer or truth tensor; what does not fit the type wraps.
pub(super) fn from_integers(dtype: DType, extents: &[usize], values: &[i128]) -> Result<Tensor> {
    match dtype {
        DType::Bool => {
            Tensor::from_bools(extents, &values.iter().map(|&value| value != 0).collect::<Vec<_>>())
        }
        DType::U64 => {
            Tensor::from_slice(extents, &values.iter().map(|&value| value as u64).collect::<Vec<_>>())
        }
        _ => {
            let unused = 128 - dtype.bits() as u32;
            let wrapped: Vec<i64> = values
                .iter()
                .map(|&value| {
                    if dtype.is_signed_integer() {
                        ((value << unused) >> unused) as i64
                    } else {
                        ((value as u128) << unused >> unused) as i64
                    }
                })
                .collect();
            Tensor::from_i64(dtype, extents, &wrapped)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_positions_repeat_unit_axes() {
        assert_eq!(broadcast(&[2, 1], &[2, 3]), vec![0, 0, 0, 1, 1, 1]);
        assert_eq!(broadcast(&[3], &[2, 3]), vec![0, 1, 2, 0, 1, 2]);
        assert_eq!(broadcast(&[], &[2, 2]), vec![0; 4]);
        assert!(broadcast(&[0], &[2, 0]).is_empty());
        assert_eq!(project(&[2, 2, 2], &[0, 2]), vec![0, 0, 1, 1, 0, 0, 1, 1]);
    }

    #[test]
    fn landing_indices_are_those_inside() {
        for (count, extent, stride, shift) in [
            (5, 5, 1, -1),
            (5, 5, 1, 2),
            (3, 5, 2, -1),
            (3, 5, 2, 0),
            (4, 3, 3, -4),
            (4, 3, 1, 9),
            (2, 0, 1, 0),
        ] {
            let inside = |&i: &usize| (0..extent as i128).contains(&((i * stride) as i128 + shift));
            let expected: Vec<usize> = (0..count).filter(inside).collect();
            let found: Vec<usize> = landing(count, extent, stride, shift).collect();
            assert_eq!(found, expected, "{count} {extent} {stride} {shift}");
        }
    }

    #[test]
    fn integers_wrap_to_their_type() {
        let wrap = |dtype, value| from_integers(dtype, &[], &[value]).unwrap().to_i64_vec()[0];
        assert_eq!(wrap(DType::U8, 257), 1);
        assert_eq!(wrap(DType::U8, -1), 255);
        assert_eq!(wrap(DType::I8, 128), -128);
        assert_eq!(wrap(DType::I32, i128::from(i64::MAX)), -1);
        assert_eq!(wrap(DType::I4, 8), -8);
        let huge = from_integers(DType::U64, &[], &[i128::from(u64::MAX)]).unwrap();
        assert_eq!(integers(&huge), vec![i128::from(u64::MAX)]);
    }
}
