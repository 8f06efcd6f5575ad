//! `fewbit explain`: what a code means and what to do about it.

use anyhow::Result;
use fewbit_core::capability::reasons;

use crate::args::{Explain, Format};
use crate::failure::Usage;
use crate::{Answer, output};

pub(crate) fn run(arguments: &Explain, format: Format) -> Result<Answer> {
    let Some(code) = &arguments.code else {
        let codes: Vec<_> =
            reasons::ALL.iter().map(|r| serde_json::json!({ "code": r.code, "title": r.title })).collect();
        output::print(format, &serde_json::json!({ "codes": codes }), || {
            let rows =
                reasons::ALL.iter().map(|reason| vec![reason.code.to_owned(), reason.title.to_owned()]);
            fewbit_report::table(&["code", "about"], rows)
        })?;
        return Ok(Answer::Yes);
    };
    let Some(found) = reasons::find(&code.to_uppercase()) else {
        return Err(Usage::new(format!("expected a code, found `{code}`"))
            .help("`fewbit explain` lists all codes")
            .into());
    };
    let document = serde_json::json!({
        "code": found.code, "title": found.title, "explanation": found.explanation, "remedy": found.remedy,
    });
    output::print(format, &document, || {
        format!("{}: {}\n\n{}\n\nWhat to do: {}", found.code, found.title, found.explanation, found.remedy)
    })?;
    Ok(Answer::Yes)
}
