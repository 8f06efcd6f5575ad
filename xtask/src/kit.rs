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
const FOLDERS: [(&str, &str); 5] = [
    ("crates/abi/include/fewbit", "include/fewbit"),
    ("crates/conformance/profiles", "profiles"),
    ("docs/vendor", "docs"),
    ("plugins/sample-c", "samples/sample-c"),
    ("plugins/sample-cpp", "samples/sample-cpp"),
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
    files.insert("LICENSE".to_owned(), read(&root.join("LICENSE"))?);
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
is needed but a C compiler and make.

```
tar xzf @NAME@.tar.gz
cd @NAME@
make -C samples/sample-c
bin/conformance run --manifest samples/sample-c/build/sample-c.backend.toml --profile int8-static --out report
bin/conformance verify report --library samples/sample-c/build/libsample_c.so
```

- `include/fewbit`: the ABI in C (`plugin.h`, `ext.h`), and C++11 over it (`plugin.hpp`).
- `samples`: the same backend in C and in C++; `make` builds the library and its manifest. Copy one, rename it, and
  replace one kernel after the other by a call of your device. The sample in Rust lies in fewbit's repository, beside
  the crate it is written with.
- `docs`: the ABI, the operators and their arithmetic, the kit, porting from ONNX Runtime and TensorFlow Lite.
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
        "sha256": hashes,
    });
    Ok(format!("{index:#}\n").into_bytes())
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
