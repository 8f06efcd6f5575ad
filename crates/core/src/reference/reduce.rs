//! Reductions over axes.

use super::Call;
use super::indexing::{around, from_integers, integers, project};
use crate::error::Result;
use crate::ir::{ReduceOp, Tensor};

/// One reduction of floats: how an element joins, and what is made of the joined ones.
struct Reduction {
    start: f64,
    join: fn(f64, f64) -> f64,
    finish: fn(f64, usize) -> f64,
}

fn reduction(op: ReduceOp) -> Reduction {
    let plain = |sum: f64, _: usize| sum;
    match op {
        ReduceOp::Mean => {
            Reduction { start: 0.0, join: |a, x| a + x, finish: |sum, count| sum / count as f64 }
        }
        ReduceOp::Sum => Reduction { start: 0.0, join: |a, x| a + x, finish: plain },
        ReduceOp::Max => Reduction { start: f64::NEG_INFINITY, join: larger, finish: plain },
        ReduceOp::Min => Reduction { start: f64::INFINITY, join: |a, x| -larger(-a, -x), finish: plain },
        ReduceOp::Prod => Reduction { start: 1.0, join: |a, x| a * x, finish: plain },
        ReduceOp::L1 => Reduction { start: 0.0, join: |a, x| a + x.abs(), finish: plain },
        ReduceOp::L2 => Reduction { start: 0.0, join: |a, x| a + x * x, finish: |sum, _| sum.sqrt() },
        ReduceOp::SumSquare => Reduction { start: 0.0, join: |a, x| a + x * x, finish: plain },
        // The largest element is taken out first, see `reduce`.
        ReduceOp::LogSumExp => Reduction { start: 0.0, join: |a, x| a + x.exp(), finish: |sum, _| sum.ln() },
    }
}

/// The larger of both, NaN if one is.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The elements of groups joined; `groups[i]` is the group of element `i`.
fn join(values: &[f64], groups: &[usize], count: usize, reduction: &Reduction) -> Vec<f64> {
    let mut joined = vec![reduction.start; count];
    for (&value, &group) in values.iter().zip(groups) {
        joined[group] = (reduction.join)(joined[group], value);
    }
    joined
}

pub(super) fn reduce(call: &Call, op: ReduceOp, axes: &[usize]) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let groups = project(x.extents(), axes);
    let count: usize = call.extents().iter().product();
    let size: usize = axes.iter().map(|&axis| x.extents()[axis]).product();
    if !call.dtype().is_float() {
        return reduce_integers(call, op, &groups, count, size);
    }
    let mut values = x.to_f64_vec();
    if op != ReduceOp::LogSumExp {
        let reduction = reduction(op);
        let joined = join(&values, &groups, count, &reduction);
        let results: Vec<f64> = joined.into_iter().map(|sum| (reduction.finish)(sum, size)).collect();
        return call.floats(&results);
    }
    let mut largest = join(&values, &groups, count, &reduction(ReduceOp::Max));
    for top in &mut largest {
        // An infinite largest element would make a NaN of the difference.
        if top.is_infinite() {
            *top = 0.0;
        }
    }
    for (value, &group) in values.iter_mut().zip(&groups) {
        *value -= largest[group];
    }
    let reduction = reduction(op);
    let joined = join(&values, &groups, count, &reduction);
    let results: Vec<f64> =
        joined.into_iter().zip(largest).map(|(sum, top)| (reduction.finish)(sum, size) + top).collect();
    call.floats(&results)
}

fn reduce_integers(
    call: &Call,
    op: ReduceOp,
    groups: &[usize],
    count: usize,
    size: usize,
) -> Result<Vec<Tensor>> {
    let (low, high) = match call.dtype().integer_range() {
        Some((low, high)) => (i128::from(low), i128::from(high)),
        None if call.dtype().is_signed_integer() => (i128::from(i64::MIN), i128::from(i64::MAX)),
        None => (0, i128::from(u64::MAX)),
    };
    let (start, join): (i128, fn(i128, i128) -> i128) = match op {
        ReduceOp::Mean | ReduceOp::Sum | ReduceOp::LogSumExp => (0, i128::wrapping_add),
        ReduceOp::Max => (low, Ord::max),
        ReduceOp::Min => (high, Ord::min),
        ReduceOp::Prod => (1, i128::wrapping_mul),
        ReduceOp::L1 => (0, |a, x| a + x.abs()),
        ReduceOp::L2 | ReduceOp::SumSquare => (0, |a, x| a.wrapping_add(x * x)),
    };
    let mut joined = vec![start; count];
    let mut exponentials = vec![0f64; count];
    for (value, &group) in integers(call.input(0)?).into_iter().zip(groups) {
        joined[group] = join(joined[group], value);
        exponentials[group] += (value as f64).exp();
    }
    for (result, exponential) in joined.iter_mut().zip(exponentials) {
        *result = match op {
            ReduceOp::Mean if size > 0 => *result / size as i128,
            ReduceOp::L2 => (*result as f64).sqrt() as i128,
            ReduceOp::LogSumExp => exponential.ln() as i128,
            _ => *result,
        };
    }
    Ok(vec![from_integers(call.dtype(), call.extents(), &joined)?])
}

/// The axes behind batch and channel.
fn spatial(x: &Tensor) -> Vec<usize> {
    (2..x.extents().len()).collect()
}

pub(super) fn global_average(call: &Call) -> Result<Vec<Tensor>> {
    reduce(call, ReduceOp::Mean, &spatial(call.input(0)?))
}

pub(super) fn global_max(call: &Call) -> Result<Vec<Tensor>> {
    reduce(call, ReduceOp::Max, &spatial(call.input(0)?))
}

pub(super) fn arg_max(call: &Call, axis: usize, last: bool, min: bool) -> Result<Vec<Tensor>> {
    fn best<T: PartialOrd + Copy>(
        values: &[T],
        (outer, extent, inner): (usize, usize, usize),
        wins: impl Fn(T, T) -> bool,
    ) -> Vec<i64> {
        let mut result = Vec::with_capacity(outer * inner);
        for row in 0..outer {
            for column in 0..inner {
                let at = |index: usize| values[(row * extent + index) * inner + column];
                let winner =
                    (1..extent).fold(0, |best, index| if wins(at(index), at(best)) { index } else { best });
                result.push(winner as i64);
            }
        }
        result
    }
    fn order<T: PartialOrd>(last: bool, min: bool) -> fn(T, T) -> bool {
        match (min, last) {
            (false, false) => |new, best| new > best,
            (false, true) => |new, best| new >= best,
            (true, false) => |new, best| new < best,
            (true, true) => |new, best| new <= best,
        }
    }
    let x = call.input(0)?;
    let parts = around(x.extents(), axis);
    let indices = if x.dtype().is_float() {
        best(&x.to_f64_vec(), parts, order(last, min))
    } else {
        best(&integers(x), parts, order(last, min))
    };
    Ok(vec![Tensor::from_slice(call.extents(), &indices)?])
}
