//! Whether integers pay: each connected group of integer nodes against the same nodes in float.

use serde::Serialize;

use super::Request;
use crate::capability::{Support, operands};
use crate::cost;
use crate::ir::Graph;
use crate::plan::{Assignment, Plan, Precision};

/// A connected group of nodes with integer activations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Island {
    /// The nodes, in the graph's order.
    pub nodes: Vec<String>,
    /// Microseconds of the nodes and of the conversions at the group's edge; `None` where a figure is missing.
    pub integer_us: Option<f64>,
    /// Microseconds of the same nodes in single precision, without conversions.
    pub float_us: Option<f64>,
}

impl Island {
    /// Whether the integers are predicted to take longer than float would.
    pub fn is_slower(&self) -> bool {
        self.integer_us.zip(self.float_us).is_some_and(|(integer, float)| integer > float)
    }
}

/// The groups of `plan`, which was made by `request`; each with its prediction.
pub fn islands(request: &Request<'_>, plan: &Plan) -> Vec<Island> {
    let graph = request.graph;
    let places: Vec<(usize, &Assignment)> = graph
        .nodes()
        .zip(&plan.nodes)
        .enumerate()
        .filter(|(_, (_, assignment))| is_integer(assignment))
        .map(|(place, (_, assignment))| (place, assignment))
        .collect();
    let mut roots: Vec<usize> = (0..graph.node_count()).collect();
    let root = |roots: &[usize], mut at: usize| {
        while roots[at] != at {
            at = roots[at];
        }
        at
    };
    let mut owner: Vec<Option<usize>> = vec![None; graph.value_ids().len()];
    for (place, (_, node)) in graph.nodes().enumerate() {
        if !is_integer(&plan.nodes[place]) {
            continue;
        }
        for id in operands(graph, node).into_iter().chain(node.outputs.iter().copied()) {
            if graph.value(id).constant.is_some() || graph.inputs.contains(&id) {
                continue;
            }
            match owner[id.index()] {
                None => owner[id.index()] = Some(place),
                Some(other) => {
                    let (a, b) = (root(&roots, place), root(&roots, other));
                    roots[a.max(b)] = a.min(b);
                }
            }
        }
    }
    let mut islands: Vec<(usize, Vec<&Assignment>)> = Vec::new();
    for (place, assignment) in places {
        let own = root(&roots, place);
        match islands.iter_mut().find(|(known, _)| *known == own) {
            Some((_, nodes)) => nodes.push(assignment),
            None => islands.push((own, vec![assignment])),
        }
    }
    islands.into_iter().map(|(_, nodes)| predict(request, plan, graph, &nodes)).collect()
}

fn is_integer(assignment: &Assignment) -> bool {
    assignment.support != Support::Unsupported && assignment.precision.has_integer_activations()
}

fn predict(request: &Request<'_>, plan: &Plan, graph: &Graph, nodes: &[&Assignment]) -> Island {
    let touches = |value: &str| {
        nodes.iter().any(|assignment| {
            let node = graph.find_node(&assignment.node).and_then(|id| graph.node(id));
            node.is_some_and(|node| {
                let mut ids = node.inputs.iter().flatten().chain(&node.outputs);
                ids.any(|&id| graph.value(id).name == value)
            })
        })
    };
    let edges = plan.boundaries.iter().filter(|boundary| touches(&boundary.value));
    let own = nodes.iter().map(|assignment| assignment.estimate.latency_us);
    let integer_us = own.chain(edges.map(|boundary| boundary.estimate.latency_us)).sum();
    let float = |assignment: &&Assignment| -> Option<f64> {
        let id = assignment.processor.as_deref()?;
        let processor = request.target.processor(id)?;
        let measured =
            request.figures.and_then(|figures| figures.latency_us(id, &assignment.node, Precision::F32));
        let node = graph.find_node(&assignment.node).and_then(|id| graph.node(id))?;
        measured.or_else(|| {
            cost::estimate(processor, Precision::F32, &cost::node(graph, node, Precision::F32)).latency_us
        })
    };
    Island {
        nodes: nodes.iter().map(|assignment| assignment.node.clone()).collect(),
        integer_us,
        float_us: nodes.iter().map(float).sum(),
    }
}
