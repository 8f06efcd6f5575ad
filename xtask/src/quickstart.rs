//! The quickstart: the whole path on the small model of `examples/digits`, each command shown as one would type it.

#![expect(clippy::print_stdout, reason = "showing is what it is for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

const PREPROCESS: [&str; 2] = ["--preprocess", "mean=127.5,std=127.5"];

/// Builds the program, then checks, plans, quantizes, evaluates and measures the example, and prints what it gained.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tour = Tour::prepare(root)?;
    let (model, quantized) = ("examples/digits/digits.onnx", "target/quickstart/digits.int8.onnx");
    let plan = "target/quickstart/digits.plan.json";
    let (calibration, evaluation) = ("examples/digits/calibration", "examples/digits/evaluation.npz");

    say("What will run on three devices that are not here, before anything is deployed?");
    tour.show(&[
        "check",
        model,
        "--target",
        "x86_64-avx2",
        "--target",
        "raspberry-pi-5",
        "--target",
        "ethos-u65-256",
    ])?;

    say("Calibrate with 100 images and decide the precision of every node for this machine.");
    let data = ["--data", calibration, PREPROCESS[0], PREPROCESS[1]];
    tour.show(&[&["plan", model][..], &data, &["--output", plan]].concat())?;

    say("Quantize by that plan.");
    tour.show(&["quantize", model, "--plan", plan, "--output", quantized])?;

    say("Is it as accurate? 400 images that calibration did not see; exit code 1 below the thresholds.");
    let against =
        ["eval", quantized, "--reference", model, "--data", evaluation, PREPROCESS[0], PREPROCESS[1]];
    tour.show(&[&against[..], &["--max-drop", "1", "--min-agreement", "98"]].concat())?;

    say("Is it faster? Both in turns, one thread.");
    tour.show(&["bench", model, quantized, "--threads", "1"])?;

    say("How do all strategies compare, with plans of mixed precision? A page to open in a browser.");
    let page = "target/quickstart/digits.html";
    let measured =
        ["compare", model, "--gate-data", evaluation, "--threads", "1", "--sizes", "80%,65%", "--html", page];
    tour.show(&[&measured[..], &data].concat())?;

    let accuracy = tour.ask(&against)?;
    let times = tour.ask(&["bench", model, quantized, "--threads", "1"])?;
    table(&accuracy, &times)
}

struct Tour {
    root: PathBuf,
    program: PathBuf,
}

impl Tour {
    fn prepare(root: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        println!("Building the program (a few minutes the first time).");
        let built = Command::new(cargo)
            .args([
                "build",
                "--release",
                "--package",
                "fewbit-cli",
                "--message-format",
                "json-render-diagnostics",
            ])
            .current_dir(root)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start cargo")?;
        if !built.status.success() {
            bail!("the program does not build");
        }
        // Cargo tells where it put the program: the target folder may be anywhere.
        let program = String::from_utf8_lossy(&built.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
            .next_back()
            .context("expected cargo to name the program it built")?;
        fs::create_dir_all(root.join("target/quickstart"))?;
        Ok(Self { root: root.to_owned(), program })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Runs a command of the program before the reader's eyes.
    fn show(&self, arguments: &[&str]) -> Result<()> {
        println!("$ fewbit {}\n", arguments.join(" "));
        let status = self.command(arguments).status()?;
        if !status.success() {
            bail!("`fewbit {}` ended with {status}", arguments.join(" "));
        }
        Ok(())
    }

    /// Runs a command for its JSON.
    fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.command(arguments).args(["--format", "json"]).stderr(Stdio::null()).output()?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`fewbit {}` printed no JSON", arguments.join(" ")))
    }
}

fn say(text: &str) {
    println!("\n── {text}");
}

fn table(accuracy: &Value, times: &Value) -> Result<()> {
    let model =
        |index: usize, key: &str| times["models"][index][key].as_f64().context("bench lacks a figure");
    let figure = |key: &str| accuracy[key].as_f64().context("eval lacks a figure");
    println!("\n── What it gained\n");
    println!("{:<16}{:>12}{:>12}{:>10}", "", "float", "int8", "ratio");
    let row = |name: &str, float: f64, int8: f64, unit: &str| {
        println!("{name:<16}{float:>9.2} {unit:<2}{int8:>9.2} {unit:<2}{:>10.2}", int8 / float);
    };
    row("file", model(0, "file_bytes")? / 1e3, model(1, "file_bytes")? / 1e3, "kB");
    row("activations", model(0, "activations_bytes")? / 1e3, model(1, "activations_bytes")? / 1e3, "kB");
    row("median time", model(0, "median_ms")? * 1e3, model(1, "median_ms")? * 1e3, "µs");
    row("top-1", figure("top1_reference")?, figure("top1")?, "%");
    println!(
        "\nagreement {:.2} %, {:.1} dB; the model and its plan are in target/quickstart",
        figure("agreement")?,
        figure("sqnr_db")?
    );
    Ok(())
}
