//! CPU microkernels: they take slices, never graphs.
//!
//! This crate owns the arithmetic of the CPU backend in every instruction-set tier: int8 and float
//! convolution and matrix products, depthwise convolution, element-wise operators, pooling, resizing,
//! 256-entry tables and the conversions between float and integer tensors. Activations are NHWC.
//! It knows no graph, no file format, no thread pool: a caller cuts the work into ranges of output units and
//! may run them on as many threads as it likes; results do not depend on how the work was cut.
//!
//! Every integer kernel equals [the scalar one](Tier::Scalar) bit for bit in every tier.

#![expect(
    clippy::inline_always,
    reason = "a function that is not inlined into its caller has not the caller's instructions to use"
)]

mod catalog;
mod codes;
mod convert;
mod elementwise;
mod error;
mod float;
mod int8;
mod layout;
mod pool;
mod requant;
mod resize;
mod scratch;
mod shape;
mod table;
mod tier;
mod tiered;

pub use catalog::{CATALOG, Element, ErrorBound, Family, KernelInfo, Tile};
pub use codes::Codes;
pub use convert::{
    bf16_to_f32, dequantize_u8, f16_to_f32, f32_to_bf16, f32_to_f16, min_max_f32, quantize_f32,
};
pub use elementwise::float::{BinaryF32, binary_f32};
pub use elementwise::int8::{AddU8, MulU8, add_u8, mul_u8};
pub use elementwise::rows::{layer_norm_f32, softmax_f32};
pub use elementwise::unary::{UnaryF32, unary_f32, unary_f32_in_place};
pub use error::{KernelError, KernelErrorKind};
pub use float::{ConvF32, GemmF32};
pub use int8::{ConvInt8, OutSlice};
pub use layout::Transpose;
pub use pool::{
    PoolShape, average_pool_f32, average_pool_u8, global_average_f32, global_average_u8, max_pool_f32,
    max_pool_u8,
};
pub use requant::{Dequantize, Epilogue, Requantize};
pub use resize::{LINEAR_ONE, LinearTap, ResizeShape, resize_linear_f32, resize_linear_u8, resize_nearest};
pub use scratch::Scratch;
pub use shape::ConvShape;
pub use table::{place_channels, place_channels_table, requantize_table, table_u8};
pub use tier::{ParseTierError, TIER_VARIABLE, Tier, TierToken};
