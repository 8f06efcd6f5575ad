//! Several devices as one, where the choice of the device is seen.

use std::sync::Arc;

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::CoreErrorKind;
use fewbit_core::backend::Backend;
use fewbit_runtime::composite::Composite;

#[test]
fn processors_of_one_name_cannot_be_told_apart() {
    let cpu = CpuBackend::new().devices().unwrap().swap_remove(0);
    let error = Composite::new(vec![Arc::clone(&cpu), cpu]).err().unwrap();
    assert_eq!(error.kind(), CoreErrorKind::Backend);
    assert!(error.to_string().contains("found `cpu` of cpu and cpu"), "{error}");
    assert_eq!(Composite::new(vec![]).err().unwrap().kind(), CoreErrorKind::Backend);
}
