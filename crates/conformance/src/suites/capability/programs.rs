//! Programs at the limits of rules, and one step beyond.

use fewbit_core::capability::{Groups, Limits};
use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, DType, Op, PoolAttributes, Tensor, UnaryOp, ValueId,
};
use fewbit_core::quant::{QuantParams, Symmetry};

use crate::build::{Builder, Store};
use crate::case::{Compare, Form, Problem};
use crate::error::Result;
use crate::random::Random;

/// Operators of which programs can be made.
pub(super) const OPERATORS: [&str; 17] = [
    "Conv",
    "Gemm",
    "MatMul",
    "MaxPool",
    "AveragePool",
    "Add",
    "Sub",
    "Mul",
    "Relu",
    "Sigmoid",
    "Concat",
    "Identity",
    "Flatten",
    "Reshape",
    "Transpose",
    "GlobalAveragePool",
    "Softmax",
];

/// Elements that a program may have: limits beyond are not reached.
const MOST: usize = 1 << 18;

/// A program by what it is made of.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// `OPERATOR/FORM/variant`.
    pub name: String,
    pub operator: String,
    pub form: Option<Form>,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Conv(Conv),
    /// Extents of both operands; the second is constant or not.
    Product {
        op: &'static str,
        a: Vec<usize>,
        b: Vec<usize>,
        constant: bool,
        activation: Activation,
    },
    Pool {
        average: bool,
        input: Vec<usize>,
        attributes: PoolAttributes,
    },
    /// Extents of the inputs.
    Element {
        inputs: Vec<Vec<usize>>,
        activation: Activation,
    },
}

#[derive(Debug, Clone)]
struct Conv {
    input: Vec<usize>,
    channels: usize,
    window: ConvAttributes,
    activation: Activation,
    constant: bool,
}

fn candidate(operator: &str, form: Option<Form>, variant: &str, body: Body) -> Candidate {
    let form_name = form.map_or_else(|| "f32".to_owned(), |form| form.to_string());
    let name = format!("{}/{form_name}/{variant}", operator.to_lowercase());
    Candidate { name, operator: operator.to_owned(), form, body }
}

/// Clamps that a rule may allow or not.
const CLAMPS: [(&str, Activation); 3] = [
    ("relu", Activation::Relu),
    ("relu6", Activation::Clip { min: 0.0, max: 6.0 }),
    ("clip", Activation::Clip { min: -1.5, max: 2.5 }),
];

