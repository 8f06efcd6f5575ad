//! The page that takes a vendor from an empty folder to a passing report, word for word.

use std::path::Path;
use std::process::Command;

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
