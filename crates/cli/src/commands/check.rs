//! `fewbit check`: what of a model runs natively on a target, what does not, and why.

use anyhow::Result;
use fewbit_core::capability::{Reason, Support};
use fewbit_core::plan::{Plan, Precision};
use fewbit_core::planner::Island;
use fewbit_report::{CheckReport, NodeReport, TargetReport};
use serde::Serialize;

use crate::args::{Check, DeviceArguments, Format, StrategyArgument};
use crate::config::Config;
use crate::failure::Usage;
use crate::model::Model;
use crate::planning::{self, Prediction, Target, Wish};
use crate::{Answer, devices, output};

/// Nodes of one kind and fate that are named; `--all` names the others too.
const NAMES: usize = 6;

#[derive(Serialize)]
struct Checked {
    target: String,
    title: String,
    deployable: bool,
    /// What hinders beside nodes: memory, for example.
    problems: Vec<Reason>,
    native: usize,
    emulated: usize,
    unsupported: usize,
    /// Nodes that run on another than the target's first processor.
    elsewhere: usize,
    weight_bytes: u64,
    activation_bytes: u64,
    latency_ms: Option<f64>,
    /// Whether every node's latency was measured on the attached device; else it is modelled.
    latency_measured: bool,
    energy_mj: Option<f64>,
    /// Conversions and copies of activations.
    conversions: usize,
    /// Connected groups of integer nodes that are predicted to take longer than the same nodes in float.
    slower_islands: Vec<Island>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    op: String,
    verdict: Support,
    precision: Precision,
    processor: Option<String>,
    rule: Option<String>,
    reasons: Vec<Reason>,
    #[serde(skip)]
    shown: bool,
}

pub(crate) fn run(arguments: &Check, format: Format, config: &Config) -> Result<Answer> {
    let model = Model::load_to_show(&arguments.model.model, &arguments.model.shapes, config)?;
    let names = if arguments.target.is_empty() { &config.target } else { &arguments.target };
    let names: Vec<Option<&str>> =
        if names.is_empty() { vec![None] } else { names.iter().map(|name| Some(name.as_str())).collect() };
    if arguments.strategy == StrategyArgument::Mixed {
        return Err(Usage::new("expected one precision to check for, found `mixed`")
            .help("check w8a8; `fewbit plan --minimize …` decides node by node")
            .into());
    }
    let wish = Wish { strategy: arguments.strategy.into(), pins: &[] };
    let threads = devices::threads(&DeviceArguments { backend: None, threads: arguments.threads }, config);
    let mut all = Vec::new();
    for name in names {
        all.push(check(&model, &Target::open(name, config)?, &wish, threads)?);
    }
    let answer = if all.iter().all(|checked| checked.deployable) { Answer::Yes } else { Answer::No };
    if matches!(format, Format::Sarif | Format::Junit) {
        let report = report(&model, &all);
        match format {
            Format::Sarif => output::verbatim(&fewbit_report::sarif(&report, env!("CARGO_PKG_VERSION"))?)?,
            _ => output::verbatim(&fewbit_report::junit(&report))?,
        }
        return Ok(answer);
    }
    let text = || {
        let mut text = String::new();
        for checked in &all {
            text.push_str(&render(&model, checked, arguments.all));
        }
        if all.len() > 1 {
            text.push_str(&summary(&all));
        }
        text
    };
    if let [one] = all.as_slice() {
        output::print(format, one, text)?;
    } else {
        let deployable = answer == Answer::Yes;
        output::print(format, &serde_json::json!({ "deployable": deployable, "targets": all }), text)?;
    }
    Ok(answer)
}

fn check(model: &Model, target: &Target, wish: &Wish<'_>, threads: usize) -> Result<Checked> {
    let Prediction { plan, islands } = planning::predict(model, target, wish, threads)?;
    let live = planning::disagreements(model, target, wish)?;
    let first = target.capability.processors.first().map(|processor| processor.id.clone());
    let wanted = wish.strategy.precision();
    let mut nodes: Vec<Node> = plan
        .nodes
        .iter()
        .map(|assignment| {
            let mut reasons = assignment.reasons.clone();
            // Of what was refused, what the first processor said of the precision asked for comes first.
            for refusal in &assignment.refused {
                for reason in &refusal.reasons {
                    if !reasons.contains(reason) {
                        reasons.push(reason.clone());
                    }
                }
            }
            let as_asked = assignment.support == Support::Native
                && assignment.processor == first
                && (assignment.refused.is_empty() || assignment.precision == wanted);
            Node {
                name: assignment.node.clone(),
                op: assignment.op.clone(),
                verdict: assignment.support,
                precision: assignment.precision,
                processor: assignment.processor.clone(),
                rule: assignment.rule.clone(),
                reasons,
                shown: !as_asked,
            }
        })
        .collect();
    for (name, support, reason) in live {
        if let Some(node) = nodes.iter_mut().find(|node| node.name == name) {
            node.verdict = support;
            node.reasons.insert(0, reason);
            node.shown = true;
        }
    }
    let count = |support| nodes.iter().filter(|node| node.verdict == support).count();
    let Plan { problems, totals, boundaries, .. } = plan;
    Ok(Checked {
        target: target.capability.name.clone(),
        title: target.capability.title.clone(),
        deployable: count(Support::Unsupported) == 0 && problems.is_empty(),
        problems,
        native: count(Support::Native),
        emulated: count(Support::Emulated),
        unsupported: count(Support::Unsupported),
        elsewhere: nodes.iter().filter(|node| node.processor.is_some() && node.processor != first).count(),
        weight_bytes: totals.weight_bytes,
        activation_bytes: totals.activation_bytes,
        latency_ms: totals.latency_ms,
        latency_measured: totals.latency_ms.is_some() && totals.measured == nodes.len(),
        energy_mj: totals.energy_mj,
        conversions: boundaries.len(),
        slower_islands: islands.into_iter().filter(Island::is_slower).collect(),
        nodes,
    })
}

