//! Executables and contexts: buffers on the device, kernels with their arguments, runs.
//!
//! An executable owns the constants, which its contexts share. A context owns a queue, the buffers that tensors share
//! over time, and one kernel object per launch: buffers never change, so arguments are set once and a run only enqueues.

#![expect(unsafe_code, reason = "OpenCL's calls take raw sizes and arguments")]

use std::sync::Arc;

use fewbit_plugin_sdk::{Context, Error, Executable, Footprint, Input, Output, Result};
use opencl3::command_queue::{CL_QUEUE_PROFILING_ENABLE, CommandQueue};
use opencl3::event::Event;
use opencl3::kernel::Kernel;
use opencl3::memory::{Buffer, CL_MEM_COPY_HOST_PTR, CL_MEM_READ_ONLY, CL_MEM_READ_WRITE, ClMem};
use opencl3::types::CL_BLOCKING;

use crate::device::{Kind, Opened, failed};
use crate::plan::{Arg, Launch, Memory, Plan, SLACK};

/// A compiled program on a device.
pub struct Compiled {
    device: Arc<Opened>,
    plan: Plan,
    memory: Memory,
    constants: Vec<Buffer<u8>>,
    profile: bool,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("launches", &self.plan.launches.len()).finish_non_exhaustive()
    }
}

impl Compiled {
    pub(crate) fn new(device: Arc<Opened>, mut plan: Plan, profile: bool) -> Result<Compiled> {
        device.kernels()?;
        let memory = Memory::plan(&plan.tensors);
        let largest = plan.constants.iter().map(Vec::len).chain(memory.bytes.iter().copied()).max();
        if largest.is_some_and(|bytes| (bytes + SLACK) as u64 > device.facts.buffer_max) {
            return Err(Error::out_of_memory(format!(
                "a buffer of {} bytes is needed, and the device allows {}",
                largest.unwrap_or_default(),
                device.facts.buffer_max
            )));
        }
        let constants = std::mem::take(&mut plan.constants)
            .into_iter()
            .map(|mut bytes| {
                bytes.resize(bytes.len() + SLACK, 0);
                let (flags, pointer) = (CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, bytes.as_mut_ptr().cast());
                // SAFETY: the host's memory has as many bytes as the buffer and is copied by this call.
                unsafe { Buffer::create(&device.context, flags, bytes.len(), pointer) }
                    .map_err(failed("no memory for constants"))
            })
            .collect::<Result<_>>()?;
        Ok(Compiled { device, plan, memory, constants, profile })
    }

    /// Names of the kernels that a run launches, in order.
    pub fn kernels(&self) -> Vec<&'static str> {
        self.plan.launches.iter().map(|launch| launch.kernel).collect()
    }
}

impl Executable for Compiled {
    type Context = Running;

    fn context(self: &Arc<Self>) -> Result<Running> {
        let device = &self.device;
        let properties = if self.profile { CL_QUEUE_PROFILING_ENABLE } else { 0 };
        #[expect(deprecated, reason = "the other way to make a queue needs OpenCL 2.0")]
        let queue = CommandQueue::create_default(&device.context, properties)
            .map_err(failed("the device gives no queue"))?;
        let buffers: Vec<Buffer<u8>> = self
            .memory
            .bytes
            .iter()
            .map(|bytes| {
                // SAFETY: no memory of the host is given.
                unsafe {
                    Buffer::create(&device.context, CL_MEM_READ_WRITE, bytes + SLACK, std::ptr::null_mut())
                }
                .map_err(failed("no memory for activations"))
            })
            .collect::<Result<_>>()?;
        let mut running = Running {
            queue,
            buffers,
            launches: Vec::new(),
            times: vec![0; self.plan.nodes],
            compiled: Arc::clone(self),
        };
        running.launches =
            self.plan.launches.iter().map(|launch| running.prepare(launch)).collect::<Result<_>>()?;
        Ok(running)
    }

    fn footprint(&self) -> Option<Footprint> {
        let total = |bytes: &mut dyn Iterator<Item = usize>| bytes.map(|bytes| (bytes + SLACK) as u64).sum();
        Some(Footprint {
            activations: total(&mut self.memory.bytes.iter().copied()),
            weights: self.constants.iter().filter_map(|buffer| buffer.size().ok()).sum::<usize>() as u64,
            ..Footprint::default()
        })
    }
}

/// A launch that only has to be enqueued.
struct Ready {
    kernel: Kernel,
    global: [usize; 3],
    local: [usize; 3],
    node: usize,
}

/// Runs an executable.
pub struct Running {
    queue: CommandQueue,
    buffers: Vec<Buffer<u8>>,
    launches: Vec<Ready>,
    /// Nanoseconds of each node in the last run.
    times: Vec<u64>,
    compiled: Arc<Compiled>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("launches", &self.launches.len()).finish_non_exhaustive()
    }
}

impl Running {
    fn buffer(&self, arg: Arg) -> Option<&Buffer<u8>> {
        match arg {
            Arg::Tensor(tensor) => Some(&self.buffers[self.compiled.memory.slots[tensor]]),
            Arg::Constant(constant) => Some(&self.compiled.constants[constant]),
            _ => None,
        }
    }

