//! Capability documents: what a device does natively, and the verdict on a node.
//!
//! Owns the one schema with three sources (a live backend, a plugin's snapshot, `targets/NAME.toml`), and the
//! evaluation of its rules against a node. A refusal is data, not an error: it carries [`Reason`]s whose codes
//! [`reasons`] explains. The schema is described for people in `docs/design/capability.md`.

mod document;
mod judge;
mod limits;
mod ops;
mod query;
pub mod reasons;
mod rule;
mod validate;
mod verdict;

pub(crate) use document::hexadecimal;
pub use document::{
    ActivationForm, Artifact, ArtifactFormat, Capability, Energy, FixedScale, Holds, Memory, Numerics,
    Processor, ProcessorKind, Roofline, Rounding, SharedScale,
};
pub use limits::{FusedClamp, Groups, Limits};
pub use query::NodeQuery;
pub(crate) use query::operands;
pub use rule::{Level, Rule, WeightForm, WeightGranularity};
pub use verdict::{Reason, Support, Verdict};
