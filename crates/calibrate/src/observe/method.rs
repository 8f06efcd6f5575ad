//! How a range follows from what was observed.

use std::fmt;
use std::str::FromStr;

use fewbit_core::quant::{Scheme, convert};
use serde::{Deserialize, Serialize};

use super::{Histogram, Observer};
use crate::error::{CalibrateError, CalibrateErrorKind, Result};

/// The rule that chooses a range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Method {
    /// Everything that was seen.
    MinMax,
    /// The exponential moving average (factor 0.99 for the past) of each sample's extremes.
    MovingAverage,
    /// All but the given percentage of the outermost values, half on each side.
    Percentile(f32),
    /// The range with the smallest mean squared error of quantized values.
    Mse,
    /// The range whose quantized distribution has the least Kullback-Leibler divergence from the observed one
    /// (the way of TensorRT's entropy calibration, Migacz 2017).
    Entropy,
}

impl Method {
    /// The range `(min, max)` of `observer` under this rule for values stored by `scheme`.
    ///
    /// # Errors
    /// When `scheme` cannot store quantized values.
    pub fn range(self, observer: &Observer, scheme: Scheme) -> Result<(f32, f32)> {
        let (min, max) = observer.extremes();
        Ok(match self {
            Method::MinMax => (min, max),
            Method::MovingAverage => observer.moving_average(),
            Method::Percentile(percent) => percentile(observer.histogram(), percent, (min, max)),
            Method::Mse => least_squares(observer.histogram(), scheme, (min, max))?,
            Method::Entropy => least_divergence(observer.histogram(), (min, max)),
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::MinMax => f.write_str("min-max"),
            Method::MovingAverage => f.write_str("moving-average"),
            Method::Percentile(percent) => write!(f, "percentile={percent}"),
            Method::Mse => f.write_str("mse"),
            Method::Entropy => f.write_str("entropy"),
        }
    }
}

impl FromStr for Method {
    type Err = CalibrateError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "min-max" => return Ok(Method::MinMax),
            "moving-average" => return Ok(Method::MovingAverage),
            "percentile" => return Ok(Method::Percentile(99.99)),
            "mse" => return Ok(Method::Mse),
            "entropy" => return Ok(Method::Entropy),
            _ => {}
        }
        text.strip_prefix("percentile=")
            .and_then(|percent| percent.parse().ok())
            .filter(|percent| (50.0..=100.0).contains(percent))
            .map(Method::Percentile)
            .ok_or_else(|| {
                CalibrateError::new(
                    CalibrateErrorKind::Preprocess,
                    format!(
                        "expected a range method (min-max, moving-average, percentile=99.99, mse or entropy), \
                         found `{text}`"
                    ),
                )
            })
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.to_string()
    }
}

