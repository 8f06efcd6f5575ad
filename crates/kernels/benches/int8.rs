//! int8 convolutions over the layers of EfficientNet-Lite0 at 224×224, those of ResNet-18 and a square matrix product, one
//! thread.
//!
//! `cargo bench -p fewbit-kernels --bench int8` runs them under criterion in the best tier (or the one that
//! `FEWBIT_CPU_TIER` names); with `-- --table` it prints one line per layer instead: the best time of many runs,
//! GMAC/s, and the sum over the network.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use fewbit_kernels::{
    ConvInt8, ConvShape, Epilogue, OutSlice, Requantize, Scratch, TIER_VARIABLE, TierToken,
};

/// How often a layer occurs in EfficientNet-Lite0, its name and its shape.
fn layers() -> Vec<(u32, String, ConvShape)> {
    let mut layers = Vec::new();
    let mut add =
        |count, kernel: usize, stride: usize, size: usize, in_c: usize, out_c: usize, groups: usize| {
            let out = size.div_ceil(stride);
            let pad = ((out - 1) * stride + kernel).saturating_sub(size) / 2;
            let kind = if groups > 1 { "depthwise" } else { "conv" };
            let name = format!("{kind}{kernel}x{kernel}s{stride}_{size}_{in_c}_{out_c}");
            let shape = ConvShape {
                batch: 1,
                in_h: size,
                in_w: size,
                in_c,
                out_h: out,
                out_w: out,
                out_c,
                kernel_h: kernel,
                kernel_w: kernel,
                stride_h: stride,
                stride_w: stride,
                dilation_h: 1,
                dilation_w: 1,
                pad_top: pad,
                pad_left: pad,
                groups,
            };
            layers.push((count, name, shape));
        };
    add(1, 3, 2, 224, 3, 32, 1);
    for (count, size, in_c, out_c) in [
        (1, 112, 32, 16),
        (1, 112, 16, 96),
        (1, 56, 96, 24),
        (2, 56, 24, 144),
        (1, 56, 144, 24),
        (1, 28, 144, 40),
        (2, 28, 40, 240),
        (1, 28, 240, 40),
        (1, 14, 240, 80),
        (3, 14, 80, 480),
        (2, 14, 480, 80),
        (1, 14, 480, 112),
        (3, 14, 112, 672),
        (2, 14, 672, 112),
        (1, 7, 672, 192),
        (4, 7, 192, 1152),
        (3, 7, 1152, 192),
        (1, 7, 1152, 320),
        (1, 7, 320, 1280),
        (1, 1, 1280, 1000),
    ] {
        add(count, 1, 1, size, in_c, out_c, 1);
    }
    for (count, kernel, stride, size, channels) in [
        (1, 3, 1, 112, 32),
        (1, 3, 2, 112, 96),
        (1, 3, 1, 56, 144),
        (1, 5, 2, 56, 144),
        (1, 5, 1, 28, 240),
        (1, 3, 2, 28, 240),
        (2, 3, 1, 14, 480),
        (1, 5, 1, 14, 480),
        (2, 5, 1, 14, 672),
        (1, 5, 2, 14, 672),
        (3, 5, 1, 7, 1152),
        (1, 3, 1, 7, 1152),
    ] {
        add(count, kernel, stride, size, channels, channels, channels);
    }
    // The layers that make up ResNet-18.
    add(0, 7, 2, 224, 3, 64, 1);
    for (size, channels) in [(56, 64), (28, 128), (14, 256), (7, 512)] {
        add(0, 3, 1, size, channels, channels, 1);
    }
    layers.push((0, "gemm_1024_1024_1024".to_owned(), ConvShape::gemm(1024, 1024, 1024)));
    layers
}

/// A convolution with everything it needs to run again and again.
struct Bench {
    conv: ConvInt8,
    input: Vec<u8>,
    requantize: Requantize,
    out: Vec<u8>,
    scratch: Scratch,
}

impl Bench {
    fn new(shape: ConvShape, token: TierToken) -> Self {
        let weights: Vec<i8> = (0..shape.weight_len()).map(|i| (i * 37 % 255) as i8).collect();
        let conv = ConvInt8::new(token, shape, &weights, Some(&vec![11; shape.out_c])).expect("valid layer");
        let scratch = Scratch::with_capacity(conv.scratch_len());
        // A layer that widens is followed by a rectifier: its zero point is 0.
        let zero_point = if shape.out_c < shape.in_c { 128 } else { 0 };
        Self {
            input: (0..shape.input_len()).map(|i| (i * 101 % 256) as u8).collect(),
            requantize: Requantize::new(vec![1e-4; shape.out_c], zero_point, 0, 255)
                .expect("valid requantization"),
            out: vec![0; shape.output_len()],
            scratch,
            conv,
        }
    }

    fn run(&mut self) {
        let units = 0..self.conv.units();
        let out = OutSlice::U8(&mut self.out);
        self.conv
            .run(black_box(&self.input), 7, units, &Epilogue::U8(&self.requantize), out, &mut self.scratch)
            .expect("sizes fit");
    }
}

fn token() -> TierToken {
    let limit = std::env::var(TIER_VARIABLE).ok().map(|name| name.parse().expect("a tier's name"));
    TierToken::best(limit)
}

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn table(filter: &str) {
    println!("tier {}", token().tier());
    let mut total = Duration::ZERO;
    let mut macs = 0;
    for (count, name, shape) in layers().into_iter().filter(|(_, name, _)| name.contains(filter)) {
        let mut bench = Bench::new(shape, token());
        let mut best = Duration::MAX;
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(150) {
            let run = Instant::now();
            bench.run();
            best = best.min(run.elapsed());
        }
        let rate = shape.macs() as f64 / best.as_secs_f64() / 1e9;
        println!("{count} × {name:32} {:9.1} µs {rate:8.1} GMAC/s", best.as_secs_f64() * 1e6);
        total += best * count;
        macs += shape.macs() * u64::from(count);
    }
    let rate = macs as f64 / total.as_secs_f64() / 1e9;
    println!("network: {:.3} ms, {rate:.1} GMAC/s", total.as_secs_f64() * 1e3);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--table") {
        return table(arguments.get(at + 1).map_or("", |filter| filter.trim_start_matches("--bench")));
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    let mut group = criterion.benchmark_group("conv_int8");
    for (_, name, shape) in layers() {
        let mut bench = Bench::new(shape, token());
        group.throughput(Throughput::Elements(shape.macs()));
        group.bench_function(BenchmarkId::new(name, token().tier()), |bencher| bencher.iter(|| bench.run()));
    }
    group.finish();
    criterion.final_summary();
}
