//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Proves a fewbit backend.
#[derive(Debug, Parser)]
#[command(name = "conformance", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the cases of a profile and writes a report; exit code 1 when the device does not conform.
    Run(Run),
    /// Runs one case and shows everything about it.
    Case(One),
    /// Shows what changed between two reports; exit code 1 when a case that passed does not pass any more.
    Compare {
        /// The earlier report: its folder or its report.json.
        old: PathBuf,
        /// The later one.
        new: PathBuf,
    },
    /// Checks a report against itself, the files beside it and its profile; exit code 1 when it does not conform.
    Verify {
        /// The folder of the report.
        folder: PathBuf,
        /// The library that the report claims to be of.
        #[arg(long, value_name = "FILE")]
        library: Option<PathBuf>,
    },
    /// What this program is started as to run a plugin; not for people.
    #[command(hide = true)]
    Worker,
    /// Lists the profiles, or the ids of a profile's cases.
    List {
        /// The profile whose cases to list.
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
    },
}

/// What to test.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// A backend of the workspace: `cpu` or `wgpu`.
    #[arg(long, value_name = "NAME")]
    pub(crate) builtin: Option<String>,
    /// The manifest of a plugin: `example-npu.backend.toml`.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
}

/// How a plugin is run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct How {
    /// Runs the plugin in this process: faster to debug, and a crash ends the run.
    #[arg(long, requires = "manifest")]
    pub(crate) in_process: bool,
    /// Loads a library other than the manifest's hash says: while it is developed.
    #[arg(long, requires = "manifest")]
    pub(crate) dev: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) how: How,
    /// A built-in profile, or the path of one.
    #[arg(long, default_value = "core")]
    pub(crate) profile: String,
    /// The folder for the report; it is made where it is missing.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Runs only the cases whose ids fit, such as `op_int/conv/**`.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) filter: Option<String>,
    /// A file of known failures with reason, issue and expiry date.
    #[arg(long, value_name = "FILE")]
    pub(crate) waivers: Option<PathBuf>,
    /// The longest that one case may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) limit: u64,
    /// Shows every case, not only those that do not pass.
    #[arg(long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) how: How,
    /// The id of the case.
    #[arg(long)]
    pub(crate) id: String,
    /// The longest that it may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) limit: u64,
}
