//! Models with one odd operator each: a graph or a typed error, never a panic.
//!
//! Two sources. Nodes of every operator that the importer names, over values of every rank and type, with attributes of
//! every name that it asks for, of any type and value: both are read off the importer's own source, so that a new
//! operator is tried without a line here. And the small models of the other tests, with the attributes, inputs, ranks
//! and constants of one node changed; those of `tests/data/operator_cases.py` need a Python.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fewbit_core::infer;
use fewbit_core::ir::text;
use fewbit_testing::Random;
use prost::Message;

use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use crate::{ExportOptions, ImportOptions, export, import};

const INTS: [i64; 20] = [
    0,
    1,
    2,
    3,
    4,
    7,
    10,
    16,
    -1,
    -2,
    -3,
    64,
    255,
    1 << 20,
    1 << 31,
    -(1 << 31),
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
];
const FLOATS: [f32; 10] =
    [0.0, 1.0, -1.0, 0.5, -0.75, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE, f32::MAX];
/// f32, u8, i8, i32, i64, text, bool, f16, f64, u64, bf16, i4, and two that there are not.
const TYPES: [i32; 14] = [1, 2, 3, 6, 7, 8, 9, 10, 11, 13, 16, 22, 0, 99];

/// What is written in quotes in the importer's source: words with a capital, and words without.
fn words() -> (Vec<String>, Vec<String>) {
    fn below(folder: &Path, texts: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, texts);
            } else if path.file_name().is_some_and(|name| name != "mutated.rs") {
                texts.push(std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut texts = Vec::new();
    below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import"), &mut texts);
    let mut quoted: Vec<String> = texts
        .iter()
        .flat_map(|text| text.split('"').skip(1))
        .filter(|word| word.len() > 1 || *word == "k" || *word == "p")
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        .map(str::to_owned)
        .collect();
    quoted.sort();
    quoted.dedup();
    quoted.into_iter().partition(|word| word.starts_with(|first: char| first.is_ascii_uppercase()))
}

fn several<T: Copy>(random: &mut Random, choices: &[T]) -> Vec<T> {
    (0..random.below(6)).map(|_| *random.choose(choices)).collect()
}

fn info(name: &str, dtype: i32, dims: Option<Vec<Dimension>>) -> ValueInfoProto {
    let shape = dims.map(|dim| TensorShapeProto { dim });
    let tensor = type_proto::Tensor { elem_type: Some(dtype), shape };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(r#type), ..ValueInfoProto::default() }
}

fn dims(random: &mut Random, rank: usize) -> Vec<Dimension> {
    let symbol = random.below(8) == 0;
    (0..rank)
        .map(|at| {
            let value = match random.below(12) {
                0 if symbol => dimension::Value::DimParam("N".to_owned()),
                1 => dimension::Value::DimValue(0),
                _ => dimension::Value::DimValue([2, 4, 6, 5, 3, 1][(at + random.below(3)) % 6]),
            };
            Dimension { value: Some(value), ..Dimension::default() }
        })
        .collect()
}

/// A constant of any type and rank, whose bytes fit it.
fn constant(random: &mut Random, name: &str) -> TensorProto {
    let rank = *random.choose(&[0, 1, 1, 1, 2, 3, 4]);
    let dims: Vec<i64> = (0..rank).map(|_| *random.choose(&[1, 2, 3, 4, 0])).collect();
    let count = dims.iter().product::<i64>() as usize;
    let mut tensor = TensorProto { name: Some(name.to_owned()), dims, ..TensorProto::default() };
    let kind = random.below(6);
    tensor.data_type = Some([7, 7, 1, 2, 9, 6][kind]);
    match kind {
        0 | 1 => tensor.int64_data = (0..count).map(|_| *random.choose(&INTS)).collect(),
        2 => tensor.float_data = (0..count).map(|_| *random.choose(&FLOATS)).collect(),
        _ => tensor.int32_data = (0..count).map(|_| random.below(3) as i32).collect(),
    }
    tensor
}

/// An attribute of any type and value, or of one type that says it is another.
fn attribute(random: &mut Random, name: &str, texts: &[String]) -> AttributeProto {
    let mut made = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let kind = match random.below(16) {
        0..=5 => {
            // Mostly small: large ones are refused early.
            let end = if random.below(3) == 0 { INTS.len() } else { 8 };
            made.i = Some(*random.choose(&INTS[..end]));
            AttributeType::Int
        }
        6..=8 => {
            let end = if random.below(3) == 0 { INTS.len() } else { 11 };
            made.ints = several(random, &INTS[..end]);
            AttributeType::Ints
        }
        9 => {
            made.f = Some(*random.choose(&FLOATS));
            AttributeType::Float
        }
        10 => {
            made.floats = several(random, &FLOATS);
            AttributeType::Floats
        }
        11 | 12 => {
            made.s = Some(random.choose(texts).clone().into_bytes().into());
            AttributeType::String
        }
        13 => {
            made.strings =
                (0..random.below(4)).map(|_| random.choose(texts).clone().into_bytes().into()).collect();
            AttributeType::Strings
        }
        14 => {
            made.t = Some(constant(random, ""));
            AttributeType::Tensor
        }
        _ => {
            let node = NodeProto {
                input: vec!["x".to_owned()],
                output: vec!["body".to_owned()],
                op_type: Some("Relu".to_owned()),
                ..NodeProto::default()
            };
            made.g = Some(GraphProto {
                node: vec![node],
                input: several(random, &["i", "c", "x"]).iter().map(|name| info(name, 1, None)).collect(),
                output: several(random, &["body", "c", "x"]).iter().map(|name| info(name, 1, None)).collect(),
                ..GraphProto::default()
            });
            AttributeType::Graph
        }
    };
    let lies = random.below(12) == 0;
    made.r#type = Some(if lies { random.below(16) as i32 } else { kind as i32 });
    made
}

fn model(opset: i64, graph: GraphProto) -> ModelProto {
    let set = |domain: &str, version| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![set("", opset), set("com.microsoft", 1)],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// A model of one node of operator `op`.
fn invented(op: &str, random: &mut Random, names: &[String], texts: &[String]) -> ModelProto {
    let mut graph = GraphProto { name: Some("odd".to_owned()), ..GraphProto::default() };
    let rank = random.below(6);
    let mut inputs = Vec::new();
    for at in 0..random.below(7) {
        let name = format!("x{at}");
        match random.below(10) {
            0 => {
                inputs.push(String::new());
                continue;
            }
            1..=4 => graph.initializer.push(constant(random, &name)),
            kind => {
                let dtype = if kind == 5 { *random.choose(&TYPES) } else { 1 };
                let rank = if kind == 6 { random.below(7) } else { rank };
                let shape = (kind != 7).then(|| dims(random, rank));
                graph.input.push(info(&name, dtype, shape));
            }
        }
        inputs.push(name);
    }
    let outputs: Vec<String> = (0..random.below(5)).map(|at| format!("y{at}")).collect();
    graph.output = outputs.iter().take(2).map(|name| info(name, 1, None)).collect();
    graph.node.push(NodeProto {
        input: inputs,
        output: outputs,
        name: Some("node".to_owned()),
        op_type: Some(op.to_owned()),
        domain: Some(if random.below(4) == 0 { "com.microsoft" } else { "" }.to_owned()),
        attribute: (0..random.below(6))
            .map(|_| {
                let name = random.choose(names).clone();
                attribute(random, &name, texts)
            })
            .collect(),
        ..NodeProto::default()
    });
    model(*random.choose(&[7, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23]), graph)
}

/// The model with something of one of its nodes changed.
fn changed(model: &ModelProto, random: &mut Random, names: &[String], texts: &[String]) -> ModelProto {
    let mut model = model.clone();
    for _ in 0..=random.below(3) {
        let choice = random.below(12);
        let Some(graph) = model.graph.as_mut() else { continue };
        let at = random.below(graph.node.len().max(1));
        let Some(node) = graph.node.get_mut(at) else { continue };
        match choice {
            0 => {
                node.input.pop();
            }
            1 => node.input.push(random.choose(&node.input).clone()),
            2 if !node.input.is_empty() => {
                let at = random.below(node.input.len());
                node.input[at].clear();
            }
            3 if node.input.len() > 1 => {
                let (one, other) = (random.below(node.input.len()), random.below(node.input.len()));
                node.input.swap(one, other);
            }
            4 => node.output.push("more".to_owned()),
            5 if !node.attribute.is_empty() => {
                let at = random.below(node.attribute.len());
                let name = node.attribute[at].name().to_owned();
                node.attribute[at] = attribute(random, &name, texts);
            }
            6 if !node.attribute.is_empty() => {
                let at = random.below(node.attribute.len());
                let changed = &mut node.attribute[at];
                changed.i = changed.i.map(|_| *random.choose(&INTS));
                if !changed.ints.is_empty() {
                    let place = random.below(changed.ints.len());
                    match random.below(3) {
                        0 => changed.ints[place] = *random.choose(&INTS),
                        1 => drop(changed.ints.pop()),
                        _ => changed.ints.push(*random.choose(&INTS)),
                    }
                }
            }
            7 if !node.attribute.is_empty() => {
                let at = random.below(node.attribute.len());
                node.attribute.remove(at);
            }
            8 => {
                let name = random.choose(names).clone();
                node.attribute.push(attribute(random, &name, texts));
            }
            9 if !graph.initializer.is_empty() => {
                let at = random.below(graph.initializer.len());
                let name = graph.initializer[at].name().to_owned();
                graph.initializer[at] = constant(random, &name);
            }
            10 => {
                let version = *random.choose(&[7, 9, 11, 13, 16, 18, 20, 21, 23]);
                model.opset_import.iter_mut().for_each(|set| set.version = Some(version));
            }
            _ if !graph.input.is_empty() => {
                let at = random.below(graph.input.len());
                let name = graph.input[at].name().to_owned();
                let (dtype, rank) =
                    (if random.below(2) == 0 { 1 } else { *random.choose(&TYPES) }, random.below(7));
                let shape = (random.below(6) > 0).then(|| dims(random, rank));
                graph.input[at] = info(&name, dtype, shape);
            }
            _ => {}
        }
    }
    model
}

/// Imports the model and does with the graph what every command does; panics are collected by what they say.
fn tried(what: &str, model: &ModelProto, panics: &mut BTreeMap<String, String>) -> bool {
    let bytes = model.encode_to_vec();
    let outcome = catch_unwind(AssertUnwindSafe(|| match import(&bytes, &ImportOptions::default()) {
        Ok(mut graph) => {
            let inferred = infer::infer(&mut graph).is_ok();
            assert!(!text::render(&graph).is_empty());
            if inferred {
                let _ = export(&graph, &ExportOptions::default());
            }
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.code().is_empty());
            false
        }
    }));
    outcome.unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        panics
            .entry(format!("{}: {message}", what.split(' ').next().unwrap_or_default()))
            .or_insert(what.to_owned());
        false
    })
}

