//! Plugins as people use them: found, tried, planned for and run beside the processor.

use std::process::{Command, Stdio};

use fewbit_testing::skip;

use crate::program::{Folder, digits, fewbit};

/// The folder of the sample plugin in C.
fn sample() -> Option<String> {
    let manifest = fewbit_testing::plugin("sample-c")?;
    Some(manifest.parent().expect("a manifest lies in a folder").display().to_string())
}

/// A file's elements, written by `run` for an array of zeros and ones.
fn outputs(folder: &Folder, name: &str, model: &str, more: &[&str]) -> Vec<u8> {
    let input = folder.file("image.npy", npy());
    let out = folder.path(name);
    let run = fewbit(&[&["run", model, "-i", &format!("image={input}"), "-o", &out], more].concat());
    assert_eq!(run.exit, 0, "{run:?}");
    let written =
        std::fs::read_dir(&out).expect("the folder was written").next().expect("an output").expect("a file");
    std::fs::read(written.path()).expect("an array")
}

/// A picture of the example's size with something on it.
fn npy() -> Vec<u8> {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 8, 8), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let padded = format!("{header:<117}\n");
    bytes.extend(u16::try_from(padded.len()).expect("short").to_le_bytes());
    bytes.extend(padded.bytes());
    for at in 0..64u32 {
        bytes.extend((if at % 8 > 2 && at % 8 < 5 { 1.0f32 } else { -1.0 }).to_le_bytes());
    }
    bytes
}

#[test]
fn a_plan_shares_a_model_between_a_plugin_and_the_processor_bit_for_bit() {
    let Some(plugins) = sample() else { skip!("the sample was not built") };
    let folder = Folder::new();
    let (model, plan) = (folder.path("digits.onnx"), folder.path("plan.json"));
    let target = "sample-c+cpu";
    let planned = fewbit(&[
        "plan",
        &digits("digits.onnx"),
        "--plugin-dir",
        &plugins,
        "-t",
        target,
        "--data",
        &digits("calibration"),
        "--preprocess",
        "mean=127.5,std=127.5",
        "--format",
        "json",
        "-o",
        &plan,
    ]);
    assert_eq!(planned.exit, 0, "{planned:?}");
    let nodes = planned.json()["nodes"].as_array().expect("nodes").clone();
    let on = |processor: &str| nodes.iter().filter(|node| node["processor"] == processor).count();
    assert!(on("sample-c") >= 3 && on("sample-c") + on("cpu") == nodes.len(), "{nodes:?}");
    let quantized = fewbit(&[
        "quantize",
        &digits("digits.onnx"),
        "--plugin-dir",
        &plugins,
        "-t",
        target,
        "--plan",
        &plan,
        "-o",
        &model,
    ]);
    assert_eq!(quantized.exit, 0, "{quantized:?}");
    let alone = outputs(&folder, "alone", &model, &[]);
    let shared = ["--plugin-dir", &plugins, "--backend", target];
    assert_eq!(outputs(&folder, "shared", &model, &shared), alone);
    assert_eq!(outputs(&folder, "planned", &model, &[&shared[..], &["--plan", &plan]].concat()), alone);
    assert_eq!(outputs(&folder, "inside", &model, &[&shared[..], &["--in-process"]].concat()), alone);
}

#[test]
fn a_bad_plugin_is_one_problem_and_hides_no_other() {
    let Some(plugins) = sample() else { skip!("the sample was not built") };
    let folder = Folder::new();
    folder.file("bad/climber.backend.toml", manifest("org.climber", "../../lib.so"));
    folder.file("bad/gone.backend.toml", manifest("org.gone", "gone.so"));
    folder.file("bad/noise.backend.toml", [0u8, 159, 146, 150]);
    let listed = fewbit(&[
        "plugins",
        "list",
        "--plugin-dir",
        &folder.path("bad"),
        "--plugin-dir",
        &plugins,
        "--format",
        "json",
    ]);
    assert_eq!(listed.exit, 1, "{listed:?}");
    let rows = listed.json()["plugins"].as_array().expect("rows").clone();
    let code = |file: &str| {
        let row = rows.iter().find(|row| row["manifest"].as_str().is_some_and(|path| path.ends_with(file)));
        row.expect(file)["problem"]["code"].as_str().unwrap_or("none").to_owned()
    };
    assert_eq!(code("climber.backend.toml"), "PLUG-MANIFEST");
    assert_eq!(code("gone.backend.toml"), "PLUG-OPEN");
    assert_eq!(code("noise.backend.toml"), "PLUG-MANIFEST");
    assert_eq!(code("sample-c.backend.toml"), "none");
    // `backends` loads them all: the sample is there, and so is the processor.
    let backends = fewbit(&["backends", "--plugin-dir", &folder.path("bad"), "--plugin-dir", &plugins]);
    assert_eq!(backends.exit, 0, "{backends:?}");
    for expected in ["cpu", "org.fewbit.sample-c", "PLUG-OPEN", "PLUG-MANIFEST"] {
        assert!(backends.stdout.contains(expected), "{backends:?}");
    }
}

fn manifest(id: &str, library: &str) -> String {
    format!(
        "manifest = 1\nid = \"{id}\"\nvendor = \"V\"\nversion = \"1\"\nlibrary = \"{library}\"\nsha256 = \"{}\"\n\
         [abi]\nmajor = 1\nminor = 0\n",
        "0".repeat(64)
    )
}

#[test]
fn a_library_that_is_no_plugin_says_so() {
    let folder = Folder::new();
    folder.file("text.so", "not a library");
    let path = folder.file("text.backend.toml", manifest("org.text", "text.so"));
    let probed = fewbit(&["plugins", "probe", &path, "--dev", "--format", "json"]);
    assert_eq!(probed.exit, 1, "{probed:?}");
    let problem = &probed.json()["problem"];
    assert_eq!((problem["code"].as_str(), problem["stage"].as_str()), (Some("PLUG-OPEN"), None), "{problem}");
    let run = fewbit(&[
        "run",
        &digits("digits.onnx"),
        "--backend",
        "text",
        "--plugin",
        &path,
        "-o",
        &folder.path("o"),
    ]);
    assert_eq!(run.exit, 3, "{run:?}");
    assert!(run.stderr.contains("PLUG-HASH"), "{run:?}");
    assert!(!folder.0.join("o").exists());
}

#[test]
fn a_backend_that_is_not_there_is_named_with_the_nearest() {
    let Some(plugins) = sample() else { skip!("the sample was not built") };
    let folder = Folder::new();
    let run = fewbit(&[
        "run",
        &digits("digits.onnx"),
        "--plugin-dir",
        &plugins,
        "--backend",
        "sample-d+cpu",
        "-o",
        &folder.path("o"),
    ]);
    assert_eq!(run.exit, 3, "{run:?}");
    assert!(
        run.stderr.contains("found `sample-d`") && run.stderr.contains("did you mean `sample-c`"),
        "{run:?}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fewbit"))
        .args(["inspect", &digits("digits.onnx")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(ended.stderr.is_empty());
}
