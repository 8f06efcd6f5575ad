//! Matrix products.
#![expect(unsafe_code, reason = "unchecked reads of activations; see the SAFETY comment")]

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "intrinsics by the dozen"))]
use std::arch::x86_64::*;

use super::{Finish, LANES, load_f32, load_i32, store_f32, store_i32, store_u8};
use crate::int8::Sink;
use crate::int8::dense::{PanelJob, tile_rows};

/// Registers across the widest panel.
pub(in crate::int8) const MOST_VECTORS: usize = 2;
/// Rows of the tallest tile by registers across: up to twelve accumulators of sixteen registers.
const MOST_ROWS: [usize; MOST_VECTORS + 1] = [0, 8, 6];

/// Writes the kernels that use the products of module `$dot`.
macro_rules! gemm {
    ($name:ident, $dot:ident, $features:literal) => {
        pub(in crate::int8) mod $name {
            use super::*;
            use crate::int8::avx2::$dot::{PACKED, dot, split, weights};

            /// Computes one panel.
            #[target_feature(enable = $features)]
            pub(in crate::int8) fn panel(job: &PanelJob<'_>, sink: &mut Sink<'_>) {
                for (first, rows) in tile_rows(job.reads.pixels, MOST_ROWS[job.vectors]) {
                    match (job.vectors, rows) {
                        (1, 1) => tile::<1, 1>(job, first, sink),
                        (1, 2) => tile::<2, 1>(job, first, sink),
                        (1, 3) => tile::<3, 1>(job, first, sink),
                        (1, 4) => tile::<4, 1>(job, first, sink),
                        (1, 5) => tile::<5, 1>(job, first, sink),
                        (1, 6) => tile::<6, 1>(job, first, sink),
                        (1, 7) => tile::<7, 1>(job, first, sink),
                        (1, 8) => tile::<8, 1>(job, first, sink),
                        (2, 1) => tile::<1, 2>(job, first, sink),
                        (2, 2) => tile::<2, 2>(job, first, sink),
                        (2, 3) => tile::<3, 2>(job, first, sink),
                        (2, 4) => tile::<4, 2>(job, first, sink),
                        (2, 5) => tile::<5, 2>(job, first, sink),
                        (2, 6) => tile::<6, 2>(job, first, sink),
                        _ => unreachable!("tiles are no larger than the tallest"),
                    }
                }
            }

            /// Computes `ROWS` pixels by `VECTORS` registers of channels.
            #[target_feature(enable = $features)]
            fn tile<const ROWS: usize, const VECTORS: usize>(
                job: &PanelJob<'_>,
                first: usize,
                sink: &mut Sink<'_>,
            ) {
                let mut acc = [[_mm256_setzero_si256(); VECTORS]; ROWS];
                for (v, bias) in job.bias.as_chunks().0.iter().take(VECTORS).enumerate() {
                    let bias = load_i32(bias);
                    for row in &mut acc {
                        row[v] = bias;
                    }
                }
                let (steps, _) = job.weights.as_chunks::<PACKED>();
                for segment in 0..job.reads.segments {
                    let rows = job.reads.rows::<ROWS>(segment, first);
                    let packed = &steps[segment * job.steps * VECTORS..][..job.steps * VECTORS];
                    for (step, packed) in packed.chunks_exact(VECTORS).enumerate() {
                        let mut w = [[_mm256_setzero_si256(); 2]; VECTORS];
                        for v in 0..VECTORS {
                            w[v] = weights(&packed[v]);
                        }
                        for r in 0..ROWS {
                            // SAFETY: `job.reads` was made with segments of `4 * job.steps` bytes and
                            // `step < job.steps`.
                            let x = split(_mm256_set1_epi32(unsafe { rows[r].word(step) }));
                            for v in 0..VECTORS {
                                acc[r][v] = dot(acc[r][v], x, w[v]);
                            }
                        }
                    }
                }
                emit(job, first, &acc, sink);
            }

            /// Applies the epilogue to a tile whose first pixel is `first` and writes it.
            #[target_feature(enable = $features)]
            #[inline]
            fn emit<const ROWS: usize, const VECTORS: usize>(
                job: &PanelJob<'_>,
                first: usize,
                acc: &[[__m256i; VECTORS]; ROWS],
                sink: &mut Sink<'_>,
            ) {
                let at = job.out_at + first * job.out_stride;
                match sink {
                    Sink::U8(to_u8) => {
                        let finish = Finish::<VECTORS>::new(
                            job.slots(to_u8.multiplier),
                            to_u8.zero_point,
                            to_u8.min,
                            to_u8.max,
                        );
                        unrolled!(ROWS, |r| {
                            let low = finish.round(acc[r][0], 0);
                            let high = if VECTORS == 2 {
                                finish.round(acc[r][VECTORS - 1], VECTORS - 1)
                            } else {
                                low
                            };
                            let bytes = finish.pack(low, high, low, high);
                            store_u8(&mut to_u8.out[at + r * job.out_stride..], job.columns, bytes);
                        });
                    }
                    Sink::HugeU8(to_u8) => unrolled!(ROWS, |r| unrolled!(VECTORS, |v| {
                        let mut lanes = [0; LANES];
                        store_i32(&mut lanes, LANES, 0, acc[r][v]);
                        let count = (job.columns - v * LANES).min(LANES);
                        let slots = (job.slot + v * LANES..).zip(lanes).take(count);
                        to_u8.finish(at + r * job.out_stride + v * LANES, slots);
                    })),
                    Sink::I32 { out } => unrolled!(ROWS, |r| unrolled!(VECTORS, |v| {
                        store_i32(&mut out[at + r * job.out_stride..], job.columns, v, acc[r][v]);
                    })),
                    Sink::F32 { out, scale, bias, min, max } => {
                        let (min, max) = (_mm256_set1_ps(*min), _mm256_set1_ps(*max));
                        let (scale, bias) = (job.slots(scale).as_chunks().0, job.slots(bias).as_chunks().0);
                        unrolled!(VECTORS, |v| {
                            let (scale, bias) = (load_f32(&scale[v]), load_f32(&bias[v]));
                            unrolled!(ROWS, |r| {
                                let value =
                                    _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(acc[r][v]), scale), bias);
                                let value = _mm256_min_ps(_mm256_max_ps(value, min), max);
                                store_f32(&mut out[at + r * job.out_stride..], job.columns, v, value);
                            });
                        });
                    }
                }
            }
        }
    };
}

gemm!(vnni, vnni, "avx2,avxvnni");
gemm!(plain, plain, "avx2");
