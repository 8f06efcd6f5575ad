//! Functions of one and two elements.

use super::Call;
use super::functions::{clamp, unary_function};
use super::indexing;
use crate::error::{CoreErrorKind, Result};
use crate::ir::{Activation, BinaryOp, CompareOp, LogicOp, Tensor, UnaryOp};

pub(super) fn unary(call: &Call, op: UnaryOp) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    if call.dtype().is_float() {
        let values: Vec<f64> = x.to_f64_vec().into_iter().map(|x| unary_function(op, x)).collect();
        return call.floats(&values);
    }
    let function = |x: i128| match op {
        UnaryOp::Abs => x.abs(),
        UnaryOp::Neg => -x,
        UnaryOp::Sign => x.signum(),
        UnaryOp::Not => i128::from(x == 0),
        UnaryOp::Relu => x.max(0),
        // A bound that the number does not pass leaves it as it is, exact beyond 2^53.
        UnaryOp::Clip { min, max } => {
            let bounded = if (x as f64) < f64::from(min) { f64::from(min) as i128 } else { x };
            if bounded as f64 > f64::from(max) { f64::from(max) as i128 } else { bounded }
        }
        _ => unary_function(op, x as f64) as i128,
    };
    let values: Vec<i128> = indexing::integers(x).into_iter().map(function).collect();
    Ok(vec![indexing::from_integers(call.dtype(), call.extents(), &values)?])
}

/// Both operands' elements as they meet in the broadcast result.
fn pairs<T: Copy>(call: &Call, values: impl Fn(&Tensor) -> Vec<T>) -> Result<Vec<(T, T)>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let (left, right) = (values(a), values(b));
    if a.extents() == b.extents() {
        return Ok(left.into_iter().zip(right).collect());
    }
    let at_left = indexing::broadcast(a.extents(), call.extents());
    let at_right = indexing::broadcast(b.extents(), call.extents());
    Ok(at_left.into_iter().zip(at_right).map(|(a, b)| (left[a], right[b])).collect())
}

pub(super) fn binary(call: &Call, op: BinaryOp, activation: Activation) -> Result<Vec<Tensor>> {
    let exponent_is_float = op == BinaryOp::Pow && call.input(1)?.dtype().is_float();
    let (low, high) = activation.bounds();
    let (low, high) = (f64::from(low), f64::from(high));
    if call.dtype().is_float() {
        let values: Vec<f64> = pairs(call, Tensor::to_f64_vec)?
            .into_iter()
            .map(|(a, b)| clamp(float_function(op, a, b), low, high))
            .collect();
        return call.floats(&values);
    }
    let values: Vec<i128> = if exponent_is_float {
        pairs(call, Tensor::to_f64_vec)?.into_iter().map(|(a, b)| a.powf(b) as i128).collect()
    } else {
        let pairs = pairs(call, indexing::integers)?;
        let divides = matches!(op, BinaryOp::Div | BinaryOp::Mod | BinaryOp::Fmod);
        if divides && pairs.iter().any(|&(_, b)| b == 0) {
            return Err(call.error(CoreErrorKind::Tensor, "expected divisors other than 0, found 0"));
        }
        let bits = call.dtype().bits() as i128;
        pairs.into_iter().map(|(a, b)| integer_function(op, a, b, bits)).collect()
    };
    let clamped: Vec<i128> = values
        .into_iter()
        .map(|value| {
            let bounded = if (value as f64) < low { low as i128 } else { value };
            if bounded as f64 > high { high as i128 } else { bounded }
        })
        .collect();
    Ok(vec![indexing::from_integers(call.dtype(), call.extents(), &clamped)?])
}

fn float_function(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Min | BinaryOp::Max if a.is_nan() || b.is_nan() => f64::NAN,
        BinaryOp::Min => a.min(b),
        BinaryOp::Max => a.max(b),
        BinaryOp::Mod => {
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        }
        BinaryOp::Fmod => a % b,
        // Inference refuses floats here.
        BinaryOp::BitAnd
        | BinaryOp::BitOr
        | BinaryOp::BitXor
        | BinaryOp::ShiftLeft
        | BinaryOp::ShiftRight => f64::NAN,
        BinaryOp::PRelu => {
            if a < 0.0 {
                a * b
            } else {
                a
            }
        }
    }
}

/// The function of two integers of a type of `bits` bits; what does not fit the type is wrapped by the caller.
fn integer_function(op: BinaryOp, a: i128, b: i128, bits: i128) -> i128 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::Div => a / b,
        BinaryOp::Pow => integer_power(a, b),
        BinaryOp::Min => a.min(b),
        BinaryOp::Max => a.max(b),
        BinaryOp::Mod => {
            let rest = a % b;
            if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
        }
        BinaryOp::Fmod => a % b,
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitOr => a | b,
        BinaryOp::BitXor => a ^ b,
        // Nothing but the sign is left of a number shifted by all its bits, or by no number of bits.
        BinaryOp::ShiftLeft if !(0..bits).contains(&b) => 0,
        BinaryOp::ShiftRight if !(0..bits).contains(&b) => a.signum().min(0),
        BinaryOp::ShiftLeft => a << b,
        BinaryOp::ShiftRight => a >> b,
        BinaryOp::PRelu => {
            if a < 0 {
                a.wrapping_mul(b)
            } else {
                a
            }
        }
    }
}

/// `a` to the power `b`, wrapping; a negative power truncates the fraction.
fn integer_power(a: i128, b: i128) -> i128 {
    match (a, b) {
        (1, _) => 1,
        (-1, _) => {
            if b % 2 == 0 {
                1
            } else {
                -1
            }
        }
        (_, ..0) => 0,
        _ => {
            let (mut result, mut base, mut exponent) = (1i128, a, b);
            while exponent > 0 {
                if exponent & 1 == 1 {
                    result = result.wrapping_mul(base);
                }
                base = base.wrapping_mul(base);
                exponent >>= 1;
            }
            result
        }
    }
}

pub(super) fn compare(call: &Call, op: CompareOp) -> Result<Vec<Tensor>> {
    fn holds<T: PartialOrd>(op: CompareOp, a: &T, b: &T) -> bool {
        match op {
            CompareOp::Equal => a == b,
            CompareOp::Greater => a > b,
            CompareOp::GreaterOrEqual => a >= b,
            CompareOp::Less => a < b,
            CompareOp::LessOrEqual => a <= b,
        }
    }
    let result: Vec<bool> = if call.input(0)?.dtype().is_float() {
        pairs(call, Tensor::to_f64_vec)?.iter().map(|(a, b)| holds(op, a, b)).collect()
    } else {
        pairs(call, indexing::integers)?.iter().map(|(a, b)| holds(op, a, b)).collect()
    };
    Ok(vec![Tensor::from_bools(call.extents(), &result)?])
}

pub(super) fn logic(call: &Call, op: LogicOp) -> Result<Vec<Tensor>> {
    let holds = |(a, b): (i64, i64)| match op {
        LogicOp::And => a != 0 && b != 0,
        LogicOp::Or => a != 0 || b != 0,
        LogicOp::Xor => (a != 0) != (b != 0),
    };
    let result: Vec<bool> = pairs(call, Tensor::to_i64_vec)?.into_iter().map(holds).collect();
    Ok(vec![Tensor::from_bools(call.extents(), &result)?])
}
