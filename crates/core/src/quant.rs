//! Quantization: schemes, parameters, and the one integer arithmetic.
//!
//! Owns what a quantized value means ([`QuantParams`]), which forms exist ([`Scheme`]), how parameters follow from a
//! real range, and [`convert`], the scalar reference that every backend claiming `exact` equals bit for bit.

pub mod convert;
mod params;
mod ranges;
pub mod weights;

pub use params::{Granularity, QuantParams, Scheme, Symmetry};
pub use ranges::Ranges;
