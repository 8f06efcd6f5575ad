//! Inner loops on 256-bit registers, eight channels each: one set for AVX-VNNI, one for plain AVX2.
//!
//! The two differ in how four products join an accumulator. AVX-VNNI has an instruction for it. AVX2's own one for
//! bytes saturates at 16 bits, so activations are widened to 16 bits instead, those of even and of odd place apart,
//! and so are the packed weights: two exact multiplications and two additions.
//!
//! Owns the macro that writes both sets, the epilogue and the loads and stores.
#![expect(unsafe_code, reason = "loads and stores through pointers; see each SAFETY comment")]

pub(super) mod depthwise;
pub(super) mod gemm;

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "intrinsics by the dozen"))]
use std::arch::x86_64::*;

/// 32-bit lanes of a register.
pub(super) const LANES: usize = 8;

/// Activations for one product: the words as they are, or even and odd bytes widened.
type Words = [__m256i; 2];

/// Bytes of packed weights per register and step, and how they meet activations, with AVX-VNNI.
mod vnni {
    #[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "intrinsics by the dozen"))]
    use super::*;

    pub(in crate::int8) const PACKED: usize = 32;

    #[target_feature(enable = "avx2,avxvnni")]
    #[inline]
    pub(super) fn split(x: __m256i) -> Words {
        [x, x]
    }

    #[target_feature(enable = "avx2,avxvnni")]
    #[inline]
    pub(super) fn weights(bytes: &[u8; PACKED]) -> Words {
        let w = load(bytes);
        [w, w]
    }

    #[target_feature(enable = "avx2,avxvnni")]
    #[inline]
    pub(super) fn dot(acc: __m256i, x: Words, w: Words) -> __m256i {
        _mm256_dpbusd_avx_epi32(acc, x[0], w[0])
    }
}

/// As [`vnni`], without it.
mod plain {
    #[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "intrinsics by the dozen"))]
    use super::*;

    pub(in crate::int8) const PACKED: usize = 64;

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn split(x: __m256i) -> Words {
        [_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(x, 8)]
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn weights(bytes: &[u8; PACKED]) -> Words {
        let halves = bytes.as_chunks().0;
        [load(&halves[0]), load(&halves[1])]
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn dot(acc: __m256i, x: Words, w: Words) -> __m256i {
        let products = _mm256_add_epi32(_mm256_madd_epi16(x[0], w[0]), _mm256_madd_epi16(x[1], w[1]));
        _mm256_add_epi32(acc, products)
    }
}

/// Bytes of packed weights per register and step of four products.
pub(super) fn packed_bytes(vnni: bool) -> usize {
    if vnni { vnni::PACKED } else { plain::PACKED }
}

/// Puts weight `w`, product `k` of 4 of lane `lane`, into the packed bytes of a step.
pub(super) fn pack(vnni: bool, bytes: &mut [u8], lane: usize, k: usize, w: i8) {
    if vnni {
        bytes[lane * 4 + k] = w as u8;
    } else {
        let at = k % 2 * 32 + lane * 4 + k / 2 * 2;
        bytes[at..at + 2].copy_from_slice(&i16::from(w).to_le_bytes());
    }
}

/// Expands weights of four bits.
#[target_feature(enable = "avx2")]
pub(super) fn expand(packed: &[u8], codes: &mut [i8]) {
    super::nibbles::expand(packed, codes);
}

/// As [`expand`], to 16 bits.
#[target_feature(enable = "avx2")]
pub(super) fn expand_wide(packed: &[u8], codes: &mut [i16]) {
    super::nibbles::expand(packed, codes);
}

/// Requantization of up to 32 channels; see `Finish` of the AVX-512 set, which this repeats on narrower registers.
struct Finish<const VECTORS: usize> {
    multiplier: [__m256; VECTORS],
    zero_point: __m256i,
    min: __m256i,
    max: __m256i,
}

impl<const VECTORS: usize> Finish<VECTORS> {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(multiplier: &[f32], zero_point: i32, min: i32, max: i32) -> Self {
        let mut vectors = [_mm256_setzero_ps(); VECTORS];
        for (vector, multiplier) in vectors.iter_mut().zip(multiplier.as_chunks().0) {
            *vector = load_f32(multiplier);
        }
        Self {
            multiplier: vectors,
            zero_point: _mm256_set1_epi16(zero_point as i16),
            min: _mm256_set1_epi8(min as i8),
            max: _mm256_set1_epi8(max as i8),
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn round(&self, acc: __m256i, v: usize) -> __m256i {
        _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), self.multiplier[v]))
    }

    /// Lane by lane: the four words of lane `l` come from lanes `l` of `a`, `b`, `c` and `d`.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn pack_lanes(&self, a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        let low = _mm256_adds_epi16(_mm256_packs_epi32(a, b), self.zero_point);
        let high = _mm256_adds_epi16(_mm256_packs_epi32(c, d), self.zero_point);
        _mm256_min_epu8(_mm256_max_epu8(_mm256_packus_epi16(low, high), self.min), self.max)
    }

    /// The channels of `a`, `b`, `c` and `d` one after the other.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn pack(&self, a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        let order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
        _mm256_permutevar8x32_epi32(self.pack_lanes(a, b, c, d), order)
    }
}

/// Writes the first `columns` bytes of `value` to `out`.
#[target_feature(enable = "avx2")]
#[inline]
fn store_u8(out: &mut [u8], columns: usize, value: __m256i) {
    let out = &mut out[..columns];
    if let Some(out) = out.first_chunk_mut::<32>() {
        // SAFETY: 32 bytes are writable there.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), value) };
        return;
    }
    let mut bytes = [0; 32];
    // SAFETY: 32 bytes are writable there.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) };
    // Whole registers' worth has a fixed length, which compiles to one or two moves.
    match columns {
        8 => out.copy_from_slice(&bytes[..8]),
        16 => out.copy_from_slice(&bytes[..16]),
        24 => out.copy_from_slice(&bytes[..24]),
        _ => out.copy_from_slice(&bytes[..columns]),
    }
}

/// Writes vector `v` of a row of `columns` channels that begins at `row[0]`.
#[target_feature(enable = "avx2")]
#[inline]
fn store_f32(row: &mut [f32], columns: usize, v: usize, value: __m256) {
    let count = (columns - v * LANES).min(LANES);
    let out = &mut row[v * LANES..][..count];
    if let Some(out) = out.first_chunk_mut::<LANES>() {
        // SAFETY: eight floats are writable there.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), value) };
        return;
    }
    let mut lanes = [0.0; LANES];
    // SAFETY: eight floats are writable there.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), value) };
    out.copy_from_slice(&lanes[..count]);
}

/// As [`store_f32`].
#[target_feature(enable = "avx2")]
#[inline]
fn store_i32(row: &mut [i32], columns: usize, v: usize, value: __m256i) {
    store_f32(bytemuck::cast_slice_mut(row), columns, v, _mm256_castsi256_ps(value));
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are readable there; the instruction needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_i32(lanes: &[i32; LANES]) -> __m256i {
    load(bytemuck::cast_ref(lanes))
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_f32(lanes: &[f32; LANES]) -> __m256 {
    // SAFETY: 32 bytes are readable there; the instruction needs no alignment.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}
