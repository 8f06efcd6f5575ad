//! What the crate promises.

mod files;
mod import;
mod litert;
mod programs;
