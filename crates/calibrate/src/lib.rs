//! Calibration: real data in, value ranges and warnings out.
//!
//! Owns datasets and their preprocessing, the streaming observers, the choice of ranges from their histograms, the
//! doctor that judges the data, and the evaluation of a model on labelled data. Models run through the traits of
//! `fewbit_core::backend`; no backend is named here. Memory does not depend on the number of samples.

pub mod dataset;
pub mod doctor;
mod error;
pub mod evaluate;
pub mod observe;
mod runner;
pub mod sensitivity;
pub mod sqnr;

pub use error::{CalibrateError, CalibrateErrorKind};
pub use runner::Runner;
