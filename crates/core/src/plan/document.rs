//! The document: what was decided for every node, tensor and boundary, and why.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Axis, Optimality, Precision, Strategy};
use crate::capability::{Reason, Support, hexadecimal};
use crate::cost::{Cost, Estimate};
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::DType;
use crate::lower::Choices;
use crate::quant::weights::WeightRule;
use crate::quant::{QuantParams, Scheme};

/// Where and at which precision each node of one graph runs on one target, and why.
///
/// The same inputs give the same plan to the byte. [`Plan::hash`] identifies it; [`verify`](super::verify) checks it
/// against the graph and the target without the planner's code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of this document's form: [`Plan::SCHEMA`].
    pub schema: u32,
    /// SHA-256 of the document with this field empty.
    pub hash: String,
    /// The graph: the optimised one, in float (or as another tool quantized it).
    pub model: Subject,
    /// The target's document.
    pub target: Subject,
    /// What was asked for.
    pub strategy: Strategy,
    /// How good the plan is; only mixed plans know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimality: Option<Optimality>,
    /// Where ranges come from; `None` for a plan made before calibration, which cannot be quantized by.
    pub calibration: Option<String>,
    /// How scales of weights are chosen.
    pub weight_rule: WeightRule,
    /// What was measured of this plan before it was written, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measurement>,
    /// Whether every node runs, and what must fit, fits.
    pub deployable: bool,
    /// What hinders deployment beside nodes: memory, for example.
    pub problems: Vec<Reason>,
    /// Sums.
    pub totals: Totals,
    /// One assignment per node, in the graph's order.
    pub nodes: Vec<Assignment>,
    /// Parameters of every quantized activation, by the value's name.
    pub tensors: IndexMap<String, TensorPlan>,
    /// Where activations change form or processor.
    pub boundaries: Vec<Boundary>,
}

/// A document that a plan is about, by name and hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// SHA-256 of its content.
    pub hash: String,
}

/// What running a plan's program over labelled or unlabelled samples showed. Percentages are 0 to 100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Samples run.
    pub samples: usize,
    /// Top-1 accuracy of the plan's program, where there are labels.
    pub top1: Option<f64>,
    /// That of the float model.
    pub top1_float: Option<f64>,
    /// Share of samples with the float model's prediction.
    pub agreement: f64,
    /// Signal to noise at the first output, in decibels.
    pub sqnr_db: f64,
    /// Milliseconds of one inference on the attached device; `None` where none is attached.
    pub latency_ms: Option<f64>,
}

/// Sums over a plan.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Bytes of constants in storage.
    pub weight_bytes: u64,
    /// Lower bound of the bytes of activations alive at once.
    pub activation_bytes: u64,
    /// Estimated milliseconds of one inference, one node after the other; `None` where a figure is missing.
    pub latency_ms: Option<f64>,
    /// Estimated millijoules of one inference; `None` where a figure is missing.
    pub energy_mj: Option<f64>,
    /// Predicted noise at the outputs as a share of the signal's energy; `None` where sensitivity is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<f64>,
    /// Nodes whose latency was measured; that of the others is modelled.
    #[serde(default)]
    pub measured: usize,
    /// Nodes that run natively.
    pub native: usize,
    /// Nodes that are emulated.
    pub emulated: usize,
    /// Nodes that do not run.
    pub unsupported: usize,
    /// Nodes at each precision.
    pub precisions: IndexMap<Precision, usize>,
}

/// What was decided for one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The node's name.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The processor that runs it; `None` where none does.
    pub processor: Option<String>,
    /// The precision.
    pub precision: Precision,
    /// How it runs.
    pub support: Support,
    /// The rule that allows it.
    pub rule: Option<String>,
    /// Whether a person fixed the precision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Form of integer weights where it is not the default (signed, symmetric, per output channel).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Scheme>,
    /// What it computes and moves.
    pub cost: Cost,
    /// What the processor takes for that by its figures.
    pub estimate: Estimate,
    /// Why it runs no better than it does; empty on a native one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// Choices that were preferred and refused, in the order of preference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refusal>,
    /// The next best choice that would run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<RunnerUp>,
}

/// A choice that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The processor asked.
    pub processor: String,
    /// The precision asked for.
    pub precision: Precision,
    /// Why not.
    pub reasons: Vec<Reason>,
}

/// A choice that would run, and what it would take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnerUp {
    /// The processor.
    pub processor: String,
    /// The precision.
    pub precision: Precision,
    /// How it would run.
    pub support: Support,
    /// What it would take.
    pub estimate: Estimate,
    /// In a mixed plan, how the whole plan would change on each axis, conversions included.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub difference: IndexMap<Axis, f64>,
    /// In a mixed plan, the limit that the whole plan would exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceeds: Option<Axis>,
}

