//! Running: executables and their contexts.
//!
//! Weights and the uniforms of all launches lie in the device once, in the executable. A context has the buffers of one
//! run and the bind groups over them; a run writes the inputs, records the same launches, and reads the outputs back
//! through one buffer. wgpu does not let a command buffer be submitted twice, so that recording is part of every run.

use std::sync::Arc;
use std::sync::mpsc::channel;

use fewbit_core::backend::{Context, Executable, MemoryUse, NodeTime, TensorSpec};
use fewbit_core::error::{CoreError, CoreErrorKind, Result};
use fewbit_core::ir::{DType, Tensor};
use wgpu::BufferUsages;

use crate::fault::{Fault, first_line};
use crate::pipelines::{Opened, Pipeline};
use crate::plan::{Arg, Memory, Plan, Port};

/// Constants are gathered into buffers of about this many bytes.
const CHUNK: usize = 32 << 20;
/// Where bindings may start on every device.
const ALIGNMENT: usize = 256;
/// The least bytes of a binding: one vector of four floats.
const LEAST: usize = 16;

/// A part of a buffer.
#[derive(Debug, Clone)]
struct Span {
    buffer: wgpu::Buffer,
    offset: u64,
    bytes: u64,
}

impl Span {
    fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: std::num::NonZeroU64::new(self.bytes),
        })
    }
}

/// One launch with its pipeline.
struct Step {
    pipeline: Pipeline,
    kernel: String,
    reads: Vec<Arg>,
    write: usize,
    uniform: Span,
    groups: [u32; 3],
    node: usize,
}

/// A compiled program: pipelines, weights and the memory plan, shared by its contexts.
pub(crate) struct GpuExecutable {
    opened: Arc<Opened>,
    steps: Vec<Step>,
    constants: Vec<Span>,
    memory: Memory,
    ports_in: Vec<Option<Port>>,
    ports_out: Vec<Port>,
    checks: Vec<(usize, usize)>,
    nodes: Vec<String>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    weight_bytes: usize,
    profile: bool,
}

/// Lays blocks of bytes into few buffers.
fn upload(opened: &Opened, blocks: &[&[u8]], usage: BufferUsages) -> std::result::Result<Vec<Span>, Fault> {
    let mut chunks: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let bytes = block.len().max(LEAST).next_multiple_of(ALIGNMENT);
        match chunks.last_mut() {
            Some((size, members)) if *size + bytes <= CHUNK => {
                members.push((at, *size));
                *size += bytes;
            }
            _ => chunks.push((bytes, vec![(at, 0)])),
        }
    }
    let mut spans: Vec<Option<Span>> = vec![None; blocks.len()];
    for (size, members) in chunks {
        let buffer = opened.scoped(|| {
            opened.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: size as u64,
                usage: usage | BufferUsages::COPY_SRC,
                mapped_at_creation: true,
            })
        })?;
        {
            let mut mapped =
                buffer.get_mapped_range_mut(..).map_err(|error| Fault::Memory(error.to_string()))?;
            for &(at, offset) in &members {
                mapped.slice(offset..offset + blocks[at].len()).copy_from_slice(blocks[at]);
            }
        }
        buffer.unmap();
        for (at, offset) in members {
            let bytes = blocks[at].len().max(LEAST).next_multiple_of(LEAST) as u64;
            spans[at] = Some(Span { buffer: buffer.clone(), offset: offset as u64, bytes });
        }
    }
    Ok(spans.into_iter().flatten().collect())
}

