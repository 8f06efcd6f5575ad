//! Plans: where and at which precision each node of a graph runs, and why.
//!
//! Owns [`Plan`] and its parts, as JSON on disk. What a model computes is [`Graph`](crate::ir::Graph); a plan
//! names nodes and values of one graph by name and carries that graph's hash.

mod precision;

pub use precision::{ParsePrecisionError, Precision};
