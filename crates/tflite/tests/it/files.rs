//! The format: what is written is read again, and bytes that nobody vouches for end in a value or an error.

use fewbit_core::ir::DType;
use fewbit_testing::Random;
use fewbit_tflite::file::{Code, Graph, Model, Operator, Options, Quantization, Signature, Tensor};
use fewbit_tflite::{ExportOptions, TfliteErrorKind, export};
use proptest::prelude::*;

use crate::programs::{quantized, subjects};

#[test]
fn what_is_written_is_read_again() {
    for subject in subjects() {
        let program = quantized(&subject.graph, DType::I8);
        let options = ExportOptions::with_metadata(vec![("fewbit.plan".to_owned(), "abc".to_owned())]);
        let bytes = export(&program, &options).unwrap().bytes;
        let model = Model::read(&bytes).unwrap();
        assert_eq!(model.to_bytes(), bytes, "{}", subject.name);
        let (name, buffer) = &model.metadata[0];
        assert_eq!(
            (name.as_str(), model.buffers[*buffer as usize].as_slice()),
            ("fewbit.plan", b"abc".as_slice())
        );
        assert_eq!(export(&program, &options).unwrap().bytes, bytes, "the same program gives the same file");
    }
}

#[test]
fn data_lies_on_multiples_of_sixteen() {
    let marker: Vec<u8> = (0..64).map(|at| at ^ 0x5a).collect();
    let model = Model {
        buffers: vec![vec![], vec![1; 3], marker.clone(), vec![2; 5], marker.clone()],
        ..Model::default()
    };
    let bytes = model.to_bytes();
    let places: Vec<usize> =
        bytes.windows(64).enumerate().filter(|(_, window)| *window == marker).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 2);
    assert!(places.iter().all(|at| at % 16 == 0), "{places:?}");
}

#[test]
fn files_of_other_tools_are_read() {
    let Some(path) = fewbit_testing::shared_file("models/resnet8_cifar10_int8.tflite") else { return };
    let model = Model::read(&std::fs::read(path).unwrap()).unwrap();
    let graph = &model.graphs[0];
    let count = |builtin| graph.operators.iter().filter(|operator| operator.code.builtin == builtin).count();
    // CONV_2D, ADD, FULLY_CONNECTED and SOFTMAX of MLPerf Tiny's ResNet-8.
    assert_eq!([count(3), count(0), count(9), count(25)], [9, 3, 1, 1]);
    assert_eq!(graph.tensors[graph.inputs[0] as usize].shape, [1, 32, 32, 3]);
    assert_eq!(Model::read(&model.to_bytes()).unwrap(), model);
}

#[test]
fn other_bytes_are_refused() {
    for bytes in [&b""[..], b"TFL3", b"\x08\0\0\0TFL2\0\0\0\0", b"\xff\xff\xff\xffTFL3\0\0\0\0"] {
        assert_eq!(Model::read(bytes).unwrap_err().kind(), TfliteErrorKind::Malformed);
    }
    let mut bytes = Model::default().to_bytes();
    let version = bytes.windows(4).position(|window| window == 3u32.to_le_bytes()).unwrap();
    bytes[version] = 4;
    assert_eq!(Model::read(&bytes).unwrap_err().kind(), TfliteErrorKind::Version);
}

#[test]
fn tables_on_top_of_each_other_do_not_multiply() {
    // A thousand buffers, of which the last has a megabyte; then all of them are that one.
    let mut buffers = vec![Vec::new(); 1000];
    buffers.push(vec![7; 1 << 20]);
    let mut bytes = Model { buffers, ..Model::default() }.to_bytes();
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let root = number(&bytes, 0);
    let layout = root - number(&bytes, root);
    let field = root + usize::from(u16::from_le_bytes([bytes[layout + 12], bytes[layout + 13]]));
    let list = field + number(&bytes, field);
    assert_eq!(number(&bytes, list), 1001);
    let last = list + 4 * 1001;
    let table = last + number(&bytes, last);
    for entry in (list + 4..last).step_by(4) {
        bytes[entry..entry + 4].copy_from_slice(&((table - entry) as u32).to_le_bytes());
    }
    let error = Model::read(&bytes).unwrap_err();
    assert!(error.to_string().contains("on top of each other"), "{error}");
    assert_eq!(Model::read(&bytes).unwrap_err().kind(), TfliteErrorKind::Malformed);
}

fn text() -> impl Strategy<Value = String> {
    "[a-z]{0,9}"
}

prop_compose! {
    fn model()(
        seed in any::<u64>(),
        names in proptest::collection::vec(text(), 1..6),
        buffers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..5),
        custom in proptest::option::of("[a-z]{1,9}"),
    ) -> Model {
        let mut random = Random::new(seed);
        let mut number = |below: usize| random.below(below) as i32;
        let tensors: Vec<Tensor> = names
            .iter()
            .map(|name| Tensor {
                name: name.clone(),
                shape: (0..number(5)).map(|_| number(9)).collect(),
                dtype: number(20) as i8,
                buffer: number(buffers.len()) as u32,
                quantization: (number(2) == 1).then(|| Quantization {
                    scales: vec![0.5; 3],
                    zero_points: vec![-1, 0, i64::MAX],
                    axis: number(4),
                }),
            })
            .collect();
        let count = tensors.len();
        let options = [
            Options::None,
            Options::Reshape { new_shape: vec![1, -1] },
            Options::Softmax { beta: 1.0 },
            Options::Pool2d { padding: 1, stride_w: 2, stride_h: 3, filter_w: 4, filter_h: 5, activation: 1 },
            Options::Quantize {},
        ];
        let operators = (0..number(5))
            .map(|_| Operator {
                code: Code { builtin: number(200), custom: custom.clone(), version: number(9) },
                inputs: vec![number(count), -1],
                outputs: vec![number(count)],
                options: options[number(5) as usize].clone(),
            })
            .collect();
        let graph =
            Graph { name: names[0].clone(), tensors, inputs: vec![0], outputs: vec![0], operators };
        let signature = Signature { key: names[0].clone(), inputs: vec![("x".to_owned(), 0)], outputs: vec![], graph: 0 };
        Model { description: names[0].clone(), graphs: vec![graph], buffers, metadata: vec![("m".into(), 0)], signatures: vec![signature] }
    }
}

proptest! {
    #[test]
    fn any_model_survives_the_file(model in model()) {
        prop_assert_eq!(Model::read(&model.to_bytes()).unwrap(), model);
    }

    #[test]
    fn damaged_files_end_in_a_value_or_an_error(
        model in model(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        keep in any::<proptest::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = model.to_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        if let Err(error) = Model::read(&bytes) {
            prop_assert!(error.code().starts_with("TFL-"));
        }
    }
}
