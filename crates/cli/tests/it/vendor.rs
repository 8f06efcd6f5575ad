//! The page that takes a vendor from an empty folder to a passing report, word for word.

use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::program::Folder;

#[test]
fn the_vendors_quickstart_does_what_it_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vendor/quickstart.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut commands = page.split("```");
    let commands = commands.nth(1).expect("the page has a block of commands").trim();
    assert_eq!(commands.lines().count(), 7, "{commands}");
    for tool in ["make", "cc"] {
        if Command::new(tool).arg("--version").output().is_err() {
            fewbit_testing::skip!("the vendor's quickstart needs `{tool}`");
        }
    }
    let Some(conformance) = fewbit_testing::program("fewbit-conformance", "conformance") else { return };

    // The two programs and the system's own are all that commands find.
    let folder = Folder::new();
    let (programs, work) = (folder.0.join("bin"), folder.0.join("work"));
    std::fs::create_dir(&programs).unwrap();
    std::fs::create_dir(&work).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_fewbit"), programs.join("fewbit")).unwrap();
    std::fs::copy(conformance, programs.join("conformance")).unwrap();
    let done = Command::new("sh")
        .args(["-e", "-c", commands])
        .current_dir(&work)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .env("HOME", &work)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}\n{}", String::from_utf8_lossy(&done.stderr));
    for (report, profile) in [("report-core", "core"), ("report", "int8-static")] {
        let report = std::fs::read_to_string(work.join("tiny-npu").join(report).join("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["verdict"]["conforms"], true, "{}", report["verdict"]);
        assert_eq!(report["profile"]["name"], profile);
    }
    assert!(text.contains("tiny-npu"), "{text}");
}

/// Runs the program with a data folder of its own.
fn data(arguments: &[&str], data: &Path) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_fewbit"))
        .args(arguments)
        .env("XDG_DATA_HOME", data)
        .env("HOME", data)
        .current_dir(data)
        .output()
        .expect("the program starts")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the sample runs in a process of its own.
fn is_isolated(plugins: &str, folder: &Path) -> bool {
    let output = data(&["backends", "--plugin-dir", plugins, "--format", "json"], folder);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = value["backends"].as_array().unwrap();
    let sample = rows.iter().find(|row| row["device"] == "sample-c").unwrap_or_else(|| panic!("{value}"));
    sample["detail"].as_str().unwrap().ends_with(", isolated")
}

#[test]
fn only_a_verified_report_of_exactly_this_library_lets_a_plugin_into_the_process() {
    let Some(manifest) = fewbit_testing::plugin("sample-c") else { return };
    let Some(conformance) = fewbit_testing::program("fewbit-conformance", "conformance") else { return };
    let folder = Folder::new();
    let at = |name: &str| folder.0.join(name);
    for name in ["sample-c.backend.toml", "libsample_c.so"] {
        std::fs::copy(manifest.with_file_name(name), at(name)).unwrap();
    }
    let (plugins, home) = (folder.path(""), Folder::new());
    let report = |out: &str, more: &[&str]| {
        let mut command = Command::new(&conformance);
        command.args(["run", "--profile", "core", "--manifest"]).arg(at("sample-c.backend.toml"));
        let done = command.arg("--out").arg(at(out)).args(more).output().unwrap();
        assert!(at(out).join("report.json").exists(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let trust = |report: &str| {
        let report = folder.path(report);
        let done = data(&["plugins", "trust", "sample-c", &report, "--plugin-dir", &plugins], &home.0);
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let refused = |report: &str, code: &str, exit: i32| {
        let (found, text) = trust(report);
        assert!(
            text.contains(&format!("error[{code}]")) && found == Some(exit),
            "{report}: {found:?} {text}"
        );
        assert!(is_isolated(&plugins, &home.0), "{report}");
    };
    report("report", &[]);
    report("part", &["--filter", "abi/**"]);

    // A passing report that merely lies beside the library allows nothing.
    assert!(is_isolated(&plugins, &home.0));
    refused("nowhere", "FILE", 2);
    refused("part", "TRUST", 1);
    let text = std::fs::read_to_string(at("report/report.json")).unwrap();
    std::fs::write(at("report/report.json"), text.replacen("\"passed\"", "\"waived\"", 1)).unwrap();
    refused("report", "KIT-TAMPERED", 1);
    std::fs::write(at("report/report.json"), &text).unwrap();

    assert_eq!(trust("report"), (Some(0), String::new()));
    assert!(!is_isolated(&plugins, &home.0), "a verified report lets it in");
    assert!(is_isolated(&plugins, &folder.0), "only for the user who verified it");

    // The report changes, and is what it was again.
    std::fs::write(at("report/report.json"), format!("{text} ")).unwrap();
    assert!(is_isolated(&plugins, &home.0), "a changed report allows nothing");
    std::fs::write(at("report/report.json"), &text).unwrap();
    assert!(!is_isolated(&plugins, &home.0));

    // Trust is taken back, and given again.
    let forget = ["plugins", "trust", "sample-c", "--forget", "--plugin-dir", &plugins];
    assert_eq!(data(&forget, &home.0).status.code(), Some(0));
    assert!(is_isolated(&plugins, &home.0), "trust was taken back");
    assert_eq!(data(&forget, &home.0).status.code(), Some(3), "there is none any more");
    assert_eq!(trust("report").0, Some(0));

    // Another library under the same name, with a manifest that is right about it: a trailing byte harms no loader.
    let mut library = std::fs::read(at("libsample_c.so")).unwrap();
    let old = sha256(&library);
    library.push(0);
    std::fs::remove_file(at("libsample_c.so")).unwrap();
    std::fs::write(at("libsample_c.so"), &library).unwrap();
    let written = std::fs::read_to_string(at("sample-c.backend.toml")).unwrap();
    let written = written.replace(&old, &sha256(&library));
    std::fs::write(at("sample-c.backend.toml"), written).unwrap();
    assert!(is_isolated(&plugins, &home.0), "a changed library is another one");
    refused("report", "KIT-TAMPERED", 1);
}
