//! Suite `capability`: what a device declares is kept, and what it does not declare is refused with a reason.
//!
//! For every operator that a rule names, programs are made at each limit of the rule and one step beyond it. The
//! document judges each of them: those that it allows must be supported, compile and give the right outputs; those that
//! it refuses must not be promised. Where a device supports more than it declares, the planner will never know, and
//! what nobody declared is not tested: that is a failure too.

mod programs;

use std::collections::BTreeMap;

use fewbit_core::capability::{Capability, Limits, Rule, Support};
use fewbit_core::ir::DType;
use fewbit_core::plan::Precision;
use fewbit_core::quant::Symmetry;

use super::robust::settle;
use crate::case::{Case, Form, Stage, Status, Suite};
use crate::run::{Outcome, Probing, refused_or_broken, run_program};
use programs::{Candidate, conv_candidates, element_candidates, pool_candidates, product_candidates};

/// Times that the document is asked for.
const ASKED: usize = 5;

/// The document is the same at every call, and after it was written and read.
fn stable(probing: &Probing<'_>) -> Result<Outcome, Box<Outcome>> {
    let device = probing.device()?;
    let subject = probing.subject;
    for call in 0..ASKED {
        let document =
            device.capabilities().map_err(|error| Box::new(refused_or_broken(&error, Stage::Init)))?;
        if document != subject.capability {
            let message = format!("call {call} gives another document than the first");
            return Ok(Outcome::failed(Stage::Init, message));
        }
    }
    let text = subject.capability.to_json();
    let same = Capability::from_json(&text, "capability.json").is_ok_and(|read| read == subject.capability);
    Ok(if same {
        Outcome::passed()
    } else {
        Outcome::failed(Stage::Init, "the document is another one after it was written and read")
    })
}

/// Runs what is declared and checks that the rest is refused.
fn honest(probing: &Probing<'_>, candidate: &Candidate) -> Result<Outcome, Box<Outcome>> {
    let problem = candidate
        .problem(&mut crate::random::Random::of(&candidate.name))
        .map_err(|error| Box::new(Outcome::defect(&error)))?;
    let subject = probing.subject;
    if subject.declares(&problem.program) {
        return Ok(run_program(probing, &problem, candidate.form, false));
    }
    let device = probing.device()?;
    probing.enter(Stage::Supports);
    let verdicts = device
        .supports(&problem.program)
        .map_err(|error| Box::new(refused_or_broken(&error, Stage::Supports)))?;
    let mut outcome = if verdicts.iter().all(|verdict| verdict.support == Support::Native) {
        Outcome::failed(Stage::Supports, "not declared, and supported all the same")
    } else if verdicts.iter().any(|verdict| verdict.support != Support::Native && verdict.reasons.is_empty())
    {
        Outcome::failed(Stage::Supports, "refused without a reason")
    } else if verdicts.iter().any(|verdict| verdict.support == Support::Unsupported) {
        probing.enter(Stage::Compile);
        match device.compile(&problem.program, &fewbit_core::backend::CompileOptions::threads(1)) {
            Ok(_) => Outcome::failed(Stage::Compile, "refused, and compiles all the same"),
            Err(error) => {
                let outcome = refused_or_broken(&error, Stage::Compile);
                if outcome.status == Status::Failed { Outcome::passed() } else { outcome }
            }
        }
    } else {
        run_program(probing, &problem, candidate.form, false)
    };
    outcome.declared = Some(false);
    Ok(outcome)
}

/// The forms in which a rule takes quantized values, the first one the rule's own choice.
fn forms(rule: &Rule, precision: Precision, weighted: bool) -> Vec<Option<Form>> {
    if precision == Precision::F32 {
        return vec![None];
    }
    let Some(activations) = &rule.activations else { return Vec::new() };
    let first = activations.dtypes.first().copied().unwrap_or(DType::U8);
    let granularity =
        rule.weights.as_ref().filter(|_| weighted).and_then(|weights| weights.granularities.first());
    let mut forms = vec![Some(Form::new(first, activations.symmetry, granularity.copied()))];
    let other = if first == DType::U8 { DType::I8 } else { DType::U8 };
    forms.push(Some(Form::new(other, activations.symmetry, granularity.copied())));
    if activations.symmetry == Symmetry::Symmetric {
        forms.push(Some(Form::new(first, Symmetry::Affine, granularity.copied())));
    }
    if weighted {
        use fewbit_core::capability::WeightGranularity::{PerChannel, PerTensor};
        for other in [PerTensor, PerChannel] {
            if granularity != Some(&other) {
                forms.push(Some(Form::new(first, activations.symmetry, Some(other))));
            }
        }
    }
    forms
}

/// Programs around the limits of a rule for one operator.
fn candidates(op: &str, form: Option<Form>, limits: &Limits, all: bool) -> Vec<Candidate> {
    let mut candidates = match op {
        "Conv" => conv_candidates(form, limits),
        "Gemm" | "MatMul" => product_candidates(op, form, limits),
        "MaxPool" | "AveragePool" => pool_candidates(op, form, limits),
        _ => element_candidates(op, form, limits),
    };
    if !all {
        candidates.truncate(1);
    }
    candidates
}

/// All cases of the suite for a device with this document.
pub(super) fn cases(document: &Capability) -> Vec<Case> {
    let mut cases =
        vec![Case::probe("capability/document/calls/stable", Suite::Capability, "document", |probing| {
            settle(stable(probing))
        })];
    let mut found: BTreeMap<String, Candidate> = BTreeMap::new();
    let rules = document.processors.iter().flat_map(|processor| &processor.rules);
    for rule in rules {
        for op in programs::OPERATORS {
            for &precision in rule.precisions.iter().filter(|_| rule.covers_op(op)) {
                if !matches!(precision, Precision::W8A8 | Precision::F32) {
                    continue;
                }
                let weighted = matches!(op, "Conv" | "Gemm" | "MatMul");
                for (number, form) in forms(rule, precision, weighted).into_iter().enumerate() {
                    // Limits are tried in the rule's own form; the others once.
                    for candidate in candidates(op, form, &rule.limits, number == 0) {
                        found.entry(candidate.name.clone()).or_insert(candidate);
                    }
                }
            }
        }
    }
    cases.extend(found.into_values().map(|candidate| {
        let id = format!("capability/honesty/{}", candidate.name);
        let operator = candidate.operator.clone();
        let form = candidate.form;
        let mut case =
            Case::probe(id, Suite::Capability, &operator, move |probing| settle(honest(probing, &candidate)));
        case.form = form;
        case
    }));
    cases
}
