//! Generates the ONNX types of `crates/onnx` from `onnx.proto`, without protoc.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// What stands above the generated code.
const HEADER: &str = "// Generated from ONNX's onnx.proto by `cargo xtask onnx-types`; do not edit.\n\n";

/// Generates `crates/onnx/src/proto.rs` from `proto`.
pub(crate) fn generate(root: &Path, proto: &Path) -> Result<()> {
    let folder = proto.parent().context("the folder of onnx.proto")?;
    let descriptors = protox::compile([proto], [folder]).context("onnx.proto")?;
    let out = root.join("target").join("onnx-types");
    std::fs::create_dir_all(&out)?;
    let mut config = prost_build::Config::new();
    // Tensor data is kept as slices of the file's buffer; comments would be ONNX's text, which is not ours to carry.
    config.out_dir(&out).bytes(["."]).disable_comments(["."]).skip_protoc_run();
    config.compile_fds(descriptors).context("prost")?;
    let generated = std::fs::read_dir(&out)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .context("prost's output")?;
    let code = std::fs::read_to_string(&generated)?;
    let target = root.join("crates/onnx/src/proto.rs");
    std::fs::write(&target, format!("{HEADER}{code}"))?;
    let formatted =
        std::process::Command::new("rustfmt").args(["--edition", "2024"]).arg(&target).status()?;
    if !formatted.success() {
        bail!("rustfmt refused {}", target.display());
    }
    Ok(())
}
