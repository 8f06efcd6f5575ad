//! Files that nobody should trust: one clear error each, never a panic.

use fewbit_onnx::{ImportOptions, OnnxErrorKind, import, open};
use proptest::prelude::*;

/// A protobuf field: number, wire type 2 and its bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

fn number(field: u8, value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    let mut value = value;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

/// `NodeProto` of an operator over named values.
fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = inputs.iter().map(|input| field(1, input.as_bytes())).collect();
    parts.push(field(2, output.as_bytes()));
    parts.push(field(3, format!("{op}_{output}").as_bytes()));
    parts.push(field(4, op.as_bytes()));
    joined(&parts)
}

/// `ValueInfoProto` of an f32 tensor of extents `dims`.
fn value(name: &str, dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| field(1, &number(1, dim))).collect();
    let tensor = joined(&[number(1, 1), field(2, &dims)]);
    joined(&[field(1, name.as_bytes()), field(2, &field(1, &tensor))])
}

/// `TensorProto` of f32 elements as raw bytes.
fn tensor(name: &str, dims: &[u64], raw: &[u8]) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = dims.iter().map(|&dim| number(1, dim)).collect();
    parts.push(number(2, 1));
    parts.push(field(8, name.as_bytes()));
    parts.push(field(9, raw));
    joined(&parts)
}

/// `ModelProto` of nodes, initializers, inputs `x` [2, 2] and output `y`.
fn model(nodes: &[Vec<u8>], initializers: &[Vec<u8>]) -> Vec<u8> {
    let mut graph: Vec<Vec<u8>> = nodes.iter().map(|node| field(1, node)).collect();
    graph.push(field(2, b"graph"));
    graph.extend(initializers.iter().map(|tensor| field(5, tensor)));
    graph.push(field(11, &value("x", &[2, 2])));
    graph.push(field(12, &value("y", &[2, 2])));
    joined(&[number(1, 8), field(7, &joined(&graph)), field(8, &number(2, 17))])
}

fn refused(bytes: &[u8]) -> (OnnxErrorKind, String) {
    let error = import(bytes, &ImportOptions::default()).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn a_small_model_is_read() {
    let graph = import(&model(&[node("Relu", &["x"], "y")], &[]), &ImportOptions::default()).unwrap();
    assert_eq!(graph.node_count(), 1);
}

#[test]
fn cycles_missing_values_and_second_makers_name_the_node() {
    let cycle =
        model(&[node("Add", &["x", "b"], "a"), node("Relu", &["a"], "b"), node("Relu", &["a"], "y")], &[]);
    assert_eq!(
        refused(&cycle),
        (OnnxErrorKind::Structure, "Add_a: expected an acyclic graph, found a cycle".to_owned())
    );
    let missing = model(&[node("Add", &["x", "w"], "y")], &[]);
    let (kind, message) = refused(&missing);
    assert_eq!(kind, OnnxErrorKind::Structure);
    assert!(message.starts_with("Add_y: ") && message.contains("`w`"), "{message}");
    let twice = model(&[node("Relu", &["x"], "y"), node("Abs", &["x"], "y")], &[]);
    assert!(refused(&twice).1.contains("made twice"));
    let nothing = model(&[node("Relu", &["x"], "z")], &[]);
    assert!(refused(&nothing).1.contains("makes this output"));
}

#[test]
fn weights_must_fit_their_extents_and_be_numbers() {
    let short = model(&[node("Add", &["x", "w"], "y")], &[tensor("w", &[2, 2], &[0; 12])]);
    assert_eq!(refused(&short).0, OnnxErrorKind::Tensor);
    let huge = model(&[node("Add", &["x", "w"], "y")], &[tensor("w", &[1 << 40, 1 << 40], &[0; 4])]);
    assert_eq!(refused(&huge).0, OnnxErrorKind::Tensor);
    let negative = model(&[node("Add", &["x", "w"], "y")], &[tensor("w", &[u64::MAX], &[0; 4])]);
    assert_eq!(refused(&negative).0, OnnxErrorKind::Tensor);
    let nan = model(&[node("Add", &["x", "w"], "y")], &[tensor("w", &[1], &f32::NAN.to_le_bytes())]);
    assert_eq!(refused(&nan).0, OnnxErrorKind::NotFinite);
}

#[test]
fn external_data_stays_inside_the_models_folder() {
    let folder = std::env::temp_dir().join(format!("fewbit-external-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("model")).unwrap();
    std::fs::write(folder.join("secret.bin"), [0u8; 16]).unwrap();
    std::fs::write(folder.join("model/weights.bin"), [0u8; 16]).unwrap();
    let external = |location: &str, length: &str| {
        let entry = |key: &str, value: &str| {
            field(13, &joined(&[field(1, key.as_bytes()), field(2, value.as_bytes())]))
        };
        let tensor = joined(&[
            number(1, 2),
            number(1, 2),
            number(2, 1),
            field(8, b"w"),
            entry("location", location),
            entry("length", length),
            number(14, 1),
        ]);
        let path = folder.join("model/m.onnx");
        std::fs::write(&path, model(&[node("Add", &["x", "w"], "y")], &[tensor])).unwrap();
        open(&path, &ImportOptions::default()).map_err(|error| error.kind())
    };
    assert!(external("weights.bin", "16").is_ok());
    for (location, length) in [
        ("../secret.bin", "16"),
        ("/etc/hostname", "16"),
        ("", "16"),
        ("none.bin", "16"),
        ("weights.bin", "17"),
        ("weights.bin", "99999999999999999999"),
        ("weights.bin", "-1"),
    ] {
        assert_eq!(external(location, length).unwrap_err(), OnnxErrorKind::External, "{location} {length}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret.bin", folder.join("model/link.bin")).unwrap();
        assert_eq!(external("link.bin", "16").unwrap_err(), OnnxErrorKind::External);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn unknown_operators_are_kept_to_be_shown() {
    let graph = import(&model(&[node("Frobnicate", &["x"], "y")], &[]), &ImportOptions::default()).unwrap();
    let (_, node) = graph.nodes().next().unwrap();
    assert_eq!(node.op.kind().as_str(), "Frobnicate");
}

#[test]
fn versions_that_are_not_known_are_refused() {
    let graph = field(7, &[]);
    assert_eq!(refused(&joined(&[number(1, 99), graph.clone()])).0, OnnxErrorKind::Version);
    assert_eq!(refused(&joined(&[number(1, 8), graph, field(8, &number(2, 999))])).0, OnnxErrorKind::Version);
    assert_eq!(refused(&[]).0, OnnxErrorKind::Malformed);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = import(&bytes, &ImportOptions::default());
    }

    #[test]
    fn damaged_models_never_panic(at in 0usize..400, to in any::<u8>(), cut in 0usize..400) {
        let mut bytes = model(
            &[node("Conv", &["x", "w"], "a"), node("Slice", &["a"], "b"), node("Resize", &["b"], "y")],
            &[tensor("w", &[2, 2], &[1; 16])],
        );
        let at = at % bytes.len();
        bytes[at] = to;
        let cut = cut.min(bytes.len());
        let _ = import(&bytes, &ImportOptions::default());
        let _ = import(&bytes[..cut], &ImportOptions::default());
    }
}
