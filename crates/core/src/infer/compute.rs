//! Operators that compute new elements: functions of elements, products, normalisations, reductions.

use super::dims::{self, unify};
use super::site::{Inferred, Site};
use super::window::product_dtype;
use crate::error::Result;
use crate::ir::{BinaryOp, CompareOp, DType, Dim, LogicOp, ReduceOp, Shape, UnaryOp};

/// The broadcast dimensions of all inputs from `first` on; `None` while a rank is unknown.
fn broadcast(site: &Site, count: usize) -> Result<Option<Vec<Dim>>> {
    let mut result: Option<Vec<Dim>> = None;
    for index in 0..count {
        let Some(dims) = site.required(index)?.dims() else { return Ok(None) };
        result = Some(match result {
            None => dims.to_vec(),
            Some(before) => dims::broadcast_all(&before, dims).ok_or_else(|| {
                site.error(format!(
                    "expected shapes that broadcast, found {} and {}",
                    Shape(before),
                    Shape(dims.to_vec())
                ))
            })?,
        });
    }
    Ok(result)
}

fn ranked(dtype: Option<DType>, dims: Option<Vec<Dim>>) -> Vec<Inferred> {
    vec![Inferred { dtype, shape: dims.map(Shape) }]
}

pub(super) fn unary(site: &Site, op: UnaryOp) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    let expects = match op {
        UnaryOp::Not => "truth values",
        UnaryOp::Relu
        | UnaryOp::LeakyRelu { .. }
        | UnaryOp::Clip { .. }
        | UnaryOp::Abs
        | UnaryOp::Neg
        | UnaryOp::Shrink { .. }
        | UnaryOp::Sign => "numbers",
        _ => "floats",
    };
    if let Some(dtype) = x.dtype {
        let fits = x.quantized
            || match expects {
                "truth values" => dtype == DType::Bool,
                "numbers" => dtype != DType::Bool,
                _ => dtype.is_float(),
            };
        if !fits {
            return Err(site.error(format!("expected {expects}, found {dtype}")));
        }
    }
    let dtype = site.result_dtype(x.dtype)?;
    Ok(ranked(dtype, x.dims().map(<[Dim]>::to_vec)))
}

pub(super) fn binary(site: &Site, op: BinaryOp) -> Result<Vec<Inferred>> {
    let natural = if op == BinaryOp::Pow { site.required(0)?.dtype } else { site.common_dtype([0, 1])? };
    if natural == Some(DType::Bool) {
        return Err(site.error("expected numbers, found truth values"));
    }
    let any_quantized = site.inputs.iter().flatten().any(|input| input.quantized);
    let bits = matches!(
        op,
        BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor | BinaryOp::ShiftLeft | BinaryOp::ShiftRight
    );
    if bits && (any_quantized || natural.is_some_and(|dtype| !dtype.is_integer())) {
        return Err(site
            .error(format!("expected integers, found {}", natural.map_or("quantized values", DType::name))));
    }
    let dtype = site.result_dtype(natural.filter(|dtype| !any_quantized || dtype.is_float()))?;
    let dims = broadcast(site, 2)?;
    if op == BinaryOp::PRelu
        && let (Some(dims), Some(x)) = (&dims, site.required(0)?.dims())
        && (dims.len() != x.len() || dims.iter().zip(x).any(|(a, b)| unify(a, b).is_none()))
    {
        return Err(site.error(format!("expected a slope that broadcasts to {}", Shape(x.to_vec()))));
    }
    Ok(ranked(dtype, dims))
}

pub(super) fn compare(site: &Site, _op: CompareOp) -> Result<Vec<Inferred>> {
    site.common_dtype([0, 1])?;
    Ok(ranked(Some(DType::Bool), broadcast(site, 2)?))
}

pub(super) fn logic(site: &Site, _op: LogicOp) -> Result<Vec<Inferred>> {
    for index in 0..2 {
        truth(site, index)?;
    }
    Ok(ranked(Some(DType::Bool), broadcast(site, 2)?))
}

