//! Running a program: supports, compile, run, compare.

use std::sync::Arc;

use fewbit_core::backend::{CompileOptions, Device, Executable};
use fewbit_core::capability::Verdict;
use fewbit_core::ir::{DType, Graph, Tensor};
use fewbit_core::reference::Interpreter;
use fewbit_core::{CoreError, CoreErrorKind};
use fewbit_plugin_host::PluginErrorKind;

use super::{Outcome, Probing};
use crate::case::{Compare, Form, Problem, Stage, Status};
use crate::compare;
use crate::subject::Subject;

/// The outcome of an error that a device gave at `stage`.
pub(crate) fn refused_or_broken(error: &CoreError, stage: Stage) -> Outcome {
    let text = error.to_string();
    // Behind the traits an isolated plugin's end is an error of the backend that says what became of its process.
    let status = if error.kind() != CoreErrorKind::Backend {
        Status::Failed
    } else if text.contains(PluginErrorKind::Timeout.entry().code) {
        Status::TimedOut
    } else if [PluginErrorKind::Crash, PluginErrorKind::Exit, PluginErrorKind::Protocol]
        .iter()
        .any(|kind| text.contains(kind.entry().code))
    {
        Status::Crashed
    } else {
        Status::Failed
    };
    Outcome::new(status, stage, text)
}

/// Bytes that no operator gives by chance in every element: outputs are filled with them before a run.
pub(crate) fn poisoned(executable: &dyn Executable) -> Result<Vec<Tensor>, CoreError> {
    executable
        .outputs()
        .iter()
        .map(|spec| {
            let mut tensor = Tensor::zeros(spec.dtype, &spec.extents)?;
            let poison = if spec.dtype == DType::Bool { 1 } else { 0xa5 };
            tensor.bytes_mut().fill(poison);
            Ok(tensor)
        })
        .collect()
}

/// Whether a device's document speaks of a form at all.
pub(crate) fn takes(subject: &Subject, form: Form) -> bool {
    use fewbit_core::quant::Symmetry;
    subject.capability.processors.iter().flat_map(|processor| &processor.rules).any(|rule| {
        rule.activations.as_ref().is_some_and(|activations| {
            activations.dtypes.contains(&form.dtype)
                && (activations.symmetry == Symmetry::Affine || form.symmetry == Symmetry::Symmetric)
        }) && form.granularity.is_none_or(|wanted| {
            // One scale for all channels is a case of one scale per channel.
            rule.weights.as_ref().is_some_and(|weights| {
                weights.granularities.contains(&wanted)
                    || (wanted == fewbit_core::capability::WeightGranularity::PerTensor
                        && weights
                            .granularities
                            .contains(&fewbit_core::capability::WeightGranularity::PerChannel))
            })
        })
    })
}

