//! Building the plugins of `plugins/`, for tests that load them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::report_skip;

/// The manifest of a plugin of this repository, built now if it is not already: `sample-c`, `sample-cpp`,
/// `sample-rust`, `opencl`, a `faulty-NAME` of [`faults`] or a `mutation-NAME` of [`mutations`].
///
/// The library lies beside the manifest. Each plugin is built once per process; processes that do it at once wait for
/// each other. `None`, visibly, where the machine has no compiler for it.
///
/// # Panics
/// When there is a compiler and the plugin does not build.
pub fn plugin(name: &str) -> Option<PathBuf> {
    static BUILT: Mutex<Option<HashMap<String, Option<PathBuf>>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let built = built.get_or_insert_default();
    if let Some(manifest) = built.get(name) {
        return manifest.clone();
    }
    let manifest = build(name);
    built.insert(name.to_owned(), manifest.clone());
    manifest
}

/// The variants of `plugins/faulty`, one defect each.
pub fn faults() -> Vec<String> {
    names("faults.txt")
}

/// The variants of `plugins/sample-c` with one wrong piece of arithmetic each.
pub fn mutations() -> Vec<String> {
    names("mutations.txt")
}

/// The first words of the lines of a list in `plugins/faulty`; `#` begins a comment.
fn names(list: &str) -> Vec<String> {
    let path = plugins().join("faulty").join(list);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    // Lines of one name stand together.
    names.dedup();
    names
}

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

/// `target/PROFILE`, in which this test runs.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test.parent().expect("a program lies in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    folder.to_owned()
}

fn build(name: &str) -> Option<PathBuf> {
    // The variants share a folder and the parts that none of them changes.
    let is_variant = ["faulty-", "mutation-"].iter().any(|prefix| name.starts_with(prefix));
    let folder = if is_variant { "faulty" } else { name };
    let out = profile_folder().join("plugins").join(folder);
    let folder = plugins().join(folder);
    fs::create_dir_all(&out).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
    let lock = File::create(out.join(".lock")).expect("the target folder can be written");
    lock.lock().expect("files of the target folder can be locked");
    if folder.join("Cargo.toml").exists() {
        with_cargo(name, &folder, &out)
    } else {
        with_make(name, &folder, &out)
    }
}

fn with_make(name: &str, folder: &Path, out: &Path) -> Option<PathBuf> {
    let compiler = if folder.ends_with("sample-cpp") { "c++" } else { "cc" };
    for tool in ["make", compiler] {
        if Command::new(tool).arg("--version").output().is_err() {
            report_skip(&format!("plugin {name} was not built because there is no `{tool}`"));
            return None;
        }
    }
    let manifest = out.join(format!("{name}.backend.toml"));
    // A jobserver of an outer make is not ours to use.
    let made = Command::new("make")
        .arg("-C")
        .arg(folder)
        .arg(format!("OUT={}", out.display()))
        .arg(&manifest)
        .env_remove("MAKEFLAGS")
        .output();
    check(name, &made.expect("make was there a moment ago"));
    Some(manifest)
}

/// A program of this workspace, built now if it is not already: the package and the name of its binary.
///
/// `None`, visibly, where there is no `cargo`.
///
/// # Panics
/// When it does not build.
pub fn program(package: &str, binary: &str) -> Option<PathBuf> {
    let built = profile_folder().join(binary);
    // Tests of the whole workspace built it already, with the features that all packages together ask for: building it
    // alone would compile most of what it depends on once more.
    if is_newer(&built, &plugins().join("../crates")) == Some(true) {
        return Some(built);
    }
    let profile = cargo_build(package, Path::new(env!("CARGO_MANIFEST_DIR")))?;
    Some(profile.join(binary))
}

/// Whether a file is newer than all sources below a folder; `None` where something cannot be read.
fn is_newer(file: &Path, folder: &Path) -> Option<bool> {
    let built = fs::metadata(file).ok()?.modified().ok()?;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if entry.metadata().ok()?.modified().ok()? > built {
                return Some(false);
            }
        }
    }
    Some(true)
}

/// Builds a package beside the test itself, so that nothing is compiled twice, and says where.
fn cargo_build(package: &str, folder: &Path) -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    if Command::new(&cargo).arg("--version").output().is_err() {
        report_skip(&format!("{package} was not built because there is no `cargo`"));
        return None;
    }
    let profile = profile_folder();
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--package", package, "--target-dir"]);
    command.arg(profile.parent().expect("the profile's folder lies in the target folder"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    check(package, &command.current_dir(folder).output().expect("cargo was there a moment ago"));
    Some(profile)
}

fn with_cargo(name: &str, folder: &Path, out: &Path) -> Option<PathBuf> {
    let profile = cargo_build(&format!("fewbit-{name}"), folder)?;
    let library = format!("libfewbit_{}.so", name.replace('-', "_"));
    let bytes = fs::read(profile.join(&library)).expect("cargo built a cdylib");
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let template = folder.join(format!("{name}.backend.toml.in"));
    let template =
        fs::read_to_string(&template).unwrap_or_else(|error| panic!("{}: {error}", template.display()));
    let text = template
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@LIBRARY@", &library)
        .replace("@ARCH@", std::env::consts::ARCH)
        .replace("@SHA256@", &sha256);
    let manifest = out.join(format!("{name}.backend.toml"));
    replace(&out.join(&library), &bytes);
    replace(&manifest, text.as_bytes());
    Some(manifest)
}

/// Writes a file whole or not at all, and leaves one with these bytes alone.
fn replace(path: &Path, bytes: &[u8]) {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return;
    }
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap_or_else(|error| panic!("{}: {error}", new.display()));
    fs::rename(&new, path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[track_caller]
fn check(name: &str, output: &Output) {
    assert!(
        output.status.success(),
        "plugin {name} does not build:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_listed_and_built() {
        let (faults, mutations) = (faults(), mutations());
        assert!(faults.len() >= 30 && mutations.len() >= 30, "{} and {}", faults.len(), mutations.len());
        for names in [&faults, &mutations] {
            assert_eq!(
                names.iter().collect::<std::collections::BTreeSet<_>>().len(),
                names.len(),
                "{names:?}"
            );
        }
        for name in ["faulty-overrun", "faulty-lying-operator", "mutation-second-operand-transposed"] {
            let Some(manifest) = plugin(name) else { return };
            assert!(manifest.exists(), "{name}");
            assert!(manifest.with_file_name(format!("lib{name}.so")).exists(), "{name}");
        }
    }

    #[test]
    fn the_sample_in_c_is_built_with_its_hash() {
        let Some(manifest) = plugin("sample-c") else { return };
        let text = fs::read_to_string(&manifest).unwrap();
        let library = fs::read(manifest.with_file_name("libsample_c.so")).unwrap();
        let sha256: String = Sha256::digest(&library).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(text.contains(&format!("sha256   = \"{sha256}\"")), "{text}");
        assert!(text.contains("library  = \"libsample_c.so\""), "{text}");
        assert!(!text.contains("@SHA256@"), "{text}");
    }
}
