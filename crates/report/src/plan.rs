//! Plans as text.

use fewbit_core::capability::Support;
use fewbit_core::plan::{Assignment, Plan};

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
        row("latency", format!("{latency:.3} ms by the target's figures"));
    }
    if let Some(energy) = totals.energy_mj {
        row("energy", format!("{energy:.3} mJ by the target's figures"));
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
