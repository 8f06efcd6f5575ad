//! Contexts: runs over tensors whose descriptions belong to the host.
//!
//! Descriptions are written again for every run, so that what a plugin writes into them decides nothing.

use std::ptr::NonNull;
use std::sync::Arc;

use fewbit_abi as abi;

use super::{ExecutableHandle, call, object};
use crate::error::{PluginError, PluginErrorKind, Result};
use crate::program::Program;

/// The inputs and outputs of a program: which value, and its extents.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Slots {
    pub(crate) inputs: Vec<SlotOf>,
    pub(crate) outputs: Vec<SlotOf>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SlotOf {
    pub(crate) value: u32,
    pub(crate) dims: Vec<i64>,
    /// Bytes of the tensor.
    pub(crate) bytes: usize,
}

impl Slots {
    /// Inputs, then outputs.
    fn all(&self) -> impl Iterator<Item = &SlotOf> {
        self.inputs.iter().chain(&self.outputs)
    }

    /// Those of a program whose extents are all known.
    pub(crate) fn of(program: &Program) -> Self {
        let slot = |&value: &u32| {
            let described = &program.values[value as usize];
            let elements: i64 = described.dims.iter().product();
            let bits = elements as usize * usize::from(described.bits);
            SlotOf { value, dims: described.dims.clone(), bytes: bits.div_ceil(8) }
        };
        Self {
            inputs: program.inputs.iter().map(slot).collect(),
            outputs: program.outputs.iter().map(slot).collect(),
        }
    }
}

/// Descriptions of the tensors of one run, so that a run allocates nothing.
struct Tensors {
    /// Inputs first.
    described: Vec<abi::Tensor>,
    /// Pointers to them.
    list: Vec<*mut abi::Tensor>,
}

fn describe(slot: &SlotOf, data: *mut std::ffi::c_void) -> abi::Tensor {
    abi::Tensor {
        struct_size: size_of::<abi::Tensor>() as u32,
        value: slot.value,
        data,
        byte_len: slot.bytes,
        dims: slot.dims.as_ptr(),
        byte_strides: std::ptr::null(),
        rank: slot.dims.len() as u32,
        memory: 0,
    }
}

/// The scratch of one run at a time.
pub(crate) struct ContextHandle {
    executable: Arc<ExecutableHandle>,
    raw: NonNull<abi::Context>,
    slots: Slots,
    tensors: Tensors,
}

// SAFETY: a context may be used from any thread, one at a time, which `&mut` upholds.
unsafe impl Send for ContextHandle {}

impl ExecutableHandle {
    pub(crate) fn context(self: &Arc<Self>, slots: Slots) -> Result<ContextHandle> {
        let mut context = std::ptr::null_mut();
        // SAFETY: executable, out pointer and error live during the call.
        call(PluginErrorKind::Call, "context_new", |error| unsafe {
            required!(self.api(), context_new)(self.raw.as_ptr(), &raw mut context, error)
        })?;
        let raw = object(context, "context_new")?;
        let described: Vec<abi::Tensor> =
            slots.all().map(|slot| describe(slot, std::ptr::null_mut())).collect();
        let list = vec![std::ptr::null_mut(); described.len()];
        Ok(ContextHandle { executable: Arc::clone(self), raw, slots, tensors: Tensors { described, list } })
    }
}

impl ContextHandle {
    /// Runs on inputs into outputs, both in the program's order and of the bytes that the slots say.
    pub(crate) fn run<'a>(
        &mut self,
        inputs: impl Iterator<Item = &'a [u8]>,
        outputs: impl Iterator<Item = &'a mut [u8]>,
    ) -> Result<()> {
        self.run_described(inputs, outputs, |_, _| {})
    }

    /// As `run`, over descriptions that `change` has changed: it may shorten, never lengthen. It is told which slot each
    /// stands for, inputs first.
    pub(super) fn run_described<'a>(
        &mut self,
        inputs: impl Iterator<Item = &'a [u8]>,
        outputs: impl Iterator<Item = &'a mut [u8]>,
        mut change: impl FnMut(usize, &mut abi::Tensor),
    ) -> Result<()> {
        let wrong = || {
            PluginError::new(PluginErrorKind::Call, "expected tensors of the program's sizes").during("run")
        };
        let n_inputs = self.slots.inputs.len();
        let memory = inputs
            .map(|bytes| (bytes.as_ptr().cast_mut(), bytes.len()))
            .chain(outputs.map(|bytes| (bytes.as_mut_ptr(), bytes.len())));
        let mut given = 0;
        for ((at, slot), (data, len)) in self.slots.all().enumerate().zip(memory) {
            if len != slot.bytes {
                return Err(wrong());
            }
            let tensor = &mut self.tensors.described[at];
            *tensor = describe(slot, data.cast());
            change(at, tensor);
            given += 1;
        }
        if given != self.tensors.list.len() {
            return Err(wrong());
        }
        for (entry, tensor) in self.tensors.list.iter_mut().zip(&mut self.tensors.described) {
            *entry = std::ptr::from_mut(tensor);
        }
        let (ins, outs) = self.tensors.list.split_at(n_inputs);
        let api = self.executable.api();
        // SAFETY: the context is this call's alone; tensors lead to memory of at least the size they say, borrowed for
        // the call, inputs to read and outputs to write.
        call(PluginErrorKind::Call, "run", |error| unsafe {
            required!(api, run)(
                self.raw.as_ptr(),
                ins.as_ptr().cast(),
                ins.len() as u32,
                outs.as_ptr(),
                outs.len() as u32,
                error,
            )
        })
    }

    /// Nanoseconds of each node in the last run, where the plugin tells.
    pub(crate) fn node_times(&mut self, nodes: usize) -> Option<Vec<u64>> {
        let api = self.executable.api();
        let get = api.table.get_extension?;
        // SAFETY: the id ends with NUL; the family of this id has this layout, lives as long as the library, and its
        // function pointer may be null.
        let ask = unsafe {
            let family = get(abi::EXT_PROFILE.as_ptr()).cast::<abi::ExtProfile>();
            if family.is_null()
                || !family.is_aligned()
                || !abi::knows!(abi::ExtProfile, (*family).struct_size, node_times)
            {
                return None;
            }
            (*family).node_times?
        };
        let mut times = vec![0u64; nodes];
        // SAFETY: the context is this call's alone; as many times as nodes live during the call.
        call(PluginErrorKind::Call, "node_times", |error| unsafe {
            ask(self.raw.as_ptr(), times.as_mut_ptr(), nodes as u32, error)
        })
        .ok()?;
        Some(times)
    }
}

impl Drop for ContextHandle {
    fn drop(&mut self) {
        // SAFETY: the context is not used again; its executable is still there.
        unsafe { required!(self.executable.api(), context_free)(self.raw.as_ptr()) }
    }
}