/// Convolutions around the limits.
pub(super) fn conv_candidates(form: Option<Form>, limits: &Limits) -> Vec<Candidate> {
    let multiple = limits.channels_multiple_of.unwrap_or(1).clamp(1, 64);
    let channels = 6usize.next_multiple_of(multiple);
    let only_depthwise = limits.groups.as_ref().is_some_and(|groups| {
        groups.contains(&Groups::Depthwise)
            && !groups.contains(&Groups::One)
            && !groups.contains(&Groups::Any)
    });
    let most = limits.kernel_max.as_ref().and_then(|most| most.first().copied()).unwrap_or(3);
    let kernel = if limits.kernel_area_max.is_some_and(|area| area < 9) { 1 } else { most.clamp(1, 3) };
    let rank = limits.rank.as_ref().and_then(|ranks| ranks.iter().max().copied()).unwrap_or(4).clamp(3, 5);
    let base = Conv::square(rank, channels, kernel, if only_depthwise { channels } else { 1 });
    let mut bodies: Vec<(String, Conv)> = vec![("base".to_owned(), base.clone())];
    let mut add = |name: String, change: &dyn Fn(&mut Conv)| {
        let mut conv = base.clone();
        change(&mut conv);
        if conv.fits() {
            bodies.push((name, conv));
        }
    };
    let square = |rank: usize| Conv::square(rank, channels, kernel, base.window.groups);
    if limits.rank.is_some() || limits.rank_max.is_some() {
        for rank in 3..=5 {
            add(format!("rank-{rank}"), &|conv| *conv = square(rank));
        }
    }
    if let Some(most) = limits.batch_max {
        for batch in [most, most + 1] {
            add(format!("batch-{batch}"), &|conv| conv.input[0] = batch);
        }
    }
    if let Some(most) = limits.dim_max {
        for extent in [most, most + 1] {
            add(format!("dim-{extent}"), &|conv| {
                let last = conv.input.len() - 1;
                conv.input[last] = extent;
            });
        }
    }
    for (axis, most) in limits.kernel_max.iter().flatten().enumerate() {
        for kernel in [*most, most + 1] {
            add(format!("kernel-axis{axis}-{kernel}"), &|conv| conv.set_kernel(axis, kernel));
        }
    }
    if let Some(most) = limits.stride_max {
        for stride in [most, most + 1] {
            add(format!("stride-{stride}"), &|conv| conv.window.strides.fill(stride));
        }
    }
    if let Some(most) = limits.dilation_max {
        for dilation in [most, most + 1] {
            add(format!("dilation-{dilation}"), &|conv| conv.set_dilation(dilation));
        }
    } else {
        add("dilation-2".to_owned(), &|conv| conv.set_dilation(2));
    }
    if limits.groups.is_some() {
        add("groups-one".to_owned(), &|conv| conv.window.groups = 1);
        add("groups-two".to_owned(), &|conv| {
            conv.input[1] = 4usize.next_multiple_of(2 * multiple);
            conv.channels = conv.input[1];
            conv.window.groups = 2;
        });
        add("groups-depthwise".to_owned(), &|conv| conv.window.groups = conv.input[1]);
    }
    if multiple > 1 {
        add("channels-in-odd".to_owned(), &|conv| conv.input[1] += 1);
        add("channels-out-odd".to_owned(), &|conv| conv.channels += 1);
    }
    if limits.constant_weights {
        add("weights-computed".to_owned(), &|conv| conv.constant = false);
    }
    for (name, activation) in CLAMPS {
        add(format!("fused-{name}"), &|conv| conv.activation = activation);
    }
    bodies.into_iter().map(|(variant, conv)| candidate("Conv", form, &variant, Body::Conv(conv))).collect()
}

impl Conv {
    fn square(rank: usize, channels: usize, kernel: usize, groups: usize) -> Self {
        let spatial = rank - 2;
        let mut input = vec![1, channels];
        input.extend(vec![8; spatial]);
        let window = ConvAttributes {
            pads: vec![kernel / 2; 2 * spatial],
            groups,
            ..ConvAttributes::unit(&vec![kernel; spatial])
        };
        Self { input, channels, window, activation: Activation::None, constant: true }
    }

    fn set_kernel(&mut self, axis: usize, kernel: usize) {
        let spatial = self.window.kernel.len();
        if axis < spatial {
            self.window.kernel[axis] = kernel;
            self.window.pads[axis] = kernel / 2;
            self.window.pads[axis + spatial] = kernel / 2;
        }
    }

    fn set_dilation(&mut self, dilation: usize) {
        self.window.dilations.fill(dilation);
        let pads: Vec<usize> = self.window.kernel.iter().map(|kernel| kernel / 2 * dilation).collect();
        self.window.pads = [pads.as_slice(), pads.as_slice()].concat();
    }

    /// Whether it is small enough to be run, and a convolution at all.
    fn fits(&self) -> bool {
        let per_group = self.input[1] / self.window.groups.max(1);
        let product = |extents: &[usize]| {
            extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
        };
        let work = product(&self.input)
            .and_then(|input| product(&self.window.kernel).and_then(|kernel| input.checked_mul(kernel)))
            .and_then(|work| work.checked_mul(self.channels.div_ceil(self.window.groups.max(1))));
        per_group > 0
            && self.input[1].is_multiple_of(self.window.groups)
            && self.channels.is_multiple_of(self.window.groups)
            && work.is_some_and(|work| work <= MOST * 16)
    }
}

