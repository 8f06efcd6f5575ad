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
mod finish;
mod scales;

use indexmap::IndexMap;

use crate::capability::{Capability, Reason};
use crate::diag::nearest;
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::infer::require_fixed;
use crate::ir::{Graph, Node, ValueId};
use crate::plan::{Plan, Precision, Strategy};
use crate::quant::weights::WeightRule;
use crate::quant::{Ranges, Scheme};

use candidates::Candidate;

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
/// [`CoreErrorKind::Plan`] for a pin on a node that is not there; [`CoreErrorKind::Dynamic`] for free dimensions;
/// [`CoreErrorKind::Quantization`] for ranges that are not finite.
pub fn plan(request: &Request<'_>) -> Result<Plan> {
    require_fixed(request.graph)?;
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
    let mut planner = Planner::new(request)?;
    loop {
        planner.choose();
        let bans = planner.bonds();
        if bans.is_empty() {
            break;
        }
        for (node, candidate, reason) in bans {
            planner.nodes[node].candidates[candidate].banned.push(reason);
        }
    }
    planner.finish()
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
        let activation =
            request.target.processors.iter().find_map(|processor| processor.activations.as_ref()?.scheme());
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
