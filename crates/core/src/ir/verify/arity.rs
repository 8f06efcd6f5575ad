//! How many inputs and outputs each operator has, and which inputs must be present.

use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::{Node, Op};

/// The number of inputs and outputs an operator allows.
pub(super) struct Arity {
    /// Inputs that must be present, from the first on.
    required: usize,
    /// Most inputs; `None` for any number.
    most: Option<usize>,
    /// Exact number of outputs; `None` for one or more.
    outputs: Option<usize>,
}

impl Arity {
    fn exactly(inputs: usize) -> Self {
        Self { required: inputs, most: Some(inputs), outputs: Some(1) }
    }

    fn between(required: usize, most: usize) -> Self {
        Self { required, most: Some(most), outputs: Some(1) }
    }

    pub(super) fn of(op: &Op) -> Self {
        match op {
            Op::Identity
            | Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::Unary(_)
            | Op::Softmax { .. }
            | Op::Reduce { .. }
            | Op::ArgMax { .. }
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. }
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
            | Op::Shape { .. }
            | Op::Size
            | Op::ConstantOfShape { .. }
            | Op::Cast { .. }
            | Op::Quantize
            | Op::Dequantize
            | Op::Requantize => Self::exactly(1),
            Op::MatMul
            | Op::Binary { .. }
            | Op::Compare(_)
            | Op::Logic(_)
            | Op::Reshape { .. }
            | Op::Gather { .. }
            | Op::Expand
            | Op::Tile => Self::exactly(2),
            Op::Where | Op::InstanceNorm { .. } | Op::Range => Self::exactly(3),
            Op::BatchNorm { .. } => Self::exactly(5),
            Op::Conv { .. }
            | Op::ConvTranspose { .. }
            | Op::Gemm { .. }
            | Op::LayerNorm { .. }
            | Op::QuantizeLinear { .. }
            | Op::DequantizeLinear { .. } => Self::between(2, 3),
            Op::Index(op) => {
                let (required, most, outputs) = op.arity();
                Self { outputs: Some(outputs), ..Self::between(required, most) }
            }
            Op::Recurrent(layer) => {
                let (required, most, outputs) = layer.arity();
                Self { outputs: Some(outputs), ..Self::between(required, most) }
            }
            Op::Slice => Self::between(3, 5),
            Op::Pad { .. } => Self::between(2, 4),
            Op::Resize(_) => Self::between(1, 4),
            Op::Concat { .. } => Self { required: 1, most: None, outputs: Some(1) },
            Op::Split { .. } => Self { outputs: None, ..Self::exactly(1) },
            Op::DynamicQuantizeLinear => Self { outputs: Some(3), ..Self::exactly(1) },
            // `verify::control` says more.
            // What bodies say of their node is checked with them.
            Op::Control(_) | Op::Opaque { .. } => Self { required: 0, most: None, outputs: None },
        }
    }

    pub(super) fn check(&self, node: &Node) -> Result<()> {
        let fail = |message: String| Err(CoreError::new(CoreErrorKind::Structure, message));
        let found = node.inputs.len();
        if found < self.required || self.most.is_some_and(|most| found > most) {
            let expected = match self.most {
                Some(most) if most == self.required => most.to_string(),
                Some(most) => format!("{} to {most}", self.required),
                None => format!("at least {}", self.required),
            };
            return fail(format!("expected {expected} inputs, found {found}"));
        }
        // Concat has any number of inputs, none of which may be absent.
        let required = if matches!(node.op, Op::Concat { .. }) { found } else { self.required };
        if let Some(absent) = node.inputs[..required].iter().position(Option::is_none) {
            return fail(format!("expected input {absent} to be present, found none"));
        }
        match self.outputs {
            Some(expected) if node.outputs.len() != expected => {
                fail(format!("expected {expected} outputs, found {}", node.outputs.len()))
            }
            None if node.outputs.is_empty() => fail("expected at least 1 output, found 0".to_owned()),
            _ => Ok(()),
        }
    }
}
