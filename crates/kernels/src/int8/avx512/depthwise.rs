//! Depthwise convolutions.
#![expect(unsafe_code, reason = "masked loads and stores; see each SAFETY comment")]

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "intrinsics by the dozen"))]
use std::arch::x86_64::*;

use super::{Finish, load, load_f32, load_i32, store_f32, store_i32, store_u8};
use crate::int8::Sink;
use crate::int8::dense::tile_rows;
use crate::int8::depthwise::{Planes, RowJob};
use crate::int8::mem::Walk;

/// Channels of a block: four registers of accumulators.
const BLOCK: usize = 64;
/// Output pixels computed together.
const MOST_PIXELS: usize = 4;

/// Interleaves four rows of bytes: word `c` holds channel `c` of all four.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::int8) fn interleave(job: &Planes<'_>, planes: &mut [u8]) {
    let mask = u64::MAX >> (BLOCK - job.channels);
    let outside = [job.x_zero; BLOCK];
    let inside = job.inside();
    let quads = job.quads();
    let (planes, _) = planes.as_chunks_mut::<{ 4 * BLOCK }>();
    for quad in 0..quads {
        let rows: [Walk<'_>; 4] = std::array::from_fn(|i| job.walk(quad * 4 + i, &inside, &outside));
        let planes = &mut planes[quad..];
        let (left, rest) = planes.split_at_mut((inside.start * quads).min(planes.len()));
        let (middle, right) = rest.split_at_mut((inside.len() * quads).min(rest.len()));
        for (column, out) in middle.iter_mut().step_by(quads).enumerate() {
            let read = |row: usize| {
                // SAFETY: `middle` has a place for each column inside, no more; the mask covers the `channels` bytes
                // of the window.
                unsafe { _mm512_maskz_loadu_epi8(mask, rows[row].at(column).cast()) }
            };
            let [a, b, c, d] = [read(0), read(1), read(2), read(3)];
            let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
            let words = [
                _mm512_unpacklo_epi16(ab_low, cd_low),
                _mm512_unpackhi_epi16(ab_low, cd_low),
                _mm512_unpacklo_epi16(ab_high, cd_high),
                _mm512_unpackhi_epi16(ab_high, cd_high),
            ];
            let (out, _) = out.as_chunks_mut::<64>();
            for (out, word) in out.iter_mut().zip(words) {
                // SAFETY: 64 bytes are writable there.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), word) };
            }
        }
        let columns_right = (job.columns - inside.end) * quads;
        let right_len = right.len().min(columns_right);
        for out in left.iter_mut().step_by(quads).chain(right[..right_len].iter_mut().step_by(quads)) {
            out.fill(job.x_zero);
        }
    }
}

/// Computes one row of output pixels for one block of channels.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::int8) fn row(job: &RowJob<'_>, sink: &mut Sink<'_>) {
    for (first, pixels) in tile_rows(job.pixels, MOST_PIXELS) {
        match pixels {
            1 => tile::<1>(job, first, sink),
            2 => tile::<2>(job, first, sink),
            3 => tile::<3>(job, first, sink),
            4 => tile::<4>(job, first, sink),
            _ => unreachable!("tile_rows keeps to four pixels"),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile<const PIXELS: usize>(job: &RowJob<'_>, first: usize, sink: &mut Sink<'_>) {
    let mut acc = [[_mm512_setzero_si512(); 4]; PIXELS];
    for (j, bias) in job.bias.as_chunks().0.iter().take(4).enumerate() {
        let bias = load_i32(bias);
        for pixel in &mut acc {
            pixel[j] = bias;
        }
    }
    let (weights, _) = job.weights.as_chunks::<64>();
    for (kx, weights) in weights.chunks_exact(4 * job.quads).enumerate() {
        let words = job.walk(first, PIXELS, kx);
        for (quad, weights) in weights.as_chunks::<4>().0.iter().enumerate() {
            let [w0, w1, w2, w3] = weights;
            let w = [load(w0), load(w1), load(w2), load(w3)];
            for p in 0..PIXELS {
                for j in 0..4 {
                    // SAFETY: the walk has `PIXELS` windows of `quads` times four registers.
                    let x = unsafe { _mm512_loadu_si512(words.at(p).add((quad * 4 + j) * 64).cast()) };
                    acc[p][j] = _mm512_dpbusd_epi32(acc[p][j], x, w[j]);
                }
            }
        }
    }
    let at = job.out_at + first * job.out_stride;
    match sink {
        Sink::U8 { out, multiplier, zero_point, min, max } => {
            let finish = Finish::<4>::new(job.slots(multiplier), *zero_point, *min, *max);
            let mask = u64::MAX >> (BLOCK - job.channels);
            unrolled!(PIXELS, |p| {
                let v = |j: usize| finish.round(acc[p][j], j);
                let bytes = finish.pack_lanes(v(0), v(1), v(2), v(3));
                store_u8(&mut out[at + p * job.out_stride..], job.channels, mask, bytes);
            });
        }
        Sink::I32 { out } => unrolled!(PIXELS, |p| {
            let values = in_order(acc[p]);
            for (v, &value) in values.iter().enumerate().take(job.channels.div_ceil(16)) {
                store_i32(&mut out[at + p * job.out_stride..], job.channels, v, value);
            }
        }),
        Sink::F32 { out, scale, bias, min, max } => {
            let (min, max) = (_mm512_set1_ps(*min), _mm512_set1_ps(*max));
            let (scale, bias) = (job.slots(scale).as_chunks().0, job.slots(bias).as_chunks().0);
            unrolled!(PIXELS, |p| {
                let v = |j: usize| {
                    let product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[p][j]), load_f32(&scale[j]));
                    let sum = _mm512_add_ps(product, load_f32(&bias[j]));
                    _mm512_castps_si512(_mm512_min_ps(_mm512_max_ps(sum, min), max))
                };
                let values = in_order([v(0), v(1), v(2), v(3)]);
                for (v, &value) in values.iter().enumerate().take(job.channels.div_ceil(16)) {
                    let value = _mm512_castsi512_ps(value);
                    store_f32(&mut out[at + p * job.out_stride..], job.channels, v, value);
                }
            });
        }
    }
}

/// Accumulators hold channel `16 l + 4 j + e` in element `e` of lane `l` of register `j`; this puts them in order.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn in_order([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_shuffle_i32x4(a, b, 0x44), _mm512_shuffle_i32x4(a, b, 0xee));
    let (cd_low, cd_high) = (_mm512_shuffle_i32x4(c, d, 0x44), _mm512_shuffle_i32x4(c, d, 0xee));
    [
        _mm512_shuffle_i32x4(ab_low, cd_low, 0x88),
        _mm512_shuffle_i32x4(ab_low, cd_low, 0xdd),
        _mm512_shuffle_i32x4(ab_high, cd_high, 0x88),
        _mm512_shuffle_i32x4(ab_high, cd_high, 0xdd),
    ]
}
