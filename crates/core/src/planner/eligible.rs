//! What stands against a node in integers whatever the device: no rule of the arithmetic, no range, a bias that does not
//! fit.

use super::Request;
use crate::capability::{Reason, operands, reasons};
use crate::error::Result;
use crate::ir::{BinaryOp, DType, Graph, Node, Op, UnaryOp, ValueId};
use crate::lower::has_integer_form;
use crate::plan::{Precision, Strategy};
use crate::quant::Scheme;

/// The precision that a node has by itself: it reads or writes codes as another tool chose them.
pub(super) fn own_precision(graph: &Graph, node: &Node) -> Option<Precision> {
    let data = operands(graph, node);
    let bits = data
        .iter()
        .chain(&node.outputs)
        .map(|&id| graph.value(id))
        .filter(|value| value.quant.is_some())
        .filter_map(|value| value.dtype)
        .map(DType::bits)
        .max();
    match bits {
        Some(16) => Some(Precision::W8A16),
        Some(_) => Some(Precision::W8A8),
        None => node.precision,
    }
}

/// What stands against `node` at `precision`, beside the device; empty where nothing does. A person who pinned the node
/// has decided what precision it needs.
pub(super) fn obstacles(
    request: &Request<'_>,
    activation: Option<Scheme>,
    node: &Node,
    precision: Precision,
    pinned: bool,
) -> Result<Vec<Reason>> {
    if precision.has_integer_activations() {
        if let Some(message) = no_arithmetic(request.graph, node) {
            return Ok(vec![Reason { code: reasons::INTEGER.into(), rule: None, message, fix: None }]);
        }
        let unseen = unseen(request, activation, node)?;
        return if unseen.is_empty() && !pinned { coarse(request, activation, node) } else { Ok(unseen) };
    }
    if precision.has_integer_weights() && node.op.has_weights() {
        let constant = node.input(1).is_some_and(|id| request.graph.value(id).constant.is_some());
        if !constant {
            return Ok(vec![Reason {
                code: reasons::NO_WEIGHTS.into(),
                rule: None,
                message: "both operands are computed while running, there are no weights to quantize".into(),
                fix: None,
            }]);
        }
    }
    Ok(Vec::new())
}

/// Why the integer arithmetic has no rule for the node.
fn no_arithmetic(graph: &Graph, node: &Node) -> Option<String> {
    if !has_integer_form(&node.op) {
        return Some(format!("the integer arithmetic has no rule for {}", node.op.kind()));
    }
    let data = operands(graph, node);
    let other = data
        .iter()
        .chain(&node.outputs)
        .map(|&id| graph.value(id))
        .find(|value| value.dtype != Some(DType::F32));
    if let Some(value) = other {
        let dtype = value.dtype.map_or("an unknown type", DType::name);
        return Some(format!("integer arithmetic stands for f32, `{}` is {dtype}", value.name));
    }
    if data.iter().all(|&id| graph.value(id).constant.is_some()) && !node.op.has_weights() {
        return Some("nothing is computed while running".to_owned());
    }
    if !node.op.has_weights() {
        return None;
    }
    let weights = node.input(1).map(|id| graph.value(id));
    if weights.is_some_and(|value| value.constant.is_some() && value.dtype != Some(DType::F32)) {
        return Some("the weights are not f32".to_owned());
    }
    if weights
        .and_then(|value| value.constant.as_ref())
        .is_some_and(|constant| constant.to_f32_vec().iter().any(|value| !value.is_finite()))
    {
        return Some("some weights are not finite".to_owned());
    }
    if let Op::Gemm { trans_a: true, .. } = node.op {
        return Some(
            "the integer product takes its first operand as it is stored, this one is transposed".to_owned(),
        );
    }
    if let Some(bias) = node.input(2).map(|id| graph.value(id)) {
        let outputs = node.outputs.first().and_then(|&id| graph.value(id).extents()).unwrap_or_default();
        let channels = match node.op {
            Op::Gemm { .. } => outputs.last(),
            _ => outputs.get(1),
        };
        return match (&bias.constant, channels) {
            (None, _) => Some(format!("the bias `{}` is computed while running", bias.name)),
            (Some(constant), Some(&channels)) => {
                let count: usize = constant.extents().iter().product();
                (count != 1 && count != channels)
                    .then(|| format!("the bias `{}` has {count} values for {channels} channels", bias.name))
            }
            (Some(_), None) => Some("the number of output channels is not known".to_owned()),
        };
    }
    None
}

/// Operands and outputs that calibration did not see.
fn unseen(request: &Request<'_>, activation: Option<Scheme>, node: &Node) -> Result<Vec<Reason>> {
    let (Some(ranges), Some(scheme)) = (request.ranges, activation) else { return Ok(Vec::new()) };
    let graph = request.graph;
    for &id in operands(graph, node).iter().chain(&node.outputs) {
        let value = graph.value(id);
        if value.constant.is_none() && ranges.range(&value.name, scheme)?.is_none() {
            return Ok(vec![Reason {
                code: reasons::RANGE.into(),
                rule: None,
                message: format!("calibration saw no values of `{}`", value.name),
                fix: Some("calibrate this model again".into()),
            }]);
        }
    }
    Ok(Vec::new())
}

/// Steps of the output that each part of a concatenation keeps at least.
const LEAST_STEPS: f32 = 16.0;

/// Why a grid of equal steps is too coarse for what the node computes, where the strategy leaves the choice to the
/// planner: a mixed plan weighs what was measured instead.
fn coarse(request: &Request<'_>, activation: Option<Scheme>, node: &Node) -> Result<Vec<Reason>> {
    if request.strategy != Strategy::W8A8 {
        return Ok(Vec::new());
    }
    let reason = |message: String| Reason {
        code: reasons::COARSE.into(),
        rule: None,
        message,
        fix: Some("pin it to have it in integers anyway".into()),
    };
    match &node.op {
        // A small argument decides about a large result, or large ones about small ones.
        Op::Unary(function @ (UnaryOp::Exp | UnaryOp::Log | UnaryOp::Sqrt | UnaryOp::Reciprocal)) => {
            Ok(vec![reason(format!(
                "equal steps do not carry what {} makes of them: a step near zero changes the result by a multiple",
                function.name()
            ))])
        }
        Op::Binary { op: BinaryOp::Mul, .. } if node.input(0) == node.input(1) => Ok(vec![reason(
            "a square has twice the range of what is squared in octaves, which equal steps do not carry"
                .to_owned(),
        )]),
        Op::Concat { .. } => {
            let (Some(ranges), Some(scheme)) = (request.ranges, activation) else { return Ok(Vec::new()) };
            let width = |id: ValueId| -> Result<Option<f32>> {
                let value = request.graph.value(id);
                let bounds = match &value.constant {
                    Some(_) => None,
                    None => ranges.range(&value.name, scheme)?,
                };
                Ok(bounds.map(|(low, high)| high.max(0.0) - low.min(0.0)))
            };
            let Some(whole) = node.outputs.first().map(|&id| width(id)).transpose()?.flatten() else {
                return Ok(Vec::new());
            };
            for &id in &operands(request.graph, node) {
                let Some(part) = width(id)?.filter(|&part| part > 0.0) else { continue };
                let steps = 256.0 * part / whole;
                if steps < LEAST_STEPS {
                    return Ok(vec![reason(format!(
                        "of the 256 steps of its output only {steps:.0} would be left for `{}`, whose range is that much \
                         smaller",
                        request.graph.value(id).name
                    ))]);
                }
            }
            Ok(Vec::new())
        }
        _ => Ok(Vec::new()),
    }
}
