//! `fewbit plan`: the precision of every node for a target, with a reason for each.

use anyhow::Result;
use fewbit_calibrate::observe::CalibrationStats;
use fewbit_core::plan::{Plan, Strategy};

use crate::args::{DataArguments, DeviceArguments, Format, Plan as Arguments, PlanArguments, RangeArguments};
use crate::config::Config;
use crate::model::Model;
use crate::planning::{self, Observed, Target, Wish};
use crate::{Answer, files, output};

use super::calibrate;

pub(crate) fn run(arguments: &Arguments, format: Format, config: &Config) -> Result<Answer> {
    files::require_place(&arguments.output, &arguments.model.model)?;
    let model = Model::load(&arguments.model.model, &arguments.model.shapes.shape, config)?;
    let target = open_target(&arguments.wish, config)?;
    let (plan, _) = make(
        &model,
        &target,
        &arguments.wish,
        &arguments.ranges,
        &arguments.data,
        &arguments.device,
        config,
    )?;
    files::write(&arguments.output, plan.to_json().as_bytes())?;
    output::print(format, &plan, || {
        format!("{}\nwritten to {}", fewbit_report::plan(&plan), arguments.output.display())
    })?;
    Ok(if plan.deployable { Answer::Yes } else { Answer::No })
}

/// The target of the command line, else the first of `fewbit.toml`, else this machine.
pub(super) fn open_target(arguments: &PlanArguments, config: &Config) -> Result<Target> {
    Target::open(arguments.target.as_deref().or_else(|| config.target.first().map(String::as_str)), config)
}

/// Calibrates if the strategy needs ranges, and plans.
pub(super) fn make(
    model: &Model,
    target: &Target,
    arguments: &PlanArguments,
    ranges: &RangeArguments,
    data: &DataArguments,
    device: &DeviceArguments,
    config: &Config,
) -> Result<(Plan, Option<CalibrationStats>)> {
    let strategy: Strategy = arguments.strategy.into();
    let wish = Wish { strategy, pins: &arguments.pin };
    model.require_float()?;
    let needs_ranges = strategy.precision().has_integer_activations()
        || arguments.pin.iter().any(|(_, precision)| precision.has_integer_activations());
    if !needs_ranges {
        return Ok((planning::make(model, &target.capability, &wish, None)?, None));
    }
    let method = ranges.ranges.or(config.ranges).unwrap_or(calibrate::DEFAULT_METHOD);
    let stats = if let Some(path) = &ranges.stats {
        calibrate::read_stats(path, model)?
    } else {
        let (stats, findings) = calibrate::collect(model, data, device, method, config)?;
        eprint!("{}", fewbit_report::findings(&findings));
        stats
    };
    let observed = Observed { stats: &stats, method };
    let plan = planning::make(model, &target.capability, &wish, Some(&observed))?;
    Ok((plan, Some(stats)))
}
