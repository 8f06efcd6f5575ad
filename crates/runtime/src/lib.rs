//! Running programs on devices: sessions, and what a run costs this process.
//!
//! A [`Session`] is a compiled program with the contexts that its callers share.

mod memory;
mod session;

pub use memory::peak_memory_bytes;
pub use session::Session;
