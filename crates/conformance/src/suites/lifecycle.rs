//! Suite `lifecycle`: orders of calls, repetition, objects side by side, memory over many compilations.

use std::sync::Arc;

use fewbit_core::CoreError;
use fewbit_core::backend::{CompileOptions, Context};
use fewbit_core::ir::Tensor;

use super::robust::settle;
use super::sample::{Sample, sample, samples};
use crate::case::{Case, Stage, Suite};
use crate::run::{Outcome, Probing, compile, refused_or_broken, run_once, verdict};

/// Compilations before memory is looked at: allocators and caches settle.
const WARM_UP: usize = 100;
/// Compilations between the two looks.
const CYCLES: usize = 900;
/// Bytes by which resident memory may grow meanwhile.
const GROWTH: u64 = 8 << 20;

#[expect(
    clippy::unnecessary_box_returns,
    reason = "probes answer with boxed outcomes, so that results stay small"
)]
fn broken(error: &CoreError) -> Box<Outcome> {
    Box::new(refused_or_broken(error, Stage::Run))
}

/// One run of a context, compared.
fn compared(
    probing: &Probing<'_>,
    context: &mut dyn Context,
    sample: &Sample,
) -> Result<Outcome, Box<Outcome>> {
    let mut outputs: Vec<Tensor> = sample.expected.clone();
    for output in &mut outputs {
        output.bytes_mut().fill(0xa5);
    }
    context.run(&sample.problem.inputs, &mut outputs).map_err(|error| broken(&error))?;
    Ok(verdict(probing.subject, &sample.problem, &sample.expected, &outputs, false))
}

/// A context that ran on other data gives what a new one gives: nothing is left from the run before.
fn no_memory_of_runs(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    for first in samples(probing, 4)? {
        let second = first.reversed()?;
        let device = probing.device()?;
        probing.enter(Stage::Compile);
        let executable = compile(device.as_ref(), &first.problem.program)?;
        probing.enter(Stage::Run);
        let mut context = executable.context().map_err(|error| broken(&error))?;
        for sample in [&first, &second, &first, &first, &second] {
            let outcome = compared(probing, context.as_mut(), sample)?;
            if outcome.status.is_failure() {
                return Ok(outcome);
            }
        }
    }
    Ok(Outcome::passed())
}

/// Two executables, used in turn.
fn interleaved(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    let samples = samples(probing, 3)?;
    let device = probing.device()?;
    probing.enter(Stage::Compile);
    let mut contexts = Vec::new();
    for sample in &samples {
        let executable = compile(device.as_ref(), &sample.problem.program)?;
        contexts.push(executable.context().map_err(|error| broken(&error))?);
    }
    probing.enter(Stage::Run);
    for _ in 0..3 {
        for (sample, context) in samples.iter().zip(&mut contexts) {
            let outcome = compared(probing, context.as_mut(), sample)?;
            if outcome.status.is_failure() {
                return Ok(outcome);
            }
        }
    }
    Ok(Outcome::passed())
}

/// Two contexts of one executable; the first is freed while the second is in use, and the executable before both.
fn freed_in_any_order(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    let sample = sample(probing)?;
    let device = probing.device()?;
    probing.enter(Stage::Compile);
    let executable = compile(device.as_ref(), &sample.problem.program)?;
    probing.enter(Stage::Run);
    let first = Arc::clone(&executable).context().map_err(|error| broken(&error))?;
    let mut second = executable.context().map_err(|error| broken(&error))?;
    drop(first);
    drop(device);
    compared(probing, second.as_mut(), &sample)
}

/// The device opened twice, both in use.
fn opened_twice(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    let sample = sample(probing)?;
    let refused = |error: crate::KitError| Box::new(Outcome::failed(Stage::Init, error.to_string()));
    let (one, two) = (probing.subject.fresh().map_err(refused)?, probing.subject.fresh().map_err(refused)?);
    for device in [&one, &two, &one] {
        probing.enter(Stage::Compile);
        let executable = compile(device.as_ref(), &sample.problem.program)?;
        probing.enter(Stage::Run);
        let outputs = run_once(&executable, &sample.problem.inputs)?;
        let outcome = verdict(probing.subject, &sample.problem, &sample.expected, &outputs, false);
        if outcome.status.is_failure() {
            return Ok(outcome);
        }
    }
    Ok(Outcome::passed())
}

/// Many compilations, each run and freed: memory stays where it is.
fn memory_is_given_back(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    let sample = sample(probing)?;
    let device = probing.device()?;
    let mut before = None;
    for cycle in 0..WARM_UP + CYCLES {
        if cycle == WARM_UP {
            before = resident();
        }
        probing.enter(Stage::Compile);
        let executable = device
            .compile(&sample.problem.program, &CompileOptions::threads(1))
            .map_err(|error| Box::new(refused_or_broken(&error, Stage::Compile)))?;
        probing.enter(Stage::Run);
        if cycle % 10 == 0 {
            run_once(&executable, &sample.problem.inputs)?;
        } else {
            executable.context().map_err(|error| broken(&error))?;
        }
    }
    let (Some(before), Some(after)) = (before, resident()) else {
        return Ok(Outcome::not_applicable("this system does not tell how much memory a process holds"));
    };
    let grown = after.saturating_sub(before);
    let mut outcome = if grown <= GROWTH {
        Outcome::passed()
    } else {
        let message =
            format!("memory grew by {grown} bytes over {CYCLES} compilations, {GROWTH} are allowed");
        Outcome::failed(Stage::Run, message)
    };
    outcome.figures.push(("bytes grown".to_owned(), grown as f64));
    Ok(outcome)
}

/// Bytes that this process and those it started hold, on Linux.
fn resident() -> Option<u64> {
    let own = u64::from(std::process::id());
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name stands in parentheses and may hold anything; fields count from behind it.
        let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = fields.split(' ').collect();
        let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
        if let (Some(parent), Some(pages)) = (field(1), field(21)) {
            processes.push((id, parent, pages));
        }
    }
    let mut family = vec![own];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(processes.iter().filter(|process| process.1 == parent).map(|process| process.0));
        next += 1;
    }
    let pages: u64 =
        processes.iter().filter(|process| family.contains(&process.0)).map(|process| process.2).sum();
    (pages > 0).then_some(pages * 4096)
}

/// All cases of the suite.
pub(super) fn cases() -> Vec<Case> {
    type Probe = fn(&Probing<'_>) -> Result<Outcome, Box<Outcome>>;
    let probes: [(&str, Probe); 5] = [
        ("run/again/no-memory", no_memory_of_runs),
        ("run/interleaved/independent", interleaved),
        ("free/any-order/alive", freed_in_any_order),
        ("open/twice/independent", opened_twice),
        ("free/many/memory", memory_is_given_back),
    ];
    probes
        .into_iter()
        .map(|(name, probe)| {
            Case::probe(format!("lifecycle/{name}"), Suite::Lifecycle, "objects", move |probing| {
                settle(probe(probing))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_holds_memory() {
        assert!(super::resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
