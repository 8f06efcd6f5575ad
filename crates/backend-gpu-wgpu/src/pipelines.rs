//! An opened device: its queue, the bind group layouts, and pipelines, each compiled once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fewbit_core::error::Result;

use crate::adapter::{Found, wait};
use crate::fault::{Fault, Faults, first_line};
use crate::plan::Shader;

/// How long a run may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A pipeline and the layout that its bind groups have.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// An adapter's device with what is shared by all its executables.
pub(crate) struct Opened {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) faults: Faults,
    pipelines: Mutex<HashMap<Shader, Pipeline>>,
}

impl Opened {
    /// Opens the adapter with all it has: limits as high as they go, and the features that are used.
    pub(crate) fn new(found: &Found) -> Result<Self> {
        let descriptor = wgpu::DeviceDescriptor {
            label: None,
            required_features: found.facts.wanted(),
            required_limits: found.facts.limits.clone(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = wait(found.adapter.request_device(&descriptor))
            .map_err(|error| Fault::Lost(first_line(&error.to_string())))?;
        let faults = Faults::default();
        let reported = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| reported.report_error(&error)));
        let reported = faults.clone();
        device.set_device_lost_callback(move |_, message| {
            reported.report(Fault::Lost(first_line(&message)));
        });
        Ok(Self { device, queue, faults, pipelines: Mutex::default() })
    }

    /// Does `work`; fails with what wgpu finds wrong with it, whatever other threads do meanwhile.
    pub(crate) fn scoped<T>(&self, work: impl FnOnce() -> T) -> std::result::Result<T, Fault> {
        let refused = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let result = work();
        let (internal, memory) = (wait(internal.pop()), wait(memory.pop()));
        let refused = wait(refused.pop());
        // What a lost device makes is invalid, and it says so only when it is asked.
        drop(self.device.poll(wgpu::PollType::Poll));
        self.faults.lost()?;
        if let Some(error) = memory {
            return Err(Fault::Memory(first_line(&error.to_string())));
        }
        match internal.or(refused) {
            Some(error) => Err(Fault::Refused(first_line(&error.to_string()))),
            None => Ok(result),
        }
    }

    /// The pipelines of these shaders, in their order; new ones are compiled by as many threads as there are processors.
    pub(crate) fn pipelines(&self, shaders: &[(Shader, usize)]) -> Result<Vec<Pipeline>> {
        let known = |this: &Self| this.pipelines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let have = known(self);
        let mut missing: Vec<&(Shader, usize)> = Vec::new();
        for wanted in shaders {
            if !have.contains_key(&wanted.0) && !missing.iter().any(|other| other.0 == wanted.0) {
                missing.push(wanted);
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
        let next = std::sync::atomic::AtomicUsize::new(0);
        let compiled: Mutex<Vec<(Shader, std::result::Result<Pipeline, Fault>)>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((shader, reads)) =
                        missing.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                    {
                        let pipeline = self.compile(shader, *reads);
                        let mut done = compiled.lock().unwrap_or_else(PoisonError::into_inner);
                        done.push((shader.clone(), pipeline));
                    }
                });
            }
        });
        let compiled = compiled.into_inner().unwrap_or_else(PoisonError::into_inner);
        {
            let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
            for (shader, pipeline) in compiled {
                pipelines.insert(shader, pipeline?);
            }
        }
        let have = known(self);
        shaders
            .iter()
            .map(|(shader, _)| {
                have.get(shader)
                    .cloned()
                    .ok_or_else(|| Fault::Refused(format!("no pipeline of {}", shader.name)).into())
            })
            .collect()
    }

    fn compile(&self, shader: &Shader, reads: usize) -> std::result::Result<Pipeline, Fault> {
        let compiled = self.scoped(|| {
            let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(&shader.name),
                source: wgpu::ShaderSource::Wgsl(shader.source.as_ref().into()),
            });
            let layout = self.layout(reads);
            let whole = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&shader.name),
                layout: Some(&whole),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Kernels write what they read of workgroup memory.
                    zero_initialize_workgroup_memory: false,
                    ..wgpu::PipelineCompilationOptions::default()
                },
                cache: None,
            });
            Pipeline { pipeline, layout }
        });
        compiled.map_err(|fault| match fault {
            Fault::Refused(message) => Fault::Shader { kernel: shader.name.clone(), message },
            other => other,
        })
    }

    /// The uniform, the operands read, the one written.
    fn layout(&self, reads: usize) -> wgpu::BindGroupLayout {
        let entry = |binding: usize, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
        entries.extend((1..=reads).map(|at| entry(at, wgpu::BufferBindingType::Storage { read_only: true })));
        entries.push(entry(reads + 1, wgpu::BufferBindingType::Storage { read_only: false }));
        self.device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
    }

    /// Waits for a submission.
    pub(crate) fn finish(&self, submission: wgpu::SubmissionIndex) -> std::result::Result<(), Fault> {
        let waited = self
            .device
            .poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(PATIENCE) });
        self.faults.check()?;
        waited.map(drop).map_err(|error| match error {
            wgpu::PollError::Timeout => Fault::Timeout,
            error @ wgpu::PollError::WrongSubmissionIndex(..) => Fault::Refused(error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use fewbit_core::error::CoreErrorKind;

    use super::*;
    use crate::adapter::discover;

    /// A device of its own; `None`, visibly, where there is no adapter.
    fn opened() -> Option<Arc<Opened>> {
        let Some(found) = discover().usable.first() else {
            fewbit_testing::report_skip("there is no graphics adapter");
            return None;
        };
        Some(Arc::new(Opened::new(found).unwrap()))
    }

    #[test]
    fn a_kernel_that_does_not_compile_is_named_and_hurts_no_other() {
        let Some(opened) = opened() else { return };
        let broken = Shader { name: "broken".to_owned(), source: "fn main( {".into() };
        let Err(error) = opened.pipelines(&[(broken, 1)]) else { panic!("it compiles") };
        assert_eq!(error.kind(), CoreErrorKind::Backend);
        assert!(error.to_string().contains("does not compile the kernel broken"), "{error}");
        assert!(crate::arithmetic::is_exact(&opened).is_ok());
    }

    #[test]
    fn what_cannot_be_allocated_is_an_error_of_the_call() {
        let Some(opened) = opened() else { return };
        let result = opened.scoped(|| {
            opened.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: u64::MAX / 4 * 4,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        });
        assert!(matches!(result, Err(Fault::Refused(_) | Fault::Memory(_))), "{:?}", result.err());
        assert_eq!(opened.faults.check(), Ok(()));
    }

    #[test]
    fn a_device_that_is_gone_is_said_to_be_lost() {
        let Some(opened) = opened() else { return };
        assert!(crate::arithmetic::is_exact(&opened).is_ok());
        opened.device.destroy();
        for _ in 0..2 {
            let error = crate::arithmetic::is_exact(&opened).unwrap_err();
            assert!(error.to_string().contains("was lost"), "{error}");
        }
    }
}
