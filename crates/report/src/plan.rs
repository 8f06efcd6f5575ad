//! Plans as text.

use fewbit_core::capability::Support;
use fewbit_core::plan::{Assignment, Axis, Measurement, Place, Plan, PlanDiff};

use crate::table;

/// A plan in a few lines: what runs where, what does not run as asked and why, and what it costs.
pub fn plan(plan: &Plan) -> String {
    let totals = &plan.totals;
    let precisions: Vec<String> =
        totals.precisions.iter().map(|(precision, count)| format!("{precision} {count}")).collect();
    let mut text = format!(
        "{} for {} ({}): {}\n",
        plan.model.name,
        plan.target.name,
        plan.strategy,
        if plan.deployable { "deployable" } else { "NOT deployable" }
    );
    let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<12}{value}\n"));
    row("nodes", format!("{} ({})", plan.nodes.len(), precisions.join(", ")));
    row("run", format!("{} native, {} emulated, {} not", totals.native, totals.emulated, totals.unsupported));
    row("conversions", plan.boundaries.len().to_string());
    row("weights", format!("{:.2} MB", totals.weight_bytes as f64 / 1e6));
    row("activations", format!("at least {:.0} kB", totals.activation_bytes as f64 / 1e3));
    if let Some(latency) = totals.latency_ms {
        let source = match totals.measured {
            0 => "by the target's figures".to_owned(),
            count if count == plan.nodes.len() => "predicted, every node measured".to_owned(),
            count => format!("predicted, {count} nodes measured, the others by the target's figures"),
        };
        row("latency", format!("{latency:.3} ms {source}"));
    }
    if let Some(energy) = totals.energy_mj {
        row("energy", format!("{energy:.3} mJ by the target's figures"));
    }
    if let Some(noise) = totals.noise.filter(|_| plan.optimality.is_some()) {
        row("noise", format!("{} predicted", Axis::Error.show(noise)));
    }
    if let Some(optimality) = &plan.optimality {
        let goal = &optimality.goal;
        let limits: Vec<String> =
            goal.limits.iter().map(|(axis, limit)| format!("{axis} at most {}", axis.show(*limit))).collect();
        let under = if limits.is_empty() { String::new() } else { format!(" under {}", limits.join(", ")) };
        row("goal", format!("least {}{under}", goal.minimize));
        let gap = match optimality.gap() {
            gap if gap < 1e-6 => "no plan is better".to_owned(),
            gap => format!("at most {:.2} % from the best", 100.0 * gap),
        };
        row(
            "reached",
            format!("{}, {gap} ({})", goal.minimize.show(optimality.objective), optimality.figures),
        );
    }
    if let Some(measured) = &plan.measured {
        row("measured", measurement(measured));
    }
    if let Some(calibration) = &plan.calibration {
        row("ranges", calibration.clone());
    }
    row("hash", plan.hash.clone());
    let wanted = plan.strategy.precision();
    let others: Vec<&Assignment> = plan
        .nodes
        .iter()
        .filter(|node| {
            node.support != Support::Native || (node.precision != wanted && !node.refused.is_empty())
        })
        .collect();
    if !others.is_empty() {
        let rows = others.into_iter().map(|node| {
            let why = node
                .refused
                .iter()
                .flat_map(|refusal| &refusal.reasons)
                .chain(&node.reasons)
                .next()
                .map_or_else(String::new, |reason| format!("{}: {}", reason.code, reason.message));
            let runs = match (&node.processor, node.support) {
                (Some(processor), Support::Emulated) => {
                    format!("{} on {processor}, emulated", node.precision)
                }
                (Some(processor), _) => format!("{} on {processor}", node.precision),
                (None, _) => "nowhere".to_owned(),
            };
            vec![node.node.clone(), node.op.clone(), runs, why]
        });
        text.push_str(&table(&["node", "operator", "runs", "why not as asked"], rows));
        text.push('\n');
    }
    text
}

/// What was measured of a plan, in one line.
fn measurement(measured: &Measurement) -> String {
    let mut parts = Vec::new();
    if let (Some(own), Some(float)) = (measured.top1, measured.top1_float) {
        parts.push(format!("top-1 {own:.2} % (float {float:.2} %)"));
    }
    parts.push(format!("agreement {:.2} %", measured.agreement));
    parts.push(format!("{:.2} dB", measured.sqnr_db));
    if let Some(latency) = measured.latency_ms {
        parts.push(format!("{latency:.3} ms"));
    }
    format!("{} over {} samples", parts.join(", "), measured.samples)
}

