//! Adapters: finding them, what each says of itself, and why one is refused.

use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use wgpu::{Backends, DeviceType, Features, Limits};

/// Invocations of a workgroup that kernels ask for.
pub(crate) const GROUP: u32 = 64;
/// Storage buffers of a kernel at most: operands read and the one written.
const BUFFERS: u32 = 6;
/// The least storage binding that models can do with: WebGPU's own.
const BINDING: u64 = 128 << 20;

/// What decides kernels and their results, as the adapter says it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub(crate) name: String,
    /// `Vulkan`, `Metal`, `Dx12`.
    pub(crate) api: String,
    pub(crate) driver: String,
    pub(crate) kind: DeviceType,
    pub(crate) features: Features,
    pub(crate) limits: Limits,
    pub(crate) subgroup: (u32, u32),
}

impl Facts {
    fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        Self {
            name: info.name,
            api: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            kind: info.device_type,
            features: adapter.features(),
            limits: adapter.limits(),
            subgroup: (info.subgroup_min_size, info.subgroup_max_size),
        }
    }

    /// Whether this is a program on the processor that plays a graphics device.
    pub(crate) fn is_software(&self) -> bool {
        self.kind == DeviceType::Cpu
    }

    /// The size of subgroups whose lanes tell each other what they load: on processors, where a load is dear.
    pub(crate) fn shares(&self) -> Option<usize> {
        let (least, most) = self.subgroup;
        let known = least == most && [4, 8, 16].contains(&least);
        (self.is_software() && known && self.features.contains(Features::SUBGROUP)).then_some(least as usize)
    }

    /// Why kernels cannot run here; `None` where they can.
    fn lack(&self, computes: bool) -> Option<String> {
        let limits = &self.limits;
        let need = |have: u64, least: u64, what: &str| {
            (have < least).then(|| format!("it allows {have} {what}, and kernels need {least}"))
        };
        if !computes {
            return Some("it runs no compute shaders".to_owned());
        }
        need(
            limits.max_storage_buffers_per_shader_stage.into(),
            BUFFERS.into(),
            "storage buffers of a shader",
        )
        .or_else(|| {
            need(
                limits.max_compute_invocations_per_workgroup.into(),
                GROUP.into(),
                "invocations of a workgroup",
            )
        })
        .or_else(|| need(limits.max_storage_buffer_binding_size, BINDING, "bytes of a storage binding"))
        .or_else(|| need(limits.max_compute_workgroups_per_dimension.into(), 65535, "workgroups"))
    }

    /// The features that are used where they are there.
    pub(crate) fn wanted(&self) -> Features {
        self.features & (Features::TIMESTAMP_QUERY | Features::SHADER_F16 | Features::SUBGROUP)
    }
}

/// An adapter that kernels run on.
pub(crate) struct Found {
    pub(crate) adapter: wgpu::Adapter,
    pub(crate) facts: Facts,
}

/// What the machine has.
pub(crate) struct Discovery {
    /// The usable ones, graphics processors before processors that play one.
    pub(crate) usable: Vec<Found>,
    /// The others, each with the reason.
    pub(crate) refused: Vec<(String, String)>,
}

/// Every adapter of every driver; looked for once in a process.
pub(crate) fn discover() -> &'static Discovery {
    static FOUND: OnceLock<Discovery> = OnceLock::new();
    FOUND.get_or_init(look)
}

fn look() -> Discovery {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
    // Neither validation layers nor debug names: they cost time, and what they find our tests find.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut found = Discovery { usable: Vec::new(), refused: Vec::new() };
    for adapter in wait(instance.enumerate_adapters(Backends::all())) {
        let facts = Facts::of(&adapter);
        let computes =
            adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS);
        match facts.lack(computes) {
            Some(reason) => found.refused.push((format!("{} by {}", facts.name, facts.api), reason)),
            None => found.usable.push(Found { adapter, facts }),
        }
    }
    found.usable.sort_by_key(|found| match found.facts.kind {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    found
}

/// The result of a future that needs nobody to wake it: wgpu's own are ready at once outside browsers.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_that_lacks_something_is_refused_with_what_it_lacks() {
        let facts = Facts {
            name: "a device".to_owned(),
            api: "Vulkan".to_owned(),
            driver: "1".to_owned(),
            kind: DeviceType::Other,
            features: Features::empty(),
            limits: Limits::default(),
            subgroup: (32, 32),
        };
        assert_eq!(facts.lack(true), None);
        assert!(facts.lack(false).unwrap().contains("compute"));
        let mut few = facts.clone();
        few.limits.max_storage_buffers_per_shader_stage = 4;
        assert_eq!(few.lack(true).unwrap(), "it allows 4 storage buffers of a shader, and kernels need 6");
        let mut small = facts;
        small.limits.max_storage_buffer_binding_size = 1 << 20;
        assert!(small.lack(true).unwrap().contains("storage binding"));
    }
}