/// The reasons of the refused nodes of a program, as one text; `None` where it is supported.
pub(crate) fn refusal(program: &Graph, verdicts: &[Verdict]) -> Option<String> {
    let reasons: Vec<String> = program
        .nodes()
        .zip(verdicts)
        .filter(|(_, verdict)| !verdict.is_supported())
        .map(|((_, node), verdict)| {
            let reasons: Vec<&str> = verdict.reasons.iter().map(|reason| reason.message.as_str()).collect();
            format!("{}: {}", node.op.kind(), reasons.join("; "))
        })
        .collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

/// Runs `problem` and compares what comes out with the reference.
pub(crate) fn run_program(
    probing: &Probing<'_>,
    problem: &Problem,
    form: Option<Form>,
    power: bool,
) -> Outcome {
    let subject = probing.subject;
    let declared = subject.declares(&problem.program);
    let mut outcome = judged(probing, problem, form, declared, power);
    outcome.declared = Some(declared);
    outcome
}

fn judged(
    probing: &Probing<'_>,
    problem: &Problem,
    form: Option<Form>,
    declared: bool,
    power: bool,
) -> Outcome {
    let subject = probing.subject;
    let program = &problem.program;
    let device = match probing.device() {
        Ok(device) => device,
        Err(outcome) => return *outcome,
    };
    probing.enter(Stage::Supports);
    let verdicts = match device.supports(program) {
        Ok(verdicts) => verdicts,
        Err(error) => return refused_or_broken(&error, Stage::Supports),
    };
    if verdicts.len() != program.node_count() {
        let message = format!("expected {} verdicts, found {}", program.node_count(), verdicts.len());
        return Outcome::failed(Stage::Supports, message);
    }
    if let Some(reasons) = refusal(program, &verdicts) {
        return refused(subject, problem, form, declared, &verdicts, reasons);
    }
    let expected = match Interpreter::new(program).and_then(|interpreter| interpreter.run(&problem.inputs)) {
        Ok(expected) => expected,
        Err(error) => {
            return Outcome::defect(&error);
        }
    };
    let found = match execute(probing, device.as_ref(), problem) {
        Ok(found) => found,
        Err(outcome) => return *outcome,
    };
    probing.enter(Stage::Compare);
    verdict(subject, problem, &expected, &found, power)
}

/// What a refusal means.
fn refused(
    subject: &Subject,
    problem: &Problem,
    form: Option<Form>,
    declared: bool,
    verdicts: &[Verdict],
    reasons: String,
) -> Outcome {
    let silent = verdicts.iter().any(|verdict| !verdict.is_supported() && verdict.reasons.is_empty());
    if silent {
        return Outcome::failed(Stage::Supports, format!("refused without a reason: {reasons}"));
    }
    if form.is_some_and(|form| !takes(subject, form)) {
        return Outcome::not_applicable(format!(
            "the device does not declare {}",
            form.map(|f| f.to_string()).unwrap_or_default()
        ));
    }
    if declared && !problem.optional {
        return Outcome::failed(Stage::Supports, format!("declared, and refused all the same: {reasons}"));
    }
    Outcome::new(Status::Refused, Stage::Supports, reasons)
}

/// Compiles and runs, with outputs poisoned beforehand.
pub(crate) fn execute(
    probing: &Probing<'_>,
    device: &dyn Device,
    problem: &Problem,
) -> Result<Vec<Tensor>, Box<Outcome>> {
    probing.enter(Stage::Compile);
    let executable = compile(device, &problem.program)?;
    probing.enter(Stage::Run);
    run_once(&executable, &problem.inputs)
}

/// Compiles a program that the device supports, and checks what the executable says it takes and gives.
pub(crate) fn compile(device: &dyn Device, program: &Graph) -> Result<Arc<dyn Executable>, Box<Outcome>> {
    let executable = device.compile(program, &CompileOptions::threads(1)).map_err(|error| {
        // A promise: what is supported compiles.
        let mut outcome = refused_or_broken(&error, Stage::Compile);
        outcome.message = format!("supported, and does not compile: {}", outcome.message);
        Box::new(outcome)
    })?;
    for (what, ids, specs) in [
        ("inputs", &program.inputs, executable.inputs()),
        ("outputs", &program.outputs, executable.outputs()),
    ] {
        let fits = ids.len() == specs.len()
            && ids.iter().zip(specs).all(|(&id, spec)| {
                let value = program.value(id);
                value.dtype == Some(spec.dtype) && value.extents().as_deref() == Some(&spec.extents)
            });
        if !fits {
            let message = format!("expected the program's {what}, found {specs:?}");
            return Err(Box::new(Outcome::failed(Stage::Compile, message)));
        }
    }
    Ok(executable)
}

/// One run in a new context.
pub(crate) fn run_once(
    executable: &Arc<dyn Executable>,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, Box<Outcome>> {
    let broken = |error: CoreError| Box::new(refused_or_broken(&error, Stage::Run));
    let mut outputs = poisoned(executable.as_ref()).map_err(broken)?;
    let given = inputs.to_vec();
    let mut context = Arc::clone(executable).context().map_err(broken)?;
    context.run(&given, &mut outputs).map_err(broken)?;
    if given.iter().zip(inputs).any(|(given, input)| given.bytes() != input.bytes()) {
        return Err(Box::new(Outcome::failed(Stage::Run, "an input was written to")));
    }
    Ok(outputs)
}

/// The outcome of outputs beside the expected ones.
pub(crate) fn verdict(
    subject: &Subject,
    problem: &Problem,
    expected: &[Tensor],
    found: &[Tensor],
    power: bool,
) -> Outcome {
    let same_form = expected.len() == found.len()
        && expected.iter().zip(found).all(|(e, f)| e.dtype() == f.dtype() && e.extents() == f.extents());
    if !same_form {
        return Outcome::failed(Stage::Compare, "outputs have other types or extents than the program's");
    }
    let numerics = subject.numerics();
    let comparison = compare::compare(expected, found, problem.compare, numerics);
    let mut outcome = if comparison.measure.holds() {
        Outcome::passed()
    } else {
        let message = comparison.worst.map_or_else(String::new, |worst| {
            let extents = expected[worst.output].extents();
            let all: usize = expected.iter().map(Tensor::elements).sum();
            format!(
                "output {} at {:?}: expected {}, found {}; {} of {all} elements differ",
                worst.output,
                position(extents, worst.element),
                worst.expected,
                worst.found,
                worst.different
            )
        });
        Outcome::failed(Stage::Compare, message)
    };
    if outcome.status == Status::Passed && !problem.corner && compare::is_uniform(expected) {
        outcome.status = Status::Mistrusted;
        "nearly all elements of the expected output are equal".clone_into(&mut outcome.message);
    }
    if power && problem.compare != Compare::Exact && !expected.iter().all(|tensor| tensor.elements() == 0) {
        outcome.power = compare::power(expected, problem.compare, numerics);
    }
    outcome.measure = Some(comparison.measure);
    outcome
}

/// The index of an element along each axis.
fn position(extents: &[usize], element: usize) -> Vec<usize> {
    let mut rest = element;
    let mut index: Vec<usize> = extents
        .iter()
        .rev()
        .map(|&extent| {
            let at = rest % extent.max(1);
            rest /= extent.max(1);
            at
        })
        .collect();
    index.reverse();
    index
}
