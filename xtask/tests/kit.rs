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
    let hashes = index["sha256"].as_object().unwrap();
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
        "docs/abi.md",
        "profiles/core.profile",
        "LICENSE",
    ] {
        assert!(hashes.contains_key(file), "{file} is not in the kit");
    }
    fs::remove_dir_all(folder).unwrap();
}
