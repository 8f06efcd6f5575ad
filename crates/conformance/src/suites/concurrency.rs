//! Suite `concurrency`: several threads give what one gives.

use std::sync::Arc;

use fewbit_core::backend::{Device, Executable};
use fewbit_core::ir::Tensor;

use super::robust::settle;
use super::sample::{Sample, samples};
use crate::case::{Case, Stage, Suite};
use crate::run::{Outcome, Probing, compile, run_once, verdict};

/// Threads of a case.
const THREADS: usize = 4;
/// Runs of each.
const RUNS: usize = 25;

/// Runs `work` on several threads; the first thing that goes wrong is the outcome.
fn on_threads(work: impl Fn(usize) -> Result<Outcome, Box<Outcome>> + Sync) -> Result<Outcome, Box<Outcome>> {
    let outcomes: Vec<Result<Outcome, Box<Outcome>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let work = &work;
                    move || work(thread)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Ok(Outcome::new(crate::Status::Crashed, Stage::Run, "a thread of the case panicked"))
                })
            })
            .collect()
    });
    for outcome in outcomes {
        let outcome = outcome?;
        if outcome.status.is_failure() {
            return Ok(outcome);
        }
    }
    Ok(Outcome::passed())
}

/// What threads need of a subject: its numerics travel in the outcome's comparison.
fn check(probing: &Probing<'_>, sample: &Sample, outputs: &[Tensor]) -> Outcome {
    verdict(probing.subject, &sample.problem, &sample.expected, outputs, false)
}

/// One executable, a context per thread, each on data of its own.
fn contexts(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    for sample in samples(probing, 3)? {
        let other = sample.reversed()?;
        let device = probing.device()?;
        probing.enter(Stage::Compile);
        let executable = compile(device.as_ref(), &sample.problem.program)?;
        probing.enter(Stage::Run);
        let subject = probing.subject;
        let outcome = on_threads(|thread| {
            let sample = if thread % 2 == 0 { &sample } else { &other };
            let broken =
                |error: fewbit_core::CoreError| Box::new(crate::run::refused_or_broken(&error, Stage::Run));
            let mut context = Arc::clone(&executable).context().map_err(broken)?;
            for _ in 0..RUNS {
                let mut outputs = sample.expected.clone();
                for output in &mut outputs {
                    output.bytes_mut().fill(0xa5);
                }
                context.run(&sample.problem.inputs, &mut outputs).map_err(broken)?;
                let outcome = verdict(subject, &sample.problem, &sample.expected, &outputs, false);
                if outcome.status.is_failure() {
                    return Ok(outcome);
                }
            }
            Ok(Outcome::passed())
        })?;
        if outcome.status.is_failure() {
            return Ok(outcome);
        }
    }
    Ok(Outcome::passed())
}

/// Threads that compile and run programs of their own at once.
fn compiling(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    let samples = samples(probing, 3)?;
    let device: Arc<dyn Device> = probing.device()?;
    probing.enter(Stage::Compile);
    let subject = probing.subject;
    on_threads(|thread| {
        let sample = &samples[thread % samples.len()];
        for _ in 0..RUNS / 5 {
            let executable: Arc<dyn Executable> = compile(device.as_ref(), &sample.problem.program)?;
            let outputs = run_once(&executable, &sample.problem.inputs)?;
            let outcome = verdict(subject, &sample.problem, &sample.expected, &outputs, false);
            if outcome.status.is_failure() {
                return Ok(outcome);
            }
        }
        Ok(Outcome::passed())
    })
}

/// Many runs of one context, every bit the same.
fn repeated(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    for sample in samples(probing, 3)? {
        let device = probing.device()?;
        probing.enter(Stage::Compile);
        let executable = compile(device.as_ref(), &sample.problem.program)?;
        probing.enter(Stage::Run);
        let first = run_once(&executable, &sample.problem.inputs)?;
        let outcome = check(probing, &sample, &first);
        if outcome.status.is_failure() {
            return Ok(outcome);
        }
        for run in 1..RUNS {
            let again = run_once(&executable, &sample.problem.inputs)?;
            if again.iter().zip(&first).any(|(again, first)| again.bytes() != first.bytes()) {
                let message = format!("run {run} gave other bits than the first on the same inputs");
                return Ok(Outcome::failed(Stage::Compare, message));
            }
        }
    }
    Ok(Outcome::passed())
}

/// All cases of the suite.
pub(super) fn cases() -> Vec<Case> {
    type Probe = fn(&Probing<'_>) -> Result<Outcome, Box<Outcome>>;
    let probes: [(&str, Probe); 3] = [
        ("run/contexts/serial-answers", contexts),
        ("compile/threads/serial-answers", compiling),
        ("run/repeated/bitwise", repeated),
    ];
    probes
        .into_iter()
        .map(|(name, probe)| {
            Case::probe(format!("concurrency/{name}"), Suite::Concurrency, "threads", move |probing| {
                settle(probe(probing))
            })
        })
        .collect()
}
