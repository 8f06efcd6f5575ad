//! Output on stdout: one JSON object, or text.

use anyhow::Result;
use serde::Serialize;

use crate::args::Format;

/// Prints `document` as JSON, or the text that `text` makes.
pub(crate) fn print<T: Serialize>(format: Format, document: &T, text: impl FnOnce() -> String) -> Result<()> {
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(document)?),
        Format::Text => println!("{}", text().trim_end()),
    }
    Ok(())
}
