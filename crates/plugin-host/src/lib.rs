//! Finds, checks, loads and isolates backend plugins.
//!
//! A plugin is a shared library behind `fewbit/plugin.h` with a manifest beside it. This crate owns the way from a
//! folder of manifests to a [`fewbit_core::backend::Backend`]:
//!
//! [`Search`] → [`Manifest`] → (platform, hash, ABI range) → library → table → `init` → devices → [`PluginBackend`].
//!
//! Each step has its own [`PluginErrorKind`]; what is wrong with one plugin never hides another. A plugin runs in this
//! process or, behind the same traits, in a worker process, where a crash, a hang or a stray write costs an error
//! instead of the program. Only `load` opens libraries and only `adapter` and `host` handle foreign pointers.

mod adapter;
mod backend;
mod discover;
mod error;
mod host;
mod in_process;
mod isolated;
mod load;
mod manifest;
mod program;
mod view;
pub mod worker;

pub use adapter::Identity;
pub use backend::{LoadOptions, PluginBackend, snapshot};
pub use discover::{Found, PATH_VARIABLE, Search};
pub use error::{PluginError, PluginErrorKind, Result};
pub use isolated::{Check, Observed, WorkerOptions, observe};
pub use load::Trust;
pub use manifest::{AbiRange, Isolation, Manifest, Platform, Run, SUFFIX, Snapshot, ThreadsOf, hash_file};

/// Major and minor version of the ABI that this host speaks.
pub const ABI_VERSION: (u32, u32) = (fewbit_abi::ABI_MAJOR, fewbit_abi::ABI_MINOR);

/// Emits a line of a plugin's log.
///
/// Call sites of `tracing` are static, so the plugin and its target are fields.
fn logged(plugin: &str, level: i32, target: &str, text: &str) {
    match level {
        fewbit_abi::LOG_ERROR => tracing::error!(target: "plugin", plugin, source = target, "{text}"),
        fewbit_abi::LOG_WARN => tracing::warn!(target: "plugin", plugin, source = target, "{text}"),
        fewbit_abi::LOG_INFO => tracing::info!(target: "plugin", plugin, source = target, "{text}"),
        fewbit_abi::LOG_DEBUG => tracing::debug!(target: "plugin", plugin, source = target, "{text}"),
        _ => tracing::trace!(target: "plugin", plugin, source = target, "{text}"),
    }
}
