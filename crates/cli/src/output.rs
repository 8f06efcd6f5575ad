//! Output on stdout: one JSON object, or text.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::args::Format;

/// Prints `document` as JSON, or the text that `text` makes. Only `check` has further forms, which it prints itself.
pub(crate) fn print<T: Serialize>(format: Format, document: &T, text: impl FnOnce() -> String) -> Result<()> {
    match format {
        Format::Json => line(&serde_json::to_string_pretty(document)?),
        Format::Text | Format::Sarif | Format::Junit => line(text().trim_end()),
    }
}

/// Prints text and ends its last line. A reader that has gone, such as `head`, has seen enough: that is no error.
///
/// # Errors
/// Any other failure of stdout.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("stdout"),
    }
}

/// Prints a document that is already in the form asked for.
pub(crate) fn verbatim(document: &str) -> Result<()> {
    line(document.trim_end())
}
