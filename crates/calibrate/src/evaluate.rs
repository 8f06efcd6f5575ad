//! Evaluation: accuracy on labels, agreement with the float model, and the ratio of signal to quantization noise.

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{CalibrateError, CalibrateErrorKind, Result};
use crate::runner::Runner;

/// What an evaluation found. Percentages are 0 to 100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Samples seen.
    pub n: usize,
    /// Share of samples whose largest output is their label, where there are labels.
    pub top1: Option<f64>,
    /// The same for the reference.
    pub top1_reference: Option<f64>,
    /// Bounds of the 95 % confidence interval of `top1 - top1_reference` (paired, normal approximation).
    pub drop_interval: Option<(f64, f64)>,
    /// Share of samples on which model and reference have the same largest output.
    pub agreement: Option<f64>,
    /// Energy of the reference's output over that of the difference, in decibels, over all samples.
    pub sqnr_db: Option<f64>,
}

/// One sample that was evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Samples seen so far, this one included.
    pub done: usize,
    /// Samples there are.
    pub total: usize,
    /// The model's first output as real numbers.
    pub output: &'a [f32],
}

/// Runs `model`, and `reference` where there is one, over at most `limit` samples.
///
/// The first output counts; its largest element is the prediction (the first of equals).
///
/// # Errors
/// A sample that cannot be read, a run that fails, a model whose outputs differ in size from the reference's, or an
/// interrupted run (`watch`, who hears of each sample, returned false).
pub fn evaluate(
    model: &mut Runner,
    mut reference: Option<&mut Runner>,
    dataset: &Dataset,
    limit: usize,
    watch: &mut dyn FnMut(Seen<'_>) -> bool,
) -> Result<Evaluation> {
    let count = dataset.len().min(limit);
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::sync_channel(2);
        scope.spawn(move || {
            for index in 0..count {
                if send.send(dataset.sample(index)).is_err() {
                    return;
                }
            }
        });
        for (index, sample) in receive.iter().enumerate() {
            let sample = sample?;
            model.run(&sample.inputs)?;
            let output = model.real_output(0);
            let expected = match reference.as_deref_mut() {
                Some(reference) => {
                    reference.run(&sample.inputs)?;
                    Some(reference.real_output(0))
                }
                None => None,
            };
            tally.add(&output, expected.as_deref(), sample.label).map_err(|error| error.at(&sample.name))?;
            if !watch(Seen { done: index + 1, total: count, output: &output }) {
                return Err(CalibrateError::new(CalibrateErrorKind::Run, "interrupted")
                    .help("run the command again; nothing was written"));
            }
        }
        Ok(())
    })?;
    Ok(tally.finish(dataset.has_labels()))
}

/// Running sums of an evaluation.
#[derive(Debug, Default)]
struct Tally {
    n: usize,
    right: usize,
    right_reference: usize,
    /// Samples that only the model, and only the reference, gets right.
    gained: usize,
    lost: usize,
    agreeing: usize,
    compared: usize,
    signal: f64,
    noise: f64,
}

impl Tally {
    fn add(&mut self, output: &[f32], reference: Option<&[f32]>, label: Option<i64>) -> Result<()> {
        self.n += 1;
        let prediction = largest(output);
        let right = label.is_some_and(|label| prediction as i64 == label);
        self.right += usize::from(right);
        let Some(reference) = reference else { return Ok(()) };
        if reference.len() != output.len() {
            return Err(CalibrateError::new(
                CalibrateErrorKind::Run,
                format!("expected {} outputs as the reference has, found {}", reference.len(), output.len()),
            )
            .help("give the float model that this one was made from as --reference"));
        }
        self.compared += 1;
        let expected = largest(reference);
        let right_reference = label.is_some_and(|label| expected as i64 == label);
        self.right_reference += usize::from(right_reference);
        self.gained += usize::from(right && !right_reference);
        self.lost += usize::from(right_reference && !right);
        self.agreeing += usize::from(expected == prediction);
        for (&x, &y) in reference.iter().zip(output) {
            self.signal += f64::from(x) * f64::from(x);
            self.noise += (f64::from(x) - f64::from(y)).powi(2);
        }
        Ok(())
    }

    fn finish(&self, labels: bool) -> Evaluation {
        let percent = |part: usize| 100.0 * part as f64 / self.n.max(1) as f64;
        let compared = self.compared > 0;
        let drop_interval = (labels && compared && self.n > 1).then(|| {
            let n = self.n as f64;
            let (gained, lost) = (self.gained as f64, self.lost as f64);
            let mean = (gained - lost) / n;
            let variance = ((gained + lost) / n - mean * mean).max(0.0) * n / (n - 1.0);
            let half = 1.96 * (variance / n).sqrt();
            (100.0 * (mean - half), 100.0 * (mean + half))
        });
        Evaluation {
            n: self.n,
            top1: labels.then(|| percent(self.right)),
            top1_reference: (labels && compared).then(|| percent(self.right_reference)),
            drop_interval,
            agreement: compared.then(|| percent(self.agreeing)),
            sqnr_db: compared.then(|| crate::sqnr::decibels(self.signal, self.noise)),
        }
    }
}

/// The index of the largest element, the first of equals.
pub(crate) fn largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_accuracy_agreement_and_noise() {
        let mut tally = Tally::default();
        tally.add(&[0.0, 1.0], Some(&[0.0, 2.0]), Some(1)).unwrap();
        tally.add(&[1.0, 0.0], Some(&[0.0, 1.0]), Some(1)).unwrap();
        tally.add(&[1.0, 0.0], Some(&[1.0, 0.0]), Some(1)).unwrap();
        tally.add(&[0.0, 3.0], Some(&[4.0, 0.0]), Some(1)).unwrap();
        let result = tally.finish(true);
        assert_eq!(result.n, 4);
        assert_eq!(result.top1, Some(50.0));
        assert_eq!(result.top1_reference, Some(50.0));
        assert_eq!(result.agreement, Some(50.0));
        let expected = 10.0 * ((4.0 + 1.0 + 1.0 + 16.0) / (1.0 + 2.0 + 25.0f64)).log10();
        assert!((result.sqnr_db.unwrap() - expected).abs() < 1e-9);
        let (low, high) = result.drop_interval.unwrap();
        assert!(low < 0.0 && high > 0.0);
    }

    #[test]
    fn the_first_of_equals_is_the_prediction() {
        assert_eq!(largest(&[1.0, 2.0, 2.0]), 1);
        assert_eq!(largest(&[f32::NAN, 1.0]), 0);
    }

    #[test]
    fn outputs_of_another_size_are_refused() {
        assert!(Tally::default().add(&[1.0], Some(&[1.0, 2.0]), None).is_err());
    }
}
