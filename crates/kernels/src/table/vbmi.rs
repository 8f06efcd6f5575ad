//! 256-entry tables with AVX-512 VBMI: 64 look-ups at once in registers.
#![expect(unsafe_code, reason = "loads, masked loads and stores of whole registers")]

use std::arch::x86_64::{
    __m512i, __mmask64, _mm512_loadu_si512, _mm512_mask_blend_epi8, _mm512_mask_storeu_epi8,
    _mm512_maskz_loadu_epi8, _mm512_movepi8_mask, _mm512_permutex2var_epi8, _mm512_storeu_si512,
};

use crate::tier::{Tier, TierToken};

/// Looks up as [`table_u8`](super::table_u8) if the machine can; `x` and `out` are equally long.
pub(super) fn lookup(token: TierToken, table: &[u8; 256], x: &[u8], out: &mut [u8]) -> bool {
    if token.tier() != Tier::Avx512Vnni || !is_x86_feature_detected!("avx512vbmi") {
        return false;
    }
    assert_eq!(x.len(), out.len(), "one result per code");
    // SAFETY: VBMI was just detected, and the token proves the rest.
    unsafe { lookup_vbmi(table, x, out) };
    true
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn lookup_vbmi(table: &[u8; 256], x: &[u8], out: &mut [u8]) {
    // SAFETY: the four loads cover the 256 bytes of the table.
    let quarters: [__m512i; 4] =
        std::array::from_fn(|i| unsafe { _mm512_loadu_si512(table.as_ptr().add(64 * i).cast()) });
    let map = |codes: __m512i| -> __m512i {
        let low = _mm512_permutex2var_epi8(quarters[0], codes, quarters[1]);
        let high = _mm512_permutex2var_epi8(quarters[2], codes, quarters[3]);
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), low, high)
    };
    let ((x, x_rest), (out, out_rest)) = (x.as_chunks::<64>(), out.as_chunks_mut::<64>());
    for (x, out) in x.iter().zip(out) {
        // SAFETY: both are 64 bytes long.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), map(_mm512_loadu_si512(x.as_ptr().cast()))) };
    }
    let rest: __mmask64 = (1 << x_rest.len()) - 1;
    // SAFETY: the mask holds the elements of the rests, which are equally long; no others are touched.
    unsafe {
        let codes = _mm512_maskz_loadu_epi8(rest, x_rest.as_ptr().cast());
        _mm512_mask_storeu_epi8(out_rest.as_mut_ptr().cast(), rest, map(codes));
    }
}
