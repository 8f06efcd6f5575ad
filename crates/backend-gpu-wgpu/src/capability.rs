//! The capability document of an adapter: rules that hold on each, and what this one says of itself.

use fewbit_core::capability::{Capability, Holds, Memory, ProcessorKind};
use fewbit_core::error::Result;
use wgpu::{DeviceType, Features};

use crate::adapter::Facts;
use crate::lower::Tuning;

/// What kernels cover on every adapter whose arithmetic is exact.
const RULES: &str = include_str!("capability.toml");

/// The document of an adapter that is called `id` on the command line.
pub(crate) fn document(facts: &Facts, tuning: Tuning, id: &str) -> Result<Capability> {
    let mut document = Capability::from_toml(RULES, "crates/backend-gpu-wgpu/src/capability.toml")?;
    document.name = id.replace(':', "-");
    document.title = format!("{} by {}", facts.name, facts.api);
    document.vendor = if facts.driver.is_empty() { facts.api.clone() } else { facts.driver.clone() };
    let has = |feature: Features| if facts.features.contains(feature) { "yes" } else { "no" };
    let limits = &facts.limits;
    document.notes = vec![
        format!("{}, driver {}; a {}", facts.api, facts.driver, kind_name(facts.kind)),
        format!(
            "16-bit floats: {}; subgroups: {} ({} to {}); time stamps: {}; cooperative matrices: {}",
            has(Features::SHADER_F16),
            has(Features::SUBGROUP),
            facts.subgroup.0,
            facts.subgroup.1,
            has(Features::TIMESTAMP_QUERY),
            has(Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
        ),
        // naga compiles dot4I8Packed to one instruction where the driver has one; WebGPU has no way to ask.
        "packed products of four codes by dot4I8Packed: the driver's instruction where it has one, else bytes \
         one by one, with the same result"
            .to_owned(),
        format!(
            "bindings of at most {} bytes, workgroups of at most {} invocations with {} bytes of memory",
            tuning.binding_max,
            limits.max_compute_invocations_per_workgroup,
            limits.max_compute_workgroup_storage_size
        ),
    ];
    for processor in &mut document.processors {
        document.name.clone_into(&mut processor.id);
        processor.kind = if facts.is_software() { ProcessorKind::Cpu } else { ProcessorKind::Gpu };
        processor.source = format!("{} {}, driver {}", facts.api, facts.name, facts.driver);
        if !tuning.exact {
            document.notes.push("float products do not round to nearest here: no 8-bit kernels".to_owned());
            processor.rules.retain(|rule| rule.activations.is_none());
            processor.activations = None;
            processor.rate_unknown.retain(|precision| !precision.has_integer_activations());
        }
        // Nothing says how much memory an adapter has; a tensor must fit into one binding.
        processor.memories = vec![Memory {
            name: "device".to_owned(),
            bytes: None,
            gbps: None,
            holds: vec![Holds::Weights, Holds::Activations],
            must_fit: false,
            source: "wgpu does not tell".to_owned(),
        }];
    }
    document.validate()?;
    Ok(document)
}

fn kind_name(kind: DeviceType) -> &'static str {
    match kind {
        DeviceType::DiscreteGpu => "discrete graphics processor",
        DeviceType::IntegratedGpu => "graphics processor beside the processor",
        DeviceType::VirtualGpu => "graphics processor shared with others",
        DeviceType::Cpu => "program on the processor",
        DeviceType::Other => "device of another kind",
    }
}
