//! Attributes of recurrent layers.

use fewbit_core::ir::{Cell, Recurrent, UnaryOp};

use super::{float, floats, int, malformed, text, texts};
use crate::error::Result;
use crate::proto::AttributeProto;

pub(super) fn attributes(layer: &Recurrent) -> Result<Vec<AttributeProto>> {
    let mut list = vec![int("hidden_size", layer.hidden as i64), text("direction", layer.direction.name())];
    match layer.cell {
        Cell::Gru { linear_before_reset: true } => list.push(int("linear_before_reset", 1)),
        Cell::Lstm { input_forget: true } => list.push(int("input_forget", 1)),
        _ => {}
    }
    if let Some(clip) = layer.clip {
        list.push(float("clip", clip));
    }
    if layer.batch_first {
        list.push(int("layout", 1));
    }
    if !layer.has_usual_functions() {
        let mut names = Vec::new();
        let (mut alphas, mut betas) = (Vec::new(), Vec::new());
        for function in &layer.functions {
            match function {
                UnaryOp::LeakyRelu { alpha } | UnaryOp::Elu { alpha } => alphas.push(*alpha),
                UnaryOp::HardSigmoid { alpha, beta } => {
                    alphas.push(*alpha);
                    betas.push(*beta);
                }
                UnaryOp::Relu | UnaryOp::Tanh | UnaryOp::Sigmoid | UnaryOp::Softplus => {}
                other => {
                    return Err(malformed(format!(
                        "expected a function that recurrent layers have, found {}",
                        other.name()
                    )));
                }
            }
            names.push(function.name());
        }
        list.push(texts("activations", &names));
        list.push(floats("activation_alpha", &alphas));
        list.push(floats("activation_beta", &betas));
    }
    Ok(list)
}
