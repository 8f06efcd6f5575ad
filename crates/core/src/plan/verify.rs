//! The independent check: whether a plan is sound for its graph and target. Shares no code with the planner but the
//! judgement of rules.

use super::{Assignment, BoundaryKind, Plan};
use crate::capability::{Capability, NodeQuery, Support, operands};
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::{Graph, Node};
use crate::lower::keeps_parameters;

/// Checks `plan` against `graph` (whose hash is `hash`) and `target`.
///
/// That the plan is about these two; that every node is assigned once, by a rule of its processor that allows it at
/// that precision; that integer nodes have parameters for what they read and write, shared and fixed as the target
/// demands; that every change of form is a boundary and every boundary a change; that sums add up.
///
/// # Errors
/// [`CoreErrorKind::Plan`] naming the first part that is not sound.
pub fn verify(plan: &Plan, graph: &Graph, hash: &str, target: &Capability) -> Result<()> {
    if plan.model.hash != hash {
        return Err(fail("expected a plan for this model, found one for another".into())
            .help("plan again for this model, with the same --shape"));
    }
    let target_hash = target.hash();
    if plan.target.hash != target_hash {
        return Err(fail(format!(
            "expected a plan for target {} as it is described now, found one for {}",
            target.name, plan.target.name
        ))
        .help("plan again for this target"));
    }
    let count = graph.node_count();
    if plan.nodes.len() != count {
        return Err(fail(format!("expected {count} assignments, found {}", plan.nodes.len())));
    }
    for ((_, node), assignment) in graph.nodes().zip(&plan.nodes) {
        check_node(plan, graph, target, node, assignment).map_err(|error| error.at(&node.name))?;
    }
    for (name, tensor) in &plan.tensors {
        let fits = tensor.dtype.integer_range().is_some_and(|(low, high)| {
            (low..=high).contains(&i64::from(tensor.zero_point))
                && tensor.scale.is_finite()
                && tensor.scale > 0.0
        });
        if graph.find_value(name).is_none() || !fits {
            return Err(fail(
                "expected parameters of a value of the graph, a positive scale and a zero point in range"
                    .into(),
            )
            .at(name));
        }
    }
    check_boundaries(plan, graph)?;
    check_totals(plan)
}

fn fail(message: String) -> CoreError {
    CoreError::new(CoreErrorKind::Plan, message)
}

fn is_integer(assignment: &Assignment) -> bool {
    assignment.support != Support::Unsupported && assignment.precision.has_integer_activations()
}

fn check_node(
    plan: &Plan,
    graph: &Graph,
    target: &Capability,
    node: &Node,
    assignment: &Assignment,
) -> Result<()> {
    if assignment.node != node.name || assignment.op != node.op.kind().as_str() {
        return Err(fail(format!("expected {} here, found {}", node.op.kind(), assignment.op)));
    }
    let Some(id) = &assignment.processor else {
        let refused =
            !assignment.refused.is_empty() && assignment.refused.iter().all(|r| !r.reasons.is_empty());
        if assignment.support != Support::Unsupported || !refused {
            return Err(fail("expected reasons where nothing runs the node".into()));
        }
        return Ok(());
    };
    let processor = target
        .processor(id)
        .ok_or_else(|| fail(format!("expected a processor of the target, found `{id}`")))?;
    if !node.op.is_conversion() {
        let verdict = processor.judge(&NodeQuery::new(graph, node, assignment.precision));
        if (verdict.support, &verdict.rule) != (assignment.support, &assignment.rule) {
            return Err(fail(format!(
                "expected the verdict {:?} by {:?}, found {:?} by {:?}",
                verdict.support, verdict.rule, assignment.support, assignment.rule
            )));
        }
    }
    if plan.calibration.is_none() || !is_integer(assignment) {
        return Ok(());
    }
    let mut shared: Option<(f32, i32)> = None;
    let binds = keeps_parameters(&node.op) || processor.shares_scale(&assignment.op);
    let outputs = node.outputs.iter().copied();
    for value in operands(graph, node).into_iter().chain(outputs.clone()) {
        let info = graph.value(value);
        if info.constant.is_some() || info.quant.is_some() {
            continue;
        }
        let Some(tensor) = plan.tensors.get(&info.name) else {
            return Err(fail(format!("expected parameters for `{}`, found none", info.name)));
        };
        let found = (tensor.scale, tensor.zero_point);
        if binds && *shared.get_or_insert(found) != found {
            return Err(fail(format!("expected one scale on what {} reads and writes", assignment.op)));
        }
        if let Some(fixed) = processor.fixed_scale(&assignment.op, tensor.dtype)
            && node.outputs.contains(&value)
            && !keeps_parameters(&node.op)
            && found != (fixed.scale, fixed.zero_point)
        {
            return Err(fail(format!("expected the fixed scale {} on `{}`", fixed.scale, info.name)));
        }
    }
    Ok(())
}

