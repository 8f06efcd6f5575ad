//! `fewbit plugins new`: a working plugin to start from, in C, C++ or Rust.
//!
//! Owns the templates. They are the samples of `plugins/` under another name, so what a vendor begins with is what the
//! conformance kit passes; everything that is needed to build them is written too, headers and the Rust SDK included.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::failure::Usage;

/// The language of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// C99, with a Makefile.
    C,
    /// C++11, with a Makefile.
    Cpp,
    /// Rust, with cargo.
    Rust,
}

/// A file of a template: where it goes and what is in it.
type File = (&'static str, &'static str);

/// Files of one folder of this repository, under the names that they have there.
macro_rules! files {
    ($to:literal, $from:literal: $($name:literal)*) => {
        &[$((concat!($to, $name), include_str!(concat!("../../../../", $from, $name)))),*]
    };
}

const C_HEADERS: &[File] = files!("include/fewbit/", "crates/abi/include/fewbit/": "plugin.h" "ext.h");
const CPP_HEADER: &[File] = files!("include/fewbit/", "crates/abi/include/fewbit/": "plugin.hpp");

const C: &[File] = files!("", "plugins/sample-c/":
    "Makefile" "sample-c.backend.toml.in" "sample.h" "plugin.c" "capability.c" "program.c" "operators.c" "kernels.c");

const CPP: &[File] = files!("", "plugins/sample-cpp/":
    "Makefile" "sample-cpp.backend.toml.in" "exports.map" "sample.hpp" "plugin.cpp" "capability.cpp" "program.cpp"
    "operators.cpp" "kernels.cpp");

const RUST: &[File] = files!("", "plugins/sample-rust/":
    "Makefile" "sample-rust.backend.toml.in" "src/lib.rs" "src/operators.rs" "src/kernels.rs"
    "src/capabilities.json");

/// The crates that a plugin in Rust is built on, as sources: they need nothing else.
const SDK: &[&[File]] = &[
    files!("vendor/fewbit-plugin-sdk/src/", "crates/plugin-sdk/src/":
        "lib.rs" "blob.rs" "error.rs" "host.rs" "program.rs" "raw.rs" "table.rs" "tensor.rs"),
    files!("vendor/fewbit-abi/src/", "crates/abi/src/": "lib.rs" "constants.rs" "ext.rs" "plugin.rs"),
    files!("vendor/fewbit-abi/include/fewbit/", "crates/abi/include/fewbit/": "plugin.h" "ext.h" "plugin.hpp"),
];

