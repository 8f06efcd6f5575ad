//! Programs over several devices: partitions, what passes between them, and their times.
//!
//! A partition is a set of nodes that one device runs in one go. Nodes are cut by how often the way to them changes
//! devices, so partitions never wait for each other in a circle, and two that do not depend on each other may be of
//! one stage. What passes from one to the next is a tensor in the host's memory in the form the program has there:
//! conversions are nodes of the program and run on the device that the plan gives them.

use std::sync::Arc;
use std::time::Instant;

use fewbit_core::backend::{CompileOptions, Context, Device, Executable, MemoryUse, NodeTime, TensorSpec};
use fewbit_core::error::Result;
use fewbit_core::ir::{Graph, Node, NodeId, Tensor, ValueId};
use fewbit_core::plan::Plan;
use fewbit_core::{CoreError, CoreErrorKind};
use indexmap::IndexMap;

/// One part of a program.
#[derive(Debug)]
pub struct Partition {
    /// The device's place in the list that was given.
    pub device: usize,
    /// The part as a program of its own; its inputs and outputs keep their names.
    pub program: Graph,
}

/// Cuts `program` by the device of each of its nodes, in the order in which parts run.
///
/// # Errors
/// [`CoreErrorKind::Structure`] for a program whose nodes cannot be ordered.
pub fn partition(program: &Graph, device_of: &dyn Fn(&Node) -> Option<usize>) -> Result<Vec<Partition>> {
    let devices = devices(program, device_of);
    let producers = program.producers();
    let consumers = program.consumers();
    let mut stages: IndexMap<NodeId, usize> = IndexMap::new();
    let mut groups: Vec<((usize, usize), Vec<NodeId>)> = Vec::new();
    for (id, node) in program.nodes() {
        let device = devices[&id];
        let before = node.inputs.iter().flatten().filter_map(|value| producers[value.index()]);
        let stage = before
            .map(|other| {
                let stage = stages.get(&other).copied().unwrap_or(0);
                stage + usize::from(devices[&other] != device)
            })
            .max()
            .unwrap_or(0);
        stages.insert(id, stage);
        match groups.iter_mut().find(|(key, _)| *key == (stage, device)) {
            Some((_, nodes)) => nodes.push(id),
            None => groups.push(((stage, device), vec![id])),
        }
    }
    groups.sort_by_key(|(key, _)| *key);
    groups
        .into_iter()
        .map(|((_, device), nodes)| {
            Ok(Partition { device, program: part(program, &nodes, &producers, &consumers)? })
        })
        .collect()
}

/// The device of every node: those that the plan does not name, conversions, run where what they read is made, or else
/// where it is read.
fn devices(program: &Graph, device_of: &dyn Fn(&Node) -> Option<usize>) -> IndexMap<NodeId, usize> {
    let producers = program.producers();
    let consumers = program.consumers();
    let mut devices: IndexMap<NodeId, usize> = IndexMap::new();
    for (id, node) in program.nodes() {
        let named = device_of(node);
        let before = || {
            let mut made = node.inputs.iter().flatten().filter_map(|value| producers[value.index()]);
            made.find_map(|other| devices.get(&other).copied())
        };
        let after = || {
            let mut readers = node.outputs.iter().flat_map(|value| &consumers[value.index()]);
            readers.find_map(|reader| device_of(program.node(*reader)?))
        };
        let device = named.or_else(before).or_else(after).unwrap_or(0);
        devices.insert(id, device);
    }
    devices
}

