//! The backend and its devices: one per adapter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fewbit_core::backend::{
    Availability, Backend, CompileOptions, Device, DeviceInfo, Executable, TensorSpec,
};
use fewbit_core::capability::{Capability, Verdict};
use fewbit_core::error::{CoreError, CoreErrorKind, Result};
use fewbit_core::infer;
use fewbit_core::ir::{Graph, ValueId};

use crate::adapter::{Found, discover};
use crate::arithmetic;
use crate::execute::GpuExecutable;
use crate::lower::{self, Tuning};
use crate::pipelines::Opened;

/// The backend of graphics processors through wgpu.
#[derive(Debug, Clone, Copy, Default)]
pub struct WgpuBackend {
    /// Whether software adapters get the kernels of graphics processors too.
    graphics: bool,
}

impl WgpuBackend {
    /// The backend; drivers are looked for at the first question.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with the kernels that graphics processors get, on programs that play one too: slower there, and a way to
    /// test them without a graphics processor.
    pub fn with_graphics_kernels() -> Self {
        Self { graphics: true }
    }

    /// Adapters that are there and not used: what each is called, and why.
    pub fn refused(&self) -> &'static [(String, String)] {
        &discover().refused
    }
}

impl Backend for WgpuBackend {
    fn name(&self) -> &'static str {
        "wgpu"
    }

    fn availability(&self) -> Availability {
        let found = discover();
        if !found.usable.is_empty() {
            return Availability::Present;
        }
        let reason = if found.refused.is_empty() {
            "no driver of Vulkan, Metal or DX12 has an adapter; on Linux install one, such as Debian's \
             mesa-vulkan-drivers with libvulkan1"
                .to_owned()
        } else {
            let all: Vec<String> =
                found.refused.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
            all.join("; ")
        };
        Availability::Absent { reason }
    }

    fn devices(&self) -> Result<Vec<Arc<dyn Device>>> {
        let usable = discover().usable.iter().enumerate();
        Ok(usable
            .map(|(at, found)| -> Arc<dyn Device> { WgpuDevice::of(at, found, self.graphics) })
            .collect())
    }
}

/// One adapter. It is opened at the first question that needs it, and stays open; all handles share it.
pub struct WgpuDevice {
    info: DeviceInfo,
    found: &'static Found,
    graphics: bool,
    open: Mutex<Option<Ready>>,
}

/// Devices by the number of their adapter and whether they get the kernels of graphics processors.
type Handles = HashMap<(usize, bool), Arc<WgpuDevice>>;

/// An opened adapter and what its arithmetic allows.
#[derive(Clone)]
struct Ready {
    opened: Arc<Opened>,
    tuning: Tuning,
}

impl WgpuDevice {
    /// The one handle of the adapter with these kernels.
    fn of(at: usize, found: &'static Found, graphics: bool) -> Arc<Self> {
        static HANDLES: OnceLock<Mutex<Handles>> = OnceLock::new();
        let handles = HANDLES.get_or_init(Mutex::default);
        let mut handles = handles.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = handles.entry((at, graphics)).or_insert_with(|| {
            let facts = &found.facts;
            let id = if at == 0 { "wgpu".to_owned() } else { format!("wgpu:{at}") };
            let detail = format!("{}, {}", facts.api, facts.driver);
            let info = DeviceInfo { id, title: facts.name.clone(), detail };
            Arc::new(Self { info, found, graphics, open: Mutex::new(None) })
        });
        Arc::clone(handle)
    }

    /// The opened adapter; opened again where it was lost.
    fn ready(&self) -> Result<Ready> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = open.as_ref().filter(|ready| ready.opened.faults.check().is_ok()) {
            return Ok(ready.clone());
        }
        let opened = Arc::new(Opened::new(self.found)?);
        let exact = arithmetic::is_exact(&opened)?;
        if !exact {
            tracing::warn!("{}: float products do not round to nearest: no 8-bit kernels", self.info.title);
        }
        let facts = &self.found.facts;
        let tuning = Tuning {
            binding_max: facts.limits.max_storage_buffer_binding_size.min(facts.limits.max_buffer_size),
            exact,
            software: facts.is_software() && !self.graphics,
            subgroup: facts.shares().filter(|_| !self.graphics),
        };
        let ready = Ready { opened, tuning };
        *open = Some(ready.clone());
        Ok(ready)
    }
}

impl std::fmt::Debug for WgpuDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WgpuDevice").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Device for WgpuDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Result<Capability> {
        let ready = self.ready()?;
        crate::capability::document(&self.found.facts, ready.tuning, &self.info.id)
    }

    fn supports(&self, program: &Graph) -> Result<Vec<Verdict>> {
        infer::require_fixed_where_known(program)?;
        let ready = self.ready()?;
        Ok(lower::verdicts(program, ready.tuning)
            .into_iter()
            .map(|verdict| match verdict {
                Ok(()) => Verdict::native("wgpu"),
                Err(refused) => Verdict::refused(vec![refused.into()]),
            })
            .collect())
    }

    fn compile(&self, program: &Graph, options: &CompileOptions) -> Result<Arc<dyn Executable>> {
        let ready = self.ready()?;
        let plan = lower::lower(program, ready.tuning)?;
        let spec = |&id: &ValueId| -> Result<TensorSpec> {
            let value = program.value(id);
            match (value.dtype, value.extents()) {
                (Some(dtype), Some(extents)) => {
                    Ok(TensorSpec { name: value.name.clone(), dtype, extents, quant: value.quant.clone() })
                }
                _ => {
                    Err(CoreError::new(CoreErrorKind::Dynamic, "expected a known type and shape")
                        .at(&value.name))
                }
            }
        };
        let inputs = program.inputs.iter().map(spec).collect::<Result<_>>()?;
        let outputs = program.outputs.iter().map(spec).collect::<Result<_>>()?;
        let executable = GpuExecutable::new(ready.opened, plan, inputs, outputs, options.profile)?;
        Ok(Arc::new(executable))
    }
}
