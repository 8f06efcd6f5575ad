//! f32 convolutions over the layers of EfficientNet-Lite0 at 224×224 and a few large ones, one thread.
//!
//! `cargo bench -p fewbit-kernels --bench float` runs them under criterion in the best tier (or the one that
//! `FEWBIT_CPU_TIER` names), throughput in floating-point operations; with `-- --table [FILTER]` it prints one line
//! per layer instead: the best time of many runs, GFLOP/s, and the sum over the network; with `-- --codes` what weights
//! in 8 and 4 bits take beside floats, in turns.

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
    if std::env::args().any(|argument| argument == "--codes") {
        return codes(token);
    }
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

/// Products of one row and of many with weights in 32, 8 and 4 bits: medians in turns, and the ratios to floats.
#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
fn codes(token: TierToken) {
    println!("{:<28}{:>12}{:>12}{:>12}{:>8}{:>8}", "product", "f32 us", "w8 us", "w4 us", "w8", "w4");
    let products = [
        ("1 row, 4096 x 4096", ConvShape::gemm(1, 4096, 4096)),
        ("1 row, 1000 x 1280", ConvShape::gemm(1, 1000, 1280)),
        ("16 rows, 1536 x 384", ConvShape::gemm(16, 1536, 384)),
        ("128 rows, 1536 x 384", ConvShape::gemm(128, 1536, 384)),
        ("3x3 14x14 256-256", networks::conv(14, 256, 256, 3, 1, 1)),
        ("1x1 28x28 128-512", networks::conv(28, 128, 512, 1, 1, 1)),
    ];
    for (name, shape) in products {
        let codes: Vec<i8> = (0..shape.weight_len()).map(|i| (i * 7 % 16) as i8 - 8).collect();
        let scales: Vec<f32> = (0..shape.out_c).map(|c| 0.01 + c as f32 * 1e-5).collect();
        let weights: Vec<f32> =
            codes.iter().enumerate().map(|(i, &code)| f32::from(code) * scales[i / shape.depth()]).collect();
        let open = (f32::NEG_INFINITY, f32::INFINITY);
        let small =
            |four| ConvF32::with_codes(token, shape, &codes, &scales, four, None, open).expect("valid");
        let convs =
            [ConvF32::new(token, shape, &weights, None, open).expect("valid"), small(false), small(true)];
        let input: Vec<f32> = (0..shape.input_len()).map(|i| (i % 23) as f32 * 0.01).collect();
        let mut out = vec![0.0; shape.output_len()];
        let mut scratch =
            Scratch::with_capacity(convs.iter().map(ConvF32::scratch_len).max().unwrap_or_default());
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..41 {
            for (conv, times) in convs.iter().zip(&mut times) {
                let start = Instant::now();
                conv.run(black_box(&input), 0..conv.units(), black_box(&mut out), &mut scratch)
                    .expect("valid");
                times.push(start.elapsed());
            }
        }
        let [f32_us, w8_us, w4_us] = times.map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1e6
        });
        println!(
            "{name:<28}{f32_us:>12.1}{w8_us:>12.1}{w4_us:>12.1}{:>8.2}{:>8.2}",
            w8_us / f32_us,
            w4_us / f32_us
        );
    }
}
