//! Candidates: what the processors of a target say to a node at each precision of a strategy.

use super::{Request, eligible};
use crate::capability::{
    Capability, NodeQuery, Processor, Reason, Support, Verdict, WeightGranularity, reasons,
};
use crate::cost::{self, Cost, Estimate};
use crate::error::Result;
use crate::ir::Node;
use crate::plan::{Precision, Strategy};
use crate::quant::{Granularity, Scheme, Symmetry};

/// One way to run a node.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Index of the processor in the target.
    pub(super) processor: usize,
    pub(super) precision: Precision,
    pub(super) verdict: Verdict,
    /// Form of integer weights where the rule's preferred one is not the default.
    pub(super) weights: Option<Scheme>,
    pub(super) cost: Cost,
    pub(super) estimate: Estimate,
    /// Why it may not be chosen although the processor runs it.
    pub(super) banned: Vec<Reason>,
}

impl Candidate {
    /// Whether it may be chosen.
    pub(super) fn runs(&self) -> bool {
        self.verdict.is_supported() && self.banned.is_empty()
    }

    /// Why it was not chosen, as far as it is the processor's or the planner's doing.
    pub(super) fn reasons(&self) -> Vec<Reason> {
        self.verdict.reasons.iter().chain(&self.banned).cloned().collect()
    }
}

/// The candidates of `node`, the preferred one first: processors in the target's order, each at the precisions of the
/// strategy.
pub(super) fn of(
    request: &Request<'_>,
    activation: Option<Scheme>,
    node: &Node,
    pin: Option<Precision>,
) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for (index, processor) in request.target.processors.iter().enumerate() {
        let precisions = match (pin, eligible::own_precision(request.graph, node)) {
            (Some(precision), _) | (None, Some(precision)) => vec![precision],
            (None, None) => precisions(request, processor, node),
        };
        for precision in precisions {
            candidates.push(ask(request, activation, node, index, processor, precision, pin.is_some())?);
        }
    }
    Ok(candidates)
}

/// The precisions that a strategy tries on a processor, the preferred one first.
fn precisions(request: &Request<'_>, processor: &Processor, node: &Node) -> Vec<Precision> {
    // The faster of the two floats; without figures the more precise one.
    let rate = |precision| processor.gmacs(precision).unwrap_or(0.0);
    let (half, single) = (rate(Precision::F16), rate(Precision::F32));
    let covers = |precision| processor.rules.iter().any(|rule| rule.precisions.contains(&precision));
    let half_first = covers(Precision::F16) && (!covers(Precision::F32) || half > single);
    let floats = if half_first { [Precision::F16, Precision::F32] } else { [Precision::F32, Precision::F16] };
    let strategy = request.strategy;
    match strategy {
        Strategy::Mixed => {
            let goal = request.goal.map_or(&[][..], |goal| &goal.precisions);
            let wanted = goal.iter().copied().filter(|precision| {
                // Without weights a precision differs from another by its activations only.
                let by_activations = matches!(
                    precision,
                    Precision::F32 | Precision::F16 | Precision::Bf16 | Precision::W8A8 | Precision::W8A16
                );
                node.op.has_weights() || by_activations
            });
            let mut precisions: Vec<Precision> = wanted.collect();
            // A node must run somewhere: a float stands behind what was asked for.
            if !precisions.iter().any(|precision| floats.contains(precision)) {
                precisions.push(floats[0]);
            }
            precisions
        }
        Strategy::F32 => vec![Precision::F32],
        Strategy::F16 => vec![Precision::F16, Precision::F32],
        Strategy::W8A8Dynamic if !node.op.has_weights() => floats.to_vec(),
        Strategy::W8A8Dynamic | Strategy::W8A8 => [&[strategy.precision()], &floats[..]].concat(),
    }
}

