//! The planner: from a graph, a target and ranges to a plan.
//!
//! Every node gets the best precision that its target natively has within the strategy asked for. Nodes are asked one by
//! one (`candidates`), then held to what binds several of them: scales that must be shared or are fixed (`scales`),
//! conversions that would cost more than they save, processors that run one connected part only (`bonds`). What is
//! refused there is asked again without the refused choice until nothing changes; each round takes a choice away, so
//! it ends. `finish` writes the plan: tensors, boundaries, sums.
//!
//! Owns the decisions; what a plan is and whether it is sound is [`plan`](crate::plan)'s.

mod bonds;
mod candidates;
mod eligible;
mod figures;
mod finish;
mod islands;
mod mixed;
mod scales;

use indexmap::IndexMap;

use crate::capability::{Capability, Reason};
use crate::diag::nearest;
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::infer::require_fixed_where_known;
use crate::ir::{DType, Graph, Node, ValueId};
use crate::plan::{Axis, Goal, Optimality, Plan, Precision, Strategy};
use crate::quant::weights::WeightRule;
use crate::quant::{Ranges, Scheme, Symmetry};

use candidates::Candidate;
pub use figures::Figures;
pub use islands::{Island, islands};

/// What to plan.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The graph after the passes, with fixed shapes.
    pub graph: &'a Graph,
    /// The hash of the graph.
    pub hash: &'a str,
    /// The target.
    pub target: &'a Capability,
    /// The precision aimed for.
    pub strategy: Strategy,
    /// Nodes that a person keeps at a precision, by name.
    pub pins: &'a [(String, Precision)],
    /// Ranges of the values; without them the plan says what would run, and cannot be quantized by.
    pub ranges: Option<&'a dyn Ranges>,
    /// What a mixed plan is to reach; other strategies take no notice of it.
    pub goal: Option<&'a Goal>,
    /// Other targets that the same artifact must run on natively, at whatever precision the plan gives each node.
    pub also: &'a [Capability],
    /// What was measured; without it latencies are modelled and noise is not known.
    pub figures: Option<&'a dyn Figures>,
    /// How scales of weights are chosen.
    pub weight_rule: WeightRule,
    /// Whether biases are corrected by the mean error that rounding the weights causes.
    pub bias_correction: bool,
}

/// Makes the plan.
///
/// A node that nothing on the target runs is part of the plan, with the reasons; it makes the plan not deployable.
///
/// # Errors
/// [`CoreErrorKind::Plan`] for a pin on a node that is not there or that no rule allows, and for a figure that a goal
/// needs and nobody knows; [`CoreErrorKind::Infeasible`] for a goal whose limits no plan keeps;
/// [`CoreErrorKind::Dynamic`] for free dimensions; [`CoreErrorKind::Quantization`] for ranges that are not finite.
pub fn plan(request: &Request<'_>) -> Result<Plan> {
    let mut planner = prepared(request)?;
    if let (Strategy::Mixed, Some(goal)) = (request.strategy, request.goal) {
        let optimality = planner.settle_mixed(goal)?;
        return planner.finish(Some(optimality));
    }
    loop {
        planner.choose();
        let bans = planner.bonds();
        if bans.is_empty() {
            break;
        }
        planner.ban_all(bans);
    }
    planner.finish(None)
}

/// The best mixed plan and up to `count - 1` others that differ from each other in at least `differ` nodes, best first.
///
/// # Errors
/// As [`plan`].
pub fn diverse(request: &Request<'_>, count: usize, differ: usize) -> Result<Vec<Plan>> {
    let Some(goal) = request.goal.filter(|_| request.strategy == Strategy::Mixed) else {
        return Ok(vec![plan(request)?]);
    };
    let mut planner = prepared(request)?;
    planner.settle_mixed(goal)?;
    let mut plans = Vec::new();
    for solved in planner.solve(goal, count, differ)? {
        planner.take(&solved.chosen);
        // What the solver cannot see, several nodes together, is checked afterwards.
        if planner.bonds().is_empty() {
            plans.push(planner.finish(Some(solved.optimality))?);
        }
    }
    Ok(plans)
}

