//! Cases: what is asked of a device, and the words for how it answers.

use std::fmt;

use fewbit_core::capability::WeightGranularity;
use fewbit_core::ir::{DType, Graph, Tensor};
use fewbit_core::quant::Symmetry;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::random::Random;
use crate::run::Probing;

/// A group of cases with one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suite {
    /// The boundary itself: symbols, sizes, handshakes.
    Abi,
    /// Orders of calls, repetition, saved executables.
    Lifecycle,
    /// What is declared is kept, what is refused has a reason.
    Capability,
    /// Integer operators, to the bit.
    OpInt,
    /// Float operators, within bounds.
    OpFloat,
    /// Small whole models.
    Model,
    /// Wrong arguments, poisoned memory, numbers that are none.
    Robust,
    /// Several threads.
    Concurrency,
    /// How fast; never passes or fails.
    Speed,
}

impl Suite {
    /// The name, the first part of its cases' ids.
    pub fn name(self) -> &'static str {
        match self {
            Suite::Abi => "abi",
            Suite::Lifecycle => "lifecycle",
            Suite::Capability => "capability",
            Suite::OpInt => "op_int",
            Suite::OpFloat => "op_float",
            Suite::Model => "model",
            Suite::Robust => "robust",
            Suite::Concurrency => "concurrency",
            Suite::Speed => "speed",
        }
    }
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As it should.
    Passed,
    /// Not as it should.
    Failed,
    /// The device, or the process it runs in, ended.
    Crashed,
    /// It took longer than the limit.
    TimedOut,
    /// The device refused it with a reason, and never declared it.
    Refused,
    /// It asks for a form that the device does not declare.
    NotApplicable,
    /// It failed, and a waiver excuses it.
    Waived,
    /// It passed although a waiver expects it to fail.
    UnexpectedPass,
    /// Its expected output says too little to prove anything.
    Mistrusted,
    /// It was not run.
    Untested,
}

impl Status {
    /// Every status, best first.
    pub const ALL: [Status; 10] = [
        Status::Passed,
        Status::NotApplicable,
        Status::Refused,
        Status::Waived,
        Status::Untested,
        Status::Mistrusted,
        Status::UnexpectedPass,
        Status::Failed,
        Status::TimedOut,
        Status::Crashed,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Status::Passed => "passed",
            Status::Failed => "failed",
            Status::Crashed => "crashed",
            Status::TimedOut => "timed-out",
            Status::Refused => "refused",
            Status::NotApplicable => "not-applicable",
            Status::Waived => "waived",
            Status::UnexpectedPass => "unexpected-pass",
            Status::Mistrusted => "mistrusted",
            Status::Untested => "untested",
        }
    }

    /// Whether it says that the device is wrong.
    pub fn is_failure(self) -> bool {
        matches!(self, Status::Failed | Status::Crashed | Status::TimedOut)
    }
}

/// How far a case came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The library was asked for its table.
    Query,
    /// The backend was set up and the device opened.
    Init,
    /// The device judged the program.
    Supports,
    /// The device compiled the program.
    Compile,
    /// The program ran.
    Run,
    /// Its outputs were compared.
    Compare,
}

impl Stage {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Query => "query",
            Stage::Init => "init",
            Stage::Supports => "supports",
            Stage::Compile => "compile",
            Stage::Run => "run",
            Stage::Compare => "compare",
        }
    }
}

/// The form of quantized values that a case uses: what a device must declare for the case to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Element type of activations.
    pub dtype: DType,
    /// Whether activations have a zero point.
    pub symmetry: Symmetry,
    /// What shares a scale among the weights, of operators that have some.
    pub granularity: Option<WeightGranularity>,
}

impl Form {
    pub(crate) const fn new(
        dtype: DType,
        symmetry: Symmetry,
        granularity: Option<WeightGranularity>,
    ) -> Self {
        Self { dtype, symmetry, granularity }
    }

    /// Whether every weight channel has a scale of its own.
    pub(crate) fn per_channel(self) -> bool {
        self.granularity == Some(WeightGranularity::PerChannel)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symmetry = if self.symmetry == Symmetry::Affine { "affine" } else { "sym" };
        write!(f, "{}-{symmetry}", self.dtype)?;
        match self.granularity {
            Some(WeightGranularity::PerTensor) => f.write_str("-tensor"),
            Some(WeightGranularity::PerChannel) => f.write_str("-channel"),
            Some(WeightGranularity::PerBlock) => f.write_str("-block"),
            None => Ok(()),
        }
    }
}

/// How outputs are compared with the reference's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Compare {
    /// Every element equal; NaN equals NaN, and zeros are equal whatever their sign.
    Exact,
    /// As the device declares its integer arithmetic: equal, one code off, or measured only.
    Declared,
    /// Within this many units in the last place of f32, or of the smallest normal number.
    Ulp(u32),
    /// Mean squared error over mean square at most this, and no element off by more than the tensor's largest times
    /// the root of a hundred times this.
    Nmse(f64),
    /// Of a whole quantized model: equal where the device declares exact integers, else at least
    /// [`MODEL_SQNR`](crate::compare::MODEL_SQNR) dB of signal over noise.
    Model,
}

/// A program with inputs.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub program: Graph,
    pub inputs: Vec<Tensor>,
    pub compare: Compare,
    /// The expected output is meant to be saturated, constant or empty.
    pub corner: bool,
    /// A device may refuse it even where its document does not: no rule can speak of it (empty tensors).
    pub optional: bool,
}

/// What makes a problem from the numbers of its id.
pub(crate) type Generate = dyn Fn(&mut Random) -> Result<Problem> + Send + Sync;
type Probe = dyn Fn(&Probing<'_>) -> crate::run::Outcome + Send + Sync;

/// What a case does.
pub(crate) enum Action {
    /// Runs a program and compares.
    Program(Box<Generate>),
    /// Looks at the device's behaviour.
    Probe(Box<Probe>),
}

/// One question to a device; its id decides everything about it.
pub struct Case {
    /// `suite/operator/family/…/seedN`, unique.
    pub id: String,
    /// The suite.
    pub suite: Suite,
    /// The operator whose coverage it counts towards, by ONNX's name; a topic where there is none.
    pub operator: String,
    /// The form of quantized values, where there are some.
    pub form: Option<Form>,
    pub(crate) action: Action,
}

impl Case {
    /// A case that runs a program.
    pub(crate) fn program(
        id: impl Into<String>,
        suite: Suite,
        operator: &str,
        form: Option<Form>,
        generate: impl Fn(&mut Random) -> Result<Problem> + Send + Sync + 'static,
    ) -> Self {
        Self {
            id: id.into(),
            suite,
            operator: operator.to_owned(),
            form,
            action: Action::Program(Box::new(generate)),
        }
    }

    /// A case that probes behaviour.
    pub(crate) fn probe(
        id: impl Into<String>,
        suite: Suite,
        topic: &str,
        probe: impl Fn(&Probing<'_>) -> crate::run::Outcome + Send + Sync + 'static,
    ) -> Self {
        Self {
            id: id.into(),
            suite,
            operator: topic.to_owned(),
            form: None,
            action: Action::Probe(Box::new(probe)),
        }
    }

    /// The first three parts of its id: cases that show the same.
    pub fn family(&self) -> &str {
        family(&self.id)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The first three parts of an id.
pub(crate) fn family(id: &str) -> &str {
    id.match_indices('/').nth(2).map_or(id, |(at, _)| &id[..at])
}
