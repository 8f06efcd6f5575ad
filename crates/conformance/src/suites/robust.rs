//! Suite `robust`: wrong arguments, poisoned memory, programs that cannot be.

use std::sync::Arc;

use fewbit_core::backend::CompileOptions;
use fewbit_core::capability::Support;
use fewbit_core::ir::{DType, Dim, Graph, Op, Shape, Tensor};

use super::sample::{Sample, sample};
use crate::case::{Case, Stage, Suite};
use crate::run::{Outcome, Probing, compile, refused_or_broken, verdict};

/// A change of a run's arguments that the device must refuse.
type Spoil = fn(&mut Vec<Tensor>, &mut Vec<Tensor>) -> Result<(), fewbit_core::CoreError>;

fn doubled(tensor: &Tensor) -> Result<Tensor, fewbit_core::CoreError> {
    let mut extents = tensor.extents().to_vec();
    if let Some(first) = extents.first_mut() {
        *first += 1;
    }
    Tensor::zeros(tensor.dtype(), &extents)
}

fn spoils() -> [(&'static str, Spoil); 8] {
    [
        ("inputs/none", |inputs, _| {
            inputs.clear();
            Ok(())
        }),
        ("inputs/one-more", |inputs, _| {
            inputs.push(Tensor::zeros(DType::U8, &[1])?);
            Ok(())
        }),
        ("inputs/longer", |inputs, _| {
            inputs[0] = doubled(&inputs[0])?;
            Ok(())
        }),
        ("inputs/short", |inputs, _| {
            inputs[0] = Tensor::zeros(inputs[0].dtype(), &[1])?;
            Ok(())
        }),
        ("inputs/type", |inputs, _| {
            let other = if inputs[0].dtype() == DType::I64 { DType::F32 } else { DType::I64 };
            inputs[0] = Tensor::zeros(other, inputs[0].extents())?;
            Ok(())
        }),
        ("outputs/none", |_, outputs| {
            outputs.clear();
            Ok(())
        }),
        ("outputs/short", |_, outputs| {
            outputs[0] = Tensor::zeros(outputs[0].dtype(), &[1])?;
            Ok(())
        }),
        ("outputs/rank", |_, outputs| {
            outputs[0] = outputs[0].reshaped(&[outputs[0].elements(), 1, 1, 1, 1, 1, 1])?;
            Ok(())
        }),
    ]
}

/// Runs with spoilt arguments, which must be refused, and then with right ones in the same context.
fn spoilt(probing: &Probing<'_>, spoil: Spoil) -> Result<Outcome, Box<Outcome>> {
    let Sample { problem, expected } = sample(probing)?;
    let device = probing.device()?;
    probing.enter(Stage::Compile);
    let executable = compile(device.as_ref(), &problem.program)?;
    probing.enter(Stage::Run);
    let broken = |error: fewbit_core::CoreError| Box::new(refused_or_broken(&error, Stage::Run));
    let mut context = executable.context().map_err(broken)?;
    let (mut inputs, mut outputs) = (problem.inputs.clone(), expected.clone());
    spoil(&mut inputs, &mut outputs).map_err(|error| Box::new(Outcome::defect(&error)))?;
    let before: Vec<Vec<u8>> = outputs.iter().map(|output| output.bytes().to_vec()).collect();
    match context.run(&inputs, &mut outputs) {
        Ok(()) => return Ok(Outcome::failed(Stage::Run, "ran on arguments that do not fit the program")),
        Err(error) => {
            let outcome = refused_or_broken(&error, Stage::Run);
            if outcome.status != crate::Status::Failed {
                return Ok(outcome);
            }
        }
    }
    if before.iter().zip(&outputs).any(|(before, output)| before != output.bytes()) {
        return Ok(Outcome::failed(Stage::Run, "wrote to outputs of a run that it refused"));
    }
    let mut outputs = blank(&expected)?;
    context.run(&problem.inputs, &mut outputs).map_err(broken)?;
    Ok(verdict(probing.subject, &problem, &expected, &outputs, false))
}

fn blank(like: &[Tensor]) -> Result<Vec<Tensor>, Box<Outcome>> {
    like.iter()
        .map(|tensor| Tensor::zeros(tensor.dtype(), tensor.extents()))
        .collect::<Result<_, _>>()
        .map_err(|error| Box::new(Outcome::defect(&error)))
}

/// Whatever outputs hold before a run, they hold the same behind it.
fn poisoned(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    let Sample { problem, expected } = sample(probing)?;
    let device = probing.device()?;
    probing.enter(Stage::Compile);
    let executable = compile(device.as_ref(), &problem.program)?;
    probing.enter(Stage::Run);
    for poison in [0x00, 0xff, 0x7f, 0xa5] {
        let broken = |error: fewbit_core::CoreError| Box::new(refused_or_broken(&error, Stage::Run));
        let mut outputs = blank(&expected)?;
        for output in &mut outputs {
            output.bytes_mut().fill(poison);
        }
        let mut context = Arc::clone(&executable).context().map_err(broken)?;
        context.run(&problem.inputs, &mut outputs).map_err(broken)?;
        let outcome = verdict(probing.subject, &problem, &expected, &outputs, false);
        if outcome.status.is_failure() {
            return Ok(outcome);
        }
    }
    Ok(Outcome::passed())
}

/// A program that cannot be compiled: an error or a refusal with a reason, and no executable.
fn hopeless(probing: &Probing<'_>, program: &Graph) -> Result<Outcome, Box<Outcome>> {
    let device = probing.device()?;
    probing.enter(Stage::Supports);
    match device.supports(program) {
        Ok(verdicts) => {
            let refused = verdicts.iter().any(|verdict| !verdict.is_supported());
            let silent = verdicts
                .iter()
                .any(|verdict| verdict.support != Support::Native && verdict.reasons.is_empty());
            if !refused || silent {
                let message = "expected a refusal with a reason for a program that cannot be compiled";
                return Ok(Outcome::failed(Stage::Supports, message));
            }
        }
        Err(error) => {
            let outcome = refused_or_broken(&error, Stage::Supports);
            if outcome.status != crate::Status::Failed {
                return Ok(outcome);
            }
        }
    }
    probing.enter(Stage::Compile);
    match device.compile(program, &CompileOptions::threads(1)) {
        Ok(_) => Ok(Outcome::failed(Stage::Compile, "compiled a program that cannot be")),
        Err(error) => {
            let outcome = refused_or_broken(&error, Stage::Compile);
            Ok(if outcome.status == crate::Status::Failed { Outcome::passed() } else { outcome })
        }
    }
}

fn unknown_operator() -> Graph {
    let mut graph = Graph::new("unknown");
    let x = graph.add_input("x", DType::F32, Shape::fixed(&[1, 4]));
    let op = Op::Opaque {
        domain: "org.example".into(),
        op_type: "Nonsense".into(),
        attributes: indexmap::IndexMap::new(),
        lack: Box::default(),
    };
    let y = graph.add_op("node", op, &[x]);
    let value = graph.value_mut(y);
    value.dtype = Some(DType::F32);
    value.shape = Some(Shape::fixed(&[1, 4]));
    graph.outputs.push(y);
    graph
}

fn free_dimension() -> Graph {
    let mut graph = Graph::new("free");
    let shape = Shape(vec![Dim::Symbol("N".into()), Dim::Fixed(4)]);
    let x = graph.add_input("x", DType::F32, shape.clone());
    let y = graph.add_op("node", Op::Unary(fewbit_core::ir::UnaryOp::Relu), &[x]);
    let value = graph.value_mut(y);
    value.dtype = Some(DType::F32);
    value.shape = Some(shape);
    graph.outputs.push(y);
    graph
}

/// What a backend finds in the process, and must leave as it was.
fn environment() -> (Vec<(std::ffi::OsString, std::ffi::OsString)>, Option<std::path::PathBuf>) {
    (std::env::vars_os().collect(), std::env::current_dir().ok())
}

/// Flattens what a probe says.
pub(super) fn settle(outcome: Result<Outcome, Box<Outcome>>) -> Outcome {
    outcome.unwrap_or_else(|outcome| *outcome)
}

/// All cases of the suite.
pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = spoils()
        .into_iter()
        .map(|(name, spoil)| {
            Case::probe(format!("robust/{name}/refused"), Suite::Robust, "arguments", move |probing| {
                settle(spoilt(probing, spoil))
            })
        })
        .collect();
    cases.push(Case::probe("robust/outputs/poisoned/all-written", Suite::Robust, "arguments", |probing| {
        settle(poisoned(probing))
    }));
    cases.push(Case::probe(
        "robust/program/unknown-operator/refused",
        Suite::Robust,
        "programs",
        |probing| settle(hopeless(probing, &unknown_operator())),
    ));
    cases.push(Case::probe("robust/program/free-dimension/refused", Suite::Robust, "programs", |probing| {
        let dynamic = probing.subject.capability.processors.iter().any(|processor| processor.dynamic_shapes);
        if dynamic {
            return Outcome::not_applicable("the device takes free dimensions");
        }
        settle(hopeless(probing, &free_dimension()))
    }));
    cases.push(Case::probe("robust/process/environment/untouched", Suite::Robust, "process", |probing| {
        let before = environment();
        let ran = sample(probing).and_then(|Sample { problem, .. }| {
            let device = probing.device()?;
            probing.enter(Stage::Compile);
            let executable = compile(device.as_ref(), &problem.program)?;
            probing.enter(Stage::Run);
            crate::run::run_once(&executable, &problem.inputs)
        });
        match ran {
            Err(outcome) => *outcome,
            Ok(_) if environment() == before => Outcome::passed(),
            Ok(_) => Outcome::failed(Stage::Run, "changed environment variables or the working directory"),
        }
    }));
    cases
}
