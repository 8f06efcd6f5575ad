//! A plugin in this process: for those that are trusted.
//!
//! A library is started once per process, however often it is asked for, and never stopped: `init` and `deinit` may be
//! called only once, and what the plugin has given may be held until the process ends.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use fewbit_abi as abi;
use fewbit_core::ir::Tensor;

use crate::adapter::{Api, ContextHandle, DeviceHandle, ExecutableHandle, Identity, Slots};
use crate::backend::{LoadOptions, Opened, Port, PortContext, PortExecutable};
use crate::error::Result;
use crate::manifest::Manifest;
use crate::program::{Constants, Program};

/// Plugins that were started, by the real paths of their libraries.
static STARTED: Mutex<Vec<(PathBuf, Arc<Api>)>> = Mutex::new(Vec::new());

/// The plugin of a manifest, started if it was not.
fn start(manifest: &Manifest, options: &LoadOptions) -> Result<Arc<Api>> {
    let library = manifest.library_path();
    let library = library.canonicalize().unwrap_or(library);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, api)) = started.iter().find(|(other, _)| *other == library) {
        return Ok(Arc::clone(api));
    }
    let id = manifest.id.clone();
    let log = Box::new(move |level: i32, target: &str, text: &str| crate::logged(&id, level, target, text));
    let api = Arc::new(crate::load::load(manifest, options.trust, log, options.log_level, &mut |_| {})?);
    started.push((library, Arc::clone(&api)));
    Ok(api)
}

/// Loads, starts and opens every device.
pub(crate) fn open(manifest: &Manifest, options: &LoadOptions) -> Result<(Identity, Vec<Opened>)> {
    let api = start(manifest, options)?;
    let place = |error: crate::PluginError| error.at_file(manifest.path());
    let mut opened = Vec::new();
    for index in 0..api.device_count().map_err(place)? {
        let device = api.open(index).map_err(place)?;
        let document = device.capabilities().map_err(place)?;
        opened.push(Opened { document, port: Arc::new(Local(device)) });
    }
    Ok((api.identity().clone(), opened))
}

struct Local(Arc<DeviceHandle>);

impl Port for Local {
    fn supports(&self, program: &Program, constants: &Constants) -> Result<Vec<Option<u32>>> {
        self.0.supports(program, &|span| constants.at(span))
    }

    fn compile(&self, program: &Program, constants: &Constants) -> Result<Arc<dyn PortExecutable>> {
        Ok(Arc::new(LocalExecutable(self.0.compile(program, &|span| constants.at(span))?)))
    }
}

struct LocalExecutable(Arc<ExecutableHandle>);

impl PortExecutable for LocalExecutable {
    fn footprint(&self) -> Option<abi::Footprint> {
        self.0.footprint()
    }

    fn context(self: Arc<Self>, slots: Slots) -> Result<Box<dyn PortContext>> {
        Ok(Box::new(self.0.context(slots)?))
    }
}

impl PortContext for ContextHandle {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<()> {
        ContextHandle::run(self, inputs.iter().map(Tensor::bytes), outputs.iter_mut().map(Tensor::bytes_mut))
    }

    fn node_times(&mut self, nodes: usize) -> Option<Vec<u64>> {
        ContextHandle::node_times(self, nodes)
    }
}
