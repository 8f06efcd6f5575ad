//! Plugins of this repository, loaded in this process and in workers.

mod documents;
mod faults;
mod loading;
mod minors;

use std::ffi::OsString;
use std::path::Path;

use fewbit_plugin_host::{LoadOptions, Manifest, PluginBackend, WorkerOptions};

/// Options that run plugins in this package's own worker.
fn isolated() -> LoadOptions {
    let mut options = LoadOptions::default();
    options.worker =
        Some(WorkerOptions::new(env!("CARGO_BIN_EXE_fewbit-plugin-worker"), Vec::<OsString>::new()));
    options
}

/// Both ways of running a plugin.
fn ways() -> [(&'static str, LoadOptions); 2] {
    [("in process", LoadOptions::default()), ("isolated", isolated())]
}

fn load(manifest: &Path, options: &LoadOptions) -> PluginBackend {
    PluginBackend::load(&Manifest::read(manifest).unwrap(), options).unwrap()
}
