//! Mixed plans: measuring what the planner needs, planning, and holding the plans to the real metric.
//!
//! The order of work: a w8a8 plan as the base; what may run where; latencies on the attached device; the sensitivity of
//! each node (both cached); the plans; then each is lowered and run over data. Where no plan passes the gate, the
//! predicted noise is bounded more and more tightly until one does.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use fewbit_calibrate::Runner;
use fewbit_calibrate::dataset::Dataset;
use fewbit_calibrate::evaluate::evaluate;
use fewbit_calibrate::observe::{CalibrationStats, Method};
use fewbit_calibrate::sensitivity::{self, Change, Samples, Sensitivity};
use fewbit_core::backend::Device;
use fewbit_core::capability::Capability;
use fewbit_core::ir::{Graph, Node};
use fewbit_core::lower::{Choices, lower};
use fewbit_core::plan::{Axis, Goal, Measurement, Plan, Precision, Strategy};
use fewbit_core::planner::{self, Allowed};
use fewbit_core::{CoreError, CoreErrorKind, plan as plans};
use fewbit_runtime::times::program_times;
use indexmap::IndexMap;

use crate::args::{DataArguments, DeviceArguments, GoalArguments, Size};
use crate::config::Config;
use crate::failure::Usage;
use crate::figures::{Latencies, Measured};
use crate::model::Model;
use crate::planning::{self, Observed, Target, Wish};
use crate::{cache, devices, files, progress};

/// The precisions that are tried where nobody says.
const CANDIDATES: [Precision; 3] = [Precision::W8A8, Precision::W4A8, Precision::F32];
/// Times that the bound on noise is tightened.
const REPAIRS: usize = 6;
/// Runs of a plan's program whose median is its measured latency.
const ITERATIONS: usize = 40;

/// What a mixed plan needs beside the goal.
pub(crate) struct Setting<'a> {
    pub(crate) model: &'a Model,
    pub(crate) target: &'a Target,
    /// Other targets that the same artifact must run on.
    pub(crate) also: &'a [Capability],
    pub(crate) pins: &'a [(String, Precision)],
    pub(crate) arguments: &'a GoalArguments,
    pub(crate) stats: &'a CalibrationStats,
    pub(crate) method: Method,
    pub(crate) data: &'a DataArguments,
    pub(crate) device: &'a DeviceArguments,
    pub(crate) config: &'a Config,
}

/// Everything measured, ready to plan and to measure plans.
pub(crate) struct Search<'a> {
    setting: &'a Setting<'a>,
    goal: Goal,
    measured: Measured,
    /// The base: every node at w8a8 that can be.
    base: Plan,
    runner: Option<std::sync::Arc<dyn Device>>,
    threads: usize,
    gate: Option<Dataset>,
    gate_samples: usize,
}

impl<'a> Search<'a> {
    pub(crate) fn new(setting: &'a Setting<'a>) -> Result<Self> {
        let Setting { model, target, arguments, config, .. } = *setting;
        let observed = Observed { stats: setting.stats, method: setting.method };
        let base_wish = Wish { strategy: Strategy::W8A8, pins: &[] };
        let base = planning::make(model, &target.capability, &base_wish, Some(&observed))?;
        let goal = goal(arguments, &base)?;
        let wish = Wish { strategy: Strategy::Mixed, pins: setting.pins };
        let mut request = planning::request(model, &target.capability, &wish, Some(&observed));
        request.goal = Some(&goal);
        request.also = setting.also;
        let allowed = planner::allowed(&request)?;
        let choices = base.choices();
        let threads = devices::threads(setting.device, config);
        let latencies = match &target.device {
            Some(device) => Some(Latencies::measure(model, device.as_ref(), threads, &choices, &allowed)?),
            None => None,
        };
        let runner = devices::open(setting.device, config).ok();
        let sensitivity = match &runner {
            Some(device) => Some(find_sensitivity(setting, device.as_ref(), threads, &choices, &allowed)?),
            None => None,
        };
        let measured = Measured::new(latencies, sensitivity, &choices);
        let base = {
            let mut request = planning::request(model, &target.capability, &base_wish, Some(&observed));
            request.figures = Some(&measured);
            planner::plan(&request)?
        };
        let gate_path = arguments.gate_data.clone().or_else(|| setting.data.data.clone());
        let (gate, gate_samples) = match gate_path.or_else(|| config.data.clone()) {
            Some(path) => {
                let data = DataArguments { data: Some(path), ..setting.data.clone() };
                let inputs = crate::model::input_specs(&model.graph);
                let dataset = crate::commands::dataset(&data, &inputs, config)?;
                let count = dataset.len();
                (Some(dataset), count)
            }
            None => (None, 0),
        };
        if arguments.max_drop.is_some() && !gate.as_ref().is_some_and(Dataset::has_labels) {
            return Err(Usage::new("expected data with labels for --max-drop, found none")
                .help("give --gate-data with a labels.csv, or --min-agreement, which needs no labels")
                .into());
        }
        Ok(Self { setting, goal, measured, base, runner, threads, gate, gate_samples })
    }

