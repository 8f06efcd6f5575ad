//! Errors as people and scripts see them: the message, the code, the remedy, and the exit code.

use std::process::ExitCode;

use fewbit_calibrate::CalibrateError;
use fewbit_core::{CoreError, CoreErrorKind};
use fewbit_onnx::OnnxError;

/// The usage or the input is wrong.
const USAGE: u8 = 2;
/// A device or plugin is missing or failed.
const ENVIRONMENT: u8 = 3;

/// A mistake in what was asked, found by the program itself.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Usage {
    message: String,
    help: Option<String>,
}

impl Usage {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
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

/// What is told of an error.
struct Told {
    code: &'static str,
    place: Option<String>,
    help: Option<String>,
    exit: u8,
}

/// Looks through the chain for the error that knows most.
fn look_up(error: &anyhow::Error) -> Told {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<CoreError>() {
            let exit = if error.kind() == CoreErrorKind::Backend { ENVIRONMENT } else { USAGE };
            let place = error.place().map(str::to_owned);
            return Told { code: error.code(), place, help: error.remedy().map(str::to_owned), exit };
        }
        if let Some(error) = cause.downcast_ref::<CalibrateError>() {
            let exit = if error.code() == "BACKEND" { ENVIRONMENT } else { USAGE };
            let place = error.place().map(str::to_owned);
            return Told { code: error.code(), place, help: error.remedy().map(str::to_owned), exit };
        }
        if let Some(error) = cause.downcast_ref::<OnnxError>() {
            let help = error.help().map(str::to_owned);
            return Told {
                code: error.code(),
                place: error.node_path().map(str::to_owned),
                help,
                exit: USAGE,
            };
        }
        if let Some(error) = cause.downcast_ref::<Usage>() {
            return Told { code: "USAGE", place: None, help: error.help.clone(), exit: USAGE };
        }
        if let Some(error) = cause.downcast_ref::<Missing>() {
            return Told { code: "DEVICE", place: None, help: Some(error.help.clone()), exit: ENVIRONMENT };
        }
    }
    Told { code: "FILE", place: None, help: None, exit: USAGE }
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
    let message = parts.join(": ");
    if json {
        let object = serde_json::json!({ "error": {
            "code": told.code, "message": message, "place": told.place, "help": told.help,
        } });
        println!("{object}");
    }
    eprintln!("error[{}]: {message}", told.code);
    if let Some(help) = &told.help {
        eprintln!("  help: {help}");
    }
    ExitCode::from(told.exit)
}
