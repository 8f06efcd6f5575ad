//! Programs that probes run: small ones of which a device supports at least one.

use fewbit_core::ir::Tensor;
use fewbit_core::reference::Interpreter;

use crate::case::Problem;
use crate::random::Random;
use crate::run::{Outcome, Probing, program_of};

/// Ids of cases that make good samples, the most telling first.
const CANDIDATES: [&str; 14] = [
    "op_int/conv/k3/s1/u8-affine-channel/seed1",
    "op_int/conv/k3/s1/i8-affine-channel/seed1",
    "op_int/conv/k3/s1/i8-sym-channel/seed1",
    "op_int/conv/k3/s1/u8-affine-tensor/seed1",
    "op_int/conv/k3/s1/i8-sym-tensor/seed1",
    "op_int/matmul/matrix/6x32x16/u8-affine-channel/seed1",
    "op_int/matmul/matrix/6x32x16/i8-sym-channel/seed1",
    "op_int/add/pairs/u8-affine/seed1",
    "op_int/add/pairs/i8-affine/seed1",
    "op_int/add/pairs/i8-sym/seed1",
    "op_float/conv/k3-numbers/seed1",
    "op_float/matmul/constant-numbers/seed1",
    "op_float/add/same/seed1",
    "op_float/relu/numbers/seed1",
];

/// A problem that the device supports, with what is expected.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub problem: Problem,
    pub expected: Vec<Tensor>,
}

impl Sample {
    /// The same program on other data of the same kind: its inputs backwards.
    pub(super) fn reversed(&self) -> Result<Self, Box<Outcome>> {
        let mut problem = self.problem.clone();
        for input in &mut problem.inputs {
            let size = input.dtype().bits() / 8;
            let bytes: Vec<u8> = input.bytes().chunks_exact(size).rev().flatten().copied().collect();
            input.bytes_mut().copy_from_slice(&bytes);
        }
        expected(problem)
    }
}

fn expected(problem: Problem) -> Result<Sample, Box<Outcome>> {
    let run = Interpreter::new(&problem.program).and_then(|interpreter| interpreter.run(&problem.inputs));
    match run {
        Ok(expected) => Ok(Sample { problem, expected }),
        Err(error) => Err(Box::new(Outcome::defect(&error))),
    }
}

/// Up to `count` samples that the device supports, or why there is none.
pub(super) fn samples(probing: &Probing<'_>, count: usize) -> Result<Vec<Sample>, Box<Outcome>> {
    let device = probing.device()?;
    let mut found: Vec<Sample> = Vec::new();
    let products = super::op_int::cases().into_iter().chain(super::op_float::cases());
    let mut candidates: Vec<_> =
        products.filter_map(|case| Some((CANDIDATES.iter().position(|id| *id == case.id)?, case))).collect();
    candidates.sort_by_key(|(place, _)| *place);
    for (_, case) in candidates {
        if found.len() == count {
            break;
        }
        let Some(problem) = program_of(&case, &mut Random::of(&case.id)) else { continue };
        let problem = problem.map_err(|error| Box::new(Outcome::defect(&error)))?;
        let supported = device
            .supports(&problem.program)
            .is_ok_and(|verdicts| verdicts.iter().all(fewbit_core::capability::Verdict::is_supported));
        if supported {
            found.push(expected(problem)?);
        }
    }
    if found.is_empty() {
        return Err(Box::new(Outcome::not_applicable("the device supports none of the sample programs")));
    }
    Ok(found)
}

/// The first sample.
pub(super) fn sample(probing: &Probing<'_>) -> Result<Sample, Box<Outcome>> {
    let mut samples = samples(probing, 1)?;
    Ok(samples.swap_remove(0))
}
