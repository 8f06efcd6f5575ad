//! Running: executables and their contexts.

use std::sync::Arc;
use std::time::Instant;

use fewbit_core::backend::{Context, Executable, MemoryUse, NodeTime, TensorSpec};
use fewbit_core::error::Result;
use fewbit_core::ir::{DType, Tensor};
use fewbit_core::{CoreError, CoreErrorKind};
use fewbit_kernels::{Scratch, TierToken};

use crate::buffer::{Buffer, Slot};
use crate::compile::Compiled;
use crate::step::{Sources, flip_sign};
use crate::threads::Threads;

/// A compiled program: steps, packed weights and the memory plan, shared by its contexts.
pub(crate) struct CpuExecutable {
    pub(crate) compiled: Compiled,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) token: TierToken,
    pub(crate) threads: Threads,
    pub(crate) profile: bool,
}

impl Executable for CpuExecutable {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse {
            weights: self.compiled.weight_bytes,
            activations: self.compiled.memory.sizes.iter().sum(),
            scratch: self.compiled.scratch_bytes * self.threads.count(),
        }
    }

    fn context(self: Arc<Self>) -> Result<Box<dyn Context>> {
        let buffers = self.compiled.memory.sizes.iter().map(|&bytes| Buffer::zeroed(bytes)).collect();
        let scratch =
            (0..self.threads.count()).map(|_| Scratch::with_capacity(self.compiled.scratch_bytes)).collect();
        let widest = self.compiled.steps.iter().map(|step| step.outputs.len()).max().unwrap_or(0);
        let times = vec![0; if self.profile { self.compiled.steps.len() } else { 0 }];
        Ok(Box::new(CpuContext {
            executable: self,
            buffers,
            scratch,
            taken: Vec::with_capacity(widest),
            times,
        }))
    }
}

struct CpuContext {
    executable: Arc<CpuExecutable>,
    buffers: Vec<Buffer>,
    scratch: Vec<Scratch>,
    /// Output buffers of the running step, taken out of `buffers` so that its inputs can be read meanwhile.
    taken: Vec<Buffer>,
    /// Nanoseconds of each step in the last run.
    times: Vec<u64>,
}

impl Context for CpuContext {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<()> {
        let executable = Arc::clone(&self.executable);
        check("input", &executable.inputs, inputs)?;
        check("output", &executable.outputs, outputs)?;
        let compiled = &executable.compiled;
        for (at, step) in compiled.steps.iter().enumerate() {
            let start = executable.profile.then(Instant::now);
            for slot in &step.outputs {
                self.taken.push(std::mem::take(&mut self.buffers[buffer_of(slot)]));
            }
            let sources = Sources { buffers: &self.buffers, constants: &compiled.constants, inputs };
            let result =
                step.run(executable.token, &sources, &mut self.taken, &executable.threads, &mut self.scratch);
            for (slot, buffer) in step.outputs.iter().zip(self.taken.drain(..)) {
                self.buffers[buffer_of(slot)] = buffer;
            }
            result?;
            if let Some(start) = start {
                self.times[at] = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            }
        }
        let sources = Sources { buffers: &self.buffers, constants: &compiled.constants, inputs };
        for (slot, output) in compiled.outputs.iter().zip(outputs) {
            let bytes = output.bytes_mut();
            bytes.copy_from_slice(sources.bytes(slot));
            if slot.dtype == DType::I8 {
                flip_sign(bytes);
            }
        }
        Ok(())
    }

    fn profile(&self) -> Vec<NodeTime> {
        self.executable
            .compiled
            .steps
            .iter()
            .zip(&self.times)
            .map(|(step, &nanoseconds)| NodeTime {
                node: step.node.clone(),
                kernel: step.kernel.clone(),
                nanoseconds,
            })
            .collect()
    }
}

/// The buffer that a step's output lies in: outputs are never inputs or constants.
fn buffer_of(slot: &Slot) -> usize {
    match slot.place {
        crate::buffer::Place::Buffer(id) => id,
        place => unreachable!("steps write to buffers, not to {place:?}"),
    }
}

/// Refuses tensors that are not what the executable takes.
fn check(what: &str, specs: &[TensorSpec], tensors: &[Tensor]) -> Result<()> {
    let fail = |message: String| Err(CoreError::new(CoreErrorKind::Tensor, message));
    if specs.len() != tensors.len() {
        return fail(format!("expected {} {what}s, found {}", specs.len(), tensors.len()));
    }
    for (spec, tensor) in specs.iter().zip(tensors) {
        if tensor.dtype() != spec.dtype || tensor.extents() != spec.extents {
            return fail(format!(
                "expected {what} `{}` as {}{:?}, found {}{:?}",
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
