//! Conversions between float and codes, and between codes.

use fewbit_core::ir::{Op, Tensor};

use super::{Codes, FORMS, extreme_zeros};
use crate::build::{Builder, Store};
use crate::case::{Case, Compare, Form, Generate, Problem, Suite};
use crate::error::Result;
use crate::random::Random;

fn quantized(y: Codes, values: &[f32]) -> Result<Problem> {
    let mut builder = Builder::new();
    let value = builder.input(Tensor::from_slice(&[1, values.len()], values)?, None);
    let output = builder.op(Op::Quantize, &[value], y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

/// Floats over the whole range of the codes and beyond.
fn spread(random: &mut Random, y: Codes) -> Vec<f32> {
    (0..700).map(|_| random.float(-200.0, 200.0) * y.scale).collect()
}

/// Floats at and beside the halves between codes: a reciprocal in place of the division shows here.
fn halves(random: &mut Random, y: Codes) -> Vec<f32> {
    (0..900)
        .map(|_| {
            let half = (random.integer(-120, 119) as f32 + 0.5) * y.scale;
            match random.integer(0, 2) {
                0 => half,
                1 => half.next_up(),
                _ => half.next_down(),
            }
        })
        .collect()
}

/// Far beyond the codes, infinite, and not a number, which counts as zero.
fn special(y: Codes) -> Vec<f32> {
    let mut values = vec![
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        1e20,
        -1e20,
        3e9,
        -3e9,
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        1e-40,
    ];
    values.extend((-8..8).map(|code| code as f32 * 9.0 * y.scale));
    values
}

fn dequantized(form: Form, x: Codes) -> Result<Problem> {
    let mut builder = Builder::new();
    let (low, high) = x.ends();
    let all: Vec<i64> = (i64::from(low)..=i64::from(high)).collect();
    let value = builder.input(Tensor::from_i64(form.dtype, &[4, 64], &all)?, Some(x.params()));
    let output = builder.op(Op::Dequantize, &[value], Store::f32())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

fn requantized(x: Codes, y: Codes) -> Result<Problem> {
    let mut builder = Builder::new();
    let (low, high) = x.ends();
    let all: Vec<i64> = (i64::from(low)..=i64::from(high)).collect();
    let value = builder.input(Tensor::from_i64(x.dtype, &[2, 128], &all)?, Some(x.params()));
    let output = builder.op(Op::Requantize, &[value], y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

/// All cases of conversions.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for form in FORMS {
        let mut push = |id: String, operator: &str, make: Box<Generate>| {
            cases.push(Case::program(id, Suite::OpInt, operator, Some(form), make));
        };
        for seed in 1..=3 {
            push(
                format!("op_int/quantize/spread/{form}/seed{seed}"),
                "Quantize",
                Box::new(move |random| {
                    let y = Codes::of(random, form);
                    quantized(y, &spread(random, y))
                }),
            );
            push(
                format!("op_int/quantize/halves/{form}/seed{seed}"),
                "Quantize",
                Box::new(move |random| {
                    let y = Codes::of(random, form);
                    quantized(y, &halves(random, y))
                }),
            );
            push(
                format!("op_int/dequantize/codes/{form}/seed{seed}"),
                "Dequantize",
                Box::new(move |random| dequantized(form, Codes::of(random, form))),
            );
            push(
                format!("op_int/requantize/codes/{form}/seed{seed}"),
                "Requantize",
                Box::new(move |random| {
                    let x = Codes::of(random, form);
                    let y = Codes::of(random, form).with_scale(x.scale * random.float(0.7, 1.9));
                    requantized(x, y)
                }),
            );
        }
        push(
            format!("op_int/quantize/special/{form}/seed1"),
            "Quantize",
            Box::new(move |random| {
                let y = Codes::of(random, form);
                quantized(y, &special(y))
            }),
        );
        push(
            format!("op_int/requantize/half/{form}/seed1"),
            "Requantize",
            Box::new(move |random| {
                let (x, y) = (Codes::of(random, form), Codes::of(random, form));
                requantized(x.with_scale(0.25), y.with_scale(0.5))
            }),
        );
        for (end, zero) in extreme_zeros(form) {
            push(
                format!("op_int/quantize/zero/{end}/{form}/seed1"),
                "Quantize",
                Box::new(move |random| {
                    let y = Codes::of(random, form).with_zero(zero);
                    quantized(y, &spread(random, y))
                }),
            );
            push(
                format!("op_int/dequantize/zero/{end}/{form}/seed1"),
                "Dequantize",
                Box::new(move |random| dequantized(form, Codes::of(random, form).with_zero(zero))),
            );
        }
    }
    cases
}