/// Matrix products around the limits.
pub(super) fn product_candidates(op: &str, form: Option<Form>, limits: &Limits) -> Vec<Candidate> {
    let op = if op == "Gemm" { "Gemm" } else { "MatMul" };
    let multiple = limits.channels_multiple_of.unwrap_or(1).clamp(1, 64);
    let (k, n) = (12usize.next_multiple_of(multiple), 8usize.next_multiple_of(multiple));
    let product = |variant: &str, a: Vec<usize>, b: Vec<usize>, constant: bool, activation: Activation| {
        candidate(op, form, variant, Body::Product { op, a, b, constant, activation })
    };
    let none = Activation::None;
    let mut candidates = vec![product("base", vec![5, k], vec![k, n], true, none)];
    if op == "MatMul" {
        let ranks = limits
            .rank
            .iter()
            .flatten()
            .copied()
            .chain(limits.rank_max.iter().flat_map(|&most| [most, most + 1]));
        for rank in ranks.filter(|rank| (3..=10).contains(rank)) {
            let mut a = vec![1; rank - 2];
            a.extend([5, k]);
            candidates.push(product(&format!("rank-{rank}"), a, vec![k, n], true, none));
        }
    } else {
        for (name, activation) in CLAMPS {
            candidates.push(product(&format!("fused-{name}"), vec![5, k], vec![k, n], true, activation));
        }
    }
    if let Some(most) = limits.dim_max.filter(|most| most * k <= MOST) {
        for extent in [most, most + 1] {
            candidates.push(product(&format!("dim-{extent}"), vec![extent, k], vec![k, n], true, none));
        }
    }
    if multiple > 1 {
        candidates.push(product("channels-in-odd", vec![5, k + 1], vec![k + 1, n], true, none));
        candidates.push(product("channels-out-odd", vec![5, k], vec![k, n + 1], true, none));
    }
    if limits.constant_weights {
        candidates.push(product("weights-computed", vec![5, k], vec![k, n], false, none));
    }
    candidates
}

/// Pooling around the limits.
pub(super) fn pool_candidates(op: &str, form: Option<Form>, limits: &Limits) -> Vec<Candidate> {
    let average = op == "AveragePool";
    let pool = |variant: &str, rank: usize, kernel: usize, stride: usize, batch: usize| {
        let spatial = rank - 2;
        let attributes = PoolAttributes {
            kernel: vec![kernel; spatial],
            strides: vec![stride; spatial],
            dilations: vec![1; spatial],
            pads: vec![0; 2 * spatial],
            ceil: false,
            count_include_pad: false,
        };
        let mut input = vec![batch, 6];
        input.extend(vec![(kernel + 5).max(9); spatial]);
        candidate(op, form, variant, Body::Pool { average, input, attributes })
    };
    let rank = limits.rank.as_ref().and_then(|ranks| ranks.iter().max().copied()).unwrap_or(4).clamp(3, 5);
    let mut candidates = vec![pool("base", rank, 2, 2, 1)];
    if limits.rank.is_some() || limits.rank_max.is_some() {
        candidates.extend((3..=5).map(|rank| pool(&format!("rank-{rank}"), rank, 2, 2, 1)));
    }
    if let Some(&most) = limits.kernel_max.iter().flatten().min() {
        let kernels = [most, most + 1].into_iter().filter(|kernel| *kernel <= 64);
        candidates.extend(kernels.map(|kernel| pool(&format!("kernel-{kernel}"), rank, kernel, 1, 1)));
    }
    if let Some(most) = limits.stride_max {
        let strides = [most, most + 1].into_iter().filter(|stride| *stride <= 64);
        candidates.extend(strides.map(|stride| pool(&format!("stride-{stride}"), rank, 2, stride, 1)));
    }
    if let Some(most) = limits.batch_max.filter(|most| *most <= 64) {
        candidates.extend([most, most + 1].map(|batch| pool(&format!("batch-{batch}"), rank, 2, 2, batch)));
    }
    candidates
}

