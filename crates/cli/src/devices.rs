//! The backends built into this program: the one place that names them; and names of devices in what people type.

use std::sync::Arc;

use anyhow::Result;
use fewbit_backend_cpu::CpuBackend;
use fewbit_core::backend::{Availability, Backend, Device};
use fewbit_core::diag::nearest;
use fewbit_core::plan::Plan;
use fewbit_runtime::composite::Composite;

use crate::args::DeviceArguments;
use crate::config::Config;
use crate::failure::Missing;
use crate::plugins;

/// Every built-in backend, in the order in which they are preferred.
pub(crate) fn built_in() -> Vec<Box<dyn Backend>> {
    vec![
        Box::new(CpuBackend::new()),
        #[cfg(feature = "wgpu")]
        Box::new(fewbit_backend_gpu_wgpu::WgpuBackend::new()),
    ]
}

/// Devices of built-in backends that are there and cannot be used: the backend, the device, and why.
pub(crate) fn refused() -> Vec<(&'static str, String, String)> {
    #[cfg(feature = "wgpu")]
    let refused = fewbit_backend_gpu_wgpu::WgpuBackend::new()
        .refused()
        .iter()
        .map(|(title, reason)| ("wgpu", title.clone(), reason.clone()))
        .collect();
    #[cfg(not(feature = "wgpu"))]
    let refused = Vec::new();
    refused
}

/// The device that was asked for, or the first built-in one there is.
pub(crate) fn open(arguments: &DeviceArguments, config: &Config) -> Result<Arc<dyn Device>> {
    let Some(wanted) = arguments.backend.as_ref().or(config.backend.as_ref()) else {
        for backend in built_in() {
            if let Some(device) = first_device(backend.as_ref())? {
                return Ok(device);
            }
        }
        return Err(missing("no backend can be used here", "see `fewbit backends`"));
    };
    if let Some(device) = attached(wanted, config)? {
        return Ok(device);
    }
    let part = wanted.split('+').find(|part| !matches!(one(part, config), Ok(Some(_)))).unwrap_or(wanted);
    let mut names: Vec<String> = built_in().iter().map(|backend| backend.name().to_owned()).collect();
    names.extend(plugins::names(config));
    let help = nearest(part, names.iter().map(String::as_str)).map_or_else(
        || "see `fewbit backends`".to_owned(),
        |near| format!("did you mean `{near}`? see `fewbit backends`"),
    );
    let known = names.join(", ");
    Err(missing(&format!("expected a backend of this build or a plugin ({known}), found `{part}`"), &help))
}

/// The device of that name, or the devices whose names are joined by `+` as one; `None` where there is no backend or
/// plugin of such a name.
pub(crate) fn attached(name: &str, config: &Config) -> Result<Option<Arc<dyn Device>>> {
    let Some(mut devices) = each(name, config)? else { return Ok(None) };
    Ok(match devices.len() {
        1 => devices.pop(),
        _ => Some(Arc::new(Composite::new(devices)?)),
    })
}

/// The devices that were asked for as one, each node where `plan` says.
pub(crate) fn following(
    arguments: &DeviceArguments,
    config: &Config,
    plan: &Plan,
) -> Result<Arc<dyn Device>> {
    let wanted = arguments.backend.as_ref().or(config.backend.as_ref());
    let devices = wanted.map(|wanted| each(wanted, config)).transpose()?.flatten();
    let devices = devices.map_or_else(|| Ok(vec![open(arguments, config)?]), Ok::<_, anyhow::Error>)?;
    Ok(Arc::new(Composite::new(devices)?.following(plan)?))
}

/// The devices whose names are joined by `+`; `None` where one is not there.
fn each(names: &str, config: &Config) -> Result<Option<Vec<Arc<dyn Device>>>> {
    names.split('+').map(|part| one(part, config)).collect()
}

/// The first device of the backend or plugin of that name.
fn one(name: &str, config: &Config) -> Result<Option<Arc<dyn Device>>> {
    let backend = match built_in().into_iter().find(|backend| backend.name() == name) {
        Some(backend) => backend,
        None => match plugins::load(name, config)? {
            Some(backend) => backend,
            None => return Ok(None),
        },
    };
    match backend.availability() {
        Availability::Present => Ok(first_device(backend.as_ref())?),
        Availability::Absent { reason } => {
            let message = format!("backend `{name}` cannot be used here: {reason}");
            Err(missing(&message, "see `fewbit backends`"))
        }
    }
}

fn first_device(backend: &dyn Backend) -> Result<Option<Arc<dyn Device>>> {
    match backend.availability() {
        Availability::Present => Ok(backend.devices()?.into_iter().next()),
        Availability::Absent { .. } => Ok(None),
    }
}

fn missing(message: &str, help: &str) -> anyhow::Error {
    Missing { message: message.to_owned(), help: help.to_owned() }.into()
}

/// The threads that were asked for, or as many as there are processors.
pub(crate) fn threads(arguments: &DeviceArguments, config: &Config) -> usize {
    arguments
        .threads
        .or(config.threads)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1)
}
