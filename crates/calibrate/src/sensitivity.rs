//! Sensitivity: how much noise at the outputs each node causes at each precision.
//!
//! Owns the document [`Sensitivity`] and the two ways to fill it. *Measured*: programs that differ from a base in one
//! node are run over samples and held against the float model; for a node restored to float this tells what it costs,
//! for one with fewer bits what that adds. *Estimated*: the noise of rounding weights and activations, without running
//! anything, for a first answer. Effects of single nodes are not additive in general; what follows from them is checked
//! on the real metric afterwards.

mod estimate;
mod measure;

use fewbit_core::plan::Precision;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use estimate::estimate;
pub use measure::{Change, Samples, measure};

use crate::error::{CalibrateError, CalibrateErrorKind, Result};

/// What a program does to the outputs, against the float model on the same samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// Energy of the difference over energy of the float output, the mean over outputs. 0.01 is 20 dB.
    pub noise: f64,
    /// Kullback-Leibler divergence of the softmax of the first output from that of the float model, in nats, the mean
    /// over samples; `None` for an output of one element and where nothing was run.
    pub divergence: Option<f64>,
    /// Share of samples with the float model's largest element, in percent; `None` where nothing was run.
    pub agreement: Option<f64>,
    /// Top-1 accuracy in percent, where samples have labels.
    pub top1: Option<f64>,
}

impl Effect {
    /// The noise as a ratio of signal to noise in decibels.
    pub fn sqnr_db(&self) -> f64 {
        crate::sqnr::decibels(1.0, self.noise)
    }
}

/// How the effects were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By running changed programs.
    Measured,
    /// By the noise of rounding, without running anything.
    Estimated,
}

/// The effects of single changes to a base program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensitivity {
    /// Version of this document's form.
    pub schema: u32,
    /// Hash of the float graph.
    pub model: String,
    /// Hash of what the effects follow from beside the model: the base's parameters and the samples.
    pub subject: String,
    /// How they were found.
    pub mode: Mode,
    /// Samples run.
    pub samples: usize,
    /// The base as it is.
    pub base: Effect,
    /// The base with one node changed: by the node's name and the precision it was changed to.
    pub nodes: IndexMap<String, IndexMap<Precision, Effect>>,
}

impl Sensitivity {
    /// The present version of the document's form.
    pub const SCHEMA: u32 = 1;

    /// Reads a document and refuses one of another model, base or data.
    ///
    /// # Errors
    /// [`CalibrateErrorKind::Format`] for text that is no such document or one of another subject.
    pub fn from_json(text: &str, model: &str, subject: &str) -> Result<Self> {
        let fail = |message: String| {
            CalibrateError::new(CalibrateErrorKind::Format, message)
                .help("remove the file, so that it is measured again")
        };
        let this: Self = serde_json::from_str(text)
            .map_err(|error| fail(format!("expected a sensitivity document: {error}")))?;
        if this.schema != Self::SCHEMA {
            return Err(fail(format!(
                "expected a sensitivity document of form {}, found {}",
                Self::SCHEMA,
                this.schema
            )));
        }
        if this.model != model {
            return Err(fail("expected the sensitivity of this model, found that of another".into()));
        }
        if this.subject != subject {
            return Err(fail(
                "expected the sensitivity on this data with these ranges, found that on others".into(),
            ));
        }
        Ok(this)
    }

    /// The noise that a node at `precision` adds to the outputs, compared with the node in float; `None` where it was
    /// not measured. Never negative: what seems to improve the output is luck.
    ///
    /// For the base's own precision that is what restoring the node takes away.
    pub fn noise(&self, node: &str, precision: Precision) -> Option<f64> {
        if precision == Precision::F32 {
            return Some(0.0);
        }
        let effects = self.nodes.get(node)?;
        let restored = effects.get(&Precision::F32).map_or(self.base.noise, |effect| effect.noise);
        let changed = match effects.get(&precision) {
            Some(effect) => effect.noise,
            None => self.base.noise,
        };
        Some((changed - restored).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(noise: f64) -> Effect {
        Effect { noise, divergence: None, agreement: None, top1: None }
    }

    fn document() -> Sensitivity {
        let of_a = [(Precision::F32, effect(0.007)), (Precision::W4A8, effect(0.05))];
        Sensitivity {
            schema: Sensitivity::SCHEMA,
            model: "m".into(),
            subject: "s".into(),
            mode: Mode::Measured,
            samples: 4,
            base: effect(0.01),
            nodes: IndexMap::from([("a".to_owned(), IndexMap::from(of_a))]),
        }
    }

    #[test]
    fn noise_is_what_restoring_takes_away_or_fewer_bits_add() {
        let document = document();
        let noise = |precision| document.noise("a", precision).unwrap();
        assert_eq!(noise(Precision::F32), 0.0);
        assert!((noise(Precision::W8A8) - 0.003).abs() < 1e-12);
        assert!((noise(Precision::W4A8) - 0.043).abs() < 1e-12);
        assert_eq!(document.noise("b", Precision::W8A8), None);
    }

    #[test]
    fn documents_of_another_model_or_data_are_refused() {
        let json = serde_json::to_string(&document()).unwrap();
        assert_eq!(Sensitivity::from_json(&json, "m", "s").unwrap(), document());
        assert!(Sensitivity::from_json(&json, "n", "s").unwrap_err().to_string().contains("this model"));
        assert!(Sensitivity::from_json(&json, "m", "t").unwrap_err().to_string().contains("this data"));
        assert!(Sensitivity::from_json("{}", "m", "s").is_err());
    }
}