#[test]
fn odd_nodes_of_every_operator_are_a_graph_or_an_error() {
    let (operators, lower) = words();
    assert!(operators.len() > 150 && lower.len() > 90, "{} and {}", operators.len(), lower.len());
    let texts: Vec<String> = operators.iter().chain(&lower).cloned().collect();
    let (mut panics, mut read, mut refused) = (BTreeMap::new(), 0, 0);
    for (at, op) in operators.iter().enumerate() {
        for seed in 0..150 {
            let mut random = Random::new(1000 * at as u64 + seed);
            let model = invented(op, &mut random, &lower, &texts);
            if tried(&format!("{op} seed {seed}"), &model, &mut panics) {
                read += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert!(panics.is_empty(), "{panics:#?}");
    assert!(read > 300 && refused > 1000, "{read} read, {refused} refused");
}

/// The models of a folder.
fn models(folder: &Path) -> Vec<(String, ModelProto)> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    let read = |path: &Path| ModelProto::decode(std::fs::read(path).unwrap().as_slice()).unwrap();
    paths.iter().map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), read(path))).collect()
}

fn changes_of(models: &[(String, ModelProto)], rounds: u64) {
    let (operators, lower) = words();
    let texts: Vec<String> = operators.iter().chain(&lower).cloned().collect();
    let (mut panics, mut read) = (BTreeMap::new(), 0);
    for (name, model) in models {
        assert!(tried(name, model, &mut panics), "{name} as it is");
        for seed in 0..rounds {
            let changed = changed(model, &mut Random::new(seed), &lower, &texts);
            read += usize::from(tried(&format!("{name} seed {seed}"), &changed, &mut panics));
        }
    }
    assert!(panics.is_empty(), "{panics:#?}");
    assert!(read > models.len(), "{read} read");
}

