//! Errors as people and scripts see them: the message, the code, the remedy, and the exit code.

use std::path::Path;
use std::process::ExitCode;

use fewbit_calibrate::CalibrateError;
use fewbit_conformance::{KitError, KitErrorKind};
use fewbit_core::{CoreError, CoreErrorKind};
use fewbit_onnx::OnnxError;
use fewbit_plugin_host::PluginError;
use fewbit_tflite::TfliteError;

/// The codes of this crate's own messages.
pub(crate) mod codes {
    fewbit_core::codes! {
        USAGE = "USAGE", "the command asks for something that cannot be",
            "An argument, or a key of fewbit.toml, is not understood, contradicts another one, or lacks what the \
             command needs.",
            "Read the message, which says what was expected and found; `fewbit help COMMAND` lists the arguments.";
        FILE = "FILE", "a file that cannot be read or written",
            "The operating system refused the file or its folder. What was there before is unchanged: results are \
             written beside their place and moved there only when they are whole.",
            "Check the path, the permissions and the free space; make the folder first.";
        DEVICE = "DEVICE", "no such backend or device here",
            "The backend that was asked for is not part of this build, or what it needs (a device, a driver, a \
             library) is missing on this machine. The exit code is 3.",
            "Look at `fewbit backends`, and choose another one with --backend or in fewbit.toml.";
        TRUST = "TRUST", "a report that earns no trust",
            "The report holds, and it is not of the plugin's library, not of a whole profile, or says that the plugin \
             does not conform. Nothing was recorded: the plugin runs in a process of its own. The exit code is 1.",
            "Run `conformance run --manifest NAME.backend.toml --profile core --out FOLDER` on the library as it is now.";
        DEFECT = "DEFECT", "a defect of the program",
            "The program met a state that it holds to be impossible, and stopped. No input should be able to cause \
             this, whatever it holds. The exit code is 4.",
            "Report it with the command, the lines on stderr and, if you may share it, the model.";
    }
}

/// The answer is no.
const EXIT_NO: u8 = 1;
/// The usage or the input is wrong.
pub(crate) const EXIT_USAGE: u8 = 2;
/// A device or plugin is missing or failed.
const EXIT_ENVIRONMENT: u8 = 3;
/// A defect of ours.
const EXIT_DEFECT: u8 = 4;

/// A mistake in what was asked, found by the program itself.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Usage {
    message: String,
    place: Option<String>,
    help: Option<String>,
}

