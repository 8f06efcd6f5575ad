//! Bad input: one clear error with place and remedy, exit code 2 (3 for a missing device), and no file left behind.

use crate::program::{Folder, Outcome, digits, fewbit};

/// A refusal: the exit code, one error on stderr, nothing written in the output folder.
fn refused(arguments: &[&str], output: &Folder, exit: i32) -> Outcome {
    let outcome = fewbit(arguments);
    assert_eq!(outcome.exit, exit, "{arguments:?}: {outcome:?}");
    assert_eq!(outcome.stderr.matches("error[").count(), 1, "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    assert_eq!(output.names(), Vec::<String>::new(), "{arguments:?} left a file behind");
    outcome
}

/// The error's text, without the folder's name.
fn told(outcome: &Outcome, folder: &Folder) -> String {
    outcome.stderr.replace(&folder.0.display().to_string(), "FOLDER")
}

#[test]
fn models_that_are_none_are_refused_by_every_command_that_reads_one() {
    let (input, output) = (Folder::new(), Folder::new());
    let good = std::fs::read(digits("digits.onnx")).expect("the example");
    let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let models = [
        input.file("truncated.onnx", &good[..good.len() / 2]),
        input.file("noise.onnx", noise),
        input.file("empty.onnx", ""),
        input.path("missing.onnx"),
    ];
    let out = output.path("out.onnx");
    let data = digits("calibration");
    for model in &models {
        for arguments in [
            vec!["inspect", model],
            vec!["check", model, "--target", "x86_64-avx2"],
            vec!["plan", model, "--data", &data, "-o", &out],
            vec!["quantize", model, "--data", &data, "-o", &out],
            vec!["bench", model],
        ] {
            let outcome = refused(&arguments, &output, 2);
            assert!(outcome.stderr.contains(".onnx"), "the file is named: {outcome:?}");
        }
    }
}

#[test]
fn data_that_is_none_is_refused_before_anything_is_written() {
    let (input, output) = (Folder::new(), Folder::new());
    let model = digits("digits.onnx");
    let empty = Folder::new();
    let broken = Folder::new();
    broken.file("a.png", "this is no picture");
    let out = output.path("out.onnx");
    for (data, expected) in [
        (empty.0.display().to_string(), "image"),
        (broken.0.display().to_string(), "a.png"),
        (input.path("missing"), "missing"),
        (input.file("x.npz", "no archive"), "x.npz"),
    ] {
        let outcome = refused(&["quantize", &model, "--data", &data, "-o", &out], &output, 2);
        assert!(outcome.stderr.contains(expected), "{outcome:?}");
        assert!(outcome.stderr.contains("help:"), "{outcome:?}");
    }
    let outcome = refused(&["quantize", &model, "-o", &out], &output, 2);
    assert!(outcome.stderr.contains("--data"), "{outcome:?}");
}

#[test]
fn targets_that_are_none_are_refused_with_the_line_or_the_nearest_name() {
    let (input, output) = (Folder::new(), Folder::new());
    let model = digits("digits.onnx");
    let text =
        std::fs::read_to_string(crate::program::root().join("targets/coral-edgetpu.toml")).expect("a target");
    let wrong = input.file("wrong.toml", text.replacen("support =", "suport =", 1));
    let outcome = refused(&["check", &model, "--target", &wrong], &output, 2);
    assert!(
        outcome.stderr.contains("wrong.toml:") && outcome.stderr.contains("suport"),
        "{}",
        told(&outcome, &input)
    );
    let outcome = refused(&["check", &model, "--target", "coral-edgetpuu"], &output, 2);
    assert!(outcome.stderr.contains("`coral-edgetpu`"), "{outcome:?}");
    let outcome = refused(&["bench", &model, "--backend", "gpu"], &output, 3);
    assert!(outcome.stderr.contains("fewbit backends"), "{outcome:?}");
}

#[test]
fn plans_that_do_not_belong_are_refused() {
    let (input, output) = (Folder::new(), Folder::new());
    let (model, data) = (digits("digits.onnx"), digits("calibration"));
    let plan = input.path("plan.json");
    let made =
        fewbit(&["plan", &model, "--data", &data, "--preprocess", "mean=127.5,std=127.5", "-o", &plan]);
    assert_eq!(made.exit, 0, "{made:?}");
    let text = std::fs::read_to_string(&plan).expect("the plan");
    let edited = input.file("edited.json", text.replacen("\"w8a8\"", "\"f32\"", 1));
    let cut = input.file("cut.json", &text[..text.len() / 2]);
    let out = output.path("out.onnx");
    for (file, expected) in [(&edited, "hash"), (&cut, "cut.json")] {
        let outcome = refused(&["quantize", &model, "--plan", file, "-o", &out], &output, 2);
        assert!(outcome.stderr.contains(expected), "{outcome:?}");
    }
    let other = digits("../../crates/onnx/tests/data/digits_ort_qdq.onnx");
    let outcome = refused(&["quantize", &other, "--plan", &plan, "-o", &out], &output, 2);
    assert!(outcome.stderr.contains("float"), "{outcome:?}");
    let larger =
        refused(&["quantize", &model, "--shape", "image=2,1,8,8", "--plan", &plan, "-o", &out], &output, 2);
    assert!(larger.stderr.contains("another"), "{larger:?}");
}

#[test]
fn usage_that_means_nothing_is_refused_with_what_would() {
    let output = Folder::new();
    let (model, data) = (digits("digits.onnx"), digits("calibration"));
    let out = output.path("out.onnx");
    for shape in ["image", "image=1,x", "image=0,1,8,8", "nothing=1,1,8,8", "image=1,3,8,8"] {
        refused(&["inspect", &model, "--shape", shape], &output, 2);
    }
    let pinned = ["plan", &model, "--data", &data, "--pin", "nowhere=w8a8", "-o", &out];
    let outcome = refused(&pinned, &output, 2);
    assert!(outcome.stderr.contains("nowhere"), "{outcome:?}");
    let nowhere = output.path("no/such/folder/out.onnx");
    refused(&["quantize", &model, "--data", &data, "-o", &nowhere], &output, 2);
    let config = Folder::new();
    config.file("fewbit.toml", "targt = [\"cpu\"]");
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_fewbit"))
        .args(["inspect", &model])
        .current_dir(&config.0)
        .output()
        .expect("the program starts");
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("targt"));
}
