//! `fewbit bench`: the time of one inference, several models in turns.

use std::time::{Duration, Instant};

use anyhow::Result;
use fewbit_core::backend::{CompileOptions, Context, MemoryUse, NodeTime};
use fewbit_core::ir::Tensor;
use fewbit_runtime::energy::{Meter, NoMeter};
use fewbit_runtime::times::sample_input;
use serde::Serialize;

use crate::args::{Bench, Format};
use crate::config::Config;
use crate::model::Model;
use crate::{Answer, devices, output, progress};

/// Time that a model runs without pause while its energy is read; counters change about once a millisecond, so that the
/// ends make less than half a percent.
const ENERGY_SPAN: Duration = Duration::from_millis(500);
/// Time that a model is run before it is measured.
const WARM_UP: Duration = Duration::from_millis(200);

#[derive(Serialize)]
struct Row {
    model: String,
    median_ms: f64,
    min_ms: f64,
    p95_ms: f64,
    threads: usize,
    iterations: usize,
    load_ms: f64,
    peak_memory_bytes: Option<u64>,
    weights_bytes: usize,
    activations_bytes: usize,
    file_bytes: u64,
    device: String,
    /// Energy of one inference in mJ, of all that the counter covers; `None` where it could not be read.
    energy_mj: Option<f64>,
    /// The counter that was read, in words.
    energy_counter: Option<String>,
    /// Why no energy was read.
    energy_absent: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profile: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    #[serde(rename = "node")]
    name: String,
    kernel: String,
    us: f64,
}

struct Subject {
    row: Row,
    context: Box<dyn Context>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    times: Vec<Duration>,
}

impl Subject {
    fn once(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.context.run(&self.inputs, &mut self.outputs)?;
        Ok(start.elapsed())
    }
}

pub(crate) fn run(arguments: &Bench, format: Format, config: &Config) -> Result<Answer> {
    let device = devices::open(&arguments.device, config)?;
    let threads = devices::threads(&arguments.device, config);
    let mut options = CompileOptions::threads(threads);
    if arguments.profile {
        options = options.with_profile();
    }
    let mut subjects = Vec::new();
    for path in &arguments.models {
        let start = Instant::now();
        let model = Model::load(path, &arguments.shapes, config)?;
        let executable = device.compile(&model.graph, &options)?;
        let MemoryUse { weights, activations, scratch } = executable.memory();
        let inputs = executable
            .inputs()
            .iter()
            .enumerate()
            .map(|(seed, spec)| sample_input(spec.dtype, &spec.extents, seed));
        let inputs = inputs.collect::<Result<_, _>>()?;
        let outputs = executable
            .outputs()
            .iter()
            .map(|spec| Tensor::zeros(spec.dtype, &spec.extents))
            .collect::<Result<_, _>>()?;
        let context = executable.context()?;
        let row = Row {
            model: path.display().to_string(),
            median_ms: 0.0,
            min_ms: 0.0,
            p95_ms: 0.0,
            threads,
            iterations: arguments.iterations.max(1),
            load_ms: start.elapsed().as_secs_f64() * 1e3,
            peak_memory_bytes: None,
            weights_bytes: weights,
            activations_bytes: activations + scratch,
            file_bytes: model.file_bytes,
            device: format!("{} ({})", device.info().title, device.info().detail),
            energy_mj: None,
            energy_counter: None,
            energy_absent: None,
            profile: Vec::new(),
        };
        subjects.push(Subject { row, context, inputs, outputs, times: Vec::new() });
    }
    measure(&mut subjects, arguments.iterations.max(1), arguments.profile)?;
    let rows: Vec<Row> = subjects.into_iter().map(|subject| subject.row).collect();
    if let [row] = rows.as_slice() {
        output::print(format, row, || render(&rows))?;
    } else {
        output::print(format, &serde_json::json!({ "models": rows }), || render(&rows))?;
    }
    Ok(Answer::Yes)
}

