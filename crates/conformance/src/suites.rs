//! The suites: every case of this suite version, in a fixed order.

mod abi;
mod capability;
mod concurrency;
mod lifecycle;
mod model;
mod op_float;
mod op_int;
mod robust;
mod sample;
mod speed;

use fewbit_core::capability::Capability;

use crate::case::Case;
use crate::error::{KitError, KitErrorKind, Result};

/// Every case for a device with this document; only the cases of suite `capability` depend on it.
pub fn all(document: &Capability) -> Vec<Case> {
    let mut cases = abi::cases();
    cases.extend(lifecycle::cases());
    cases.extend(capability::cases(document));
    cases.extend(op_int::cases());
    cases.extend(op_float::cases());
    cases.extend(model::cases());
    cases.extend(robust::cases());
    cases.extend(concurrency::cases());
    cases.extend(speed::cases());
    cases
}

/// The case of that id.
///
/// # Errors
/// [`KitErrorKind::Case`] where there is none.
pub fn find(document: &Capability, id: &str) -> Result<Case> {
    let mut all = all(document);
    if let Some(at) = all.iter().position(|case| case.id == id) {
        return Ok(all.swap_remove(at));
    }
    let near = fewbit_core::diag::nearest(id, all.iter().map(|case| case.id.as_str()));
    let error = KitError::new(KitErrorKind::Case, format!("expected the id of a case, found `{id}`"));
    Err(match near {
        Some(near) => error.help(format!("did you mean {near}? `conformance list` prints the ids")),
        None => error,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use fewbit_core::backend::Device;
    use fewbit_core::reference::Interpreter;

    use super::*;
    use crate::case::Compare;
    use crate::compare;
    use crate::random::Random;
    use crate::run::program_of;

    /// The document of the CPU backend.
    pub(crate) fn cpu() -> Capability {
        fewbit_backend_cpu::CpuBackend::new().device().capabilities().unwrap()
    }

    #[test]
    fn ids_are_unique_and_begin_with_their_suite() {
        let cases = all(&cpu());
        let ids: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(ids.len(), cases.len());
        for case in &cases {
            assert_eq!(case.id.split('/').next(), Some(case.suite.name()), "{}", case.id);
            assert!(
                case.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte)),
                "{}",
                case.id
            );
        }
    }

    #[test]
    fn every_program_can_be_made_twice_alike_and_has_a_reference() {
        for case in all(&cpu()) {
            let random = || Random::of(&case.id);
            let Some(problem) = program_of(&case, &mut random()) else { continue };
            let problem = problem.unwrap_or_else(|error| panic!("{}: {error}", case.id));
            let again = program_of(&case, &mut random()).unwrap().unwrap();
            assert_eq!(problem.program, again.program, "{}", case.id);
            assert_eq!(problem.inputs, again.inputs, "{}", case.id);
            let expected = Interpreter::new(&problem.program)
                .and_then(|interpreter| interpreter.run(&problem.inputs))
                .unwrap_or_else(|error| panic!("{}: {error}", case.id));
            assert!(!expected.is_empty(), "{}", case.id);
            if problem.compare == Compare::Declared && !problem.corner {
                assert!(!compare::is_uniform(&expected), "{} proves too little", case.id);
            }
        }
    }

    #[test]
    fn a_misspelt_id_is_answered_with_the_nearest() {
        let error = find(&cpu(), "op_int/add/same/u8-afine/seed1").unwrap_err();
        assert!(error.remedy().contains("op_int/add/same/u8-affine/seed1"), "{}", error.remedy());
    }
}
