//! The kit with which a vendor proves a backend.
//!
//! A *case* is a small program with inputs, generated from its id alone and compared with the reference, or a probe of
//! a device's behaviour. Cases are grouped in *suites*. A *profile* names the cases that a device must pass to claim it;
//! a *waiver* excuses a known failure until a date. A run gives a *report* that anyone can check again.
//!
//! [`Subject`] → [`suites::all`] → [`Profile`] → [`run`](run::run) → [`Report`] → [`report::verify`].
//!
//! The suites see a device through [`fewbit_core::backend`] alone, so built-in backends and plugins, in this process or
//! in a worker, are held to the same.

mod build;
mod case;
mod compare;
pub mod devices;
mod error;
mod pattern;
mod profile;
mod random;
pub mod report;
pub mod run;
mod subject;
pub mod suites;
mod waiver;

pub use case::{Case, Form, Stage, Status, Suite};
pub use error::{KitError, KitErrorKind};
pub use profile::{Duty, Profile};
pub use report::Report;
pub use subject::{Identity, Subject};
pub use waiver::{Waiver, Waivers, today};

/// The version of the suites: a report says which one it is of. It rises whenever a case is added, removed or changed.
pub const SUITE_VERSION: u32 = 1;
