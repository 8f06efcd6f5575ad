//! Capability documents of any content: refused, or a document that can be judged and planned by.

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::backend::Device;
use fewbit_core::capability::Capability;
use fewbit_core::error::Result;
use fewbit_core::ir::{Activation, Graph, hash};
use fewbit_core::plan::Strategy;
use fewbit_core::planner::{Request, plan};
use fewbit_core::quant::weights::WeightRule;
use fewbit_core::quant::{Ranges, Scheme};
use fewbit_testing::{ConvOptions, ModelBuilder, Random};
use proptest::prelude::*;
use serde_json::{Value, json};

struct Unit;

impl Ranges for Unit {
    fn range(&self, _: &str, _: Scheme) -> Result<Option<(f32, f32)>> {
        Ok(Some((-1.0, 1.0)))
    }

    fn channel_means(&self, _: &str) -> Option<Vec<f32>> {
        None
    }

    fn origin(&self) -> String {
        "a test".to_owned()
    }
}

fn model() -> Graph {
    let mut builder = ModelBuilder::new("model", 1);
    let x = builder.input("x", &[1, 3, 8, 8]);
    let a = builder.conv(x, 8, ConvOptions::same(3).activation(Activation::Relu));
    let b = builder.depthwise(a, 3, 1, Activation::None);
    let sum = builder.add(a, b);
    let pooled = builder.global_average_pool(sum);
    let flat = builder.flatten(pooled);
    let y = builder.gemm(flat, 5);
    let shares = builder.softmax(y);
    builder.finish(&[shares])
}

/// A document that is read says the same when written and read again, and plans are made by it or refused. Whether it
/// was read.
fn document_or_error(text: &str) -> bool {
    let read = match Capability::from_json(text, "document") {
        Ok(read) => read,
        Err(error) => {
            assert!(!error.message().is_empty() && !error.to_string().contains('\n'), "{error}");
            return false;
        }
    };
    let again = Capability::from_json(&read.to_json(), "again").unwrap();
    assert_eq!(again.to_json(), read.to_json());
    let graph = model();
    let hash = hash::hash(&graph);
    for strategy in [Strategy::F32, Strategy::W8A8, Strategy::W8A8Dynamic] {
        let request = Request {
            graph: &graph,
            hash: &hash,
            target: &read,
            strategy,
            pins: &[],
            ranges: Some(&Unit),
            goal: None,
            figures: None,
            also: &[],
            weight_rule: WeightRule::AbsMax,
            bias_correction: false,
        };
        if let Ok(plan) = plan(&request) {
            assert_eq!(plan.nodes.len(), graph.nodes().count());
        }
    }
    true
}

/// Every place of a document, as the steps that lead to it.
fn places(value: &Value, here: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    all.push(here.clone());
    let mut below = |step: String, child: &Value| {
        here.push(step);
        places(child, here, all);
        here.pop();
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, child)| below(key.clone(), child)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, child)| below(at.to_string(), child));
        }
        _ => {}
    }
}

fn at<'v>(value: &'v mut Value, place: &[String]) -> Option<&'v mut Value> {
    place.iter().try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get_mut(step),
        Value::Array(items) => step.parse().ok().and_then(|at: usize| items.get_mut(at)),
        _ => None,
    })
}

/// The CPU's document with a few values replaced, left out, said twice or moved.
fn changed(seed: u64) -> String {
    let document = CpuBackend::new().device().capabilities().unwrap().to_json();
    let mut value: Value = serde_json::from_str(&document).unwrap();
    let mut random = Random::new(seed);
    for _ in 0..=random.below(3) {
        let mut all = Vec::new();
        places(&value, &mut Vec::new(), &mut all);
        let (place, other) = (random.choose(&all).clone(), random.choose(&all).clone());
        let other = at(&mut value, &other).cloned().unwrap_or_default();
        let Some(target) = at(&mut value, &place) else { continue };
        // Numbers stay numbers, so that more than the form is tried.
        let numbers =
            [json!(0), json!(-1), json!(1e308), json!(5e-324), json!(u64::MAX), json!(i64::MIN), json!(1)];
        let texts =
            [json!(""), json!("\u{0}\u{202e}"), json!("w8a8"), json!("f32"), json!("Conv"), json!("*")];
        let others = [json!(null), json!(true), json!([]), json!({}), json!([[[1]]])];
        match (random.below(6), target) {
            (0, target) => *target = other,
            (1, Value::Array(items)) if !items.is_empty() => {
                let twice = items[random.below(items.len())].clone();
                items.push(twice);
            }
            (1, Value::Object(fields)) => {
                fields.insert("planet".to_owned(), other);
            }
            (2, Value::Array(items)) => items.clear(),
            (2, Value::Object(fields)) => {
                let key = fields.keys().nth(random.below(fields.len().max(1))).cloned();
                key.map(|key| fields.remove(&key));
            }
            (3, target) => *target = random.choose(&others).clone(),
            (_, target @ Value::Number(_)) => *target = random.choose(&numbers).clone(),
            (_, target @ Value::String(_)) => *target = random.choose(&texts).clone(),
            _ => {}
        }
    }
    value.to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn arbitrary_texts_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        assert!(!document_or_error(&String::from_utf8_lossy(&bytes)));
    }

    #[test]
    fn changed_documents_are_planned_by_or_an_error(seed in any::<u64>()) {
        document_or_error(&changed(seed));
    }

    #[test]
    fn documents_of_changed_bytes_are_planned_by_or_an_error(seed in any::<u64>()) {
        let document = CpuBackend::new().device().capabilities().unwrap().to_json();
        let mut random = Random::new(seed);
        let mut bytes = document.into_bytes();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes.truncate(at + 1),
                1 => bytes[at] = random.below(256) as u8,
                2 => bytes[at] = *random.choose(b"0123456789-eE.,:[]{}\""),
                _ => bytes.insert(at, *random.choose(b"0123456789-eE.,:[]{}\"")),
            }
        }
        document_or_error(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn changed_documents_are_of_both_kinds() {
    let read = (0..200).filter(|&seed| document_or_error(&changed(seed))).count();
    assert!((20..180).contains(&read), "{read} of 200 are read");
}

#[test]
fn deep_documents_are_errors() {
    for deep in ["[", "{\"schema\":", "{\"processors\":[", "[{\"a\":"] {
        assert!(Capability::from_json(&deep.repeat(100_000), "deep").is_err());
    }
}
