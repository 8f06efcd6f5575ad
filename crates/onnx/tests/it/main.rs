//! Behaviour of import and export on files: hostile ones, real ones, and round trips.

mod hostile;
mod models;
mod operators;
mod optimize;
mod peers;
