//! Depthwise convolution: every channel by itself, vectorised along the channels. Units are output rows.

use std::ops::Range;

use super::Bounds;
use super::panel::Aligned;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::shape::ConvShape;
use crate::tier::{Tier, TierToken};

/// Weights `[taps][channels]`, then the bias.
#[derive(Debug)]
pub(super) struct Depthwise {
    packed: Aligned,
    channels: usize,
}

impl Depthwise {
    pub(super) fn new(shape: &ConvShape, weights: &[f32], bias: Option<&[f32]>) -> Self {
        let (taps, channels) = (shape.taps(), shape.out_c);
        let mut packed = Aligned::zeroed((taps + 1) * channels);
        let (out, padded) = packed.as_mut_slice().split_at_mut(taps * channels);
        for (tap, out) in out.chunks_exact_mut(channels).enumerate() {
            for (c, y) in out.iter_mut().enumerate() {
                *y = weights[c * taps + tap];
            }
        }
        if let Some(bias) = bias {
            padded.copy_from_slice(bias);
        }
        Self { packed, channels }
    }

    pub(super) fn packed_len(&self) -> usize {
        size_of_val(self.packed.as_slice())
    }

    pub(super) fn run(
        &self,
        token: TierToken,
        shape: &ConvShape,
        bounds: Bounds,
        input: &[f32],
        elements: Range<usize>,
        out: &mut [f32],
    ) {
        let row_len = shape.out_w * shape.out_c;
        let (weights, bias) = self.packed.as_slice().split_at(shape.taps() * self.channels);
        let rows = Rows { shape, bounds, input, weights, bias, first: elements.start / row_len, out };
        match token.tier() {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Vnni => avx512::depthwise(token, rows),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 | Tier::AvxVnni => avx2::depthwise(token, rows),
            _ => rows.scalar(),
        }
    }
}

/// Some output rows of a depthwise convolution, all images counted through.
pub(super) struct Rows<'a> {
    pub(super) shape: &'a ConvShape,
    pub(super) bounds: Bounds,
    pub(super) input: &'a [f32],
    /// `[taps][channels]`.
    pub(super) weights: &'a [f32],
    /// `[channels]`.
    pub(super) bias: &'a [f32],
    /// The first row.
    pub(super) first: usize,
    /// Whole rows.
    pub(super) out: &'a mut [f32],
}

impl Rows<'_> {
    fn scalar(self) {
        let Self { shape, bounds, input, weights, bias, first, out } = self;
        let c = shape.out_c;
        for (row, out) in out.chunks_exact_mut(shape.out_w * c).enumerate() {
            let (image, oy) = ((first + row) / shape.out_h, (first + row) % shape.out_h);
            for (ox, out) in out.chunks_exact_mut(c).enumerate() {
                out.copy_from_slice(bias);
                for ky in 0..shape.kernel_h {
                    let Some(iy) = shape.in_row(oy, ky) else { continue };
                    for kx in 0..shape.kernel_w {
                        let Some(ix) = shape.in_column(ox, kx) else { continue };
                        let x = &input[((image * shape.in_h + iy) * shape.in_w + ix) * c..][..c];
                        let w = &weights[(ky * shape.kernel_w + kx) * c..][..c];
                        for ((y, &x), &w) in out.iter_mut().zip(x).zip(w) {
                            *y += x * w;
                        }
                    }
                }
                for y in out {
                    *y = bounds.clamp(*y);
                }
            }
        }
    }
}

/// What a block of `P` adjacent output pixels of one row works on, at some channels.
///
/// Valid for it are: reads of the channels at `x`, plus `x_row_step` for each of `tap_rows`, plus `x_tap_step` for each
/// of `tap_columns`, plus `x_pixel_step` for each of `P`; at `w`, plus `w_row_step` and `channels` likewise; at `bias`;
/// writes of the channels at `y`, plus `channels` for each of `P`.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) x: *const f32,
    pub(super) x_row_step: usize,
    pub(super) x_tap_step: usize,
    pub(super) x_pixel_step: usize,
    pub(super) w: *const f32,
    pub(super) w_row_step: usize,
    pub(super) tap_rows: usize,
    pub(super) tap_columns: usize,
    pub(super) channels: usize,
    pub(super) bias: *const f32,
    pub(super) y: *mut f32,
    pub(super) bounds: Bounds,
}

#[cfg(target_arch = "x86_64")]
impl Rows<'_> {
    /// Output rows.
    pub(super) fn len(&self) -> usize {
        self.out.len() / (self.shape.out_w * self.shape.out_c)
    }

    /// The block of output columns `columns` in row `row` of these, at channels `channel..channel + wide`, checked.
    /// More than one column must have the same taps inside the image.
    pub(super) fn block(&mut self, row: usize, columns: Range<usize>, channel: usize, wide: usize) -> Block {
        let shape = self.shape;
        let channels = shape.out_c;
        let (image, oy) = ((self.first + row) / shape.out_h, (self.first + row) % shape.out_h);
        let taps_y = inside(shape.kernel_h, |ky| shape.in_row(oy, ky));
        let taps_x = inside(shape.kernel_w, |kx| shape.in_column(columns.start, kx));
        let last_x = inside(shape.kernel_w, |kx| shape.in_column(columns.end - 1, kx));
        assert!(taps_x == last_x && channel + wide <= channels, "columns of a block have the same taps");
        let (mut x, mut w) = (self.input.as_ptr(), self.weights.as_ptr());
        let x_row_step = shape.dilation_h * shape.in_w * channels;
        let x_tap_step = shape.dilation_w * channels;
        let x_pixel_step = shape.stride_w * channels;
        let w_row_step = shape.kernel_w * channels;
        let inside = !taps_y.is_empty() && !taps_x.is_empty();
        if inside
            && let Some(iy) = shape.in_row(oy, taps_y.start)
            && let Some(ix) = shape.in_column(columns.start, taps_x.start)
        {
            let x_start = ((image * shape.in_h + iy) * shape.in_w + ix) * channels + channel;
            let x_end = x_start
                + (taps_y.len() - 1) * x_row_step
                + (taps_x.len() - 1) * x_tap_step
                + (columns.len() - 1) * x_pixel_step
                + wide;
            let w_start = taps_y.start * w_row_step + taps_x.start * channels + channel;
            let w_end = w_start + (taps_y.len() - 1) * w_row_step + (taps_x.len() - 1) * channels + wide;
            x = self.input[x_start..x_end].as_ptr();
            w = self.weights[w_start..w_end].as_ptr();
        }
        let y_start = (row * shape.out_w + columns.start) * channels + channel;
        let y_end = y_start + (columns.len() - 1) * channels + wide;
        Block {
            x,
            x_row_step,
            x_tap_step,
            x_pixel_step,
            w,
            w_row_step,
            tap_rows: if inside { taps_y.len() } else { 0 },
            tap_columns: if inside { taps_x.len() } else { 0 },
            channels,
            bias: self.bias[channel..channel + wide].as_ptr(),
            y: self.out[y_start..y_end].as_mut_ptr(),
            bounds: self.bounds,
        }
    }
}

/// The taps that lie inside the image: a range, as coordinates grow with the tap.
#[cfg(target_arch = "x86_64")]
fn inside(taps: usize, coordinate: impl Fn(usize) -> Option<usize>) -> Range<usize> {
    let start = (0..taps).find(|&tap| coordinate(tap).is_some()).unwrap_or(taps);
    let end = (start..taps).rfind(|&tap| coordinate(tap).is_some()).map_or(start, |tap| tap + 1);
    start..end
}
