//! Real models come in, infer, and survive a round trip through export.

use std::path::{Path, PathBuf};

use fewbit_core::infer;
use fewbit_core::ir::{Graph, Op, Tensor};
use fewbit_core::reference::Interpreter;
use fewbit_onnx::{ExportOptions, ImportOptions, export, import, open};

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/digits.onnx")
}

fn load(path: &Path) -> Graph {
    let mut graph = open(path, &ImportOptions::default()).unwrap();
    infer::fix_batch(&mut graph, 1).unwrap();
    infer::infer(&mut graph).unwrap();
    graph
}

pub(super) fn random_input(graph: &Graph) -> Vec<Tensor> {
    let mut state = 7u64;
    graph
        .inputs
        .iter()
        .map(|&id| {
            let extents = graph.value(id).extents().unwrap();
            let values: Vec<f32> = (0..extents.iter().product::<usize>())
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
                })
                .collect();
            Tensor::from_slice(&extents, &values).unwrap()
        })
        .collect()
}

#[test]
fn a_written_model_reads_back_and_computes_the_same() {
    let graph = load(&digits());
    let bytes = export(&graph, &ExportOptions::default()).unwrap();
    let mut again = import(&bytes, &ImportOptions::default()).unwrap();
    infer::infer(&mut again).unwrap();
    let inputs = random_input(&graph);
    let expected = Interpreter::new(&graph).unwrap().run(&inputs).unwrap();
    let actual = Interpreter::new(&again).unwrap().run(&inputs).unwrap();
    assert_eq!(expected, actual);
    assert_eq!(graph.node_count(), again.node_count());
}

#[test]
fn a_free_dimension_stays_a_symbol_until_it_is_fixed() {
    let graph = open(&digits(), &ImportOptions::default()).unwrap();
    assert!(graph.value(graph.inputs[0]).extents().is_none());
    let shapes = [("image".to_owned(), vec![3, 1, 8, 8])].into_iter().collect();
    let graph = open(&digits(), &ImportOptions::fixed(shapes, None)).unwrap();
    assert_eq!(graph.value(graph.inputs[0]).extents(), Some(vec![3, 1, 8, 8]));
    let shapes = [("image".to_owned(), vec![1, 3, 8, 8])].into_iter().collect();
    let error = open(&digits(), &ImportOptions::fixed(shapes, None)).unwrap_err();
    assert!(error.to_string().contains("fixes axis 1 to 1"), "{error}");
    let shapes = [("picture".to_owned(), vec![1, 1, 8, 8])].into_iter().collect();
    let error = open(&digits(), &ImportOptions::fixed(shapes, None)).unwrap_err();
    assert!(error.to_string().contains("no input `picture`; its inputs are image"), "{error}");
}

#[test]
fn shared_models_are_read_whole() {
    let Some(folder) = fewbit_testing::shared_dir() else {
        fewbit_testing::skip!("the shared models are not there");
    };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.join("models")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let graph = load(&path);
        let opaque: Vec<String> = graph
            .nodes()
            .filter(|(_, node)| matches!(node.op, Op::Opaque { .. }))
            .map(|(_, node)| node.op.kind().to_string())
            .collect();
        assert!(opaque.is_empty(), "{}: {opaque:?}", path.display());
        for &output in &graph.outputs {
            assert!(graph.value(output).extents().is_some(), "{}: an output without extents", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 5);
}