    /// The plan that every node at w8a8 would be.
    pub(crate) fn base(&self) -> &Plan {
        &self.base
    }

    /// Asks the planner with `goal`.
    fn ask<T>(
        &self,
        goal: &Goal,
        how: impl FnOnce(&planner::Request<'_>) -> fewbit_core::error::Result<T>,
    ) -> Result<T> {
        let setting = self.setting;
        let observed = Observed { stats: setting.stats, method: setting.method };
        let wish = Wish { strategy: Strategy::Mixed, pins: setting.pins };
        let mut request =
            planning::request(setting.model, &setting.target.capability, &wish, Some(&observed));
        request.goal = Some(goal);
        request.also = setting.also;
        request.figures = Some(&self.measured);
        Ok(how(&request)?)
    }

    /// The best plan that passes the gate, as it was measured.
    pub(crate) fn best(&self) -> Result<Plan> {
        let gated =
            self.setting.arguments.max_drop.is_some() || self.setting.arguments.min_agreement.is_some();
        let count = if self.gate.is_some() { self.setting.arguments.plans.max(1) } else { 1 };
        let found = self.ask(&self.goal, |request| planner::diverse(request, count, 1))?;
        let mut candidates = Vec::new();
        for plan in found {
            candidates.push(self.measure(plan)?);
        }
        if let Some(plan) = self.choose(&candidates) {
            return self.checked(plan.clone());
        }
        if !gated {
            return Err(CoreError::new(CoreErrorKind::Infeasible, "expected a plan, found none").into());
        }
        self.repair(&candidates)
    }

    /// The plan of one precision, with what was measured.
    pub(crate) fn uniform(&self, strategy: Strategy) -> Result<Plan> {
        let setting = self.setting;
        let observed = Observed { stats: setting.stats, method: setting.method };
        let wish = Wish { strategy, pins: &[] };
        let mut request =
            planning::request(setting.model, &setting.target.capability, &wish, Some(&observed));
        request.figures = Some(&self.measured);
        self.checked(planner::plan(&request)?)
    }

    /// The best plan for another goal, measured; the gate is not asked.
    pub(crate) fn best_for(&self, goal: &Goal) -> Result<Plan> {
        self.checked(self.measure(self.ask(goal, planner::plan)?)?)
    }

    /// The precisions that plans may choose from.
    pub(crate) fn precisions(&self) -> &[Precision] {
        &self.goal.precisions
    }

    /// What was measured of the nodes, as the planner asks for it.
    pub(crate) fn figures(&self) -> &Measured {
        &self.measured
    }

    /// The device that runs plans here and the threads it may use.
    pub(crate) fn runner(&self) -> Option<(&dyn Device, usize)> {
        self.runner.as_deref().map(|device| (device, self.threads))
    }

    /// Tightens the bound on noise until a plan passes: the loosest bound that does, by bisection.
    fn repair(&self, failed: &[Plan]) -> Result<Plan> {
        let noise = |plan: &Plan| plan.totals.noise.unwrap_or(f64::INFINITY);
        let least_goal = Goal { minimize: Axis::Error, ..self.goal.clone() };
        let most_accurate = self.measure(self.ask(&least_goal, planner::plan)?)?;
        if !self.passes(&most_accurate) {
            return Err(self.refuse(&most_accurate).into());
        }
        let mut low = noise(&most_accurate).max(1e-9);
        let mut high = failed.iter().map(noise).fold(low, f64::max);
        let mut best = most_accurate;
        for _ in 0..REPAIRS {
            let bound = (low * high).sqrt();
            let mut limits = self.goal.limits.clone();
            limits.insert(Axis::Error, bound);
            let goal = Goal { limits, ..self.goal.clone() };
            let Ok(plan) = self.ask(&goal, planner::plan) else {
                low = bound;
                continue;
            };
            let plan = self.measure(plan)?;
            if self.passes(&plan) {
                low = bound;
                if self.objective(&plan) <= self.objective(&best) {
                    best = plan;
                }
            } else {
                high = bound;
            }
        }
        self.checked(best)
    }

    fn objective(&self, plan: &Plan) -> f64 {
        plan.totals.value(self.goal.minimize).unwrap_or(f64::INFINITY)
    }

    /// Of the plans that pass the gate the best on the axis that is minimised; where that is the error, the one that was
    /// measured to be the most accurate.
    fn choose<'p>(&self, plans: &'p [Plan]) -> Option<&'p Plan> {
        let rank = |plan: &Plan| match (&plan.measured, self.goal.minimize) {
            (Some(measured), Axis::Error) => -measured.sqnr_db,
            _ => self.objective(plan),
        };
        plans.iter().filter(|plan| self.passes(plan)).min_by(|a, b| rank(a).total_cmp(&rank(b)))
    }

    /// Whether a measured plan keeps what the gate asks for.
    pub(crate) fn passes(&self, plan: &Plan) -> bool {
        let arguments = self.setting.arguments;
        let Some(measured) = &plan.measured else {
            return arguments.max_drop.is_none() && arguments.min_agreement.is_none();
        };
        let drop = measured.top1_float.zip(measured.top1).map(|(float, own)| float - own);
        arguments.max_drop.is_none_or(|most| drop.is_some_and(|drop| drop <= most))
            && arguments.min_agreement.is_none_or(|least| measured.agreement >= least)
    }

    fn refuse(&self, best: &Plan) -> CoreError {
        let arguments = self.setting.arguments;
        let measured = best.measured.as_ref();
        let found = match (arguments.max_drop, measured) {
            (Some(most), Some(Measurement { top1: Some(own), top1_float: Some(float), .. })) => {
                format!(
                    "a drop of at most {most} points, found {:.2} with the most accurate plan",
                    float - own
                )
            }
            (_, Some(measured)) => format!(
                "an agreement of at least {} %, found {:.2} % with the most accurate plan",
                arguments.min_agreement.unwrap_or(0.0),
                measured.agreement
            ),
            _ => "a plan that passes, found none".to_owned(),
        };
        CoreError::new(CoreErrorKind::Infeasible, format!("expected {found} within the other limits"))
            .help("loosen a limit, or add precisions with --candidates")
    }

    fn checked(&self, plan: Plan) -> Result<Plan> {
        let model = self.setting.model;
        plans::verify(&plan, &model.graph, &model.hash, &self.setting.target.capability)
            .context("the planner made a plan that its own check refuses")?;
        Ok(plan)
    }

    /// The front between what is minimised and `axis`, each point measured, from the least of `axis` on. Points that
    /// turn out no better than one before them are left out; how many is told too.
    pub(crate) fn front(&self, axis: Axis, steps: usize) -> Result<(Vec<Plan>, usize)> {
        let found = self.ask(&self.goal, |request| planner::front(request, axis, steps))?;
        let count = found.len();
        let mut kept: Vec<Plan> = Vec::new();
        for plan in found {
            let plan = self.checked(self.measure(plan)?)?;
            let value = |plan: &Plan| match (&plan.measured, self.goal.minimize) {
                (Some(measured), Axis::Error) => -measured.sqnr_db,
                (Some(Measurement { latency_ms: Some(latency), .. }), Axis::Latency) => *latency,
                _ => self.objective(plan),
            };
            if kept.last().is_none_or(|last| value(&plan) < value(last)) {
                kept.push(plan);
            }
        }
        let dropped = count - kept.len();
        Ok((kept, dropped))
    }

    /// The plan with what running it shows; as it is where there is no data or no device.
    pub(crate) fn measure(&self, plan: Plan) -> Result<Plan> {
        if !plan.deployable {
            return Ok(plan);
        }
        let program = lower(&self.setting.model.graph, &plan.choices())?;
        Ok(match self.measure_program(&program)? {
            Some(measured) => plan.with_measurement(measured),
            None => plan,
        })
    }

    /// Samples on which plans are measured.
    pub(crate) fn samples(&self) -> usize {
        self.gate_samples
    }

    /// What running a program shows; `None` where there is no data or no device.
    pub(crate) fn measure_program(&self, program: &Graph) -> Result<Option<Measurement>> {
        let (Some(device), Some(dataset)) = (&self.runner, &self.gate) else { return Ok(None) };
        let graph = &self.setting.model.graph;
        let mut runner = Runner::new(program, device.as_ref(), self.threads)?;
        let mut float = Runner::new(graph, device.as_ref(), self.threads)?;
        let bar = progress::bar("measure", self.gate_samples);
        let found = evaluate(&mut runner, Some(&mut float), dataset, self.gate_samples, &mut |seen| {
            bar.set_position(seen.done as u64);
            true
        })?;
        bar.finish_and_clear();
        let latency_ms = match &self.setting.target.device {
            Some(device) => {
                Some(program_times(program, device.as_ref(), self.threads, ITERATIONS)?.run_us / 1e3)
            }
            None => None,
        };
        Ok(Some(Measurement {
            samples: found.n,
            top1: found.top1,
            top1_float: found.top1_reference,
            agreement: found.agreement.unwrap_or(0.0),
            sqnr_db: found.sqnr_db.unwrap_or(0.0),
            latency_ms,
        }))
    }
}

