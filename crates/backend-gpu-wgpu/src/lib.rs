//! The GPU backend: lowers a program onto WGSL kernels and runs it on any adapter that wgpu drives: Vulkan, Metal, DX12.
//!
//! Owns which kernel computes a node, how values lie in the device's memory, the memory plan, pipelines and command
//! buffers. Integers are exact: 8-bit results equal `quant::convert` bit for bit, on every adapter that passes the
//! arithmetic test which is run when a device is opened. What no kernel covers is refused with a reason; joined with the
//! CPU (`wgpu+cpu`) such a node runs there. The whole crate is safe Rust over wgpu's checked shader modules.
//!
//! | module | owns |
//! |---|---|
//! | `adapter` | finding adapters, what each says of itself, why one is refused |
//! | `arithmetic` | the test of an adapter's float arithmetic |
//! | `device` | the traits' backend and device |
//! | `capability` | the live document of an adapter |
//! | `lower` | from nodes to launches: layouts, forms of values, one function per operator |
//! | `kernels` | one file per family: what it takes, and its WGSL beside it |
//! | `plan` | launches, lifetimes, shared buffers |
//! | `pipelines` | compiling shaders, in parallel, each once |
//! | `execute` | executables and contexts |

mod adapter;
mod arithmetic;
mod capability;
mod device;
mod execute;
mod fault;
mod kernels;
mod lower;
mod pipelines;
mod plan;

pub use device::{WgpuBackend, WgpuDevice};
