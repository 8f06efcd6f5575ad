//! CPU microkernels: they take slices, never graphs.
//!
//! This crate owns the arithmetic of the CPU backend in every instruction-set tier: int8 and float
//! convolution and matrix products, depthwise convolution, element-wise operators, pooling, resizing,
//! 256-entry tables and the conversions between float and integer tensors. Activations are NHWC.
//! It knows no graph, no file format, no thread pool: a caller cuts the work into ranges of output units and
//! may run them on as many threads as it likes; results do not depend on how the work was cut.
//!
//! Every integer kernel equals [the scalar one](Tier::Scalar) bit for bit in every tier.

mod catalog;
mod error;
mod int8;
mod requant;
mod scratch;
mod shape;
mod tier;

pub use catalog::{CATALOG, Element, ErrorBound, Family, KernelInfo, Tile};
pub use error::{KernelError, KernelErrorKind};
pub use int8::{ConvInt8, OutSlice};
pub use requant::{Dequantize, Epilogue, Requantize};
pub use scratch::Scratch;
pub use shape::ConvShape;
pub use tier::{ParseTierError, TIER_VARIABLE, Tier, TierToken};
