//! Running programs on devices: sessions, what a run costs this process, and how long each node takes.
//!
//! A [`Session`] is a compiled program with the contexts that its callers share.

pub mod composite;
pub mod energy;
mod memory;
pub mod partition;
mod session;
mod shapes;
pub mod times;

pub use memory::peak_memory_bytes;
pub use session::Session;
pub use shapes::ShapeSessions;