impl TryFrom<String> for Method {
    type Error = CalibrateError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// The range that leaves `100 - percent` percent of the values outside, half on each side.
fn percentile(histogram: &Histogram, percent: f32, (min, max): (f32, f32)) -> (f32, f32) {
    let allowed = histogram.total() as f64 * f64::from(100.0 - percent) / 200.0;
    let half = histogram.bin_width() / 2.0;
    let edge = |bins: &mut dyn Iterator<Item = (f32, u64)>| {
        let mut seen = 0u64;
        for (centre, count) in bins {
            seen += count;
            if seen as f64 > allowed {
                return Some(centre);
            }
        }
        None
    };
    let low = edge(&mut histogram.occupied()).map_or(min, |centre| (centre - half).max(min));
    let high = edge(&mut histogram.occupied().rev()).map_or(max, |centre| (centre + half).min(max));
    (low.min(high), high.max(low))
}

/// The sum of squared errors of the histogram's values quantized over `[min, max]`.
fn squared_error(bins: &[(f32, f64)], scheme: Scheme, min: f32, max: f32) -> Result<f64> {
    let (scale, zero_point) = scheme.parameters(min, max)?;
    let (low, high) = scheme.code_range()?;
    let range = convert::CodeRange { min: low, max: high };
    Ok(bins
        .iter()
        .map(|&(x, count)| {
            let code = convert::quantize(x, scale, zero_point, range);
            let error = f64::from(convert::dequantize(code, scale, zero_point) - x);
            error * error * count
        })
        .sum())
}

/// The range with the least squared error: each side shrunk in turn over a grid that is refined once.
fn least_squares(histogram: &Histogram, scheme: Scheme, (min, max): (f32, f32)) -> Result<(f32, f32)> {
    let bins: Vec<(f32, f64)> = histogram.occupied().map(|(centre, count)| (centre, count as f64)).collect();
    let (mut low, mut high) = (min, max);
    let mut best = squared_error(&bins, scheme, low, high)?;
    for (steps, reach) in [(40, 0.8f32), (20, 0.06)] {
        for _ in 0..2 {
            for side in [true, false] {
                let bound = if side { high } else { low };
                if bound == 0.0 {
                    continue;
                }
                let widest = if side { max } else { min };
                for step in 0..=steps {
                    let factor = 1.0 + reach * (0.25 - step as f32 / steps as f32);
                    let bound = bound * factor;
                    let bound = if widest > 0.0 { bound.min(widest) } else { bound.max(widest) };
                    let (a, b) = if side { (low, bound) } else { (bound, high) };
                    if a >= b {
                        continue;
                    }
                    let error = squared_error(&bins, scheme, a, b)?;
                    if error < best {
                        best = error;
                        (low, high) = (a, b);
                    }
                }
            }
        }
    }
    Ok((low, high))
}

/// The symmetric clip with the least divergence, applied to both extremes.
fn least_divergence(histogram: &Histogram, (min, max): (f32, f32)) -> (f32, f32) {
    const BINS: usize = 2048;
    const LEVELS: usize = 128;
    let largest = min.abs().max(max.abs());
    if largest == 0.0 || histogram.total() == 0 {
        return (min, max);
    }
    let mut counts = vec![0f64; BINS];
    for (centre, count) in histogram.occupied() {
        let bin = (centre.abs() / largest * BINS as f32) as usize;
        counts[bin.min(BINS - 1)] += count as f64;
    }
    // Zeros are exact at every scale: the spike that a Relu leaves there says nothing about where to clip, and spread
    // over its level it would drown the rest.
    counts[0] = counts[1];
    let total: f64 = counts.iter().sum();
    if total == 0.0 {
        return (min, max);
    }
    let mut best = (f64::INFINITY, BINS);
    let mut kept = counts[..LEVELS].iter().sum::<f64>();
    for end in LEVELS..=BINS {
        if end > LEVELS {
            kept += counts[end - 1];
        }
        if !(end - LEVELS).is_multiple_of(16) && end != BINS {
            continue;
        }
        // What is cut off counts as the last bin of the reference, but not of the candidate.
        let tail = total - kept;
        let mut divergence = 0.0;
        for level in 0..LEVELS {
            let (from, to) = (level * end / LEVELS, (level + 1) * end / LEVELS);
            let group = &counts[from..to];
            let occupied = group.iter().filter(|&&count| count > 0.0).count();
            if occupied == 0 {
                continue;
            }
            let mean = group.iter().sum::<f64>() / occupied as f64;
            for (at, &count) in (from..to).zip(group) {
                let reference = if at == end - 1 { count + tail } else { count };
                if count > 0.0 {
                    let (p, q) = (reference / total, mean / kept);
                    divergence += p * (p / q).ln();
                }
            }
        }
        if counts[end - 1] == 0.0 && tail > 0.0 {
            // The reference has mass in a bin where the candidate has none.
            divergence += tail / total * 20.0;
        }
        if divergence < best.0 {
            best = (divergence, end);
        }
    }
    let clip = best.1 as f32 / BINS as f32 * largest;
    (min.max(-clip), max.min(clip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(values: &[f32]) -> Observer {
        let mut observer = Observer::default();
        observer.add(values);
        observer
    }

    /// Normal-looking values by the sum of four uniform ones, with `outliers` far away.
    fn bell(outliers: &[f32]) -> Vec<f32> {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let mut values: Vec<f32> =
            (0..50_000).map(|_| uniform() + uniform() + uniform() + uniform()).collect();
        values.extend(outliers);
        values
    }

    #[test]
    fn min_max_keeps_outliers_and_the_others_do_not() {
        let observer = observed(&bell(&[60.0]));
        let range = |method: Method| method.range(&observer, Scheme::ACTIVATION_U8).unwrap();
        assert_eq!(range(Method::MinMax).1, 60.0);
        assert!(range(Method::Percentile(99.9)).1 < 3.0);
        assert!(range(Method::Entropy).1 < 10.0);
        let (_, high) = range(Method::Mse);
        assert!(high > 1.9 && high < 60.0, "{high}");
    }

    #[test]
    fn least_squares_is_never_worse_than_min_max() {
        for outliers in [&[][..], &[5.0], &[-9.0, 9.0], &[100.0]] {
            let observer = observed(&bell(outliers));
            let bins: Vec<(f32, f64)> =
                observer.histogram().occupied().map(|(centre, count)| (centre, count as f64)).collect();
            let error =
                |(min, max): (f32, f32)| squared_error(&bins, Scheme::ACTIVATION_U8, min, max).unwrap();
            let best = Method::Mse.range(&observer, Scheme::ACTIVATION_U8).unwrap();
            assert!(error(best) <= error(observer.extremes()));
        }
    }

    #[test]
    fn a_constant_has_its_own_range() {
        let observer = observed(&[2.0; 100]);
        for method in [Method::MinMax, Method::Percentile(99.0), Method::Mse, Method::Entropy] {
            let (min, max) = method.range(&observer, Scheme::ACTIVATION_U8).unwrap();
            assert!(min <= max && max <= 2.0 && max > 1.5, "{method}: {min} to {max}");
        }
    }

    #[test]
    fn names_round_trip() {
        for text in ["min-max", "moving-average", "percentile=99.9", "mse", "entropy"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        assert!("percentile=7".parse::<Method>().is_err());
    }
}
