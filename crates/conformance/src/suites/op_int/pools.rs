//! Pooling, means and resizing of codes.

use fewbit_core::ir::{
    CoordinateMode, NearestMode, Op, PoolAttributes, ReduceOp, ResizeAttributes, ResizeMode, Tensor,
};

use super::{Codes, FORMS};
use crate::build::Builder;
use crate::case::{Case, Compare, Form, Generate, Problem, Suite};
use crate::error::Result;
use crate::random::Random;

/// A pooling window over an image.
#[derive(Debug, Clone)]
struct Pool {
    extents: Vec<usize>,
    attributes: PoolAttributes,
}

impl Pool {
    fn new(extents: &[usize], kernel: &[usize], stride: usize, pads: &[usize]) -> Self {
        let rank = kernel.len();
        Self {
            extents: extents.to_vec(),
            attributes: PoolAttributes {
                kernel: kernel.to_vec(),
                strides: vec![stride; rank],
                dilations: vec![1; rank],
                pads: pads.to_vec(),
                ceil: false,
                count_include_pad: false,
            },
        }
    }
}

fn pools() -> Vec<(&'static str, &'static str, Pool)> {
    let image = [1, 7, 9, 9];
    let ceil = |mut pool: Pool| {
        pool.attributes.ceil = true;
        pool
    };
    let with_pads = |mut pool: Pool| {
        pool.attributes.count_include_pad = true;
        pool
    };
    vec![
        ("k2", "s2", Pool::new(&image, &[2, 2], 2, &[0; 4])),
        ("k3", "s1-same", Pool::new(&image, &[3, 3], 1, &[1; 4])),
        ("k3", "s2-same", Pool::new(&image, &[3, 3], 2, &[1; 4])),
        ("k3", "valid", Pool::new(&[2, 33, 7, 5], &[3, 3], 1, &[0; 4])),
        ("uneven", "k2x3", Pool::new(&image, &[2, 3], 1, &[0, 1, 1, 1])),
        ("ceil", "k2s2", ceil(Pool::new(&image, &[2, 2], 2, &[0; 4]))),
        ("pad", "counted", with_pads(Pool::new(&image, &[3, 3], 1, &[1; 4]))),
        ("whole", "k9", Pool::new(&image, &[9, 9], 1, &[0; 4])),
        ("flat", "k3s2", Pool::new(&[1, 6, 17], &[3], 2, &[1; 2])),
    ]
}

