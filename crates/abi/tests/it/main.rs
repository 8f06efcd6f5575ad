//! The header and its mirror agree, and neither moves within a major version.

mod constants;
mod layout;

use std::path::Path;
use std::process::Command;

/// Compiles a C program against the headers with every padding byte an error, runs it, and gives what it prints;
/// `None`, visibly, where there is no compiler.
fn printed_by_c(name: &str, body: &str) -> Option<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = folder.join(format!("{name}.c"));
    let program = folder.join(name);
    std::fs::write(&source, body).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let compiled = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Wpadded", "-Werror", "-pedantic", "-I"])
        .arg(&include)
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .output();
    let Ok(compiled) = compiled else {
        fewbit_testing::report_skip("the header was not compiled because there is no `cc`");
        return None;
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let printed = Command::new(&program).output().unwrap();
    assert!(printed.status.success());
    Some(String::from_utf8(printed.stdout).unwrap())
}

#[test]
fn the_headers_are_c99_and_cpp11() {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    for (compiler, language, standard, headers) in [
        ("cc", "c", "c99", &["plugin.h", "ext.h"][..]),
        ("c++", "c++", "c++11", &["plugin.h", "ext.h", "plugin.hpp"]),
    ] {
        for header in headers {
            let checked = Command::new(compiler)
                .args([
                    "-x",
                    language,
                    &format!("-std={standard}"),
                    "-Wall",
                    "-Wextra",
                    "-Werror",
                    "-pedantic",
                ])
                .arg("-fsyntax-only")
                .arg("-I")
                .arg(&include)
                .arg(include.join("fewbit").join(header))
                .output();
            match checked {
                Ok(output) => {
                    assert!(output.status.success(), "{header}: {}", String::from_utf8_lossy(&output.stderr));
                }
                Err(_) => fewbit_testing::report_skip(&format!(
                    "{header} was not compiled: there is no `{compiler}`"
                )),
            }
        }
    }
}

#[test]
fn a_field_is_known_when_the_producer_reached_its_end() {
    use fewbit_abi::{Plugin, knows};
    let whole = size_of::<Plugin>() as u32;
    assert!(knows!(Plugin, whole, footprint));
    assert!(!knows!(Plugin, whole - 1, footprint));
    assert!(knows!(Plugin, whole - 1, context_free));
    assert!(!knows!(Plugin, 16u32, init));
}
