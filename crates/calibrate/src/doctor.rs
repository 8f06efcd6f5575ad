//! The calibration doctor: says when the data cannot be what the model was trained on, or is too little.
//!
//! It looks at the samples ([`Examiner`]), at the observers after the run, and at the statistics that batch
//! normalisation keeps of the training data. It warns; it never changes anything.

use std::collections::BTreeMap;

use fewbit_core::quant::Scheme;
use serde::{Deserialize, Serialize};

use crate::dataset::Sample;
use crate::observe::{CalibrationStats, Method};

/// Below this correlation of neighbouring pixels a picture looks like noise (photographs have above 0.8).
const NOISE_CORRELATION: f64 = 0.2;
/// From this share of the samples on a fault is reported.
const FAULTY_SHARE: f64 = 0.1;
/// Growth of a range in the last quarter of the samples above which there are too few.
const GROWTH: f32 = 1.05;
/// Share of values whose range may still grow.
const GROWING_SHARE: f64 = 0.25;
/// Share of held-out values outside the chosen range above which it saturates.
const SATURATION: f64 = 0.01;
/// Fewest samples for which growth and saturation say something.
const FEWEST: usize = 16;

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// Pictures that look like noise.
    Noise,
    /// Samples of one value.
    Constant,
    /// Samples that repeat others.
    Duplicate,
    /// Data that is not normalised as the training data was.
    Normalisation,
    /// Too few samples to judge.
    Few,
    /// Ranges that still grew towards the end.
    Growing,
    /// Held-out samples outside the chosen ranges.
    Saturated,
}

fewbit_core::kinds_with_codes! { FindingKind {
    Noise = "DOCTOR-NOISE", "pictures that look like noise",
        "Neighbouring pixels of a photograph are alike; in these pictures they are unrelated. Ranges seen over noise \
         are not those of real pictures.",
        "Calibrate with real pictures; if they are real, check layout= in --preprocess.";
    Constant = "DOCTOR-CONSTANT", "samples of one value",
        "Every element of the sample is the same, so that it says next to nothing about ranges.",
        "Remove blank samples.";
    Duplicate = "DOCTOR-DUPLICATE", "samples that repeat others",
        "The same sample was seen more than once; the ranges rest on fewer samples than it seems.",
        "Calibrate with different samples.";
    Normalisation = "DOCTOR-NORMALISATION", "data that is not normalised for this model",
        "The first batch normalisation remembers mean and variance of the training data, and what reaches it now is \
         far from them.",
        "Give the mean and std that the model was trained with in --preprocess.";
    Few = "DOCTOR-FEW", "too few samples",
        "So few samples do not show whether the ranges hold for others.",
        "Calibrate with 100 to 500 samples.";
    Growing = "DOCTOR-GROWING", "ranges that still grow",
        "A share of the ranges still grew in the last quarter of the samples, so that more samples would widen them \
         further.",
        "Calibrate with more samples, or choose ranges by mse or percentile.";
    Saturated = "DOCTOR-SATURATED", "held-out samples saturate",
        "A part of the samples is held out and held against the chosen ranges; a value leaves its range more often \
         than it should.",
        "Calibrate with more samples, or choose a wider method with --ranges, such as min-max.";
} }

/// A warning about the calibration data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code, such as `DOCTOR-NOISE`.
    pub code: String,
    /// What was found, with figures.
    pub message: String,
    /// What to do.
    pub advice: String,
}

impl Finding {
    fn new(kind: FindingKind, message: String, advice: &str) -> Self {
        Self { code: kind.entry().code.to_owned(), message, advice: advice.to_owned() }
    }
}

/// Looks at each sample as it goes by, in constant memory but for one hash per sample.
#[derive(Debug, Default)]
pub struct Examiner {
    pictures: bool,
    samples: usize,
    noisy: usize,
    constant: usize,
    seen: BTreeMap<u64, usize>,
    low: f32,
    high: f32,
    /// Channel statistics of the model's first batch normalisation and of what it received.
    normalisation: Option<Normalisation>,
}

/// How far the input of the first batch normalisation is from the training data's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Median over channels of `|mean - running mean| / sqrt(running variance)`.
    pub shift: f32,
    /// Median over channels of `variance / running variance`.
    pub spread: f32,
}

impl Examiner {
    /// An examiner; `pictures` tells whether samples are pictures, so that looks at neighbouring pixels make sense.
    pub fn new(pictures: bool) -> Self {
        Self { pictures, ..Self::default() }
    }

