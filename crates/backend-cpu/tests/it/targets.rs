//! Documents against the device: what they call native has a kernel, and nothing else.

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::backend::Device;
use fewbit_core::capability::{Capability, NodeQuery, Support};
use fewbit_core::ir::{
    BinaryOp, DType, Graph, Op, PoolAttributes, ReduceOp, ResizeMode, Tensor, UnaryOp, ValueId,
};
use fewbit_core::lower::{Choices, has_integer_form, lower};
use fewbit_core::plan::Precision;
use fewbit_core::target;
use fewbit_testing::device::quantized;
use fewbit_testing::{ConvOptions, ModelBuilder};

use crate::random::resize;

/// A model of one node (and its constants).
fn one(extents: &[usize], build: impl Fn(&mut ModelBuilder, ValueId) -> ValueId) -> Graph {
    let mut builder = ModelBuilder::new("one", 7);
    let x = builder.input("x", extents);
    let y = build(&mut builder, x);
    builder.finish(&[y])
}

fn pool(axes: usize) -> PoolAttributes {
    PoolAttributes {
        kernel: vec![2; axes],
        strides: vec![1; axes],
        dilations: vec![1; axes],
        pads: vec![0; 2 * axes],
        ceil: false,
        count_include_pad: false,
    }
}

fn reduce(op: ReduceOp, axes: &[usize]) -> Op {
    Op::Reduce { op, axes: axes.to_vec(), keep_dims: true }
}

/// Models of one node each: of every operator that has a kernel in some form, one that has it and one that has not.
fn models() -> Vec<(&'static str, Graph)> {
    let image = [1usize, 4, 6, 6];
    let scaled = |mode| {
        one(&image, |m, x| {
            let scales = m.constant("scales", Tensor::from_slice(&[4], &[1f32, 1.0, 2.0, 2.0]).unwrap());
            resize(m, x, scales, mode)
        })
    };
    let mut models = vec![
        ("conv", one(&image, |m, x| m.conv(x, 8, ConvOptions::same(3)))),
        ("grouped conv", one(&image, |m, x| m.conv(x, 8, ConvOptions::same(3).groups(2)))),
        ("gemm", one(&[1, 12], |m, x| m.gemm(x, 5))),
        ("matmul", one(&[1, 3, 12], |m, x| m.mat_mul(x, 5))),
        ("matmul of activations", one(&[2, 4, 4], |m, x| m.op("matmul", Op::MatMul, &[x, x]))),
        ("relu", one(&image, ModelBuilder::relu)),
        ("gelu", one(&image, |m, x| m.unary(x, UnaryOp::Gelu { tanh: false }))),
        ("max pool", one(&image, |m, x| m.op("pool", Op::MaxPool(pool(2)), &[x]))),
        ("max pool in 3-D", one(&[1, 2, 4, 4, 4], |m, x| m.op("pool", Op::MaxPool(pool(3)), &[x]))),
        ("average pool", one(&image, |m, x| m.op("pool", Op::AveragePool(pool(2)), &[x]))),
        ("average pool in 3-D", one(&[1, 2, 4, 4, 4], |m, x| m.op("pool", Op::AveragePool(pool(3)), &[x]))),
        ("global pool", one(&image, ModelBuilder::global_average_pool)),
        ("mean over space", one(&image, |m, x| m.op("mean", reduce(ReduceOp::Mean, &[2, 3]), &[x]))),
        ("mean over channels", one(&image, |m, x| m.op("mean", reduce(ReduceOp::Mean, &[1]), &[x]))),
        ("maximum over space", one(&image, |m, x| m.op("max", reduce(ReduceOp::Max, &[2, 3]), &[x]))),
        ("sum over space", one(&image, |m, x| m.op("sum", reduce(ReduceOp::Sum, &[2, 3]), &[x]))),
        ("concat", one(&image, |m, x| m.concat(&[x, x]))),
        ("softmax", one(&[1, 10], ModelBuilder::softmax)),
        (
            "softmax over channels",
            one(&image, |m, x| m.op("softmax", Op::Softmax { axis: 1, log: false }, &[x])),
        ),
        ("nearest resize", scaled(ResizeMode::Nearest)),
        ("linear resize", scaled(ResizeMode::Linear)),
        ("cubic resize", scaled(ResizeMode::Cubic)),
        ("flatten", one(&image, ModelBuilder::flatten)),
        ("identity", one(&image, |m, x| m.op("identity", Op::Identity, &[x]))),
    ];
    for op in [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Max,
        BinaryOp::Pow,
        BinaryOp::Fmod,
    ] {
        models.push((op.name(), one(&image, |m, x| m.binary(op, x, x))));
    }
    models
}

/// Compares the document's word on the model's last node with the device's on the program.
fn compare(
    document: &Capability,
    device: &dyn Device,
    what: &str,
    graph: &Graph,
    precision: Precision,
    program: &Graph,
) {
    let (_, node) = graph.nodes().last().unwrap();
    let said = document.processors[0].judge(&NodeQuery::new(graph, node, precision));
    let verdicts = device.supports(program).unwrap();
    let done = program.nodes().zip(&verdicts).find(|((_, other), _)| other.name == node.name).unwrap().1;
    assert_eq!(
        said.support == Support::Native,
        done.support == Support::Native,
        "{}: {what} at {precision}: the document says {said:?}, the device {done:?}",
        document.name
    );
}

#[test]
fn documents_call_native_what_has_a_kernel_and_nothing_else() {
    let device = CpuBackend::new().device();
    let documents = [
        device.capabilities().unwrap(),
        target::builtin("x86_64-avx2").unwrap(),
        target::builtin("x86_64-avx512vnni").unwrap(),
    ];
    for document in &documents {
        for (what, graph) in models() {
            compare(document, &device, what, &graph, Precision::F32, &graph);
            let (_, node) = graph.nodes().last().unwrap();
            if has_integer_form(&node.op) {
                for dtype in [DType::U8, DType::I8] {
                    let program = quantized(&graph, Precision::W8A8, dtype, 3);
                    compare(document, &device, what, &graph, Precision::W8A8, &program);
                    if node.op.has_weights() {
                        let program = quantized(&graph, Precision::W4A8, dtype, 3);
                        compare(document, &device, what, &graph, Precision::W4A8, &program);
                    }
                }
            }
            let constant = node.input(1).is_some_and(|id| graph.value(id).constant.is_some());
            if node.op.has_weights() && constant {
                // Weights that are stored in fewer bits than they are computed with.
                for precision in [Precision::F16, Precision::Bf16, Precision::W8A16F, Precision::W4A16F] {
                    let mut choices = Choices::default();
                    choices.precisions.insert(node.name.clone(), precision);
                    let program = lower(&graph, &choices).unwrap();
                    compare(document, &device, what, &graph, precision, &program);
                }
            }
        }
    }
}
