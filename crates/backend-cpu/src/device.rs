//! The backend and its one device: this machine's processor at a kernel tier.

use std::sync::Arc;

use fewbit_core::backend::{
    Availability, Backend, CompileOptions, Device, DeviceInfo, Executable, TensorSpec,
};
use fewbit_core::capability::{Capability, Reason, Verdict, reasons};
use fewbit_core::error::Result;
use fewbit_core::infer;
use fewbit_core::ir::{Graph, ValueId};
use fewbit_kernels::{TIER_VARIABLE, Tier, TierToken};

use crate::compile::{Compiler, gap, widened};
use crate::execute::CpuExecutable;
use crate::threads::Threads;

/// The backend of this machine's processor.
#[derive(Debug, Clone)]
pub struct CpuBackend {
    token: TierToken,
}

impl Default for CpuBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuBackend {
    /// With the best tier this machine has, or the one that the environment limits it to (see [`TIER_VARIABLE`]); a
    /// name that is no tier is ignored with a warning.
    pub fn new() -> Self {
        let limit = std::env::var(TIER_VARIABLE).ok().and_then(|text| {
            text.parse().inspect_err(|error| tracing::warn!("{TIER_VARIABLE} is ignored: {error}")).ok()
        });
        Self { token: TierToken::best(limit) }
    }

    /// With one tier, or `None` where this machine lacks it.
    pub fn with_tier(tier: Tier) -> Option<Self> {
        TierToken::new(tier).map(|token| Self { token })
    }

    /// The device.
    pub fn device(&self) -> CpuDevice {
        CpuDevice {
            token: self.token,
            info: DeviceInfo {
                id: "cpu".to_owned(),
                title: processor_name(),
                detail: format!("{} kernels", self.token.tier()),
            },
        }
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn availability(&self) -> Availability {
        Availability::Present
    }

    fn devices(&self) -> Result<Vec<Arc<dyn Device>>> {
        Ok(vec![Arc::new(self.device())])
    }
}

/// This machine's processor at a kernel tier.
#[derive(Debug, Clone)]
pub struct CpuDevice {
    token: TierToken,
    info: DeviceInfo,
}

impl CpuDevice {
    /// The tier of its kernels.
    pub fn tier(&self) -> Tier {
        self.token.tier()
    }
}

impl Device for CpuDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Result<Capability> {
        crate::capability::document(&self.info.title, self.token.tier())
    }

    fn supports(&self, program: &Graph) -> Result<Vec<Verdict>> {
        infer::require_fixed_where_known(program)?;
        let tier = self.token.tier();
        Ok(program
            .nodes()
            .map(|(_, node)| {
                if let Some(error) = node.unsupported() {
                    return Verdict::refused(vec![Reason::unsupported(&error)]);
                }
                let Some(message) = gap(program, node) else {
                    let Some(message) = widened(program, node) else {
                        return Verdict::native(format!("cpu-{tier}"));
                    };
                    let code = reasons::EMULATED.to_owned();
                    let reason = Reason { code, rule: None, message, fix: None };
                    return Verdict::emulated("cpu-small-storage", vec![reason]);
                };
                let reason = Reason { code: reasons::EMULATED.to_owned(), rule: None, message, fix: None };
                Verdict::emulated("cpu-reference", vec![reason])
            })
            .collect())
    }

    fn compile(&self, program: &Graph, options: &CompileOptions) -> Result<Arc<dyn Executable>> {
        infer::require_fixed(program)?;
        if let Some(error) = program.nodes().find_map(|(_, node)| node.unsupported()) {
            return Err(error);
        }
        let graph = Arc::new(program.clone());
        let spec = |&id: &ValueId| -> Result<TensorSpec> {
            let value = graph.value(id);
            match (value.dtype, value.extents()) {
                (Some(dtype), Some(extents)) => {
                    Ok(TensorSpec { name: value.name.clone(), dtype, extents, quant: value.quant.clone() })
                }
                _ => Err(crate::compile::untyped(value)),
            }
        };
        let inputs = graph.inputs.iter().map(spec).collect::<Result<_>>()?;
        let outputs = graph.outputs.iter().map(spec).collect::<Result<_>>()?;
        let compiled = Compiler::compile(&graph, self.token)?;
        Ok(Arc::new(CpuExecutable {
            compiled,
            inputs,
            outputs,
            token: self.token,
            threads: Threads::new(options.threads)?,
            profile: options.profile,
        }))
    }
}

/// What the operating system calls the processor.
fn processor_name() -> String {
    let name = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    name.unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
}
