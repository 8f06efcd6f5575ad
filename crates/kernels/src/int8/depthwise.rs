//! Depthwise convolutions: one filter per channel.
//!
//! A dot-product instruction sums four neighbouring bytes, so four rows of the image are interleaved channel by
//! channel in scratch memory first: *planes*, one set for every input column, *quads* of rows deep. An output pixel
//! then takes one instruction per register, quad and kernel column. Planes serve every output column whose taps
//! touch them, and as many output rows as fit their rows: the weights are packed once for each such *shift*.
//!
//! Registers hold a block of channels. Where the last block has so few channels that they fit several times, it holds
//! *copies* of them: each computes other output rows.

use std::ops::Range;

use super::isa::Isa;
use super::mem::Grid;
use super::{Job, Slots};
use crate::scratch::{Aligned, Parts, space};
use crate::shape::ConvShape;

/// Weights of a depthwise convolution packed for one instruction set.
#[derive(Debug)]
pub(super) struct Depthwise {
    isa: Isa,
    /// Groups of four rows that the kernel's rows take.
    quads: usize,
    /// Output rows computed from the same planes.
    shifts: usize,
    /// `[blocks][shifts][kernel_w][quads][4 registers]` of the instruction set's packing.
    packed: Aligned,
    /// Output columns whose planes exist at once.
    chunk: usize,
}

/// The planes of some input columns and one block of channels.
pub(super) struct Planes<'a> {
    pub(super) input: &'a [u8],
    pub(super) x_zero: u8,
    /// For each copy and row of every quad, where the block of its first pixel lies in the input, or [`OUTSIDE`].
    rows: &'a [usize],
    pub(super) copies: usize,
    pub(super) quads: usize,
    /// Bytes from one input pixel to the next.
    pub(super) stride: usize,
    /// Channels of the block that exist.
    pub(super) channels: usize,
    pub(super) columns: usize,
    /// Input column of the first planes, plus `pad_left`.
    first: usize,
    pad_left: usize,
    in_w: usize,
}

impl Planes<'_> {
    /// The planes' columns that lie inside the image.
    pub(super) fn inside(&self) -> Range<usize> {
        let clip = |column: usize| column.saturating_sub(self.first).min(self.columns);
        clip(self.pad_left)..clip(self.pad_left + self.in_w)
    }

    /// What the planes' columns `columns`, all inside the image, read of row `row` of the quads of copy `copy`: a
    /// window for each. `outside` is what a row outside the image holds.
    pub(super) fn walk<'b>(
        &'b self,
        copy: usize,
        row: usize,
        columns: &Range<usize>,
        outside: &'b [u8],
    ) -> Grid<'b> {
        let count = columns.len();
        match self.rows[copy * self.quads * 4 + row] {
            OUTSIDE => Grid::new(outside, 0, [(count, 0), (1, 0)], self.channels),
            at => {
                let start = at + (self.first + columns.start).saturating_sub(self.pad_left) * self.stride;
                Grid::new(self.input, start, [(count, self.stride), (1, 0)], self.channels)
            }
        }
    }
}

/// Some rows of output pixels for one block of channels, all from the same planes.
pub(super) struct RowsJob<'a> {
    pub(super) planes: &'a [u8],
    pub(super) quads: usize,
    /// Of this block, shift after shift.
    weights: &'a [u8],
    /// Bytes of the weights of a register.
    packed_bytes: usize,
    /// Shifts of these weights: output rows of each copy.
    shifts: usize,
    /// Output rows, of all copies together.
    rows: usize,
    pub(super) copies: usize,
    /// Of this block, a value for every lane.
    pub(super) bias: &'a [i32],
    /// First slot of the block.
    slot: usize,
    /// Channels of the block that exist.
    pub(super) channels: usize,
    pub(super) kernel_w: usize,
    stride_w: usize,
    dilation_w: usize,
    /// Output pixels of a row.
    pub(super) pixels: usize,
    out_at: usize,
    /// Output elements from one pixel to the next, and from one row to the next.
    pub(super) out_stride: usize,
    out_row_stride: usize,
}

