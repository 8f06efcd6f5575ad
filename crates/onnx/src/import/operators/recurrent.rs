//! Recurrent layers.

use fewbit_core::ir::{Cell, Direction, Op, Recurrent, UnaryOp};

use super::Site;
use crate::error::Result;

impl Site<'_, '_> {
    /// A layer of `cell`.
    pub(super) fn recurrent(&mut self, cell: Cell) -> Result<Op> {
        let a = self.attributes;
        let direction = match a.text("direction", "forward") {
            "forward" => Direction::Forward,
            "reverse" => Direction::Reverse,
            "bidirectional" => Direction::Both,
            other => {
                return Err(a.fail(format!("expects forward, reverse or bidirectional, found `{other}`")));
            }
        };
        let recurrence = self.input(2).and_then(|r| self.importer.graph.value(r).extents());
        let hidden = match (a.has("hidden_size"), recurrence) {
            (true, _) => usize::try_from(a.int("hidden_size", 0)).unwrap_or(0),
            (false, Some(extents)) => extents.get(2).copied().unwrap_or(0),
            (false, None) => 0,
        };
        if hidden == 0 {
            return Err(a.fail("expects hidden_size of 1 or more"));
        }
        let functions = self.functions(cell, direction)?;
        let clip = a.has("clip").then(|| a.float("clip", 0.0));
        if clip.is_some_and(|clip| clip.is_nan() || clip < 0.0) {
            return Err(a.fail("expects a clip of 0 or more"));
        }
        let batch_first = a.flag("layout", false);
        Ok(Op::Recurrent(Recurrent { cell, direction, hidden, functions, clip, batch_first }))
    }

    /// The functions of all directions; their parameters are taken in order by those that have some.
    fn functions(&self, cell: Cell, direction: Direction) -> Result<Vec<UnaryOp>> {
        let a = self.attributes;
        let usual = cell.functions();
        let names = a.texts("activations");
        if names.is_empty() {
            return Ok(usual.repeat(direction.count()));
        }
        if names.len() != usual.len() * direction.count() {
            return Err(a.fail(format!(
                "expects {} activations, found {}",
                usual.len() * direction.count(),
                names.len()
            )));
        }
        let mut alphas = a.floats("activation_alpha").unwrap_or_default().iter().copied();
        let mut betas = a.floats("activation_beta").unwrap_or_default().iter().copied();
        let function = |name: &str| {
            Ok(match name.to_ascii_lowercase().as_str() {
                "relu" => UnaryOp::Relu,
                "tanh" => UnaryOp::Tanh,
                "sigmoid" => UnaryOp::Sigmoid,
                "softplus" => UnaryOp::Softplus,
                "leakyrelu" => UnaryOp::LeakyRelu { alpha: alphas.next().unwrap_or(0.01) },
                "elu" => UnaryOp::Elu { alpha: alphas.next().unwrap_or(1.0) },
                "hardsigmoid" => UnaryOp::HardSigmoid {
                    alpha: alphas.next().unwrap_or(0.2),
                    beta: betas.next().unwrap_or(0.5),
                },
                _ => {
                    return Err(a.lacks(format!(
                        "activation {name}; Relu, Tanh, Sigmoid, Softplus, LeakyRelu, Elu and HardSigmoid are supported"
                    )));
                }
            })
        };
        names.iter().map(String::as_str).map(function).collect()
    }
}
