//! Names of operators, as rules and reports write them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Op;

/// The name of an operator as rules and reports write it: ONNX's, or `domain.Name` outside ONNX's own domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpKind(String);

impl OpKind {
    /// The kind of that name.
    pub fn new(name: impl Into<String>) -> Self {
        OpKind(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Op {
    /// The kind, for rules and reports.
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Identity => OpKind::new("Identity"),
            Op::Conv { .. } => OpKind::new("Conv"),
            Op::ConvTranspose { .. } => OpKind::new("ConvTranspose"),
            Op::Gemm { .. } => OpKind::new("Gemm"),
            Op::MatMul => OpKind::new("MatMul"),
            Op::MaxPool(_) => OpKind::new("MaxPool"),
            Op::AveragePool(_) => OpKind::new("AveragePool"),
            Op::GlobalAveragePool => OpKind::new("GlobalAveragePool"),
            Op::GlobalMaxPool => OpKind::new("GlobalMaxPool"),
            Op::Unary(op) => OpKind::new(op.name()),
            Op::Binary { op, .. } => OpKind::new(op.name()),
            Op::Compare(op) => OpKind::new(op.name()),
            Op::Logic(op) => OpKind::new(op.name()),
            Op::Where => OpKind::new("Where"),
            Op::Softmax { log: false, .. } => OpKind::new("Softmax"),
            Op::Softmax { log: true, .. } => OpKind::new("LogSoftmax"),
            Op::BatchNorm { .. } => OpKind::new("BatchNormalization"),
            Op::LayerNorm { .. } => OpKind::new("LayerNormalization"),
            Op::InstanceNorm { .. } => OpKind::new("InstanceNormalization"),
            Op::Reduce { op, .. } => OpKind::new(op.name()),
            Op::ArgMax { min: false, .. } => OpKind::new("ArgMax"),
            Op::ArgMax { min: true, .. } => OpKind::new("ArgMin"),
            Op::Reshape { .. } => OpKind::new("Reshape"),
            Op::Flatten { .. } => OpKind::new("Flatten"),
            Op::Transpose { .. } => OpKind::new("Transpose"),
            Op::Squeeze { .. } => OpKind::new("Squeeze"),
            Op::Unsqueeze { .. } => OpKind::new("Unsqueeze"),
            Op::Concat { .. } => OpKind::new("Concat"),
            Op::Split { .. } => OpKind::new("Split"),
            Op::Slice => OpKind::new("Slice"),
            Op::Gather { .. } => OpKind::new("Gather"),
            Op::Index(op) => OpKind::new(op.name()),
            Op::Recurrent(layer) => OpKind::new(layer.name()),
            Op::Expand => OpKind::new("Expand"),
            Op::Tile => OpKind::new("Tile"),
            Op::Pad { .. } => OpKind::new("Pad"),
            Op::Resize(_) => OpKind::new("Resize"),
            Op::DepthToSpace { .. } => OpKind::new("DepthToSpace"),
            Op::SpaceToDepth { .. } => OpKind::new("SpaceToDepth"),
            Op::Shape { .. } => OpKind::new("Shape"),
            Op::Size => OpKind::new("Size"),
            Op::ConstantOfShape { .. } => OpKind::new("ConstantOfShape"),
            Op::Range => OpKind::new("Range"),
            Op::Cast { .. } => OpKind::new("Cast"),
            Op::QuantizeLinear { .. } => OpKind::new("QuantizeLinear"),
            Op::DequantizeLinear { .. } => OpKind::new("DequantizeLinear"),
            Op::Quantize => OpKind::new("Quantize"),
            Op::Dequantize => OpKind::new("Dequantize"),
            Op::Requantize => OpKind::new("Requantize"),
            Op::DynamicQuantizeLinear => OpKind::new("DynamicQuantizeLinear"),
            Op::Control(control) => OpKind::new(control.name()),
            Op::Opaque { domain, op_type, .. } if domain.is_empty() => OpKind(op_type.clone()),
            Op::Opaque { domain, op_type, .. } => OpKind(format!("{domain}.{op_type}")),
        }
    }
}