fn averaged(random: &mut Random, form: Form, extents: &[usize], op: Op, samples: usize) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = Codes::of(random, form);
    // Means are near the middle of the codes; a zero point near it keeps them within the output's type.
    let (low, high) = x.ends();
    let x =
        if x.zero == 0 { x } else { x.with_zero(i32::midpoint(low, high) + random.integer(-2, 2) as i32) };
    let value = builder.input(random.codes(x.dtype, extents)?, Some(x.params()));
    // Means of n samples are narrower by the root of n.
    let scale = x.scale * 2.0 / (samples as f32).sqrt();
    let y = Codes::of(random, form).with_scale(scale);
    let output = builder.op(op, &[value], y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

/// An operator that keeps its input's parameters.
fn kept(random: &mut Random, form: Form, extents: &[usize], op: Op) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = Codes::of(random, form);
    let value = builder.input(random.codes(x.dtype, extents)?, Some(x.params()));
    let output = builder.op(op, &[value], x.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

/// Means whose sums over the count are exact halves.
fn ties(random: &mut Random, form: Form) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = Codes::of(random, form).with_scale(0.5);
    let value = builder.input(random.codes(x.dtype, &[1, 8, 8, 8])?, Some(x.params()));
    let y = Codes::of(random, form).with_scale(0.25);
    let attributes = Pool::new(&[], &[2, 2], 2, &[0; 4]).attributes;
    let output = builder.op(Op::AveragePool(attributes), &[value], y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

fn resize(random: &mut Random, form: Form, attributes: ResizeAttributes, to: &[usize]) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = Codes::of(random, form);
    let extents = [1usize, 3, 5, 6];
    let value = builder.input(random.codes(x.dtype, &extents)?, Some(x.params()));
    let sizes: Vec<i64> = [1, 3].into_iter().chain(to.iter().map(|&extent| extent as i64)).collect();
    let sizes = builder.constant(Tensor::from_slice(&[4], &sizes)?, None);
    let inputs = [Some(value), None, None, Some(sizes)];
    let outputs = builder.node(Op::Resize(attributes), &inputs, &[x.store()])?;
    Ok(builder.finish(&outputs, Compare::Declared))
}

/// All cases of these operators.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for form in FORMS {
        let mut push = |id: String, operator: &str, make: Box<Generate>| {
            cases.push(Case::program(id, Suite::OpInt, operator, Some(form), make));
        };
        for (family, variant, pool) in pools() {
            if family != "pad" {
                let Pool { extents, attributes } = pool.clone();
                push(
                    format!("op_int/maxpool/{family}/{variant}/{form}/seed1"),
                    "MaxPool",
                    Box::new(move |random| kept(random, form, &extents, Op::MaxPool(attributes.clone()))),
                );
            }
            let Pool { extents, attributes } = pool;
            let samples = attributes.kernel.iter().product();
            push(
                format!("op_int/averagepool/{family}/{variant}/{form}/seed1"),
                "AveragePool",
                Box::new(move |random| {
                    averaged(random, form, &extents, Op::AveragePool(attributes.clone()), samples)
                }),
            );
        }
        push(
            format!("op_int/averagepool/ties/quarter/{form}/seed1"),
            "AveragePool",
            Box::new(move |random| ties(random, form)),
        );
        for (variant, extents) in [("square", [1usize, 24, 7, 7]), ("batch", [3, 5, 4, 9])] {
            push(
                format!("op_int/globalaveragepool/{variant}/{form}/seed1"),
                "GlobalAveragePool",
                Box::new(move |random| {
                    averaged(random, form, &extents, Op::GlobalAveragePool, extents[2] * extents[3])
                }),
            );
            push(
                format!("op_int/globalmaxpool/{variant}/{form}/seed1"),
                "GlobalMaxPool",
                Box::new(move |random| {
                    // Few samples: the largest of many codes is always the largest code.
                    kept(random, form, &[extents[0], extents[1], 2, 2], Op::GlobalMaxPool)
                }),
            );
        }
        for (variant, axes, keep_dims) in
            [("spatial", vec![2, 3], true), ("spatial-flat", vec![2, 3], false), ("last", vec![3], true)]
        {
            push(
                format!("op_int/reducemean/{variant}/{form}/seed1"),
                "ReduceMean",
                Box::new(move |random| {
                    let extents = [2usize, 12, 5, 6];
                    let samples = axes.iter().map(|&axis| extents[axis]).product();
                    let op = Op::Reduce { op: ReduceOp::Mean, axes: axes.clone(), keep_dims };
                    averaged(random, form, &extents, op, samples)
                }),
            );
        }
        let linear = |coordinates| ResizeAttributes {
            mode: ResizeMode::Linear,
            coordinates,
            nearest: NearestMode::RoundPreferFloor,
            cubic: -0.75,
            exclude_outside: false,
        };
        let nearest = |coordinates, nearest| ResizeAttributes {
            mode: ResizeMode::Nearest,
            nearest,
            ..linear(coordinates)
        };
        let resizes = [
            ("nearest", "double", nearest(CoordinateMode::Asymmetric, NearestMode::Floor), [10usize, 12]),
            ("nearest", "uneven", nearest(CoordinateMode::HalfPixel, NearestMode::RoundPreferFloor), [7, 9]),
            ("nearest", "smaller", nearest(CoordinateMode::HalfPixel, NearestMode::RoundPreferCeil), [3, 4]),
            ("linear", "double", linear(CoordinateMode::HalfPixel), [10, 12]),
            ("linear", "corners", linear(CoordinateMode::AlignCorners), [9, 11]),
            ("linear", "smaller", linear(CoordinateMode::HalfPixel), [3, 4]),
        ];
        for (family, variant, attributes, to) in resizes {
            push(
                format!("op_int/resize/{family}/{variant}/{form}/seed1"),
                "Resize",
                Box::new(move |random| resize(random, form, attributes, &to)),
            );
        }
    }
    cases
}