impl GpuExecutable {
    pub(crate) fn new(
        opened: Arc<Opened>,
        plan: Plan,
        inputs: Vec<TensorSpec>,
        outputs: Vec<TensorSpec>,
        profile: bool,
    ) -> Result<Self> {
        let shaders: Vec<_> =
            plan.launches.iter().map(|launch| (launch.shader.clone(), launch.reads.len())).collect();
        let pipelines = opened.pipelines(&shaders)?;
        let blocks: Vec<&[u8]> = plan.constants.iter().map(|constant| &constant.bytes[..]).collect();
        let constants = upload(&opened, &blocks, BufferUsages::STORAGE)?;
        let blocks: Vec<&[u8]> =
            plan.launches.iter().map(|launch| bytemuck::cast_slice(&launch.params)).collect();
        let uniforms = upload(&opened, &blocks, BufferUsages::UNIFORM)?;
        let weight_bytes = plan.constants.iter().map(|constant| constant.bytes.len()).sum();
        let steps = plan
            .launches
            .into_iter()
            .zip(pipelines)
            .zip(uniforms)
            .map(|((launch, pipeline), uniform)| Step {
                pipeline,
                kernel: launch.shader.name,
                reads: launch.reads,
                write: launch.write,
                uniform,
                groups: launch.groups,
                node: launch.node,
            })
            .collect();
        let mut memory = Memory::plan(&plan.tensors);
        for bytes in &mut memory.bytes {
            *bytes = (*bytes).max(LEAST).next_multiple_of(LEAST);
        }
        Ok(Self {
            opened,
            steps,
            constants,
            memory,
            ports_in: plan.inputs,
            ports_out: plan.outputs,
            checks: plan.checks,
            nodes: plan.nodes,
            inputs,
            outputs,
            weight_bytes,
            profile,
        })
    }

    fn new_context(self: Arc<Self>) -> std::result::Result<GpuContext, Fault> {
        let opened = Arc::clone(&self.opened);
        let device = &opened.device;
        let read_bytes: usize =
            self.ports_out.iter().map(|port| port.bytes.next_multiple_of(ALIGNMENT)).sum();
        let (buffers, readback, groups) = opened.scoped(|| {
            let buffers: Vec<wgpu::Buffer> = self
                .memory
                .bytes
                .iter()
                .map(|&bytes| {
                    device.create_buffer(&wgpu::BufferDescriptor {
                        label: None,
                        size: bytes as u64,
                        usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
                        mapped_at_creation: false,
                    })
                })
                .collect();
            let readback = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: read_bytes.max(ALIGNMENT) as u64,
                usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let groups = self.steps.iter().map(|step| self.bind(step, &buffers)).collect::<Vec<_>>();
            (buffers, readback, groups)
        })?;
        let times = if self.profile && device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            opened.scoped(|| Times::new(device, self.steps.len()))?
        } else {
            None
        };
        let widest = self.ports_in.iter().flatten().map(|port| port.bytes).max().unwrap_or(0);
        Ok(GpuContext {
            executable: self,
            buffers,
            readback,
            groups,
            padded: Vec::with_capacity(widest.next_multiple_of(4)),
            times,
        })
    }

    fn bind(&self, step: &Step, buffers: &[wgpu::Buffer]) -> wgpu::BindGroup {
        let tensor = |tensor: usize| buffers[self.memory.slots[tensor]].as_entire_binding();
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: step.uniform.binding() }];
        for read in &step.reads {
            let resource = match *read {
                Arg::Tensor(at) => tensor(at),
                Arg::Constant(at) => self.constants[at].binding(),
            };
            entries.push(wgpu::BindGroupEntry { binding: entries.len() as u32, resource });
        }
        let resource = tensor(step.write);
        entries.push(wgpu::BindGroupEntry { binding: entries.len() as u32, resource });
        self.opened.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &step.pipeline.layout,
            entries: &entries,
        })
    }
}

impl Executable for GpuExecutable {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse {
            weights: self.weight_bytes,
            activations: self.memory.bytes.iter().sum(),
            scratch: self.ports_out.iter().map(|port| port.bytes).sum(),
        }
    }

    fn context(self: Arc<Self>) -> Result<Box<dyn Context>> {
        Ok(Box::new(self.new_context()?))
    }
}

/// Time stamps around every launch.
struct Times {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    read: wgpu::Buffer,
    stamps: Vec<u64>,
}

