//! Suite `abi`: the boundary itself, as somebody sees it who calls a plugin's functions one by one.
//!
//! Each observation is made in a worker of its own. Built-in backends have no such boundary: all but the opening of
//! the device does not apply to them.

use fewbit_core::ir::Graph;
use fewbit_core::plan::Precision;
use fewbit_plugin_host::{Check, Observed, PluginErrorKind};

use super::robust::settle;
use super::sample::{Sample, sample};
use crate::case::{Case, Stage, Status, Suite};
use crate::run::{Outcome, Probing, refused_or_broken};

/// The outcome of an observation.
fn observed(probing: &Probing<'_>, check: Check, program: Option<&Graph>, stage: Stage) -> Outcome {
    probing.enter(stage);
    match probing.subject.observe(check, program) {
        None => Outcome::not_applicable("it is no plugin"),
        Some(Ok(Observed::Passed)) => Outcome::passed(),
        Some(Ok(Observed::Absent)) => Outcome::not_applicable("the plugin does not have it, and need not"),
        Some(Ok(Observed::Failed(message))) => Outcome::failed(stage, message),
        Some(Err(error)) => {
            let status = match error.kind() {
                PluginErrorKind::Timeout => Status::TimedOut,
                PluginErrorKind::Crash | PluginErrorKind::Exit | PluginErrorKind::Protocol => Status::Crashed,
                _ => Status::Failed,
            };
            Outcome::new(status, stage, format!("{error} ({})", error.code()))
        }
    }
}

/// The device opens again, and is the same.
fn opens(probing: &Probing<'_>) -> Outcome {
    probing.enter(Stage::Init);
    let device = match probing.subject.fresh() {
        Ok(device) => device,
        Err(error) => return Outcome::failed(Stage::Init, error.to_string()),
    };
    match device.capabilities() {
        Ok(document) if document == probing.subject.capability => Outcome::passed(),
        Ok(_) => Outcome::failed(Stage::Init, "the device declares something else when it is opened again"),
        Err(error) => Outcome::failed(Stage::Init, error.to_string()),
    }
}

/// A node with an attribute that the plugin does not know is refused with a reason: it would compute something else.
fn unknown_attribute(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    if !probing.subject.is_plugin() {
        return Ok(Outcome::not_applicable("it is no plugin"));
    }
    let Sample { problem, .. } = sample(probing)?;
    let mut program = problem.program;
    // The attribute `precision`, at one that no rule of the document has.
    for id in program.node_ids() {
        if let Some(node) = program.node_mut(id) {
            node.precision = Some(Precision::W16A16);
        }
    }
    if probing.subject.declares(&program) {
        return Ok(Outcome::not_applicable("the device declares the precision that the case asks for"));
    }
    let device = probing.device()?;
    probing.enter(Stage::Supports);
    let verdicts =
        device.supports(&program).map_err(|error| Box::new(refused_or_broken(&error, Stage::Supports)))?;
    Ok(if verdicts.iter().any(|verdict| !verdict.is_supported() && !verdict.reasons.is_empty()) {
        Outcome::passed()
    } else {
        Outcome::failed(Stage::Supports, "supports a node with an attribute that it cannot know")
    })
}

/// All cases of the suite, and those of suite `lifecycle` that only a worker can see.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::probe("abi/load/again/same-device", Suite::Abi, "loading", opens),
        Case::probe("abi/node/unknown-attribute/refused", Suite::Abi, "boundary", |probing| {
            settle(unknown_attribute(probing))
        }),
    ];
    let alone = [
        ("abi/query/pure/same-table", Check::QueryIsPure, Stage::Query),
        ("abi/extension/unknown/null", Check::UnknownExtension, Stage::Init),
        ("abi/free/null/accepted", Check::FreeNothing, Stage::Run),
        ("abi/capabilities/calls/stable", Check::StableCapabilities, Stage::Init),
        ("abi/program/null/refused", Check::NoProgram, Stage::Compile),
        ("abi/device/missing/refused", Check::NoSuchDevice, Stage::Init),
        ("abi/device/twice/independent", Check::DeviceTwice, Stage::Init),
    ];
    for (id, check, stage) in alone {
        cases.push(Case::probe(id, Suite::Abi, "boundary", move |probing| {
            observed(probing, check, None, stage)
        }));
    }
    let with_program = [
        ("abi/program/refused/explained", Suite::Abi, Check::Refusal),
        ("abi/run/short-buffers/refused", Suite::Abi, Check::ShortBuffers),
        ("abi/process/environment/untouched", Suite::Abi, Check::Environment),
        ("lifecycle/free/cycles/memory", Suite::Lifecycle, Check::Cycles { times: 1000 }),
        ("lifecycle/blob/round-trip/same-outputs", Suite::Lifecycle, Check::Blob),
    ];
    for (id, suite, check) in with_program {
        cases.push(Case::probe(id, suite, "boundary", move |probing| {
            settle(
                sample(probing)
                    .map(|sample| observed(probing, check, Some(&sample.problem.program), Stage::Run)),
            )
        }));
    }
    cases
}
