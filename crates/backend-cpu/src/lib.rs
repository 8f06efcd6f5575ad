//! The CPU backend: lowers a program onto the microkernels of `fewbit-kernels` and runs it.
//!
//! Owns which kernel computes a node, physical layouts (feature maps are channels-last), the memory plan and the
//! threads. Quantized 8-bit values are u8 inside: an i8 tensor is stored with 128 added to its codes and its zero
//! point, which changes no result. A node that no kernel covers runs in the reference interpreter: correct, slow, and
//! said so by its verdict.

mod buffer;
mod capability;
mod compile;
mod device;
mod execute;
mod step;
mod threads;

pub use device::{CpuBackend, CpuDevice};
