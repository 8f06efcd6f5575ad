//! Real models after the standard passes: which operators remain, and that they compute the same.

use std::path::Path;

use fewbit_core::infer;
use fewbit_core::ir::{DType, Graph, ValueId};
use fewbit_core::lower::{Choices, has_integer_form, lower};
use fewbit_core::pass::optimize;
use fewbit_core::plan::Precision;
use fewbit_core::quant::{QuantParams, Scheme};
use fewbit_core::reference::Interpreter;
use fewbit_onnx::{ExportOptions, ImportOptions, export, import, open};
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
    let lines: Vec<String> = counts.iter().map(|(name, count)| format!("{count:4} {name}")).collect();
    lines.join("\n")
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

/// The program of a float graph with every node in 8 bits that can be, ranges as one run on noise has them.
fn in_8_bits(graph: &Graph) -> Graph {
    let mut ranges: IndexMap<ValueId, (f32, f32)> = IndexMap::new();
    Interpreter::new(graph)
        .unwrap()
        .run_observed(&random_input(graph), &mut |id, tensor| {
            let (low, high) = ranges.entry(id).or_insert((0.0, 0.0));
            for x in tensor.to_f32_vec() {
                (*low, *high) = (low.min(x), high.max(x));
            }
        })
        .unwrap();
    let mut choices = Choices::default();
    for (id, (low, high)) in ranges {
        let (scale, zero) = Scheme::ACTIVATION_U8.parameters(low, high).unwrap();
        let name = graph.value(id).name.clone();
        choices.activations.insert(name, (DType::U8, QuantParams::per_tensor(scale, zero)));
    }
    for (_, node) in graph.nodes().filter(|(_, node)| has_integer_form(&node.op)) {
        choices.precisions.insert(node.name.clone(), Precision::W8A8);
    }
    lower(graph, &choices).unwrap()
}

#[test]
fn an_exported_program_is_absorbed_again_to_the_bit() {
    let mut paths = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/digits.onnx")];
    for name in ["resnet8_cifar10", "dscnn_kws", "mobilenetv1_vww", "efficientnet_lite0"] {
        paths.extend(fewbit_testing::shared_file(&format!("models/{name}.onnx")));
    }
    for path in paths {
        let (_, graph) = both(&path);
        let program = in_8_bits(&graph);
        let bytes = export(&program, &ExportOptions::default()).unwrap();
        let mut absorbed = import(&bytes, &ImportOptions::default()).unwrap();
        optimize(&mut absorbed, &mut |_, _, _| {}).unwrap();
        let inputs = random_input(&program);
        let run = |graph: &Graph| Interpreter::new(graph).unwrap().run(&inputs).unwrap();
        assert_eq!(run(&program), run(&absorbed), "{}", path.display());
        assert_eq!(program.node_count(), absorbed.node_count(), "{}", counts(&absorbed));
    }
}
