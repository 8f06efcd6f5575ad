//! The layering test: who may import whom, and where unsafe code may live.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// For each crate of ours, the crates of ours that it may import outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("fewbit-abi", &[]),
    ("fewbit-plugin-sdk", &["fewbit-abi"]),
    ("fewbit-plugin-host", &["fewbit-core", "fewbit-abi"]),
    (
        "fewbit-conformance",
        &["fewbit-core", "fewbit-plugin-host", "fewbit-backend-cpu", "fewbit-backend-gpu-wgpu"],
    ),
    ("fewbit-sample-rust", &["fewbit-plugin-sdk"]),
    ("fewbit-opencl", &["fewbit-plugin-sdk"]),
    ("fewbit-core", &[]),
    ("fewbit-kernels", &[]),
    ("fewbit-onnx", &["fewbit-core"]),
    ("fewbit-tflite", &["fewbit-core"]),
    ("fewbit-calibrate", &["fewbit-core"]),
    ("fewbit-report", &["fewbit-core", "fewbit-calibrate"]),
    ("fewbit-runtime", &["fewbit-core"]),
    ("fewbit-backend-cpu", &["fewbit-core", "fewbit-kernels"]),
    ("fewbit-backend-gpu-wgpu", &["fewbit-core"]),
    ("fewbit-testing", &["fewbit-core"]),
    (
        "fewbit-cli",
        &[
            "fewbit-core",
            "fewbit-onnx",
            "fewbit-tflite",
            "fewbit-calibrate",
            "fewbit-report",
            "fewbit-runtime",
            "fewbit-plugin-host",
            "fewbit-conformance",
            "fewbit-backend-cpu",
            "fewbit-backend-gpu-wgpu",
        ],
    ),
    (
        "fewbit-benches",
        &[
            "fewbit-core",
            "fewbit-onnx",
            "fewbit-calibrate",
            "fewbit-runtime",
            "fewbit-backend-cpu",
            "fewbit-kernels",
        ],
    ),
    ("xtask", &[]),
];

/// Crates in which modules may lift the ban on unsafe code.
const UNSAFE: &[&str] = &[
    "crates/kernels",
    "crates/backend-cpu",
    "crates/plugin-host",
    "crates/plugin-sdk",
    // FFI of its own: OpenCL's calls are unsafe.
    "plugins/opencl",
    // Breaks rules on purpose.
    "plugins/faulty",
];

/// Checks both; the error lists every breach.
pub(crate) fn check(root: &Path) -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata's JSON")?;
    let mut breaches = imports(&metadata)?;
    unsafe_modules(root, root, &mut breaches)?;
    if breaches.is_empty() { Ok(()) } else { bail!("layering is broken:\n  {}", breaches.join("\n  ")) }
}

/// Imports that the table does not allow.
fn imports(metadata: &serde_json::Value) -> Result<Vec<String>> {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let packages = metadata["packages"].as_array().context("packages")?;
    let ours: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut breaches = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("name")?;
        let Some(allowed) = allowed.get(name) else {
            breaches.push(format!("{name} is not in the table of xtask/src/layers.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().context("dependencies")? {
            let to = dependency["name"].as_str().context("dependency's name")?;
            let in_tests = dependency["kind"] == "dev";
            if ours.contains(&to) && !in_tests && !allowed.contains(&to) {
                breaches.push(format!("{name} may not import {to}"));
            }
        }
    }
    Ok(breaches)
}

/// Rust files outside [`UNSAFE`] that lift the ban on unsafe code.
fn unsafe_modules(root: &Path, folder: &Path, breaches: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                unsafe_modules(root, &path, breaches)?;
            }
            continue;
        }
        let inside = path.strip_prefix(root).unwrap_or(&path);
        if path.extension().is_some_and(|extension| extension == "rs")
            && !UNSAFE.iter().any(|allowed| inside.starts_with(allowed))
        {
            let text = std::fs::read_to_string(&path)?;
            let lifted = ["expect", "allow"].iter().any(|word| text.contains(&format!("{word}(unsafe_code")));
            if lifted {
                breaches.push(format!("{} lifts the ban on unsafe code", inside.display()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_its_layers() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        check(root).unwrap();
    }

    #[test]
    fn a_forbidden_import_is_a_breach() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "fewbit-kernels", "dependencies": [{ "name": "fewbit-core", "kind": null }] },
            { "name": "fewbit-core", "dependencies": [{ "name": "fewbit-kernels", "kind": "dev" }] },
            { "name": "fewbit-new", "dependencies": [] },
        ] });
        let breaches = imports(&metadata).unwrap();
        assert_eq!(breaches.len(), 2, "{breaches:?}");
        assert!(breaches[0].contains("fewbit-kernels may not import fewbit-core"));
    }
}
