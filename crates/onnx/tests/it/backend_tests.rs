//! ONNX's own backend tests: every case imported, run by the reference interpreter and by the CPU backend, compared
//! with the outputs it states, and held to the committed list of those that do not pass.
//!
//! `FEWBIT_UPDATE=1` rewrites the list (`tests/data/backend-tests.toml`) and the table of operators in
//! `docs/user/operators.md`. The cases are written once per version of the script into cargo's folder for tests.

#![expect(clippy::print_stdout, reason = "the counts belong into the log")]

mod table;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::CoreError;
use fewbit_core::backend::{CompileOptions, Device};
use fewbit_core::infer;
use fewbit_core::ir::{DType, Graph, Op, Tensor};
use fewbit_core::reference::Interpreter;
use fewbit_onnx::{ImportOptions, open, read_tensor};
use serde_json::Value;

/// Of the cases that use tensors of numbers alone, the share that has to pass.
const LEAST_SHARE: f64 = 0.86;

/// One case as the index describes it.
struct Case {
    name: String,
    /// The operator it is about, or the set of models it is from.
    operator: String,
    /// The set in which the operator got the form that is tested.
    opset: u64,
    rtol: f64,
    atol: f64,
    /// What it needs beyond tensors of numbers, computed the same way every time.
    needs: Vec<String>,
    inputs: Vec<String>,
    sets: u64,
}

/// How a case went.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Pass,
    /// Wrong results, or an error where there should be results.
    Fail(String),
    /// An operator, a form or a type that this build lacks, and says so.
    Unsupported(String),
    /// Not about tensors of numbers.
    OutOfScope(String),
}

