//! Checks, generators and the quickstart of the workspace: `cargo xtask NAME`.

mod kit;
mod layers;
#[cfg(feature = "onnx-types")]
mod onnx_types;
mod quickstart;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Checks and generators of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks who imports whom and where unsafe code lives.
    Layers,
    /// Shows the whole path on the model of examples/digits: check, plan, quantize, eval, bench.
    Quickstart,
    /// Makes the archive for vendors: headers, samples, documents and the program `conformance`.
    Kit {
        /// The archive; target/fewbit-kit-VERSION-MACHINE.tar.gz if it is not given.
        #[arg(long)]
        out: Option<PathBuf>,
        /// A `conformance` that was built already; a release build is made if it is not given.
        #[arg(long)]
        conformance: Option<PathBuf>,
    },
    /// Generates the ONNX types from an onnx.proto (needs `--features onnx-types`).
    OnnxTypes {
        /// The file, as the Python package `onnx` carries it.
        proto: PathBuf,
    },
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace's folder")?;
    match Arguments::parse().command {
        Command::Layers => layers::check(root),
        Command::Quickstart => quickstart::run(root),
        Command::Kit { out, conformance } => kit::run(root, out, conformance),
        #[cfg(feature = "onnx-types")]
        Command::OnnxTypes { proto } => onnx_types::generate(root, &proto),
        #[cfg(not(feature = "onnx-types"))]
        Command::OnnxTypes { proto } => anyhow::bail!(
            "this xtask was built without the generator; run `cargo run -p xtask --features onnx-types -- onnx-types {}`",
            proto.display()
        ),
    }
}
