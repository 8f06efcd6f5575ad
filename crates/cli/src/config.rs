//! `fewbit.toml`: what need not be typed again.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fewbit_calibrate::observe::Method;
use serde::Deserialize;

use crate::args::PluginArguments;
use crate::failure::Usage;

/// The file's content; the command line wins over it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Targets for check; the first one for plan and quantize.
    #[serde(default)]
    pub(crate) target: Vec<String>,
    /// Shapes as on the command line: NAME=1,3,224,224.
    #[serde(default)]
    pub(crate) shape: Vec<String>,
    /// Inputs that are a number, as on the command line: NAME=16000.
    #[serde(default)]
    pub(crate) set: Vec<String>,
    /// Data for calibration and evaluation.
    pub(crate) data: Option<PathBuf>,
    /// Preprocessing as on the command line.
    pub(crate) preprocess: Option<String>,
    /// How ranges follow from what was seen.
    pub(crate) ranges: Option<Method>,
    /// Backend that runs models.
    pub(crate) backend: Option<String>,
    /// Threads of one run.
    pub(crate) threads: Option<usize>,
    /// Manifests of plugins.
    #[serde(default)]
    pub(crate) plugin: Vec<PathBuf>,
    /// Folders of plugins.
    #[serde(default)]
    pub(crate) plugin_dir: Vec<PathBuf>,
    /// How plugins run; the command line says it.
    #[serde(skip)]
    pub(crate) plugins: PluginArguments,
}

impl Config {
    /// Reads `fewbit.toml` in the present folder, where there is one.
    pub(crate) fn load() -> Result<Self> {
        let path = Path::new("fewbit.toml");
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = crate::files::read_text(path)?;
        toml::from_str(&text).map_err(|error| {
            Usage::new(format!("fewbit.toml: {error}"))
                .help("keys are target, shape, set, data, preprocess, ranges, backend, threads, plugin and plugin-dir")
                .into()
        })
    }
}
