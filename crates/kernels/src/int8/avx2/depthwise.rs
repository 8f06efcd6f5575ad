//! Depthwise convolutions.
#![expect(unsafe_code, reason = "stores through pointers; see the SAFETY comment")]

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "intrinsics by the dozen"))]
use std::arch::x86_64::*;

use super::{Finish, load, load_f32, load_i32, store_f32, store_i32, store_u8};
use crate::int8::Sink;
use crate::int8::depthwise::{Planes, RowsJob};
use crate::int8::mem::Grid;

/// Channels of a block: four registers of accumulators.
const BLOCK: usize = 32;

/// Interleaves four rows of bytes: word `c` holds channel `c` of all four.
#[target_feature(enable = "avx2")]
pub(in crate::int8) fn interleave(job: &Planes<'_>, planes: &mut [u8]) {
    let outside = [job.x_zero; BLOCK];
    let inside = job.inside();
    let quads = job.quads;
    let (planes, _) = planes.as_chunks_mut::<{ 4 * BLOCK }>();
    for quad in 0..quads {
        let rows: [Grid<'_>; 4] = std::array::from_fn(|i| job.walk(0, quad * 4 + i, &inside, &outside));
        let planes = &mut planes[quad..];
        let (left, rest) = planes.split_at_mut((inside.start * quads).min(planes.len()));
        let (middle, right) = rest.split_at_mut((inside.len() * quads).min(rest.len()));
        for (column, out) in middle.iter_mut().step_by(quads).enumerate() {
            let read = |row: usize| {
                // SAFETY: `middle` has a place for each column inside, no more; a window has `channels` bytes.
                let bytes = unsafe { std::slice::from_raw_parts(rows[row].at([column, 0]), job.channels) };
                if let Some(bytes) = bytes.first_chunk() {
                    load(bytes)
                } else {
                    let mut padded = [0; BLOCK];
                    padded[..job.channels].copy_from_slice(bytes);
                    load(&padded)
                }
            };
            let [a, b, c, d] = [read(0), read(1), read(2), read(3)];
            let (ab_low, ab_high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
            let words = [
                _mm256_unpacklo_epi16(ab_low, cd_low),
                _mm256_unpackhi_epi16(ab_low, cd_low),
                _mm256_unpacklo_epi16(ab_high, cd_high),
                _mm256_unpackhi_epi16(ab_high, cd_high),
            ];
            let (out, _) = out.as_chunks_mut::<32>();
            for (out, word) in out.iter_mut().zip(words) {
                // SAFETY: 32 bytes are writable there.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), word) };
            }
        }
        let columns_right = (job.columns - inside.end) * quads;
        let right_len = right.len().min(columns_right);
        for out in left.iter_mut().step_by(quads).chain(right[..right_len].iter_mut().step_by(quads)) {
            out.fill(job.x_zero);
        }
    }
}

/// Writes the kernels that use the products of module `$dot`.
macro_rules! depthwise {
    ($name:ident, $dot:ident, $features:literal) => {
        pub(in crate::int8) mod $name {
            use super::*;
            use crate::int8::avx2::$dot::{PACKED, dot, split, weights};

            /// Computes some rows of output pixels for one block of channels.
            #[target_feature(enable = $features)]
            pub(in crate::int8) fn rows(job: &RowsJob<'_>, sink: &mut Sink<'_>) {
                let grid = job.grid();
                for (row, at, _) in job.by_shift() {
                    for first in (0..job.pixels).step_by(2) {
                        let at = at + first * job.out_stride;
                        if job.pixels - first > 1 {
                            tile::<2>(job, grid, row, first, at, sink);
                        } else {
                            tile::<1>(job, grid, row, first, at, sink);
                        }
                    }
                }
            }

            #[target_feature(enable = $features)]
            fn tile<const PIXELS: usize>(
                job: &RowsJob<'_>,
                grid: Grid<'_>,
                row: &[u8],
                first: usize,
                at: usize,
                sink: &mut Sink<'_>,
            ) {
                let mut acc = [[_mm256_setzero_si256(); 4]; PIXELS];
                for (j, bias) in job.bias.as_chunks().0.iter().take(4).enumerate() {
                    let bias = load_i32(bias);
                    for pixel in &mut acc {
                        pixel[j] = bias;
                    }
                }
                let (packed, _) = row.as_chunks::<PACKED>();
                for (kx, packed) in packed.chunks_exact(4 * job.quads).enumerate() {
                    for (quad, packed) in packed.as_chunks::<4>().0.iter().enumerate() {
                        for p in 0..PIXELS {
                            for j in 0..4 {
                                // SAFETY: the grid has a window of `quads` times four registers for each pixel
                                // and column.
                                let x = unsafe {
                                    _mm256_loadu_si256(
                                        grid.at([first + p, kx]).add((quad * 4 + j) * 32).cast(),
                                    )
                                };
                                acc[p][j] = dot(acc[p][j], split(x), weights(&packed[j]));
                            }
                        }
                    }
                }
                emit(job, at, &acc, sink);
            }

            /// Applies the epilogue to some pixels and writes them from element `at` on.
            #[target_feature(enable = $features)]
            #[inline]
            fn emit<const PIXELS: usize>(
                job: &RowsJob<'_>,
                at: usize,
                acc: &[[__m256i; 4]; PIXELS],
                sink: &mut Sink<'_>,
            ) {
                match sink {
                    Sink::U8(to_u8) => {
                        let finish = Finish::<4>::new(
                            job.slots(to_u8.multiplier),
                            to_u8.zero_point,
                            to_u8.min,
                            to_u8.max,
                        );
                        unrolled!(PIXELS, |p| {
                            let v = |j: usize| finish.round(acc[p][j], j);
                            let bytes = finish.pack_lanes(v(0), v(1), v(2), v(3));
                            store_u8(&mut to_u8.out[at + p * job.out_stride..], job.channels, bytes);
                        });
                    }
                    Sink::HugeU8(to_u8) => unrolled!(PIXELS, |p| {
                        let mut lanes = [0; BLOCK];
                        unrolled!(4, |j| store_i32(&mut lanes, BLOCK, j, acc[p][j]));
                        to_u8.finish(at + p * job.out_stride, job.in_order(0, &lanes));
                    }),
                    Sink::I32 { out } => unrolled!(PIXELS, |p| {
                        let values = in_order(acc[p]);
                        for (v, &value) in values.iter().enumerate().take(job.channels.div_ceil(8)) {
                            store_i32(&mut out[at + p * job.out_stride..], job.channels, v, value);
                        }
                    }),
                    Sink::F32 { out, scale, bias, min, max } => {
                        let (min, max) = (_mm256_set1_ps(*min), _mm256_set1_ps(*max));
                        let (scale, bias) = (job.slots(scale).as_chunks().0, job.slots(bias).as_chunks().0);
                        unrolled!(PIXELS, |p| {
                            let v = |j: usize| {
                                let product =
                                    _mm256_mul_ps(_mm256_cvtepi32_ps(acc[p][j]), load_f32(&scale[j]));
                                let sum = _mm256_add_ps(product, load_f32(&bias[j]));
                                _mm256_castps_si256(_mm256_min_ps(_mm256_max_ps(sum, min), max))
                            };
                            let values = in_order([v(0), v(1), v(2), v(3)]);
                            for (v, &value) in values.iter().enumerate().take(job.channels.div_ceil(8)) {
                                let value = _mm256_castsi256_ps(value);
                                store_f32(&mut out[at + p * job.out_stride..], job.channels, v, value);
                            }
                        });
                    }
                }
            }
        }
    };
}

depthwise!(vnni, vnni, "avx2,avxvnni");
depthwise!(plain, plain, "avx2");

/// Accumulators hold channel `16 l + 4 j + e` in element `e` of lane `l` of register `j`; this puts them in order.
#[target_feature(enable = "avx2")]
#[inline]
fn in_order([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    [
        _mm256_permute2x128_si256(a, b, 0x20),
        _mm256_permute2x128_si256(c, d, 0x20),
        _mm256_permute2x128_si256(a, b, 0x31),
        _mm256_permute2x128_si256(c, d, 0x31),
    ]
}
