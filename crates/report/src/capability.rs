//! Capability documents as text.

use fewbit_core::capability::{Capability, Support};

use crate::table;

/// A device: its processors, what they run natively, their figures and where each comes from.
pub fn capability(document: &Capability) -> String {
    let mut text = format!(
        "{} ({}, {})\n{}\ntakes {}: {}\n",
        document.title,
        document.name,
        document.vendor,
        document.summary,
        document.artifact.format.name(),
        document.artifact.source
    );
    for note in &document.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    for processor in &document.processors {
        text.push_str(&format!("\nprocessor {} ({})\n", processor.id, processor.source));
        let rules = processor.rules.iter().map(|rule| {
            let precisions: Vec<&str> = rule.precisions.iter().map(|precision| precision.name()).collect();
            let how = if Support::from(rule.support) == Support::Native { "native" } else { "emulated" };
            vec![rule.id.clone(), how.to_owned(), precisions.join(" "), rule.ops.join(" ")]
        });
        text.push_str(&table(&["rule", "runs", "precisions", "operators"], rules));
        text.push('\n');
        let mut figures: Vec<Vec<String>> = Vec::new();
        for roofline in &processor.roofline {
            figures.push(vec![
                format!("{} rate", roofline.precision),
                format!("{} GMAC/s", roofline.gmacs),
                roofline.source.clone(),
            ]);
        }
        for memory in &processor.memories {
            let mut parts = Vec::new();
            parts.extend(memory.bytes.map(|bytes| format!("{bytes} bytes")));
            parts.extend(memory.gbps.map(|gbps| format!("{gbps} GB/s")));
            figures.push(vec![format!("memory {}", memory.name), parts.join(", "), memory.source.clone()]);
        }
        for energy in &processor.energy {
            figures.push(vec![
                format!("{} energy", energy.precision),
                format!("{} pJ/MAC, {} pJ/byte", energy.pj_per_mac, energy.pj_per_byte),
                energy.source.clone(),
            ]);
        }
        if !figures.is_empty() {
            text.push_str(&table(&["figure", "value", "source"], figures));
            text.push('\n');
        }
    }
    text
}
