//! Seeded randomness: the same on every machine and in every version.

use fewbit_core::ir::{DType, Tensor};

/// A generator of numbers by SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// 2014): a counter by the golden ratio, mixed. Good enough for tests and simple enough to never change.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The generator of that seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to below `end`, evenly but for a bias of at most `end / 2^64`.
    ///
    /// # Panics
    /// When `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        assert!(end > 0, "there is no number below 0");
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// An integer from `low` to `high`, both included.
    ///
    /// # Panics
    /// When `low` is above `high`.
    pub fn integer(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high, "expected a range, found {low} to {high}");
        let span = (i128::from(high) - i128::from(low) + 1) as u128;
        (i128::from(low) + ((u128::from(self.bits()) * span) >> 64) as i128) as i64
    }

    /// A float from `low` to below `high`.
    pub fn float(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u32 << 24) as f32;
        (low + (high - low) * unit).min(high.next_down()).max(low)
    }

    /// A float of the normal distribution with mean 0 and deviation 1.
    pub fn normal(&mut self) -> f32 {
        // Box and Muller; the first number is not zero.
        let u = ((self.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let v = (self.bits() >> 11) as f64 / (1u64 << 53) as f64;
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there is none.
    pub fn choose<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    /// Floats from -1 to 1.
    ///
    /// # Panics
    /// When the size overflows.
    pub fn floats(&mut self, extents: &[usize]) -> Tensor {
        let values: Vec<f32> = (0..extents.iter().product()).map(|_| self.float(-1.0, 1.0)).collect();
        Tensor::from_slice(extents, &values).expect("as many elements as the extents hold")
    }

    /// Normal floats of deviation `deviation`.
    ///
    /// # Panics
    /// When the size overflows.
    pub fn normals(&mut self, extents: &[usize], deviation: f32) -> Tensor {
        let values: Vec<f32> = (0..extents.iter().product()).map(|_| self.normal() * deviation).collect();
        Tensor::from_slice(extents, &values).expect("as many elements as the extents hold")
    }

    /// Elements of any type: floats from -1 to 1, integers from all of their range (64-bit ones from 32 bits).
    ///
    /// # Panics
    /// When the size overflows.
    pub fn tensor(&mut self, dtype: DType, extents: &[usize]) -> Tensor {
        let count: usize = extents.iter().product();
        if dtype.is_float() {
            let values: Vec<f64> = (0..count).map(|_| f64::from(self.float(-1.0, 1.0))).collect();
            return Tensor::from_f64(dtype, extents, &values).expect("as many elements as the extents hold");
        }
        let (low, high) = match dtype {
            DType::Bool => (0, 1),
            DType::U64 => (0, i64::from(u32::MAX)),
            _ => dtype.integer_range().unwrap_or((i64::from(i32::MIN), i64::from(i32::MAX))),
        };
        let values: Vec<i64> = (0..count).map(|_| self.integer(low, high)).collect();
        Tensor::from_i64(dtype, extents, &values).expect("as many elements as the extents hold")
    }

    /// Codes from `low` to `high`, with both ends among the first two elements where there are two.
    ///
    /// # Panics
    /// When the size overflows.
    pub fn codes(&mut self, dtype: DType, extents: &[usize], low: i64, high: i64) -> Tensor {
        let count = extents.iter().product();
        let mut values: Vec<i64> = (0..count).map(|_| self.integer(low, high)).collect();
        if let [first, second, ..] = values.as_mut_slice() {
            (*first, *second) = (low, high);
        }
        Tensor::from_i64(dtype, extents, &values).expect("as many elements as the extents hold")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64() {
        // The first numbers of seed 1234567 that the reference code in C gives.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn numbers_stay_in_range() {
        let mut random = Random::new(1);
        for _ in 0..1000 {
            assert!(random.below(3) < 3);
            assert!((-5..=5).contains(&random.integer(-5, 5)));
            assert!((-1.0..1.0).contains(&random.float(-1.0, 1.0)));
            assert!(random.normal().is_finite());
        }
        assert_eq!(random.integer(i64::MIN, i64::MIN), i64::MIN);
        let codes = random.codes(DType::I4, &[5], -7, 7).to_i64_vec();
        assert_eq!(codes[..2], [-7, 7]);
    }
}
