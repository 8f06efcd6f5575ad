//! What isolation costs: `cargo bench -p fewbit-plugin-host --bench isolation`.
//!
//! Spawning a worker and probing a plugin; one run of one element, here and there: the difference is a round trip; one
//! run of 4 MiB in and 4 MiB out, here and there: the difference, divided by 8, is the cost of a MiB.

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, criterion_group, criterion_main};
use fewbit_core::backend::{Backend, CompileOptions, Context};
use fewbit_core::ir::{DType, Graph, Op, Shape, Tensor, UnaryOp};
use fewbit_plugin_host::{LoadOptions, Manifest, PluginBackend, WorkerOptions};

fn isolated() -> LoadOptions {
    let mut options = LoadOptions::default();
    options.worker = Some(WorkerOptions::new(env!("CARGO_BIN_EXE_fewbit-plugin-worker"), []));
    options
}

/// A rectified linear unit over as many numbers.
fn context(manifest: &Manifest, options: &LoadOptions, elements: usize) -> (PluginBackend, Box<dyn Context>) {
    let mut graph = Graph::new("relu");
    let x = graph.add_input("x", DType::F32, Shape::fixed(&[elements]));
    let y = graph.add_op("y", Op::Unary(UnaryOp::Relu), &[x]);
    graph.outputs.push(y);
    fewbit_core::infer::infer(&mut graph).expect("a sound program");
    let backend = PluginBackend::load(manifest, options).expect("the sample loads");
    let device = backend.devices().expect("devices").swap_remove(0);
    let executable = device.compile(&graph, &CompileOptions::threads(1)).expect("it compiles");
    let context = executable.context().expect("a context");
    (backend, context)
}

fn isolation(criterion: &mut Criterion) {
    let path: Option<PathBuf> = fewbit_testing::plugin("sample-c");
    let Some(path) = path else { return };
    let manifest = Manifest::read(&path).expect("a manifest");
    criterion.bench_function("spawn and probe", |bencher| {
        bencher.iter(|| PluginBackend::load(black_box(&manifest), &isolated()).expect("the sample loads"));
    });
    for (size, elements) in [("one element", 1), ("4 MiB in, 4 MiB out", 1 << 20)] {
        let mut group = criterion.benchmark_group(format!("run, {size}"));
        for (place, options) in [("here", LoadOptions::default()), ("isolated", isolated())] {
            let (_backend, mut context) = context(&manifest, &options, elements);
            let input = [Tensor::zeros(DType::F32, &[elements]).expect("a tensor")];
            let mut output = [input[0].clone()];
            output[0].bytes_mut();
            group.bench_function(place, |bencher| {
                bencher.iter(|| context.run(black_box(&input), &mut output).expect("it runs"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, isolation);
criterion_main!(benches);
