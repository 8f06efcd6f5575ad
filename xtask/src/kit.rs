//! `cargo xtask kit`: the archive that a vendor needs, and nothing else of this repository.
//!
//! The same sources and the same `conformance` give the same bytes: names are sorted, times and owners are fixed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Seconds since 1970 of every file: 2020-01-01. `make` compares times, so that 0 would do as well, but some file
/// systems cannot hold it.
const TIME: u64 = 1_577_836_800;

/// Folders of the repository, and where their files lie in the kit.
const FOLDERS: [(&str, &str); 10] = [
    ("crates/abi/include/fewbit", "include/fewbit"),
    ("crates/conformance/profiles", "profiles"),
    ("docs/vendor", "docs/vendor"),
    ("plugins/sample-c", "samples/sample-c"),
    ("plugins/sample-cpp", "samples/sample-cpp"),
    ("plugins/sample-rust", "samples/sample-rust"),
    ("plugins/sample-rust/src", "samples/sample-rust/src"),
    ("crates/plugin-sdk/src", "rust/fewbit-plugin-sdk/src"),
    ("crates/abi/src", "rust/fewbit-abi/src"),
    ("crates/abi/include/fewbit", "rust/fewbit-abi/include/fewbit"),
];

/// Single files of the repository that lie in the kit under the names they have here.
const FILES: [&str; 2] = ["LICENSE", "docs/design/capability.md"];

/// The manifest of a Rust package of the kit: those of the repository inherit from its workspace, which is not there.
fn package(name: &str, more: &str) -> Vec<u8> {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"{}\"\nedition = \"2024\"\nrust-version = \"{}\"\nlicense = \"{}\"\n\
         publish = false\n{more}",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_RUST_VERSION"),
        env!("CARGO_PKG_LICENSE"),
    )
    .into_bytes()
}

/// What the Rust packages of the kit add to their manifests. They need no package of others, so they build without a
/// network.
const PACKAGES: [(&str, &str, &str); 3] = [
    ("rust/fewbit-abi", "fewbit-abi", ""),
    (
        "rust/fewbit-plugin-sdk",
        "fewbit-plugin-sdk",
        "\n[dependencies]\nfewbit-abi = { path = \"../fewbit-abi\" }\n",
    ),
    (
        "samples/sample-rust",
        "fewbit-sample-rust",
        "\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nfewbit-plugin-sdk = { path = \"../../rust/fewbit-plugin-sdk\" }\n\n[workspace]\n",
    ),
];

/// Builds the kit and says where it is.
#[expect(clippy::print_stdout, reason = "says where the archive is")]
pub(crate) fn run(root: &Path, out: Option<PathBuf>, conformance: Option<PathBuf>) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let name = format!("fewbit-kit-{version}-{target}");
    let conformance = match conformance {
        Some(program) => program,
        None => build(root)?,
    };
    let mut files = BTreeMap::new();
    for (from, to) in FOLDERS {
        collect(&root.join(from), to, &mut files)?;
    }
    for name in FILES {
        files.insert(name.to_owned(), read(&root.join(name))?);
    }
    for (folder, name, more) in PACKAGES {
        files.insert(format!("{folder}/Cargo.toml"), package(name, more));
    }
    files.insert("README.md".to_owned(), README.replace("@NAME@", &name).into_bytes());
    files.insert(PROGRAM.to_owned(), read(&conformance)?);
    files.insert("kit.json".to_owned(), index(root, version, &target, &files)?);
    let bytes = archive(&name, &files)?;
    let out = out.unwrap_or_else(|| root.join("target").join(format!("{name}.tar.gz")));
    fs::write(&out, &bytes).with_context(|| format!("{}", out.display()))?;
    println!("{}: {} files, {:.1} MB", out.display(), files.len(), bytes.len() as f64 / 1e6);
    Ok(())
}

/// Where the kit's program lies in it.
const PROGRAM: &str = "bin/conformance";

/// What the kit's front page says.
const README: &str = "\
# Vendor kit of fewbit

Headers, samples, the documents and the program `conformance`, with which a backend is written and proven; nothing else
is needed but a C compiler and make, or for Rust its compiler and cargo, without a network.

```
tar xzf @NAME@.tar.gz
cd @NAME@
make -C samples/sample-c
bin/conformance run --manifest samples/sample-c/build/sample-c.backend.toml --profile int8-static --out report
bin/conformance verify report --library samples/sample-c/build/libsample_c.so
```

- `include/fewbit`: the ABI in C (`plugin.h`, `ext.h`), and C++11 over it (`plugin.hpp`).
- `samples`: the same backend in C, C++ and Rust; `make` builds the library and its manifest. Copy one, rename it, and
  replace one kernel after the other by a call of your device.
- `rust`: the crate that the sample in Rust is written with, and the ABI in Rust below it.
- `docs/vendor`: the ABI, the operators and their arithmetic, the kit, porting from ONNX Runtime and TensorFlow Lite;
  `docs/design/capability.md`: the document in which a backend says what it can do.
- `profiles`: what a claim means, line by line.
- `kit.json`: versions, and the SHA-256 of every file.
";

fn build(root: &Path) -> Result<PathBuf> {
    let target = root.join("target");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--package", "fewbit-conformance", "--bin", "conformance"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root)
        .status()
        .context("cargo build")?;
    if !status.success() {
        bail!("conformance does not build");
    }
    Ok(target.join("release/conformance"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{}", path.display()))
}

/// The files of a folder; folders inside it, such as what was built there, are not the kit's.
fn collect(folder: &Path, to: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name();
            let name =
                name.to_str().with_context(|| format!("{} has no plain name", entry.path().display()))?;
            files.insert(format!("{to}/{name}"), read(&entry.path())?);
        }
    }
    Ok(())
}

/// `kit.json`.
fn index(root: &Path, version: &str, target: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let header = fs::read_to_string(root.join("crates/abi/include/fewbit/plugin.h"))?;
    let number = |name: &str| -> Result<u32> {
        let line = header.lines().find_map(|line| line.strip_prefix(&format!("#define {name} ")));
        let line = line.with_context(|| format!("plugin.h does not define {name}"))?;
        line.trim().trim_end_matches('u').parse().with_context(|| format!("{name} is no number: {line}"))
    };
    let hashes: BTreeMap<&str, String> = files
        .iter()
        .map(|(name, bytes)| {
            (name.as_str(), Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
        })
        .collect();
    let index = json!({
        "kit": version,
        "abi": { "major": number("FEWBIT_ABI_MAJOR")?, "minor": number("FEWBIT_ABI_MINOR")? },
        "target": target,
        "triple": triple()?,
        "sha256": hashes,
    });
    Ok(format!("{index:#}\n").into_bytes())
}

/// The machine that `conformance` is built for, as Rust names it.
fn triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("expected `rustc -vV` to name its host")?.to_owned())
}

fn archive(name: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    // No name and no time in the compressed file's head.
    let encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    let mut archive = tar::Builder::new(encoder);
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(if path == PROGRAM { 0o755 } else { 0o644 });
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, format!("{name}/{path}"), bytes.as_slice())?;
    }
    Ok(archive.into_inner()?.finish()?)
}
