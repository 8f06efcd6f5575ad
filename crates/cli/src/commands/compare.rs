//! `fewbit compare`: every strategy side by side.

use anyhow::Result;
use fewbit_core::backend::CompileOptions;
use fewbit_core::capability::Support;
use fewbit_core::ir::Graph;
use fewbit_core::lower::{Choices, lower};
use fewbit_core::plan::{Assignment, Axis, Goal, Plan, Precision, Strategy};
use fewbit_core::planner::Figures;
use fewbit_core::quant::{Granularity, Scheme, Symmetry};
use fewbit_onnx::ExportOptions;
use fewbit_report::{Comparison, LayerRow, PlanRow, StrategyRow};
use indexmap::IndexMap;

use crate::args::{Compare, Format, GoalArguments, Size};
use crate::config::Config;
use crate::mixed::{Search, Setting};
use crate::model::Model;
use crate::planning::Target;
use crate::{Answer, files, output};

/// What a mixed plan may take of the w8a8 plan's latency.
const SLOWER: f64 = 1.1;

pub(crate) fn run(arguments: &Compare, format: Format, config: &Config) -> Result<Answer> {
    if let Some(html) = &arguments.html {
        files::require_place(html, &arguments.model.model)?;
    }
    let model = Model::load(&arguments.model.model, &arguments.model.shapes, config)?;
    model.require_float()?;
    let name = arguments.target.as_deref().or_else(|| config.target.first().map(String::as_str));
    let target = Target::open(name, config)?;
    let (stats, method) =
        super::plan::ranges(&model, &arguments.ranges, &arguments.data, &arguments.device, config)?;
    let goal = GoalArguments {
        candidates: arguments.candidates.clone(),
        gate_data: arguments.gate_data.clone(),
        ..GoalArguments::default()
    };
    let setting = Setting {
        model: &model,
        target: &target,
        also: &[],
        pins: &[],
        arguments: &goal,
        stats: &stats,
        method,
        data: &arguments.data,
        device: &arguments.device,
        config,
    };
    let search = Search::new(&setting)?;
    let mut comparison = Comparison {
        model: model.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        target: target.capability.name.clone(),
        device: search.runner().map_or_else(
            || "no device".to_owned(),
            |(device, _)| format!("{}, {}", device.info().title, device.info().detail),
        ),
        threads: search.runner().map_or(0, |(_, threads)| threads),
        ..Comparison::default()
    };
    if target.device.is_none() {
        comparison.notes.push(format!(
            "{} is not attached: latencies are modelled from its description, accuracy is measured here by the same \
             arithmetic",
            target.capability.name
        ));
    }
    for (name, strategy) in [
        ("f32", Strategy::F32),
        ("f16", Strategy::F16),
        ("w8a8, dynamic", Strategy::W8A8Dynamic),
        ("w8a8, static, per channel", Strategy::W8A8),
    ] {
        let plan = search.uniform(strategy)?;
        if !plan.totals.precisions.contains_key(&strategy.precision()) {
            comparison.rows.push(StrategyRow {
                name: name.to_owned(),
                refused: Some(format!(
                    "{} runs no node natively at {}",
                    plan.target.name,
                    strategy.precision()
                )),
                ..StrategyRow::default()
            });
            continue;
        }
        comparison.rows.push(row(name, &model, &search, &plan, None)?);
        if strategy == Strategy::W8A8 {
            let choices = per_tensor(&model.graph, &plan);
            comparison.rows.push(row("w8a8, static, per tensor", &model, &search, &plan, Some(choices))?);
        }
    }
    let mut shown = None;
    for size in &arguments.sizes {
        let base = search.base().totals.weight_bytes as f64;
        let (limit, name) = match size {
            Size::Share(share) => (share * base, format!("mixed, {:.0} % of w8a8", 100.0 * share)),
            Size::Bytes(bytes) => (*bytes, format!("mixed, {:.2} MB", bytes / 1e6)),
        };
        // The smaller plan should not pay for its size with time: what is the most accurate could be half in float.
        let mut limits = IndexMap::from([(Axis::Size, limit)]);
        if let Some(latency) = search.base().totals.latency_ms {
            limits.insert(Axis::Latency, SLOWER * latency);
        }
        let goal = Goal { minimize: Axis::Error, limits, precisions: search.precisions().to_vec() };
        let without_latency = Goal { limits: IndexMap::from([(Axis::Size, limit)]), ..goal.clone() };
        // Where few bits are slower whatever the plan, the size is what was asked for.
        match search.best_for(&goal).or_else(|_| search.best_for(&without_latency)) {
            Ok(plan) => {
                shown = Some(plan.clone());
                comparison.rows.push(row(&name, &model, &search, &plan, None)?);
            }
            Err(error) => comparison.rows.push(StrategyRow {
                name,
                refused: Some(error.to_string()),
                ..StrategyRow::default()
            }),
        }
    }
    comparison.mark_front();
    comparison.samples = search.samples();
    comparison.layers = layers(&search);
    comparison.plan = shown.iter().flat_map(|plan| &plan.nodes).map(plan_row).collect();
    if let Some(html) = &arguments.html {
        files::write(html, fewbit_report::html(&comparison).as_bytes())?;
    }
    output::print(format, &comparison, || {
        let mut text = fewbit_report::comparison(&comparison);
        if let Some(html) = &arguments.html {
            text.push_str(&format!("written to {}\n", html.display()));
        }
        text
    })?;
    Ok(Answer::Yes)
}

