//! Times of nodes, measured on a live device: what plans are predicted from.
//!
//! A node's time is measured where it runs, inside its program, so that caches are as warm or cold as they will be.

use std::collections::HashSet;
use std::time::Instant;

use fewbit_core::backend::{CompileOptions, Device};
use fewbit_core::error::Result;
use fewbit_core::ir::{DType, Graph, Node, Op, Shape, Tensor, Value};
use fewbit_core::quant::QuantParams;
use indexmap::IndexMap;

/// Median times of one program.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramTimes {
    /// Microseconds of each step by the node that it belongs to; steps of one node are added up, and a change of layout
    /// counts to the node that needs it.
    pub nodes: IndexMap<String, f64>,
    /// Microseconds of a whole run, without the profile.
    pub run_us: f64,
}

impl ProgramTimes {
    /// Microseconds of a node. Where several nodes run as one, each gets an equal share.
    pub fn node(&self, name: &str) -> Option<f64> {
        if let Some(&us) = self.nodes.get(name) {
            return Some(us);
        }
        self.nodes.iter().find_map(|(joined, us)| {
            let parts: Vec<&str> = joined.split('+').collect();
            parts.contains(&name).then(|| us / parts.len() as f64)
        })
    }

    /// What a run takes beyond its nodes.
    pub fn overhead_us(&self) -> f64 {
        (self.run_us - self.nodes.values().sum::<f64>()).max(0.0)
    }
}

/// Time that the measured runs of one program may take; long ones run less often, but never fewer than [`FEWEST`].
const BUDGET_US: f64 = 600_000.0;
/// Runs of a program that is measured at least.
const FEWEST: usize = 7;
/// Time that short programs run for however few runs are asked for: clocks and branch predictors settle meanwhile.
const SETTLED_US: f64 = 30_000.0;
/// Runs of one program before the other's turn.
const TURN: usize = 7;

/// Measures `program` on `device`: medians over about `iterations` runs after some that warm up, more of short programs
/// and fewer of long ones.
///
/// # Errors
/// What the device says.
pub fn program_times(
    program: &Graph,
    device: &dyn Device,
    threads: usize,
    iterations: usize,
) -> Result<ProgramTimes> {
    let iterations = iterations.max(1);
    let options = CompileOptions::threads(threads);
    let profiled = device.compile(program, &options.clone().with_profile())?;
    let plain = device.compile(program, &options)?;
    let inputs = profiled
        .inputs()
        .iter()
        .enumerate()
        .map(|(seed, spec)| sample_input(spec.dtype, &spec.extents, seed))
        .collect::<Result<Vec<_>>>()?;
    let mut outputs = profiled
        .outputs()
        .iter()
        .map(|spec| Tensor::zeros(spec.dtype, &spec.extents))
        .collect::<Result<Vec<_>>>()?;
    let (mut profiled, mut plain) = (profiled.context()?, plain.context()?);
    let warm_up = Instant::now();
    for _ in 0..3 {
        profiled.run(&inputs, &mut outputs)?;
        plain.run(&inputs, &mut outputs)?;
    }
    let pair_us = warm_up.elapsed().as_secs_f64() * 1e6 / 3.0;
    let most = ((BUDGET_US / pair_us) as usize).max(FEWEST);
    let iterations = iterations.max((SETTLED_US / pair_us) as usize).min(most);
    let names: HashSet<&str> = program.nodes().map(|(_, node)| node.name.as_str()).collect();
    let is_part = |step: &str| names.contains(step) || step.split('+').all(|part| names.contains(part));
    let mut runs = Vec::with_capacity(iterations);
    let mut steps: Vec<(String, Vec<u64>)> = Vec::new();
    // In turns, so that what disturbs one disturbs the other; several runs a turn, so that most find their own weights
    // in the caches, as the model alone does.
    while runs.len() < iterations {
        for _ in 0..TURN {
            let start = Instant::now();
            plain.run(&inputs, &mut outputs)?;
            runs.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        for _ in 0..TURN {
            profiled.run(&inputs, &mut outputs)?;
            for (at, time) in profiled.profile().into_iter().enumerate() {
                if steps.len() <= at {
                    steps.push((time.node, Vec::with_capacity(iterations)));
                }
                steps[at].1.push(time.nanoseconds);
            }
        }
    }
    let mut nodes = IndexMap::new();
    // A step that is none of the program's nodes prepares what the next one reads: another layout of a value.
    let mut before = 0.0;
    for (node, mut times) in steps {
        let us = median(&mut times);
        if is_part(&node) {
            *nodes.entry(node).or_insert(0.0) += us + std::mem::take(&mut before);
        } else {
            before += us;
        }
    }
    Ok(ProgramTimes { nodes, run_us: median(&mut runs) })
}

/// Microseconds that converting `elements` reals to codes, and codes to reals, takes.
///
/// # Errors
/// What the device says.
pub fn conversion_times(
    dtype: DType,
    extents: &[usize],
    device: &dyn Device,
    threads: usize,
    iterations: usize,
) -> Result<(f64, f64)> {
    let params = QuantParams::per_tensor(1.0 / 128.0, if dtype == DType::U8 { 128 } else { 0 });
    let mut graph = Graph::new("conversions");
    let shape = Shape::fixed(extents);
    let real = |name: &str| Value {
        name: name.to_owned(),
        dtype: Some(DType::F32),
        shape: Some(shape.clone()),
        quant: None,
        constant: None,
    };
    let input = graph.push_value(real("x"));
    let codes = graph.push_value(Value { dtype: Some(dtype), quant: Some(params), ..real("codes") });
    let output = graph.push_value(real("y"));
    graph.inputs.push(input);
    graph.outputs.push(output);
    for (name, op, from, to) in
        [("quantize", Op::Quantize, input, codes), ("dequantize", Op::Dequantize, codes, output)]
    {
        graph.add_node(Node {
            name: name.to_owned(),
            op,
            inputs: vec![Some(from)],
            outputs: vec![to],
            precision: None,
        });
    }
    let times = program_times(&graph, device, threads, iterations)?;
    Ok((times.node("quantize").unwrap_or(0.0), times.node("dequantize").unwrap_or(0.0)))
}

/// The median in microseconds of times in nanoseconds.
fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0) as f64 / 1e3
}

/// Reproducible inputs: values spread over [-1, 1] for floats, 0 and 1 for integers, which are indices or masks.
///
/// # Errors
/// Extents whose product does not fit.
pub fn sample_input(dtype: DType, extents: &[usize], seed: usize) -> Result<Tensor> {
    let elements: usize = extents.iter().product();
    let mut state = seed as u64 + 1;
    let values: Vec<f64> = (0..elements)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let unit = (state >> 33) as f64 / f64::from(1u32 << 31);
            if dtype.is_float() { 2.0 * unit - 1.0 } else { (unit * 2.0).floor() }
        })
        .collect();
    Tensor::from_f64(dtype, extents, &values)
}
