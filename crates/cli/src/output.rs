//! Output on stdout: one JSON object, or text.

use anyhow::Result;
use serde::Serialize;

use crate::args::Format;

/// Prints `document` as JSON, or the text that `text` makes. Only `check` has further forms, which it prints itself.
pub(crate) fn print<T: Serialize>(format: Format, document: &T, text: impl FnOnce() -> String) -> Result<()> {
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(document)?),
        Format::Text | Format::Sarif | Format::Junit => println!("{}", text().trim_end()),
    }
    Ok(())
}

/// Prints a document that is already in the form asked for.
pub(crate) fn verbatim(document: &str) {
    println!("{}", document.trim_end());
}
