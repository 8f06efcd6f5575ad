//! What this backend's kernels cover, as a capability document.

use fewbit_core::capability::Capability;
use fewbit_core::error::Result;
use fewbit_kernels::Tier;

/// The rules, the same for every tier: a tier decides speed, never what runs or its result.
const RULES: &str = include_str!("capability.toml");

/// The document of the processor called `title` with kernels of `tier`.
pub(crate) fn document(title: &str, tier: Tier) -> Result<Capability> {
    let mut document = Capability::from_toml(RULES, "crates/backend-cpu/src/capability.toml")?;
    title.clone_into(&mut document.title);
    document.notes.push(format!("{tier} kernels"));
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_valid_for_every_tier() {
        let documents: Vec<Capability> =
            Tier::ALL.into_iter().map(|tier| document("a processor", tier).unwrap()).collect();
        assert!(documents.iter().all(|document| document.processors == documents[0].processors));
    }
}