/// Operators on elements around the limits.
pub(super) fn element_candidates(op: &str, form: Option<Form>, limits: &Limits) -> Vec<Candidate> {
    let operands = if matches!(op, "Add" | "Sub" | "Mul" | "Concat") { 2 } else { 1 };
    let element = |variant: &str, inputs: Vec<Vec<usize>>, activation: Activation| {
        candidate(op, form, variant, Body::Element { inputs, activation })
    };
    let base = match &limits.rank {
        Some(ranks) => ranks.iter().max().copied().unwrap_or(4).clamp(1, 6),
        None => 4.min(limits.rank_max.unwrap_or(4)).max(2),
    };
    // A transposition or a global pool needs the dimensions that it is about.
    let base = if op == "GlobalAveragePool" { base.max(3) } else { base };
    let extents = |rank: usize| -> Vec<usize> {
        let mut extents = vec![1, 6, 5, 7, 2, 2, 1, 1, 1, 1];
        extents.truncate(rank);
        if rank == 1 { vec![42] } else { extents }
    };
    let same = |extents: Vec<usize>| vec![extents; operands];
    let mut candidates = vec![element("base", same(extents(base)), Activation::None)];
    let ranks = limits.rank.iter().flat_map(|ranks| 2..=ranks.iter().max().copied().unwrap_or(4) + 1);
    let ranks = ranks.chain(limits.rank_max.into_iter().flat_map(|most| [most, most + 1]));
    for rank in ranks.filter(|rank| (2..=10).contains(rank) && (op != "GlobalAveragePool" || *rank > 2)) {
        candidates.push(element(&format!("rank-{rank}"), same(extents(rank)), Activation::None));
    }
    let mut with_first = |name: String, at: usize, extent: usize| {
        let mut extents = extents(base.max(3));
        extents[at] = extent;
        if extents.iter().product::<usize>() <= MOST {
            candidates.push(element(&name, same(extents), Activation::None));
        }
    };
    if let Some(most) = limits.batch_max {
        for batch in [most, most + 1] {
            with_first(format!("batch-{batch}"), 0, batch);
        }
    }
    if let Some(most) = limits.dim_max {
        for extent in [most, most + 1] {
            with_first(format!("dim-{extent}"), 2, extent);
        }
    }
    if operands == 2 && op != "Concat" {
        let mut narrow = extents(base);
        if let Some(last) = narrow.last_mut() {
            *last = 1;
        }
        candidates.push(element("broadcast", vec![extents(base), narrow], Activation::None));
        for (name, activation) in CLAMPS {
            candidates.push(element(&format!("fused-{name}"), same(extents(base)), activation));
        }
    }
    candidates
}

/// Makes values in the form of a candidate.
struct Maker<'r> {
    builder: Builder,
    random: &'r mut Random,
    form: Option<Form>,
}

impl Maker<'_> {
    fn zero(&self) -> i32 {
        let form = self.form.filter(|form| form.symmetry == Symmetry::Affine);
        form.map_or(0, |form| if form.dtype == DType::U8 { 119 } else { -7 })
    }

    fn store(&self, scale: f32) -> Store {
        let middle = self.form.filter(|form| form.symmetry == Symmetry::Symmetric && form.dtype == DType::U8);
        let zero = if middle.is_some() { 128 } else { self.zero() };
        self.form.map_or_else(Store::f32, |form| Store::codes(form.dtype, scale, zero))
    }

    fn data(&mut self, extents: &[usize], dtype: DType) -> Result<Tensor> {
        if dtype.is_float() {
            self.random.floats(extents, -2.0, 2.0)
        } else {
            self.random.codes(dtype, extents)
        }
    }

    fn input(&mut self, extents: &[usize], scale: f32) -> Result<ValueId> {
        let Store { dtype, quant } = self.store(scale);
        let data = self.data(extents, dtype)?;
        Ok(self.builder.input(data, quant))
    }

    /// Weights, constant or not, with `channels` scales along `axis` where the form has them.
    fn weights(&mut self, extents: &[usize], axis: usize, constant: bool) -> Result<ValueId> {
        let (data, quant) = match self.form {
            None => (self.random.floats(extents, -1.0, 1.0)?, None),
            Some(form) => {
                let data = self.random.integers(DType::I8, extents, (-127, 127))?;
                let params = if form.per_channel() {
                    QuantParams::symmetric_per_channel(axis, vec![0.02; extents[axis]])
                } else {
                    QuantParams::per_tensor(0.02, 0)
                };
                (data, Some(params))
            }
        };
        Ok(if constant { self.builder.constant(data, quant) } else { self.builder.input(data, quant) })
    }

    fn finish(self, output: ValueId) -> Problem {
        let compare = if self.form.is_some() { Compare::Declared } else { Compare::Nmse(1e-10) };
        self.builder.finish(&[output], compare).corner()
    }
}

