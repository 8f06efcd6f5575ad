//! `fewbit targets`: the device descriptions.

use anyhow::Result;
use fewbit_core::capability::{Capability, Support};
use fewbit_core::target;
use serde::Serialize;

use crate::args::{Format, Targets};
use crate::config::Config;
use crate::planning::Target;
use crate::{Answer, output};

#[derive(Serialize)]
struct Row {
    name: String,
    title: String,
    vendor: String,
    processors: Vec<String>,
    artifact: &'static str,
    hash: String,
}

pub(crate) fn run(arguments: &Targets, format: Format, config: &Config) -> Result<Answer> {
    if let Some(name) = &arguments.name {
        let capability = Target::open(Some(name), config)?.capability;
        output::print(format, &capability, || fewbit_report::capability(&capability))?;
        return Ok(Answer::Yes);
    }
    let mut rows = Vec::new();
    for name in target::names() {
        rows.push(row(&target::builtin(name)?));
    }
    output::print(format, &serde_json::json!({ "targets": rows }), || {
        let cells = rows.iter().map(|row| {
            vec![row.name.clone(), row.title.clone(), row.processors.join("; "), row.artifact.to_owned()]
        });
        fewbit_report::table(&["target", "device", "processors and native precisions", "artifact"], cells)
    })?;
    Ok(Answer::Yes)
}

fn row(capability: &Capability) -> Row {
    let processors = capability
        .processors
        .iter()
        .map(|processor| {
            let mut precisions: Vec<&str> = Vec::new();
            for rule in processor.rules.iter().filter(|rule| Support::from(rule.support) == Support::Native) {
                for precision in &rule.precisions {
                    if !precisions.contains(&precision.name()) {
                        precisions.push(precision.name());
                    }
                }
            }
            format!("{} {}", processor.id, precisions.join(" "))
        })
        .collect();
    Row {
        name: capability.name.clone(),
        title: capability.title.clone(),
        vendor: capability.vendor.clone(),
        processors,
        artifact: capability.artifact.format.name(),
        hash: capability.hash(),
    }
}
