//! Inner loops for AVX-512 with VNNI: sixteen channels a register, four products an instruction.
#![expect(unsafe_code, reason = "unchecked reads of activations; see each SAFETY comment")]

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "intrinsics by the dozen"))]
use std::arch::x86_64::*;

use super::Sink;
use super::dense::{PanelJob, tile_rows};

pub(super) const LANES: usize = 16;
/// Registers across the widest panel.
pub(super) const MOST_VECTORS: usize = 4;
/// Rows of the tallest tile by registers across: 24 accumulators leave room for weights and activations.
const MOST_ROWS: [usize; MOST_VECTORS + 1] = [0, 12, 12, 8, 6];

/// Computes one panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn panel(job: &PanelJob<'_>, sink: &mut Sink<'_>) {
    let rows = tile_rows(job.reads.pixels(), MOST_ROWS[job.vectors]);
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
        Sink::U8 { out, multiplier, zero_point, min, max } => {
            let finish = Finish::new(job.slots(multiplier), *zero_point, *min, *max);
            finish.tile(&acc, &mut out[at..], job.out_stride, job.columns);
        }
        Sink::I32 { out } => {
            for (r, row) in acc.iter().enumerate() {
                for (v, &value) in row.iter().enumerate() {
                    let (out, mask) = lanes(&mut out[at + r * job.out_stride..], job.columns, v);
                    // SAFETY: the mask covers only elements of `out`.
                    unsafe { _mm512_mask_storeu_epi32(out.as_mut_ptr(), mask, value) };
                }
            }
        }
        Sink::F32 { out, scale, bias, min, max } => {
            let (min, max) = (_mm512_set1_ps(*min), _mm512_set1_ps(*max));
            let (scale, bias) = (job.slots(scale).as_chunks().0, job.slots(bias).as_chunks().0);
            for (r, row) in acc.iter().enumerate() {
                for (v, &value) in row.iter().enumerate() {
                    let value = _mm512_mul_ps(_mm512_cvtepi32_ps(value), load_f32(&scale[v]));
                    let value = _mm512_add_ps(value, load_f32(&bias[v]));
                    let value = _mm512_min_ps(_mm512_max_ps(value, min), max);
                    let (out, mask) = lanes(&mut out[at + r * job.out_stride..], job.columns, v);
                    // SAFETY: the mask covers only elements of `out`.
                    unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, value) };
                }
            }
        }
    }
}

/// The part of an output row that vector `v` of a panel of `columns` covers, and the mask of its lanes.
#[inline]
fn lanes<T>(row: &mut [T], columns: usize, v: usize) -> (&mut [T], __mmask16) {
    let count = (columns - v * LANES).min(LANES);
    (&mut row[v * LANES..][..count], (u32::MAX >> (32 - count)) as __mmask16)
}

/// Requantization of a panel: see [`crate::Requantize`].
///
/// Products are clamped from above before they become integers (from below the conversion itself saturates), then
/// 16-bit and 8-bit saturation stand for the addition of the zero point and the clamp to 0 to 255: the largest
/// product kept, 2^16, and the smallest 16-bit value stay beyond the bounds whatever the zero point.
struct Finish<const VECTORS: usize> {
    multiplier: [__m512; VECTORS],
    largest: __m512,
    zero_point: __m512i,
    min: __m512i,
    max: __m512i,
    order: __m512i,
}

impl<const VECTORS: usize> Finish<VECTORS> {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn new(multiplier: &[f32], zero_point: i32, min: i32, max: i32) -> Self {
        let mut vectors = [_mm512_setzero_ps(); VECTORS];
        for (vector, multiplier) in vectors.iter_mut().zip(multiplier.as_chunks().0) {
            *vector = load_f32(multiplier);
        }
        Self {
            multiplier: vectors,
            largest: _mm512_set1_ps(65536.0),
            zero_point: _mm512_set1_epi16(zero_point as i16),
            min: _mm512_set1_epi8(min as i8),
            max: _mm512_set1_epi8(max as i8),
            order: _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0),
        }
    }

    /// Writes a tile whose rows lie `stride` bytes apart in `out` and have `columns` bytes.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[inline]
    fn tile<const ROWS: usize>(
        &self,
        acc: &[[__m512i; VECTORS]; ROWS],
        out: &mut [u8],
        stride: usize,
        columns: usize,
    ) {
        let mask = u64::MAX >> (64 - columns);
        for (r, row) in acc.iter().enumerate() {
            let v = |v: usize| self.round(row[v.min(VECTORS - 1)], v.min(VECTORS - 1));
            let low = v(0);
            let bytes = match VECTORS {
                1 => self.pack(low, low, low, low),
                2 => {
                    let high = v(1);
                    self.pack(low, high, low, high)
                }
                3 => self.pack(low, v(1), v(2), low),
                _ => self.pack(low, v(1), v(2), v(3)),
            };
            let out = &mut out[r * stride..][..columns];
            // SAFETY: the mask covers the `columns` bytes of `out`.
            unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), mask, bytes) };
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[inline]
    fn round(&self, acc: __m512i, v: usize) -> __m512i {
        let product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), self.multiplier[v]);
        _mm512_cvtps_epi32(_mm512_min_ps(product, self.largest))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[inline]
    fn pack(&self, a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
        let low = _mm512_adds_epi16(_mm512_packs_epi32(a, b), self.zero_point);
        let high = _mm512_adds_epi16(_mm512_packs_epi32(c, d), self.zero_point);
        let bytes = _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(low, high), self.min), self.max);
        // Packing works within 128-bit lanes; this puts the channels back in order.
        _mm512_permutexvar_epi32(self.order, bytes)
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are readable there; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_i32(lanes: &[i32; LANES]) -> __m512i {
    // SAFETY: 64 bytes are readable there; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_f32(lanes: &[f32; LANES]) -> __m512 {
    // SAFETY: 64 bytes are readable there; the instruction needs no alignment.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}
