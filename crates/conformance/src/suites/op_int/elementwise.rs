//! Sums, differences, products, concatenation and functions of one element, on codes.

use fewbit_core::ir::{Activation, BinaryOp, Op, Tensor, UnaryOp};

use super::{Codes, FORMS, extreme_zeros};
use crate::build::Builder;
use crate::case::{Case, Compare, Form, Generate, Problem, Suite};
use crate::error::Result;
use crate::random::Random;

/// Parameters of the output of a binary operator that spread its results over the type.
fn result(random: &mut Random, form: Form, op: BinaryOp, a: Codes, b: Codes) -> Codes {
    let y = Codes::of(random, form);
    let spread = match op {
        BinaryOp::Mul => a.scale * b.scale * a.spread() * b.spread(),
        _ => ((a.scale * a.spread()).powi(2) + (b.scale * b.spread()).powi(2)).sqrt(),
    };
    y.with_scale(spread / 50.0)
}

fn binary(random: &mut Random, form: Form, op: BinaryOp, left: &[usize], right: &[usize]) -> Result<Problem> {
    let (a, b) = (Codes::of(random, form), Codes::of(random, form));
    let y = result(random, form, op, a, b);
    binary_of(random, op, (a, left), (b, right), y, Activation::None)
}

fn binary_of(
    random: &mut Random,
    op: BinaryOp,
    (a, left): (Codes, &[usize]),
    (b, right): (Codes, &[usize]),
    y: Codes,
    activation: Activation,
) -> Result<Problem> {
    let mut builder = Builder::new();
    let x0 = builder.input(random.codes(a.dtype, left)?, Some(a.params()));
    let x1 = builder.input(random.codes(b.dtype, right)?, Some(b.params()));
    let output = builder.op(Op::Binary { op, activation }, &[x0, x1], y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

/// Every pair of codes: nothing that depends on the codes alone stays hidden.
fn pairs(random: &mut Random, form: Form, op: BinaryOp) -> Result<Problem> {
    let (a, b) = (Codes::of(random, form), Codes::of(random, form));
    let y = result(random, form, op, a, b);
    let (low, high) = a.ends();
    let all: Vec<i64> = (i64::from(low)..=i64::from(high)).collect();
    let left: Vec<i64> = all.iter().flat_map(|&code| std::iter::repeat_n(code, all.len())).collect();
    let right: Vec<i64> = all.iter().flat_map(|_| all.clone()).collect();
    let mut builder = Builder::new();
    let x0 = builder.input(Tensor::from_i64(a.dtype, &[256, 256], &left)?, Some(a.params()));
    let x1 = builder.input(Tensor::from_i64(b.dtype, &[256, 256], &right)?, Some(b.params()));
    let output = builder.op(Op::Binary { op, activation: Activation::None }, &[x0, x1], y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

fn concat(random: &mut Random, form: Form, axis: usize, same: bool, parts: &[&[usize]]) -> Result<Problem> {
    let mut builder = Builder::new();
    let y = Codes::of(random, form);
    let mut inputs = Vec::new();
    for extents in parts {
        let x = if same { y } else { Codes::of(random, form).with_scale(y.scale * random.float(0.4, 1.6)) };
        inputs.push(builder.input(random.codes(x.dtype, extents)?, Some(x.params())));
    }
    let output = builder.op(Op::Concat { axis }, &inputs, y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

/// A function of every code, with scales that show its shape.
fn table(random: &mut Random, form: Form, op: UnaryOp, reach: f32, peak: f32) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = Codes::of(random, form).with_scale(reach / 127.0);
    let (low, high) = x.ends();
    let all: Vec<i64> = (i64::from(low)..=i64::from(high)).collect();
    let value = builder.input(Tensor::from_i64(x.dtype, &[1, 256], &all)?, Some(x.params()));
    let y = Codes::of(random, form).with_scale(peak / 100.0);
    let output = builder.op(Op::Unary(op), &[value], y.store())?;
    Ok(builder.finish(&[output], Compare::Declared))
}

fn operators() -> [(&'static str, BinaryOp); 3] {
    [("Add", BinaryOp::Add), ("Sub", BinaryOp::Sub), ("Mul", BinaryOp::Mul)]
}

/// Functions with the largest input and output worth showing.
fn functions() -> Vec<(UnaryOp, f32, f32)> {
    vec![
        (UnaryOp::Relu, 4.0, 4.0),
        (UnaryOp::Clip { min: 0.0, max: 6.0 }, 8.0, 6.0),
        (UnaryOp::Clip { min: -1.0, max: 1.5 }, 3.0, 1.5),
        (UnaryOp::LeakyRelu { alpha: 0.1 }, 4.0, 4.0),
        (UnaryOp::Elu { alpha: 1.0 }, 4.0, 4.0),
        (UnaryOp::Sigmoid, 6.0, 1.0),
        (UnaryOp::HardSigmoid { alpha: 0.2, beta: 0.5 }, 4.0, 1.0),
        (UnaryOp::HardSwish, 4.0, 4.0),
        (UnaryOp::Silu, 6.0, 6.0),
        (UnaryOp::Gelu { tanh: false }, 4.0, 4.0),
        (UnaryOp::Gelu { tanh: true }, 4.0, 4.0),
        (UnaryOp::Mish, 4.0, 4.0),
        (UnaryOp::Softplus, 4.0, 4.0),
        (UnaryOp::Tanh, 3.0, 1.0),
        (UnaryOp::Erf, 2.0, 1.0),
        (UnaryOp::Exp, 2.0, 7.0),
        (UnaryOp::Abs, 4.0, 4.0),
        (UnaryOp::Neg, 4.0, 4.0),
        (UnaryOp::Floor, 60.0, 60.0),
        (UnaryOp::Ceil, 60.0, 60.0),
        (UnaryOp::Round, 60.0, 60.0),
        (UnaryOp::Sin, 6.0, 1.0),
        (UnaryOp::Cos, 6.0, 1.0),
    ]
}

/// All cases of these operators.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes: [(&str, &str, &[usize], &[usize]); 9] = [
        ("same", "image", &[1, 5, 6, 7], &[1, 5, 6, 7]),
        ("same", "row", &[1, 133], &[1, 133]),
        ("same", "one", &[3, 11], &[3, 11]),
        ("broadcast", "channel", &[2, 6, 5, 5], &[1, 6, 1, 1]),
        ("broadcast", "left", &[1, 6, 1, 1], &[2, 6, 5, 5]),
        ("broadcast", "last", &[4, 5, 19], &[19]),
        ("broadcast", "scalar", &[3, 40], &[1]),
        ("broadcast", "both", &[4, 1, 9], &[1, 6, 1]),
        ("broadcast", "image", &[2, 6, 5, 5], &[1, 1, 5, 5]),
    ];
    for form in FORMS {
        for (operator, op) in operators() {
            let name = operator.to_lowercase();
            let mut push = |id: String, make: Box<Generate>| {
                cases.push(Case::program(id, Suite::OpInt, operator, Some(form), make));
            };
            for (family, variant, left, right) in shapes {
                // What the variant's name leaves out keeps ids short: the plain one has none.
                let id = match variant {
                    "image" if family == "same" => format!("op_int/{name}/{family}/{form}/seed1"),
                    _ => format!("op_int/{name}/{family}/{variant}/{form}/seed1"),
                };
                push(id, Box::new(move |random| binary(random, form, op, left, right)));
            }
            push(
                format!("op_int/{name}/pairs/{form}/seed1"),
                Box::new(move |random| pairs(random, form, op)),
            );
            push(
                format!("op_int/{name}/pairs/{form}/seed2"),
                Box::new(move |random| pairs(random, form, op)),
            );
            for (variant, activation) in
                [("relu", Activation::Relu), ("clip", Activation::Clip { min: -1.0, max: 1.5 })]
            {
                push(
                    format!("op_int/{name}/clamp/{variant}/{form}/seed1"),
                    Box::new(move |random| {
                        let (a, b) = (Codes::of(random, form), Codes::of(random, form));
                        let y = result(random, form, op, a, b);
                        binary_of(random, op, (a, &[2, 150]), (b, &[2, 150]), y, activation)
                    }),
                );
            }
            for (end, zero) in extreme_zeros(form) {
                push(
                    format!("op_int/{name}/zero/{end}/{form}/seed1"),
                    Box::new(move |random| {
                        let (a, b) = (Codes::of(random, form).with_zero(zero), Codes::of(random, form));
                        let y = result(random, form, op, a, b).with_zero(zero);
                        binary_of(random, op, (a, &[1, 300]), (b, &[1, 300]), y, Activation::None)
                    }),
                );
            }
            push(
                format!("op_int/{name}/saturate/{form}/seed1"),
                Box::new(move |random| {
                    let (a, b) = (Codes::of(random, form), Codes::of(random, form));
                    let y = result(random, form, op, a, b);
                    let y = y.with_scale(y.scale / 40.0);
                    Ok(binary_of(random, op, (a, &[1, 300]), (b, &[1, 300]), y, Activation::None)?.corner())
                }),
            );
            push(
                format!("op_int/{name}/ties/{form}/seed1"),
                Box::new(move |random| {
                    // Ratios of one half: every odd sum is a tie.
                    let (a, b) = (Codes::of(random, form), Codes::of(random, form));
                    let (a, b) =
                        (a.with_scale(0.5), b.with_scale(if op == BinaryOp::Mul { 0.125 } else { 0.5 }));
                    let y = Codes::of(random, form).with_scale(if op == BinaryOp::Mul { 16.0 } else { 1.0 });
                    binary_of(random, op, (a, &[7, 120]), (b, &[7, 120]), y, Activation::None)
                }),
            );
            push(
                format!("op_int/{name}/empty/{form}/seed1"),
                Box::new(move |random| Ok(binary(random, form, op, &[0, 4], &[0, 4])?.corner().optional())),
            );
        }
        let parts: [(&str, usize, &[&[usize]]); 3] = [
            ("channels", 1, &[&[1, 3, 5, 5], &[1, 8, 5, 5]]),
            ("last", 2, &[&[2, 3, 7], &[2, 3, 1], &[2, 3, 4]]),
            ("first", 0, &[&[1, 9], &[4, 9]]),
        ];
        for (variant, axis, extents) in parts {
            for (family, same) in [("same", true), ("requantized", false)] {
                let id = format!("op_int/concat/{family}/{variant}/{form}/seed1");
                cases.push(Case::program(id, Suite::OpInt, "Concat", Some(form), move |random| {
                    concat(random, form, axis, same, extents)
                }));
            }
        }
        for (number, (op, reach, peak)) in functions().into_iter().enumerate() {
            let name = op.name();
            let id = format!("op_int/{}/codes/v{number}/{form}/seed1", name.to_lowercase());
            cases.push(Case::program(id, Suite::OpInt, name, Some(form), move |random| {
                table(random, form, op, reach, peak)
            }));
        }
    }
    cases
}
