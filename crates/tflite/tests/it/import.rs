//! Files become graphs that compute what the file's operators do, and files that nobody vouches for end in an error.

use fewbit_core::ir::{DType, Op, Tensor};
use fewbit_core::pass;
use fewbit_core::reference::Interpreter;
use fewbit_tflite::{ExportOptions, Port, TfliteErrorKind, export, import};
use proptest::prelude::*;

use crate::programs::{quantized, sample, subjects};

/// A tensor with the order of axes that a port of a file has, or back.
fn turned(tensor: &Tensor, port: &Port, to_file: bool) -> Tensor {
    let extents = tensor.extents().to_vec();
    let (true, &[n, a, b, c]) = (port.channels_last, &extents[..]) else { return tensor.clone() };
    let values = tensor.to_f32_vec();
    let perm: [usize; 4] = if to_file { [0, 2, 3, 1] } else { [0, 3, 1, 2] };
    let strides = [a * b * c, b * c, c, 1];
    let moved: Vec<usize> = perm.iter().map(|&axis| [n, a, b, c][axis]).collect();
    let mut out = Vec::with_capacity(values.len());
    for i in 0..moved[0] {
        for j in 0..moved[1] {
            for k in 0..moved[2] {
                for l in 0..moved[3] {
                    let at: usize = [i, j, k, l].iter().zip(perm).map(|(at, axis)| at * strides[axis]).sum();
                    out.push(values[at]);
                }
            }
        }
    }
    Tensor::from_slice(&moved, &out).unwrap()
}

#[test]
fn what_is_written_is_read_back_with_the_same_meaning() {
    let mut read = 0;
    for subject in subjects() {
        let program = quantized(&subject.graph, DType::I8);
        let exported = export(&program, &ExportOptions::default()).unwrap();
        let mut graph = match import(&exported.bytes) {
            Ok(graph) => graph,
            Err(error) => {
                assert_eq!(error.kind(), TfliteErrorKind::Import, "{}: {error}", subject.name);
                continue;
            }
        };
        read += 1;
        pass::optimize(&mut graph, &mut |_, _, _| {})
            .unwrap_or_else(|error| panic!("{}: {error}", subject.name));
        let input = sample(&subject.graph);
        let expected =
            Interpreter::new(&program).unwrap().run(std::slice::from_ref(&input)).unwrap().remove(0);
        let given = turned(&input, &exported.inputs[0], true);
        let found = Interpreter::new(&graph).unwrap().run(&[given]).unwrap().remove(0);
        let found = turned(&found, &exported.outputs[0], false);
        assert_eq!(found.extents(), expected.extents(), "{}", subject.name);
        let step = exported.outputs[0].quant.map_or(1e-4, |(scale, _)| scale * 1.01);
        for (at, (found, expected)) in found.to_f32_vec().iter().zip(expected.to_f32_vec()).enumerate() {
            assert!((found - expected).abs() <= step, "{} at {at}: {found}, not {expected}", subject.name);
        }
    }
    assert!(read >= 20, "only {read} files were read back");
}

#[test]
fn a_quantized_convolution_becomes_an_integer_one() {
    let subject = subjects()
        .into_iter()
        .find(|subject| subject.graph.nodes().any(|(_, node)| matches!(node.op, Op::Conv { .. })))
        .expect("a subject with a convolution");
    let exported = export(&quantized(&subject.graph, DType::I8), &ExportOptions::default()).unwrap();
    let mut graph = import(&exported.bytes).unwrap();
    pass::optimize(&mut graph, &mut |_, _, _| {}).unwrap();
    let conv = graph.nodes().find(|(_, node)| matches!(node.op, Op::Conv { .. })).unwrap().1;
    let output = graph.value(conv.outputs[0]);
    assert!(output.quant.is_some(), "a convolution in float: {:?}", output.dtype);
}

/// The bytes of some file that this crate writes.
fn file(at: usize) -> Vec<u8> {
    let subjects = subjects();
    let program = quantized(&subjects[at % subjects.len()].graph, DType::I8);
    export(&program, &ExportOptions::default()).unwrap().bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Changed bytes give a graph or an error, never a panic; a graph that is inferred is inferred or refused.
    #[test]
    fn changed_files_end_in_an_answer(
        at in 0usize..64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = file(at);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(mut graph) = import(&bytes) {
            let _ = fewbit_core::infer::infer(&mut graph);
        }
    }
}