impl RowsJob<'_> {
    /// For each shift the weights, where the output of its first copy begins, and how many copies have a row there.
    pub(super) fn by_shift(&self) -> impl Iterator<Item = (&[u8], usize, usize)> {
        let registers = self.kernel_w * self.quads * 4;
        let weights = self.weights.chunks_exact(registers * self.packed_bytes);
        weights.enumerate().take(self.rows).map(|(shift, weights)| {
            let copies = if self.copies == 1 { 1 } else { (self.rows - shift).div_ceil(self.shifts) };
            (weights, self.out_at + shift * self.out_row_stride, copies)
        })
    }

    /// Output elements from a row of one copy to that of the next.
    pub(super) fn out_copy_stride(&self) -> usize {
        self.shifts * self.out_row_stride
    }

    /// What output pixel `i` of any row reads at kernel column `j`: the planes of all quads.
    pub(super) fn grid(&self) -> Grid<'_> {
        // Four registers of words for each quad, as wide as those of the bias.
        let bytes = self.quads * size_of_val(self.bias);
        let axes = [(self.pixels, self.stride_w * bytes), (self.kernel_w, self.dilation_w * bytes)];
        Grid::new(self.planes, 0, axes, bytes)
    }

    /// The accumulators of one pixel of copy `copy`, each with its slot, channel by channel.
    pub(super) fn in_order(&self, copy: usize, lanes: &[i32]) -> impl Iterator<Item = (usize, i32)> {
        let first = copy * lanes.len() / self.copies;
        (first..first + self.channels).map(|c| {
            let slot = channel_slot(lanes.len(), c);
            (self.slot + slot, lanes[slot])
        })
    }

    /// The sink's parameters of this block's lanes.
    pub(super) fn slots<'a>(&self, parameters: &'a [f32]) -> &'a [f32] {
        &parameters[self.slot..][..self.bias.len()]
    }
}

/// Stands for a row outside the image.
const OUTSIDE: usize = usize::MAX;

/// Copies of the channels that a block may hold.
const MOST_COPIES: usize = 4;
/// Bytes of input that one block of channels walks before the next: they stay in the second-level cache.
const BAND_BYTES: usize = 256 * 1024;
/// Bytes of planes that exist at once: they stay in the first-level cache.
const PLANE_BYTES: usize = 16 * 1024;

impl Depthwise {
    pub(super) fn new(isa: Isa, shape: &ConvShape, weights: &[i8]) -> Self {
        let quads = shape.kernel_h.div_ceil(4);
        // Rows of dilated taps are shared by no other output row.
        let spare = if shape.dilation_h == 1 { quads * 4 - shape.kernel_h } else { 0 };
        let shifts = (spare / shape.stride_h + 1).min(shape.out_h);
        let block = isa.depthwise_block();
        let lanes = block / 4;
        let depthwise = Self { isa, quads, shifts, packed: Aligned::zeroed(0), chunk: 0 };
        let mut packed =
            Aligned::zeroed(shape.out_c.div_ceil(block) * shifts * depthwise.weight_bytes(shape));
        let copies = |c: usize| (0..depthwise.copies(shape, c)).map(move |copy| (c, copy));
        for (c, copy) in (0..shape.out_c).flat_map(copies) {
            let slot = channel_slot(block, c % block + copy * block / depthwise.copies(shape, c));
            for shift in 0..shifts {
                let at = (c / block * shifts + shift) * depthwise.weight_bytes(shape);
                let bytes = &mut packed.bytes_mut()[at..][..depthwise.weight_bytes(shape)];
                for ky in 0..shape.kernel_h {
                    for kx in 0..shape.kernel_w {
                        let row = ky + shift * shape.stride_h;
                        let register = (kx * quads + row / 4) * 4 + slot / lanes;
                        let bytes = &mut bytes[register * isa.packed_bytes()..][..isa.packed_bytes()];
                        let w = weights[(c * shape.kernel_h + ky) * shape.kernel_w + kx];
                        isa.pack(bytes, slot % lanes, row % 4, w);
                    }
                }
            }
        }
        let fits = PLANE_BYTES / (depthwise.column_bytes() * shape.stride_w);
        let chunk = fits.next_multiple_of(4).min(shape.out_w);
        Self { packed, chunk, ..depthwise }
    }

    /// Copies of the channels that the block of channel `c` holds.
    fn copies(&self, shape: &ConvShape, c: usize) -> usize {
        let block = self.isa.depthwise_block();
        self.isa.depthwise_copies((shape.out_c - c / block * block).min(block))
    }

    /// Packed bytes of one block and shift.
    fn weight_bytes(&self, shape: &ConvShape) -> usize {
        shape.kernel_w * self.quads * 4 * self.isa.packed_bytes()
    }

    /// Bytes of the planes of one column.
    fn column_bytes(&self) -> usize {
        self.quads * 4 * self.isa.depthwise_block()
    }

