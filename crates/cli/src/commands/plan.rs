//! `fewbit plan`: the precision of every node for a target, with a reason for each.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fewbit_calibrate::observe::{CalibrationStats, Method};
use fewbit_core::plan::{Axis, Plan, Precision, Strategy};
use fewbit_core::{CoreError, CoreErrorKind};
use serde::Serialize;

use crate::args::{
    DataArguments, DeviceArguments, Format, Plan as Arguments, PlanArguments, PlanDiff, RangeArguments,
};
use crate::config::Config;
use crate::failure::Usage;
use crate::mixed::{Search, Setting};
use crate::model::Model;
use crate::planning::{self, Observed, Target, Wish};
use crate::{Answer, files, output};

use super::calibrate;

/// Reads a plan's file.
pub(super) fn read(path: &Path) -> Result<Plan> {
    Ok(Plan::from_json(&files::read_text(path)?, &path.display().to_string())?)
}

/// Shows what differs between two plans.
pub(crate) fn diff(arguments: &PlanDiff, format: Format) -> Result<Answer> {
    let diff = fewbit_core::plan::diff(&read(&arguments.old)?, &read(&arguments.new)?);
    output::print(format, &diff, || fewbit_report::plan_diff(&diff))?;
    Ok(if diff.is_empty() { Answer::Yes } else { Answer::No })
}

pub(crate) fn run(arguments: &Arguments, format: Format, config: &Config) -> Result<Answer> {
    files::require_place(&arguments.output, &arguments.model.model)?;
    let model = Model::load(&arguments.model.model, &arguments.model.shapes, config)?;
    if arguments.wish.target.len() > 1 && arguments.pareto.is_none() {
        return several(arguments, format, &model, config);
    }
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

/// One artifact that runs on every target: what it costs on each beside that target's own plan.
#[derive(Serialize)]
struct Shared {
    target: String,
    own: Plan,
    own_file: PathBuf,
    /// The common artifact's plan for this target.
    common: Plan,
}

/// Writes a plan for each target, and the plan of the best single artifact that runs on all of them, for each.
fn several(arguments: &Arguments, format: Format, model: &Model, config: &Config) -> Result<Answer> {
    model.require_float()?;
    let (stats, method) = ranges(model, &arguments.ranges, &arguments.data, &arguments.device, config)?;
    let observed = Observed { stats: &stats, method };
    let targets = arguments
        .wish
        .target
        .iter()
        .map(|name| Target::open(Some(name), config))
        .collect::<Result<Vec<_>>>()?;
    let mut owns = Vec::new();
    for target in &targets {
        let wish = PlanArguments { target: Vec::new(), ..arguments.wish.clone() };
        owns.push(planned(
            model,
            target,
            &wish,
            (&stats, method),
            &arguments.data,
            &arguments.device,
            config,
        )?);
    }
    // The artifact is planned on the first target under the rules of all.
    let also: Vec<_> = targets[1..].iter().map(|target| target.capability.clone()).collect();
    let strategy = owns[0].strategy;
    let common = if strategy == Strategy::Mixed {
        let setting = Setting {
            model,
            target: &targets[0],
            also: &also,
            pins: &arguments.wish.pin,
            arguments: &arguments.wish.goal,
            stats: &stats,
            method,
            data: &arguments.data,
            device: &arguments.device,
            config,
        };
        Search::new(&setting)?.best()?
    } else {
        let wish = Wish { strategy, pins: &arguments.wish.pin };
        let mut request = planning::request(model, &targets[0].capability, &wish, Some(&observed));
        request.also = &also;
        fewbit_core::planner::plan(&request)?
    };
    let pins: Vec<(String, Precision)> =
        common.nodes.iter().map(|node| (node.node.clone(), node.precision)).collect();
    let mut rows = Vec::new();
    let mut written = Vec::new();
    for ((target, own), number) in targets.iter().zip(owns).zip(0usize..) {
        let common = if number == 0 {
            common.clone()
        } else {
            // The same artifact, as this target sees it: every node at the precision that was found for all.
            let others: Vec<_> = targets
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != number)
                .map(|(_, target)| target.capability.clone())
                .collect();
            let wish = Wish { strategy: Strategy::W8A8, pins: &pins };
            let mut request = planning::request(model, &target.capability, &wish, Some(&observed));
            request.also = &others;
            let seen = fewbit_core::planner::plan(&request)?;
            if seen.choices() != common.choices() {
                return Err(CoreError::new(
                    CoreErrorKind::Infeasible,
                    format!(
                        "expected one artifact for all targets, found that {} needs other parameters than {}",
                        target.capability.name, targets[0].capability.name
                    ),
                )
                .help("plan for the two one by one, or pin the nodes that `fewbit plan-diff` names")
                .into());
            }
            seen
        };
        let name = own.target.name.clone();
        let own_file = arguments.output.with_extension(format!("{name}.json"));
        written.push((own_file.clone(), own.to_json().into_bytes()));
        written.push((
            arguments.output.with_extension(format!("common.{name}.json")),
            common.to_json().into_bytes(),
        ));
        rows.push(Shared { target: name, own, own_file, common });
    }
    files::write_all(&written)?;
    let paths: Vec<_> = written.iter().map(|(path, _)| path.display().to_string()).collect();
    output::print(format, &serde_json::json!({ "targets": rows, "files": paths }), || {
        let pairs: Vec<(&str, &Plan, &Plan)> =
            rows.iter().map(|row| (row.target.as_str(), &row.own, &row.common)).collect();
        format!("{}\nwritten to {}", fewbit_report::shared(&pairs), paths.join(", "))
    })?;
    let deployable = rows.iter().all(|row| row.own.deployable && row.common.deployable);
    Ok(if deployable { Answer::Yes } else { Answer::No })
}

/// Writes the points of a front, the largest first, and shows them side by side.
fn front(
    arguments: &Arguments,
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
        also: &[],
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
    if let [_, second, ..] = arguments.target.as_slice() {
        return Err(Usage::new(format!("expected one target, found `{second}` too"))
            .help("`fewbit plan` without --pareto takes several; quantize by the plan that it writes")
            .into());
    }
    let named = arguments.target.first().or_else(|| config.target.first());
    Target::open(named.map(String::as_str), config)
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
    let plan = planned(model, target, arguments, (&stats, method), data, device, config)?;
    Ok((plan, Some(stats)))
}

/// The plan for one target by what was calibrated.
fn planned(
    model: &Model,
    target: &Target,
    arguments: &PlanArguments,
    (stats, method): (&CalibrationStats, Method),
    data: &DataArguments,
    device: &DeviceArguments,
    config: &Config,
) -> Result<Plan> {
    let goal = &arguments.goal;
    let strategy = if goal.asks() { Strategy::Mixed } else { arguments.strategy.into() };
    let pins = &arguments.pin;
    if strategy == Strategy::Mixed {
        let setting =
            Setting { model, target, also: &[], pins, arguments: goal, stats, method, data, device, config };
        return Search::new(&setting)?.best();
    }
    let observed = Observed { stats, method };
    planning::make(model, &target.capability, &Wish { strategy, pins }, Some(&observed))
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
