//! The cheap first answer: the noise of rounding, without running anything.

use fewbit_core::ir::{DType, Graph, Node};
use fewbit_core::lower::{Choices, keeps_parameters, weight_scheme};
use fewbit_core::plan::Precision;
use fewbit_core::quant::weights::{WeightRule, quantize_weights};
use indexmap::IndexMap;

use super::{Effect, Mode, Sensitivity};
use crate::error::Result;
use crate::observe::CalibrationStats;

/// Estimates the noise of each node at each of `precisions`: the share of energy that rounding takes from its weights,
/// and from its output by the scale that `choices` gives it (a twelfth of its square against the mean square that
/// calibration saw). Noise is taken to reach the outputs as it is, which ranks nodes but does not predict accuracy.
///
/// # Errors
/// Weights that are not finite.
pub fn estimate(
    graph: &Graph,
    hash: &str,
    subject: &str,
    choices: &Choices,
    stats: &CalibrationStats,
    precisions: &dyn Fn(&Node) -> Vec<Precision>,
) -> Result<Sensitivity> {
    let mut nodes = IndexMap::new();
    let mut base = 0.0;
    for (_, node) in graph.nodes() {
        let activations = activation_noise(graph, node, choices, stats);
        let mut of_node = IndexMap::from([(Precision::F32, Effect { noise: 0.0, ..NOT_RUN })]);
        for precision in precisions(node) {
            if precision == Precision::F32 {
                continue;
            }
            let mut noise = weight_noise(graph, node, precision)?;
            if precision.has_integer_activations() {
                noise += activations;
            }
            of_node.insert(precision, Effect { noise, ..NOT_RUN });
        }
        let chosen = choices.precisions.get(&node.name).copied().unwrap_or(Precision::F32);
        base += of_node.get(&chosen).map_or(0.0, |effect| effect.noise);
        nodes.insert(node.name.clone(), of_node);
    }
    // Each row tells the noise of the base with one node changed.
    for (name, of_node) in &mut nodes {
        let chosen = choices.precisions.get(name).copied().unwrap_or(Precision::F32);
        let own = of_node.get(&chosen).map_or(0.0, |effect| effect.noise);
        for effect in of_node.values_mut() {
            effect.noise += base - own;
        }
    }
    Ok(Sensitivity {
        schema: Sensitivity::SCHEMA,
        model: hash.to_owned(),
        subject: subject.to_owned(),
        mode: Mode::Estimated,
        samples: 0,
        base: Effect { noise: base, ..NOT_RUN },
        nodes,
    })
}

const NOT_RUN: Effect = Effect { noise: 0.0, divergence: None, agreement: None, top1: None };

/// The share of the weights' energy that rounding takes.
fn weight_noise(graph: &Graph, node: &Node, precision: Precision) -> Result<f64> {
    let constant = node.input(1).and_then(|id| graph.value(id).constant.as_ref());
    let Some(weights) = constant.filter(|tensor| node.op.has_weights() && tensor.dtype() == DType::F32)
    else {
        return Ok(0.0);
    };
    let values = weights.to_f32_vec();
    let energy: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    if energy == 0.0 {
        return Ok(0.0);
    }
    if !precision.has_integer_weights() {
        // Rounding to p bits of mantissa takes a share of 2^-2p / 12 of the energy.
        let bits = if precision == Precision::F16 { 11 } else { 8 };
        return Ok(2f64.powi(-2 * bits) / 12.0);
    }
    let scheme = weight_scheme(&node.op, weights, precision);
    let quantized = quantize_weights(weights, scheme, WeightRule::LeastSquares, None)?;
    let rounded = fewbit_core::reference::dequantize(&quantized.tensor, &quantized.params, DType::F32)?;
    let lost: f64 =
        values.iter().zip(rounded.to_f32_vec()).map(|(&x, y)| (f64::from(x) - f64::from(y)).powi(2)).sum();
    Ok(lost / energy)
}

/// The share of the output's energy that rounding to codes takes.
fn activation_noise(graph: &Graph, node: &Node, choices: &Choices, stats: &CalibrationStats) -> f64 {
    if keeps_parameters(&node.op) {
        return 0.0;
    }
    let shares = node.outputs.iter().filter_map(|&id| {
        let name = &graph.value(id).name;
        let (_, params) = choices.activations.get(name)?;
        let (scale, _) = params.tensor_wide()?;
        let histogram = stats.values.get(name)?.histogram();
        let energy: f64 =
            histogram.occupied().map(|(x, count)| f64::from(x) * f64::from(x) * count as f64).sum();
        let mean_square = energy / histogram.total().max(1) as f64;
        (mean_square > 0.0).then(|| f64::from(scale).powi(2) / 12.0 / mean_square)
    });
    shares.sum()
}
