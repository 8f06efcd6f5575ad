//! What the vector tiers' depthwise convolutions share: the walk over rows, pixels and channels, down to blocks of
//! adjacent pixels that a tier computes.
#![expect(unsafe_code, reason = "the one call of a block, whose pointers are made and checked here")]

use std::ops::Range;

use super::Bounds;
use super::depthwise::Rows;
use super::gemm::even_tiles;
use crate::shape::ConvShape;
use crate::tier::TierToken;
use crate::tiered::tiered;

/// What a block of `P` adjacent output pixels of one row works on, at some channels.
///
/// Valid for it are: reads of the channels at `x`, plus `x_row_step` for each of `tap_rows`, plus `x_tap_step` for each
/// of `taps`, plus `x_pixel_step` for each of `P`; at `w`, plus `w_row_step` and `channels` likewise; at `bias`; writes
/// of the channels at `y`, plus `channels` for each of `P`.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) x: *const f32,
    pub(super) x_row_step: usize,
    pub(super) x_tap_step: usize,
    pub(super) x_pixel_step: usize,
    pub(super) w: *const f32,
    pub(super) w_row_step: usize,
    pub(super) tap_rows: usize,
    pub(super) taps: usize,
    pub(super) channels: usize,
    pub(super) bias: *const f32,
    pub(super) y: *mut f32,
    pub(super) bounds: Bounds,
}

/// Computes a block; one of a single vector reads and writes only as many channels of it as the second argument says.
///
/// # Safety
/// The machine has the tier's features, and the block's pointers are valid as [`Block`] says.
pub(super) type BlockFn = unsafe fn(&Block, usize);

/// A tier's blocks, by their pixels less one.
pub(super) struct Blocks {
    /// Channels of a register.
    pub(super) vector: usize,
    pub(super) one_vector: &'static [BlockFn],
    /// As many as `one_vector`.
    pub(super) two_vectors: &'static [BlockFn],
    /// One pixel and eight vectors, for the border.
    pub(super) eight_vectors: BlockFn,
}

/// Bytes of the padded copy. The rows that a window slides over fit the first-level cache; the copy need not.
const COPY_BYTES: usize = 80 * 1024;

/// The padded copy of one block of channels.
struct Copy {
    columns: usize,
    reach: usize,
    /// Most output rows at once.
    band: usize,
}

impl Copy {
    /// `None` where the image is computed where it lies.
    fn of(shape: &ConvShape, blocks: &Blocks) -> Option<Self> {
        let columns = (shape.out_w - 1) * shape.stride_w + (shape.kernel_w - 1) * shape.dilation_w + 1;
        let reach = (shape.kernel_h - 1) * shape.dilation_h + 1;
        let row_bytes = columns * 2 * blocks.vector * size_of::<f32>();
        let rows = COPY_BYTES / row_bytes;
        let band = (rows.checked_sub(reach)? / shape.stride_h + 1).min(shape.out_h);
        // Measured: copying pays where an element is read often enough, or where most pixels lie at the border.
        let pays = match shape.taps() / (shape.stride_h * shape.stride_w) {
            16.. => true,
            9..16 => shape.out_w <= 14,
            _ => false,
        };
        pays.then_some(Self { columns, reach, band })
    }
}

pub(super) fn work_len(shape: &ConvShape, blocks: &Blocks) -> usize {
    Copy::of(shape, blocks)
        .map_or(0, |copy| ((copy.band - 1) * shape.stride_h + copy.reach) * copy.columns * 2 * blocks.vector)
}

/// Computes rows; `blocks` are those of the token's tier.
pub(super) fn run(token: TierToken, rows: Rows<'_>, blocks: &Blocks, work: &mut [f32]) {
    let shape = rows.shape;
    let c = shape.out_c;
    assert!(rows.weights.len() == shape.taps() * c && rows.bias.len() == c, "weights are complete");
    assert!(rows.input.len() == shape.input_len(), "the input is complete");
    match Copy::of(shape, blocks) {
        Some(copy) => by_channels(token, rows, blocks, &copy, work),
        None => in_place(rows, blocks),
    }
}

