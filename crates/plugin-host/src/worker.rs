//! The worker: a process of its own for one plugin.
//!
//! Owns the protocol between the two processes and the worker's own main function. Control frames are length-prefixed
//! and travel over a Unix socket; constants and tensors lie in shared memory, which the worker can only read where it
//! is input. Each context has a socket and a thread of its own, so contexts run at once, and a run costs two bytes of
//! talk. Tensors that the plugin writes lie between guards that are checked after every run.

mod child;
mod memory;
mod observe;
mod protocol;

pub use child::main;
pub(crate) use memory::{Layout, Memory};
pub use observe::{Check, Observed};
pub use protocol::Limits;
pub(crate) use protocol::{
    Connection, Event, Fault, RUN_FAILED, RUN_OK, RUN_REQUEST, Reply, Request, Shipped, TIMES_REQUEST,
};
