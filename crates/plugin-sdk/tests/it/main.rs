//! The exported table, driven as a host drives it.

mod calls;
mod host;
mod plugin;
mod programs;