/// Writes a template into `folder`, which must be empty or not there yet; gives the files it wrote.
///
/// # Errors
/// For a name that cannot be one, a folder that holds something, or a file that cannot be written.
pub(crate) fn write_template(folder: &Path, name: &str, language: Language) -> Result<Vec<PathBuf>> {
    check_name(name)?;
    let holds = match folder.read_dir() {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    if holds {
        return Err(Usage::new(format!("expected an empty folder, found files in {}", folder.display()))
            .help("nothing is overwritten: choose another folder")
            .into());
    }
    let mut written = Vec::new();
    for (path, text) in files(name, language) {
        let path = folder.join(path);
        write_new(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// Names become ids, file names and names of packages: what all of these allow.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let sound = (2..=40).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(plain)
        && name.chars().all(|c| plain(c) || c == '-')
        && !name.contains("--");
    if sound {
        return Ok(());
    }
    Err(Usage::new(format!(
        "expected a name of 2 to 40 lower-case letters, digits and single `-`, found `{name}`"
    ))
    .help("for example tiny-npu")
    .into())
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

/// Every file of a template, with the new name in it.
fn files(name: &str, language: Language) -> Vec<(String, String)> {
    let (sample, sources): (&str, &[&[File]]) = match language {
        Language::C => ("sample-c", &[C, C_HEADERS]),
        Language::Cpp => ("sample-cpp", &[CPP, C_HEADERS, CPP_HEADER]),
        Language::Rust => ("sample-rust", &[RUST]),
    };
    let mut files: Vec<(String, String)> = sources
        .iter()
        .flat_map(|files| files.iter())
        .map(|(path, text)| (path.replace(sample, name), renamed(text, sample, name)))
        .collect();
    let how = match language {
        Language::C => "`make` builds it with any C99 compiler. Read `plugin.c` first, then `operators.c`.",
        Language::Cpp => {
            "`make` builds it with any C++11 compiler. Read `plugin.cpp` first, then `operators.cpp`."
        }
        Language::Rust => {
            files.push(("Cargo.toml".to_owned(), cargo_manifest(name)));
            files.extend(
                SDK.iter()
                    .flat_map(|files| files.iter())
                    .map(|(path, text)| ((*path).to_owned(), (*text).to_owned())),
            );
            files.push((
                "vendor/fewbit-plugin-sdk/Cargo.toml".to_owned(),
                crate_manifest("fewbit-plugin-sdk"),
            ));
            files.push(("vendor/fewbit-abi/Cargo.toml".to_owned(), crate_manifest("fewbit-abi")));
            "`make` builds it with cargo, without a network. Read `src/lib.rs` first, then `src/operators.rs`."
        }
    };
    files.push((".gitignore".to_owned(), "/build\n/target\n".to_owned()));
    files.push(("README.md".to_owned(), readme(name, how)));
    files
}

/// The sample's text with the plugin's own name, id and vendor.
fn renamed(text: &str, sample: &str, name: &str) -> String {
    text.replace(&format!("org.fewbit.{sample}"), &format!("com.example.{name}"))
        // The package and its library.
        .replace(&format!("fewbit-{sample}"), name)
        .replace(sample, name)
        .replace("Sample plugin in", "Plugin in")
        .replace("vendor   = \"fewbit\"", "vendor   = \"Example\"")
        .replace("VENDOR: &'static str = \"fewbit\"", "VENDOR: &'static str = \"Example\"")
        .replace("\"vendor\": \"fewbit\"", "\"vendor\": \"Example\"")
        .replace("\\\"vendor\\\": \\\"fewbit\\\"", "\\\"vendor\\\": \\\"Example\\\"")
        .replace("TEXT(\"fewbit\")", "TEXT(\"Example\")")
        .replace(
            &format!("\"com.example.{name}\", \"fewbit\""),
            &format!("\"com.example.{name}\", \"Example\""),
        )
}

fn cargo_manifest(name: &str) -> String {
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
rust-version = "{rust}"
publish = false

[lib]
crate-type = ["cdylib"]

[dependencies]
fewbit-plugin-sdk = {{ path = "vendor/fewbit-plugin-sdk" }}

# A workspace of its own, wherever this folder lies.
[workspace]
"#,
        rust = env!("CARGO_PKG_RUST_VERSION"),
    )
}

/// The manifest of a crate that comes as sources.
fn crate_manifest(package: &str) -> String {
    let dependencies = if package == "fewbit-plugin-sdk" {
        "\n[dependencies]\nfewbit-abi = { path = \"../fewbit-abi\" }\n"
    } else {
        ""
    };
    format!(
        "[package]\nname = \"{package}\"\nversion = \"{version}\"\nedition = \"2024\"\nrust-version = \"{rust}\"\n\
         license = \"{license}\"\npublish = false\n{dependencies}",
        version = env!("CARGO_PKG_VERSION"),
        rust = env!("CARGO_PKG_RUST_VERSION"),
        license = env!("CARGO_PKG_LICENSE"),
    )
}

fn readme(name: &str, how: &str) -> String {
    format!(
        r"# {name}

A backend plugin for fewbit. It works as it is: plain loops on the processor, exact to the bit.

{how}

```sh
make                                                # the library and its manifest, in build/
fewbit plugins list --plugin-dir build              # is it found, is anything wrong with it
fewbit plugins probe build/{name}.backend.toml
```

What to do next:

1. Put your id, vendor and version where `com.example.{name}` and `Example` stand (the manifest and the table must agree).
2. Say what your device runs in the capability document. Declare nothing that you have not built: the conformance kit
   makes you prove every rule, and refuse every neighbour with a reason.
3. Replace the kernels. What each operator computes, to the bit, is in `docs/vendor/operators.md`.
"
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A folder that does not exist yet.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("fewbit-new-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Writes a template, builds it, and gives its manifest; `None`, visibly, without the tools.
    fn built(folder: &Folder, name: &str, language: Language, tools: &[&str]) -> Option<String> {
        let written = write_template(&folder.0, name, language).unwrap();
        assert!(written.iter().all(|path| path.is_file()), "{written:?}");
        for tool in tools {
            if Command::new(tool).arg("--version").output().is_err() {
                #[expect(
                    clippy::print_stderr,
                    reason = "a skipped test must be visible in the test's output"
                )]
                {
                    eprintln!("SKIPPED: the template was not built because there is no `{tool}`");
                }
                return None;
            }
        }
        let made = Command::new("make")
            .arg("-C")
            .arg(&folder.0)
            .env_remove("MAKEFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .env("CARGO_NET_OFFLINE", "true")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(std::fs::read_to_string(folder.0.join(format!("build/{name}.backend.toml"))).unwrap())
    }

    #[test]
    fn templates_build_and_carry_their_own_name() {
        for (language, library, tools) in [
            (Language::C, "libtiny_npu.so", &["make", "cc"][..]),
            (Language::Cpp, "libtiny_npu.so", &["make", "c++"]),
            (Language::Rust, "libtiny_npu.so", &["make", "cargo"]),
        ] {
            let folder = Folder::new(&format!("{language:?}"));
            let Some(manifest) = built(&folder, "tiny-npu", language, tools) else { continue };
            for line in ["id       = \"com.example.tiny-npu\"", "vendor   = \"Example\""] {
                assert!(manifest.contains(line), "{language:?}: {manifest}");
            }
            assert!(manifest.contains(&format!("library  = \"{library}\"")), "{language:?}: {manifest}");
            let bytes = std::fs::read(folder.0.join("build").join(library)).unwrap();
            let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(holds("com.example.tiny-npu") && holds("fewbit_plugin_query"), "{language:?}");
            assert!(!holds("org.fewbit"), "{language:?} still has the sample's id");
        }
    }

    #[test]
    fn nothing_of_the_sample_s_name_is_left() {
        for language in [Language::C, Language::Cpp, Language::Rust] {
            for (path, text) in files("tiny-npu", language) {
                if path.starts_with("vendor/") || path.starts_with("include/") {
                    continue;
                }
                assert!(!path.contains("sample-"), "{path}");
                assert!(!text.contains("org.fewbit") && !text.contains("sample-c"), "{path}:\n{text}");
                assert!(!text.contains("sample-rust"), "{path}:\n{text}");
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = Folder::new("twice");
        write_template(&folder.0, "tiny-npu", Language::C).unwrap();
        let before = std::fs::read_to_string(folder.0.join("plugin.c")).unwrap();
        let refused = write_template(&folder.0, "other", Language::Cpp).unwrap_err();
        assert!(refused.to_string().contains("expected an empty folder"), "{refused}");
        assert_eq!(std::fs::read_to_string(folder.0.join("plugin.c")).unwrap(), before);
        assert!(!folder.0.join("plugin.cpp").exists());
    }

    #[test]
    fn names_that_cannot_be_ids_or_files_are_refused() {
        for name in
            ["", "a", "Tiny", "../up", "tiny_npu", "1st", "-x", "x-", "a--b", "tiny npu", &"x".repeat(41)]
        {
            let folder = Folder::new("names");
            let refused = write_template(&folder.0, name, Language::C).unwrap_err();
            assert!(refused.to_string().contains("expected a name"), "{name}: {refused}");
            assert!(!folder.0.exists(), "{name}");
        }
    }
}
