//! `fewbit explain`: what a code means and what to do about it.

use std::path::Path;

use anyhow::Result;
use fewbit_calibrate::CalibrateErrorKind;
use fewbit_calibrate::doctor::FindingKind;
use fewbit_conformance::KitErrorKind;
use fewbit_core::CoreErrorKind;
use fewbit_core::capability::reasons;
use fewbit_core::diag::{Entry, nearest};
use fewbit_onnx::OnnxErrorKind;
use fewbit_plugin_host::PluginErrorKind;
use fewbit_tflite::TfliteErrorKind;
use serde::Serialize;

use crate::args::{Explain, Format};
use crate::failure::{Usage, codes};
use crate::{Answer, output};

/// Where a code appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// In an error that ends a command.
    Error,
    /// In a verdict on a node.
    Reason,
    /// In a warning of the calibration doctor.
    Finding,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Error => "error",
            Kind::Reason => "reason",
            Kind::Finding => "finding",
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Explained {
    kind: Kind,
    #[serde(flatten)]
    entry: &'static Entry,
}

/// Every code that a message can carry.
fn all() -> Vec<Explained> {
    let tables = [
        (Kind::Error, codes::ALL),
        (Kind::Error, CoreErrorKind::CODES),
        (Kind::Error, OnnxErrorKind::CODES),
        (Kind::Error, TfliteErrorKind::CODES),
        (Kind::Error, CalibrateErrorKind::CODES),
        (Kind::Error, PluginErrorKind::CODES),
        (Kind::Error, KitErrorKind::CODES),
        (Kind::Reason, reasons::ALL),
        (Kind::Finding, FindingKind::CODES),
    ];
    let explained =
        tables.into_iter().flat_map(|(kind, table)| table.iter().map(move |entry| Explained { kind, entry }));
    explained.collect()
}

pub(crate) fn run(arguments: &Explain, format: Format) -> Result<Answer> {
    if let Some(path) = arguments.code.as_deref().map(Path::new)
        && (path.is_file() || arguments.node.is_some() || path.extension().is_some_and(|end| end == "json"))
    {
        return explain_plan(path, arguments.node.as_deref(), format);
    }
    let all = all();
    let Some(code) = &arguments.code else {
        output::print(format, &serde_json::json!({ "codes": all }), || {
            let rows = all.iter().map(|Explained { kind, entry }| {
                vec![entry.code.to_owned(), kind.name().to_owned(), entry.title.to_owned()]
            });
            fewbit_report::table(&["code", "in", "about"], rows)
        })?;
        return Ok(Answer::Yes);
    };
    let wanted = code.to_uppercase();
    let Some(found) = all.iter().find(|explained| explained.entry.code == wanted) else {
        let help = nearest(&wanted, all.iter().map(|explained| explained.entry.code)).map_or_else(
            || "`fewbit explain` lists all codes".to_owned(),
            |near| format!("did you mean {near}? `fewbit explain` lists all codes"),
        );
        return Err(Usage::new(format!("expected a code, found `{code}`")).help(help).into());
    };
    output::print(format, found, || {
        let Entry { code, title, explanation, remedy } = found.entry;
        format!("{code}: {title}\n\n{explanation}\n\nWhat to do: {remedy}")
    })?;
    Ok(Answer::Yes)
}

/// Every node of a plan in a line, or one node in full.
fn explain_plan(path: &Path, node: Option<&str>, format: Format) -> Result<Answer> {
    let plan = super::plan::read(path)?;
    let Some(name) = node else {
        output::print(format, &plan.nodes, || fewbit_report::explained(&plan))?;
        return Ok(Answer::Yes);
    };
    let Some(assignment) = plan.assignment(name) else {
        let names = plan.nodes.iter().map(|node| node.node.as_str());
        let help = nearest(name, names).map_or_else(
            || "`fewbit explain PLAN` lists the nodes".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(Usage::of_file(path, format!("expected a node of the plan, found `{name}`"))
            .help(help)
            .into());
    };
    output::print(format, assignment, || fewbit_report::explained_node(&plan, assignment))?;
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once_and_well() {
        let all = all();
        for (index, Explained { entry, .. }) in all.iter().enumerate() {
            assert!(entry.is_well_formed(), "{entry:?}");
            assert!(all[..index].iter().all(|other| other.entry.code != entry.code), "{}", entry.code);
        }
    }
}