impl Times {
    /// `None` where there is nothing to time.
    fn new(device: &wgpu::Device, launches: usize) -> Option<Self> {
        let count = 2 * launches as u32;
        if count == 0 || count > wgpu::QUERY_SET_MAX_QUERIES {
            return None;
        }
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: u64::from(count) * 8,
                usage,
                mapped_at_creation: false,
            })
        };
        Some(Self {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count,
            }),
            resolved: buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC),
            read: buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST),
            stamps: vec![0; count as usize],
        })
    }
}

struct GpuContext {
    executable: Arc<GpuExecutable>,
    buffers: Vec<wgpu::Buffer>,
    readback: wgpu::Buffer,
    groups: Vec<wgpu::BindGroup>,
    /// An input whose bytes do not fill whole words, filled up.
    padded: Vec<u8>,
    times: Option<Times>,
}

impl GpuContext {
    /// Writes the inputs into their buffers.
    fn give(&mut self, inputs: &[Tensor]) {
        let executable = &self.executable;
        for (port, tensor) in executable.ports_in.iter().zip(inputs) {
            let Some(Port { place: Arg::Tensor(at), .. }) = *port else { continue };
            let buffer = &self.buffers[executable.memory.slots[at]];
            let bytes = tensor.bytes();
            let whole = bytes.len() / 4 * 4;
            executable.opened.queue.write_buffer(buffer, 0, &bytes[..whole]);
            if whole < bytes.len() {
                self.padded.clear();
                self.padded.extend_from_slice(&bytes[whole..]);
                self.padded.resize(4, 0);
                executable.opened.queue.write_buffer(buffer, whole as u64, &self.padded);
            }
        }
    }

    fn record(&self) -> wgpu::CommandBuffer {
        let executable = &self.executable;
        let device = &executable.opened.device;
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        if let Some(times) = &self.times {
            for (at, (step, group)) in executable.steps.iter().zip(&self.groups).enumerate() {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &times.queries,
                        beginning_of_pass_write_index: Some(2 * at as u32),
                        end_of_pass_write_index: Some(2 * at as u32 + 1),
                    }),
                });
                launch(&mut pass, step, group);
            }
            encoder.resolve_query_set(&times.queries, 0..times.stamps.len() as u32, &times.resolved, 0);
            encoder.copy_buffer_to_buffer(&times.resolved, 0, &times.read, 0, times.read.size());
        } else {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for (step, group) in executable.steps.iter().zip(&self.groups) {
                launch(&mut pass, step, group);
            }
        }
        let mut at = 0;
        for port in &executable.ports_out {
            let (buffer, offset) = match port.place {
                Arg::Tensor(tensor) => (&self.buffers[executable.memory.slots[tensor]], 0),
                Arg::Constant(constant) => {
                    let span = &executable.constants[constant];
                    (&span.buffer, span.offset)
                }
            };
            let bytes = port.bytes.next_multiple_of(4) as u64;
            if bytes > 0 {
                encoder.copy_buffer_to_buffer(buffer, offset, &self.readback, at, bytes);
            }
            at += port.bytes.next_multiple_of(ALIGNMENT) as u64;
        }
        encoder.finish()
    }

    fn run_on_device(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> std::result::Result<(), Fault> {
        let opened = Arc::clone(&self.executable.opened);
        opened.faults.check()?;
        self.give(inputs);
        let commands = self.record();
        let submission = opened.queue.submit([commands]);
        let (sender, receiver) = channel();
        let answer = sender.clone();
        self.readback.map_async(wgpu::MapMode::Read, .., move |mapped| drop(answer.send(mapped)));
        if let Some(times) = &self.times {
            times.read.map_async(wgpu::MapMode::Read, .., move |mapped| drop(sender.send(mapped)));
        } else {
            drop(sender);
        }
        opened.finish(submission)?;
        let refused = |message: String| Fault::Refused(first_line(&message));
        for mapped in receiver {
            mapped.map_err(|error| refused(error.to_string()))?;
        }
        {
            let view = self.readback.get_mapped_range(..).map_err(|error| refused(error.to_string()))?;
            let mut at = 0;
            for (port, output) in self.executable.ports_out.iter().zip(outputs) {
                output.bytes_mut().copy_from_slice(&view[at..at + port.bytes]);
                at += port.bytes.next_multiple_of(ALIGNMENT);
            }
        }
        self.readback.unmap();
        if let Some(times) = &mut self.times {
            {
                let view = times.read.get_mapped_range(..).map_err(|error| refused(error.to_string()))?;
                for (stamp, bytes) in times.stamps.iter_mut().zip(view.as_chunks::<8>().0) {
                    *stamp = u64::from_le_bytes(*bytes);
                }
            }
            times.read.unmap();
        }
        Ok(())
    }
}