/// The nodes as a graph: what others make and these read is an input, what these make and others read an output.
fn part(
    program: &Graph,
    nodes: &[NodeId],
    producers: &[Option<NodeId>],
    consumers: &[Vec<NodeId>],
) -> Result<Graph> {
    let mut part = Graph::new(program.name.clone());
    let mut copies: IndexMap<ValueId, ValueId> = IndexMap::new();
    for id in nodes {
        let Some(node) = program.node(*id) else { continue };
        let mut copy = |part: &mut Graph, value: ValueId| -> ValueId {
            *copies.entry(value).or_insert_with(|| {
                let copied = part.push_value(program.value(value).clone());
                let inside = producers[value.index()].is_some_and(|producer| nodes.contains(&producer));
                if !inside && program.value(value).constant.is_none() {
                    part.inputs.push(copied);
                }
                copied
            })
        };
        let inputs = node.inputs.iter().map(|input| input.map(|value| copy(&mut part, value))).collect();
        let outputs = node.outputs.iter().map(|&value| copy(&mut part, value)).collect();
        part.add_node(Node { inputs, outputs, ..node.clone() });
    }
    for id in nodes {
        for &value in program.node(*id).into_iter().flat_map(|node| &node.outputs) {
            let outside = consumers[value.index()].iter().any(|reader| !nodes.contains(reader));
            if (outside || program.is_output(value)) && !part.outputs.contains(&copies[&value]) {
                part.outputs.push(copies[&value]);
            }
        }
    }
    part.compact()?;
    Ok(part)
}

/// A program compiled for several devices.
pub struct PartitionedExecutable {
    parts: Vec<(usize, Arc<dyn Executable>)>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// The inputs, as the program declares them.
    specs: Vec<TensorSpec>,
    /// The outputs, likewise.
    output_specs: Vec<TensorSpec>,
}

/// The time of one part in the last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartTime {
    /// The device's place in the list that was given.
    pub device: usize,
    /// Nanoseconds.
    pub nanoseconds: u64,
}

impl PartitionedExecutable {
    /// Compiles `program`, made from `plan`, each node for the device that stands for its processor: `devices` by the
    /// processors' ids.
    ///
    /// # Errors
    /// [`CoreErrorKind::Backend`] for a processor without a device; what compilers say.
    pub fn new(
        program: &Graph,
        plan: &Plan,
        devices: &IndexMap<String, Arc<dyn Device>>,
        options: &CompileOptions,
    ) -> Result<Self> {
        for assignment in &plan.nodes {
            let Some(processor) = &assignment.processor else { continue };
            if !devices.contains_key(processor) {
                let known: Vec<&str> = devices.keys().map(String::as_str).collect();
                return Err(CoreError::new(
                    CoreErrorKind::Backend,
                    format!("expected a device for processor `{processor}`, found {}", known.join(", ")),
                )
                .at(&assignment.node)
                .help("plan for what is attached, or attach the device"));
            }
        }
        let place = |node: &Node| devices.get_index_of(plan.assignment(&node.name)?.processor.as_ref()?);
        let list: Vec<Arc<dyn Device>> = devices.values().cloned().collect();
        Self::of(program, &place, &list, options)
    }

    /// Compiles `program`, each node for the device whose place `device_of` tells.
    ///
    /// # Errors
    /// [`CoreErrorKind::Backend`] for a place without a device; what compilers say.
    pub fn of(
        program: &Graph,
        device_of: &dyn Fn(&Node) -> Option<usize>,
        devices: &[Arc<dyn Device>],
        options: &CompileOptions,
    ) -> Result<Self> {
        let mut parts = Vec::new();
        for Partition { device, program } in partition(program, device_of)? {
            let compiler = devices.get(device).ok_or_else(|| {
                let message = format!("expected one of {} devices, found number {device}", devices.len());
                CoreError::new(CoreErrorKind::Backend, message)
            })?;
            parts.push((device, compiler.compile(&program, options)?));
        }
        let names = |ids: &[ValueId]| ids.iter().map(|&id| program.value(id).name.clone()).collect();
        let specs = |ids: &[ValueId]| -> Result<Vec<TensorSpec>> {
            let spec = |&id: &ValueId| {
                let value = program.value(id);
                let found = value.dtype.zip(value.extents()).map(|(dtype, extents)| TensorSpec {
                    name: value.name.clone(),
                    dtype,
                    extents,
                    quant: value.quant.clone(),
                });
                found.ok_or_else(|| {
                    let message = "expected inputs and outputs of fixed shapes";
                    CoreError::new(CoreErrorKind::Dynamic, message).at(&value.name)
                })
            };
            ids.iter().map(spec).collect()
        };
        Ok(Self {
            parts,
            inputs: names(&program.inputs),
            outputs: names(&program.outputs),
            specs: specs(&program.inputs)?,
            output_specs: specs(&program.outputs)?,
        })
    }