/// The goal of the command line; shares of the size are of the base's.
fn goal(arguments: &GoalArguments, base: &Plan) -> Result<Goal> {
    let mut limits = IndexMap::new();
    let bounds = [
        (Axis::Latency, "--max-latency-ms", arguments.max_latency_ms),
        (Axis::Energy, "--max-energy-mj", arguments.max_energy_mj),
        (
            Axis::Size,
            "--max-size",
            arguments.max_size.map(|size| match size {
                Size::Bytes(bytes) => bytes,
                Size::Share(share) => share * base.totals.weight_bytes as f64,
            }),
        ),
        (Axis::Error, "--min-sqnr-db", arguments.min_sqnr_db.map(|db| 10f64.powf(-db / 10.0))),
    ];
    for (axis, name, bound) in bounds {
        let Some(bound) = bound else { continue };
        if !bound.is_finite() || bound <= 0.0 {
            return Err(Usage::new(format!("expected a positive number for {name}, found {bound}")).into());
        }
        limits.insert(axis, bound);
    }
    let mut precisions = arguments.candidates.clone();
    if precisions.is_empty() {
        precisions = CANDIDATES.to_vec();
    }
    // Bounds without an axis to minimise ask for the most accurate plan within them, a gate for the smallest that passes.
    let gated = arguments.max_drop.is_some() || arguments.min_agreement.is_some();
    let default = if gated && limits.is_empty() { Axis::Size } else { Axis::Error };
    Ok(Goal { minimize: arguments.minimize.unwrap_or(default), limits, precisions })
}

