//! Behaviour of the kernels as their callers see it.

mod int8;