/// What was found, in the form that SARIF and JUnit are made of.
fn report(model: &Model, all: &[Checked]) -> CheckReport {
    let node = |node: &Node| NodeReport {
        name: node.name.clone(),
        op: node.op.clone(),
        support: node.verdict,
        runs: runs(node),
        as_asked: !node.shown,
        reasons: node.reasons.clone(),
    };
    let target = |checked: &Checked| TargetReport {
        target: checked.target.clone(),
        title: checked.title.clone(),
        problems: checked.problems.clone(),
        nodes: checked.nodes.iter().map(node).collect(),
    };
    CheckReport { model: model.path.display().to_string(), targets: all.iter().map(target).collect() }
}

/// How a node runs, in words.
fn runs(node: &Node) -> String {
    match (&node.processor, node.verdict) {
        (Some(processor), Support::Native) => format!("runs natively at {} on {processor}", node.precision),
        (Some(processor), Support::Emulated) => format!("is emulated at {} on {processor}", node.precision),
        _ => "does not run".to_owned(),
    }
}

fn render(model: &Model, checked: &Checked, all: bool) -> String {
    let verdict = if checked.deployable { "deployable" } else { "NOT deployable" };
    let mut text = format!("{} on {} ({}): {verdict}\n", model.path.display(), checked.target, checked.title);
    let mut counts = vec![format!("{} of {} nodes native", checked.native, checked.nodes.len())];
    for (count, what) in [
        (checked.elsewhere, "on another processor than the first"),
        (checked.emulated, "emulated"),
        (checked.unsupported, "not running"),
    ] {
        if count > 0 {
            counts.push(format!("{count} {what}"));
        }
    }
    text.push_str(&format!("  {}\n", counts.join(", ")));
    text.push_str(&format!(
        "  weights {:.2} MB, activations at least {:.0} kB, {} conversions, {} {} and {}\n",
        checked.weight_bytes as f64 / 1e6,
        checked.activation_bytes as f64 / 1e3,
        checked.conversions,
        if checked.latency_measured { "predicted from measured nodes" } else { "estimated" },
        figure(checked.latency_ms, "ms"),
        figure(checked.energy_mj, "mJ"),
    ));
    for problem in &checked.problems {
        text.push_str(&reason(problem, "  "));
    }
    for island in &checked.slower_islands {
        let (first, others) = (&island.nodes[0], island.nodes.len() - 1);
        let others = if others > 0 { format!(" and {others} after it") } else { String::new() };
        text.push_str(&format!(
            "  slower than float: {first}{others}, {:.1} µs in integers with their conversions, {:.1} in float\n",
            island.integer_us.unwrap_or(0.0),
            island.float_us.unwrap_or(0.0)
        ));
    }
    let mut groups: Vec<(&Node, Vec<&str>)> = Vec::new();
    for node in checked.nodes.iter().filter(|node| all || node.shown) {
        let same = groups.iter_mut().find(|(first, _)| {
            (&first.op, first.verdict, first.precision, &first.processor, &first.reasons)
                == (&node.op, node.verdict, node.precision, &node.processor, &node.reasons)
        });
        match same {
            Some((_, names)) => names.push(&node.name),
            None => groups.push((node, vec![&node.name])),
        }
    }
    for (node, names) in groups {
        let shown = if all { names.len() } else { names.len().min(NAMES) };
        let mut list = names[..shown].join(", ");
        if shown < names.len() {
            list.push_str(&format!(" and {} more", names.len() - shown));
        }
        text.push_str(&format!("\n  {} {list} {}\n", node.op, runs(node)));
        for because in &node.reasons {
            text.push_str(&reason(because, "    "));
        }
    }
    text.push('\n');
    text
}

fn reason(reason: &Reason, indent: &str) -> String {
    let mut text = format!("{indent}{}: {}\n", reason.code, reason.message);
    if let Some(fix) = &reason.fix {
        text.push_str(&format!("{indent}  fix: {fix}\n"));
    }
    text
}

fn figure(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| format!("unknown {unit}"), |value| format!("{value:.3} {unit}"))
}

fn summary(all: &[Checked]) -> String {
    let rows = all.iter().map(|checked| {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        vec![
            checked.target.clone(),
            if checked.deployable { "yes" } else { "no" }.to_owned(),
            checked.native.to_string(),
            checked.elsewhere.to_string(),
            checked.emulated.to_string(),
            checked.unsupported.to_string(),
            format!("{:.2}", checked.weight_bytes as f64 / 1e6),
            format!("{:.0}", checked.activation_bytes as f64 / 1e3),
            number(checked.latency_ms),
            number(checked.energy_mj),
        ]
    });
    fewbit_report::table(
        &[
            "target",
            "deployable",
            "native",
            "elsewhere",
            "emulated",
            "refused",
            "weights MB",
            "activations kB",
            "est. ms",
            "est. mJ",
        ],
        rows,
    )
}
