//! Resizing NHWC images: the nearest pixel, or linear interpolation along both axes.
//!
//! The caller says per output row and column which input rows and columns it reads and with which weights, so every
//! convention of coordinates is its own. Units of work are output rows, all images counted through.

use std::ops::Range;

use crate::error::KernelError;
use crate::tier::TierToken;
use crate::tiered::tiered;

/// Where an output row or column lies between two input ones: `weights[0]` of `low` and `weights[1]` of `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearTap<W> {
    /// Index of the lower neighbour.
    pub low: u32,
    /// Index of the higher neighbour; may equal `low`.
    pub high: u32,
    /// Weights of the two.
    pub weights: [W; 2],
}

/// Sum of the two weights of a [`LinearTap`]`<u16>`.
pub const LINEAR_ONE: u16 = 1 << LINEAR_BITS;
const LINEAR_BITS: u32 = 11;

/// Sizes of a resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResizeShape {
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub in_h: usize,
    /// Input columns.
    pub in_w: usize,
    /// Channels.
    pub channels: usize,
}

/// Each output pixel is the input pixel `(rows_of[oy], columns_of[ox])`. `rows` are output rows of all images
/// together, `rows_of.len()` to an image.
pub fn resize_nearest<T: Copy>(
    shape: &ResizeShape,
    input: &[T],
    rows_of: &[u32],
    columns_of: &[u32],
    rows: Range<usize>,
    out: &mut [T],
) -> Result<(), KernelError> {
    check(shape, input.len(), rows_of.len(), columns_of.len(), &rows, out.len())?;
    check_indices("row", rows_of.iter().copied(), shape.in_h)?;
    check_indices("column", columns_of.iter().copied(), shape.in_w)?;
    let c = shape.channels;
    for (row, out) in rows.zip(out.chunks_exact_mut((columns_of.len() * c).max(1))) {
        let x = input_row(shape, input, row / rows_of.len(), rows_of[row % rows_of.len()]);
        for (&ix, out) in columns_of.iter().zip(out.chunks_exact_mut(c)) {
            out.copy_from_slice(&x[ix as usize * c..][..c]);
        }
    }
    Ok(())
}

/// Linear interpolation of codes: `y = Σ q * wy * wx` over the four neighbours, rounded half to even by 22 bits. The
/// weights of each tap sum to [`LINEAR_ONE`]. Codes keep their scale and zero point.
pub fn resize_linear_u8(
    token: TierToken,
    shape: &ResizeShape,
    input: &[u8],
    rows_of: &[LinearTap<u16>],
    columns_of: &[LinearTap<u16>],
    rows: Range<usize>,
    out: &mut [u8],
) -> Result<(), KernelError> {
    check(shape, input.len(), rows_of.len(), columns_of.len(), &rows, out.len())?;
    check_indices("row", rows_of.iter().flat_map(|tap| [tap.low, tap.high]), shape.in_h)?;
    check_indices("column", columns_of.iter().flat_map(|tap| [tap.low, tap.high]), shape.in_w)?;
    for tap in rows_of.iter().chain(columns_of) {
        if u32::from(tap.weights[0]) + u32::from(tap.weights[1]) != u32::from(LINEAR_ONE) {
            return Err(KernelError::parameter(format!(
                "expected weights that sum to {LINEAR_ONE}, found {:?}",
                tap.weights
            )));
        }
    }
    linear_u8(token, shape, input, rows_of, columns_of, rows, out);
    Ok(())
}

/// Linear interpolation: first along the columns of both rows, `a * w0 + b * w1`, then likewise between the rows; each
/// step is rounded to f32.
pub fn resize_linear_f32(
    token: TierToken,
    shape: &ResizeShape,
    input: &[f32],
    rows_of: &[LinearTap<f32>],
    columns_of: &[LinearTap<f32>],
    rows: Range<usize>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    check(shape, input.len(), rows_of.len(), columns_of.len(), &rows, out.len())?;
    check_indices("row", rows_of.iter().flat_map(|tap| [tap.low, tap.high]), shape.in_h)?;
    check_indices("column", columns_of.iter().flat_map(|tap| [tap.low, tap.high]), shape.in_w)?;
    linear_f32(token, shape, input, rows_of, columns_of, rows, out);
    Ok(())
}

