//! The commands, one module each.

mod backends;
mod bench;
mod calibrate;
mod check;
mod compare;
mod eval;
mod explain;
mod inspect;
mod normalisation;
mod plan;
mod plugins;
pub(crate) mod plugins_new;
mod quantize;
mod run;
mod targets;

use anyhow::Result;
use fewbit_calibrate::dataset::{Dataset, InputSpec, Preprocess};

use crate::Answer;
use crate::args::{Arguments, Command, DataArguments, Format};
use crate::config::Config;
use crate::failure::Usage;

/// Runs the command that was asked for.
pub(crate) fn run(arguments: Arguments) -> Result<Answer> {
    let mut config = Config::load()?;
    config.plugins = arguments.plugins.clone();
    let format = arguments.format;
    if matches!(format, Format::Sarif | Format::Junit) && !matches!(arguments.command, Command::Check(_)) {
        return Err(Usage::new("expected --format text or json: only `check` writes sarif and junit").into());
    }
    match arguments.command {
        Command::Backends => backends::run(format, &config),
        Command::Plugins(arguments) => plugins::run(&arguments, format, &config),
        Command::Calibrate(arguments) => calibrate::run(&arguments, format, &config),
        Command::Run(arguments) => run::run(&arguments, format, &config),
        Command::Eval(arguments) => eval::run(&arguments, format, &config),
        Command::Bench(arguments) => bench::run(&arguments, format, &config),
        Command::Inspect(arguments) => inspect::run(&arguments, format, &config),
        Command::Targets(arguments) => targets::run(&arguments, format, &config),
        Command::Check(arguments) => check::run(&arguments, format, &config),
        Command::Plan(arguments) => plan::run(&arguments, format, &config),
        Command::PlanDiff(arguments) => plan::diff(&arguments, format),
        Command::Quantize(arguments) => quantize::run(&arguments, format, &config),
        Command::Compare(arguments) => compare::run(&arguments, format, &config),
        Command::Explain(arguments) => explain::run(&arguments, format),
    }
}

/// Opens the data that the command line or `fewbit.toml` names.
pub(crate) fn dataset(arguments: &DataArguments, inputs: &[InputSpec], config: &Config) -> Result<Dataset> {
    let path = arguments.data.as_ref().or(config.data.as_ref()).ok_or_else(|| {
        Usage::new("expected data, found none")
            .help("give --data with a folder of images, an .npz or .npy files")
    })?;
    let preprocess = match (&arguments.preprocess, &config.preprocess) {
        (Some(preprocess), _) => preprocess.clone(),
        (None, Some(text)) => text.parse()?,
        (None, None) => Preprocess::default(),
    };
    Ok(Dataset::open(path, inputs, preprocess)?)
}
