//! The wgpu backend passes its profiles on this machine's first adapter; a software Vulkan device will do.
#![cfg(feature = "wgpu")]

use std::sync::Arc;

use fewbit_conformance::run::{RunOptions, run};
use fewbit_conformance::{Profile, Waivers, devices};

#[test]
fn wgpu_passes_its_profiles() {
    let subject = match devices::builtin("wgpu") {
        Ok(subject) => Arc::new(subject),
        Err(error) => {
            let required = std::env::var("FEWBIT_REQUIRE_WGPU").is_ok_and(|value| value == "1");
            assert!(!required, "FEWBIT_REQUIRE_WGPU=1: {error}");
            fewbit_testing::skip!("there is no graphics adapter: {error}");
        }
    };
    for name in ["core", "int8-static", "float32"] {
        let profile = Profile::named(name).unwrap();
        let waivers = Waivers::parse("", "waivers").unwrap();
        let report = run(&subject, &profile, &waivers, &RunOptions::on("2026-01-31"), &mut |_| {}).unwrap();
        let wrong: Vec<_> = report
            .cases
            .iter()
            .filter(|case| !matches!(case.status.name(), "passed" | "not-applicable" | "refused"))
            .map(|case| format!("{} {}: {}", case.status.name(), case.id, case.message))
            .collect();
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
        assert!(report.verdict.conforms, "{name}: {:?}", report.verdict.reasons);
    }
}