fn check(
    shape: &ResizeShape,
    input: usize,
    out_h: usize,
    out_w: usize,
    rows: &Range<usize>,
    out: usize,
) -> Result<(), KernelError> {
    let sizes = [shape.batch, shape.in_h, shape.in_w, shape.channels];
    let expected = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let Some(expected) = expected.filter(|&n| n > 0) else {
        return Err(KernelError::shape(format!("expected an image that is not empty, found {shape:?}")));
    };
    KernelError::check_length("input", expected, input)?;
    if rows.start > rows.end || rows.end > shape.batch.saturating_mul(out_h) {
        return Err(KernelError::parameter(format!(
            "expected output rows within 0..{} * {out_h}, found {rows:?}",
            shape.batch
        )));
    }
    KernelError::check_length("output", rows.len() * out_w * shape.channels, out)
}

fn check_indices(what: &str, mut indices: impl Iterator<Item = u32>, size: usize) -> Result<(), KernelError> {
    match indices.find(|&index| index as usize >= size) {
        None => Ok(()),
        Some(index) => {
            Err(KernelError::parameter(format!("expected an input {what} below {size}, found {index}")))
        }
    }
}

fn input_row<'a, T>(shape: &ResizeShape, input: &'a [T], image: usize, iy: u32) -> &'a [T] {
    let len = shape.in_w * shape.channels;
    &input[(image * shape.in_h + iy as usize) * len..][..len]
}

tiered! {
    fn linear_u8(
        shape: &ResizeShape,
        input: &[u8],
        rows_of: &[LinearTap<u16>],
        columns_of: &[LinearTap<u16>],
        rows: Range<usize>,
        out: &mut [u8],
    ) {
        let c = shape.channels;
        for (row, out) in rows.zip(out.chunks_exact_mut((columns_of.len() * c).max(1))) {
            let (image, tap_y) = (row / rows_of.len(), &rows_of[row % rows_of.len()]);
            let (top, bottom) =
                (input_row(shape, input, image, tap_y.low), input_row(shape, input, image, tap_y.high));
            let [top_weight, bottom_weight] = tap_y.weights.map(u32::from);
            for (tap, out) in columns_of.iter().zip(out.chunks_exact_mut(c)) {
                let [left_weight, right_weight] = tap.weights.map(u32::from);
                let (left, right) = (tap.low as usize * c, tap.high as usize * c);
                let pixels = top[left..][..c].iter().zip(&top[right..][..c]);
                let pixels = pixels.zip(bottom[left..][..c].iter().zip(&bottom[right..][..c]));
                for (y, ((&a, &b), (&p, &q))) in out.iter_mut().zip(pixels) {
                    let above = u32::from(a) * left_weight + u32::from(b) * right_weight;
                    let below = u32::from(p) * left_weight + u32::from(q) * right_weight;
                    // At most 255 * 2²²: no overflow, in the rounding neither.
                    let sum = above * top_weight + below * bottom_weight;
                    let half = (1 << (2 * LINEAR_BITS - 1)) - 1;
                    *y = ((sum + half + (sum >> (2 * LINEAR_BITS) & 1)) >> (2 * LINEAR_BITS)) as u8;
                }
            }
        }
    }
}

tiered! {
    fn linear_f32(
        shape: &ResizeShape,
        input: &[f32],
        rows_of: &[LinearTap<f32>],
        columns_of: &[LinearTap<f32>],
        rows: Range<usize>,
        out: &mut [f32],
    ) {
        let c = shape.channels;
        for (row, out) in rows.zip(out.chunks_exact_mut((columns_of.len() * c).max(1))) {
            let (image, tap_y) = (row / rows_of.len(), &rows_of[row % rows_of.len()]);
            let (top, bottom) =
                (input_row(shape, input, image, tap_y.low), input_row(shape, input, image, tap_y.high));
            let [top_weight, bottom_weight] = tap_y.weights;
            for (tap, out) in columns_of.iter().zip(out.chunks_exact_mut(c)) {
                let [left_weight, right_weight] = tap.weights;
                let (left, right) = (tap.low as usize * c, tap.high as usize * c);
                let pixels = top[left..][..c].iter().zip(&top[right..][..c]);
                let pixels = pixels.zip(bottom[left..][..c].iter().zip(&bottom[right..][..c]));
                for (y, ((&a, &b), (&p, &q))) in out.iter_mut().zip(pixels) {
                    let above = a * left_weight + b * right_weight;
                    let below = p * left_weight + q * right_weight;
                    *y = above * top_weight + below * bottom_weight;
                }
            }
        }
    }
}
