//! Costs: what a node computes and moves, and how long and how much energy a processor takes by its figures.
//!
//! Owns counts (multiply-accumulates, bytes) and the roofline model of Williams, Waterman and Patterson (2009): a node
//! takes as long as the slower of its arithmetic and its traffic. Estimates are `None` where a figure is not known,
//! never a guess.

use serde::{Deserialize, Serialize};

use crate::capability::{Holds, Processor, operands};
use crate::ir::{Graph, Node, Op, ValueId};
use crate::plan::Precision;

/// What one run of a node computes and moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Multiply-accumulates; element-wise operators count one per output element.
    pub macs: u64,
    /// Bytes of constant operands in storage.
    pub weight_bytes: u64,
    /// Bytes of activations read and written.
    pub activation_bytes: u64,
}

/// What a processor takes for a cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Microseconds; `None` where a rate or bandwidth is not known.
    pub latency_us: Option<f64>,
    /// Microjoules; `None` where energies are not known.
    pub energy_uj: Option<f64>,
    /// Whether the latency was measured on the device; else it is modelled from the processor's figures.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub measured: bool,
}

/// Multiply-accumulates of one run of `node`; 0 where shapes are not fixed.
///
/// Products count as in the literature (outputs times reduction length); other operators that compute count one per
/// output element, a window or reduction one per element it reads; operators that only move elements count none.
pub fn macs(graph: &Graph, node: &Node) -> u64 {
    let extents = |id: Option<ValueId>| id.and_then(|id| graph.value(id).extents()).unwrap_or_default();
    let count =
        |extents: &[usize]| extents.iter().fold(1u64, |all, &extent| all.saturating_mul(extent as u64));
    let output = extents(node.outputs.first().copied());
    let input = extents(node.input(0));
    if output.is_empty() && input.is_empty() {
        return 0;
    }
    match &node.op {
        Op::Conv { .. } => {
            let weights = extents(node.input(1));
            count(&output).saturating_mul(count(weights.get(1..).unwrap_or_default()))
        }
        Op::ConvTranspose { .. } => {
            let weights = extents(node.input(1));
            count(&input).saturating_mul(count(weights.get(1..).unwrap_or_default()))
        }
        Op::Gemm { trans_a, .. } => {
            let depth = input.get(usize::from(!*trans_a)).copied().unwrap_or(1);
            count(&output).saturating_mul(depth as u64)
        }
        Op::MatMul => count(&output).saturating_mul(input.last().copied().unwrap_or(1) as u64),
        Op::MaxPool(pool) | Op::AveragePool(pool) => count(&output).saturating_mul(count(&pool.kernel)),
        Op::GlobalAveragePool | Op::GlobalMaxPool | Op::Reduce { .. } | Op::ArgMax { .. } => count(&input),
        op if op.moves_elements() || matches!(op, Op::Shape { .. } | Op::Size) => 0,
        _ => count(&output),
    }
}

/// What `node` computes and moves at `precision`.
pub fn node(graph: &Graph, node: &Node, precision: Precision) -> Cost {
    let elements = |id: ValueId| {
        let extents = graph.value(id).extents().unwrap_or_default();
        extents.iter().fold(1u64, |all, &extent| all.saturating_mul(extent as u64))
    };
    let data = operands(graph, node);
    let mut cost = Cost { macs: macs(graph, node), ..Cost::default() };
    for (index, id) in node.inputs.iter().enumerate().filter_map(|(index, id)| Some((index, (*id)?))) {
        let value = graph.value(id);
        let stored = |bits: usize| elements(id).saturating_mul(bits as u64).div_ceil(8);
        if let Some(constant) = &value.constant {
            let is_weight = index == 1 && node.op.has_weights();
            cost.weight_bytes += if !constant.dtype().is_float() {
                constant.bytes().len() as u64
            } else if is_weight {
                stored(precision.weight_bits())
            } else if data.contains(&id) {
                stored(precision.activation_bits())
            } else {
                // Biases and parameters of normalisations stay in 32 bits, as integers or floats.
                stored(32)
            };
        } else {
            cost.activation_bytes += value_bytes(graph, id, precision.activation_bits());
        }
    }
    for &id in &node.outputs {
        cost.activation_bytes += value_bytes(graph, id, precision.activation_bits());
    }
    cost
}

/// Bytes of an activation whose real numbers take `bits` each; integers and truth values keep their own size.
pub fn value_bytes(graph: &Graph, id: ValueId, bits: usize) -> u64 {
    let value = graph.value(id);
    let elements = value
        .extents()
        .unwrap_or_default()
        .iter()
        .fold(1u64, |all, &extent| all.saturating_mul(extent as u64));
    let bits = match value.dtype {
        Some(dtype) if !dtype.is_float() => dtype.bits(),
        _ => bits,
    };
    elements.saturating_mul(bits as u64).div_ceil(8)
}

/// What `processor` takes for `cost` at `precision`.
pub fn estimate(processor: &Processor, precision: Precision, cost: &Cost) -> Estimate {
    let arithmetic = if cost.macs == 0 {
        Some(0.0)
    } else {
        processor.gmacs(precision).map(|rate| cost.macs as f64 / rate / 1e3)
    };
    let traffic = |bytes: u64, what: Holds| match (bytes, processor.gbps(what)) {
        (0, _) => Some(0.0),
        (bytes, Some(gbps)) => Some(bytes as f64 / gbps / 1e3),
        (_, None) => None,
    };
    let traffic = traffic(cost.weight_bytes, Holds::Weights)
        .zip(traffic(cost.activation_bytes, Holds::Activations))
        .map(|(weights, activations)| weights + activations);
    let latency_us = arithmetic.zip(traffic).map(|(arithmetic, traffic)| f64::max(arithmetic, traffic));
    let energy_uj = processor.energy(precision).map(|energy| {
        let bytes = cost.weight_bytes + cost.activation_bytes;
        (cost.macs as f64 * energy.pj_per_mac + bytes as f64 * energy.pj_per_byte) / 1e6
    });
    Estimate { latency_us, energy_uj, measured: false }
}

/// The most bytes of activations that are alive at once when nodes run in the graph's order and memory is reused
/// perfectly: a lower bound for every memory plan. `bytes` tells the size of a value.
pub fn peak_activation_bytes(graph: &Graph, bytes: impl Fn(ValueId) -> u64) -> u64 {
    let count = graph.node_count();
    let mut last_use = vec![0usize; graph.value_ids().len()];
    for (place, (_, node)) in graph.nodes().enumerate() {
        for id in node.inputs.iter().flatten() {
            last_use[id.index()] = place;
        }
    }
    for &id in &graph.outputs {
        last_use[id.index()] = count;
    }
    let is_activation = |id: ValueId| graph.value(id).constant.is_none();
    let mut alive: Vec<(ValueId, u64)> =
        graph.inputs.iter().filter(|&&id| is_activation(id)).map(|&id| (id, bytes(id))).collect();
    let mut peak = alive.iter().map(|(_, bytes)| bytes).sum::<u64>();
    for (place, (_, node)) in graph.nodes().enumerate() {
        alive.extend(node.outputs.iter().map(|&id| (id, bytes(id))));
        peak = peak.max(alive.iter().map(|(_, bytes)| bytes).sum());
        alive.retain(|(id, _)| last_use[id.index()] > place);
    }
    peak
}
