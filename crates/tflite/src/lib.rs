//! TFLite models in and out: files that others made as graphs, and programs that [`fewbit_core::lower`] made as the
//! files that NPUs' compilers and runtimes of microcontrollers take.
//!
//! [`mod@file`] owns the format: what a file says as plain data, read from bytes that nobody vouches for and written in the
//! same form. [`import()`] owns what a file means as a graph, [`export()`] owns what a program means in it: layouts, operators, and the rules of the 8-bit specification
//! (TensorFlow's `lite/g3doc/performance/quantization_spec.md`).

mod error;
mod export;
pub mod file;
mod flat;
mod import;

pub use error::{TfliteError, TfliteErrorKind};
pub use export::{ExportOptions, Exported, Port, export};
pub use import::import;
