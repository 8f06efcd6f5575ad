//! The concrete backends that the kit knows: the one place that names them.

use std::sync::Arc;

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::backend::{Backend, Device};

use crate::error::{KitError, KitErrorKind, Result};
use crate::subject::{Identity, Subject};

/// The names that [`builtin`] takes.
pub const BUILT_IN: [&str; 1] = ["cpu"];

/// A backend of the workspace, by name.
///
/// # Errors
/// [`KitErrorKind::Subject`] where there is none of that name or it has no device.
pub fn builtin(name: &str) -> Result<Subject> {
    let backend: Arc<dyn Backend> = match name {
        "cpu" => Arc::new(CpuBackend::new()),
        _ => {
            return Err(KitError::new(
                KitErrorKind::Subject,
                format!("expected one of the built-in backends {}, found `{name}`", BUILT_IN.join(", ")),
            ));
        }
    };
    let identity = Identity {
        id: name.to_owned(),
        vendor: "fewbit".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Identity::default()
    };
    let open = move || -> Result<Arc<dyn Device>> {
        let refused = |message: String| KitError::new(KitErrorKind::Subject, message);
        let devices = backend.devices().map_err(|error| refused(error.to_string()))?;
        devices.into_iter().next().ok_or_else(|| refused("expected a device, found none".to_owned()))
    };
    Subject::new(identity, format!("--builtin {name}"), open)
}
