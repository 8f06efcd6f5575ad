//! `docs/errors` and `fewbit explain` say the same about the same codes.
//!
//! `FEWBIT_UPDATE=1 cargo test -p fewbit-cli explained` writes the pages from the tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::program::{fewbit, root};

fn text<'v>(entry: &'v Value, key: &str) -> &'v str {
    entry[key].as_str().unwrap_or_else(|| panic!("no {key} in {entry}"))
}

fn page(entry: &Value) -> String {
    let [code, title, explanation, remedy] =
        ["code", "title", "explanation", "remedy"].map(|key| text(entry, key));
    let place = match text(entry, "kind") {
        "error" => "An error that ends a command.",
        "reason" => "A reason in the verdict on a node (`fewbit check`, plans).",
        "finding" => "A warning of the calibration doctor; the command goes on.",
        other => panic!("unknown kind {other}"),
    };
    format!(
        "# {code}: {title}\n\n{place}\n\n{explanation}\n\n**What to do.** {remedy}\n\n[All codes](README.md)\n"
    )
}

fn index(entries: &[Value]) -> String {
    let mut index = String::from(
        "# Codes\n\nEvery message that can be acted upon carries a stable code. `fewbit explain CODE` prints the same \
         text as the pages here, which are written from the program's own tables.\n\n\
         Exit codes: 0 fine; 1 the answer is no (not deployable, below a threshold); 2 the input or the usage is \
         wrong; 3 a device or plugin is missing or failed; 4 a defect of fewbit.\n",
    );
    for (kind, heading) in [
        ("error", "Errors"),
        ("reason", "Reasons in verdicts"),
        ("finding", "Warnings of the calibration doctor"),
    ] {
        write!(index, "\n## {heading}\n\n| code | about |\n|---|---|\n").expect("a string grows");
        for entry in entries.iter().filter(|entry| text(entry, "kind") == kind) {
            let code = text(entry, "code");
            writeln!(index, "| [{code}]({code}.md) | {} |", text(entry, "title")).expect("a string grows");
        }
    }
    index
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let listed = fewbit(&["explain", "--format", "json"]);
    assert_eq!(listed.exit, 0, "{listed:?}");
    let listed = listed.json();
    let entries = listed["codes"].as_array().expect("a list of codes");
    assert!(entries.len() > 50, "errors, reasons and findings are all listed");
    let mut wanted: BTreeMap<String, String> =
        entries.iter().map(|entry| (format!("{}.md", text(entry, "code")), page(entry))).collect();
    wanted.insert("README.md".to_owned(), index(entries));

    let folder = root().join("docs/errors");
    let update = std::env::var_os("FEWBIT_UPDATE").is_some_and(|value| value == "1");
    if update {
        std::fs::create_dir_all(&folder).expect("a folder for the pages");
        for (name, content) in &wanted {
            std::fs::write(folder.join(name), content).expect("a page is written");
        }
    }
    let hint = "write the pages with FEWBIT_UPDATE=1 cargo test -p fewbit-cli explained";
    for (name, content) in &wanted {
        let found = std::fs::read_to_string(folder.join(name))
            .unwrap_or_else(|error| panic!("docs/errors/{name}: {error}; {hint}"));
        assert_eq!(&found, content, "docs/errors/{name} differs from the table; {hint}");
    }
    for file in std::fs::read_dir(&folder).expect("the pages' folder") {
        let name = file.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(wanted.contains_key(&name), "docs/errors/{name} is about no code: remove it");
    }
}

#[test]
fn a_code_is_explained_in_any_case_and_a_misspelt_one_answered_with_the_nearest() {
    let found = fewbit(&["explain", "cap-stride"]);
    assert_eq!(found.exit, 0, "{found:?}");
    assert!(
        found.stdout.starts_with("CAP-STRIDE: stride\n") && found.stdout.contains("What to do: "),
        "{found:?}"
    );
    let bare = fewbit(&["explain", "CAP", "--format", "json"]);
    assert_eq!(
        (bare.exit, bare.json()["kind"].as_str()),
        (0, Some("error")),
        "CAP is an error, CAP-OP a reason"
    );
    let misspelt = fewbit(&["explain", "CAP-STRIED"]);
    assert_eq!(misspelt.exit, 2);
    assert!(misspelt.stderr.contains("did you mean CAP-STRIDE?"), "{misspelt:?}");
}
