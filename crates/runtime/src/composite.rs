//! Several devices as one: each node runs on the first that has it natively.
//!
//! Owns the choice of the device per node where no plan made it, and the capability document of the whole: the
//! processors of all devices, in the order of preference. What passes between devices is a tensor in the host's memory;
//! see [`partition`](crate::partition).

use std::sync::Arc;

use fewbit_core::backend::{
    CompileOptions, Context, Device, DeviceInfo, Executable, MemoryUse, NodeTime, TensorSpec,
};
use fewbit_core::capability::{Capability, Support, Verdict};
use fewbit_core::error::Result;
use fewbit_core::ir::{Graph, NodeId, Tensor};
use fewbit_core::plan::Plan;
use fewbit_core::{CoreError, CoreErrorKind};
use indexmap::IndexMap;

use crate::partition::{PartitionedContext, PartitionedExecutable};

/// Devices in the order of preference.
pub struct Composite {
    info: DeviceInfo,
    capability: Capability,
    devices: Vec<Arc<dyn Device>>,
    /// The device of each processor of the document.
    owners: IndexMap<String, usize>,
    /// The processor of nodes by name, where a plan says it.
    plan: IndexMap<String, usize>,
}

impl Composite {
    /// The devices as one.
    ///
    /// # Errors
    /// [`CoreErrorKind::Backend`] for fewer than one device or two with a processor of one id; what devices say of
    /// themselves.
    pub fn new(devices: Vec<Arc<dyn Device>>) -> Result<Self> {
        let mut documents = devices.iter().map(|device| device.capabilities()).collect::<Result<Vec<_>>>()?;
        // The last device is the one that runs what is left: usually the host's processor, whose files it takes.
        let Some(mut capability) = documents.pop() else {
            return Err(CoreError::new(CoreErrorKind::Backend, "expected at least one device, found none"));
        };
        let mut owners = IndexMap::new();
        let mut processors = Vec::new();
        let join = |field: &dyn Fn(&DeviceInfo) -> &str, with: &str| {
            devices.iter().map(|device| field(device.info())).collect::<Vec<_>>().join(with)
        };
        let info = DeviceInfo {
            id: join(&|info| &info.id, "+"),
            title: join(&|info| &info.title, ", "),
            detail: join(&|info| &info.detail, "; "),
        };
        capability.name = join(&|info| &info.id, "-").replace([':', '.'], "-");
        capability.title.clone_from(&info.title);
        let last = std::mem::take(&mut capability.processors);
        documents.push(Capability { processors: last, ..capability.clone() });
        for (index, document) in documents.into_iter().enumerate() {
            for processor in document.processors {
                if let Some(other) = owners.insert(processor.id.clone(), index) {
                    let message = format!(
                        "expected processors of different names, found `{}` of {} and {}",
                        processor.id,
                        devices[other].info().id,
                        devices[index].info().id
                    );
                    return Err(CoreError::new(CoreErrorKind::Backend, message));
                }
                processors.push(processor);
            }
        }
        capability.processors = processors;
        capability.validate()?;
        Ok(Self { info, capability, devices, owners, plan: IndexMap::new() })
    }

    /// The same, each node where `plan` says; nodes that it does not name run as without it.
    ///
    /// # Errors
    /// [`CoreErrorKind::Backend`] for a processor that none of the devices has.
    pub fn following(mut self, plan: &Plan) -> Result<Self> {
        for assignment in &plan.nodes {
            let Some(processor) = &assignment.processor else { continue };
            let Some(&owner) = self.owners.get(processor) else {
                let known: Vec<&str> = self.owners.keys().map(String::as_str).collect();
                return Err(CoreError::new(
                    CoreErrorKind::Backend,
                    format!("expected a device for processor `{processor}`, found {}", known.join(", ")),
                )
                .at(&assignment.node)
                .help("plan for what is attached, or attach the device"));
            };
            self.plan.insert(assignment.node.clone(), owner);
        }
        Ok(self)
    }

    /// The device of each node and what it says of it.
    fn places(&self, program: &Graph) -> Result<IndexMap<NodeId, (usize, Verdict)>> {
        let verdicts =
            self.devices.iter().map(|device| device.supports(program)).collect::<Result<Vec<_>>>()?;
        let producers = program.producers();
        let mut places: IndexMap<NodeId, (usize, Verdict)> = IndexMap::new();
        for (at, (id, node)) in program.nodes().enumerate() {
            let native = |device: usize| verdicts[device][at].support == Support::Native;
            // What costs little beside the way there stays where its input is made.
            let rides = node.op.is_conversion() || node.op.moves_elements();
            let before = node.inputs.iter().flatten().filter_map(|value| producers[value.index()]);
            let beside = before.filter_map(|other| places.get(&other)).map(|(device, _)| *device).next();
            let planned = self.plan.get(&node.name).copied();
            let chosen = planned
                .or_else(|| beside.filter(|&device| rides && native(device)))
                .or_else(|| (0..verdicts.len()).find(|&device| native(device)))
                .or_else(|| (0..verdicts.len()).find(|&device| verdicts[device][at].is_supported()));
            let place = if let Some(device) = chosen {
                (device, verdicts[device][at].clone())
            } else {
                let reasons = verdicts.iter().flat_map(|of| of[at].reasons.clone()).collect();
                (verdicts.len() - 1, Verdict::refused(reasons))
            };
            places.insert(id, place);
        }
        Ok(places)
    }
}

impl Device for Composite {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Result<Capability> {
        Ok(self.capability.clone())
    }

    fn supports(&self, program: &Graph) -> Result<Vec<Verdict>> {
        Ok(self.places(program)?.into_values().map(|(_, verdict)| verdict).collect())
    }

    fn compile(&self, program: &Graph, options: &CompileOptions) -> Result<Arc<dyn Executable>> {
        let places = self.places(program)?;
        let by_name: IndexMap<&str, usize> =
            program.nodes().map(|(id, node)| (node.name.as_str(), places[&id].0)).collect();
        let place = |node: &fewbit_core::ir::Node| by_name.get(node.name.as_str()).copied();
        let parts = PartitionedExecutable::of(program, &place, &self.devices, options)?;
        Ok(Arc::new(CompositeExecutable(Arc::new(parts))))
    }
}

struct CompositeExecutable(Arc<PartitionedExecutable>);

impl Executable for CompositeExecutable {
    fn inputs(&self) -> &[TensorSpec] {
        self.0.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.0.outputs()
    }

    fn memory(&self) -> MemoryUse {
        self.0.memory()
    }

    fn context(self: Arc<Self>) -> Result<Box<dyn Context>> {
        Ok(Box::new(CompositeContext(self.0.context()?)))
    }
}

struct CompositeContext(PartitionedContext);

impl Context for CompositeContext {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<()> {
        for (given, written) in self.0.run(inputs)?.into_iter().zip(outputs) {
            if given.dtype() != written.dtype() || given.extents() != written.extents() {
                let message = format!(
                    "expected {}{:?} to write to, found {}{:?}",
                    given.dtype(),
                    given.extents(),
                    written.dtype(),
                    written.extents()
                );
                return Err(CoreError::new(CoreErrorKind::Tensor, message));
            }
            *written = given;
        }
        Ok(())
    }

    fn profile(&self) -> Vec<NodeTime> {
        self.0.profile()
    }
}
