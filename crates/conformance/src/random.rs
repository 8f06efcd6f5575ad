//! Seeded randomness: a case's id decides its data, on every machine and in every version.

use fewbit_core::ir::{DType, Tensor};

use crate::error::Result;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), seeded by a text.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// The generator of a case: its seed is the FNV-1a hash of the id.
    pub(crate) fn of(id: &str) -> Self {
        let state = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self { state }
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An integer from `low` to `high`, both included; `low` where the range is empty.
    pub(crate) fn integer(&mut self, low: i64, high: i64) -> i64 {
        let span = (i128::from(high) - i128::from(low) + 1).max(1) as u128;
        (i128::from(low) + ((u128::from(self.bits()) * span) >> 64) as i128) as i64
    }

    /// A float from `low` to below `high`.
    pub(crate) fn float(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u32 << 24) as f32;
        low + (high - low) * unit
    }

    /// Integers of a type from `low` to `high`.
    pub(crate) fn integers(
        &mut self,
        dtype: DType,
        extents: &[usize],
        (low, high): (i64, i64),
    ) -> Result<Tensor> {
        let values: Vec<i64> = (0..extents.iter().product()).map(|_| self.integer(low, high)).collect();
        Ok(Tensor::from_i64(dtype, extents, &values)?)
    }

    /// All codes of a type, evenly.
    pub(crate) fn codes(&mut self, dtype: DType, extents: &[usize]) -> Result<Tensor> {
        self.integers(dtype, extents, dtype.integer_range().unwrap_or((0, 1)))
    }

    /// Floats from `low` to below `high`.
    pub(crate) fn floats(&mut self, extents: &[usize], low: f32, high: f32) -> Result<Tensor> {
        let values: Vec<f32> = (0..extents.iter().product()).map(|_| self.float(low, high)).collect();
        Ok(Tensor::from_slice(extents, &values)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_always_gives_the_same_numbers() {
        let mut random = Random::of("op_int/add/same/u8-affine/seed1");
        let mut again = random.clone();
        assert_eq!((random.bits(), random.integer(-3, 3)), (again.bits(), again.integer(-3, 3)));
        assert_ne!(Random::of("a").bits(), Random::of("b").bits());
        // FNV-1a of the empty text is its offset basis, and SplitMix64 is checked against the same in fewbit-testing.
        assert_eq!(Random::of("").state, 0xcbf2_9ce4_8422_2325);
    }

    #[test]
    fn numbers_stay_in_range() {
        let mut random = Random::of("range");
        for _ in 0..1000 {
            assert!((-5..=5).contains(&random.integer(-5, 5)));
            assert!((-1.0..=1.0).contains(&random.float(-1.0, 1.0)));
        }
    }
}
