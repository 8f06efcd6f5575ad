//! Capability documents: what a device does natively, and the verdict on a node.
//!
//! Owns the one schema with three sources (a live backend, a plugin's snapshot, `targets/NAME.toml`), and the
//! evaluation of its rules against a node. A refusal is data, not an error: it carries [`Reason`]s.

mod verdict;

pub use verdict::{Reason, Support, Verdict};
