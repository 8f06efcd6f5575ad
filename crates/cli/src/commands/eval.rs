//! `fewbit eval`: accuracy, and agreement with the float model.

use anyhow::Result;
use fewbit_calibrate::Runner;
use fewbit_calibrate::dataset::{Dataset, encode_npy};
use fewbit_calibrate::evaluate::evaluate;
use fewbit_core::ir::Tensor;

use crate::args::{Eval, Format};
use crate::config::Config;
use crate::failure::Usage;
use crate::model::{self, Model};
use crate::{Answer, devices, files, output, progress};

pub(crate) fn run(arguments: &Eval, format: Format, config: &Config) -> Result<Answer> {
    let model = Model::load(&arguments.model.model, &arguments.model.shapes, config)?;
    let device = devices::open(&arguments.device, config)?;
    let threads = devices::threads(&arguments.device, config);
    let dataset = super::dataset(&arguments.data, &model::input_specs(&model.graph), config)?;
    let mut runner = Runner::new(&model.graph, device.as_ref(), threads)?;
    let mut reference = match &arguments.reference {
        Some(path) => {
            let model = Model::load(path, &arguments.model.shapes, config)?;
            Some(Runner::new(&model.graph, device.as_ref(), threads)?)
        }
        None => None,
    };
    require_something_to_measure(&dataset, reference.is_some() || arguments.outputs.is_some())?;
    let count = dataset.len().min(arguments.data.samples.unwrap_or(usize::MAX));
    let bar = progress::bar("evaluate", count);
    let mut outputs = Vec::new();
    let result = evaluate(&mut runner, reference.as_mut(), &dataset, count, &mut |seen| {
        bar.set_position(seen.done as u64);
        if arguments.outputs.is_some() {
            outputs.extend_from_slice(seen.output);
        }
        true
    })?;
    bar.finish_and_clear();
    if let Some(path) = &arguments.outputs {
        let array = Tensor::from_slice(&[result.n, outputs.len() / result.n.max(1)], &outputs)?;
        files::write(path, &encode_npy(&array)?)?;
    }
    let mut answer = Answer::Yes;
    let mut failed = Vec::new();
    if let (Some(limit), Some(top1), Some(reference)) =
        (arguments.max_drop, result.top1, result.top1_reference)
        && reference - top1 > limit
    {
        failed.push(format!("top-1 drops by {:.2} points, allowed are {limit}", reference - top1));
    }
    if let (Some(limit), Some(agreement)) = (arguments.min_agreement, result.agreement)
        && agreement < limit
    {
        failed.push(format!("agreement is {agreement:.2} %, wanted are {limit}"));
    }
    if !failed.is_empty() {
        answer = Answer::No;
    }
    output::print(format, &result, || {
        let mut text = fewbit_report::evaluation(&result);
        for line in &failed {
            text.push_str(&format!("\nbelow the threshold: {line}"));
        }
        text
    })?;
    Ok(answer)
}

/// Refuses to run a model over data of which nothing would be said: `purpose` is whether something else is wanted.
fn require_something_to_measure(dataset: &Dataset, purpose: bool) -> Result<()> {
    if dataset.has_labels() || purpose {
        return Ok(());
    }
    Err(Usage::new("expected labels or a reference to evaluate against, found neither")
        .help("add labels.csv to the data, or give --reference FLOAT_MODEL, or --outputs FILE.npy to keep what comes out")
        .into())
}
