//! Rules: which operators run at which precisions, in which forms and within which limits.

use serde::{Deserialize, Serialize};

use super::{ActivationForm, Limits, Support, ops};
use crate::ir::DType;
use crate::plan::Precision;
use crate::quant::Symmetry;

/// How a rule's operators run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// By hardware or kernels made for it.
    Native,
    /// Correctly, but not by hardware or kernels made for it.
    Emulated,
}

impl From<Level> for Support {
    fn from(level: Level) -> Self {
        match level {
            Level::Native => Support::Native,
            Level::Emulated => Support::Emulated,
        }
    }
}

/// Which weights may share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightGranularity {
    /// All of a tensor.
    PerTensor,
    /// Those of one output channel.
    PerChannel,
    /// Runs of elements along the input channels.
    PerBlock,
}

impl WeightGranularity {
    /// The name in documents and messages.
    pub fn name(self) -> &'static str {
        match self {
            WeightGranularity::PerTensor => "per-tensor",
            WeightGranularity::PerChannel => "per-channel",
            WeightGranularity::PerBlock => "per-block",
        }
    }
}

/// The forms of weights that a rule takes, best first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightForm {
    /// Element types in storage, the preferred one first.
    pub dtypes: Vec<DType>,
    /// What may share a scale, the preferred one first.
    pub granularities: Vec<WeightGranularity>,
    /// `symmetric`: zero points must be 0; `affine`: any.
    pub symmetry: Symmetry,
}

/// One statement of what a processor runs.
///
/// A node is allowed when a rule lists its operator and the precision, and everything that the rule limits holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique within the document; what reasons and plans name.
    pub id: String,
    /// Operators by ONNX's names, or groups: `@all`, `@weighted`, `@table` (functions of one element), `@moving`.
    pub ops: Vec<String>,
    /// Precisions at which they run.
    pub precisions: Vec<Precision>,
    /// How they run.
    pub support: Level,
    /// The forms of quantized activations; required for precisions with integer activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<ActivationForm>,
    /// The forms of weights; required for precisions with integer weights on operators that have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightForm>,
    /// Whether an integer product may leave its result in float, without a scale of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub float_output: bool,
    /// What a node may look like.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// What a person should know: why it is only emulated, for example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where the statement comes from.
    pub source: String,
}

impl Rule {
    /// Whether the rule speaks of this operator at this precision at all.
    pub fn covers(&self, op: &str, precision: Precision) -> bool {
        self.precisions.contains(&precision) && self.covers_op(op)
    }

    /// Whether the rule speaks of this operator at any precision.
    pub fn covers_op(&self, op: &str) -> bool {
        ops::covers(&self.ops, op)
    }
}
