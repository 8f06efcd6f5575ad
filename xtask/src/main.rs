//! Checks and generators of the workspace: `cargo xtask NAME`.

mod layers;

use std::path::Path;

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
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace's folder")?;
    match Arguments::parse().command {
        Command::Layers => layers::check(root),
    }
}