#[test]
fn changed_networks_are_a_graph_or_an_error() {
    let models = models(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"));
    assert!(models.len() >= 3);
    changes_of(&models, 100);
}

#[test]
fn changed_operators_are_a_graph_or_an_error() {
    let Some(program) = std::env::var_os("FEWBIT_PYTHON") else {
        fewbit_testing::skip!("FEWBIT_PYTHON does not name a Python with onnx and onnxruntime");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/operator_cases.py");
    for family in ["index", "composed", "sampling", "moving", "control", "unary", "recurrent", "functions"] {
        let folder = std::env::temp_dir().join(format!("fewbit-changed-{family}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let run =
            std::process::Command::new(&program).arg(&script).arg(family).arg(&folder).output().unwrap();
        assert!(run.status.success(), "{family}: {}", String::from_utf8_lossy(&run.stderr));
        changes_of(&models(&folder), 60);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn attributes_of_another_type_are_an_error_that_says_both() {
    let softmax = |kind: AttributeType, made: AttributeProto| {
        let node = NodeProto {
            input: vec!["x".to_owned()],
            output: vec!["y".to_owned()],
            name: Some("node".to_owned()),
            op_type: Some("Softmax".to_owned()),
            attribute: vec![AttributeProto {
                name: Some("axis".to_owned()),
                r#type: Some(kind as i32),
                ..made
            }],
            ..NodeProto::default()
        };
        let dims = [2, 3].map(|extent| Dimension {
            value: Some(dimension::Value::DimValue(extent)),
            ..Dimension::default()
        });
        let graph = GraphProto {
            name: Some("typed".to_owned()),
            node: vec![node],
            input: vec![info("x", 1, Some(dims.to_vec()))],
            output: vec![info("y", 1, None)],
            ..GraphProto::default()
        };
        import(&model(13, graph).encode_to_vec(), &ImportOptions::default())
    };
    let number = || AttributeProto { i: Some(0), ..AttributeProto::default() };
    softmax(AttributeType::Int, number()).unwrap();
    // Old writers leave the type out, some leave out zeros.
    softmax(AttributeType::Undefined, number()).unwrap();
    softmax(AttributeType::Int, AttributeProto::default()).unwrap();
    for (kind, made) in [
        (AttributeType::Float, AttributeProto { f: Some(1.0), ..AttributeProto::default() }),
        (AttributeType::String, AttributeProto { s: Some("1".into()), ..AttributeProto::default() }),
        (AttributeType::Ints, AttributeProto { ints: vec![1], ..AttributeProto::default() }),
    ] {
        let error = softmax(kind, made).unwrap_err();
        assert_eq!(error.kind(), crate::OnnxErrorKind::Attribute);
        let expected =
            format!("Softmax expects axis of type int, found {}", kind.as_str_name().to_lowercase());
        assert!(error.to_string().contains(&expected), "{error}");
    }
}
