//! `fewbit backends`: what can run models on this machine.

use anyhow::Result;
use fewbit_core::backend::Availability;
use serde::Serialize;

use crate::args::Format;
use crate::config::Config;
use crate::{Answer, devices, output, plugins};

#[derive(Serialize)]
struct Row {
    backend: String,
    available: bool,
    device: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    reason: Option<String>,
}

pub(crate) fn run(format: Format, config: &Config) -> Result<Answer> {
    let mut rows = Vec::new();
    let plugins::Loaded { backends, problems } = plugins::load_all(config)?;
    for backend in devices::built_in().into_iter().chain(backends) {
        let name = backend.name().to_owned();
        match backend.availability() {
            Availability::Present => {
                for device in backend.devices()? {
                    let info = device.info();
                    rows.push(Row {
                        backend: name.clone(),
                        available: true,
                        device: Some(info.id.clone()),
                        title: Some(info.title.clone()),
                        detail: Some(info.detail.clone()),
                        reason: None,
                    });
                }
            }
            Availability::Absent { reason } => rows.push(Row {
                backend: name,
                available: false,
                device: None,
                title: None,
                detail: None,
                reason: Some(reason),
            }),
        }
    }
    rows.extend(devices::refused().into_iter().map(|(backend, title, reason)| Row {
        backend: backend.to_owned(),
        available: false,
        device: None,
        title: Some(title),
        detail: None,
        reason: Some(reason),
    }));
    rows.extend(problems.iter().map(|problem| Row {
        backend: problem.place().unwrap_or("plugin").to_owned(),
        available: false,
        device: None,
        title: None,
        detail: None,
        reason: Some(format!("{} ({})", problem.message(), problem.code())),
    }));
    output::print(format, &serde_json::json!({ "backends": rows }), || {
        let cells = rows.iter().map(|row| {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let state =
                if row.available { "present".to_owned() } else { format!("absent: {}", text(&row.reason)) };
            vec![row.backend.clone(), text(&row.device), state, text(&row.title), text(&row.detail)]
        });
        fewbit_report::table(&["backend", "device", "state", "name", "detail"], cells)
    })?;
    Ok(Answer::Yes)
}
