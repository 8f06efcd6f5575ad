//! The vendor kit: its README is followed in an empty folder, and two builds are one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

fn done(output: &Output) -> String {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

fn kit(out: &Path, conformance: &Path) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("kit").arg("--out").arg(out).arg("--conformance").arg(conformance);
    done(&command.output().unwrap());
    fs::read(out).unwrap()
}

#[test]
fn the_kit_stands_alone() {
    for tool in ["make", "cc", "tar"] {
        if Command::new(tool).arg("--version").output().is_err() {
            fewbit_testing::skip!("the vendor kit's README needs `{tool}`");
        }
    }
    let Some(conformance) = fewbit_testing::program("fewbit-conformance", "conformance") else { return };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kit-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let first = kit(&folder.join("kit.tar.gz"), &conformance);
    assert_eq!(
        kit(&folder.join("again.tar.gz"), &conformance),
        first,
        "the same sources make the same archive"
    );

    let name = format!(
        "fewbit-kit-{}-{}-{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS
    );
    fs::rename(folder.join("kit.tar.gz"), folder.join(format!("{name}.tar.gz"))).unwrap();
    // The README's commands; `core` has the same steps in less time.
    let mut tar = Command::new("tar");
    tar.args(["xzOf", &format!("{name}.tar.gz"), &format!("{name}/README.md")]).current_dir(&folder);
    let page = done(&tar.output().unwrap());

    let page =
        page.split("```").nth(1).expect("the README has a block of commands").replace("int8-static", "core");
    assert_eq!(page.trim().lines().count(), 5, "{page}");
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &page]).current_dir(&folder).env_clear().env("PATH", "/usr/bin:/bin");
    let text = done(&shell.output().unwrap());
    assert!(text.contains("conforms"), "{text}");

    let root = folder.join(name);
    let index: serde_json::Value = serde_json::from_slice(&fs::read(root.join("kit.json")).unwrap()).unwrap();
    assert_eq!(index["kit"], env!("CARGO_PKG_VERSION"));
    assert_eq!(index["abi"]["major"], 1);
    assert!(index["triple"].as_str().is_some_and(|triple| triple.starts_with(std::env::consts::ARCH)));
    let hashes = index["sha256"].as_object().unwrap();
    let own = ["kit.json", "report", "build"];
    for entry in files(&root) {
        let name = entry.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let is_made = own.iter().any(|part| Path::new(&name).components().any(|c| c.as_os_str() == *part));
        assert!(is_made || hashes.contains_key(&name), "{name} has no hash");
    }
    for (file, hash) in hashes {
        let found: String = Sha256::digest(fs::read(root.join(file)).unwrap())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(&found, hash.as_str().unwrap(), "{file}");
    }
    for file in [
        "include/fewbit/plugin.h",
        "samples/sample-cpp/Makefile",
        "samples/sample-rust/Cargo.toml",
        "rust/fewbit-plugin-sdk/src/lib.rs",
        "docs/vendor/abi.md",
        "docs/design/capability.md",
        "profiles/core.profile",
        "LICENSE",
    ] {
        assert!(hashes.contains_key(file), "{file} is not in the kit");
    }
    builds_without_the_repository(&root);
    fs::remove_dir_all(folder).unwrap();
}

/// The samples in other languages build from the kit alone, the one in Rust without a network.
fn builds_without_the_repository(kit: &Path) {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    for (sample, tool, library) in [
        ("sample-cpp", "c++", "libsample_cpp.so"),
        ("sample-rust", cargo.as_str(), "libfewbit_sample_rust.so"),
    ] {
        if Command::new(tool).arg("--version").output().is_err() {
            fewbit_testing::skip!("{sample} of the kit needs `{tool}`");
        }
        let folder = kit.join("samples").join(sample);
        let mut make = Command::new("make");
        make.arg("-C").arg(&folder).env_remove("MAKEFLAGS").env("CARGO_NET_OFFLINE", "true");
        done(&make.env_remove("CARGO_TARGET_DIR").output().unwrap());
        assert!(folder.join("build").join(library).is_file(), "{sample}");
        assert!(folder.join(format!("build/{sample}.backend.toml")).is_file(), "{sample}");
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}
