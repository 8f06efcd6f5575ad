//! Plans: where and at which precision each node of a graph runs, and why.
//!
//! Owns [`Plan`] and its parts, as JSON on disk, and the check that holds a plan to its graph and target. What a model
//! computes is [`Graph`](crate::ir::Graph); a plan names nodes and values of one graph by name and carries that graph's
//! hash. Making plans is [`planner`](crate::planner)'s work.

mod diff;
mod document;
mod goal;
mod precision;
mod strategy;
mod verify;

pub use diff::{NodeDiff, Place, PlanDiff, diff};
pub use document::{
    Assignment, Boundary, BoundaryKind, Measurement, Origin, Plan, Refusal, RunnerUp, Subject, TensorPlan,
    Totals,
};
pub use goal::{Axis, Goal, Optimality, ParseAxisError};
pub use precision::{ParsePrecisionError, Precision};
pub use strategy::{ParseStrategyError, Strategy};
pub use verify::verify;
