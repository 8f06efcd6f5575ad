//! Behaviour of the kernels as their callers see it.

mod convert;
mod elementwise;
mod float;
mod int8;
mod movement;
mod pool;
