//! Weights of four bits: two in a byte until their panel is needed.
//!
//! A panel of packed weights is expanded to the bytes that inner loops read right before a block of pixels walks over
//! it, so its cost is shared by the pixels of the block, and arithmetic and results are those of 8-bit weights.

/// Codes that are packed together: byte `i` of the chunk holds code `i` in its low and code `i + CHUNK / 2` in its high
/// half, so that neighbours stay neighbours.
const CHUNK: usize = 128;

/// How inner loops want a weight.
pub(super) trait Code: Copy + bytemuck::Pod {
    fn of_nibble(nibble: u8) -> Self;
    fn to_nibble(self) -> u8;
}

impl Code for i8 {
    #[inline(always)]
    fn of_nibble(nibble: u8) -> Self {
        // Flipping the sign bit and taking it away again extends it.
        ((nibble ^ 8) as i8).wrapping_sub(8)
    }

    fn to_nibble(self) -> u8 {
        self as u8 & 15
    }
}

impl Code for i16 {
    #[inline(always)]
    fn of_nibble(nibble: u8) -> Self {
        i16::from(nibble ^ 8) - 8
    }

    fn to_nibble(self) -> u8 {
        self as u8 & 15
    }
}

/// Packs codes from -8 to 7, an even number of them, into half as many bytes.
pub(super) fn pack<T: Code>(codes: &[T], packed: &mut [u8]) {
    for (codes, packed) in codes.chunks(CHUNK).zip(packed.chunks_mut(CHUNK / 2)) {
        let (low, high) = codes.split_at(codes.len() / 2);
        for ((byte, low), high) in packed.iter_mut().zip(low).zip(high) {
            *byte = low.to_nibble() | high.to_nibble() << 4;
        }
    }
}

/// Expands what [`pack`] packed. Inlined into functions with the CPU features of their tier, whose compiler vectorises
/// it.
#[inline(always)]
pub(super) fn expand<T: Code>(packed: &[u8], codes: &mut [T]) {
    let (whole, rest) = packed.as_chunks::<{ CHUNK / 2 }>();
    let (chunks, tail) = codes.as_chunks_mut::<CHUNK>();
    for (packed, codes) in whole.iter().zip(chunks) {
        for (at, byte) in packed.iter().enumerate() {
            codes[at] = T::of_nibble(byte & 15);
        }
        for (at, byte) in packed.iter().enumerate() {
            codes[at + CHUNK / 2] = T::of_nibble(byte >> 4);
        }
    }
    let (low, high) = tail.split_at_mut(tail.len() / 2);
    for ((byte, low), high) in rest.iter().zip(low).zip(high) {
        *low = T::of_nibble(byte & 15);
        *high = T::of_nibble(byte >> 4);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_expanded(codes in prop::collection::vec(-8i8..=7, 0..600)) {
            let even = &codes[..codes.len() / 2 * 2];
            let mut packed = vec![0; even.len() / 2];
            pack(even, &mut packed);
            let mut bytes = vec![0i8; even.len()];
            expand(&packed, &mut bytes);
            prop_assert_eq!(&bytes[..], even);
            let wide: Vec<i16> = even.iter().map(|&code| i16::from(code)).collect();
            let mut packed_wide = vec![0; even.len() / 2];
            pack(&wide, &mut packed_wide);
            prop_assert_eq!(&packed_wide, &packed);
            let mut expanded = vec![0i16; even.len()];
            expand(&packed, &mut expanded);
            prop_assert_eq!(expanded, wide);
        }
    }
}
