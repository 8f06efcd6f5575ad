//! Behaviour of import and export on files: hostile ones, real ones, and round trips.

mod backend_tests;
mod hostile;
mod models;
mod operators;
mod optimize;
mod peers;
mod unsupported;
