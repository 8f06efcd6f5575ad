//! What differs between two plans.

use indexmap::IndexMap;
use serde::Serialize;

use super::{Assignment, Axis, Plan, Precision};
use crate::capability::Support;

/// The differences of a newer plan from an older one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanDiff {
    /// What the plans are about, where that differs: `model`, `target`, `strategy`, `goal`, `calibration`, with both.
    pub subjects: IndexMap<String, (String, String)>,
    /// Nodes that run elsewhere, at another precision, otherwise, or in one plan only.
    pub nodes: Vec<NodeDiff>,
    /// Activations whose scale or zero point differs, or that are quantized in one plan only.
    pub tensors: Vec<String>,
    /// Sums that differ, before and after; `None` where a plan does not know.
    pub totals: IndexMap<Axis, (Option<f64>, Option<f64>)>,
    /// Whether each can be deployed.
    pub deployable: (bool, bool),
}

/// One node in both plans.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeDiff {
    /// The node's name.
    pub node: String,
    /// Where it ran; `None` where the older plan does not have it.
    pub before: Option<Place>,
    /// Where it runs; `None` where the newer plan does not have it.
    pub after: Option<Place>,
}

/// Where and how a node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The processor.
    pub processor: Option<String>,
    /// The precision.
    pub precision: Precision,
    /// How it runs.
    pub support: Support,
    /// The rule that allows it.
    pub rule: Option<String>,
}

impl From<&Assignment> for Place {
    fn from(assignment: &Assignment) -> Self {
        Self {
            processor: assignment.processor.clone(),
            precision: assignment.precision,
            support: assignment.support,
            rule: assignment.rule.clone(),
        }
    }
}

impl PlanDiff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty()
            && self.nodes.is_empty()
            && self.tensors.is_empty()
            && self.totals.is_empty()
            && self.deployable.0 == self.deployable.1
    }
}

/// What differs in `new` from `old`.
pub fn diff(old: &Plan, new: &Plan) -> PlanDiff {
    let mut subjects = IndexMap::new();
    let mut subject = |name: &str, before: String, after: String| {
        if before != after {
            subjects.insert(name.to_owned(), (before, after));
        }
    };
    let named = |subject: &super::Subject| format!("{} {}", subject.name, &short(&subject.hash));
    subject("model", named(&old.model), named(&new.model));
    subject("target", named(&old.target), named(&new.target));
    subject("strategy", old.strategy.to_string(), new.strategy.to_string());
    let goal = |plan: &Plan| {
        let Some(optimality) = &plan.optimality else { return "none".to_owned() };
        let limits =
            optimality.goal.limits.iter().map(|(axis, limit)| format!("{axis} ≤ {}", axis.show(*limit)));
        let parts: Vec<String> =
            std::iter::once(format!("least {}", optimality.goal.minimize)).chain(limits).collect();
        parts.join(", ")
    };
    subject("goal", goal(old), goal(new));
    let calibration = |plan: &Plan| plan.calibration.clone().unwrap_or_else(|| "none".to_owned());
    subject("calibration", calibration(old), calibration(new));

    let places = |plan: &Plan| -> IndexMap<String, Place> {
        plan.nodes.iter().map(|assignment| (assignment.node.clone(), Place::from(assignment))).collect()
    };
    let (before, after) = (places(old), places(new));
    let mut nodes: Vec<NodeDiff> = Vec::new();
    for name in after.keys().chain(before.keys().filter(|name| !after.contains_key(*name))) {
        let (before, after) = (before.get(name).cloned(), after.get(name).cloned());
        if before != after {
            nodes.push(NodeDiff { node: name.clone(), before, after });
        }
    }
    let parameters = |plan: &Plan, name: &str| {
        plan.tensors.get(name).map(|tensor| (tensor.dtype, tensor.scale.to_bits(), tensor.zero_point))
    };
    let mut tensors: Vec<String> = new.tensors.keys().cloned().collect();
    tensors.extend(old.tensors.keys().filter(|name| !new.tensors.contains_key(*name)).cloned());
    tensors.retain(|name| parameters(old, name) != parameters(new, name));
    let totals = Axis::ALL
        .into_iter()
        .map(|axis| (axis, (old.totals.value(axis), new.totals.value(axis))))
        .filter(|(_, (before, after))| before != after)
        .collect();
    PlanDiff { subjects, nodes, tensors, totals, deployable: (old.deployable, new.deployable) }
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}