    /// What to give, in order.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// What comes back, in order.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.output_specs
    }

    /// Bytes that all parts hold, and those of one context.
    pub fn memory(&self) -> MemoryUse {
        let parts = self.parts.iter().map(|(_, part)| part.memory());
        parts.fold(MemoryUse::default(), |sum, part| MemoryUse {
            weights: sum.weights + part.weights,
            activations: sum.activations + part.activations,
            scratch: sum.scratch + part.scratch,
        })
    }

    /// How many parts run one after the other.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The scratch of one run at a time.
    ///
    /// # Errors
    /// What devices say.
    pub fn context(self: &Arc<Self>) -> Result<PartitionedContext> {
        let contexts = self
            .parts
            .iter()
            .map(|(_, executable)| {
                let outputs = executable
                    .outputs()
                    .iter()
                    .map(|spec| Tensor::zeros(spec.dtype, &spec.extents))
                    .collect::<Result<Vec<_>>>()?;
                Ok((Arc::clone(executable).context()?, outputs))
            })
            .collect::<Result<Vec<_>>>()?;
        let times = self.parts.iter().map(|&(device, _)| PartTime { device, nanoseconds: 0 }).collect();
        Ok(PartitionedContext { executable: Arc::clone(self), contexts, times })
    }
}

/// Contexts of all parts.
pub struct PartitionedContext {
    executable: Arc<PartitionedExecutable>,
    contexts: Vec<(Box<dyn Context>, Vec<Tensor>)>,
    times: Vec<PartTime>,
}

impl PartitionedContext {
    /// Runs the parts one after the other on inputs in order; gives the outputs in order.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] for inputs that do not fit; what devices say.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let executable = &self.executable;
        if inputs.len() != executable.inputs.len() {
            return Err(CoreError::new(
                CoreErrorKind::Tensor,
                format!("expected {} inputs, found {}", executable.inputs.len(), inputs.len()),
            ));
        }
        let mut values: IndexMap<&str, Tensor> =
            executable.inputs.iter().map(String::as_str).zip(inputs.iter().cloned()).collect();
        let missing = |name: &str| {
            CoreError::new(CoreErrorKind::Structure, "expected a value before it is read").at(name)
        };
        for (((_, part), (context, outputs)), time) in
            executable.parts.iter().zip(&mut self.contexts).zip(&mut self.times)
        {
            let given = part
                .inputs()
                .iter()
                .map(|spec| values.get(spec.name.as_str()).cloned().ok_or_else(|| missing(&spec.name)))
                .collect::<Result<Vec<_>>>()?;
            let start = Instant::now();
            context.run(&given, outputs)?;
            time.nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            for (spec, tensor) in part.outputs().iter().zip(outputs.iter()) {
                values.insert(spec.name.as_str(), tensor.clone());
            }
        }
        executable
            .outputs
            .iter()
            .map(|name| values.get(name.as_str()).cloned().ok_or_else(|| missing(name)))
            .collect()
    }

    /// The time of each node in the last run, part after part, where devices tell.
    pub fn profile(&self) -> Vec<NodeTime> {
        self.contexts.iter().flat_map(|(context, _)| context.profile()).collect()
    }

    /// The time of each part in the last run.
    pub fn times(&self) -> &[PartTime] {
        &self.times
    }
}