    /// Looks at one sample.
    pub fn add(&mut self, sample: &Sample) {
        self.samples += 1;
        let Some(input) = sample.inputs.first() else { return };
        *self.seen.entry(fingerprint(input.bytes())).or_default() += 1;
        let Ok(values) = input.as_slice::<f32>() else { return };
        let (low, high) = values
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
        self.low = self.low.min(low);
        self.high = self.high.max(high);
        if low == high {
            self.constant += 1;
        } else if self.pictures
            && let Some(correlation) = neighbour_correlation(values, input.extents())
        {
            self.noisy += usize::from(correlation < NOISE_CORRELATION);
        }
    }

    /// Notes what the first batch normalisation of the model received, against what it remembers of training.
    pub fn note_normalisation(&mut self, normalisation: Normalisation) {
        self.normalisation = Some(normalisation);
    }

    /// What the samples and the observers tell; `method` chooses the ranges that held-out samples are held against.
    pub fn findings(&self, stats: &CalibrationStats, method: Method) -> Vec<Finding> {
        let mut findings = Vec::new();
        let share = |part: usize| part as f64 / self.samples.max(1) as f64;
        let percent = |part: usize| format!("{:.0} %", 100.0 * share(part));
        if share(self.noisy) > FAULTY_SHARE {
            findings.push(Finding::new(
                FindingKind::Noise,
                format!(
                    "{} of the pictures look like noise: neighbouring pixels are unrelated",
                    percent(self.noisy)
                ),
                "calibrate with real pictures; check layout= if they are real",
            ));
        }
        if share(self.constant) > FAULTY_SHARE {
            findings.push(Finding::new(
                FindingKind::Constant,
                format!("{} of the samples hold one value only", percent(self.constant)),
                "remove blank samples",
            ));
        }
        let duplicates: usize = self.seen.values().map(|count| count - 1).sum();
        if share(duplicates) > FAULTY_SHARE {
            findings.push(Finding::new(
                FindingKind::Duplicate,
                format!("{} of the samples repeat another one", percent(duplicates)),
                "calibrate with different samples",
            ));
        }
        if let Some(found) = self.normalisation
            && (found.shift > 3.0 || !(0.2..5.0).contains(&found.spread))
        {
            findings.push(Finding::new(
                FindingKind::Normalisation,
                format!(
                    "the first batch normalisation receives data {:.1} standard deviations from its training mean \
                     with {:.2} times the variance (inputs range from {} to {})",
                    found.shift, found.spread, self.low, self.high
                ),
                "give the mean and std that the model was trained with in --preprocess",
            ));
        }
        if stats.samples < FEWEST {
            findings.push(Finding::new(
                FindingKind::Few,
                format!("{} samples are too few to judge the ranges", stats.samples),
                "calibrate with 100 to 500 samples",
            ));
            return findings;
        }
        let growing = stats.values.values().filter(|observer| observer.growth() > GROWTH).count();
        if growing as f64 > GROWING_SHARE * stats.values.len() as f64 {
            findings.push(Finding::new(
                FindingKind::Growing,
                format!(
                    "{growing} of {} ranges still grew by more than 5 % in the last quarter of the samples",
                    stats.values.len()
                ),
                "calibrate with more samples, or choose ranges by mse or percentile",
            ));
        }
        let saturated: Vec<(&str, f64)> = stats
            .values
            .iter()
            .filter_map(|(name, observer)| {
                let (min, max) = method.range(observer, Scheme::ACTIVATION_U8).ok()?;
                // What lies less than a step outside loses no more than rounding does.
                let step = (max - min) / 255.0;
                let share = observer.held_out().share_outside(min - step, max + step);
                (share > SATURATION).then_some((name.as_str(), share))
            })
            .collect();
        if let Some((name, worst)) = saturated.iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
            findings.push(Finding::new(
                FindingKind::Saturated,
                format!(
                    "{} of {} values saturate on held-out samples, `{name}` the most: {:.1} % of it lies outside its range",
                    saturated.len(),
                    stats.values.len(),
                    100.0 * worst
                ),
                "calibrate with more samples, or a wider range method",
            ));
        }
        findings
    }
}

/// A 64-bit fingerprint (FNV-1a over 8-byte words), good enough to find equal samples.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0xcbf2_9ce4_8422_2325, |hash: u64, chunk| {
        let mut word = [0u8; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
    })
}

