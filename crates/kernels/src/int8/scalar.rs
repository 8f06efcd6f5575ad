//! The portable tier: one output pixel at a time, its channels side by side so that a compiler can vectorise them.

use super::{Job, Sink};
use crate::requant::dequantize;
use crate::shape::ConvShape;

/// Weights as `[groups][taps][in_c / groups][out_c / groups]`, of depthwise convolutions as `[taps][out_c]`.
#[derive(Debug)]
pub(super) struct Scalar {
    weights: Vec<i8>,
    out_c: usize,
}

impl Scalar {
    pub(super) fn new(shape: &ConvShape, weights: &[i8]) -> Self {
        let depth = shape.depth();
        if shape.is_depthwise() {
            let mut packed = vec![0; weights.len()];
            for (c, taps) in weights.chunks_exact(depth).enumerate() {
                for (tap, &w) in taps.iter().enumerate() {
                    packed[tap * shape.out_c + c] = w;
                }
            }
            return Self { weights: packed, out_c: shape.out_c };
        }
        let wide = shape.out_c / shape.groups;
        let mut packed = vec![0; weights.len()];
        for (c, taps) in weights.chunks_exact(depth.max(1)).enumerate() {
            let (group, column) = (c / wide, c % wide);
            for (k, &w) in taps.iter().enumerate() {
                packed[(group * depth + k) * wide + column] = w;
            }
        }
        Self { weights: packed, out_c: shape.out_c }
    }

    /// One accumulator per output channel.
    pub(super) fn work_len(&self) -> usize {
        self.out_c * size_of::<i32>()
    }

    pub(super) fn run(&self, shape: &ConvShape, job: Job<'_>) {
        let Job { input, x_zero, elements, bias, mut sink, work } = job;
        let acc = bytemuck::cast_slice_mut::<u8, i32>(work);
        let mut at = elements.start;
        while at < elements.end {
            let (pixel, first) = (at / shape.out_c, at % shape.out_c);
            let end = (first + elements.end - at).min(shape.out_c);
            acc.copy_from_slice(bias);
            if shape.is_depthwise() {
                self.accumulate_depthwise(shape, input, x_zero, pixel, first..end, acc);
            } else {
                self.accumulate(shape, input, x_zero, pixel, first..end, acc);
            }
            emit(&acc[first..end], first, at - elements.start, &mut sink);
            at += end - first;
        }
    }

    /// As [`Self::accumulate`] for one filter per channel: channels side by side again.
    fn accumulate_depthwise(
        &self,
        shape: &ConvShape,
        input: &[u8],
        x_zero: u8,
        pixel: usize,
        channels: std::ops::Range<usize>,
        acc: &mut [i32],
    ) {
        let (row, ox) = (pixel / shape.out_w, pixel % shape.out_w);
        let (image, oy) = (row / shape.out_h, row % shape.out_h);
        let acc = &mut acc[channels.clone()];
        for (tap, weights) in self.weights.chunks_exact(shape.out_c).enumerate() {
            let (ky, kx) = (tap / shape.kernel_w, tap % shape.kernel_w);
            let weights = &weights[channels.clone()];
            if let Some((iy, ix)) = shape.in_row(oy, ky).zip(shape.in_column(ox, kx)) {
                let at = ((image * shape.in_h + iy) * shape.in_w + ix) * shape.in_c;
                let read = &input[at..][channels.clone()];
                for ((acc, &w), &x) in acc.iter_mut().zip(weights).zip(read) {
                    *acc = acc.wrapping_add(i32::from(x) * i32::from(w));
                }
            } else {
                for (acc, &w) in acc.iter_mut().zip(weights) {
                    *acc = acc.wrapping_add(i32::from(x_zero) * i32::from(w));
                }
            }
        }
    }

    /// Adds the products of one output pixel to `acc[channels]`.
    fn accumulate(
        &self,
        shape: &ConvShape,
        input: &[u8],
        x_zero: u8,
        pixel: usize,
        channels: std::ops::Range<usize>,
        acc: &mut [i32],
    ) {
        let (deep, wide) = (shape.in_c / shape.groups, shape.out_c / shape.groups);
        let (row, ox) = (pixel / shape.out_w, pixel % shape.out_w);
        let (image, oy) = (row / shape.out_h, row % shape.out_h);
        for group in channels.start / wide..=(channels.end - 1) / wide {
            let from = channels.start.max(group * wide);
            let to = channels.end.min((group + 1) * wide);
            for tap in 0..shape.taps() {
                let (ky, kx) = (tap / shape.kernel_w, tap % shape.kernel_w);
                let read = shape.in_row(oy, ky).zip(shape.in_column(ox, kx)).map(|(iy, ix)| {
                    let at = (image * shape.in_h + iy) * shape.in_w + ix;
                    &input[at * shape.in_c + group * deep..][..deep]
                });
                for k in 0..deep {
                    let x = i32::from(read.map_or(x_zero, |read| read[k]));
                    let weights = &self.weights[((group * shape.taps() + tap) * deep + k) * wide..][..wide];
                    let weights = &weights[from - group * wide..to - group * wide];
                    for (acc, &w) in acc[from..to].iter_mut().zip(weights) {
                        *acc = acc.wrapping_add(x * i32::from(w));
                    }
                }
            }
        }
    }
}

/// Applies the epilogue to the accumulators of channels `first..` and writes them from element `at` of the output.
fn emit(acc: &[i32], first: usize, at: usize, sink: &mut Sink<'_>) {
    match sink {
        Sink::U8(to_u8) | Sink::HugeU8(to_u8) => to_u8.finish(at, (first..).zip(acc.iter().copied())),
        Sink::I32 { out } => out[at..][..acc.len()].copy_from_slice(acc),
        Sink::F32 { out, scale, bias, min, max } => {
            let channels = scale[first..].iter().zip(&bias[first..]);
            for ((out, &acc), (&scale, &bias)) in out[at..].iter_mut().zip(acc).zip(channels) {
                *out = dequantize(acc, scale, bias, *min, *max);
            }
        }
    }
}
