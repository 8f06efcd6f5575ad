//! Figures beyond a target's own: what was measured.

use crate::ir::DType;
use crate::plan::{BoundaryKind, Precision};

/// What was measured of a model on a device: latencies, and the noise that nodes cause.
///
/// What is `None` here is taken from the target's figures (latencies, by the roofline), or is unknown (noise).
pub trait Figures {
    /// Microseconds of `node` at `precision` on `processor`.
    fn latency_us(&self, processor: &str, node: &str, precision: Precision) -> Option<f64>;

    /// Microseconds of a boundary over `elements` elements whose codes are of `codes`, on `processor`.
    fn boundary_us(&self, processor: &str, kind: BoundaryKind, codes: DType, elements: usize) -> Option<f64>;

    /// The noise that `node` at `precision` adds to the outputs, as a share of the signal's energy.
    fn noise(&self, node: &str, precision: Precision) -> Option<f64>;

    /// Where the figures come from, for the plan's record.
    fn origin(&self) -> String;
}