impl Outcome {
    /// As the list writes it; `None` for a pass.
    fn line(&self) -> Option<String> {
        match self {
            Outcome::Pass => None,
            Outcome::Fail(reason) => Some(format!("fail: {reason}")),
            Outcome::Unsupported(reason) => Some(format!("unsupported: {reason}")),
            Outcome::OutOfScope(reason) => Some(format!("out of scope: {reason}")),
        }
    }
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder with the cases, written by `python` where it is not there yet.
fn cases_folder(python: &std::ffi::OsStr) -> PathBuf {
    let script = here("tests/data/backend_cases.py");
    // FNV-1a of the script: another script gets another folder.
    let hash = std::fs::read(&script)
        .unwrap()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("onnx-cases-{hash:016x}"));
    if !folder.join("index.json").exists() {
        std::fs::create_dir_all(&folder).unwrap();
        let run = Command::new(python).arg(&script).arg(&folder).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
    folder
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn cases(folder: &Path) -> (String, Vec<Case>) {
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let list = index["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| Case {
            name: case["name"].as_str().unwrap().to_owned(),
            operator: case["operator"].as_str().unwrap().to_owned(),
            opset: case["opset"].as_u64().unwrap(),
            rtol: case["rtol"].as_f64().unwrap(),
            atol: case["atol"].as_f64().unwrap(),
            needs: strings(&case["needs"]),
            inputs: strings(&case["inputs"]),
            sets: case["sets"].as_u64().unwrap(),
        })
        .collect();
    (index["onnx"].as_str().unwrap().to_owned(), list)
}

/// The tensors `kind_0.pb`, `kind_1.pb` and so on of a data set.
fn tensors(set: &Path, kind: &str) -> Result<Vec<Tensor>, Outcome> {
    (0..)
        .map(|number| set.join(format!("{kind}_{number}.pb")))
        .take_while(|path| path.exists())
        .map(|path| read_tensor(&std::fs::read(path).unwrap()).map_err(|error| refused(&error)))
        .collect()
}

/// An error of import: a lack where it says so, a failure otherwise.
fn refused(error: &impl std::fmt::Display) -> Outcome {
    let message = error.to_string();
    match message.split_once("found elements of type ") {
        Some((_, dtype)) => {
            let dtype: String = dtype.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            Outcome::Unsupported(format!("element type {dtype}"))
        }
        None if message.contains("expected operator set") => Outcome::Unsupported("operator set".to_owned()),
        None => failed(&message),
    }
}

fn failed(message: &str) -> Outcome {
    Outcome::Fail(message.lines().next().unwrap_or_default().chars().take(400).collect())
}

/// The largest excess over `atol + rtol * |expected|`, as a reason.
fn differ(actual: &Tensor, expected: &Tensor, case: &Case) -> Option<String> {
    if actual.dtype() != expected.dtype() {
        return Some(format!("type {} where {} is expected", actual.dtype(), expected.dtype()));
    }
    if actual.extents() != expected.extents() {
        return Some(format!("extents {:?} where {:?} are expected", actual.extents(), expected.extents()));
    }
    // ONNX's own runner allows bfloat16 two steps.
    let rtol = if actual.dtype() == DType::Bf16 { case.rtol.max(1.0 / 64.0) } else { case.rtol };
    let (a, e) = (actual.to_f64_vec(), expected.to_f64_vec());
    let off = |a: f64, e: f64| {
        let close = a == e || (a.is_nan() && e.is_nan()) || (a - e).abs() <= case.atol + rtol * e.abs();
        !close || (e.is_infinite() && a != e)
    };
    let wrong = a.iter().zip(&e).filter(|&(&a, &e)| off(a, e)).count();
    let first = a.iter().zip(&e).find(|&(&a, &e)| off(a, e))?;
    Some(format!(
        "{wrong} of {} elements differ, the first {} where {} is expected",
        a.len(),
        first.0,
        first.1
    ))
}

fn compare(actual: &[Tensor], expected: &[Tensor], case: &Case, by: &str) -> Result<(), Outcome> {
    if actual.len() < expected.len() {
        return Err(Outcome::Fail(format!("{} outputs where {} are expected", actual.len(), expected.len())));
    }
    for (number, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        if let Some(reason) = differ(actual, expected, case) {
            return Err(failed(&format!("{by}output {number}: {reason}")));
        }
    }
    Ok(())
}

/// Operators that the import had no meaning for.
fn missing(graph: &Graph) -> Option<String> {
    let mut names: Vec<&str> = graph
        .nodes()
        .filter_map(|(_, node)| match &node.op {
            Op::Opaque { op_type, .. } => Some(op_type.as_str()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| format!("operator, or this form of it: {}", names.join(", ")))
}

fn run_case(folder: &Path, case: &Case, device: &dyn Device) -> Result<(), Outcome> {
    if !case.needs.is_empty() {
        return Err(Outcome::OutOfScope(case.needs.join(", ")));
    }
    let folder = folder.join(&case.name);
    for number in 0..case.sets {
        let set = folder.join(format!("set_{number}"));
        let (given, expected) = (tensors(&set, "input")?, tensors(&set, "output")?);
        let shapes =
            case.inputs.iter().zip(&given).map(|(name, tensor)| (name.clone(), tensor.extents().to_vec()));
        let options = ImportOptions::fixed(shapes.collect(), None);
        let mut graph = open(&folder.join("model.onnx"), &options).map_err(|error| refused(&error))?;
        if let Some(reason) = missing(&graph) {
            return Err(Outcome::Unsupported(reason));
        }
        infer::infer(&mut graph).map_err(|error| failed(&error.to_string()))?;
        let inputs: Vec<Tensor> = graph
            .inputs
            .iter()
            .map(|&id| {
                let at = case.inputs.iter().position(|name| *name == graph.value(id).name);
                at.and_then(|at| given.get(at).cloned())
                    .ok_or_else(|| failed(&format!("no data for {}", graph.value(id).name)))
            })
            .collect::<Result<_, _>>()?;
        // Whole networks are for kernels: the reference computes in f64, one product at a time.
        let network = case.name.starts_with("light-");
        if !network {
            let outputs = Interpreter::new(&graph)
                .and_then(|interpreter| interpreter.run(&inputs))
                .map_err(|error| failed(&error.to_string()))?;
            compare(&outputs, &expected, case, "")?;
        }
        let supported = device
            .supports(&graph)
            .is_ok_and(|verdicts| verdicts.iter().all(fewbit_core::capability::Verdict::is_supported));
        if network || (supported && infer::require_fixed(&graph).is_ok()) {
            let outputs =
                on_device(device, &graph, &inputs).map_err(|error| failed(&format!("cpu: {error}")))?;
            compare(&outputs, &expected, case, "cpu: ")?;
        }
    }
    Ok(())
}

fn on_device(device: &dyn Device, graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, CoreError> {
    let executable = device.compile(graph, &CompileOptions::threads(1))?;
    let mut outputs = executable
        .outputs()
        .iter()
        .map(|spec| Tensor::zeros(spec.dtype, &spec.extents))
        .collect::<Result<Vec<_>, CoreError>>()?;
    Arc::clone(&executable).context()?.run(inputs, &mut outputs)?;
    Ok(outputs)
}

/// Every case on as many threads as there are processors.
fn run_all(folder: &Path, cases: &[Case]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes = vec![Outcome::Pass; cases.len()];
    let parts: Vec<Vec<(usize, Outcome)>> = std::thread::scope(|scope| {
        let work = || {
            let device = CpuBackend::new().device();
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(at) else { return done };
                let run = catch_unwind(AssertUnwindSafe(|| run_case(folder, case, &device)));
                let outcome = run.unwrap_or_else(|_| Err(Outcome::Fail("panics".to_owned())));
                done.push((at, outcome.err().unwrap_or(Outcome::Pass)));
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for (at, outcome) in parts.into_iter().flatten() {
        outcomes[at] = outcome;
    }
    outcomes
}

#[test]
fn the_backend_tests_of_onnx_pass_but_for_those_listed() {
    let Some(python) = std::env::var_os("FEWBIT_PYTHON") else {
        fewbit_testing::skip!("FEWBIT_PYTHON does not name a Python with onnx");
    };
    let folder = cases_folder(&python);
    let (version, cases) = cases(&folder);
    assert!(cases.len() > 1500, "found {} cases of onnx {version} only", cases.len());
    let outcomes = run_all(&folder, &cases);
    let found: BTreeMap<&str, String> = cases
        .iter()
        .zip(&outcomes)
        .filter_map(|(case, outcome)| outcome.line().map(|line| (case.name.as_str(), line)))
        .collect();
    let share = table::share(&outcomes);
    println!("onnx {version}: {}", table::summary(&outcomes));
    let list = here("tests/data/backend-tests.toml");
    if std::env::var_os("FEWBIT_UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&list, table::list(&version, &found)).unwrap();
        let page = table::page(&version, &cases, &outcomes);
        std::fs::write(here("../../docs/user/operators.md"), page).unwrap();
        return;
    }
    let committed: toml::Table = std::fs::read_to_string(&list).unwrap().parse().unwrap();
    if committed["onnx"].as_str() != Some(&version) {
        fewbit_testing::skip!("the list is of onnx {}, found {version}", committed["onnx"]);
    }
    let listed = committed["cases"].as_table().unwrap();
    let mut wrong = Vec::new();
    for (case, line) in &found {
        // The reason may be worded anew; what kind of lack it is may not change unseen.
        let kind = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
        match listed.get(*case).and_then(toml::Value::as_str) {
            None => wrong.push(format!("{case} does not pass and is not listed: {line}")),
            Some(reason) if kind(reason) != kind(line) => {
                wrong.push(format!("{case} is listed as `{reason}`, found `{line}`"));
            }
            Some(_) => {}
        }
    }
    for name in listed.keys().filter(|name| !found.contains_key(name.as_str())) {
        wrong.push(format!("{name} is listed and passes; FEWBIT_UPDATE=1 with this test strikes it off"));
    }
    assert!(wrong.is_empty(), "{} cases differ from the list:\n{}", wrong.len(), wrong.join("\n"));
    assert!(share >= LEAST_SHARE, "expected {LEAST_SHARE} of the cases to pass, found {share}");
}
