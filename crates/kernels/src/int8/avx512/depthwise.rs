//! Depthwise convolutions.
#![expect(unsafe_code, reason = "masked loads and stores; see each SAFETY comment")]

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "intrinsics by the dozen"))]
use std::arch::x86_64::*;

use super::{Finish, LANES, load, load_f32, load_i32, store_f32, store_i32, store_u8};
use crate::int8::Sink;
use crate::int8::depthwise::{Planes, RowsJob};
use crate::int8::mem::Grid;

/// Channels of a block: four registers of accumulators.
const BLOCK: usize = VECTORS * LANES;
/// Registers of a block.
const VECTORS: usize = 4;

/// How often `channels` channels fit a block, in whole 128-bit lanes and a power of two.
pub(in crate::int8) fn copies(channels: usize) -> usize {
    match channels {
        ..=16 => 4,
        17..=32 => 2,
        _ => 1,
    }
}

/// The accumulators of `$pixels` pixels from `$first` on of a kernel of `$quads` quads (0: of any number). A macro, since
/// a function that is not inlined would return them through memory.
macro_rules! accumulate {
    ($row:expr, $pixels:literal, $quads:expr, $first:expr) => {{
        let Row { job, grid, weights, .. } = *$row;
        let quads = if $quads == 0 { job.quads } else { $quads };
        let mut acc = [biases(job); $pixels];
        let (weights, _) = weights.as_chunks::<64>();
        for (kx, weights) in weights.chunks_exact(4 * quads).enumerate() {
            for (quad, weights) in weights.as_chunks::<4>().0.iter().enumerate() {
                let [w0, w1, w2, w3] = weights;
                let w = [load(w0), load(w1), load(w2), load(w3)];
                for (p, acc) in acc.iter_mut().enumerate() {
                    for j in 0..4 {
                        // SAFETY: the grid has a window of `quads` times four registers for each pixel and column.
                        let x = unsafe {
                            _mm512_loadu_si512(grid.at([$first + p, kx]).add((quad * 4 + j) * 64).cast())
                        };
                        acc[j] = _mm512_dpbusd_epi32(acc[j], x, w[j]);
                    }
                }
            }
        }
        acc
    }};
}

