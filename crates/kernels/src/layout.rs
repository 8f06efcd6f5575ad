//! Moving elements: permutations of axes, NCHW to and from NHWC among them.

use std::ops::Range;

use crate::error::KernelError;

/// A permutation of the axes of a tensor: output axis `i` is input axis `permutation[i]`.
///
/// Units of work are output blocks along the outermost axis that is left when axes that stay together are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transpose {
    /// Output extents of the joined axes, and the step in the input along each; at least two, outermost first.
    axes: Vec<Axis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    extent: usize,
    step: usize,
}

impl Transpose {
    /// A permutation of a tensor of these input extents.
    pub fn new(extents: &[usize], permutation: &[usize]) -> Result<Self, KernelError> {
        let mut seen = vec![false; extents.len()];
        let distinct = permutation
            .iter()
            .all(|&axis| seen.get_mut(axis).is_some_and(|seen| !std::mem::replace(seen, true)));
        if !distinct || permutation.len() != extents.len() {
            return Err(KernelError::parameter(format!(
                "expected a permutation of {} axes, found {permutation:?}",
                extents.len()
            )));
        }
        let mut steps = vec![1usize; extents.len()];
        let mut step = 1usize;
        for axis in (0..extents.len()).rev() {
            steps[axis] = step;
            step =
                step.checked_mul(extents[axis]).filter(|&n| isize::try_from(n).is_ok()).ok_or_else(|| {
                    KernelError::shape(format!("expected an addressable tensor, found extents {extents:?}"))
                })?;
        }
        let mut axes: Vec<Axis> = Vec::new();
        for &axis in permutation.iter().filter(|&&axis| extents[axis] != 1) {
            let axis = Axis { extent: extents[axis], step: steps[axis] };
            match axes.last_mut() {
                // The two lie in the input as in the output: one longer axis.
                Some(last) if last.step == axis.step * axis.extent => {
                    *last = Axis { extent: last.extent * axis.extent, step: axis.step };
                }
                _ => axes.push(axis),
            }
        }
        while axes.len() < 2 {
            axes.insert(0, Axis { extent: 1, step: 0 });
        }
        Ok(Self { axes })
    }

    /// `[batch][channels][pixels]` to `[batch][pixels][channels]`.
    pub fn nchw_to_nhwc(batch: usize, channels: usize, pixels: usize) -> Result<Self, KernelError> {
        Self::new(&[batch, channels, pixels], &[0, 2, 1])
    }

    /// `[batch][pixels][channels]` to `[batch][channels][pixels]`.
    pub fn nhwc_to_nchw(batch: usize, channels: usize, pixels: usize) -> Result<Self, KernelError> {
        Self::new(&[batch, pixels, channels], &[0, 2, 1])
    }

    /// Whether the elements lie in the output as in the input, so that a copy does the same.
    pub fn is_copy(&self) -> bool {
        let mut step = 1;
        self.axes.iter().rev().all(|axis| {
            let fits = axis.extent == 1 || axis.step == step;
            step *= axis.extent;
            fits
        })
    }

    /// Elements of the tensor.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|axis| axis.extent).product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Independent units of work.
    pub fn units(&self) -> usize {
        self.axes[0].extent
    }

    /// Output elements that `units` cover.
    pub fn unit_range(&self, units: Range<usize>) -> Range<usize> {
        let len: usize = self.axes[1..].iter().map(|axis| axis.extent).product();
        units.start * len..units.end * len
    }

    /// Writes the output elements of `units` into `out`, which has exactly their length; `input` is the whole tensor.
    pub fn run<T: Copy>(&self, input: &[T], units: Range<usize>, out: &mut [T]) -> Result<(), KernelError> {
        KernelError::check_length("input", self.len(), input.len())?;
        if units.start > units.end || units.end > self.units() {
            return Err(KernelError::parameter(format!(
                "expected units within 0..{}, found {units:?}",
                self.units()
            )));
        }
        KernelError::check_length("output", self.unit_range(units.clone()).len(), out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        let Some((&outer, inner)) = self.axes.split_first() else { return Ok(()) };
        if let &[columns] = inner {
            matrix(input, units.start * outer.step, Axis { extent: units.len(), ..outer }, columns, out);
        } else {
            for (unit, out) in units.clone().zip(out.chunks_exact_mut(self.unit_range(0..1).len())) {
                nested(input, unit * outer.step, inner, out);
            }
        }
        Ok(())
    }
}

/// Walks the outer axes down to the last two.
fn nested<T: Copy>(input: &[T], offset: usize, axes: &[Axis], out: &mut [T]) {
    match *axes {
        [rows, columns] => matrix(input, offset, rows, columns, out),
        [outer, ref inner @ ..] => {
            let len = out.len() / outer.extent;
            for (i, out) in out.chunks_exact_mut(len).enumerate() {
                nested(input, offset + i * outer.step, inner, out);
            }
        }
        [] => {}
    }
}

/// Side of the square blocks in which a matrix is turned, so that both sides stay in the first-level cache.
const TILE: usize = 32;

fn matrix<T: Copy>(input: &[T], offset: usize, rows: Axis, columns: Axis, out: &mut [T]) {
    if columns.step == 1 {
        for (row, out) in out.chunks_exact_mut(columns.extent).enumerate() {
            out.copy_from_slice(&input[offset + row * rows.step..][..columns.extent]);
        }
        return;
    }
    // Few channels of an image, as every model of pictures begins: one pass over the pixels, several planes at once.
    if rows.step == 1 {
        match columns.extent {
            2 => return interleave::<T, 2>(&input[offset..], rows.extent, columns.step, out),
            3 => return interleave::<T, 3>(&input[offset..], rows.extent, columns.step, out),
            4 => return interleave::<T, 4>(&input[offset..], rows.extent, columns.step, out),
            _ => {}
        }
    }
    for top in (0..rows.extent).step_by(TILE) {
        for left in (0..columns.extent).step_by(TILE) {
            let right = (left + TILE).min(columns.extent);
            for row in top..(top + TILE).min(rows.extent) {
                let start = offset + row * rows.step;
                let out = &mut out[row * columns.extent..][left..right];
                for (column, y) in (left..right).zip(out) {
                    *y = input[start + column * columns.step];
                }
            }
        }
    }
}

/// Interleaves `N` planes that begin `step` elements apart.
fn interleave<T: Copy, const N: usize>(input: &[T], elements: usize, step: usize, out: &mut [T]) {
    let planes: [&[T]; N] = std::array::from_fn(|plane| &input[plane * step..][..elements]);
    let (pixels, _) = out.as_chunks_mut::<N>();
    for (at, pixel) in pixels.iter_mut().enumerate() {
        *pixel = std::array::from_fn(|plane| planes[plane][at]);
    }
}
