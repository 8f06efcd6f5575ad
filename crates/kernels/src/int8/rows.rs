//! Where the products of an output pixel read their activations, without copying the image.
//!
//! The products of a pixel are cut into *segments* of contiguous bytes: one per tap, or one per kernel row where the
//! channels are few and the taps of a row touch. A table holds the offset of every segment of every pixel of a
//! block. Offsets beyond the input lie in a pad area in scratch memory: a segment of zero points, and copies of the
//! segments that a kernel could not read in place (those that reach over the left or right border, and those so
//! near the end of the tensor that reading whole groups of four bytes would pass it). Where every output pixel reads
//! the one input pixel of the same place, there is no table.
#![expect(unsafe_code, reason = "the table's offsets are trusted by the kernels; see the SAFETY comment")]

use std::ops::Range;

use super::mem::Reads;
use crate::scratch::{LINE, Parts, space};
use crate::shape::ConvShape;

/// Fewer channels than this are read by kernel row, not by tap: a row of pointers made for fewer products costs more
/// (64 channels: 1.2 times the time, 128: 1.08, 256: none; `cargo bench -p fewbit-kernels --bench int8 -- --table`).
const FEW_CHANNELS: usize = 129;

/// How a shape's products are cut into segments.
#[derive(Debug, Clone)]
pub(super) struct Segments {
    /// Segments per output pixel.
    pub(super) count: usize,
    /// Bytes of a segment that count.
    pub(super) len: usize,
    /// Groups of four bytes that a kernel reads of a segment.
    pub(super) steps: usize,
    /// Bytes of input from one pixel's segment to its neighbour's, in the input.
    by_row: bool,
    /// Bytes reserved for one segment in the pad area, groups included.
    stride: usize,
    /// Input pixels at the end of the tensor that are read from the pad area.
    tail_pixels: usize,
}

impl Segments {
    pub(super) fn new(shape: &ConvShape) -> Self {
        let by_row = shape.groups == 1
            && shape.dilation_w == 1
            && shape.kernel_w > 1
            && shape.in_c < FEW_CHANNELS
            && shape.in_c > 0;
        let (count, len) = if by_row {
            (shape.kernel_h, shape.kernel_w * shape.in_c)
        } else {
            (shape.taps(), shape.in_c / shape.groups)
        };
        let steps = len.div_ceil(4);
        // A group's segment begins inside its pixel: the last one passes the pixel's end by up to three bytes.
        let reach = if by_row { steps * 4 } else { shape.in_c + steps * 4 - len };
        let over = steps * 4 - len;
        let tail_pixels = if by_row || over == 0 { 0 } else { over.div_ceil(shape.in_c) };
        Self { count, len, steps, by_row, stride: reach, tail_pixels }
    }

    /// Bytes of scratch memory for the table and the pad area of a block of `pixels`.
    pub(super) fn space(&self, shape: &ConvShape, pixels: usize) -> usize {
        space::<usize>(self.count * pixels) + space::<u8>(self.pad_len(shape, pixels))
    }

    /// Bytes of the pad area: zero points, then copies.
    fn pad_len(&self, shape: &ConvShape, pixels: usize) -> usize {
        let copies = if self.by_row {
            pixels * self.count * self.stride
        } else {
            self.tail_pixels * shape.in_c + LINE
        };
        self.stride.next_multiple_of(LINE) + copies
    }

    /// Prepares the memory that [`Segments::space`] asked for.
    pub(super) fn table<'a>(
        &'a self,
        shape: &'a ConvShape,
        input: &'a [u8],
        x_zero: u8,
        pixels: usize,
        parts: &mut Parts<'a>,
    ) -> Table<'a> {
        let offsets = parts.take::<usize>(self.count * pixels);
        let pad = parts.take::<u8>(self.pad_len(shape, pixels));
        let copies_at = self.stride.next_multiple_of(LINE);
        pad[..copies_at].fill(x_zero);
        let tail = self.tail_pixels.min(shape.batch * shape.in_h * shape.in_w) * shape.in_c;
        let tail_at = input.len() - tail;
        if !self.by_row {
            pad[copies_at..][..tail].copy_from_slice(&input[tail_at..]);
        }
        Table { segments: self, shape, input, x_zero, offsets, pad, copies_at, tail_at }
    }
}

/// The segments of one block of output pixels.
pub(super) struct Table<'a> {
    segments: &'a Segments,
    shape: &'a ConvShape,
    input: &'a [u8],
    x_zero: u8,
    offsets: &'a mut [usize],
    pad: &'a mut [u8],
    /// Where copies begin in the pad area.
    copies_at: usize,
    /// Offset of the first input byte that is read from the pad area, unless by row.
    tail_at: usize,
}