fn launch(pass: &mut wgpu::ComputePass<'_>, step: &Step, group: &wgpu::BindGroup) {
    pass.set_pipeline(&step.pipeline.pipeline);
    pass.set_bind_group(0, group, &[]);
    let [x, y, z] = step.groups;
    pass.dispatch_workgroups(x, y, z);
}

impl Context for GpuContext {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<()> {
        check("input", &self.executable.inputs, inputs)?;
        check("output", &self.executable.outputs, outputs)?;
        for &(input, extent) in &self.executable.checks {
            check_indices(&self.executable.inputs[input], &inputs[input], extent)?;
        }
        Ok(self.run_on_device(inputs, outputs)?)
    }

    fn profile(&self) -> Vec<NodeTime> {
        let Some(times) = &self.times else { return Vec::new() };
        let executable = &self.executable;
        let period = f64::from(executable.opened.queue.get_timestamp_period());
        let stamps = times.stamps.as_chunks::<2>().0;
        executable
            .steps
            .iter()
            .zip(stamps)
            .map(|(step, [start, end])| NodeTime {
                node: executable.nodes.get(step.node).cloned().unwrap_or_else(|| "output".to_owned()),
                kernel: step.kernel.clone(),
                nanoseconds: (end.saturating_sub(*start) as f64 * period) as u64,
            })
            .collect()
    }
}

/// Whether tensors are what the executable takes or gives.
fn check(what: &str, specs: &[TensorSpec], tensors: &[Tensor]) -> Result<()> {
    let fail = |message: String| Err(CoreError::new(CoreErrorKind::Tensor, message));
    if specs.len() != tensors.len() {
        return fail(format!("expected {} {what}s, found {}", specs.len(), tensors.len()));
    }
    for (spec, tensor) in specs.iter().zip(tensors) {
        if spec.dtype != tensor.dtype() || spec.extents != tensor.extents() {
            return fail(format!(
                "expected {what} `{}` to be {}{:?}, found {}{:?}",
                spec.name,
                spec.dtype,
                spec.extents,
                tensor.dtype(),
                tensor.extents()
            ));
        }
    }
    Ok(())
}

/// Whether every element of an input is an index: a kernel cannot say that one is not.
fn check_indices(spec: &TensorSpec, tensor: &Tensor, extent: usize) -> Result<()> {
    let limit = extent as i64;
    let wrong = match tensor.dtype() {
        DType::I64 => {
            tensor.as_slice::<i64>()?.iter().copied().find(|index| !(-limit..limit).contains(index))
        }
        DType::I32 => {
            let wide = tensor.as_slice::<i32>()?.iter().map(|&index| i64::from(index));
            wide.into_iter().find(|index| !(-limit..limit).contains(index))
        }
        _ => None,
    };
    let Some(index) = wrong else { return Ok(()) };
    Err(CoreError::new(
        CoreErrorKind::Tensor,
        format!("expected indices from -{extent} to below {extent} in `{}`, found {index}", spec.name),
    ))
}

/// Runs a plan without inputs once, and gives the bytes of its one output.
pub(crate) fn run_once(opened: Arc<Opened>, plan: Plan, bytes: usize) -> Result<Vec<u8>> {
    let executable = Arc::new(GpuExecutable::new(opened, plan, Vec::new(), Vec::new(), false)?);
    let mut output = [Tensor::zeros(DType::U8, &[bytes])?];
    let mut context = executable.new_context()?;
    context.run_on_device(&[], &mut output)?;
    Ok(output[0].bytes().to_vec())
}
