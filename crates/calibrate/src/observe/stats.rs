//! The observer of one value, and the document of all of them.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::Histogram;

/// Weight of the past in the moving average.
const MOMENTUM: f32 = 0.99;

/// What was seen of one value, in constant memory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observer {
    min: f32,
    max: f32,
    moving_min: f32,
    moving_max: f32,
    samples: u64,
    /// The largest magnitude after three quarters of the samples (see [`Observer::mark`]).
    marked: Option<f32>,
    not_finite: u64,
    /// Sum of the values of each channel (axis 1) and the number of values in each; empty below two axes.
    channel_sums: Vec<f64>,
    per_channel: u64,
    histogram: Histogram,
    /// Values of samples that were held out: they do not count towards the range.
    held_out: Histogram,
}

impl Observer {
    /// Takes the elements of one sample with its extents: ranges, and the mean of each channel (axis 1).
    pub fn add_tensor(&mut self, values: &[f32], extents: &[usize]) {
        self.add(values);
        let [batch, channels, inner @ ..] = extents else { return };
        let inner: usize = inner.iter().product();
        if values.is_empty() || values.len() != batch * channels * inner {
            return;
        }
        self.channel_sums.resize(*channels, 0.0);
        for (plane, values) in values.chunks_exact(inner).enumerate() {
            self.channel_sums[plane % channels] += values.iter().map(|&x| f64::from(x)).sum::<f64>();
        }
        self.per_channel += (batch * inner) as u64;
    }

    /// The mean of each channel (axis 1); `None` where values have fewer than two axes.
    pub fn channel_means(&self) -> Option<Vec<f32>> {
        (self.per_channel > 0)
            .then(|| self.channel_sums.iter().map(|sum| (sum / self.per_channel as f64) as f32).collect())
    }

    /// Takes the elements of one sample.
    pub fn add(&mut self, values: &[f32]) {
        let mut low = f32::INFINITY;
        let mut high = f32::NEG_INFINITY;
        let mut finite = 0usize;
        for &x in values {
            if x.is_finite() {
                low = low.min(x);
                high = high.max(x);
                finite += 1;
            }
        }
        self.not_finite += (values.len() - finite) as u64;
        if finite == 0 {
            return;
        }
        if self.samples == 0 {
            (self.min, self.max) = (low, high);
            (self.moving_min, self.moving_max) = (low, high);
        } else {
            self.min = self.min.min(low);
            self.max = self.max.max(high);
            self.moving_min = MOMENTUM * self.moving_min + (1.0 - MOMENTUM) * low;
            self.moving_max = MOMENTUM * self.moving_max + (1.0 - MOMENTUM) * high;
        }
        self.samples += 1;
        self.histogram.add(values);
    }

    /// Takes the elements of a sample that is held out to judge the range.
    pub fn add_held_out(&mut self, values: &[f32]) {
        self.held_out.add(values);
    }

    /// Remembers how far the range reaches now; later growth is judged against it.
    pub fn mark(&mut self) {
        self.marked = Some(self.min.abs().max(self.max.abs()));
    }

    /// Smallest and largest value, 0 and 0 where none was seen.
    pub fn extremes(&self) -> (f32, f32) {
        (self.min, self.max)
    }

    /// The moving average of each sample's extremes.
    pub fn moving_average(&self) -> (f32, f32) {
        (self.moving_min, self.moving_max)
    }

    /// The distribution.
    pub fn histogram(&self) -> &Histogram {
        &self.histogram
    }

    /// The distribution of samples that were held out.
    pub fn held_out(&self) -> &Histogram {
        &self.held_out
    }

    /// The number of NaN and infinite values.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// By which factor the range grew since [`Observer::mark`]; 1 where it did not.
    pub fn growth(&self) -> f32 {
        match self.marked {
            Some(marked) if marked > 0.0 => self.min.abs().max(self.max.abs()) / marked,
            _ => 1.0,
        }
    }
}

/// What calibration saw of a model: one observer per value, by the value's name in the optimised graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationStats {
    /// Version of this document's form.
    pub schema: u32,
    /// Hash of the graph that ran.
    pub model: String,
    /// Samples that count towards ranges.
    pub samples: usize,
    /// Samples held out.
    pub held_out: usize,
    /// The observers.
    pub values: IndexMap<String, Observer>,
}

impl CalibrationStats {
    /// The present version of the document's form.
    pub const SCHEMA: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_judged_against_the_mark() {
        let mut observer = Observer::default();
        observer.add(&[1.0, -2.0]);
        observer.mark();
        observer.add(&[1.5]);
        assert_eq!(observer.growth(), 1.0);
        observer.add(&[-3.0, f32::NAN]);
        assert_eq!(observer.growth(), 1.5);
        assert_eq!(observer.not_finite(), 1);
        assert_eq!(observer.extremes(), (-3.0, 1.5));
    }

    #[test]
    fn means_are_of_each_channel_over_all_samples() {
        let mut observer = Observer::default();
        observer.add_tensor(&[1.0, 3.0, 10.0, 20.0], &[1, 2, 1, 2]);
        observer.add_tensor(&[5.0, 7.0, 30.0, 60.0], &[1, 2, 1, 2]);
        assert_eq!(observer.channel_means(), Some(vec![4.0, 30.0]));
        assert_eq!(observer.extremes(), (1.0, 60.0));
        let mut flat = Observer::default();
        flat.add_tensor(&[1.0, 2.0], &[2]);
        assert_eq!(flat.channel_means(), None);
    }

    #[test]
    fn documents_round_trip() {
        let mut observer = Observer::default();
        observer.add(&[1.0, 2.0, 3.0]);
        observer.add_held_out(&[9.0]);
        let stats = CalibrationStats {
            schema: CalibrationStats::SCHEMA,
            model: "m".to_owned(),
            samples: 1,
            held_out: 1,
            values: IndexMap::from([("x".to_owned(), observer)]),
        };
        let json = serde_json::to_string(&stats).unwrap();
        assert_eq!(serde_json::from_str::<CalibrationStats>(&json).unwrap(), stats);
    }
}