impl Candidate {
    /// The program with inputs.
    pub(super) fn problem(&self, random: &mut Random) -> Result<Problem> {
        let mut maker = Maker { builder: Builder::new(), random, form: self.form };
        match &self.body {
            Body::Conv(conv) => {
                let x = maker.input(&conv.input, 0.05)?;
                let per_group = conv.input[1] / conv.window.groups;
                let mut extents = vec![conv.channels, per_group];
                extents.extend(&conv.window.kernel);
                let terms: usize = extents[1..].iter().product();
                let weights = maker.weights(&extents, 0, conv.constant)?;
                let op = Op::Conv { conv: conv.window.clone(), activation: conv.activation };
                let y = maker.store(0.1 * (terms as f32).sqrt());
                let output = maker.builder.op(op, &[x, weights], y)?;
                Ok(maker.finish(output))
            }
            Body::Product { op, a, b, constant, activation } => {
                let x = maker.input(a, 0.05)?;
                let weights = maker.weights(b, b.len() - 1, *constant)?;
                let op = if *op == "MatMul" {
                    Op::MatMul
                } else {
                    Op::Gemm {
                        alpha: 1.0,
                        beta: 1.0,
                        trans_a: false,
                        trans_b: false,
                        activation: *activation,
                    }
                };
                let y = maker.store(0.1 * (b[0] as f32).sqrt());
                let output = maker.builder.op(op, &[x, weights], y)?;
                Ok(maker.finish(output))
            }
            Body::Pool { average, input, attributes } => {
                let x = maker.input(input, 0.05)?;
                let op = if *average {
                    Op::AveragePool(attributes.clone())
                } else {
                    Op::MaxPool(attributes.clone())
                };
                let y = maker.store(0.05);
                let output = maker.builder.op(op, &[x], y)?;
                Ok(maker.finish(output))
            }
            Body::Element { inputs, activation } => self.element(maker, inputs, *activation),
        }
    }

    fn element(
        &self,
        mut maker: Maker<'_>,
        inputs: &[Vec<usize>],
        activation: Activation,
    ) -> Result<Problem> {
        let mut values =
            inputs.iter().map(|extents| maker.input(extents, 0.05)).collect::<Result<Vec<_>>>()?;
        let rank = inputs[0].len();
        let count: usize = inputs[0].iter().product();
        let binary = |op| Op::Binary { op, activation };
        let (op, scale) = match self.operator.as_str() {
            "Add" => (binary(BinaryOp::Add), 0.08),
            "Sub" => (binary(BinaryOp::Sub), 0.08),
            "Mul" => (binary(BinaryOp::Mul), 0.2),
            "Relu" => (Op::Unary(UnaryOp::Relu), 0.03),
            "Sigmoid" => (Op::Unary(UnaryOp::Sigmoid), 0.01),
            "Concat" => (Op::Concat { axis: rank - 1 }, 0.06),
            "Flatten" => (Op::Flatten { axis: 1 }, 0.05),
            "Reshape" => {
                values.push(maker.builder.integers(&[1, count as i64])?);
                (Op::Reshape { allow_zero: false }, 0.05)
            }
            "Transpose" => (Op::Transpose { perm: (0..rank).rev().collect() }, 0.05),
            "GlobalAveragePool" => (Op::GlobalAveragePool, 0.02),
            "Softmax" => (Op::Softmax { axis: rank - 1, log: false }, 0.01),
            _ => (Op::Identity, 0.05),
        };
        let store = maker.store(scale);
        let output = maker.builder.op(op, &values, store)?;
        Ok(maker.finish(output))
    }
}