/// The correlation of vertically neighbouring pixels; `None` for tensors that are no pictures.
fn neighbour_correlation(values: &[f32], extents: &[usize]) -> Option<f64> {
    let row = match *extents {
        [1, 1 | 3, height, width] if height > 2 => width,
        [1, height, width, channels @ (1 | 3)] if height > 2 => width * channels,
        _ => return None,
    };
    let pairs = values.iter().zip(values.get(row..)?);
    let n = (values.len() - row) as f64;
    let (mut sx, mut sy, mut sxx, mut syy, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (&x, &y) in pairs {
        let (x, y) = (f64::from(x), f64::from(y));
        sx += x;
        sy += y;
        sxx += x * x;
        syy += y * y;
        sxy += x * y;
    }
    let (vx, vy) = (sxx - sx * sx / n, syy - sy * sy / n);
    (vx > 0.0 && vy > 0.0).then(|| (sxy - sx * sy / n) / (vx * vy).sqrt())
}

#[cfg(test)]
mod tests {
    use fewbit_core::ir::Tensor;
    use indexmap::IndexMap;

    use super::*;
    use crate::observe::Observer;

    fn sample(values: impl Fn(usize, usize) -> f32) -> Sample {
        let data: Vec<f32> = (0..256).map(|at| values(at / 16, at % 16)).collect();
        Sample {
            inputs: vec![Tensor::from_slice(&[1, 1, 16, 16], &data).unwrap()],
            label: None,
            name: String::new(),
        }
    }

    fn random(seed: usize) -> impl Fn(usize, usize) -> f32 {
        move |y, x| {
            let mixed = ((seed * 1000 + y * 16 + x) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32
        }
    }

    fn stats(samples: usize, values: IndexMap<String, Observer>) -> CalibrationStats {
        CalibrationStats { schema: 1, model: String::new(), samples, held_out: 0, values }
    }

    fn codes(examiner: &Examiner, stats: &CalibrationStats) -> Vec<String> {
        examiner.findings(stats, Method::MinMax).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn healthy_pictures_give_no_finding() {
        let mut examiner = Examiner::new(true);
        for seed in 0..20 {
            examiner.add(&sample(move |y, x| (y * (seed + 1)) as f32 + x as f32));
        }
        assert_eq!(codes(&examiner, &stats(20, IndexMap::new())), Vec::<String>::new());
    }

    #[test]
    fn noise_constants_and_duplicates_are_told_apart() {
        let mut noise = Examiner::new(true);
        let mut constant = Examiner::new(true);
        let mut duplicate = Examiner::new(true);
        for seed in 0..20 {
            noise.add(&sample(random(seed)));
            constant.add(&sample(move |_, _| seed as f32));
            duplicate.add(&sample(|y, x| (y + x) as f32));
        }
        let none = stats(20, IndexMap::new());
        assert_eq!(codes(&noise, &none), ["DOCTOR-NOISE"]);
        assert_eq!(codes(&constant, &none), ["DOCTOR-CONSTANT"]);
        assert_eq!(codes(&duplicate, &none), ["DOCTOR-DUPLICATE"]);
    }

    #[test]
    fn data_that_was_not_normalised_is_found_by_the_training_statistics() {
        let mut examiner = Examiner::new(true);
        examiner.note_normalisation(Normalisation { shift: 0.3, spread: 1.2 });
        assert!(codes(&examiner, &stats(20, IndexMap::new())).is_empty());
        examiner.note_normalisation(Normalisation { shift: 40.0, spread: 16_000.0 });
        assert_eq!(codes(&examiner, &stats(20, IndexMap::new())), ["DOCTOR-NORMALISATION"]);
    }

    #[test]
    fn few_growing_and_saturating_samples_are_found() {
        let examiner = Examiner::new(false);
        assert_eq!(codes(&examiner, &stats(3, IndexMap::new())), ["DOCTOR-FEW"]);
        let mut observer = Observer::default();
        observer.add(&[1.0]);
        observer.mark();
        observer.add(&[2.0]);
        observer.add_held_out(&[1.0, 5.0]);
        let stats = stats(20, IndexMap::from([("x".to_owned(), observer)]));
        assert_eq!(codes(&examiner, &stats), ["DOCTOR-GROWING", "DOCTOR-SATURATED"]);
    }

    #[test]
    fn the_tables_of_this_crate_are_well_formed() {
        for entry in FindingKind::CODES.iter().chain(crate::error::CalibrateErrorKind::CODES) {
            assert!(entry.is_well_formed(), "{entry:?}");
        }
        assert!(FindingKind::CODES.iter().all(|entry| entry.code.starts_with("DOCTOR-")));
    }
}
