//! The backends built into this program: the one place that names them.

use std::sync::Arc;

use anyhow::Result;
use fewbit_backend_cpu::CpuBackend;
use fewbit_core::backend::{Availability, Backend, Device};
use fewbit_core::diag::nearest;

use crate::args::DeviceArguments;
use crate::config::Config;
use crate::failure::Missing;

/// Every backend, in the order in which they are preferred.
pub(crate) fn backends() -> Vec<Box<dyn Backend>> {
    vec![Box::new(CpuBackend::new())]
}

/// The device that was asked for, or the first there is.
pub(crate) fn open(arguments: &DeviceArguments, config: &Config) -> Result<Arc<dyn Device>> {
    let wanted = arguments.backend.as_ref().or(config.backend.as_ref());
    let all = backends();
    let names: Vec<String> = all.iter().map(|backend| backend.name().to_owned()).collect();
    for backend in &all {
        if wanted.is_some_and(|wanted| wanted != backend.name()) {
            continue;
        }
        match backend.availability() {
            Availability::Present => {
                if let Some(device) = backend.devices()?.into_iter().next() {
                    return Ok(device);
                }
            }
            Availability::Absent { reason } if wanted.is_some() => {
                let message = format!("backend `{}` cannot be used here: {reason}", backend.name());
                return Err(Missing { message, help: "see `fewbit backends`".to_owned() }.into());
            }
            Availability::Absent { .. } => {}
        }
    }
    let (message, help) = match wanted {
        Some(wanted) => (
            format!("expected a backend of this build ({}), found `{wanted}`", names.join(", ")),
            nearest(wanted, names.iter().map(String::as_str)).map_or_else(
                || "see `fewbit backends`".to_owned(),
                |near| format!("did you mean `{near}`? see `fewbit backends`"),
            ),
        ),
        None => ("no backend can be used here".to_owned(), "see `fewbit backends`".to_owned()),
    };
    Err(Missing { message, help }.into())
}

/// The threads that were asked for, or as many as there are processors.
pub(crate) fn threads(arguments: &DeviceArguments, config: &Config) -> usize {
    arguments
        .threads
        .or(config.threads)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1)
}