/// One artifact for several targets beside each target's own plan: the target, its own plan, the artifact's plan there.
pub fn shared(rows: &[(&str, &Plan, &Plan)]) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let decibels = |plan: &Plan| {
        plan.measured
            .as_ref()
            .map(|measured| measured.sqnr_db)
            .or_else(|| plan.totals.noise.filter(|noise| *noise > 0.0).map(|noise| -10.0 * noise.log10()))
    };
    let cells = rows.iter().map(|(target, own, common)| {
        let lost = own
            .totals
            .latency_ms
            .zip(common.totals.latency_ms)
            .map(|(own, common)| 100.0 * (common / own - 1.0));
        let integers =
            |plan: &Plan| plan.nodes.iter().filter(|node| node.precision.has_integer_activations()).count();
        vec![
            (*target).to_owned(),
            number(own.totals.latency_ms, 3),
            number(common.totals.latency_ms, 3),
            lost.map_or_else(|| "-".to_owned(), |lost| format!("{lost:+.1}")),
            format!("{:.3}", own.totals.weight_bytes as f64 / 1e6),
            format!("{:.3}", common.totals.weight_bytes as f64 / 1e6),
            number(decibels(own), 1),
            number(decibels(common), 1),
            format!("{} / {}", integers(own), integers(common)),
            if common.deployable { "yes" } else { "NO" }.to_owned(),
        ]
    });
    let mut text = table(
        &[
            "target",
            "own ms",
            "common ms",
            "slower %",
            "own MB",
            "common MB",
            "own dB",
            "common dB",
            "integer nodes",
            "deployable",
        ],
        cells,
    );
    text.push_str(
        "\nown: the best plan for the target alone; common: one artifact that runs on all of them\n",
    );
    text
}

/// What differs between two plans.
pub fn plan_diff(diff: &PlanDiff) -> String {
    if diff.is_empty() {
        return "the plans decide the same".to_owned();
    }
    let mut text = String::new();
    for (name, (before, after)) in &diff.subjects {
        text.push_str(&format!("{name}: {before} -> {after}\n"));
    }
    if diff.deployable.0 != diff.deployable.1 {
        let word = |yes: bool| if yes { "deployable" } else { "NOT deployable" };
        text.push_str(&format!("{} -> {}\n", word(diff.deployable.0), word(diff.deployable.1)));
    }
    for (axis, (before, after)) in &diff.totals {
        let show =
            |value: &Option<f64>| value.map_or_else(|| "not known".to_owned(), |value| axis.show(value));
        text.push_str(&format!("{axis}: {} -> {}\n", show(before), show(after)));
    }
    if !diff.tensors.is_empty() {
        let names: Vec<&str> = diff.tensors.iter().take(6).map(String::as_str).collect();
        let more = diff.tensors.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!("scales differ of {}{more}\n", names.join(", ")));
    }
    if !diff.nodes.is_empty() {
        let show = |place: &Option<Place>| match place {
            None => "-".to_owned(),
            Some(Place { processor: None, .. }) => "nowhere".to_owned(),
            Some(Place { processor: Some(processor), precision, support, .. }) => {
                let emulated = if *support == Support::Emulated { ", emulated" } else { "" };
                format!("{precision} on {processor}{emulated}")
            }
        };
        let rows =
            diff.nodes.iter().map(|node| vec![node.node.clone(), show(&node.before), show(&node.after)]);
        text.push_str(&table(&["node", "before", "after"], rows));
    }
    text
}

/// Every node of a plan with the reason for its assignment.
pub fn explained(plan: &Plan) -> String {
    let rows = plan.nodes.iter().map(|node| {
        vec![
            node.node.clone(),
            node.op.clone(),
            node.precision.to_string(),
            node.processor.clone().unwrap_or_else(|| "nowhere".to_owned()),
            node.estimate.latency_us.map_or_else(|| "-".to_owned(), |us| format!("{us:.1}")),
            why(node),
        ]
    });
    table(&["node", "operator", "precision", "on", "µs", "why"], rows)
}

