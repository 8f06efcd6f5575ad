//! Depthwise convolution: every channel by itself, vectorised along the channels. Units are output rows.
//!
//! Narrow images are computed a block of channels at a time from a padded copy of it, which fits the first-level
//! cache and has no border. Wide ones are computed where they lie, row by row, their border pixels one at a time.

use std::ops::Range;

use super::Bounds;
use super::panel::Aligned;
#[cfg(target_arch = "x86_64")]
use super::vector_depthwise as vector;
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

    /// Elements of scratch memory: the padded copy.
    pub(super) fn work_len(token: TierToken, shape: &ConvShape) -> usize {
        match token.tier() {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Vnni => vector::work_len(shape, &avx512::DEPTHWISE),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 | Tier::AvxVnni => vector::work_len(shape, &avx2::DEPTHWISE),
            _ => 0,
        }
    }

    pub(super) fn run(
        &self,
        token: TierToken,
        shape: &ConvShape,
        bounds: Bounds,
        input: &[f32],
        elements: Range<usize>,
        out: &mut [f32],
        work: &mut [f32],
    ) {
        let row_len = shape.out_w * shape.out_c;
        let (weights, bias) = self.packed.as_slice().split_at(shape.taps() * self.channels);
        let rows = Rows { shape, bounds, input, weights, bias, first: elements.start / row_len, out };
        match token.tier() {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Vnni => vector::run(token, rows, &avx512::DEPTHWISE, work),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 | Tier::AvxVnni => vector::run(token, rows, &avx2::DEPTHWISE, work),
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
