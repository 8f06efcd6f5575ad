//! Inner loops for AVX-512 with VNNI: sixteen channels a register, four products an instruction.
//!
//! Owns what they share: the epilogue and the loads and stores.
#![expect(unsafe_code, reason = "loads and stores through pointers; see each SAFETY comment")]

pub(super) mod depthwise;
pub(super) mod gemm;

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "intrinsics by the dozen"))]
use std::arch::x86_64::*;

/// 32-bit lanes of a register.
pub(super) const LANES: usize = 16;
/// Bytes of packed weights per register and step of four products.
pub(super) const PACKED: usize = 64;

/// Expands weights of four bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn expand(packed: &[u8], codes: &mut [i8]) {
    super::nibbles::expand(packed, codes);
}

/// Writes the first `columns` bytes of `value`, at least one, to `out`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store_u8(out: &mut [u8], columns: usize, value: __m512i) {
    let out = &mut out[..columns];
    let mask = u64::MAX >> (64 - columns);
    // SAFETY: the mask covers the bytes of `out`.
    unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), mask, value) };
}

/// Writes vector `v` of a row of `columns` channels that begins at `row[0]`.
#[target_feature(enable = "avx512f")]
#[inline]
fn store_i32(row: &mut [i32], columns: usize, v: usize, value: __m512i) {
    let (out, mask) = lanes(row, columns, v);
    // SAFETY: the mask covers only elements of `out`.
    unsafe { _mm512_mask_storeu_epi32(out.as_mut_ptr(), mask, value) };
}

/// As [`store_i32`].
#[target_feature(enable = "avx512f")]
#[inline]
fn store_f32(row: &mut [f32], columns: usize, v: usize, value: __m512) {
    let (out, mask) = lanes(row, columns, v);
    // SAFETY: the mask covers only elements of `out`.
    unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, value) };
}

/// The part of an output row that vector `v` of a panel of `columns` covers, and the mask of its lanes.
#[inline]
fn lanes<T>(row: &mut [T], columns: usize, v: usize) -> (&mut [T], __mmask16) {
    let count = (columns - v * LANES).min(LANES);
    (&mut row[v * LANES..][..count], (u32::MAX >> (32 - count)) as __mmask16)
}

/// Requantization of registers of channels: see [`crate::Requantize`].
///
/// Products that fit 32 bits become integers with the conversion's own rounding. Then 16-bit and 8-bit saturation
/// stand for the addition of the zero point and the clamp to 0 to 255: what 16 bits cannot hold stays beyond the
/// bounds whatever the zero point. Other products are for scalar code.
struct Finish<const VECTORS: usize> {
    multiplier: [__m512; VECTORS],
    /// Whether the zero point is 0 and the bounds are those of the type: saturation is all there is to do.
    plain: bool,
    zero_point: __m512i,
    min: __m512i,
    max: __m512i,
    order: __m512i,
}

impl<const VECTORS: usize> Finish<VECTORS> {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[inline]
    fn new(multiplier: &[f32], zero_point: i32, min: i32, max: i32) -> Self {
        let mut vectors = [_mm512_setzero_ps(); VECTORS];
        for (vector, multiplier) in vectors.iter_mut().zip(multiplier.as_chunks().0) {
            *vector = load_f32(multiplier);
        }
        Self {
            multiplier: vectors,
            plain: (zero_point, min, max) == (0, 0, 255),
            zero_point: _mm512_set1_epi16(zero_point as i16),
            min: _mm512_set1_epi8(min as i8),
            max: _mm512_set1_epi8(max as i8),
            order: _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[inline]
    fn round(&self, acc: __m512i, v: usize) -> __m512i {
        _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), self.multiplier[v]))
    }

    /// The channels of `a`, `b`, `c` and `d` one after the other.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[inline]
    fn pack(&self, a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
        // Packing works within 128-bit lanes; this puts the channels back in order.
        _mm512_permutexvar_epi32(self.order, self.pack_lanes(a, b, c, d))
    }

    /// As [`Self::pack`], but lane by lane: the four words of lane `l` come from lanes `l` of `a`, `b`, `c` and `d`.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[inline]
    fn pack_lanes(&self, a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
        let (low, high) = (_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
        if self.plain {
            return _mm512_packus_epi16(low, high);
        }
        let low = _mm512_adds_epi16(low, self.zero_point);
        let high = _mm512_adds_epi16(high, self.zero_point);
        _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(low, high), self.min), self.max)
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