    /// A kernel object with its arguments.
    fn prepare(&self, launch: &Launch) -> Result<Ready> {
        let device = &self.compiled.device;
        let kernel =
            Kernel::create(&device.kernels()?.program, launch.kernel).map_err(failed(launch.kernel))?;
        for (index, &arg) in launch.args.iter().enumerate() {
            let index = index as u32;
            // SAFETY: the lowering gives each kernel its parameters in order and of their types: buffers, and numbers
            // of 32 bits; buffers are as long as its geometry says and live as long as this context.
            unsafe {
                match arg {
                    Arg::Int(value) => kernel.set_arg(index, &value),
                    Arg::Uint(value) => kernel.set_arg(index, &value),
                    Arg::Float(value) => kernel.set_arg(index, &value),
                    Arg::Tensor(_) | Arg::Constant(_) => {
                        let buffer = self.buffer(arg).ok_or_else(|| Error::internal("no buffer"))?;
                        kernel.set_arg(index, &buffer.get())
                    }
                }
            }
            .map_err(failed(launch.kernel))?;
        }
        let most = kernel.get_work_group_size(device.handle.id()).map_err(failed(launch.kernel))?;
        let local = group(launch.items, most.min(device.facts.group_max), device.facts.kind);
        let mut global = launch.items;
        for (items, local) in global.iter_mut().zip(local) {
            *items = items.next_multiple_of(local);
        }
        Ok(Ready { kernel, global, local, node: launch.node })
    }

    fn enqueue(&self, launch: &Ready) -> Result<Event> {
        let (global, local) = (launch.global.as_ptr(), launch.local.as_ptr());
        // SAFETY: arguments are set, three sizes are there, and kernels leave work items alone that are too many.
        unsafe {
            self.queue.enqueue_nd_range_kernel(launch.kernel.get(), 3, std::ptr::null(), global, local, &[])
        }
        .map_err(failed("a kernel is not launched"))
    }
}

/// The work group of a launch: sizes are fixed per kernel and class of device, for runtimes compile for each.
///
/// Vectors do a processor's work in parallel already: groups only share out what a thread does at once. On other devices
/// a group fills the lanes of a wave or two.
fn group(items: [usize; 3], most: usize, kind: Kind) -> [usize; 3] {
    let most = most.max(1);
    let wanted = match (items[1] > 1, kind) {
        (false, Kind::Cpu) => [64, 1, 1],
        (false, _) => [128, 1, 1],
        (true, Kind::Cpu) => [1, 8, 1],
        (true, _) => [8, 8, 1],
    };
    // A power of two, like each of the sizes.
    let mut group = wanted;
    while group.iter().product::<usize>() > most {
        match group.iter_mut().find(|size| **size > 1) {
            Some(size) => *size /= 2,
            None => break,
        }
    }
    group
}

impl Context for Running {
    fn run(&mut self, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
        let compiled = Arc::clone(&self.compiled);
        for (input, tensor) in inputs.iter().zip(&compiled.plan.inputs) {
            let Some(tensor) = *tensor else { continue };
            let expected = compiled.plan.tensors[tensor].bytes;
            if input.bytes().len() != expected {
                return Err(Error::invalid(format!("expected {expected} bytes of an input")));
            }
            if expected == 0 {
                continue;
            }
            let buffer = &mut self.buffers[compiled.memory.slots[tensor]];
            // SAFETY: blocking, so that the slice is read by this call; the buffer has as many bytes.
            unsafe { self.queue.enqueue_write_buffer(buffer, CL_BLOCKING, 0, input.bytes(), &[]) }
                .map_err(failed("an input is not written"))?;
        }
        let mut events = Vec::new();
        for launch in &self.launches {
            let event = self.enqueue(launch)?;
            if compiled.profile {
                events.push((launch.node, event));
            }
        }
        for (output, &place) in outputs.iter_mut().zip(&compiled.plan.outputs) {
            let Some(buffer) = self.buffer(place) else { continue };
            let bytes = output.bytes_mut();
            if bytes.is_empty() {
                continue;
            }
            // SAFETY: blocking, so that the slice is written by this call; the buffer has at least as many bytes.
            unsafe { self.queue.enqueue_read_buffer(buffer, CL_BLOCKING, 0, bytes, &[]) }
                .map_err(failed("an output is not read"))?;
        }
        self.queue.finish().map_err(failed("the queue does not finish"))?;
        if compiled.profile {
            self.times.fill(0);
            for (node, event) in events {
                let unknown = failed("a kernel's time is not known");
                let start = event.profiling_command_start().map_err(&unknown)?;
                let end = event.profiling_command_end().map_err(&unknown)?;
                if let Some(total) = self.times.get_mut(node) {
                    *total += end.saturating_sub(start);
                }
            }
        }
        Ok(())
    }

    fn node_times(&self) -> Option<&[u64]> {
        self.compiled.profile.then_some(&self.times)
    }
}