impl Table<'_> {
    /// The segments of the output pixels `block`, for which the table has been filled, of group `group`.
    pub(super) fn reads(&self, block: Range<usize>, group: usize) -> Reads<'_> {
        let Segments { count, len, steps, .. } = *self.segments;
        let shift = group * len;
        if self.in_place(&block) {
            let bytes = &self.input[block.start * self.shape.in_c..];
            return Reads::steps(bytes, self.shape.in_c, block.len(), shift, steps * 4);
        }
        let offsets = &self.offsets[..count * block.len()];
        // SAFETY: `fill` wrote these offsets. One into the input is that of a pixel before the tail, so that `in_c`
        // bytes and as many as the last group of four passes them by remain; or, by row, it was compared with the
        // end of the input. One into the pad area is 0, where `stride` bytes of zero points lie, or that of a copy,
        // each with `stride` bytes from its start. `stride` is the reach of the last group's segment.
        unsafe { Reads::table(self.input, self.pad, offsets, block.len(), shift, steps * 4) }
    }

    /// Whether the segments of `block` lie in the input one after the other, and can be read there.
    fn in_place(&self, block: &Range<usize>) -> bool {
        self.shape.is_pointwise() && block.end * self.shape.in_c <= self.tail_at
    }

    /// Fills the table for the output pixels `block`.
    pub(super) fn fill(&mut self, block: Range<usize>) {
        let shape = self.shape;
        if self.in_place(&block) {
            return;
        }
        let mut copies = self.copies_at;
        let len = block.len();
        let mut pixel = block.start;
        while pixel < block.end {
            let (row, ox) = (pixel / shape.out_w, pixel % shape.out_w);
            let (image, oy) = (row / shape.out_h, row % shape.out_h);
            let columns = ox..(ox + block.end - pixel).min(shape.out_w);
            let at = pixel - block.start;
            for ky in 0..shape.kernel_h {
                let base = shape.in_row(oy, ky).map(|iy| (image * shape.in_h + iy) * shape.in_w);
                if self.segments.by_row {
                    let out = ky * len + at;
                    match base {
                        None => self.offsets[out..][..columns.len()].fill(self.input.len()),
                        Some(base) => self.fill_by_row(base, columns.clone(), out, &mut copies),
                    }
                } else {
                    for kx in 0..shape.kernel_w {
                        let out = (ky * shape.kernel_w + kx) * len + at;
                        match base {
                            None => self.offsets[out..][..columns.len()].fill(self.input.len()),
                            Some(base) => self.fill_tap(base, kx, columns.clone(), out),
                        }
                    }
                }
            }
            pixel += columns.len();
        }
    }

    /// Offsets of tap column `kx` in the input row that begins at input pixel `base`, for some output columns.
    fn fill_tap(&mut self, base: usize, kx: usize, columns: Range<usize>, out: usize) {
        let shape = self.shape;
        let (tail, zeros) = (self.tail_at, self.input.len());
        let moved = zeros + self.copies_at;
        let offsets = self.offsets[out..][..columns.len()].iter_mut();
        for (offset, ox) in offsets.zip(columns) {
            // Wraps to a huge column to the left of the image.
            let ix = (ox * shape.stride_w + kx * shape.dilation_w).wrapping_sub(shape.pad_left);
            let at = base.wrapping_add(ix).wrapping_mul(shape.in_c);
            let at = if at < tail { at } else { moved.wrapping_add(at.wrapping_sub(tail)) };
            *offset = if ix < shape.in_w { at } else { zeros };
        }
    }

    /// Offsets of a whole kernel row in the input row that begins at input pixel `base`; what cannot be read in
    /// place is copied to the pad area.
    fn fill_by_row(&mut self, base: usize, columns: Range<usize>, out: usize, copies: &mut usize) {
        let shape = self.shape;
        let Segments { len, stride, .. } = *self.segments;
        let inner = shape.inner_columns();
        let step = shape.stride_w * shape.in_c;
        // The columns that can be read in place: inside the image, and not so near the end of the tensor that whole
        // groups of four bytes would pass it.
        let first = inner.start.clamp(columns.start, columns.end);
        let mut at = (base + (first * shape.stride_w).saturating_sub(shape.pad_left)) * shape.in_c;
        let room = self.input.len().checked_sub(at + stride).map_or(0, |room| room / step + 1);
        let end = inner.end.clamp(first, columns.end).min(first.saturating_add(room));
        for offset in &mut self.offsets[out + first - columns.start..out + end - columns.start] {
            *offset = at;
            at += step;
        }
        for ox in (columns.start..first).chain(end..columns.end) {
            let copy = &mut self.pad[*copies..][..len];
            for (kx, copy) in copy.chunks_exact_mut(shape.in_c).enumerate() {
                match shape.in_column(ox, kx) {
                    Some(ix) => copy.copy_from_slice(&self.input[(base + ix) * shape.in_c..][..shape.in_c]),
                    None => copy.fill(self.x_zero),
                }
            }
            self.offsets[out + ox - columns.start] = self.input.len() + *copies;
            *copies += stride;
        }
    }
}