    /// Columns of planes that `chunk` output columns read.
    fn columns(shape: &ConvShape, chunk: usize) -> usize {
        (chunk - 1) * shape.stride_w + (shape.kernel_w - 1) * shape.dilation_w + 1
    }

    /// The order in which the lanes of accumulators hold the channels.
    pub(super) fn slots(&self, shape: &ConvShape) -> Slots {
        let block = self.isa.depthwise_block();
        Slots::Blocks { channels: shape.out_c, block, last_copies: self.copies(shape, shape.out_c - 1) }
    }

    pub(super) fn work_len(&self, shape: &ConvShape) -> usize {
        space::<u8>(Self::columns(shape, self.chunk) * self.column_bytes())
            + space::<usize>(self.quads * 4 * MOST_COPIES)
    }

    pub(super) fn run(&self, shape: &ConvShape, job: Job<'_>) {
        let Job { input, x_zero, elements, bias, mut sink, work } = job;
        let mut parts = Parts(work);
        let planes = parts.take::<u8>(Self::columns(shape, self.chunk) * self.column_bytes());
        let offsets = parts.take::<usize>(self.quads * 4 * MOST_COPIES);
        let block = self.isa.depthwise_block();
        let row_len = shape.out_w * shape.out_c;
        let rows = elements.start / row_len..elements.end.div_ceil(row_len);
        let band = (BAND_BYTES / (shape.in_w * shape.in_c * shape.stride_h))
            .max(1)
            .next_multiple_of(self.shifts * MOST_COPIES);
        for band_start in rows.clone().step_by(band) {
            let band_end = (band_start + band).min(rows.end);
            for column in (0..shape.out_c).step_by(block) {
                let channels = block.min(shape.out_c - column);
                let copies = self.copies(shape, column);
                let mut first = band_start;
                while first < band_end {
                    let (image, oy) = (first / shape.out_h, first % shape.out_h);
                    let count = (copies * self.shifts).min(shape.out_h - oy).min(band_end - first);
                    let offsets = &mut offsets[..copies * self.quads * 4];
                    for (copy, offsets) in offsets.chunks_exact_mut(self.quads * 4).enumerate() {
                        let oy = oy + copy * self.shifts;
                        let shifts = count.saturating_sub(copy * self.shifts).min(self.shifts);
                        for (i, offset) in offsets.iter_mut().enumerate() {
                            // Rows beyond those of the last shift have weights of zero or are not written.
                            let needed = shifts > 0 && i < shape.kernel_h + (shifts - 1) * shape.stride_h;
                            let row = if needed { shape.in_row(oy, i) } else { None };
                            *offset = row.map_or(OUTSIDE, |iy| {
                                (image * shape.in_h + iy) * shape.in_w * shape.in_c + column
                            });
                        }
                    }
                    for start in (0..shape.out_w).step_by(self.chunk) {
                        let pixels = self.chunk.min(shape.out_w - start);
                        let job = Planes {
                            input,
                            x_zero,
                            rows: offsets,
                            copies,
                            quads: self.quads,
                            stride: shape.in_c,
                            channels,
                            columns: Self::columns(shape, pixels),
                            first: start * shape.stride_w,
                            pad_left: shape.pad_left,
                            in_w: shape.in_w,
                        };
                        self.isa.interleave(&job, planes);
                        let weights = column / block * self.shifts * self.weight_bytes(shape);
                        let row = first * shape.out_w + start;
                        let job = RowsJob {
                            planes,
                            quads: self.quads,
                            weights: &self.packed.bytes()[weights..]
                                [..self.shifts * self.weight_bytes(shape)],
                            packed_bytes: self.isa.packed_bytes(),
                            shifts: self.shifts,
                            rows: count,
                            copies,
                            bias: &bias[column..][..block],
                            slot: column,
                            channels,
                            kernel_w: shape.kernel_w,
                            stride_w: shape.stride_w,
                            dilation_w: shape.dilation_w,
                            pixels,
                            out_at: row * shape.out_c + column - elements.start,
                            out_stride: shape.out_c,
                            out_row_stride: shape.out_w * shape.out_c,
                        };
                        self.isa.depthwise_rows(&job, &mut sink);
                    }
                    first += count;
                }
            }
        }
    }
}

/// The slot that holds channel `c` of a block: see [`Depthwise::slots`].
pub(super) fn channel_slot(block: usize, c: usize) -> usize {
    let (lane, register, element) = (c / 16, c / 4 % 4, c % 4);
    register * (block / 4) + lane * 4 + element
}
