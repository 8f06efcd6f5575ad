//! A plugin as a backend: the core's traits over a plugin, wherever it runs.
//!
//! Owns what is the same in this process and in a worker: the capability document, translation of programs, verdicts,
//! checks of tensors. [`Port`] is the seam: one implementation calls the plugin here, one asks a worker.

use std::sync::Arc;

use fewbit_core::backend::{
    Availability, Backend, CompileOptions, Context, Device, DeviceInfo, Executable, MemoryUse, NodeTime,
    TensorSpec,
};
use fewbit_core::capability::{Capability, Reason, Verdict, reasons as codes};
use fewbit_core::error::Result as CoreResult;
use fewbit_core::infer;
use fewbit_core::ir::{Graph, Tensor, ValueId};
use fewbit_core::{CoreError, CoreErrorKind};

use fewbit_abi as abi;

use crate::adapter::{Identity, Slots, refusal};
use crate::error::{PluginError, PluginErrorKind, Result};
use crate::manifest::{Isolation, Manifest, read_bounded};
use crate::program::{Constants, Program, Translated};

/// A plugin's device, here or in a worker.
pub(crate) trait Port: Send + Sync {
    /// Per node nothing, or the reasons against it.
    fn supports(&self, program: &Program, constants: &Constants) -> Result<Vec<Option<u32>>>;
    fn compile(&self, program: &Program, constants: &Constants) -> Result<Arc<dyn PortExecutable>>;
}

pub(crate) trait PortExecutable: Send + Sync {
    fn footprint(&self) -> Option<abi::Footprint>;
    fn context(self: Arc<Self>, slots: Slots) -> Result<Box<dyn PortContext>>;
}

pub(crate) trait PortContext: Send {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<()>;
    fn node_times(&mut self, nodes: usize) -> Option<Vec<u64>>;
}

/// One device that was opened: its document's text and the way to it.
pub(crate) struct Opened {
    pub(crate) document: String,
    pub(crate) port: Arc<dyn Port>,
}

/// How to load plugins.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// What they may be loaded without.
    pub trust: crate::Trust,
    /// The most detailed level of their logs that is kept: 0 for none to 5 for all.
    pub log_level: u32,
    /// The worker to run them in; `None` runs them in this process.
    pub worker: Option<crate::WorkerOptions>,
}

/// A plugin that was loaded, with its devices.
pub struct PluginBackend {
    manifest: Manifest,
    identity: Identity,
    devices: Vec<Arc<dyn Device>>,
    isolated: bool,
}

impl PluginBackend {
    /// Loads a plugin and opens its devices, in a worker where `options` name one and the manifest allows it.
    ///
    /// # Errors
    /// One [`PluginErrorKind`] per step, see there; [`PluginErrorKind::Worker`] for a plugin that must be isolated
    /// where no worker was named.
    pub fn load(manifest: &Manifest, options: &LoadOptions) -> Result<Self> {
        let (identity, opened) = match (&options.worker, manifest.run.isolation) {
            (Some(worker), Isolation::Required | Isolation::Preferred) => {
                crate::isolated::open(manifest, options, worker)?
            }
            (None, Isolation::Required) => {
                return Err(manifest.refused(
                    PluginErrorKind::Worker,
                    "expected a process of its own for this plugin, as its manifest requires",
                ));
            }
            _ => crate::in_process::open(manifest, options)?,
        };
        let isolated = options.worker.is_some() && manifest.run.isolation != Isolation::None;
        let several = opened.len() > 1;
        let mut devices: Vec<Arc<dyn Device>> = Vec::new();
        for (index, opened) in opened.into_iter().enumerate() {
            let capability = document(manifest, &opened.document)?;
            let id = if several { format!("{}:{index}", capability.name) } else { capability.name.clone() };
            let place = if isolated { ", isolated" } else { "" };
            let detail = format!("{} {}, ABI 1.{}{place}", identity.id, identity.version, identity.abi_minor);
            let info = DeviceInfo { id, title: capability.title.clone(), detail };
            devices.push(Arc::new(PluginDevice {
                plugin: identity.id.clone(),
                info,
                capability,
                port: opened.port,
            }));
        }
        check_snapshot(manifest, &devices)?;
        Ok(Self { manifest: manifest.clone(), identity, devices, isolated })
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Who it says it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether it runs in a process of its own.
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }
}

impl Backend for PluginBackend {
    fn name(&self) -> &str {
        &self.identity.id
    }

