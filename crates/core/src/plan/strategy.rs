//! Strategies: how precise a plan may be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Precision;

/// The precision that a plan aims for; nodes that cannot have it get the best float the device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
#[non_exhaustive]
pub enum Strategy {
    /// Single precision throughout.
    F32,
    /// Half precision where the device has it.
    F16,
    /// 8-bit weights; activations quantized while running, with scales of each input.
    W8A8Dynamic,
    /// 8-bit weights and activations with calibrated scales.
    W8A8,
    /// Each node its own: what a [`Goal`](super::Goal) asks for.
    Mixed,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Strategy; 5] =
        [Strategy::F32, Strategy::F16, Strategy::W8A8Dynamic, Strategy::W8A8, Strategy::Mixed];

    /// The name people type.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Mixed => "mixed",
            uniform => uniform.precision().name(),
        }
    }

    /// The precision aimed for; a mixed plan's base.
    pub fn precision(self) -> Precision {
        match self {
            Strategy::F32 => Precision::F32,
            Strategy::F16 => Precision::F16,
            Strategy::W8A8Dynamic => Precision::W8A8Dynamic,
            Strategy::W8A8 | Strategy::Mixed => Precision::W8A8,
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Strategy> for &'static str {
    fn from(strategy: Strategy) -> Self {
        strategy.name()
    }
}

/// The text is not the name of a strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a strategy (f32, f16, w8a8-dynamic, w8a8 or mixed), found `{0}`")]
pub struct ParseStrategyError(String);

impl FromStr for Strategy {
    type Err = ParseStrategyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Strategy::ALL
            .into_iter()
            .find(|strategy| strategy.name() == text)
            .ok_or_else(|| ParseStrategyError(text.to_owned()))
    }
}

impl TryFrom<String> for Strategy {
    type Error = ParseStrategyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
