//! The program `fewbit`: the only crate that prints, parses arguments and names concrete backends.
//!
//! Each command is one module under `commands` with one function `run`; what several need (loading models, opening
//! devices, progress, output) has a module of its own. Results go to stdout, progress and messages to stderr.

#![expect(clippy::print_stderr, reason = "printing is this crate's work")]

mod args;
mod cache;
mod commands;
mod config;
mod devices;
mod failure;
mod figures;
mod files;
mod mixed;
mod model;
mod output;
mod planning;
mod plugins;
mod progress;
mod trusted;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// What a command found, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done, or the answer is yes.
    Yes,
    /// The answer is no: not deployable, below the threshold.
    No,
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == plugins::WORKER) {
        return fewbit_plugin_host::worker::main();
    }
    let arguments = match args::Arguments::try_parse_from(words(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => return failure::report_arguments(&error, asks_for_json()),
    };
    let filter = EnvFilter::try_from_env("FEWBIT_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let json = arguments.format == args::Format::Json;
    // A panic is a defect of ours: it gets its own exit code and a sentence, not only a trace.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| commands::run(arguments)));
    match outcome {
        Ok(Ok(Answer::Yes)) => ExitCode::SUCCESS,
        Ok(Ok(Answer::No)) => ExitCode::from(1),
        Ok(Err(error)) => failure::report(&error, json),
        Err(_) => failure::report_defect(json),
    }
}

/// The command line, in which `plan diff` is one command.
fn words(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = arguments.collect();
    if let Some(at) = words.windows(2).position(|pair| pair[0] == "plan" && pair[1] == "diff") {
        words.splice(at..at + 2, [OsString::from("plan-diff")]);
    }
    words
}

/// Whether arguments that clap could not parse ask for JSON all the same.
fn asks_for_json() -> bool {
    let arguments: Vec<_> = std::env::args_os().collect();
    arguments.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json")
        || arguments.iter().any(|argument| argument == "--format=json")
}
