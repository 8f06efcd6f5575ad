//! Goals: what a mixed plan minimises, and under which bounds.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::Precision;

/// What a plan costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// Milliseconds of one inference.
    Latency,
    /// Millijoules of one inference.
    Energy,
    /// Bytes of constants in storage.
    Size,
    /// Energy of the noise at the outputs over energy of the signal: 0.01 is 20 dB.
    Error,
}

impl Axis {
    /// Every axis, in the order in which values are kept.
    pub const ALL: [Axis; 4] = [Axis::Latency, Axis::Energy, Axis::Size, Axis::Error];

    /// The name people type.
    pub fn name(self) -> &'static str {
        match self {
            Axis::Latency => "latency",
            Axis::Energy => "energy",
            Axis::Size => "size",
            Axis::Error => "error",
        }
    }

    /// A value with its unit, as people read it.
    pub fn show(self, value: f64) -> String {
        match self {
            Axis::Latency => format!("{value:.3} ms"),
            Axis::Energy => format!("{value:.4} mJ"),
            Axis::Size => format!("{value:.0} bytes"),
            Axis::Error => {
                let decibels = if value > 0.0 { -10.0 * value.log10() } else { f64::INFINITY };
                format!("{value:.3e} ({decibels:.1} dB)")
            }
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is not the name of an axis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected latency, energy, size or error, found `{0}`")]
pub struct ParseAxisError(String);

impl FromStr for Axis {
    type Err = ParseAxisError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Axis::ALL.into_iter().find(|axis| axis.name() == text).ok_or_else(|| ParseAxisError(text.to_owned()))
    }
}

/// What a mixed plan is to reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// What is made as small as it can be.
    pub minimize: Axis,
    /// What must not be exceeded, in the axis's unit.
    pub limits: IndexMap<Axis, f64>,
    /// Precisions that nodes may have, the preferred one first; what no rule of the target allows falls away.
    pub precisions: Vec<Precision>,
}

/// How good a mixed plan is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimality {
    /// What was asked for.
    pub goal: Goal,
    /// The plan's value on the axis that was minimised.
    pub objective: f64,
    /// No plan within the limits has less.
    pub lower_bound: f64,
    /// Where the figures come from: what was measured and on how many samples.
    pub figures: String,
}

impl Optimality {
    /// By how much at most the plan misses the best one, as a share of the bound.
    pub fn gap(&self) -> f64 {
        if self.objective <= self.lower_bound {
            0.0
        } else {
            (self.objective - self.lower_bound) / self.lower_bound.abs().max(f64::MIN_POSITIVE)
        }
    }
}
