//! Real models after the standard passes: which operators remain, and that they compute the same.

use std::path::Path;

use fewbit_core::infer;
use fewbit_core::ir::Graph;
use fewbit_core::pass::optimize;
use fewbit_core::reference::Interpreter;
use fewbit_onnx::{ImportOptions, open};
use indexmap::IndexMap;

use crate::models::random_input;

/// The model for a batch of one, as imported and optimized.
fn both(path: &Path) -> (Graph, Graph) {
    let mut graph = open(path, &ImportOptions::default()).unwrap();
    infer::fix_batch(&mut graph, 1).unwrap();
    let mut optimized = graph.clone();
    optimize(&mut optimized, &mut |_, _, _| {}).unwrap();
    (graph, optimized)
}

/// How many nodes of each operator, by name.
fn counts(graph: &Graph) -> String {
    let mut counts: IndexMap<String, usize> = IndexMap::new();
    for (_, node) in graph.nodes() {
        let name = match node.op.activation() {
            fewbit_core::ir::Activation::None => node.op.kind().to_string(),
            activation => format!("{} {activation:?}", node.op.kind()),
        };
        *counts.entry(name).or_default() += 1;
    }
    counts.sort_keys();
    counts.iter().map(|(name, count)| format!("{count:4} {name}\n")).collect()
}

fn assert_same(before: &Graph, after: &Graph) {
    let inputs = random_input(before);
    let expected = Interpreter::new(before).unwrap().run(&inputs).unwrap();
    let found = Interpreter::new(after).unwrap().run(&inputs).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        fewbit_testing::assert_close(&found.to_f32_vec(), &expected.to_f32_vec(), 1e-4);
    }
}

#[test]
fn the_example_is_fused() {
    let (before, after) =
        both(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/digits.onnx"));
    assert_same(&before, &after);
    insta::assert_snapshot!(counts(&after));
}

#[test]
fn shared_models_are_fused() {
    for name in ["resnet8_cifar10", "dscnn_kws", "fcae_ad", "mobilenetv1_vww", "efficientnet_lite0"] {
        let Some(path) = fewbit_testing::shared_file(&format!("models/{name}.onnx")) else { return };
        let (before, after) = both(&path);
        assert_same(&before, &after);
        insta::assert_snapshot!(name, counts(&after));
    }
}
