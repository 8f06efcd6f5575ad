//! Suite `speed`: figures, never judged.

use std::sync::Arc;
use std::time::Instant;

use super::robust::settle;
use super::sample::samples;
use crate::case::{Case, Stage, Suite};
use crate::run::{Outcome, Probing, compile, refused_or_broken};

/// Runs whose times are kept.
const RUNS: usize = 200;

/// Microseconds to compile a sample and to run it: the least, the median and the 95th of a hundred.
fn latency(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    let mut figures = Vec::new();
    for (number, sample) in samples(probing, 3)?.into_iter().enumerate() {
        let operator = sample.problem.program.nodes().next().map(|(_, node)| node.op.kind().to_string());
        let name = format!("{} ({number})", operator.unwrap_or_default());
        let device = probing.device()?;
        probing.enter(Stage::Compile);
        let start = Instant::now();
        let executable = compile(device.as_ref(), &sample.problem.program)?;
        figures.push((format!("{name} compile us"), start.elapsed().as_secs_f64() * 1e6));
        probing.enter(Stage::Run);
        let broken = |error: fewbit_core::CoreError| Box::new(refused_or_broken(&error, Stage::Run));
        let mut context = Arc::clone(&executable).context().map_err(broken)?;
        let mut outputs = sample.expected.clone();
        let mut times = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let start = Instant::now();
            context.run(&sample.problem.inputs, &mut outputs).map_err(broken)?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        for (what, at) in [("least", 0), ("median", RUNS / 2), ("p95", RUNS * 95 / 100)] {
            figures.push((format!("{name} run {what} us"), times[at]));
        }
    }
    let mut outcome = Outcome::passed();
    outcome.figures = figures;
    Ok(outcome)
}

/// All cases of the suite.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::probe("speed/samples/latency", Suite::Speed, "time", |probing| settle(latency(probing)))]
}
