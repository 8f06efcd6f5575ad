//! The mirror of `ext.h`.

use std::ffi::c_void;

use crate::{Context, Device, Error, Program, Status};

/// `fewbit_ext_host_parallel`: the host's threads.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ExtHostParallel {
    /// Bytes that the host knows.
    pub struct_size: u32,
    /// How many bodies run at once.
    pub threads: u32,
    /// Given back to `parallel_for`.
    pub ctx: *mut c_void,
    /// Runs `body(arg, 0..n)` and returns when all are done.
    pub parallel_for: Option<
        unsafe extern "C" fn(
            ctx: *mut c_void,
            n: u32,
            body: Option<unsafe extern "C" fn(arg: *mut c_void, index: u32)>,
            arg: *mut c_void,
        ),
    >,
}

/// `fewbit_cost`: what a node would take; NaN where it is not known.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Time.
    pub nanoseconds: f64,
    /// Energy.
    pub nanojoules: f64,
    /// Bytes across the outermost memory.
    pub bytes: f64,
}

/// `fewbit_ext_cost`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ExtCost {
    /// Bytes that the plugin knows.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// One cost per node.
    pub estimate: Option<
        unsafe extern "C" fn(
            device: *mut Device,
            program: *const Program,
            per_node: *mut Cost,
            error: *mut Error,
        ) -> Status,
    >,
}

/// `fewbit_ext_profile`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ExtProfile {
    /// Bytes that the plugin knows.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Times of the nodes in the last run.
    pub node_times: Option<
        unsafe extern "C" fn(
            context: *mut Context,
            nanoseconds: *mut u64,
            n_nodes: u32,
            error: *mut Error,
        ) -> Status,
    >,
}
