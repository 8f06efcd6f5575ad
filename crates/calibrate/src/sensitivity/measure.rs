//! Running changed programs over samples, several at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fewbit_core::backend::Device;
use fewbit_core::ir::{Graph, Tensor};
use fewbit_core::plan::Precision;

use super::Effect;
use crate::dataset::Dataset;
use crate::error::{CalibrateError, CalibrateErrorKind, Result};
use crate::evaluate::largest;
use crate::runner::Runner;

/// Samples with the float model's outputs on them, held in memory.
pub struct Samples {
    inputs: Vec<Vec<Tensor>>,
    labels: Vec<Option<i64>>,
    /// For each sample, each output of the float model.
    expected: Vec<Vec<Vec<f32>>>,
    /// Energy of each output over all samples.
    energy: Vec<f64>,
}

impl Samples {
    /// Runs the float model over the first `limit` samples.
    ///
    /// # Errors
    /// A sample that cannot be read or a run that fails; a data set without samples.
    pub fn new(
        float: &Graph,
        device: &dyn Device,
        threads: usize,
        dataset: &Dataset,
        limit: usize,
    ) -> Result<Self> {
        let mut runner = Runner::new(float, device, threads)?;
        let outputs = runner.output_specs().len();
        let mut this =
            Self { inputs: Vec::new(), labels: Vec::new(), expected: Vec::new(), energy: vec![0.0; outputs] };
        for index in 0..dataset.len().min(limit) {
            let sample = dataset.sample(index)?;
            runner.run(&sample.inputs)?;
            let expected: Vec<Vec<f32>> = (0..outputs).map(|output| runner.real_output(output)).collect();
            for (energy, values) in this.energy.iter_mut().zip(&expected) {
                *energy += values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
            }
            this.inputs.push(sample.inputs);
            this.labels.push(sample.label);
            this.expected.push(expected);
        }
        if this.inputs.is_empty() {
            return Err(CalibrateError::new(CalibrateErrorKind::Dataset, "expected samples, found none"));
        }
        Ok(this)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are none; never after [`Samples::new`].
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// What `program` does to the outputs.
    ///
    /// # Errors
    /// What the device says; outputs that are not the float model's.
    pub fn effect(&self, program: &Graph, device: &dyn Device, threads: usize) -> Result<Effect> {
        let mut runner = Runner::new(program, device, threads)?;
        let mut noise = vec![0.0; self.energy.len()];
        let (mut agreeing, mut right, mut divergence) = (0usize, 0usize, 0.0);
        for ((inputs, expected), label) in self.inputs.iter().zip(&self.expected).zip(&self.labels) {
            runner.run(inputs)?;
            for (index, (noise, expected)) in noise.iter_mut().zip(expected).enumerate() {
                let found = runner.real_output(index);
                if found.len() != expected.len() {
                    return Err(CalibrateError::new(
                        CalibrateErrorKind::Run,
                        format!("expected {} elements, found {}", expected.len(), found.len()),
                    ));
                }
                *noise += found
                    .iter()
                    .zip(expected)
                    .map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2))
                    .sum::<f64>();
                if index == 0 {
                    let prediction = largest(&found);
                    agreeing += usize::from(prediction == largest(expected));
                    right += usize::from(*label == Some(prediction as i64));
                    divergence += kullback_leibler(expected, &found);
                }
            }
        }
        let count = self.len() as f64;
        let shares = noise.iter().zip(&self.energy).map(|(noise, energy)| match *energy {
            energy if energy > 0.0 => noise / energy,
            _ => f64::from(u8::from(*noise > 0.0)),
        });
        let single = self.expected.iter().all(|outputs| outputs.first().is_none_or(|x| x.len() < 2));
        Ok(Effect {
            noise: shares.sum::<f64>() / self.energy.len().max(1) as f64,
            divergence: (!single).then_some(divergence / count),
            agreement: Some(100.0 * agreeing as f64 / count),
            top1: self.labels.iter().all(Option::is_some).then_some(100.0 * right as f64 / count),
        })
    }
}

/// The divergence of softmax(`found`) from softmax(`expected`), in nats.
fn kullback_leibler(expected: &[f32], found: &[f32]) -> f64 {
    let logarithms = |values: &[f32]| -> Vec<f64> {
        let top = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shifted: Vec<f64> = values.iter().map(|&x| f64::from(x) - f64::from(top)).collect();
        let sum = shifted.iter().map(|x| x.exp()).sum::<f64>().ln();
        shifted.into_iter().map(|x| x - sum).collect()
    };
    let terms = logarithms(expected).into_iter().zip(logarithms(found)).map(|(p, q)| p.exp() * (p - q));
    terms.sum::<f64>().max(0.0)
}

/// One change to a base program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The node's name.
    pub node: String,
    /// What it is changed to.
    pub precision: Precision,
}

/// Measures `changes`, `threads` at once; `program` makes the changed program, `watch` gets each effect as it is found
/// (in any order) with the number found so far, and stops the work by returning false.
///
/// The effects do not depend on the number of threads.
///
/// # Errors
/// The first error of a program or a run; [`CalibrateErrorKind::Run`] when stopped.
pub fn measure(
    samples: &Samples,
    device: &dyn Device,
    threads: usize,
    changes: &[Change],
    program: &(dyn Fn(&Change) -> Result<Graph> + Sync),
    watch: &mut (dyn FnMut(usize, &Change, Effect) -> bool + Send),
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let state = Mutex::new((0usize, watch, None::<CalibrateError>));
    let lock = || state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let Some(change) = changes.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let effect = program(change).and_then(|program| samples.effect(&program, device, 1));
            let (done, watch, failure) = &mut *lock();
            match effect {
                Ok(effect) => {
                    *done += 1;
                    if !watch(*done, change, effect) && failure.is_none() {
                        *failure = Some(
                            CalibrateError::new(CalibrateErrorKind::Run, "interrupted")
                                .help("run the command again; it goes on from where it stopped"),
                        );
                    }
                }
                Err(error) if failure.is_none() => *failure = Some(error.at(&change.node)),
                Err(_) => {}
            }
            if failure.is_some() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.clamp(1, changes.len().max(1)) {
            scope.spawn(work);
        }
        work();
    });
    match lock().2.take() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_that_of_the_distributions() {
        assert_eq!(kullback_leibler(&[1.0, 2.0], &[3.0, 4.0]), 0.0);
        let (p, q) = ([0.25f64, 0.75], [0.5f64, 0.5]);
        let expected: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        let logits = |values: [f64; 2]| values.map(|x| x.ln() as f32);
        assert!((kullback_leibler(&logits(p), &logits(q)) - expected).abs() < 1e-6);
    }
}
