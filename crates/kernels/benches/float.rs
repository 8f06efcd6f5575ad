//! f32 convolutions over the layers of EfficientNet-Lite0 at 224×224 and a few large ones, one thread.
//!
//! `cargo bench -p fewbit-kernels --bench float` runs them under criterion in the best tier (or the one that
//! `FEWBIT_CPU_TIER` names), throughput in floating-point operations; with `-- --table [FILTER]` it prints one line
//! per layer instead: the best time of many runs, GFLOP/s, and the sum over the network.

#[path = "support/networks.rs"]
mod networks;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use fewbit_kernels::{ConvF32, ConvShape, Scratch, TIER_VARIABLE, TierToken};

/// A layer with everything it needs to run.
struct Layer {
    conv: ConvF32,
    input: Vec<f32>,
    out: Vec<f32>,
    scratch: Scratch,
}

impl Layer {
    fn new(token: TierToken, shape: &ConvShape) -> Self {
        let weights: Vec<f32> = (0..shape.weight_len()).map(|i| (i % 17) as f32 * 0.01 - 0.05).collect();
        let bias = vec![0.1; shape.out_c];
        let conv = ConvF32::new(token, *shape, &weights, Some(&bias), (0.0, 6.0)).expect("valid layer");
        let scratch = Scratch::with_capacity(conv.scratch_len());
        let input = (0..shape.input_len()).map(|i| (i % 23) as f32 * 0.01).collect();
        Self { conv, input, out: vec![0.0; shape.output_len()], scratch }
    }

    fn run(&mut self) {
        let units = 0..self.conv.units();
        self.conv
            .run(black_box(&self.input), units, black_box(&mut self.out), &mut self.scratch)
            .expect("valid arguments");
    }
}

fn main() {
    let limit = std::env::var(TIER_VARIABLE).ok().map(|name| name.parse().expect("a tier's name"));
    let token = TierToken::best(limit);
    let mut layers = networks::efficientnet_lite0();
    layers.push(("gemm 1024".to_owned(), ConvShape::gemm(1024, 1024, 1024), 0));
    layers.push(("resnet 3x3 56x56 64-64".to_owned(), networks::conv(56, 64, 64, 3, 1, 1), 0));
    layers.push(("resnet 3x3 7x7 512-512".to_owned(), networks::conv(7, 512, 512, 3, 1, 1), 0));
    let mut arguments = std::env::args().skip_while(|argument| argument != "--table");
    if arguments.next().is_some() {
        let filter = arguments.next().filter(|argument| !argument.starts_with('-')).unwrap_or_default();
        return table(token, &layers, &filter);
    }
    let mut criterion = Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(400))
        .configure_from_args();
    let mut group = criterion.benchmark_group(format!("conv_f32/{}", token.tier()));
    for (name, shape, times) in &layers {
        let mut layer = Layer::new(token, shape);
        group.throughput(Throughput::Elements(2 * shape.macs()));
        group.bench_function(format!("{name} (x{times})"), |bencher| bencher.iter(|| layer.run()));
    }
    group.finish();
    criterion.final_summary();
}

#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
fn table(token: TierToken, layers: &[(String, ConvShape, usize)], filter: &str) {
    let (mut total, mut depthwise, mut operations) = (0.0, 0.0, 0.0);
    for (name, shape, times) in layers.iter().filter(|(name, ..)| name.contains(filter)) {
        let mut layer = Layer::new(token, shape);
        let mut best = f64::INFINITY;
        let start = Instant::now();
        let mut runs = 0;
        while runs < 5 || start.elapsed() < Duration::from_millis(250) {
            let begin = Instant::now();
            layer.run();
            best = best.min(begin.elapsed().as_secs_f64());
            runs += 1;
        }
        let flop = 2.0 * shape.macs() as f64;
        println!("{name:28} x{times} {:9.1} us {:7.1} GFLOP/s", best * 1e6, flop / best / 1e9);
        total += best * *times as f64;
        operations += flop * *times as f64;
        depthwise += if shape.is_depthwise() { best * *times as f64 } else { 0.0 };
    }
    println!(
        "{}: {:.3} ms, of which depthwise {:.3} ms, {:.1} GFLOP/s",
        token.tier(),
        total * 1e3,
        depthwise * 1e3,
        operations / total / 1e9
    );
}
