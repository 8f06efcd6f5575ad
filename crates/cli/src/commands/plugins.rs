//! `fewbit plugins`: which there are, and whether one can be used.

use std::path::Path;

use anyhow::Result;
use fewbit_core::backend::Backend;
use fewbit_plugin_host::{Manifest, PluginBackend, PluginError};
use serde::Serialize;

use super::plugins_new::{Language, write_template};
use crate::args::{Format, Plugins};
use crate::config::Config;
use crate::failure::Missing;
use crate::{Answer, output, plugins, trusted};

pub(crate) fn run(arguments: &Plugins, format: Format, config: &Config) -> Result<Answer> {
    match arguments {
        Plugins::List => list(format, config),
        Plugins::Probe { name } => probe(name, format, config),
        Plugins::Trust { name, report, .. } => trust(name, report.as_deref(), format, config),
        Plugins::New { name, lang, output } => {
            new(name, *lang, output.as_deref().unwrap_or(Path::new(name)), format)
        }
    }
}

#[derive(Serialize)]
struct Row {
    id: Option<String>,
    version: Option<String>,
    vendor: Option<String>,
    manifest: String,
    problem: Option<Problem>,
}

#[derive(Serialize)]
struct Problem {
    code: &'static str,
    stage: Option<String>,
    message: String,
}

impl From<&PluginError> for Problem {
    fn from(error: &PluginError) -> Self {
        Self {
            code: error.code(),
            stage: error.stage().map(str::to_owned),
            message: error.message().to_owned(),
        }
    }
}

/// Writes a template.
fn new(name: &str, language: Language, folder: &Path, format: Format) -> Result<Answer> {
    let written = write_template(folder, name, language)?;
    let files: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    output::print(format, &serde_json::json!({ "folder": folder, "files": files }), || {
        let folder = folder.display();
        format!(
            "{} files in {folder}; README.md says what is where\n\n  make -C {folder}\n  \
             fewbit plugins probe {name} --plugin-dir {folder}/build\n",
            files.len()
        )
    })?;
    Ok(Answer::Yes)
}

/// Every manifest, with the platform, ABI range and hash checked; no library is opened.
fn list(format: Format, config: &Config) -> Result<Answer> {
    let found = plugins::find(config);
    let mut rows: Vec<Row> = found
        .manifests
        .iter()
        .map(|manifest| {
            let hash = || if config.plugins.dev { Ok(()) } else { manifest.check_hash() };
            let problem = manifest.check_platform().and_then(|()| hash()).err();
            Row {
                id: Some(manifest.id.clone()),
                version: Some(manifest.version.clone()),
                vendor: Some(manifest.vendor.clone()),
                manifest: manifest.path().display().to_string(),
                problem: problem.as_ref().map(Problem::from),
            }
        })
        .collect();
    rows.extend(found.problems.iter().map(|problem| Row {
        id: None,
        version: None,
        vendor: None,
        manifest: problem.place().unwrap_or_default().to_owned(),
        problem: Some(problem.into()),
    }));
    let sound = rows.iter().all(|row| row.problem.is_none());
    output::print(format, &serde_json::json!({ "plugins": rows }), || {
        if rows.is_empty() {
            return "no plugins: name one with --plugin, or a folder with --plugin-dir\n".to_owned();
        }
        let cells = rows.iter().map(|row| {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let state = row.problem.as_ref().map_or_else(
                || "ready".to_owned(),
                |problem| format!("{}: {}", problem.code, problem.message),
            );
            vec![text(&row.id), text(&row.version), text(&row.vendor), state, row.manifest.clone()]
        });
        fewbit_report::table(&["plugin", "version", "vendor", "state", "manifest"], cells)
    })?;
    Ok(if sound { Answer::Yes } else { Answer::No })
}

/// The manifest of the plugin that is called so.
fn named(name: &str, config: &Config) -> Result<Manifest> {
    plugins::manifest(name, config)?.ok_or_else(|| {
        let message = format!("expected a plugin, found none called `{name}`");
        Missing { message, help: "see `fewbit plugins list`".to_owned() }.into()
    })
}

/// Gives a plugin the trust that a report earns, or without one takes it back.
fn trust(name: &str, report: Option<&Path>, format: Format, config: &Config) -> Result<Answer> {
    let manifest = named(name, config)?;
    let Some(report) = report else {
        trusted::forget(&manifest)?;
        let value = serde_json::json!({ "id": manifest.id, "trusted": false });
        output::print(format, &value, || format!("{} runs in a process of its own again\n", manifest.id))?;
        return Ok(Answer::Yes);
    };
    let record = trusted::trust(&manifest, report)?;
    let value = serde_json::json!({ "id": manifest.id, "trusted": true, "record": record });
    output::print(format, &value, || {
        format!(
            "{} conforms to {} and runs inside this process from now on, while neither its library nor {} changes\n",
            record.id,
            record.profile,
            record.report.display()
        )
    })?;
    Ok(Answer::Yes)
}

/// Loads one plugin and shows what its devices say.
fn probe(name: &str, format: Format, config: &Config) -> Result<Answer> {
    let manifest = named(name, config)?;
    match PluginBackend::load(&manifest, &plugins::options(config)?) {
        Ok(backend) => {
            let mut devices = Vec::new();
            for device in backend.devices()? {
                let document = device.capabilities()?;
                let rules: usize = document.processors.iter().map(|processor| processor.rules.len()).sum();
                devices.push(serde_json::json!({
                    "id": device.info().id, "title": device.info().title, "rules": rules, "capability": document.hash(),
                }));
            }
            let identity = backend.identity();
            let value = serde_json::json!({
                "usable": true, "identity": identity, "isolated": backend.is_isolated(), "devices": devices,
            });
            output::print(format, &value, || {
                let place = if backend.is_isolated() { "a process of its own" } else { "this process" };
                let mut text = format!(
                    "{} {} by {}, build {}, ABI 1.{}, in {place}\n",
                    identity.id, identity.version, identity.vendor, identity.build, identity.abi_minor
                );
                let cells = devices.iter().map(|device| {
                    let field = |name: &str| device[name].as_str().unwrap_or_default().to_owned();
                    vec![field("id"), field("title"), device["rules"].to_string(), field("capability")]
                });
                text.push_str(&fewbit_report::table(&["device", "name", "rules", "capability"], cells));
                text
            })?;
            Ok(Answer::Yes)
        }
        Err(error) => {
            let value = serde_json::json!({ "usable": false, "problem": Problem::from(&error) });
            output::print(format, &value, || {
                let mut text = format!("{}: {error}\n", error.code());
                text.extend(error.remedy().map(|help| format!("{help}\n")));
                text
            })?;
            Ok(Answer::No)
        }
    }
}
