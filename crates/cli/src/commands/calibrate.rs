//! `fewbit calibrate`: runs a float model over data and writes what values it saw.

use anyhow::Result;
use fewbit_calibrate::doctor::{Examiner, Finding};
use fewbit_calibrate::observe::{CalibrationStats, Collector, Method};

use crate::args::{Calibrate, DataArguments, DeviceArguments, Format};
use crate::config::Config;
use crate::failure::Usage;
use crate::model::Model;
use crate::{Answer, devices, files, output, progress};

/// How ranges are chosen where nobody says.
pub(super) const DEFAULT_METHOD: Method = Method::Mse;

pub(crate) fn run(arguments: &Calibrate, format: Format, config: &Config) -> Result<Answer> {
    files::require_place(&arguments.output, &arguments.model.model)?;
    let model = Model::load(&arguments.model.model, &arguments.model.shapes, config)?;
    let method = config.ranges.unwrap_or(DEFAULT_METHOD);
    let (stats, findings) = collect(&model, &arguments.data, &arguments.device, method, config)?;
    files::write(&arguments.output, &serde_json::to_vec(&stats)?)?;
    eprint!("{}", fewbit_report::findings(&findings));
    let summary = serde_json::json!({
        "samples": stats.samples, "held_out": stats.held_out, "values": stats.values.len(),
        "findings": findings, "output": arguments.output,
    });
    output::print(format, &summary, || {
        format!(
            "saw {} values over {} samples ({} held out), written to {}",
            stats.values.len(),
            stats.samples + stats.held_out,
            stats.held_out,
            arguments.output.display()
        )
    })?;
    Ok(Answer::Yes)
}

/// Runs the model over the data; the findings are the doctor's.
pub(super) fn collect(
    model: &Model,
    data: &DataArguments,
    device: &DeviceArguments,
    method: Method,
    config: &Config,
) -> Result<(CalibrationStats, Vec<Finding>)> {
    model.require_float()?;
    let threads = devices::threads(device, config);
    let device = devices::open(device, config)?;
    let mut collector = Collector::new(&model.graph, &model.hash, device.as_ref(), threads)?;
    let dataset = super::dataset(data, &collector.input_specs(), config)?;
    let limit = data.samples.unwrap_or(usize::MAX);
    let mut examiner = Examiner::new(dataset.is_pictures());
    super::normalisation::note(model, device.as_ref(), threads, &dataset, &mut examiner)?;
    let bar = progress::bar("calibrate", dataset.len().min(limit));
    let stats = collector.run(&dataset, limit, &mut examiner, &mut |done, _| {
        bar.set_position(done as u64);
        true
    })?;
    bar.finish_and_clear();
    let findings = examiner.findings(&stats, method);
    Ok((stats, findings))
}

/// Reads statistics and refuses those of another model.
pub(super) fn read_stats(path: &std::path::Path, model: &Model) -> Result<CalibrationStats> {
    let text = files::read_text(path)?;
    let stats: CalibrationStats = serde_json::from_str(&text).map_err(|error| {
        Usage::of_file(path, format!("expected calibration statistics: {error}"))
            .help("write them with `fewbit calibrate`")
    })?;
    if stats.schema != CalibrationStats::SCHEMA {
        return Err(Usage::of_file(
            path,
            format!("expected statistics of form {}, found {}", CalibrationStats::SCHEMA, stats.schema),
        )
        .help("calibrate again")
        .into());
    }
    if stats.model != model.hash {
        return Err(Usage::of_file(
            path,
            "the statistics are of another model, or were made with other shapes",
        )
        .help("calibrate this model")
        .into());
    }
    Ok(stats)
}
