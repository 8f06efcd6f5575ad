//! Partial evaluation of shape arithmetic: elements that constants and extents alone decide.
//!
//! Values known altogether go through the reference interpreter; lists of integers with unknown extents among them
//! go through the few operators that shape arithmetic is made of.

use super::dims;
use super::site::{Inferred, Known, Number, Operand, Site};
use crate::error::{CoreErrorKind, Result};
use crate::ir::{BinaryOp, DType, Dim, Graph, Op, Shape, Tensor};
use crate::reference;

/// Elements of an input and of an output beyond which a node is not evaluated: shapes are short.
const MOST_ELEMENTS: usize = 4096;

impl Known {
    /// The elements, where all are known.
    pub(super) fn into_tensor(self) -> Option<Tensor> {
        match self {
            Known::Tensor(tensor) => Some(tensor),
            Known::Numbers(_) => None,
        }
    }

    /// The elements of a list or `scalar`: a tensor where all are known.
    fn of(scalar: bool, dtype: DType, numbers: Vec<Number>) -> Option<Known> {
        let integers: Option<Vec<i64>> = numbers.iter().map(Number::known).collect();
        match integers {
            None => Some(Known::Numbers(numbers)),
            Some(integers) => {
                let extents = if scalar { Vec::new() } else { vec![integers.len()] };
                Tensor::from_i64(dtype, &extents, &integers).ok().map(Known::Tensor)
            }
        }
    }
}

/// What is known of the elements of the node's outputs.
pub(super) fn evaluate(graph: &Graph, site: &Site, inferred: &[Inferred]) -> Result<Vec<Option<Known>>> {
    let nothing = || Ok(vec![None; inferred.len()]);
    // Only types of shape arithmetic; quantized values are never part of it.
    let small = |output: &Inferred| {
        output.shape.as_ref().and_then(Shape::elements).is_some_and(|elements| elements <= MOST_ELEMENTS)
    };
    // A loop may be without end, and nothing asks for its elements before it runs.
    if matches!(site.node.op, Op::Control(_)) {
        return nothing();
    }
    if !inferred.iter().all(small) || site.inputs.iter().flatten().any(|input| input.quantized) {
        return nothing();
    }
    if let Some(numbers) = from_shape(site) {
        let scalar = matches!(site.node.op, Op::Size);
        return Ok(vec![Known::of(scalar, DType::I64, numbers)]);
    }
    let tensors: Option<Vec<Option<&Tensor>>> = site
        .inputs
        .iter()
        .map(|input| match input {
            None => Some(None),
            Some(operand) => operand.tensor.filter(|tensor| tensor.elements() <= MOST_ELEMENTS).map(Some),
        })
        .collect();
    if let Some(tensors) = tensors {
        return match reference::evaluate(graph, site.node, &tensors) {
            Ok(outputs) => Ok(outputs.into_iter().map(|tensor| Some(Known::Tensor(tensor))).collect()),
            Err(error) if error.kind() == CoreErrorKind::Unsupported => nothing(),
            Err(error) => Err(error),
        };
    }
    let (Some(dtype), [output]) = (inferred.first().and_then(|output| output.dtype), inferred) else {
        return nothing();
    };
    let rank = output.shape.as_ref().map_or(usize::MAX, Shape::rank);
    if rank > 1 || !dtype.is_integer() {
        return nothing();
    }
    let numbers = partly(site);
    // An operator may ask for more elements than the numbers known so far.
    let length = output.shape.as_ref().and_then(Shape::elements);
    Ok(vec![
        numbers
            .filter(|numbers| Some(numbers.len()) == length)
            .and_then(|numbers| Known::of(rank == 0, dtype, numbers)),
    ])
}

/// The elements of what reads a shape, not a value.
fn from_shape(site: &Site) -> Option<Vec<Number>> {
    let dims = site.optional(0)?.dims()?;
    match site.node.op {
        Op::Shape { start, end } => {
            let end = end.unwrap_or(dims.len()).min(dims.len());
            Some(dims.get(start..end).unwrap_or_default().iter().map(Number::of).collect())
        }
        Op::Size => Some(vec![Number::of(&dims::product(dims)?)]),
        _ => None,
    }
}

/// The elements of a list or scalar made of lists that are partly known.
fn partly(site: &Site) -> Option<Vec<Number>> {
    let x = || site.optional(0).and_then(Operand::numbers);
    match &site.node.op {
        Op::Identity
        | Op::Squeeze { .. }
        | Op::Unsqueeze { .. }
        | Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Cast { to: DType::I32 | DType::I64 } => x(),
        Op::Concat { axis: 0 } => {
            let lists: Option<Vec<_>> =
                site.inputs.iter().map(|input| input.as_ref().and_then(Operand::numbers)).collect();
            Some(lists?.concat())
        }
        Op::Gather { axis: 0 } => {
            let numbers = x()?;
            let indices = site.optional(1)?.integers()?;
            let pick = |index: i64| {
                let index = if index < 0 { index.checked_add(numbers.len() as i64)? } else { index };
                numbers.get(usize::try_from(index).ok()?).cloned()
            };
            indices.into_iter().map(pick).collect()
        }
        Op::Slice => {
            let numbers = x()?;
            let bounds = super::slice_bounds(site, 1).ok()??;
            let [bounds] = bounds.as_slice() else { return None };
            let (start, count) = super::slice_range(numbers.len(), bounds.start, bounds.end, bounds.step);
            let at = |index: usize| {
                let at = (index as i64).checked_mul(bounds.step)?.checked_add(start)?;
                numbers.get(usize::try_from(at).ok()?).cloned()
            };
            (0..count).map(at).collect()
        }
        Op::Binary { op, .. } => {
            let (a, b) = (x()?, site.optional(1)?.numbers()?);
            let length = if a.len() == 1 { b.len() } else { a.len() };
            (0..length)
                .map(|at| {
                    let left = a.get(if a.len() == 1 { 0 } else { at })?;
                    let right = b.get(if b.len() == 1 { 0 } else { at })?;
                    combine(*op, left, right)
                })
                .collect()
        }
        _ => None,
    }
}

/// A function of two numbers, as far as extents have names for it.
fn combine(op: BinaryOp, a: &Number, b: &Number) -> Option<Number> {
    let dim = |number: &Number| match number {
        Number::Known(extent) => dims::fixed(i128::from(*extent)),
        Number::Symbol(name) => Some(Dim::Symbol(name.clone())),
    };
    let result = match (op, a, b) {
        (BinaryOp::Add, Number::Symbol(_), Number::Known(by)) => dims::offset(&dim(a)?, i128::from(*by)),
        (BinaryOp::Add, _, _) => dims::sum(&[dim(a)?, dim(b)?]),
        (BinaryOp::Sub, _, Number::Known(by)) => dims::offset(&dim(a)?, -i128::from(*by)),
        (BinaryOp::Mul, _, _) => dims::product(&[dim(a)?, dim(b)?]),
        (BinaryOp::Div, Number::Symbol(_), Number::Known(by)) => {
            dims::floor_div(&dim(a)?, usize::try_from(*by).ok()?)
        }
        _ => None,
    };
    result.map(|dim| Number::of(&dim))
}