/// Channels of one vector register, or two: `(channels, blocks)`.
fn widest(blocks: &Blocks, left: usize) -> (usize, &'static [BlockFn]) {
    if left >= 2 * blocks.vector {
        (2 * blocks.vector, blocks.two_vectors)
    } else {
        (blocks.vector.min(left), blocks.one_vector)
    }
}

fn by_channels(token: TierToken, rows: Rows<'_>, blocks: &Blocks, copy: &Copy, work: &mut [f32]) {
    let Rows { shape, bounds, input, weights, bias, first, out } = rows;
    let c = shape.out_c;
    let row_len = shape.out_w * c;
    let end = first + out.len() / row_len;
    let mut row = first;
    while row < end {
        let (image, oy) = (row / shape.out_h, row % shape.out_h);
        let band = copy.band.min(end - row).min(shape.out_h - oy);
        let input_rows = (band - 1) * shape.stride_h + copy.reach;
        let mut channel = 0;
        while channel < c {
            let (wide, compute) = widest(blocks, c - channel);
            let work = &mut work[..input_rows * copy.columns * wide];
            pad_channels(token, shape, input, image, oy * shape.stride_h, copy.columns, channel, wide, work);
            let x_row_step = shape.dilation_h * copy.columns * wide;
            let (x_tap_step, x_pixel_step) = (shape.dilation_w * wide, shape.stride_w * wide);
            for line in 0..band {
                for columns in even_tiles(shape.out_w, compute.len()) {
                    let x = line * shape.stride_h * copy.columns * wide + columns.start * x_pixel_step;
                    let y = (row - first + line) * row_len + columns.start * c + channel;
                    let block = Block {
                        x: work[x..].as_ptr(),
                        x_row_step,
                        x_tap_step,
                        x_pixel_step,
                        w: weights[channel..].as_ptr(),
                        w_row_step: shape.kernel_w * c,
                        tap_rows: shape.kernel_h,
                        taps: shape.kernel_w,
                        channels: c,
                        bias: bias[channel..].as_ptr(),
                        y: out[y..].as_mut_ptr(),
                        bounds,
                    };
                    // SAFETY: the token proves the features. The copy has `input_rows` rows of `columns` pixels, which
                    // are those that the taps of the band reach; weights and bias are complete (see `run`); the
                    // output has the rows of the band, and `channel + wide` is at most `c`.
                    unsafe { compute[columns.len() - 1](&block, wide) };
                }
            }
            channel += wide;
        }
        row += band;
    }
}

tiered! {
    /// Copies some channels of as many input rows as `work` holds, from row `first` of the padded image on, `columns`
    /// pixels of each from its left edge on.
    fn pad_channels(
        shape: &ConvShape,
        input: &[f32],
        image: usize,
        first: usize,
        columns: usize,
        channel: usize,
        wide: usize,
        work: &mut [f32],
    ) {
        let left = shape.pad_left.min(columns);
        let inside = shape.in_w.min(columns - left);
        for (i, row) in work.chunks_exact_mut(columns * wide).enumerate() {
            let Some(iy) = (first + i).checked_sub(shape.pad_top).filter(|&iy| iy < shape.in_h) else {
                row.fill(0.0);
                continue;
            };
            row[..left * wide].fill(0.0);
            row[(left + inside) * wide..].fill(0.0);
            let from = &input[(image * shape.in_h + iy) * shape.in_w * shape.in_c + channel..];
            let row = &mut row[left * wide..(left + inside) * wide];
            match wide {
                32 => copy_pixels::<32>(from, shape.in_c, row),
                16 => copy_pixels::<16>(from, shape.in_c, row),
                8 => copy_pixels::<8>(from, shape.in_c, row),
                _ => {
                    for (pixel, from) in row.chunks_exact_mut(wide).zip(from.chunks(shape.in_c)) {
                        pixel.copy_from_slice(&from[..wide]);
                    }
                }
            }
        }
    }
}