/// The sensitivity of every node: from the file, else measured, going on where an interrupted command stopped.
fn find_sensitivity(
    setting: &Setting<'_>,
    device: &dyn Device,
    threads: usize,
    base: &Choices,
    allowed: &IndexMap<String, Vec<Allowed>>,
) -> Result<Sensitivity> {
    let Setting { model, arguments, stats, config, .. } = *setting;
    let precisions = |name: &str| -> Vec<Precision> {
        let mut list: Vec<Precision> = Vec::new();
        for option in allowed.get(name).into_iter().flatten() {
            if !list.contains(&option.precision) {
                list.push(option.precision);
            }
        }
        list
    };
    let data = setting.data.data.as_ref().or(config.data.as_ref());
    let samples = if data.is_some() { arguments.sensitivity_samples } else { 0 };
    let subject = |data: &str| {
        cache::hash(&[&format!("{:?} {:?}", base.activations, base.weight_rule), data, &samples.to_string()])
    };
    if samples == 0 {
        let subject = subject("");
        let of_node = |node: &Node| precisions(&node.name);
        return Ok(sensitivity::estimate(&model.graph, &model.hash, &subject, base, stats, &of_node)?);
    }
    let dataset = crate::commands::dataset(setting.data, &crate::model::input_specs(&model.graph), config)?;
    let subject = subject(&dataset.content_hash(samples)?);
    let file: Option<PathBuf> =
        arguments.sensitivity.clone().or_else(|| cache::file("sensitivity", &[&model.hash, &subject]));
    let known = match &file {
        Some(file) if file.exists() => {
            let text = files::read_text(file)?;
            Some(Sensitivity::from_json(&text, &model.hash, &subject).map_err(|error| {
                Usage::of_file(file, error.to_string()).help("remove the file, and it is measured again")
            })?)
        }
        _ => None,
    };
    let mut changes = Vec::new();
    for name in allowed.keys() {
        let own = base.precisions.get(name).copied().unwrap_or(Precision::F32);
        for precision in precisions(name).into_iter().chain([Precision::F32]) {
            let change = Change { node: name.clone(), precision };
            let done = known
                .as_ref()
                .is_some_and(|known| known.nodes.get(name).is_some_and(|row| row.contains_key(&precision)));
            if precision != own && !done && !changes.contains(&change) {
                changes.push(change);
            }
        }
    }
    if let (Some(known), true) = (&known, changes.is_empty()) {
        return Ok(known.clone());
    }
    let taken = Samples::new(&model.graph, device, threads, &dataset, samples)?;
    let program = |choices: &Choices| lower(&model.graph, choices);
    let mut found = match known {
        Some(known) => known,
        None => Sensitivity {
            schema: Sensitivity::SCHEMA,
            model: model.hash.clone(),
            subject,
            mode: sensitivity::Mode::Measured,
            samples: taken.len(),
            base: taken.effect(&program(base)?, device, threads)?,
            nodes: IndexMap::new(),
        },
    };
    let bar = progress::bar("sensitivity", changes.len());
    let changed = |change: &Change| {
        let mut choices = base.clone();
        choices.precisions.insert(change.node.clone(), change.precision);
        Ok(program(&choices)?)
    };
    let mut saved = std::time::Instant::now();
    sensitivity::measure(&taken, device, threads, &changes, &changed, &mut |done, change, effect| {
        bar.set_position(done as u64);
        found.nodes.entry(change.node.clone()).or_default().insert(change.precision, effect);
        // What was found survives an interruption.
        if let Some(file) = file.as_ref().filter(|_| saved.elapsed().as_secs() >= 5) {
            saved = std::time::Instant::now();
            drop(write(file, &found));
        }
        true
    })?;
    bar.finish_and_clear();
    // In the graph's order, whichever was found first.
    found.nodes.sort_by_cached_key(|name, _| allowed.get_index_of(name));
    for row in found.nodes.values_mut() {
        row.sort_keys();
    }
    if let Some(file) = &file {
        let written = write(file, &found);
        if arguments.sensitivity.is_some() {
            written?;
        }
    }
    Ok(found)
}

fn write(file: &std::path::Path, found: &Sensitivity) -> Result<()> {
    files::write(file, &serde_json::to_vec_pretty(found)?)
}
