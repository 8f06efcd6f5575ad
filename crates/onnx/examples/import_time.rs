//! Imports one model once and prints how long that took and the most memory that was held, as JSON.
//!
//!     cargo run --release -p fewbit-onnx --example import_time MODEL.onnx
//!
//! `benches/import_time.py` runs it beside ONNX Runtime.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use fewbit_onnx::ImportOptions;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: import_time MODEL.onnx");
        return ExitCode::from(2);
    };
    let mut options = ImportOptions::default();
    options.batch = Some(1);
    let start = Instant::now();
    match fewbit_onnx::open(Path::new(&path), &options) {
        Ok(graph) => {
            let milliseconds = 1e3 * start.elapsed().as_secs_f64();
            println!(
                "{{\"ms\": {milliseconds:.3}, \"peak_kib\": {}, \"nodes\": {}}}",
                peak_kib().map_or_else(|| "null".to_owned(), |peak| peak.to_string()),
                graph.node_count()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// The most memory this process has held; `None` where the system does not tell.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()
}