/// Copies `WIDE` elements of each pixel, with a length that the compiler knows.
#[inline(always)]
fn copy_pixels<const WIDE: usize>(from: &[f32], channels: usize, row: &mut [f32]) {
    for (pixel, from) in row.as_chunks_mut::<WIDE>().0.iter_mut().zip(from.chunks(channels)) {
        if let Some(from) = from.first_chunk() {
            *pixel = *from;
        }
    }
}

fn in_place(rows: Rows<'_>, blocks: &Blocks) {
    let Rows { shape, bounds, input, weights, bias, first, out } = rows;
    let c = shape.out_c;
    let inner = shape.inner_columns();
    for (row, out) in out.chunks_exact_mut(shape.out_w * c).enumerate() {
        let (image, oy) = ((first + row) / shape.out_h, (first + row) % shape.out_h);
        let tap_rows = inside(shape.kernel_h, |ky| shape.in_row(oy, ky));
        let top = shape.in_row(oy, tap_rows.start).unwrap_or(0);
        let line = &input[(image * shape.in_h + top) * shape.in_w * c..];
        // Computes `pixels` columns from `ox` on, whose `taps` are inside the image, at `channel`.
        let mut compute =
            |ox: usize, pixels: usize, taps: &Range<usize>, channel: usize, wide: usize, f: BlockFn| {
                let ix = shape.in_column(ox, taps.start).unwrap_or(0);
                let empty = tap_rows.is_empty() || taps.is_empty();
                let tap = if empty { 0 } else { tap_rows.start * shape.kernel_w + taps.start };
                let block = Block {
                    x: line[ix * c + channel..].as_ptr(),
                    x_row_step: shape.dilation_h * shape.in_w * c,
                    x_tap_step: shape.dilation_w * c,
                    x_pixel_step: shape.stride_w * c,
                    w: weights[tap * c + channel..].as_ptr(),
                    w_row_step: shape.kernel_w * c,
                    tap_rows: if empty { 0 } else { tap_rows.len() },
                    taps: taps.len(),
                    channels: c,
                    bias: bias[channel..].as_ptr(),
                    y: out[ox * c + channel..].as_mut_ptr(),
                    bounds,
                };
                debug_assert!(channel + wide <= c && ox + pixels <= shape.out_w);
                // SAFETY: the features are proved by the token from which `run` was called. The taps of these rows and
                // columns lie inside the image, which the input holds whole, as weights and bias are (see `run`); the
                // output row holds the pixels, and the channels are below `c`.
                unsafe { f(&block, wide) };
            };
        let all = 0..shape.kernel_w;
        for columns in even_tiles(inner.len(), blocks.one_vector.len()) {
            let mut channel = 0;
            while channel < c {
                let (wide, functions) = widest(blocks, c - channel);
                compute(
                    inner.start + columns.start,
                    columns.len(),
                    &all,
                    channel,
                    wide,
                    functions[columns.len() - 1],
                );
                channel += wide;
            }
        }
        for ox in (0..inner.start).chain(inner.end..shape.out_w) {
            let taps = inside(shape.kernel_w, |kx| shape.in_column(ox, kx));
            let mut channel = 0;
            while channel < c {
                let (wide, f) = if c - channel >= 8 * blocks.vector {
                    (8 * blocks.vector, blocks.eight_vectors)
                } else {
                    let (wide, functions) = widest(blocks, c - channel);
                    (wide, functions[0])
                };
                compute(ox, 1, &taps, channel, wide, f);
                channel += wide;
            }
        }
    }
}

/// The taps that lie inside the image: a range, as coordinates grow with the tap.
fn inside(taps: usize, coordinate: impl Fn(usize) -> Option<usize>) -> Range<usize> {
    let start = (0..taps).find(|&tap| coordinate(tap).is_some()).unwrap_or(taps);
    let end = (start..taps).rfind(|&tap| coordinate(tap).is_some()).map_or(start, |tap| tap + 1);
    start..end
}
