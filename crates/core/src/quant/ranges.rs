//! Ranges of values: what calibration gives to the planner.

use super::Scheme;
use crate::error::Result;

/// The range of every value of a graph, by the value's name.
pub trait Ranges {
    /// The range to store `value` in by `scheme`; `None` where it was not seen.
    ///
    /// # Errors
    /// When the scheme cannot store quantized values.
    fn range(&self, value: &str, scheme: Scheme) -> Result<Option<(f32, f32)>>;

    /// The mean of each channel (axis 1) of `value`, for bias correction; `None` where it was not seen.
    fn channel_means(&self, value: &str) -> Option<Vec<f32>>;

    /// What the ranges come from, for the plan: the method and the number of samples.
    fn origin(&self) -> String;
}
