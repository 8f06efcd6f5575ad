//! The interface of backends: Backend → Device → Executable → Context.
//!
//! Owns the traits that every backend implements, in the workspace or behind the plugin ABI, and the tensors that
//! cross them. A *program* is a quantized or float [`Graph`](crate::ir::Graph) with fixed shapes.

mod traits;

pub use traits::{
    Availability, Backend, CompileOptions, Context, Device, DeviceInfo, Executable, MemoryUse, NodeTime,
    TensorSpec,
};
