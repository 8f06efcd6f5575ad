//! `fewbit plan`: the precision of every node for a target, with a reason for each.

use std::path::Path;

use anyhow::Result;
use fewbit_calibrate::observe::{CalibrationStats, Method};
use fewbit_core::plan::{Axis, Plan, Strategy};

use crate::args::{
    DataArguments, DeviceArguments, Format, MakePlan, Plan as Arguments, PlanArguments, PlanCommand,
    RangeArguments,
};
use crate::config::Config;
use crate::failure::Usage;
use crate::mixed::{Search, Setting};
use crate::model::Model;
use crate::planning::{self, Observed, Target, Wish};
use crate::{Answer, files, output};

use super::calibrate;

pub(crate) fn run(arguments: &Arguments, format: Format, config: &Config) -> Result<Answer> {
    match (&arguments.command, &arguments.make) {
        (Some(PlanCommand::Diff { old, new }), _) => diff(old, new, format),
        (None, Some(arguments)) => make_and_write(arguments, format, config),
        (None, None) => Err(Usage::new("expected a model, found none")
            .help("`fewbit plan MODEL -o PLAN`, or `fewbit plan diff OLD NEW`")
            .into()),
    }
}

/// Reads a plan's file.
pub(super) fn read(path: &Path) -> Result<Plan> {
    Ok(Plan::from_json(&files::read_text(path)?, &path.display().to_string())?)
}

fn diff(old: &Path, new: &Path, format: Format) -> Result<Answer> {
    let diff = fewbit_core::plan::diff(&read(old)?, &read(new)?);
    output::print(format, &diff, || fewbit_report::plan_diff(&diff))?;
    Ok(if diff.is_empty() { Answer::Yes } else { Answer::No })
}

fn make_and_write(arguments: &MakePlan, format: Format, config: &Config) -> Result<Answer> {
    files::require_place(&arguments.output, &arguments.model.model)?;
    let model = Model::load(&arguments.model.model, &arguments.model.shapes.shape, config)?;
    let target = open_target(&arguments.wish, config)?;
    if let Some(axis) = arguments.pareto {
        return front(arguments, axis, format, &model, &target, config);
    }
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

/// Writes the points of a front, the largest first, and shows them side by side.
fn front(
    arguments: &MakePlan,
    axis: Axis,
    format: Format,
    model: &Model,
    target: &Target,
    config: &Config,
) -> Result<Answer> {
    let (stats, method) = ranges(model, &arguments.ranges, &arguments.data, &arguments.device, config)?;
    let setting = Setting {
        model,
        target,
        pins: &arguments.wish.pin,
        arguments: &arguments.wish.goal,
        stats: &stats,
        method,
        data: &arguments.data,
        device: &arguments.device,
        config,
    };
    let (plans, dropped) = Search::new(&setting)?.front(axis, arguments.steps)?;
    let named = |number: usize| arguments.output.with_extension(format!("{number}.json"));
    let written: Vec<_> = plans
        .iter()
        .enumerate()
        .map(|(index, plan)| (named(index + 1), plan.to_json().into_bytes()))
        .collect();
    files::write_all(&written)?;
    let paths: Vec<_> = written.iter().map(|(path, _)| path.display().to_string()).collect();
    let document = serde_json::json!({ "axis": axis, "files": paths, "dropped": dropped, "plans": plans });
    output::print(format, &document, || {
        let left_out = match dropped {
            0 => String::new(),
            1 => "\n1 point was measured to be no better than a smaller one, and left out".to_owned(),
            count => {
                format!("\n{count} points were measured to be no better than a smaller one, and left out")
            }
        };
        format!("{}{left_out}\nwritten to {}", fewbit_report::front(&plans), paths.join(", "))
    })?;
    Ok(if plans.is_empty() { Answer::No } else { Answer::Yes })
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
    let goal = &arguments.goal;
    let strategy = if goal.asks() { Strategy::Mixed } else { arguments.strategy.into() };
    let wish = Wish { strategy, pins: &arguments.pin };
    model.require_float()?;
    let needs_ranges = strategy.precision().has_integer_activations()
        || arguments.pin.iter().any(|(_, precision)| precision.has_integer_activations());
    if !needs_ranges {
        return Ok((planning::make(model, &target.capability, &wish, None)?, None));
    }
    let (stats, method) = self::ranges(model, ranges, data, device, config)?;
    if strategy == Strategy::Mixed {
        let pins = &arguments.pin;
        let setting =
            Setting { model, target, pins, arguments: goal, stats: &stats, method, data, device, config };
        return Ok((Search::new(&setting)?.best()?, Some(stats)));
    }
    let observed = Observed { stats: &stats, method };
    let plan = planning::make(model, &target.capability, &wish, Some(&observed))?;
    Ok((plan, Some(stats)))
}

/// The statistics that were given, or those of the data; and how ranges follow from them.
pub(super) fn ranges(
    model: &Model,
    ranges: &RangeArguments,
    data: &DataArguments,
    device: &DeviceArguments,
    config: &Config,
) -> Result<(CalibrationStats, Method)> {
    let method = ranges.ranges.or(config.ranges).unwrap_or(calibrate::DEFAULT_METHOD);
    if let Some(path) = &ranges.stats {
        return Ok((calibrate::read_stats(path, model)?, method));
    }
    let (stats, findings) = calibrate::collect(model, data, device, method, config)?;
    eprint!("{}", fewbit_report::findings(&findings));
    Ok((stats, method))
}
