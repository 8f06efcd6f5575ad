//! The samples, loaded as a host loads them, against the reference interpreter: equal to the bit.

use std::path::Path;
use std::sync::Arc;

use fewbit_core::backend::{Backend, CompileOptions, Device};
use fewbit_core::ir::{Activation, ConvAttributes, DType, Graph, Op, Tensor, UnaryOp};
use fewbit_core::plan::Precision;
use fewbit_core::reference::Interpreter;
use fewbit_plugin_host::{LoadOptions, Manifest, PluginBackend};
use fewbit_testing::device::{assert_equals_reference, inputs, quantized, run, show_everything};
use fewbit_testing::{ConvOptions, ModelBuilder, skip};

fn device(manifest: &Path) -> Arc<dyn Device> {
    let manifest = Manifest::read(manifest).unwrap();
    let backend = PluginBackend::load(&manifest, &LoadOptions::default()).unwrap();
    let device = backend.devices().unwrap().remove(0);
    device.capabilities().unwrap().validate().unwrap();
    device
}

/// What every sample has: products of matrices, sums, functions of one element, conversions.
fn small(seed: u64) -> Graph {
    let mut builder = ModelBuilder::new("small", seed);
    let (m, k) = (1 + builder.random().below(5), 1 + builder.random().below(40));
    let x = builder.input("x", &[m, k]);
    let side = builder.input("side", &[1, 1]);
    let n = 1 + builder.random().below(20);
    let a = builder.mat_mul(x, n);
    let b = builder.unary(a, UnaryOp::Silu);
    let c = builder.add(b, side);
    let d = builder.mat_mul(c, n);
    let e = builder.add(d, b);
    let y = builder.unary(e, UnaryOp::Tanh);
    builder.finish(&[y])
}

/// All that the sample in C has.
fn large(seed: u64) -> Graph {
    let mut builder = ModelBuilder::new("large", seed);
    let pick =
        |builder: &mut ModelBuilder, low: usize, high: usize| low + builder.random().below(high - low + 1);
    let (c, h, w) = (pick(&mut builder, 1, 5), pick(&mut builder, 7, 12), pick(&mut builder, 7, 12));
    let batch = pick(&mut builder, 1, 2);
    let x = builder.input("x", &[batch, c, h, w]);
    let stem = ConvOptions::same(3).activation(Activation::Clip { min: 0.0, max: 6.0 });
    let a = builder.conv(x, 12, stem);
    let stride = pick(&mut builder, 1, 3);
    let b = builder.depthwise(a, 5, stride, Activation::Relu);
    let d = builder.conv(b, 12, ConvOptions::same(1).groups(3));
    let odd = ConvAttributes {
        kernel: vec![pick(&mut builder, 1, 3), 2],
        strides: vec![1, pick(&mut builder, 1, 2)],
        dilations: vec![pick(&mut builder, 1, 2), 1],
        pads: vec![2, pick(&mut builder, 0, 1), 2, 1],
        groups: 2,
    };
    let weights = Tensor::zeros(DType::F32, &[4, 6, odd.kernel[0], 2]).unwrap();
    let weights = builder.random().normals(weights.extents(), 0.3);
    let weights = builder.constant("odd.weights", weights);
    let e = builder.op("odd", Op::Conv { conv: odd, activation: Activation::None }, &[d, weights]);
    let f = builder.add(b, d);
    let g = builder.unary(f, UnaryOp::HardSwish);
    let g = builder.flatten(g);
    let g = builder.gemm(g, 9);
    let row = builder.random().normals(&[9], 1.0);
    let row = builder.constant("row", row);
    let y = builder.add(g, row);
    let z = builder.mat_mul(y, 3);
    builder.finish(&[z, e])
}

#[test]
fn the_sample_in_c_computes_what_the_reference_computes() {
    let Some(manifest) = fewbit_testing::plugin("sample-c") else { skip!("the sample was not built") };
    let device = device(&manifest);
    for seed in 0..40 {
        for dtype in [DType::U8, DType::I8] {
            assert_equals_reference(
                &*device,
                &show_everything(quantized(&small(seed), Precision::W8A8, dtype, seed)),
                seed,
            );
            assert_equals_reference(
                &*device,
                &show_everything(quantized(&large(seed), Precision::W8A8, dtype, seed)),
                seed,
            );
        }
    }
}

#[test]
fn the_samples_in_rust_and_cpp_compute_what_the_reference_computes() {
    for name in ["sample-rust", "sample-cpp"] {
        let Some(manifest) = fewbit_testing::plugin(name) else { skip!("{name} was not built") };
        let device = device(&manifest);
        for seed in 0..40 {
            for dtype in [DType::U8, DType::I8] {
                assert_equals_reference(
                    &*device,
                    &show_everything(quantized(&small(seed), Precision::W8A8, dtype, seed)),
                    seed,
                );
            }
        }
    }
}

#[test]
fn floats_that_samples_have_pass_through_them() {
    let mut builder = ModelBuilder::new("relu", 1);
    let x = builder.input("x", &[2, 3, 5]);
    let y = builder.relu(x);
    let graph = builder.finish(&[y]);
    for name in ["sample-c", "sample-rust", "sample-cpp"] {
        let Some(manifest) = fewbit_testing::plugin(name) else { skip!("{name} was not built") };
        let device = device(&manifest);
        assert_equals_reference(&*device, &graph, 1);
        let executable = device.compile(&graph, &CompileOptions::threads(1)).unwrap();
        let mut values = vec![1.0f32; 30];
        values[..4].copy_from_slice(&[f32::NAN, -0.0, f32::INFINITY, f32::NEG_INFINITY]);
        let given = Tensor::from_slice(&[2, 3, 5], &values).unwrap();
        let result = run(&executable, &[given])[0].to_f32_vec();
        assert!(result[0].is_nan(), "{name} lets NaN through");
        assert_eq!(&result[1..5], &[0.0, f32::INFINITY, 0.0, 1.0], "{name}");
    }
}

#[test]
fn float_products_and_sums_of_the_sample_in_cpp_are_those_of_the_reference() {
    let Some(manifest) = fewbit_testing::plugin("sample-cpp") else { skip!("the sample was not built") };
    let device = device(&manifest);
    for seed in 0..10 {
        let mut builder = ModelBuilder::new("float", seed);
        let x = builder.input("x", &[3, 7]);
        let y = builder.mat_mul(x, 5);
        let row = builder.random().normals(&[5], 1.0);
        let row = builder.constant("row", row);
        let z = builder.add(y, row);
        let graph = builder.finish(&[y, z]);
        let given = inputs(&graph, seed);
        let expected = Interpreter::new(&graph).unwrap().run(&given).unwrap();
        let executable = device.compile(&graph, &CompileOptions::threads(1)).unwrap();
        for (actual, expected) in run(&executable, &given).iter().zip(&expected) {
            fewbit_testing::assert_close(&actual.to_f32_vec(), &expected.to_f32_vec(), 1e-6);
        }
    }
}
