//! The capability document: rules that hold on every device, and what this device says of itself.

use fewbit_plugin_sdk::{Error, Result};
use serde_json::{Value, json};

use crate::device::{Facts, Kind, Products, Tuning};

/// The document of a device, `index` counting devices from 0.
pub(crate) fn document(facts: &Facts, tuning: Tuning, index: u32) -> Result<String> {
    let mut document: Value = serde_json::from_str(include_str!("capabilities.json"))
        .map_err(|error| Error::internal(format!("capabilities.json: {error}")))?;
    let name = if index == 0 { "opencl".to_owned() } else { format!("opencl-{index}") };
    let source = format!("{} {}, driver {}", facts.platform, facts.version, facts.driver);
    document["name"] = json!(name);
    document["title"] = json!(format!("{} by OpenCL", facts.name));
    document["vendor"] = json!(facts.vendor);
    let has = |there: bool| if there { "yes" } else { "no" };
    let products = match tuning.products {
        Products::Floats => "in floats, whose sums are exact up to 512 products",
        Products::Packed => "by packed products of four bytes",
    };
    document["notes"] = json!([
        format!("{}: {} compute units", source, facts.compute_units),
        format!(
            "work groups of at most {} items, {} bytes of local memory, buffers of at most {} bytes",
            facts.group_max, facts.local_memory, facts.buffer_max
        ),
        format!(
            "16-bit floats: {}; packed products: {}; subgroups: {}; division that rounds correctly: {}",
            has(facts.fp16),
            has(facts.integer_dot),
            has(facts.subgroups),
            has(facts.exact_divide)
        ),
        format!("integer products are computed {products}; tiles of {} by {}", tuning.rows, tuning.vector),
    ]);
    let processor = &mut document["processors"][0];
    processor["id"] = json!(name);
    processor["kind"] = json!(match facts.kind {
        Kind::Cpu => "cpu",
        Kind::Gpu => "gpu",
        Kind::Other => "npu",
    });
    processor["source"] = json!(source);
    processor["memories"] = json!([{
        "name": "global",
        "bytes": facts.memory,
        "holds": ["weights", "activations"],
        "must_fit": true,
        "source": "CL_DEVICE_GLOBAL_MEM_SIZE",
    }]);
    Ok(document.to_string())
}