/// Runs the subjects in turns, so that what disturbs one disturbs all, and fills in their figures.
fn measure(subjects: &mut [Subject], iterations: usize, profile: bool) -> Result<()> {
    for subject in subjects.iter_mut() {
        let start = Instant::now();
        while start.elapsed() < WARM_UP {
            subject.once()?;
        }
    }
    let bar = progress::bar("bench", iterations);
    let mut node_times: Vec<Vec<Vec<NodeTime>>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..iterations {
        for (subject, profiles) in subjects.iter_mut().zip(&mut node_times) {
            let time = subject.once()?;
            subject.times.push(time);
            if profile {
                profiles.push(subject.context.profile());
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let meter = Meter::open();
    for subject in subjects.iter_mut() {
        let energy = meter.as_ref().map_err(Clone::clone).and_then(|meter| Ok((meter, meter.start()?)));
        let energy = energy.map_err(anyhow::Error::from).and_then(|(meter, measurement)| {
            let (start, mut runs) = (Instant::now(), 0u32);
            while runs == 0 || (start.elapsed() < ENERGY_SPAN && runs < u32::MAX) {
                subject.once()?;
                runs += 1;
            }
            Ok((measurement.joules()? * 1e3 / f64::from(runs), meter.description().to_owned()))
        });
        match energy {
            Ok((energy_mj, counter)) => {
                subject.row.energy_mj = Some(energy_mj);
                subject.row.energy_counter = Some(counter);
            }
            Err(error) => match error.downcast::<NoMeter>() {
                Ok(reason) => subject.row.energy_absent = Some(reason.to_string()),
                Err(error) => return Err(error),
            },
        }
    }
    let peak = fewbit_runtime::peak_memory_bytes();
    for (subject, profiles) in subjects.iter_mut().zip(node_times) {
        subject.times.sort_unstable();
        let times = &subject.times;
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
        subject.row.median_ms = at(0.5);
        subject.row.min_ms = at(0.0);
        subject.row.p95_ms = at(0.95);
        subject.row.peak_memory_bytes = peak;
        subject.row.profile = median_profile(&profiles);
    }
    Ok(())
}

/// The median time of each node over the runs.
fn median_profile(profiles: &[Vec<NodeTime>]) -> Vec<Node> {
    let Some(first) = profiles.first() else { return Vec::new() };
    first
        .iter()
        .enumerate()
        .map(|(index, time)| {
            let mut times: Vec<u64> = profiles
                .iter()
                .filter_map(|profile| profile.get(index))
                .map(|time| time.nanoseconds)
                .collect();
            times.sort_unstable();
            let us = times.get(times.len() / 2).copied().unwrap_or(0) as f64 / 1e3;
            Node { name: time.node.clone(), kernel: time.kernel.clone(), us }
        })
        .collect()
}

fn render(rows: &[Row]) -> String {
    let first = rows.first().map_or(1.0, |row| row.median_ms);
    let megabytes = |bytes: f64| format!("{:.2}", bytes / 1e6);
    let cells = rows.iter().map(|row| {
        vec![
            row.model.clone(),
            format!("{:.3}", row.median_ms),
            format!("{:.3}", row.min_ms),
            format!("{:.3}", row.p95_ms),
            format!("{:.2}", row.median_ms / first),
            megabytes(row.file_bytes as f64),
            megabytes(row.weights_bytes as f64),
            megabytes(row.activations_bytes as f64),
        ]
    });
    let mut text = fewbit_report::table(
        &["model", "median ms", "min ms", "p95 ms", "ratio", "file MB", "packed MB", "activations MB"],
        cells,
    );
    if let Some(row) = rows.first() {
        text.push_str(&format!(
            "\n{}, {} thread(s), {} runs in turns",
            row.device, row.threads, row.iterations
        ));
    }
    for row in rows {
        if let (Some(energy), Some(counter)) = (row.energy_mj, &row.energy_counter) {
            text.push_str(&format!("\nenergy of {}: {energy:.3} mJ an inference, {counter}", row.model));
        }
    }
    if let Some(reason) = rows.iter().find_map(|row| row.energy_absent.as_ref()) {
        text.push_str(&format!("\nenergy: not measured, since {reason}"));
    }
    for row in rows.iter().filter(|row| !row.profile.is_empty()) {
        let total: f64 = row.profile.iter().map(|node| node.us).sum();
        let cells = row.profile.iter().map(|node| {
            let share = 100.0 * node.us / total.max(f64::MIN_POSITIVE);
            vec![node.name.clone(), node.kernel.clone(), format!("{:.1}", node.us), format!("{share:.1}")]
        });
        text.push_str(&format!("\n\n{}\n", row.model));
        text.push_str(&fewbit_report::table(&["node", "kernel", "µs", "%"], cells));
    }
    text
}