fn truth(site: &Site, index: usize) -> Result<()> {
    match site.required(index)?.dtype {
        Some(dtype) if dtype != DType::Bool => {
            Err(site.error(format!("expected truth values in input {index}, found {dtype}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn choose(site: &Site) -> Result<Vec<Inferred>> {
    truth(site, 0)?;
    let natural = site.common_dtype([1, 2])?;
    let any_quantized = site.inputs.iter().flatten().any(|input| input.quantized);
    let dtype = site.result_dtype(natural.filter(|dtype| !any_quantized || dtype.is_float()))?;
    Ok(ranked(dtype, broadcast(site, 3)?))
}

pub(super) fn mat_mul(site: &Site) -> Result<Vec<Inferred>> {
    matrices(site, product_dtype(site)?)
}

/// The product of two matrices, of `dtype`.
pub(super) fn matrices(site: &Site, dtype: Option<DType>) -> Result<Vec<Inferred>> {
    let (a, b) = (site.required(0)?, site.required(1)?);
    let (Some(left), Some(right)) = (a.dims(), b.dims()) else {
        return Ok(vec![Inferred::unranked(dtype)]);
    };
    let mismatch = || {
        site.error(format!(
            "expected matrices whose inner extents agree, found {} and {}",
            Shape(left.to_vec()),
            Shape(right.to_vec())
        ))
    };
    let ([.., k_left], [.., _]) = (left, right) else { return Err(mismatch()) };
    let k_right = &right[right.len().saturating_sub(2)];
    unify(k_left, k_right).ok_or_else(mismatch)?;
    let batch_left = &left[..left.len().saturating_sub(2)];
    let batch_right = &right[..right.len().saturating_sub(2)];
    let mut output = dims::broadcast_all(batch_left, batch_right).ok_or_else(mismatch)?;
    // A vector stands for a matrix of one row or column, which the result leaves out.
    if left.len() > 1 {
        output.push(left[left.len() - 2].clone());
    }
    if right.len() > 1 {
        output.push(right[right.len() - 1].clone());
    }
    Ok(vec![Inferred::of(dtype, output)])
}

pub(super) fn gemm(site: &Site, trans_a: bool, trans_b: bool) -> Result<Vec<Inferred>> {
    let (a, b) = (site.required(0)?, site.required(1)?);
    let dtype = product_dtype(site)?;
    let matrix = |operand, what, transposed: bool| -> Result<(Option<Dim>, Option<Dim>)> {
        Ok(match site.dims_of_rank(operand, 2, what)? {
            Some([rows, columns]) if transposed => (Some(columns.clone()), Some(rows.clone())),
            Some([rows, columns]) => (Some(rows.clone()), Some(columns.clone())),
            _ => (None, None),
        })
    };
    let (m, k_left) = matrix(a, "a left matrix", trans_a)?;
    let (k_right, n) = matrix(b, "a right matrix", trans_b)?;
    if let (Some(left), Some(right)) = (&k_left, &k_right)
        && unify(left, right).is_none()
    {
        return Err(site.error(format!("expected inner extents that agree, found {left} and {right}")));
    }
    let output = vec![m.unwrap_or_else(|| site.unknown(0, 0)), n.unwrap_or_else(|| site.unknown(0, 1))];
    if let Some(addend) = site.optional(2).and_then(|operand| operand.dims()) {
        let fits = addend.len() <= 2
            && dims::broadcast_all(&output, addend).is_some_and(|dims| {
                dims.len() == 2 && dims.iter().zip(&output).all(|(a, b)| unify(a, b).is_some())
            });
        if !fits {
            return Err(site.error(format!(
                "expected an addend that broadcasts to {}, found {}",
                Shape(output),
                Shape(addend.to_vec())
            )));
        }
    }
    Ok(vec![Inferred::of(dtype, output)])
}

/// The input's shape and, unless values are quantized, its type, which must be a float.
fn float_like_input(site: &Site) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    if let Some(dtype) = x.dtype.filter(|dtype| !dtype.is_float() && !x.quantized) {
        return Err(site.error(format!("expected floats, found {dtype}")));
    }
    Ok(ranked(site.result_dtype(x.dtype)?, x.dims().map(<[Dim]>::to_vec)))
}

pub(super) fn softmax(site: &Site, axis: usize) -> Result<Vec<Inferred>> {
    if let Some(dims) = site.required(0)?.dims() {
        site.axis(axis, dims.len())?;
    }
    float_like_input(site)
}

/// Normalisations with `parameters` inputs of one element per channel behind the first.
pub(super) fn channel_norm(site: &Site, parameters: usize) -> Result<Vec<Inferred>> {
    if let Some(dims) = site.required(0)?.dims() {
        let Some(channels) = dims.get(1) else {
            return Err(site.error(format!("expected a rank of at least 2, found {}", Shape(dims.to_vec()))));
        };
        for index in 1..=parameters {
            let parameter = site.required(index)?;
            if let Some([length]) = site.dims_of_rank(parameter, 1, "a parameter")?
                && unify(length, channels).is_none()
            {
                return Err(site.error(format!(
                    "expected {channels} elements in `{}`, one per channel, found {length}",
                    parameter.name
                )));
            }
        }
    }
    float_like_input(site)
}

pub(super) fn layer_norm(site: &Site, axis: usize) -> Result<Vec<Inferred>> {
    if let Some(dims) = site.required(0)?.dims() {
        site.axis(axis, dims.len())?;
        site.required(1)?;
        for parameter in site.inputs.iter().skip(1).flatten() {
            let Some(given) = parameter.dims() else { continue };
            let fits = dims::broadcast_all(&dims[axis..], given).is_some_and(|all| {
                all.len() == dims.len() - axis
                    && all.iter().zip(&dims[axis..]).all(|(a, b)| unify(a, b).is_some())
            });
            if !fits {
                return Err(site.error(format!(
                    "expected `{}` to broadcast to {}, found {}",
                    parameter.name,
                    Shape(dims[axis..].to_vec()),
                    Shape(given.to_vec())
                )));
            }
        }
    }
    float_like_input(site)
}

/// The dimensions without (or with extent 1 at) `axes`.
fn reduced(site: &Site, dims: &[Dim], axes: &[usize], keep: bool) -> Result<Vec<Dim>> {
    for &axis in axes {
        site.axis(axis, dims.len())?;
    }
    Ok(dims
        .iter()
        .enumerate()
        .filter_map(|(axis, dim)| match (axes.contains(&axis), keep) {
            (false, _) => Some(dim.clone()),
            (true, true) => Some(Dim::Fixed(1)),
            (true, false) => None,
        })
        .collect())
}

pub(super) fn reduce(site: &Site, op: ReduceOp, axes: &[usize], keep: bool) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    if x.dtype == Some(DType::Bool) && !matches!(op, ReduceOp::Max | ReduceOp::Min) {
        return Err(site.error("expected numbers, found truth values"));
    }
    let keeps_codes = matches!(op, ReduceOp::Max | ReduceOp::Min);
    let dtype = if keeps_codes { x.dtype } else { site.result_dtype(x.dtype)? };
    let dims = x.dims().map(|dims| reduced(site, dims, axes, keep)).transpose()?;
    Ok(ranked(dtype, dims))
}

pub(super) fn arg_max(site: &Site, axis: usize, keep: bool) -> Result<Vec<Inferred>> {
    let dims = site.required(0)?.dims().map(|dims| {
        site.axis(axis, dims.len())?;
        if dims[axis] == Dim::Fixed(0) {
            return Err(site.error(format!("expected an axis with elements, found extent 0 at axis {axis}")));
        }
        reduced(site, dims, &[axis], keep)
    });
    Ok(ranked(Some(DType::I64), dims.transpose()?))
}