/// One node of a plan: its cost, what was refused and why, the next best choice, its boundaries.
pub fn explained_node(plan: &Plan, node: &Assignment) -> String {
    let runs = match (&node.processor, node.support) {
        (Some(processor), Support::Emulated) => format!("{} on {processor}, emulated", node.precision),
        (Some(processor), _) => format!("{} on {processor}", node.precision),
        (None, _) => "nowhere".to_owned(),
    };
    let mut text = format!("{} {}: {runs}\n  why       {}\n", node.op, node.node, why(node));
    let figure = |estimate: &fewbit_core::cost::Estimate| {
        let latency = estimate.latency_us.map_or_else(
            || "latency not known".to_owned(),
            |us| format!("{us:.1} µs {}", if estimate.measured { "measured" } else { "modelled" }),
        );
        match estimate.energy_uj {
            Some(energy) => format!("{latency}, {energy:.2} µJ"),
            None => latency,
        }
    };
    text.push_str(&format!(
        "  cost      {}, {} multiply-accumulates, {} bytes of constants, {} of activations\n",
        figure(&node.estimate),
        node.cost.macs,
        node.cost.weight_bytes,
        node.cost.activation_bytes
    ));
    if let Some(other) = &node.runner_up {
        text.push_str(&format!(
            "  next best {} on {}: {}\n",
            other.precision,
            other.processor,
            figure(&other.estimate)
        ));
    }
    for refusal in &node.refused {
        for reason in &refusal.reasons {
            let (precision, processor) = (refusal.precision, &refusal.processor);
            text.push_str(&format!(
                "  refused   {precision} on {processor}: {}: {}\n",
                reason.code, reason.message
            ));
            if let Some(fix) = &reason.fix {
                text.push_str(&format!("            fix: {fix}\n"));
            }
        }
    }
    for reason in &node.reasons {
        text.push_str(&format!("  note      {}: {}\n", reason.code, reason.message));
    }
    if !plan.boundaries.is_empty() {
        text.push_str(&format!(
            "  the plan converts or copies {} activations in all\n",
            plan.boundaries.len()
        ));
    }
    text
}

/// Differences of time below this, in microseconds, are not worth a word.
const LEAST_US: f64 = 0.05;

/// Why a node has its assignment, in one sentence: what allows it, and what the next best choice would change.
pub fn why(node: &Assignment) -> String {
    let mut text = match (&node.rule, node.pinned) {
        (_, true) => "pinned".to_owned(),
        (Some(rule), false) => format!("rule {rule}"),
        (None, false) => "no rule allows anything".to_owned(),
    };
    if let Some(other) = &node.runner_up {
        text.push_str(&format!("; next best {}", other.precision));
        if Some(&other.processor) != node.processor.as_ref() {
            text.push_str(&format!(" on {}", other.processor));
        }
        let differences: Vec<String> = other
            .difference
            .iter()
            .filter(|(axis, difference)| **axis != Axis::Latency || difference.abs() >= LEAST_US / 1e3)
            .map(|(axis, difference)| {
                let sign = if *difference < 0.0 { "-" } else { "+" };
                let amount = difference.abs();
                match axis {
                    Axis::Latency => format!("{sign}{:.1} µs", 1e3 * amount),
                    Axis::Energy => format!("{sign}{:.2} µJ", 1e3 * amount),
                    Axis::Size => format!("{sign}{amount:.0} bytes"),
                    Axis::Error => format!("{sign}{amount:.1e} noise"),
                }
            })
            .collect();
        if !differences.is_empty() {
            text.push_str(&format!(": {}", differences.join(", ")));
        }
        if let Some(axis) = other.exceeds {
            text.push_str(&format!(", which exceeds the limit on {axis}"));
        }
    } else if let Some(refused) = node.refused.first()
        && let Some(reason) = refused.reasons.first()
    {
        text.push_str(&format!("; {} refused: {}", refused.precision, reason.message));
    }
    text
}

/// The points of a front side by side.
pub fn front(plans: &[Plan]) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let rows = plans.iter().enumerate().map(|(index, plan)| {
        let measured = plan.measured.as_ref();
        let precisions: Vec<String> =
            plan.totals.precisions.iter().map(|(precision, count)| format!("{precision} {count}")).collect();
        vec![
            (index + 1).to_string(),
            format!("{:.3}", plan.totals.weight_bytes as f64 / 1e6),
            number(plan.totals.latency_ms, 3),
            number(measured.and_then(|measured| measured.latency_ms), 3),
            number(plan.totals.noise.map(|noise| -10.0 * noise.max(1e-20).log10()), 2),
            number(measured.map(|measured| measured.sqnr_db), 2),
            number(measured.map(|measured| measured.agreement), 2),
            number(measured.and_then(|measured| measured.top1), 2),
            precisions.join(", "),
        ]
    });
    table(&["", "weights MB", "pred. ms", "ms", "pred. dB", "dB", "agreement %", "top-1 %", "nodes"], rows)
}

/// What keeps a plan from being deployed, one line each.
pub fn hindrances(plan: &Plan) -> String {
    let mut text = String::new();
    for node in plan.nodes.iter().filter(|node| node.support == Support::Unsupported) {
        text.push_str(&format!("{} {} does not run on {}\n", node.op, node.node, plan.target.name));
        for reason in node.refused.iter().flat_map(|refusal| &refusal.reasons) {
            text.push_str(&format!("  {}: {}\n", reason.code, reason.message));
            if let Some(fix) = &reason.fix {
                text.push_str(&format!("    fix: {fix}\n"));
            }
        }
    }
    for problem in &plan.problems {
        text.push_str(&format!("{}: {}\n", problem.code, problem.message));
    }
    text
}
