//! Capability documents: what a rule says of a node, and what a wrong document is told.

use fewbit_core::capability::{Capability, NodeQuery, Support, Verdict};
use fewbit_core::ir::{
    Activation, CoordinateMode, Graph, NearestMode, Op, ReduceOp, ResizeAttributes, ResizeMode, Tensor,
};
use fewbit_core::plan::Precision;
use fewbit_testing::{ConvOptions, ModelBuilder};

const DOCUMENT: &str = r#"
schema = 1
name = "tiny"
title = "Tiny NPU"
vendor = "nobody"
summary = "made for tests"
artifact = { format = "onnx-qdq", source = "this test" }

[[processors]]
id = "npu"
kind = "npu"
numerics = "exact"
rounding = "half-to-even"
saturates_intermediate = false
accumulator = "i32"
activations = { dtypes = ["i8"], symmetry = "affine" }
layouts = ["nhwc"]
dynamic_shapes = false
single_partition = false
source = "this test"

[[processors.roofline]]
precision = "w8a8"
gmacs = 100.0
source = "this test"

[[processors.rules]]
id = "conv"
ops = ["Conv"]
precisions = ["w8a8"]
support = "native"
activations = { dtypes = ["i8"], symmetry = "affine" }
weights = { dtypes = ["i8"], granularities = ["per-channel"], symmetry = "symmetric" }
limits = { kernel_max = [5, 5], stride_max = 2, groups = ["one"], channels_multiple_of = 4, fused = ["relu"], batch_max = 1 }
source = "this test"

[[processors.rules]]
id = "tables"
ops = ["@table"]
precisions = ["w8a8"]
support = "emulated"
note = "by a table in slow memory"
activations = { dtypes = ["i8"], symmetry = "affine" }
source = "this test"
"#;

fn document() -> Capability {
    Capability::from_toml(DOCUMENT, "tiny.toml").unwrap()
}

/// The verdict on the first node of a model with the given input and convolution.
fn conv(extents: &[usize], channels: usize, options: ConvOptions) -> Verdict {
    let mut model = ModelBuilder::new("one", 1);
    let x = model.input("x", extents);
    let y = model.conv(x, channels, options);
    let graph = model.finish(&[y]);
    judge(&graph, Precision::W8A8)
}

fn judge(graph: &Graph, precision: Precision) -> Verdict {
    let (_, node) = graph.nodes().next().unwrap();
    document().processors[0].judge(&NodeQuery::new(graph, node, precision))
}

