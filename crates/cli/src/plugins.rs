//! Plugins as this program finds and runs them: by default each in a process of its own, which is this program again.

use std::ffi::OsString;

use anyhow::{Context, Result};
use fewbit_core::backend::Backend;
use fewbit_plugin_host::{
    Found, Isolation, LoadOptions, Manifest, PluginBackend, PluginError, Search, WorkerOptions,
};

use crate::config::Config;

/// The word with which this program is started as a worker.
pub(crate) const WORKER: &str = "plugin-worker";

/// The manifests that there are, and what is wrong with others.
pub(crate) fn find(config: &Config) -> Found {
    let manifests = config.plugins.plugin.iter().chain(&config.plugin).cloned().collect();
    let folders = config.plugins.plugin_dir.iter().chain(&config.plugin_dir).cloned().collect();
    Search::only(manifests, folders).with_system().run()
}

/// How plugins are loaded.
pub(crate) fn options(config: &Config) -> Result<LoadOptions> {
    let mut options = LoadOptions::default();
    options.trust.skip_hash = config.plugins.dev;
    options.log_level = log_level();
    if !config.plugins.in_process {
        let program = std::env::current_exe().context("this program's own path")?;
        options.worker = Some(WorkerOptions::new(program, [OsString::from(WORKER)]));
    }
    Ok(options)
}

/// How this plugin is loaded: inside this process without being told so where a report of it was verified, and its
/// manifest does not ask for a process of its own.
fn options_for(manifest: &Manifest, general: &LoadOptions) -> LoadOptions {
    let mut options = general.clone();
    if options.worker.is_some()
        && manifest.run.isolation != Isolation::Required
        && crate::trusted::is_trusted(manifest)
    {
        options.worker = None;
    }
    options
}

/// The most detailed level that this program's own log keeps of plugins: 1 for errors to 5 for all.
fn log_level() -> u32 {
    let levels = [
        tracing::enabled!(target: "plugin", tracing::Level::ERROR),
        tracing::enabled!(target: "plugin", tracing::Level::WARN),
        tracing::enabled!(target: "plugin", tracing::Level::INFO),
        tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        tracing::enabled!(target: "plugin", tracing::Level::TRACE),
    ];
    levels.iter().filter(|enabled| **enabled).count() as u32
}

/// Whether people mean this plugin: by its id or the last part of it.
fn is_called(manifest: &Manifest, name: &str) -> bool {
    manifest.id == name || manifest.id.rsplit('.').next() == Some(name)
}

/// The names that people may type.
pub(crate) fn names(config: &Config) -> Vec<String> {
    let last = |manifest: &Manifest| manifest.id.rsplit('.').next().unwrap_or_default().to_owned();
    find(config).manifests.iter().map(last).collect()
}

/// The manifest of a plugin by its name or its path.
pub(crate) fn manifest(name: &str, config: &Config) -> Result<Option<Manifest>> {
    if name.ends_with(fewbit_plugin_host::SUFFIX) {
        return Ok(Some(Manifest::read(std::path::Path::new(name))?));
    }
    Ok(find(config).manifests.into_iter().find(|manifest| is_called(manifest, name)))
}

/// The plugin of that name, loaded; `None` where there is none.
pub(crate) fn load(name: &str, config: &Config) -> Result<Option<Box<dyn Backend>>> {
    let Some(manifest) = manifest(name, config)? else { return Ok(None) };
    Ok(Some(Box::new(PluginBackend::load(&manifest, &options_for(&manifest, &options(config)?))?)))
}

/// Plugins that were loaded, and what is wrong with others.
pub(crate) struct Loaded {
    pub(crate) backends: Vec<Box<dyn Backend>>,
    pub(crate) problems: Vec<PluginError>,
}

/// Loads every plugin that there is.
pub(crate) fn load_all(config: &Config) -> Result<Loaded> {
    let Found { manifests, problems } = find(config);
    let options = options(config)?;
    let mut loaded = Loaded { backends: Vec::new(), problems };
    for manifest in manifests {
        match PluginBackend::load(&manifest, &options_for(&manifest, &options)) {
            Ok(backend) => loaded.backends.push(Box::new(backend)),
            Err(problem) => loaded.problems.push(problem),
        }
    }
    Ok(loaded)
}
