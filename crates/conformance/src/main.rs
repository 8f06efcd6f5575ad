//! The program `conformance`: runs the kit and shows what it found.

mod args;
mod commands;
mod print;

use std::process::ExitCode;

use clap::Parser;

/// What a command found, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Done, or the answer is yes.
    Yes,
    /// The answer is no: it does not conform, something is worse.
    No,
}

fn main() -> ExitCode {
    let arguments = match args::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return print::usage(&error),
    };
    if let args::Command::Worker = arguments.command {
        return fewbit_plugin_host::worker::main();
    }
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| commands::run(arguments)));
    match outcome {
        Ok(Ok(Answer::Yes)) => ExitCode::SUCCESS,
        Ok(Ok(Answer::No)) => ExitCode::from(1),
        Ok(Err(error)) => print::failure(&error),
        Err(_) => {
            print::note("defect: the program panicked; please report it with the command line");
            ExitCode::from(4)
        }
    }
}