/// What the processor says.
fn ask(
    request: &Request<'_>,
    activation: Option<Scheme>,
    node: &Node,
    index: usize,
    processor: &Processor,
    precision: Precision,
    pinned: bool,
) -> Result<Candidate> {
    let graph = request.graph;
    let verdict = if node.op.is_conversion() {
        // What another tool wrote between forms; the processor that runs the neighbours converts.
        Verdict::native("conversion")
    } else {
        processor.judge(&NodeQuery::new(graph, node, precision))
    };
    let cost = cost::node(graph, node, precision);
    let mut estimate = cost::estimate(processor, precision, &cost);
    if let Some(us) =
        request.figures.and_then(|figures| figures.latency_us(&processor.id, &node.name, precision))
    {
        estimate = Estimate { latency_us: Some(us), measured: true, ..estimate };
    }
    let mut candidate =
        Candidate { processor: index, precision, weights: None, verdict, cost, estimate, banned: Vec::new() };
    if eligible::own_precision(graph, node).is_some() {
        return Ok(candidate);
    }
    candidate.banned = eligible::obstacles(request, activation, node, precision, pinned)?;
    candidate.banned.extend(elsewhere(request, activation, node, precision));
    if let Some(rule) = candidate.verdict.rule.as_deref().and_then(|id| processor.rule(id)) {
        if precision.has_integer_activations()
            && let (Some(form), Some(scheme)) = (&rule.activations, activation)
            && !form.dtypes.contains(&scheme.dtype)
        {
            candidate.banned.push(Reason {
                code: reasons::ACTIVATION_TYPE.into(),
                rule: Some(rule.id.clone()),
                message: format!(
                    "the plan stores activations as {}, rule {} takes others",
                    scheme.dtype, rule.id
                ),
                fix: None,
            });
        }
        if precision.has_integer_weights() && node.op.has_weights() {
            let others = request.also.iter().filter_map(|target| {
                let query = NodeQuery::new(graph, node, precision);
                target.processors.iter().find_map(|processor| {
                    processor.judge(&query).rule.as_deref().and_then(|id| processor.rule(id))
                })
            });
            let mut forms = std::iter::once(rule).chain(others).filter_map(|rule| rule.weights.as_ref());
            candidate.weights = forms
                .find(|form| form.granularities.first() == Some(&WeightGranularity::PerTensor))
                .map(|form| Scheme {
                    dtype: form.dtypes.first().copied().unwrap_or(crate::ir::DType::I8),
                    symmetry: Symmetry::Symmetric,
                    granularity: Granularity::PerTensor,
                });
        }
    }
    Ok(candidate)
}

/// The targets that must run the same artifact and do not run the node natively at this precision. Single precision is
/// what every artifact falls back to, so there it is enough that the target runs it at all.
fn elsewhere(
    request: &Request<'_>,
    activation: Option<Scheme>,
    node: &Node,
    precision: Precision,
) -> Vec<Reason> {
    let needed = if precision == Precision::F32 { Support::Emulated } else { Support::Native };
    let query = NodeQuery::new(request.graph, node, precision);
    let runs = |processor: &Processor| {
        let verdict = processor.judge(&query);
        let form = verdict.rule.as_deref().and_then(|id| processor.rule(id)?.activations.as_ref());
        let takes = |scheme: Scheme| form.is_none_or(|form| form.dtypes.contains(&scheme.dtype));
        verdict.support >= needed && (!precision.has_integer_activations() || activation.is_none_or(takes))
    };
    let refuses = |target: &&Capability| !node.op.is_conversion() && !target.processors.iter().any(runs);
    request
        .also
        .iter()
        .filter(refuses)
        .map(|target| Reason {
            code: reasons::TARGET.into(),
            rule: None,
            message: format!(
                "{} does not run it natively at {precision}, and must run the same artifact",
                target.name
            ),
            fix: None,
        })
        .collect()
}

/// The index of the best candidate: the first native one; else the first emulated float, since emulated integers are
/// slower than that; else the first emulated one.
pub(super) fn choose(candidates: &[Candidate]) -> Option<usize> {
    let first = |accept: &dyn Fn(&Candidate) -> bool| {
        candidates.iter().position(|candidate| candidate.runs() && accept(candidate))
    };
    first(&|candidate| candidate.verdict.support == Support::Native)
        .or_else(|| first(&|candidate| !candidate.precision.has_integer_activations()))
        .or_else(|| first(&|_| true))
}
