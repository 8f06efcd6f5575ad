//! What the doctor asks of a model: is the data like the training data that batch normalisation remembers?

use anyhow::Result;
use fewbit_calibrate::Runner;
use fewbit_calibrate::dataset::Dataset;
use fewbit_calibrate::doctor::{Examiner, Normalisation};
use fewbit_core::backend::Device;
use fewbit_core::infer;
use fewbit_core::ir::{Graph, Op, ValueId};

use crate::model::Model;

/// Samples that are enough to tell.
const SAMPLES: usize = 8;

/// Runs the model as it was read up to its first batch normalisation, where it has one, and notes how far the values
/// there are from what the normalisation remembers. A model without one cannot be asked.
pub(super) fn note(
    model: &Model,
    device: &dyn Device,
    threads: usize,
    dataset: &Dataset,
    examiner: &mut Examiner,
) -> Result<()> {
    let mut source = model.source.clone();
    infer::infer(&mut source)?;
    let Some((input, mean, variance)) = first_batch_norm(&source) else { return Ok(()) };
    let mut program = source;
    program.outputs = vec![input];
    remove_unread(&mut program);
    program.compact()?;
    let mut runner = Runner::new(&program, device, threads)?;
    let channels = mean.len();
    let mut sums = vec![(0f64, 0f64, 0u64); channels];
    for index in 0..dataset.len().min(SAMPLES) {
        let sample = dataset.sample(index)?;
        let output = runner.run(&sample.inputs)?[0].to_f32_vec();
        let plane = output.len() / channels;
        for (channel, values) in output.chunks(plane.max(1)).enumerate() {
            let (sum, squares, count) = &mut sums[channel % channels];
            for &x in values {
                *sum += f64::from(x);
                *squares += f64::from(x) * f64::from(x);
            }
            *count += values.len() as u64;
        }
    }
    let (mut shifts, mut spreads) = (Vec::new(), Vec::new());
    for ((sum, squares, count), (mean, variance)) in sums.into_iter().zip(mean.into_iter().zip(variance)) {
        if count == 0 || variance <= 0.0 {
            continue;
        }
        let (n, variance) = (count as f64, f64::from(variance));
        let found = sum / n;
        shifts.push(((found - f64::from(mean)).abs() / variance.sqrt()) as f32);
        spreads.push(((squares / n - found * found).max(0.0) / variance) as f32);
    }
    if let (Some(shift), Some(spread)) = (median(&mut shifts), median(&mut spreads)) {
        examiner.note_normalisation(Normalisation { shift, spread });
    }
    Ok(())
}

/// The input of the first batch normalisation with its running mean and variance.
fn first_batch_norm(graph: &Graph) -> Option<(ValueId, Vec<f32>, Vec<f32>)> {
    graph.nodes().find_map(|(_, node)| {
        if !matches!(node.op, Op::BatchNorm { .. }) {
            return None;
        }
        let floats = |index: usize| Some(graph.value(node.input(index)?).constant.as_ref()?.to_f32_vec());
        let mean = floats(3).filter(|mean| !mean.is_empty())?;
        Some((node.input(0)?, mean, floats(4)?))
    })
}

/// Removes nodes that the outputs do not need.
fn remove_unread(graph: &mut Graph) {
    let producers = graph.producers();
    let mut needed = vec![false; graph.value_ids().len()];
    let mut waiting = graph.outputs.clone();
    while let Some(id) = waiting.pop() {
        if std::mem::replace(&mut needed[id.index()], true) {
            continue;
        }
        if let Some(node) = producers[id.index()].and_then(|node| graph.node(node)) {
            waiting.extend(node.inputs.iter().flatten());
        }
    }
    for id in graph.node_ids() {
        let wanted =
            graph.node(id).is_some_and(|node| node.outputs.iter().any(|output| needed[output.index()]));
        if !wanted {
            graph.remove_node(id);
        }
    }
}

fn median(values: &mut [f32]) -> Option<f32> {
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len() / 2).copied()
}