/// Mixed plans from the least of `axis` to what the goal needs without a limit on it, at most `steps`: each the best
/// under its limit, none worse than another on both axes.
///
/// # Errors
/// As [`plan`].
pub fn front(request: &Request<'_>, axis: Axis, steps: usize) -> Result<Vec<Plan>> {
    let Some(goal) = request.goal.filter(|_| request.strategy == Strategy::Mixed) else {
        return Ok(vec![plan(request)?]);
    };
    let with = |goal: &Goal| plan(&Request { goal: Some(goal), ..*request });
    let mut ends = Vec::new();
    for minimize in [axis, goal.minimize] {
        ends.push(with(&Goal { minimize, ..goal.clone() })?);
    }
    let [low, high] = [&ends[0], &ends[1]].map(|plan| plan.totals.value(axis).unwrap_or(0.0));
    let mut plans: Vec<Plan> = Vec::new();
    for step in 0..steps.max(2) {
        let share = step as f64 / (steps.max(2) - 1) as f64;
        // The least itself, and not a rounding below it.
        let limit = low + (high - low) * share + low.abs() * 1e-9;
        let mut limits = goal.limits.clone();
        let limit = limits.get(&axis).map_or(limit, |given| given.min(limit));
        limits.insert(axis, limit);
        let plan = with(&Goal { limits, ..goal.clone() })?;
        let objective = |plan: &Plan| plan.totals.value(goal.minimize).unwrap_or(0.0);
        if plans.last().is_none_or(|last| objective(&plan) < objective(last)) {
            plans.push(plan);
        }
    }
    Ok(plans)
}

/// What may run a node: a processor and a precision that its rules and the arithmetic allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The processor's id.
    pub processor: String,
    /// The precision.
    pub precision: Precision,
}

/// For every node by name, in the graph's order, what may run it; what several nodes together forbid is not seen here.
///
/// # Errors
/// As [`plan`].
pub fn allowed(request: &Request<'_>) -> Result<IndexMap<String, Vec<Allowed>>> {
    let planner = prepared(request)?;
    let of = |planned: &Planned<'_>| {
        planned
            .candidates
            .iter()
            .filter(|candidate| candidate.runs())
            .map(|candidate| Allowed {
                processor: request.target.processors[candidate.processor].id.clone(),
                precision: candidate.precision,
            })
            .collect()
    };
    Ok(planner.nodes.iter().map(|planned| (planned.node.name.clone(), of(planned))).collect())
}

/// The planner with every candidate asked for, and pins that can be kept.
fn prepared<'a>(request: &Request<'a>) -> Result<Planner<'a>> {
    require_fixed_where_known(request.graph)?;
    for (name, _) in request.pins {
        if request.graph.find_node(name).is_none() {
            let names = request.graph.nodes().map(|(_, node)| node.name.as_str());
            let help = nearest(name, names).map_or_else(
                || "`fewbit inspect --graph` lists the nodes".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(CoreError::new(
                CoreErrorKind::Plan,
                format!("expected a node to pin, found no `{name}`"),
            )
            .help(help));
        }
    }
    let planner = Planner::new(request)?;
    if request.strategy == Strategy::Mixed {
        planner.require_pins()?;
    }
    Ok(planner)
}

/// A choice taken from a node: its index, the candidate's, and why.
type Ban = (usize, usize, Reason);

/// A node on the way to its assignment.
struct Planned<'a> {
    node: &'a Node,
    /// Everything that could be done with it, the preferred one first.
    candidates: Vec<Candidate>,
    /// The candidate chosen in this round; `None` where none runs.
    chosen: Option<usize>,
    /// Whether a person fixed the precision.
    pinned: bool,
}

impl Planned<'_> {
    fn candidate(&self) -> Option<&Candidate> {
        self.chosen.map(|index| &self.candidates[index])
    }

    /// Whether the chosen candidate reads and writes codes.
    fn is_integer(&self) -> bool {
        self.candidate().is_some_and(|candidate| candidate.precision.has_integer_activations())
    }

    /// Whether another candidate would run, so that the chosen one may be taken away.
    fn has_alternative(&self) -> bool {
        self.candidates
            .iter()
            .enumerate()
            .any(|(index, candidate)| Some(index) != self.chosen && candidate.runs() && !self.pinned)
    }
}