impl Usage {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, help: None }
    }

    /// About a file: the message begins with its name.
    pub(crate) fn of_file(path: &Path, message: impl std::fmt::Display) -> Self {
        let place = path.display().to_string();
        Self { message: format!("{place}: {message}"), place: Some(place), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A file that the operating system refuses.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub(crate) struct Refused {
    message: String,
    place: String,
    help: Option<String>,
}

impl Refused {
    pub(crate) fn new(path: &Path, message: impl Into<String>) -> Self {
        Self { message: message.into(), place: path.display().to_string(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A device that is not there.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Missing {
    pub(crate) message: String,
    pub(crate) help: String,
}

/// A report that does not allow what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub(crate) struct Untrusted {
    pub(crate) place: String,
    pub(crate) message: String,
}

/// What is told of an error.
struct Told {
    code: &'static str,
    place: Option<String>,
    help: Option<String>,
    exit: u8,
}

/// Looks through the chain for the error that knows most.
fn look_up(error: &anyhow::Error) -> Told {
    let own = |text: Option<&str>| text.map(str::to_owned);
    for cause in error.chain() {
        let (code, place, help, exit) = if let Some(error) = cause.downcast_ref::<CoreError>() {
            let exit = match error.kind() {
                CoreErrorKind::Backend => EXIT_ENVIRONMENT,
                // The question was sound, and the answer is no.
                CoreErrorKind::Infeasible => EXIT_NO,
                _ => EXIT_USAGE,
            };
            (error.code(), own(error.place()), own(error.remedy()), exit)
        } else if let Some(error) = cause.downcast_ref::<CalibrateError>() {
            let failed = error.code() == CoreErrorKind::Backend.entry().code;
            let exit = if failed { EXIT_ENVIRONMENT } else { EXIT_USAGE };
            (error.code(), own(error.place()), own(error.remedy()), exit)
        } else if let Some(error) = cause.downcast_ref::<OnnxError>() {
            (error.code(), own(error.node_path()), own(error.help()), EXIT_USAGE)
        } else if let Some(error) = cause.downcast_ref::<TfliteError>() {
            (error.code(), own(error.node_path()), own(error.help()), EXIT_USAGE)
        } else if let Some(error) = cause.downcast_ref::<PluginError>() {
            (error.code(), own(error.place()), own(error.remedy()), EXIT_ENVIRONMENT)
        } else if let Some(error) = cause.downcast_ref::<Usage>() {
            (codes::USAGE, error.place.clone(), error.help.clone(), EXIT_USAGE)
        } else if let Some(error) = cause.downcast_ref::<Refused>() {
            (codes::FILE, Some(error.place.clone()), error.help.clone(), EXIT_USAGE)
        } else if let Some(error) = cause.downcast_ref::<Missing>() {
            (codes::DEVICE, None, Some(error.help.clone()), EXIT_ENVIRONMENT)
        } else if let Some(error) = cause.downcast_ref::<Untrusted>() {
            (codes::TRUST, Some(error.place.clone()), None, EXIT_NO)
        } else if let Some(error) = cause.downcast_ref::<KitError>() {
            // The question was sound, and the answer is no.
            let exit = if error.kind() == KitErrorKind::Tampered { EXIT_NO } else { EXIT_USAGE };
            (error.code(), None, own(Some(error.remedy())), exit)
        } else {
            continue;
        };
        // Where an error knows no remedy of its own, the page of its code has the usual one.
        let help = help.or_else(|| Some(format!("see `fewbit explain {code}`")));
        return Told { code, place, help, exit };
    }
    Told { code: codes::FILE, place: None, help: None, exit: EXIT_USAGE }
}

/// Prints the error on stderr (as JSON on stdout too, if asked for) and gives the exit code.
pub(crate) fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    let told = look_up(error);
    // Each layer says its own part; a layer that only repeats its cause is left out.
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
    }
    tell(&told, &parts.join(": "), json)
}

/// Prints what clap found wrong with the arguments, or the help that was asked for.
pub(crate) fn report_arguments(error: &clap::Error, json: bool) -> ExitCode {
    // Where the terminal is gone there is nobody to tell.
    drop(error.print());
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if json {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        print_json(codes::USAGE, &message, None, Some("`fewbit help COMMAND` lists the arguments"));
    }
    ExitCode::from(EXIT_USAGE)
}

/// Says that a panic was a defect of ours.
pub(crate) fn report_defect(json: bool) -> ExitCode {
    let help = Some("please report the command and the lines above".to_owned());
    let told = Told { code: codes::DEFECT, place: None, help, exit: EXIT_DEFECT };
    tell(&told, "fewbit stopped because of a defect of its own", json)
}

fn tell(told: &Told, message: &str, json: bool) -> ExitCode {
    if json {
        print_json(told.code, message, told.place.as_deref(), told.help.as_deref());
    }
    eprintln!("error[{}]: {message}", told.code);
    if let Some(help) = &told.help {
        eprintln!("  help: {help}");
    }
    ExitCode::from(told.exit)
}

fn print_json(code: &str, message: &str, place: Option<&str>, help: Option<&str>) {
    let object = serde_json::json!({ "error": {
        "code": code, "message": message, "place": place, "help": help,
    } });
    // Nobody is told that stdout failed: the exit code says that the command did.
    let _ = crate::output::line(&object.to_string());
}
