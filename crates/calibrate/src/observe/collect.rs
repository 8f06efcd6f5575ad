//! Runs a float model over a dataset and lets observers see every value.

use fewbit_core::backend::Device;
use fewbit_core::ir::{DType, Graph, ValueId};
use indexmap::IndexMap;

use super::{CalibrationStats, Observer};
use crate::dataset::{Dataset, Sample};
use crate::doctor::Examiner;
use crate::error::{CalibrateError, CalibrateErrorKind, Result};
use crate::runner::Runner;

/// Every how many samples one is held out to judge the ranges.
const HELD_OUT_EVERY: usize = 8;

/// The f32 values of `graph` whose ranges matter: its inputs and what its nodes produce.
pub fn observed_values(graph: &Graph) -> Vec<ValueId> {
    let produced = graph.nodes().flat_map(|(_, node)| node.outputs.iter().copied());
    let mut values: Vec<ValueId> = graph.inputs.iter().copied().chain(produced).collect();
    values.retain(|&id| graph.value(id).dtype == Some(DType::F32) && graph.value(id).constant.is_none());
    values
}

/// A float model that is run for its intermediate values.
pub struct Collector {
    runner: Runner,
    model: String,
    /// Names of observed graph inputs, by input index.
    inputs: Vec<(usize, String)>,
    /// Names of observed outputs of the program, in its order.
    produced: Vec<String>,
}

impl Collector {
    /// Prepares `graph`, a float graph with fixed shapes, to run on `device`. `model` is the graph's hash.
    ///
    /// # Errors
    /// What the device's compiler says.
    pub fn new(graph: &Graph, model: &str, device: &dyn Device, threads: usize) -> Result<Self> {
        let mut program = graph.clone();
        let observed = observed_values(graph);
        let inputs = graph
            .inputs
            .iter()
            .enumerate()
            .filter(|(_, id)| observed.contains(id))
            .map(|(index, &id)| (index, graph.value(id).name.clone()))
            .collect();
        program.outputs = observed.into_iter().filter(|id| !graph.inputs.contains(id)).collect();
        let produced = program.outputs.iter().map(|&id| graph.value(id).name.clone()).collect();
        let runner = Runner::new(&program, device, threads)?;
        Ok(Self { runner, model: model.to_owned(), inputs, produced })
    }

    /// What the dataset must give.
    pub fn input_specs(&self) -> Vec<crate::dataset::InputSpec> {
        self.runner.input_specs()
    }

    /// Runs at most `limit` samples; `progress` hears of each and stops the run by returning false.
    ///
    /// Every eighth sample is held out when there are enough. Samples are decoded ahead on another thread; memory
    /// does not depend on their number.
    ///
    /// # Errors
    /// A sample that cannot be read, a run that fails, values that are not finite, or an interrupted run.
    pub fn run(
        &mut self,
        dataset: &Dataset,
        limit: usize,
        examiner: &mut Examiner,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<CalibrationStats> {
        let count = dataset.len().min(limit);
        let hold_out = count >= 2 * HELD_OUT_EVERY;
        let mut observers = vec![Observer::default(); self.inputs.len() + self.produced.len()];
        let mut held_out_samples = 0;
        std::thread::scope(|scope| {
            let (send, receive) = std::sync::mpsc::sync_channel::<Result<Sample>>(2);
            scope.spawn(move || {
                for index in 0..count {
                    if send.send(dataset.sample(index)).is_err() {
                        return;
                    }
                }
            });
            for (index, sample) in receive.iter().enumerate() {
                let sample = sample?;
                let held_out = hold_out && index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1;
                held_out_samples += usize::from(held_out);
                examiner.add(&sample);
                self.runner.run(&sample.inputs)?;
                self.observe(&sample, held_out, &mut observers)?;
                if (index + 1) * 4 == count * 3 || (index + 1 == count * 3 / 4) {
                    observers.iter_mut().for_each(Observer::mark);
                }
                if !progress(index + 1, count) {
                    return Err(CalibrateError::new(CalibrateErrorKind::Run, "interrupted")
                        .help("run the command again; nothing was written"));
                }
            }
            Ok(())
        })?;
        let names = self.inputs.iter().map(|(_, name)| name).chain(&self.produced).cloned();
        let values: IndexMap<String, Observer> = names.zip(observers).collect();
        if let Some((name, observer)) = values.iter().find(|(_, observer)| observer.not_finite() > 0) {
            return Err(CalibrateError::new(
                CalibrateErrorKind::Run,
                format!("expected finite values, found {} NaN or infinite ones", observer.not_finite()),
            )
            .at(name.clone())
            .help("check the preprocessing and the model's weights"));
        }
        Ok(CalibrationStats {
            schema: CalibrationStats::SCHEMA,
            model: self.model.clone(),
            samples: count - held_out_samples,
            held_out: held_out_samples,
            values,
        })
    }

    /// Shows one sample's values to the observers, in parallel over values.
    fn observe(&self, sample: &Sample, held_out: bool, observers: &mut [Observer]) -> Result<()> {
        let outputs = self.runner.outputs();
        let tensors: Vec<(&[f32], &[usize])> = self
            .inputs
            .iter()
            .map(|(index, _)| &sample.inputs[*index])
            .chain(outputs)
            .map(|tensor| Ok((tensor.as_slice::<f32>()?, tensor.extents())))
            .collect::<Result<_, fewbit_core::CoreError>>()?;
        let mut work: Vec<_> = tensors.into_iter().zip(observers).collect();
        // The largest first, so that the two halves are even.
        work.sort_by_key(|((values, _), _)| std::cmp::Reverse(values.len()));
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for (index, item) in work.into_iter().enumerate() {
            shares[index % threads].push(item);
        }
        std::thread::scope(|scope| {
            for share in shares {
                scope.spawn(move || {
                    for ((values, extents), observer) in share {
                        if held_out {
                            observer.add_held_out(values);
                        } else {
                            observer.add_tensor(values, extents);
                        }
                    }
                });
            }
        });
        Ok(())
    }
}