/// Interleaves four rows of bytes: word `c` holds channel `c` of all four.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::int8) fn interleave(job: &Planes<'_>, planes: &mut [u8]) {
    match job.copies {
        1 => interleave_copies::<1>(job, planes),
        2 => interleave_copies::<2>(job, planes),
        _ => interleave_copies::<4>(job, planes),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn interleave_copies<const COPIES: usize>(job: &Planes<'_>, planes: &mut [u8]) {
    let mask = u64::MAX >> (BLOCK - job.channels);
    let outside = [job.x_zero; BLOCK];
    let inside = job.inside();
    let quads = job.quads;
    let (planes, _) = planes.as_chunks_mut::<{ 4 * BLOCK }>();
    for quad in 0..quads {
        let rows: [[Grid<'_>; COPIES]; 4] = std::array::from_fn(|i| {
            std::array::from_fn(|copy| job.walk(copy, quad * 4 + i, &inside, &outside))
        });
        let planes = &mut planes[quad..];
        let (left, rest) = planes.split_at_mut((inside.start * quads).min(planes.len()));
        let (middle, right) = rest.split_at_mut((inside.len() * quads).min(rest.len()));
        for (column, out) in middle.iter_mut().step_by(quads).enumerate() {
            // SAFETY: `middle` has a place for each column inside, no more.
            let at = |row: usize, copy: usize| unsafe { rows[row][copy.min(COPIES - 1)].at([column, 0]) };
            // The masks below cover the `channels` bytes of each window: at most 16 of four copies, 32 of two.
            let read = |row: usize| match COPIES {
                // SAFETY: as said.
                1 => unsafe { _mm512_maskz_loadu_epi8(mask, at(row, 0).cast()) },
                2 => {
                    // SAFETY: as said.
                    let half = |copy| unsafe { _mm256_maskz_loadu_epi8(mask as u32, at(row, copy).cast()) };
                    _mm512_inserti64x4(_mm512_castsi256_si512(half(0)), half(1), 1)
                }
                _ => {
                    // SAFETY: as said.
                    let lane = |copy| unsafe { _mm_maskz_loadu_epi8(mask as u16, at(row, copy).cast()) };
                    let low = _mm256_inserti128_si256(_mm256_castsi128_si256(lane(0)), lane(1), 1);
                    let high = _mm256_inserti128_si256(_mm256_castsi128_si256(lane(2)), lane(3), 1);
                    _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)
                }
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

/// Computes some rows of output pixels for one block of channels.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::int8) fn rows(job: &RowsJob<'_>, sink: &mut Sink<'_>) {
    match job.copies {
        1 => rows_of_copies::<1>(job, sink),
        2 => rows_of_copies::<2>(job, sink),
        _ => rows_of_copies::<4>(job, sink),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn rows_of_copies<const COPIES: usize>(job: &RowsJob<'_>, sink: &mut Sink<'_>) {
    let grid = job.grid();
    for (weights, at, copies) in job.by_shift() {
        match sink {
            Sink::U8(to_u8) => {
                let finish =
                    Finish::<4>::new(job.slots(to_u8.multiplier), to_u8.zero_point, to_u8.min, to_u8.max);
                let row = Row { job, grid, weights, copies };
                let out = &mut to_u8.out[at..];
                match (job.kernel_w, job.quads) {
                    (3, 1) => row_of_three::<COPIES>(&row, &finish, out),
                    (5, 2) => row_to_u8::<COPIES, 2>(&row, &finish, out),
                    (_, 1) => row_to_u8::<COPIES, 1>(&row, &finish, out),
                    _ => row_to_u8::<COPIES, 0>(&row, &finish, out),
                }
            }
            Sink::HugeU8(_) | Sink::I32 { .. } | Sink::F32 { .. } => {
                for pixel in 0..job.pixels {
                    other(&Row { job, grid, weights, copies }, pixel, at + pixel * job.out_stride, sink);
                }
            }
        }
    }
}

/// A row of output pixels of each copy.
struct Row<'a> {
    job: &'a RowsJob<'a>,
    /// What each pixel reads at each kernel column.
    grid: Grid<'a>,
    weights: &'a [u8],
    /// Copies that have this row.
    copies: usize,
}

/// A row with a kernel of three columns in one quad: all its weights stay in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn row_of_three<const COPIES: usize>(row: &Row<'_>, finish: &Finish<4>, out: &mut [u8]) {
    let Row { job, grid, weights, copies } = *row;
    let bias = biases(job);
    let mut w = [[_mm512_setzero_si512(); 4]; 3];
    for (w, bytes) in w.iter_mut().zip(weights.as_chunks::<64>().0.as_chunks::<4>().0) {
        *w = [load(&bytes[0]), load(&bytes[1]), load(&bytes[2]), load(&bytes[3])];
    }
    for pixel in 0..job.pixels {
        let mut acc = bias;
        for (kx, w) in w.iter().enumerate() {
            for j in 0..4 {
                // SAFETY: the grid has a window of four registers for each pixel and each of three columns.
                let x = unsafe { _mm512_loadu_si512(grid.at([pixel, kx]).add(j * 64).cast()) };
                acc[j] = _mm512_dpbusd_epi32(acc[j], x, w[j]);
            }
        }
        let v = |j: usize| finish.round(acc[j], j);
        let bytes = finish.pack_lanes(v(0), v(1), v(2), v(3));
        store_copies::<COPIES>(&mut out[pixel * job.out_stride..], job, copies, bytes);
    }
}

/// A row with any kernel of `QUADS` quads (0: of any number), several pixels for each reading of the weights.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn row_to_u8<const COPIES: usize, const QUADS: usize>(row: &Row<'_>, finish: &Finish<4>, out: &mut [u8]) {
    let Row { job, copies, .. } = *row;
    macro_rules! tile {
        ($pixels:literal, $first:ident) => {{
            let acc = accumulate!(row, $pixels, QUADS, $first);
            unrolled!($pixels, |p| {
                let v = |j: usize| finish.round(acc[p][j], j);
                let bytes = finish.pack_lanes(v(0), v(1), v(2), v(3));
                store_copies::<COPIES>(&mut out[($first + p) * job.out_stride..], job, copies, bytes);
            });
        }};
    }
    for first in (0..job.pixels).step_by(4) {
        match job.pixels - first {
            1 => tile!(1, first),
            2 => tile!(2, first),
            3 => tile!(3, first),
            _ => tile!(4, first),
        }
    }
}

/// Writes one pixel of each of the first `copies` copies in `bytes`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn store_copies<const COPIES: usize>(out: &mut [u8], job: &RowsJob<'_>, copies: usize, bytes: __m512i) {
    store_u8(out, job.channels, bytes);
    if COPIES == 2 && copies > 1 {
        let second = _mm512_castsi256_si512(_mm512_extracti64x4_epi64(bytes, 1));
        store_u8(&mut out[job.out_copy_stride()..], job.channels, second);
    }
    if COPIES == 4 && copies > 1 {
        let second = _mm512_castsi128_si512(_mm512_extracti32x4_epi32(bytes, 1));
        store_u8(&mut out[job.out_copy_stride()..], job.channels, second);
    }
    if COPIES == 4 && copies > 2 {
        let third = _mm512_castsi128_si512(_mm512_extracti32x4_epi32(bytes, 2));
        store_u8(&mut out[2 * job.out_copy_stride()..], job.channels, third);
    }
    if COPIES == 4 && copies > 3 {
        let fourth = _mm512_castsi128_si512(_mm512_extracti32x4_epi32(bytes, 3));
        store_u8(&mut out[3 * job.out_copy_stride()..], job.channels, fourth);
    }
}

/// One pixel that is not requantized here.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn other(row: &Row<'_>, pixel: usize, at: usize, sink: &mut Sink<'_>) {
    let [acc] = accumulate!(row, 1, 0, pixel);
    let Row { job, copies, .. } = *row;
    // Where vector `v` of the accumulators in order goes: its copy's output, and its place in that.
    let vectors = VECTORS / job.copies;
    let places = (0..vectors * copies).map(|v| (v, at + v / vectors * job.out_copy_stride(), v % vectors));
    let places = places.filter(|&(_, _, v)| v * LANES < job.channels);
    match sink {
        Sink::I32 { out } => {
            let values = in_order(acc);
            for (i, at, v) in places {
                store_i32(&mut out[at..], job.channels, v, values[i]);
            }
        }
        Sink::F32 { out, scale, bias, min, max } => {
            let (min, max) = (_mm512_set1_ps(*min), _mm512_set1_ps(*max));
            let (scale, bias) = (job.slots(scale).as_chunks().0, job.slots(bias).as_chunks().0);
            let v = |j: usize| {
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[j]), load_f32(&scale[j]));
                let sum = _mm512_add_ps(product, load_f32(&bias[j]));
                _mm512_castps_si512(_mm512_min_ps(_mm512_max_ps(sum, min), max))
            };
            let values = in_order([v(0), v(1), v(2), v(3)]);
            for (i, at, v) in places {
                store_f32(&mut out[at..], job.channels, v, _mm512_castsi512_ps(values[i]));
            }
        }
        Sink::HugeU8(to_u8) => {
            let mut lanes = [0; BLOCK];
            for (j, value) in acc.into_iter().enumerate() {
                store_i32(&mut lanes, BLOCK, j, value);
            }
            for copy in 0..copies {
                to_u8.finish(at + copy * job.out_copy_stride(), job.in_order(copy, &lanes));
            }
        }
        Sink::U8(_) => unreachable!("requantized by whole rows"),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn biases(job: &RowsJob<'_>) -> [__m512i; 4] {
    let (bias, _) = job.bias.as_chunks();
    [load_i32(&bias[0]), load_i32(&bias[1]), load_i32(&bias[2]), load_i32(&bias[3])]
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
