//! The heart of fewbit: what a model computes, how it is quantized, what a device can do, and which plan follows.
//!
//! This crate owns the IR and its passes, the integer arithmetic every backend must equal, capability documents,
//! the planner, and the interface of backends. It knows no file format and no hardware: models come from
//! `fewbit-onnx`, kernels live behind [`backend::Backend`].
//!
//! Data goes one way: [`ir::Graph`] → passes → [`ir::Graph`] → (with capability documents and calibration
//! statistics) → [`plan::Plan`] → quantized [`ir::Graph`], the *program* that a backend compiles.

pub mod backend;
pub mod capability;
pub mod cost;
pub mod diag;
pub mod error;
pub mod infer;
pub mod ir;
pub mod lower;
pub mod pass;
pub mod plan;
pub mod planner;
pub mod quant;
pub mod reference;
pub mod solve;
pub mod split;
pub mod target;

pub use error::{CoreError, CoreErrorKind};
