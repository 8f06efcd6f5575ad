//! A histogram of fixed size whose range doubles when a value falls outside.

use serde::{Deserialize, Serialize};

/// Bins on each side of zero.
const HALF: usize = 2048;
/// Bins in all.
const BINS: usize = 2 * HALF;

/// Counts of values in `BINS` equal bins over `[-reach, reach)`.
///
/// When a value lies outside, neighbouring bins merge and the reach doubles, so that nothing is ever lost and memory
/// stays fixed. Bin edges stay aligned with zero. Two histograms whose reaches differ by powers of two merge exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Histogram {
    reach: f32,
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { reach: 0.0, counts: Vec::new(), total: 0 }
    }
}

impl Histogram {
    /// Counts finite `values`; others are skipped.
    pub fn add(&mut self, values: &[f32]) {
        let largest = values.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0f32, f32::max);
        self.cover(largest);
        if self.counts.is_empty() {
            return;
        }
        let scale = HALF as f32 / self.reach;
        for &x in values {
            if x.is_finite() {
                // The cast saturates at 0; the largest value of the reach belongs to the last bin.
                let bin = ((x * scale + HALF as f32) as usize).min(BINS - 1);
                self.counts[bin] += 1;
                self.total += 1;
            }
        }
    }

    /// Doubles the reach until `largest` lies within.
    fn cover(&mut self, largest: f32) {
        if self.counts.is_empty() {
            self.counts = vec![0; BINS];
            // A power of two, so that every histogram's bins are aligned with every other's.
            self.reach = f32::from_bits(largest.clamp(1e-30, 1e38).to_bits() & 0x7f80_0000) * 2.0;
            return;
        }
        while largest >= self.reach && self.reach < f32::MAX / 4.0 {
            let mut merged = vec![0u64; BINS];
            for (bin, &count) in self.counts.iter().enumerate() {
                merged[HALF / 2 + bin / 2] += count;
            }
            self.counts = merged;
            self.reach *= 2.0;
        }
    }

    /// The number of values counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The width of one bin.
    pub fn bin_width(&self) -> f32 {
        self.reach / HALF as f32
    }

    /// Centres and counts of the bins that hold something, ascending.
    pub fn occupied(&self) -> impl DoubleEndedIterator<Item = (f32, u64)> {
        let width = self.bin_width();
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(move |(bin, &count)| ((bin as f32 - HALF as f32 + 0.5) * width, count))
    }

    /// The share of values outside `[min, max]`, to within a bin.
    pub fn share_outside(&self, min: f32, max: f32) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        let half = self.bin_width() / 2.0;
        let outside: u64 = self
            .occupied()
            .filter(|&(centre, _)| centre + half < min || centre - half > max)
            .map(|(_, count)| count)
            .sum();
        outside as f64 / self.total as f64
    }
}

/// The form on disk: counts from the first bin that holds something to the last.
#[derive(Serialize, Deserialize)]
struct Stored {
    reach: f32,
    first: usize,
    counts: Vec<u64>,
}

impl From<Histogram> for Stored {
    fn from(histogram: Histogram) -> Self {
        let first = histogram.counts.iter().position(|&count| count > 0).unwrap_or(0);
        let last = histogram.counts.iter().rposition(|&count| count > 0).map_or(first, |last| last + 1);
        Stored {
            reach: histogram.reach,
            first,
            counts: histogram.counts.get(first..last).unwrap_or_default().to_vec(),
        }
    }
}

impl TryFrom<Stored> for Histogram {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        if stored.counts.is_empty() {
            return Ok(Self::default());
        }
        let fits = stored.first.checked_add(stored.counts.len()).is_some_and(|end| end <= BINS);
        let total = stored.counts.iter().try_fold(0u64, |sum, &count| sum.checked_add(count));
        match total {
            Some(total) if fits && stored.reach.is_finite() && stored.reach > 0.0 => {
                let mut counts = vec![0; BINS];
                counts[stored.first..stored.first + stored.counts.len()].copy_from_slice(&stored.counts);
                Ok(Self { reach: stored.reach, counts, total })
            }
            _ => Err(format!("expected a histogram of at most {BINS} bins with a positive reach")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubling_loses_nothing() {
        let mut histogram = Histogram::default();
        histogram.add(&[0.1, -0.1, 0.05]);
        histogram.add(&[1000.0, -3.0]);
        assert_eq!(histogram.total(), 5);
        let sum: u64 = histogram.occupied().map(|(_, count)| count).sum();
        assert_eq!(sum, 5);
        assert!(histogram.occupied().any(|(centre, _)| (centre - 1000.0).abs() <= histogram.bin_width()));
    }

    #[test]
    fn values_that_are_not_finite_are_skipped() {
        let mut histogram = Histogram::default();
        histogram.add(&[f32::NAN, f32::INFINITY, 1.0, f32::NEG_INFINITY]);
        assert_eq!(histogram.total(), 1);
        histogram.add(&[f32::MAX]);
        assert_eq!(histogram.total(), 2);
    }

    #[test]
    fn hostile_documents_are_refused() {
        for text in [
            r#"{"reach": 1.0, "first": 4095, "counts": [1, 2]}"#,
            r#"{"reach": -1.0, "first": 0, "counts": [1]}"#,
            r#"{"reach": 1.0, "first": 18446744073709551615, "counts": [1]}"#,
            r#"{"reach": 1.0, "first": 0, "counts": [18446744073709551615, 1]}"#,
        ] {
            assert!(serde_json::from_str::<Histogram>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_order_of_batches_does_not_matter(values in prop::collection::vec(-1e3f32..1e3, 1..200), cut in 0usize..200) {
            let cut = cut.min(values.len());
            let (mut a, mut b) = (Histogram::default(), Histogram::default());
            a.add(&values[..cut]);
            a.add(&values[cut..]);
            b.add(&values[cut..]);
            b.add(&values[..cut]);
            if cut > 0 && cut < values.len() {
                let largest = |h: &Histogram| h.reach;
                let reach = largest(&a).max(largest(&b));
                a.cover(reach / 2.0);
                b.cover(reach / 2.0);
            }
            prop_assert_eq!(&a.total, &b.total);
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), a);
        }

        #[test]
        fn share_outside_counts_within_a_bin(values in prop::collection::vec(-10f32..10.0, 1..300), max in 0f32..10.0) {
            let mut histogram = Histogram::default();
            histogram.add(&values);
            let width = histogram.bin_width();
            let exact = |bound: f32| values.iter().filter(|&&x| x > bound).count() as f64 / values.len() as f64;
            let share = histogram.share_outside(-100.0, max);
            prop_assert!(share <= exact(max - width) && share >= exact(max + width));
        }
    }
}
