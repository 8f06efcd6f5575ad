//! Precisions of a node, as people type them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The precision at which a node computes: weight bits, activation bits, and how activations get their scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
#[non_exhaustive]
pub enum Precision {
    /// Single precision throughout.
    F32,
    /// Half precision throughout.
    F16,
    /// bfloat16 operands, single-precision accumulation.
    Bf16,
    /// 8-bit weights and activations, scales fixed by calibration.
    W8A8,
    /// 8-bit weights; activations quantized to 8 bits while running.
    W8A8Dynamic,
    /// 8-bit weights, 16-bit activations.
    W8A16,
    /// 4-bit weights, 8-bit activations.
    W4A8,
    /// 4-bit weights, 16-bit activations.
    W4A16,
    /// 8-bit weights, float activations.
    W8A16F,
    /// 4-bit weights, float activations.
    W4A16F,
    /// 16-bit integer weights and activations.
    W16A16,
    /// 2-bit weights, 8-bit activations.
    W2A8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 12] = [
        Precision::F32,
        Precision::F16,
        Precision::Bf16,
        Precision::W8A8,
        Precision::W8A8Dynamic,
        Precision::W8A16,
        Precision::W4A8,
        Precision::W4A16,
        Precision::W8A16F,
        Precision::W4A16F,
        Precision::W16A16,
        Precision::W2A8,
    ];

    /// The name people type: `f32`, `w8a8-dynamic`, `w4a16f`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::W8A8 => "w8a8",
            Precision::W8A8Dynamic => "w8a8-dynamic",
            Precision::W8A16 => "w8a16",
            Precision::W4A8 => "w4a8",
            Precision::W4A16 => "w4a16",
            Precision::W8A16F => "w8a16f",
            Precision::W4A16F => "w4a16f",
            Precision::W16A16 => "w16a16",
            Precision::W2A8 => "w2a8",
        }
    }

    /// Bits of one stored weight.
    pub fn weight_bits(self) -> usize {
        match self {
            Precision::F32 => 32,
            Precision::F16 | Precision::Bf16 | Precision::W16A16 => 16,
            Precision::W8A8 | Precision::W8A8Dynamic | Precision::W8A16 | Precision::W8A16F => 8,
            Precision::W4A8 | Precision::W4A16 | Precision::W4A16F => 4,
            Precision::W2A8 => 2,
        }
    }

    /// Bits of one activation in memory between nodes.
    pub fn activation_bits(self) -> usize {
        match self {
            Precision::F32 | Precision::W8A8Dynamic => 32,
            Precision::F16
            | Precision::Bf16
            | Precision::W8A16
            | Precision::W4A16
            | Precision::W16A16
            | Precision::W8A16F
            | Precision::W4A16F => 16,
            Precision::W8A8 | Precision::W4A8 | Precision::W2A8 => 8,
        }
    }

    /// Whether the node's activations are stored as integers with fixed scales.
    pub fn has_integer_activations(self) -> bool {
        matches!(
            self,
            Precision::W8A8
                | Precision::W8A16
                | Precision::W4A8
                | Precision::W4A16
                | Precision::W16A16
                | Precision::W2A8
        )
    }

    /// Whether the node's weights are stored as integers.
    pub fn has_integer_weights(self) -> bool {
        !matches!(self, Precision::F32 | Precision::F16 | Precision::Bf16)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Precision> for &'static str {
    fn from(precision: Precision) -> Self {
        precision.name()
    }
}

/// The text is not the name of a precision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a precision such as f32, f16, w8a8 or w8a8-dynamic, found `{0}`")]
pub struct ParsePrecisionError(String);

impl FromStr for Precision {
    type Err = ParsePrecisionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Precision::ALL
            .into_iter()
            .find(|precision| precision.name() == text)
            .ok_or_else(|| ParsePrecisionError(text.to_owned()))
    }
}

impl TryFrom<String> for Precision {
    type Error = ParsePrecisionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_as_text_and_json() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse::<Precision>(), Ok(precision));
            let json = serde_json::to_string(&precision).unwrap();
            assert_eq!(json, format!("\"{}\"", precision.name()));
            assert_eq!(serde_json::from_str::<Precision>(&json).unwrap(), precision);
        }
    }
}