    fn availability(&self) -> Availability {
        if self.devices.is_empty() {
            Availability::Absent { reason: "the plugin found no device".to_owned() }
        } else {
            Availability::Present
        }
    }

    fn devices(&self) -> CoreResult<Vec<Arc<dyn Device>>> {
        Ok(self.devices.clone())
    }
}

/// The capability document of a plugin's text.
fn document(manifest: &Manifest, text: &str) -> Result<Capability> {
    Capability::from_json(text, "capabilities").map_err(|error| {
        let refused = manifest.refused(PluginErrorKind::Capability, error.to_string()).during("capabilities");
        match error.remedy() {
            Some(help) => refused.help(help),
            None => refused,
        }
    })
}

/// Compares the first device with the manifest's snapshot, where there are both.
fn check_snapshot(manifest: &Manifest, devices: &[Arc<dyn Device>]) -> Result<()> {
    let (Some(path), Some(device)) = (manifest.snapshot_path(), devices.first()) else { return Ok(()) };
    let snapshot = snapshot(manifest)?;
    let same =
        device.capabilities().is_ok_and(|found| Some(found.hash()) == snapshot.map(|wanted| wanted.hash()));
    if same {
        return Ok(());
    }
    let message = format!("expected the device that {} describes, found another", path.display());
    Err(manifest.refused(PluginErrorKind::Snapshot, message))
}

/// The capability document that comes with a plugin: to plan for its device without it.
///
/// # Errors
/// [`PluginErrorKind::Capability`] for a file that cannot be read or is no document.
pub fn snapshot(manifest: &Manifest) -> Result<Option<Capability>> {
    let Some(path) = manifest.snapshot_path() else { return Ok(None) };
    let fail = |message: String| PluginError::new(PluginErrorKind::Capability, message).at_file(&path);
    let text = read_bounded(&path, crate::manifest::DOCUMENT_MAX as u64).map_err(fail)?;
    let text = String::from_utf8(text).map_err(|_| fail("expected UTF-8".to_owned()))?;
    Capability::from_json(&text, &path.display().to_string())
        .map(Some)
        .map_err(|error| PluginError::new(PluginErrorKind::Capability, error.to_string()))
}

struct PluginDevice {
    plugin: String,
    info: DeviceInfo,
    capability: Capability,
    port: Arc<dyn Port>,
}

impl PluginDevice {
    fn place(&self, error: PluginError) -> CoreError {
        error.at(&self.plugin).into()
    }
}

/// The first reason's code, of those that plans already know.
fn code(why: u32) -> &'static str {
    let table = [
        (abi::WHY_OP, codes::OP),
        (abi::WHY_DTYPE, codes::TYPE),
        (abi::WHY_SCHEME, codes::ACTIVATION_ZERO),
        (abi::WHY_GRANULARITY, codes::WEIGHT_GRANULARITY),
        (abi::WHY_RANK, codes::RANK),
        (abi::WHY_SHAPE, codes::DIM),
        (abi::WHY_ATTRIBUTE, codes::MODE),
        (abi::WHY_MEMORY, codes::MEMORY),
    ];
    table.iter().find(|(bit, _)| why & bit != 0).map_or(codes::LIVE, |(_, code)| code)
}

