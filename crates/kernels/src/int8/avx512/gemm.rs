//! Matrix products.
#![expect(unsafe_code, reason = "unchecked reads of activations; see each SAFETY comment")]

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "intrinsics by the dozen"))]
use std::arch::x86_64::*;

use super::{Finish, LANES, load, load_f32, load_i32, store_f32, store_i32, store_u8};
use crate::int8::Sink;
use crate::int8::dense::{PanelJob, tile_rows};

/// Registers across the widest panel.
pub(in crate::int8) const MOST_VECTORS: usize = 4;
/// Rows of the tallest tile by registers across: 24 accumulators leave room for weights and activations.
const MOST_ROWS: [usize; MOST_VECTORS + 1] = [0, 12, 12, 8, 6];

/// Computes one panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::int8) fn panel(job: &PanelJob<'_>, sink: &mut Sink<'_>) {
    let rows = tile_rows(job.reads.pixels, MOST_ROWS[job.vectors]);
    macro_rules! tiles {
        ($vectors:literal: $($rows:literal)*) => {
            for (first, rows) in rows {
                match rows {
                    $($rows => tile::<$rows, $vectors>(job, first, sink),)*
                    _ => unreachable!("tile_rows keeps to the tallest tile"),
                }
            }
        };
    }
    match job.vectors {
        1 => tiles!(1: 1 2 3 4 5 6 7 8 9 10 11 12),
        2 => tiles!(2: 1 2 3 4 5 6 7 8 9 10 11 12),
        3 => tiles!(3: 1 2 3 4 5 6 7 8),
        4 => tiles!(4: 1 2 3 4 5 6),
        _ => unreachable!("panels have at most four vectors"),
    }
}

/// Computes `ROWS` pixels by `VECTORS` registers of channels.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile<const ROWS: usize, const VECTORS: usize>(job: &PanelJob<'_>, first: usize, sink: &mut Sink<'_>) {
    let mut acc = [[_mm512_setzero_si512(); VECTORS]; ROWS];
    for (v, bias) in job.bias.as_chunks::<LANES>().0.iter().take(VECTORS).enumerate() {
        let bias = load_i32(bias);
        for row in &mut acc {
            row[v] = bias;
        }
    }
    let (steps, _) = job.weights.as_chunks::<64>();
    for segment in 0..job.reads.segments {
        let rows = job.reads.rows::<ROWS>(segment, first);
        let weights = &steps[segment * job.steps * VECTORS..][..job.steps * VECTORS];
        for (step, weights) in weights.chunks_exact(VECTORS).enumerate() {
            let mut w = [_mm512_setzero_si512(); VECTORS];
            for v in 0..VECTORS {
                w[v] = load(&weights[v]);
            }
            for r in 0..ROWS {
                // SAFETY: `job.reads` was made with segments of `4 * job.steps` bytes and `step < job.steps`.
                let x = _mm512_set1_epi32(unsafe { rows[r].word(step) });
                for v in 0..VECTORS {
                    acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], x, w[v]);
                }
            }
        }
    }
    let at = job.out_at + first * job.out_stride;
    match sink {
        Sink::U8(to_u8) => {
            let finish =
                Finish::<VECTORS>::new(job.slots(to_u8.multiplier), to_u8.zero_point, to_u8.min, to_u8.max);
            // One packing takes four registers: a row's, or those of several rows where they are fewer.
            let together = if VECTORS <= 2 { 4 / VECTORS } else { 1 };
            unrolled!(ROWS.div_ceil(together), |group| {
                let v = |i: usize| {
                    let (r, v) = (group * together + i / VECTORS, i % VECTORS);
                    if i < together * VECTORS && r < ROWS {
                        finish.round(acc[r][v], v)
                    } else {
                        _mm512_setzero_si512()
                    }
                };
                let bytes = finish.pack(v(0), v(1), v(2), v(3));
                let at = at + group * together * job.out_stride;
                if together == 1 {
                    store_u8(&mut to_u8.out[at..], job.columns, bytes);
                } else if (group + 1) * together <= ROWS
                    && job.columns * together == 64
                    && job.columns == job.out_stride
                {
                    store_u8(&mut to_u8.out[at..], 64, bytes);
                } else {
                    store_rows::<VECTORS>(&mut to_u8.out[at..], job, ROWS - group * together, bytes);
                }
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
            let (min, max) = (_mm512_set1_ps(*min), _mm512_set1_ps(*max));
            let (scale, bias) = (job.slots(scale).as_chunks().0, job.slots(bias).as_chunks().0);
            unrolled!(VECTORS, |v| {
                let (scale, bias) = (load_f32(&scale[v]), load_f32(&bias[v]));
                unrolled!(ROWS, |r| {
                    let value = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][v]), scale), bias);
                    let value = _mm512_min_ps(_mm512_max_ps(value, min), max);
                    store_f32(&mut out[at + r * job.out_stride..], job.columns, v, value);
                });
            });
        }
    }
}

/// Writes the rows that one packing of `VECTORS` registers each has put into `bytes`, at most `rows` of them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn store_rows<const VECTORS: usize>(out: &mut [u8], job: &PanelJob<'_>, rows: usize, bytes: __m512i) {
    store_u8(out, job.columns, bytes);
    if VECTORS == 2 {
        if rows > 1 {
            let row = _mm512_castsi256_si512(_mm512_extracti64x4_epi64(bytes, 1));
            store_u8(&mut out[job.out_stride..], job.columns, row);
        }
        return;
    }
    if rows > 1 {
        let row = _mm512_castsi128_si512(_mm512_extracti32x4_epi32(bytes, 1));
        store_u8(&mut out[job.out_stride..], job.columns, row);
    }
    if rows > 2 {
        let row = _mm512_castsi128_si512(_mm512_extracti32x4_epi32(bytes, 2));
        store_u8(&mut out[2 * job.out_stride..], job.columns, row);
    }
    if rows > 3 {
        let row = _mm512_castsi128_si512(_mm512_extracti32x4_epi32(bytes, 3));
        store_u8(&mut out[3 * job.out_stride..], job.columns, row);
    }
}
