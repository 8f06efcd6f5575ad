//! The concrete backends that the kit knows: the one place that names them.

use std::path::Path;
use std::sync::Arc;

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::backend::{Availability, Backend, Device};
use fewbit_plugin_host::{LoadOptions, Manifest, PluginBackend, PluginError, WorkerOptions, hash_file};

use crate::error::{KitError, KitErrorKind, Result};
use crate::subject::{Identity, Observer, Subject};

/// The names that [`builtin`] takes.
pub const BUILT_IN: &[&str] = &[
    "cpu",
    #[cfg(feature = "wgpu")]
    "wgpu",
];

/// A backend of the workspace, by name.
///
/// # Errors
/// [`KitErrorKind::Subject`] where there is none of that name or it has no device.
pub fn builtin(name: &str) -> Result<Subject> {
    let backend: Arc<dyn Backend> = match name {
        "cpu" => Arc::new(CpuBackend::new()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Arc::new(fewbit_backend_gpu_wgpu::WgpuBackend::new()),
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
        devices.into_iter().next().ok_or_else(|| match backend.availability() {
            Availability::Absent { reason } => refused(reason),
            Availability::Present => refused("expected a device, found none".to_owned()),
        })
    };
    Subject::new(identity, format!("--builtin {name}"), open)
}

/// How a plugin is run.
#[derive(Debug, Clone)]
pub struct PluginOptions {
    /// What is started as a worker; also where everything else runs in this process, for what only a worker can see.
    pub worker: WorkerOptions,
    /// Whether programs run in this process: a crash then ends the run.
    pub in_process: bool,
    /// Whether the library may be another than the manifest's hash says.
    pub skip_hash: bool,
}

impl PluginOptions {
    /// Programs run in workers started as `worker` says.
    pub fn isolated(worker: WorkerOptions) -> Self {
        Self { worker, in_process: false, skip_hash: false }
    }
}

/// The plugin of a manifest.
///
/// # Errors
/// [`KitErrorKind::Subject`] with the host's code where the plugin does not load; its message says in which step.
pub fn plugin(path: &Path, options: &PluginOptions) -> Result<Subject> {
    let manifest = Manifest::read(path).map_err(|error| refused(&error))?;
    let mut watched = LoadOptions::default();
    watched.trust.skip_hash = options.skip_hash;
    watched.worker = Some(options.worker.clone());
    let mut load = watched.clone();
    if options.in_process {
        load.worker = None;
    }
    let backend = PluginBackend::load(&manifest, &load).map_err(|error| refused(&error))?;
    let hashed = |path: &Path| {
        hash_file(path).map_err(|error| {
            KitError::new(KitErrorKind::Read, format!("cannot be read: {error}")).in_file(path)
        })
    };
    let who = backend.identity();
    let identity = Identity {
        id: who.id.clone(),
        vendor: who.vendor.clone(),
        version: who.version.clone(),
        build: who.build.clone(),
        library_sha256: Some(hashed(&manifest.library_path())?),
        library: Some(manifest.library.clone()),
        manifest_sha256: Some(hashed(path)?),
        abi: Some(format!("1.{}", who.abi_minor)),
        isolated: backend.is_isolated(),
    };
    let observed = manifest.clone();
    let first = std::sync::Mutex::new(Some(backend));
    let open = move || -> Result<Arc<dyn Device>> {
        // The first device is of the backend that told its name; later ones are of backends loaded anew.
        let backend = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let backend = match backend {
            Some(backend) => backend,
            None => PluginBackend::load(&manifest, &load).map_err(|error| refused(&error))?,
        };
        let devices =
            backend.devices().map_err(|error| KitError::new(KitErrorKind::Subject, error.to_string()))?;
        let device = devices.into_iter().next();
        device.ok_or_else(|| KitError::new(KitErrorKind::Subject, "expected a device, found none"))
    };
    let observer: Box<Observer> =
        Box::new(move |check, program| fewbit_plugin_host::observe(&observed, &watched, check, program));
    let selector =
        format!("--manifest {}{}", path.display(), if options.in_process { " --in-process" } else { "" });
    Ok(Subject::new(identity, selector, open)?.observed_by(observer))
}

fn refused(error: &PluginError) -> KitError {
    let refused = KitError::new(KitErrorKind::Subject, format!("{error} ({})", error.code()));
    match error.remedy() {
        Some(help) => refused.help(help),
        None => refused,
    }
}

/// The error where this program cannot name itself.
pub fn no_worker(error: &std::io::Error) -> KitError {
    KitError::new(KitErrorKind::Subject, format!("cannot start a worker: {error}"))
}
