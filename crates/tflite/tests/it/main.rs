//! What the crate promises.

mod files;
mod litert;
mod programs;