/// The form of quantized activations: the one that the target prefers. Where other targets must run the same artifact,
/// the one that most prefer of those that all take, symmetric if any asks for that; whichever target is planned for, the
/// answer is the same.
fn activation_scheme(request: &Request<'_>) -> Option<Scheme> {
    let all: Vec<&Capability> = std::iter::once(request.target).chain(request.also).collect();
    let preferred: Vec<Scheme> = all
        .iter()
        .filter_map(|target| {
            target.processors.iter().find_map(|processor| processor.activations.as_ref()?.scheme())
        })
        .collect();
    if request.also.is_empty() {
        return preferred.first().copied();
    }
    let takes = |target: &Capability, dtype: DType| {
        target
            .processors
            .iter()
            .flat_map(|processor| &processor.rules)
            .any(|rule| rule.activations.as_ref().is_some_and(|form| form.dtypes.contains(&dtype)))
    };
    let votes = |scheme: &Scheme| preferred.iter().filter(|other| other.dtype == scheme.dtype).count();
    let common = preferred
        .iter()
        .filter(|scheme| all.iter().all(|target| takes(target, scheme.dtype)))
        .max_by_key(|scheme| (votes(scheme), std::cmp::Reverse(scheme.dtype.name())))?;
    let symmetric = preferred.iter().any(|scheme| scheme.symmetry == Symmetry::Symmetric);
    Some(Scheme { symmetry: if symmetric { Symmetry::Symmetric } else { Symmetry::Affine }, ..*common })
}

struct Planner<'a> {
    request: Request<'a>,
    /// The form of quantized activations, one for the whole plan.
    activation: Option<Scheme>,
    nodes: Vec<Planned<'a>>,
    /// For each value, the place of its producer among the nodes.
    producers: Vec<Option<usize>>,
    /// For each value, the places of its readers.
    readers: Vec<Vec<usize>>,
}

impl<'a> Planner<'a> {
    fn new(request: &Request<'a>) -> Result<Self> {
        let graph = request.graph;
        let values = graph.value_ids().len();
        let (mut producers, mut readers) = (vec![None; values], vec![Vec::new(); values]);
        for (place, (_, node)) in graph.nodes().enumerate() {
            for id in &node.outputs {
                producers[id.index()] = Some(place);
            }
            for id in node.inputs.iter().flatten() {
                readers[id.index()].push(place);
            }
        }
        let activation = activation_scheme(request);
        let pins: IndexMap<&str, Precision> =
            request.pins.iter().map(|(name, precision)| (name.as_str(), *precision)).collect();
        let mut nodes = Vec::with_capacity(graph.node_count());
        for (_, node) in graph.nodes() {
            let pin = pins.get(node.name.as_str()).copied();
            let candidates = candidates::of(request, activation, node, pin)?;
            nodes.push(Planned { node, candidates, chosen: None, pinned: pin.is_some() });
        }
        Ok(Self { request: *request, activation, nodes, producers, readers })
    }

    /// Refuses a pin that no rule of the target allows: a mixed plan would be about something else than was asked.
    fn require_pins(&self) -> Result<()> {
        for planned in self.nodes.iter().filter(|planned| planned.pinned) {
            if planned.candidates.iter().any(Candidate::runs) {
                continue;
            }
            let why: Vec<String> =
                planned.candidates.iter().flat_map(Candidate::reasons).map(|reason| reason.message).collect();
            let precision =
                planned.candidates.first().map_or(Precision::F32, |candidate| candidate.precision);
            return Err(CoreError::new(
                CoreErrorKind::Plan,
                format!("expected a rule that allows the pin {precision}, found none: {}", why.join("; ")),
            )
            .at(&planned.node.name)
            .help("pin another precision, or none"));
        }
        Ok(())
    }

    /// Solves for the goal, takes away what several nodes together forbid, and solves again until all agree.
    fn settle_mixed(&mut self, goal: &Goal) -> Result<Optimality> {
        loop {
            let solved = self.solve(goal, 1, 1)?.remove(0);
            self.take(&solved.chosen);
            let bans = self.bonds();
            if bans.is_empty() {
                return Ok(solved.optimality);
            }
            self.ban_all(bans);
        }
    }

    fn take(&mut self, chosen: &[Option<usize>]) {
        for (planned, chosen) in self.nodes.iter_mut().zip(chosen) {
            planned.chosen = *chosen;
        }
    }

    fn ban_all(&mut self, bans: Vec<Ban>) {
        for (node, candidate, reason) in bans {
            self.nodes[node].candidates[candidate].banned.push(reason);
        }
    }

    /// Chooses for every node the first native candidate, or the first emulated one.
    fn choose(&mut self) {
        for planned in &mut self.nodes {
            planned.chosen = candidates::choose(&planned.candidates);
        }
    }

    /// Whether `value` leaves its producer as codes in this round.
    fn is_quantized(&self, value: ValueId) -> bool {
        self.producers[value.index()].is_some_and(|place| self.nodes[place].is_integer())
            || self.request.graph.value(value).quant.is_some()
    }
}