impl Device for PluginDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> CoreResult<Capability> {
        Ok(self.capability.clone())
    }

    fn supports(&self, program: &Graph) -> CoreResult<Vec<Verdict>> {
        if !self.capability.processors.iter().any(|processor| processor.dynamic_shapes) {
            infer::require_fixed(program)?;
        }
        let translated = Translated::of(program, &CompileOptions::threads(1))?;
        let answers = self
            .port
            .supports(&translated.program, &translated.constants)
            .map_err(|error| self.place(error))?;
        Ok(translated
            .places
            .iter()
            .zip(program.nodes())
            .map(|(place, (_, node))| match place.map(|place| answers[place]) {
                Some(None) => Verdict::native(self.plugin.clone()),
                Some(Some(why)) => Verdict::refused(vec![Reason {
                    code: code(why).to_owned(),
                    rule: None,
                    message: refusal(&self.plugin, why),
                    fix: None,
                }]),
                None => Verdict::refused(vec![Reason {
                    code: codes::OP.to_owned(),
                    rule: None,
                    message: format!("{} does not cross the plugin ABI", node.op.kind()),
                    fix: None,
                }]),
            })
            .collect())
    }

    fn compile(&self, program: &Graph, options: &CompileOptions) -> CoreResult<Arc<dyn Executable>> {
        infer::require_fixed(program)?;
        let translated = Translated::of(program, options)?;
        if let Some((_, (_, node))) =
            translated.places.iter().zip(program.nodes()).find(|(place, _)| place.is_none())
        {
            let message =
                format!("expected an operator that crosses the plugin ABI, found {}", node.op.kind());
            return Err(CoreError::new(CoreErrorKind::Unsupported, message).at(&node.name));
        }
        let port = self.port.compile(&translated.program, &translated.constants).map_err(|error| {
            let name = error.node().and_then(|node| translated.program.nodes.get(node as usize));
            match name {
                Some(node) => {
                    CoreError::from(error.clone().at(format!("{}, node {}", self.plugin, node.name)))
                }
                None => self.place(error),
            }
        })?;
        let spec = |&id: &ValueId| -> CoreResult<TensorSpec> {
            let value = program.value(id);
            match (value.dtype, value.extents()) {
                (Some(dtype), Some(extents)) => {
                    Ok(TensorSpec { name: value.name.clone(), dtype, extents, quant: value.quant.clone() })
                }
                _ => Err(CoreError::new(CoreErrorKind::Dynamic, "expected a value of known extents")
                    .at(&value.name)),
            }
        };
        Ok(Arc::new(PluginExecutable {
            plugin: self.plugin.clone(),
            inputs: program.inputs.iter().map(spec).collect::<CoreResult<_>>()?,
            outputs: program.outputs.iter().map(spec).collect::<CoreResult<_>>()?,
            slots: Slots::of(&translated.program),
            nodes: translated
                .program
                .nodes
                .iter()
                .map(|node| (node.name.clone(), node.op_type.clone()))
                .collect(),
            profile: options.profile,
            port,
        }))
    }
}

struct PluginExecutable {
    plugin: String,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    slots: Slots,
    /// Names and operators, for profiles.
    nodes: Vec<(String, String)>,
    profile: bool,
    port: Arc<dyn PortExecutable>,
}

impl Executable for PluginExecutable {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn memory(&self) -> MemoryUse {
        let footprint = self.port.footprint().unwrap_or_default();
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        MemoryUse {
            weights: bytes(footprint.weights),
            activations: bytes(footprint.activations),
            scratch: bytes(footprint.scratch),
        }
    }

    fn context(self: Arc<Self>) -> CoreResult<Box<dyn Context>> {
        let port = Arc::clone(&self.port)
            .context(self.slots.clone())
            .map_err(|error| CoreError::from(error.at(&self.plugin)))?;
        Ok(Box::new(PluginContext { executable: self, port, times: Vec::new() }))
    }
}

struct PluginContext {
    executable: Arc<PluginExecutable>,
    port: Box<dyn PortContext>,
    times: Vec<NodeTime>,
}

impl Context for PluginContext {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> CoreResult<()> {
        let executable = &self.executable;
        check("inputs", inputs, &executable.inputs)?;
        check("outputs", outputs, &executable.outputs)?;
        self.port.run(inputs, outputs).map_err(|error| CoreError::from(error.at(&executable.plugin)))?;
        if executable.profile {
            let times = self.port.node_times(executable.nodes.len()).unwrap_or_default();
            let named = executable.nodes.iter().zip(times);
            self.times = named
                .map(|((node, kernel), nanoseconds)| NodeTime {
                    node: node.clone(),
                    kernel: kernel.clone(),
                    nanoseconds,
                })
                .collect();
        }
        Ok(())
    }

    fn profile(&self) -> Vec<NodeTime> {
        self.times.clone()
    }
}

/// Checks tensors against what the executable declares.
fn check(what: &str, tensors: &[Tensor], specs: &[TensorSpec]) -> CoreResult<()> {
    if tensors.len() != specs.len() {
        let message = format!("expected {} {what}, found {}", specs.len(), tensors.len());
        return Err(CoreError::new(CoreErrorKind::Tensor, message));
    }
    for (tensor, spec) in tensors.iter().zip(specs) {
        if tensor.dtype() != spec.dtype || tensor.extents() != spec.extents {
            let message = format!(
                "expected {}{:?}, found {}{:?}",
                spec.dtype,
                spec.extents,
                tensor.dtype(),
                tensor.extents()
            );
            return Err(CoreError::new(CoreErrorKind::Tensor, message).at(&spec.name));
        }
    }
    Ok(())
}