/// One strategy, measured; `choices` stand for the plan's where they differ.
fn row(
    name: &str,
    model: &Model,
    search: &Search<'_>,
    plan: &Plan,
    choices: Option<Choices>,
) -> Result<StrategyRow> {
    let mut row = StrategyRow { name: name.to_owned(), ..StrategyRow::default() };
    if !plan.deployable {
        let why = plan
            .problems
            .iter()
            .chain(
                plan.nodes
                    .iter()
                    .filter(|node| node.support == Support::Unsupported)
                    .flat_map(|node| node.refused.iter().flat_map(|refusal| &refusal.reasons)),
            )
            .next()
            .map_or_else(|| "not deployable".to_owned(), |reason| reason.message.clone());
        row.refused = Some(why);
        return Ok(row);
    }
    let choices = choices.unwrap_or_else(|| plan.choices());
    let program = lower(&model.graph, &choices)?;
    row.weight_bytes = plan.totals.weight_bytes;
    row.file_bytes = if plan.strategy == Strategy::F32 {
        model.file_bytes
    } else {
        fewbit_onnx::export(&program, &ExportOptions::with_metadata(Vec::new()))?.len() as u64
    };
    row.predicted_ms = plan.totals.latency_ms;
    row.energy_mj = plan.totals.energy_mj;
    if let Some((device, threads)) = search.runner() {
        let memory = device.compile(&program, &CompileOptions::threads(threads))?.memory();
        row.memory_bytes = Some((memory.weights + memory.activations + memory.scratch) as u64);
    }
    if let Some(measured) = search.measure_program(&program)? {
        row.latency_ms = measured.latency_ms;
        row.top1 = measured.top1;
        row.agreement = Some(measured.agreement);
        row.sqnr_db = Some(measured.sqnr_db);
    }
    Ok(row)
}

/// The plan's choices with one scale for all weights of a node.
fn per_tensor(graph: &Graph, plan: &Plan) -> Choices {
    let mut choices = plan.choices();
    for (_, node) in graph.nodes().filter(|(_, node)| node.op.has_weights()) {
        if choices.precisions.get(&node.name).is_some_and(|precision| precision.has_integer_weights()) {
            let scheme = Scheme {
                dtype: fewbit_core::ir::DType::I8,
                symmetry: Symmetry::Symmetric,
                granularity: Granularity::PerTensor,
            };
            choices.weights.insert(node.name.clone(), scheme);
        }
    }
    choices
}

/// What each node of the base costs and adds in noise.
fn layers(search: &Search<'_>) -> Vec<LayerRow> {
    let figures = search.figures();
    let base = search.base();
    base.nodes
        .iter()
        .filter(|node| node.precision != Precision::F32)
        .filter_map(|node| {
            let noise = figures.noise(&node.node, node.precision)?;
            let us = node.processor.as_ref().and_then(|processor| {
                figures.latency_us(processor, &node.node, node.precision).or(node.estimate.latency_us)
            });
            Some(LayerRow {
                node: node.node.clone(),
                precision: node.precision.to_string(),
                noise,
                us,
                weight_bytes: node.cost.weight_bytes,
            })
        })
        .collect()
}

fn plan_row(node: &Assignment) -> PlanRow {
    PlanRow {
        node: node.node.clone(),
        op: node.op.clone(),
        precision: node.precision.to_string(),
        processor: node.processor.clone().unwrap_or_default(),
        us: node.estimate.latency_us,
        weight_bytes: node.cost.weight_bytes,
        reason: fewbit_report::why(node),
    }
}