/// Where the parameters of a tensor come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// From the value's own calibrated range.
    Calibrated,
    /// From the ranges of values that must share a scale, all of them named.
    Shared(Vec<String>),
    /// The device fixes them for the operator that produces the value.
    Fixed,
}

/// Parameters of a quantized activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorPlan {
    /// Element type in storage.
    pub dtype: DType,
    /// Scale: `real = scale * (q - zero_point)`.
    pub scale: f32,
    /// Zero point.
    pub zero_point: i32,
    /// The range that they follow from.
    pub range: (f32, f32),
    /// Where that comes from.
    pub origin: Origin,
    /// Mean of each channel, where biases of readers are corrected by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_means: Option<Vec<f32>>,
}

/// What happens to an activation between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoundaryKind {
    /// Real numbers become codes.
    Quantize,
    /// Codes become real numbers.
    Dequantize,
    /// The form stays, the processor changes.
    Copy,
}

/// An activation that changes form or processor between its producer and some of its readers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    /// The value.
    pub value: String,
    /// What happens.
    pub kind: BoundaryKind,
    /// The processor of the producer; `None` for an input of the model.
    pub from: Option<String>,
    /// The processor of the readers; `None` for an output of the model.
    pub to: Option<String>,
    /// Bytes read and written by the conversion.
    pub bytes: u64,
    /// What it takes by the processor's figures.
    pub estimate: Estimate,
}

impl Totals {
    /// The sum on an axis; `None` where it is not known.
    pub fn value(&self, axis: Axis) -> Option<f64> {
        match axis {
            Axis::Latency => self.latency_ms,
            Axis::Energy => self.energy_mj,
            Axis::Size => Some(self.weight_bytes as f64),
            Axis::Error => self.noise,
        }
    }
}

impl Plan {
    /// The version of the form that this build reads and writes.
    pub const SCHEMA: u32 = 2;

    /// The document as JSON, indented; the same for equal plans.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a plan has string keys and finite numbers")
    }

    /// Reads a plan; `place` is the file's name in errors.
    ///
    /// # Errors
    /// [`CoreErrorKind::Plan`] for text that is no plan, another version, or a plan that was changed by hand (its hash
    /// does not fit).
    pub fn from_json(text: &str, place: &str) -> Result<Self> {
        let fail = |message: String| CoreError::new(CoreErrorKind::Plan, message).at(place);
        let plan: Self = serde_json::from_str(text).map_err(|error| {
            fail(format!("expected a plan, {error}")).help("write it again with `fewbit plan`")
        })?;
        if plan.schema != Self::SCHEMA {
            return Err(fail(format!("expected version {} of a plan, found {}", Self::SCHEMA, plan.schema))
                .help("plan again with this version of the program"));
        }
        if plan.computed_hash() != plan.hash {
            return Err(fail("expected a plan whose hash fits its content, found another content".into())
                .help("a plan is not edited by hand: plan again, with --pin for what shall stay"));
        }
        Ok(plan)
    }

    /// The plan with what was measured of it.
    #[must_use]
    pub fn with_measurement(mut self, measured: Measurement) -> Self {
        self.measured = Some(measured);
        self.hash = self.computed_hash();
        self
    }

    /// The hash that the content has.
    pub(crate) fn computed_hash(&self) -> String {
        let bare = Self { hash: String::new(), ..self.clone() };
        hexadecimal(&Sha256::digest(bare.to_json().as_bytes()))
    }

    /// What [`lower`](crate::lower::lower) needs of the plan.
    pub fn choices(&self) -> Choices {
        let tensor = |(name, plan): (&String, &TensorPlan)| {
            (name.clone(), (plan.dtype, QuantParams::per_tensor(plan.scale, plan.zero_point)))
        };
        Choices {
            precisions: self.nodes.iter().map(|node| (node.node.clone(), node.precision)).collect(),
            activations: self.tensors.iter().map(tensor).collect(),
            weights: self.nodes.iter().filter_map(|node| Some((node.node.clone(), node.weights?))).collect(),
            weight_rule: self.weight_rule,
            channel_means: self
                .tensors
                .iter()
                .filter_map(|(name, plan)| Some((name.clone(), plan.channel_means.clone()?)))
                .collect(),
        }
    }

    /// The assignment of a node.
    pub fn assignment(&self, node: &str) -> Option<&Assignment> {
        self.nodes.iter().find(|assignment| assignment.node == node)
    }
}