/// Every value that is stored in one form and read in the other has a boundary of that kind, and no other value has.
fn check_boundaries(plan: &Plan, graph: &Graph) -> Result<()> {
    let mut expected: Vec<(String, BoundaryKind)> = Vec::new();
    let producers = graph.producers();
    let find = |node: &Node| plan.nodes.iter().find(|assignment| assignment.node == node.name);
    let by_node: indexmap::IndexMap<&str, &Assignment> =
        plan.nodes.iter().map(|assignment| (assignment.node.as_str(), assignment)).collect();
    let mut expect = |value: &str, kind| {
        if !expected.iter().any(|(v, k)| v == value && *k == kind) {
            expected.push((value.to_owned(), kind));
        }
    };
    let stored = |id: crate::ir::ValueId| {
        let node = producers[id.index()].and_then(|node| graph.node(node));
        node.and_then(&find).is_some_and(is_integer)
    };
    for (_, node) in graph.nodes() {
        let Some(assignment) = by_node.get(node.name.as_str()).filter(|a| a.support != Support::Unsupported)
        else {
            continue;
        };
        let data = operands(graph, node);
        for &id in node.inputs.iter().flatten() {
            let value = graph.value(id);
            if value.constant.is_some() || value.quant.is_some() {
                continue;
            }
            let wants = is_integer(assignment) && data.contains(&id);
            match (stored(id), wants) {
                (false, true) => expect(&value.name, BoundaryKind::Quantize),
                (true, false) => expect(&value.name, BoundaryKind::Dequantize),
                _ => {}
            }
        }
    }
    for &id in &graph.outputs {
        if stored(id) && graph.value(id).quant.is_none() {
            expect(&graph.value(id).name, BoundaryKind::Dequantize);
        }
    }
    let found =
        |value: &str, kind: BoundaryKind| plan.boundaries.iter().any(|b| b.value == value && b.kind == kind);
    if let Some((value, kind)) = expected.iter().find(|(value, kind)| !found(value, *kind)) {
        return Err(fail(format!("expected a boundary of kind {kind:?}, found none")).at(value));
    }
    let unexpected = plan.boundaries.iter().find(|boundary| {
        boundary.kind != BoundaryKind::Copy
            && !expected.iter().any(|(value, kind)| *value == boundary.value && *kind == boundary.kind)
    });
    match unexpected {
        Some(boundary) => {
            Err(fail(format!("expected no boundary of kind {:?}", boundary.kind)).at(&boundary.value))
        }
        None => Ok(()),
    }
}

fn check_totals(plan: &Plan) -> Result<()> {
    let count = |support| plan.nodes.iter().filter(|node| node.support == support).count();
    let totals = &plan.totals;
    let macs: u64 = plan.nodes.iter().map(|node| node.cost.macs).sum();
    let weights: u64 = plan.nodes.iter().map(|node| node.cost.weight_bytes).sum();
    let counts = (count(Support::Native), count(Support::Emulated), count(Support::Unsupported));
    if (totals.macs, totals.weight_bytes) != (macs, weights)
        || (totals.native, totals.emulated, totals.unsupported) != counts
    {
        return Err(fail("expected totals that are the sums of the nodes".into()));
    }
    if plan.deployable != (counts.2 == 0 && plan.problems.is_empty()) {
        return Err(fail(
            "expected a plan to be deployable exactly when every node runs and all fits".into(),
        ));
    }
    Ok(())
}
