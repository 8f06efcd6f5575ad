//! Observers: what values a tensor takes, in constant memory, and which range follows.
//!
//! Owns the streaming [`Histogram`], the [`Observer`] of one value, the choice of a range by one of several
//! [`Method`]s, and [`CalibrationStats`], the document on disk.

mod collect;
mod histogram;
mod method;
mod stats;

pub use collect::{Collector, observed_values};
pub use histogram::Histogram;
pub use method::Method;
pub use stats::{CalibrationStats, Observer};