fn codes(verdict: &Verdict) -> Vec<&str> {
    verdict.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

#[test]
fn a_node_within_all_limits_is_native_by_its_rule() {
    let verdict = conv(&[1, 4, 8, 8], 8, ConvOptions::same(3).activation(Activation::Relu));
    assert_eq!(verdict, Verdict::native("conv"));
}

#[test]
fn each_limit_refuses_with_its_own_code_and_a_change_that_passes() {
    let cases = [
        (vec![1, 4, 8, 8], 8, ConvOptions::same(7), "CAP-KERNEL"),
        (vec![1, 4, 8, 8], 8, ConvOptions::same(3).stride(4), "CAP-STRIDE"),
        (vec![1, 4, 8, 8], 4, ConvOptions::same(3).groups(4), "CAP-GROUPS"),
        (vec![1, 3, 8, 8], 8, ConvOptions::same(3), "CAP-CHANNELS"),
        (vec![2, 4, 8, 8], 8, ConvOptions::same(3), "CAP-BATCH"),
        (
            vec![1, 4, 8, 8],
            8,
            ConvOptions::same(3).activation(Activation::Clip { min: -1.0, max: 1.0 }),
            "CAP-FUSED",
        ),
    ];
    let mut messages = String::new();
    for (extents, channels, options, code) in cases {
        let verdict = conv(&extents, channels, options);
        assert_eq!(verdict.support, Support::Unsupported, "{code}");
        assert_eq!(codes(&verdict), [code]);
        let reason = &verdict.reasons[0];
        assert_eq!(reason.rule.as_deref(), Some("conv"));
        messages.push_str(&format!(
            "{code}: {}\n  fix: {}\n",
            reason.message,
            reason.fix.as_deref().unwrap()
        ));
    }
    insta::assert_snapshot!(messages);
}

/// The document with a rule for pools and resizes in place of the one for convolutions.
fn shaped(limits: &str) -> Capability {
    let rule = DOCUMENT.split("[[processors.rules]]").nth(1).unwrap();
    let other = format!(
        "\nid = \"shaped\"\nops = [\"Resize\", \"GlobalAveragePool\", \"Softmax\", \"ReduceMean\"]\nprecisions = [\"w8a8\"]\nsupport = \"native\"\n\
         activations = {{ dtypes = [\"i8\"], symmetry = \"affine\" }}\nlimits = {{ {limits} }}\n\
         source = \"this test\"\n\n"
    );
    Capability::from_toml(&DOCUMENT.replace(rule, &other), "shaped.toml").unwrap()
}

#[test]
fn the_kernel_of_a_global_pool_is_the_whole_image() {
    let document = shaped("kernel_max = [7, 7]");
    for (extent, expected) in [(7, vec![]), (8, vec!["CAP-KERNEL"])] {
        let mut model = ModelBuilder::new("pool", 1);
        let x = model.input("x", &[1, 4, 5, extent]);
        let y = model.global_average_pool(x);
        let graph = model.finish(&[y]);
        let (_, node) = graph.nodes().next().unwrap();
        let verdict = document.processors[0].judge(&NodeQuery::new(&graph, node, Precision::W8A8));
        assert_eq!(codes(&verdict), expected, "{extent}");
    }
}

#[test]
fn resizes_enlarge_by_the_listed_factors_only() {
    let document = shaped("resize_factors = [2, 4]");
    let cases: [(usize, usize, &[&str]); 6] =
        [(6, 12, &[]), (6, 24, &[]), (6, 6, &[]), (1, 7, &[]), (6, 18, &["CAP-MODE"]), (6, 3, &["CAP-MODE"])];
    for (from, to, expected) in cases {
        let mut model = ModelBuilder::new("resize", 1);
        let x = model.input("x", &[1, 2, from, 6]);
        let sizes = model.constant("sizes", Tensor::from_slice(&[4], &[1i64, 2, to as i64, 6]).unwrap());
        let attributes = ResizeAttributes {
            mode: ResizeMode::Nearest,
            coordinates: CoordinateMode::Asymmetric,
            nearest: NearestMode::Floor,
            cubic: -0.75,
            exclude_outside: false,
        };
        let y = model.op_with("resize", Op::Resize(attributes), &[Some(x), None, None, Some(sizes)]);
        let graph = model.finish(&[y]);
        let (_, node) = graph.nodes().next().unwrap();
        let verdict = document.processors[0].judge(&NodeQuery::new(&graph, node, Precision::W8A8));
        assert_eq!(codes(&verdict), expected, "{from} to {to}");
    }
}

#[test]
fn axes_are_held_to_the_last_or_all_spatial_ones() {
    let document = shaped("last_axis = true, spatial_axes = true");
    let softmax = |axis| Op::Softmax { axis, log: false };
    let mean = |axes: &[usize]| Op::Reduce { op: ReduceOp::Mean, axes: axes.to_vec(), keep_dims: true };
    let cases: [(&[usize], Op, &[&str]); 6] = [
        (&[1, 4, 5, 6], softmax(3), &[]),
        (&[1, 4, 1, 1], softmax(1), &[]),
        (&[1, 4, 5, 6], softmax(1), &["CAP-AXIS"]),
        (&[1, 4, 5, 6], mean(&[2, 3]), &[]),
        (&[1, 4, 5, 6], mean(&[3]), &["CAP-AXIS"]),
        (&[1, 4, 5, 6], mean(&[1]), &["CAP-AXIS"]),
    ];
    for (extents, op, expected) in cases {
        let mut model = ModelBuilder::new("axes", 1);
        let x = model.input("x", extents);
        let y = model.op("node", op.clone(), &[x]);
        let graph = model.finish(&[y]);
        let (_, node) = graph.nodes().next().unwrap();
        let verdict = document.processors[0].judge(&NodeQuery::new(&graph, node, Precision::W8A8));
        assert_eq!(codes(&verdict), expected, "{op:?}");
    }
}

#[test]
fn every_broken_limit_is_named() {
    let verdict = conv(&[2, 3, 16, 16], 6, ConvOptions::same(7).stride(3));
    assert_eq!(codes(&verdict), ["CAP-BATCH", "CAP-KERNEL", "CAP-STRIDE", "CAP-CHANNELS", "CAP-CHANNELS"]);
}

#[test]
fn precisions_and_operators_without_a_rule_say_what_there_is() {
    let mut model = ModelBuilder::new("one", 1);
    let x = model.input("x", &[1, 4, 8, 8]);
    let y = model.relu(x);
    let graph = model.finish(&[y]);
    let verdict = judge(&graph, Precision::W8A8);
    assert_eq!((verdict.support, verdict.rule.as_deref()), (Support::Emulated, Some("tables")));
    assert_eq!(codes(&verdict), ["CAP-EMULATED"]);
    let float = judge(&graph, Precision::F16);
    assert_eq!(codes(&float), ["CAP-PRECISION"]);
    assert!(float.reasons[0].message.contains("w8a8 only"), "{}", float.reasons[0].message);
    let mut model = ModelBuilder::new("pool", 1);
    let x = model.input("x", &[1, 4, 8, 8]);
    let y = model.max_pool(x, 2, 2);
    assert_eq!(codes(&judge(&model.finish(&[y]), Precision::W8A8)), ["CAP-OP"]);
}

#[test]
fn a_wrong_document_is_told_what_where_and_what_to_do() {
    let cases = [
        ("an unknown key", DOCUMENT.replace("stride_max", "stride_maxx")),
        ("an unknown operator", DOCUMENT.replace("ops = [\"Conv\"]", "ops = [\"Convv\"]")),
        ("another version", DOCUMENT.replace("schema = 1", "schema = 7")),
        ("no version", DOCUMENT.replace("schema = 1\n", "")),
        ("a figure below zero", DOCUMENT.replace("100.0", "-3.0")),
        ("no source", DOCUMENT.replacen("source = \"this test\"", "source = \" \"", 2)),
        ("two rules of one name", DOCUMENT.replace("id = \"tables\"", "id = \"conv\"")),
        (
            "no rate for a native precision",
            DOCUMENT.replace("precision = \"w8a8\"\ngmacs", "precision = \"f32\"\ngmacs"),
        ),
        (
            "float activations",
            DOCUMENT.replace(
                "dtypes = [\"i8\"], symmetry = \"affine\"",
                "dtypes = [\"f32\"], symmetry = \"affine\"",
            ),
        ),
        ("not TOML", "]]".to_owned()),
        ("nothing", String::new()),
    ];
    let mut told = String::new();
    for (what, text) in cases {
        let error = Capability::from_toml(&text, "tiny.toml").expect_err(what);
        assert!(error.place().is_some_and(|place| place.starts_with("tiny.toml")), "{what}");
        told.push_str(&format!("{what}: {error}\n  help: {}\n", error.remedy().unwrap_or("-")));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn hashes_follow_the_content() {
    let document = document();
    assert_eq!(document.hash(), self::document().hash());
    let mut other = document.clone();
    other.processors[0].rules[0].limits.stride_max = Some(3);
    assert_ne!(document.hash(), other.hash());
    assert_eq!(Capability::from_json(&document.to_json(), "x").unwrap(), document);
}

/// The keys of the table that `line` opens, from the error on an unknown one.
fn keys(line: &str) -> Vec<String> {
    let text = DOCUMENT.replacen(line, &format!("{line}\nno_such_key = 1"), 1);
    let error = Capability::from_toml(&text, "tiny.toml").expect_err(line).to_string();
    let (_, expected) = error.split_once("expected").unwrap_or_else(|| panic!("{error}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_key_of_the_schema_is_described_for_people() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/design/capability.md");
    let page = std::fs::read_to_string(path).unwrap();
    let limits = DOCUMENT.replace("limits = {", "limits = { no_such_key = 1,");
    let error = Capability::from_toml(&limits, "tiny.toml").unwrap_err().to_string();
    let (_, limits) = error.split_once("expected one of").unwrap();
    let limits = limits.split('`').skip(1).step_by(2).map(str::to_owned);
    let tables = ["schema = 1", "[[processors]]", "[[processors.roofline]]", "[[processors.rules]]"];
    let all: Vec<String> = tables.into_iter().flat_map(keys).chain(limits).collect();
    assert!(all.len() > 50 && all.iter().any(|key| key == "resize_factors"), "{all:?}");
    for key in all {
        assert!(page.contains(&format!("`{key}`")), "docs/design/capability.md has nothing on `{key}`");
    }
}

#[test]
fn the_worked_example_for_people_is_a_valid_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/design/capability.md");
    let page = std::fs::read_to_string(path).unwrap();
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let document = Capability::from_toml(example, "docs/design/capability.md").unwrap();
    let mut model = ModelBuilder::new("one", 1);
    let x = model.input("x", &[1, 4, 16, 16]);
    let y = model.conv(x, 8, ConvOptions::same(3).stride(4));
    let graph = model.finish(&[y]);
    let (_, node) = graph.nodes().next().unwrap();
    for (precision, code) in [(Precision::W8A8, "CAP-STRIDE"), (Precision::F16, "CAP-PRECISION")] {
        let verdict = document.processors[0].judge(&NodeQuery::new(&graph, node, precision));
        assert_eq!(codes(&verdict), [code]);
        let reason = &verdict.reasons[0];
        assert!(page.contains(&reason.message), "{}", reason.message);
    }
}
