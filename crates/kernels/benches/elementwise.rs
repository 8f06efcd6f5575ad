//! Element-wise kernels, pooling and conversions over tensors that stay in the second-level cache, one thread.
//!
//! `cargo bench -p fewbit-kernels --bench elementwise` runs them under criterion in the best tier (or the one that
//! `FEWBIT_CPU_TIER` names), throughput in output elements; with `-- --table` it prints one line per kernel instead.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use fewbit_kernels::{
    AddU8, BinaryF32, Codes, LINEAR_ONE, LinearTap, MulU8, PoolShape, ResizeShape, TIER_VARIABLE, TierToken,
    Transpose, UnaryF32, add_u8, average_pool_u8, bf16_to_f32, binary_f32, dequantize_u8, f16_to_f32,
    f32_to_bf16, f32_to_f16, global_average_u8, layer_norm_f32, max_pool_u8, min_max_f32, mul_u8,
    quantize_f32, resize_linear_u8, softmax_f32, table_u8, unary_f32,
};
use half::{bf16, f16};

/// Pixels and channels of every tensor.
const PIXELS: usize = 28 * 28;
const CHANNELS: usize = 96;
const N: usize = PIXELS * CHANNELS;

/// A kernel's name, the elements it writes, and one run of it.
type Case = (&'static str, usize, Box<dyn FnMut()>);

fn cases(token: TierToken) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let bytes = || (0..N).map(|i| (i * 7) as u8).collect::<Vec<_>>();
    let floats = || (0..N).map(|i| (i % 4001) as f32 * 0.004 - 8.0).collect::<Vec<_>>();
    let codes = Codes::full(3);
    let per_channel = bytes()[..CHANNELS].to_vec();
    let add = AddU8 { a_zero: 3, a_ratio: 0.7, b_zero: 9, b_ratio: 0.4, codes };
    let (a, b, mut out) = (bytes(), bytes(), bytes());
    cases.push((
        "add u8",
        N,
        Box::new(move || add_u8(token, black_box(&a), &b, &add, black_box(&mut out)).expect("valid")),
    ));
    let mul = MulU8 { a_zero: 3, b_zero: 9, multiplier: 0.01, codes };
    let (a, mut out) = (bytes(), bytes());
    cases.push((
        "mul u8 per channel",
        N,
        Box::new(move || {
            mul_u8(token, black_box(&a), &per_channel, &mul, black_box(&mut out)).expect("valid");
        }),
    ));
    let table: [u8; 256] = std::array::from_fn(|i| (i * 3) as u8);
    let (a, mut out) = (bytes(), bytes());
    cases.push((
        "table u8",
        N,
        Box::new(move || table_u8(token, &table, black_box(&a), black_box(&mut out)).expect("valid")),
    ));
    let (x, mut q) = (floats(), bytes());
    cases.push((
        "quantize f32",
        N,
        Box::new(move || {
            quantize_f32(token, black_box(&x), &[0.06], &[codes], black_box(&mut q)).expect("valid");
        }),
    ));
    let (q, mut x) = (bytes(), floats());
    cases.push((
        "dequantize u8",
        N,
        Box::new(move || {
            dequantize_u8(token, black_box(&q), &[0.06], &[3], black_box(&mut x)).expect("valid");
        }),
    ));
    let x = floats();
    cases.push(("range f32", N, Box::new(move || _ = black_box(min_max_f32(token, black_box(&x))))));
    let (h, mut x) = (vec![f16::ONE; N], floats());
    cases.push((
        "f16 to f32",
        N,
        Box::new(move || f16_to_f32(black_box(&h), black_box(&mut x)).expect("valid")),
    ));
    let (x, mut h) = (floats(), vec![f16::ONE; N]);
    cases.push((
        "f32 to f16",
        N,
        Box::new(move || f32_to_f16(black_box(&x), black_box(&mut h)).expect("valid")),
    ));
    let (h, mut x) = (vec![bf16::ONE; N], floats());
    cases.push((
        "bf16 to f32",
        N,
        Box::new(move || bf16_to_f32(token, black_box(&h), black_box(&mut x)).expect("valid")),
    ));
    let (x, mut h) = (floats(), vec![bf16::ONE; N]);
    cases.push((
        "f32 to bf16",
        N,
        Box::new(move || f32_to_bf16(token, black_box(&x), black_box(&mut h)).expect("valid")),
    ));
    let (a, b, mut out) = (floats(), floats(), floats());
    cases.push((
        "add f32",
        N,
        Box::new(move || {
            let all = (f32::NEG_INFINITY, f32::INFINITY);
            binary_f32(token, BinaryF32::Add, black_box(&a), &b, all, black_box(&mut out)).expect("valid");
        }),
    ));
    for (name, op) in [
        ("relu f32", UnaryF32::Relu),
        ("hard swish f32", UnaryF32::HardSwish),
        ("exp f32", UnaryF32::Exp),
        ("sigmoid f32", UnaryF32::Sigmoid),
        ("silu f32", UnaryF32::Silu),
        ("tanh f32", UnaryF32::Tanh),
        ("gelu f32", UnaryF32::Gelu),
    ] {
        let (x, mut out) = (floats(), floats());
        cases.push((
            name,
            N,
            Box::new(move || unary_f32(token, op, black_box(&x), black_box(&mut out)).expect("valid")),
        ));
    }
    let (x, mut out) = (floats(), floats());
    cases.push((
        "softmax f32",
        N,
        Box::new(move || {
            softmax_f32(token, black_box(&x), CHANNELS, false, black_box(&mut out)).expect("valid");
        }),
    ));
    let (x, mut out) = (floats(), floats());
    cases.push((
        "layer norm f32",
        N,
        Box::new(move || {
            layer_norm_f32(token, black_box(&x), &[1.5; CHANNELS], None, 1e-5, black_box(&mut out))
                .expect("valid");
        }),
    ));
    let pool = PoolShape {
        batch: 1,
        in_h: 28,
        in_w: 28,
        channels: CHANNELS,
        out_h: 14,
        out_w: 14,
        kernel_h: 3,
        kernel_w: 3,
        stride_h: 2,
        stride_w: 2,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: 0,
        pad_left: 0,
        pad_bottom: 1,
        pad_right: 1,
        count_include_pad: false,
    };
    let (x, mut out) = (bytes(), vec![0; N / 4]);
    cases.push((
        "max pool 3x3s2 u8",
        N / 4,
        Box::new(move || {
            max_pool_u8(token, &pool, black_box(&x), 0..14, black_box(&mut out)).expect("valid");
        }),
    ));
    let (x, mut out) = (bytes(), vec![0; N / 4]);
    cases.push((
        "average pool 3x3s2 u8",
        N / 4,
        Box::new(move || {
            let multiplier = [0.1; 10];
            average_pool_u8(token, &pool, black_box(&x), 3, &multiplier, codes, 0..14, black_box(&mut out))
                .expect("valid");
        }),
    ));
    let (x, mut out) = (bytes(), vec![0; CHANNELS]);
    cases.push((
        "global average u8",
        N,
        Box::new(move || {
            global_average_u8(
                token,
                black_box(&x),
                CHANNELS,
                3,
                0.001,
                codes,
                0..CHANNELS,
                black_box(&mut out),
            )
            .expect("valid");
        }),
    ));
    let image = ResizeShape { batch: 1, in_h: 28, in_w: 28, channels: CHANNELS };
    let taps: Vec<_> = (0..28)
        .map(|i: u16| LinearTap {
            low: u32::from(i) / 2,
            high: u32::from(i) / 2 + 1,
            weights: [LINEAR_ONE - i * 9, i * 9],
        })
        .collect();
    let (x, mut out) = (bytes(), bytes());
    cases.push((
        "resize linear u8",
        N,
        Box::new(move || {
            resize_linear_u8(token, &image, black_box(&x), &taps, &taps, 0..28, black_box(&mut out))
                .expect("valid");
        }),
    ));
    let (x, mut out) = (bytes(), bytes());
    let plan = Transpose::nchw_to_nhwc(1, CHANNELS, PIXELS).expect("valid");
    cases.push((
        "NCHW to NHWC u8",
        N,
        Box::new(move || plan.run(black_box(&x), 0..plan.units(), black_box(&mut out)).expect("valid")),
    ));
    let (x, mut out) = (floats(), floats());
    let plan = Transpose::nchw_to_nhwc(1, CHANNELS, PIXELS).expect("valid");
    cases.push((
        "NCHW to NHWC f32",
        N,
        Box::new(move || plan.run(black_box(&x), 0..plan.units(), black_box(&mut out)).expect("valid")),
    ));
    cases
}

fn main() {
    let limit = std::env::var(TIER_VARIABLE).ok().map(|name| name.parse().expect("a tier's name"));
    let token = TierToken::best(limit);
    if std::env::args().any(|argument| argument == "--table") {
        return table(token);
    }
    let mut criterion = Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .configure_from_args();
    let mut group = criterion.benchmark_group(format!("elementwise/{}", token.tier()));
    for (name, elements, mut run) in cases(token) {
        group.throughput(Throughput::Elements(elements as u64));
        group.bench_function(name, |bencher| bencher.iter(&mut run));
    }
    group.finish();
    criterion.final_summary();
}

#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
fn table(token: TierToken) {
    for (name, elements, mut run) in cases(token) {
        let mut best = f64::INFINITY;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            let begin = Instant::now();
            run();
            best = best.min(begin.elapsed().as_secs_f64());
        }
        println!("{name:24} {:8.1} us {:8.2} Gelement/s", best * 1e6, elements as f64 / best / 1e9);
    }
}
