//! The CPU backend against the reference interpreter, in every tier this machine has.

mod models;
mod random;
mod targets;
