//! Shapes of recurrent layers.

use super::dims::unify;
use super::site::{Inferred, Site};
use crate::error::Result;
use crate::ir::{Cell, DType, Dim, Recurrent, Shape};

pub(super) fn outputs(site: &Site, layer: &Recurrent) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    if let Some(dtype) = x.dtype.filter(|dtype| !dtype.is_float()) {
        return Err(site.error(format!("expected floats in `{}`, found {dtype}", x.name)));
    }
    let expected = layer.direction.count() * layer.cell.functions().len();
    if layer.functions.len() != expected {
        return Err(site.error(format!("expected {expected} functions, found {}", layer.functions.len())));
    }
    if let Some(clip) = layer.clip.filter(|clip| clip.is_nan() || *clip < 0.0) {
        return Err(site.error(format!("expected a clip of 0 or more, found {clip}")));
    }
    let rows = layer
        .hidden
        .checked_mul(layer.cell.gates())
        .and_then(|rows| rows.checked_mul(2))
        .map(|rows| rows / 2);
    let Some(rows) = rows.filter(|_| layer.hidden > 0) else {
        return Err(site.error(format!("expected at least one hidden element, found {}", layer.hidden)));
    };
    let mut dims = Sizes::of(site, layer)?;
    let own = |extent: usize| Dim::Fixed(extent);
    let (directions, hidden) = (own(layer.direction.count()), own(layer.hidden));
    let input = dims.input.clone();
    dims.input = fits(site, 1, &[&directions, &own(rows), &input])?[2].clone();
    fits(site, 2, &[&directions, &own(rows), &hidden])?;
    fits(site, 3, &[&directions, &own(2 * rows)])?;
    dims.batch = fits(site, 4, &[&dims.batch])?[0].clone();
    if let Some(lengths) = site.optional(4)
        && let Some(dtype) = lengths.dtype.filter(|dtype| *dtype != DType::I32)
    {
        return Err(site.error(format!("expected lengths of type i32 in `{}`, found {dtype}", lengths.name)));
    }
    let states = if matches!(layer.cell, Cell::Lstm { .. }) { 2 } else { 1 };
    for index in 5..5 + states {
        let wanted = if layer.batch_first {
            [&dims.batch, &directions, &hidden]
        } else {
            [&directions, &dims.batch, &hidden]
        };
        fits(site, index, &wanted)?;
    }
    if states == 2 {
        fits(site, 7, &[&directions, &own(3 * layer.hidden)])?;
    }
    let Sizes { steps, batch, .. } = dims;
    let [all, state] = if layer.batch_first {
        [vec![batch.clone(), steps, directions.clone(), hidden.clone()], vec![batch, directions, hidden]]
    } else {
        [vec![steps, directions.clone(), batch.clone(), hidden.clone()], vec![directions, batch, hidden]]
    };
    let mut outputs = vec![Inferred::of(x.dtype, all)];
    outputs.extend(std::iter::repeat_n(Inferred::of(x.dtype, state), states));
    Ok(outputs)
}

/// Extents that the attributes do not say.
struct Sizes {
    steps: Dim,
    batch: Dim,
    input: Dim,
}

impl Sizes {
    fn of(site: &Site, layer: &Recurrent) -> Result<Self> {
        let x = site.required(0)?;
        let (steps, batch, input) = match x.dims() {
            None => (site.unknown(0, 0), site.unknown(0, 2), site.unknown(0, 4)),
            Some([first, second, input]) if layer.batch_first => {
                (second.clone(), first.clone(), input.clone())
            }
            Some([first, second, input]) => (first.clone(), second.clone(), input.clone()),
            Some(dims) => {
                return Err(site.error(format!(
                    "expected `{}` of rank 3, found {}",
                    x.name,
                    Shape(dims.to_vec())
                )));
            }
        };
        Ok(Self { steps, batch, input })
    }
}

/// The dimensions of an input, which must be `wanted` where both are known; `wanted` where it is absent.
fn fits(site: &Site, index: usize, wanted: &[&Dim]) -> Result<Vec<Dim>> {
    let wanted: Vec<Dim> = wanted.iter().map(|&dim| dim.clone()).collect();
    let Some(operand) = site.optional(index) else { return Ok(wanted) };
    let Some(found) = operand.dims() else { return Ok(wanted) };
    let joined: Option<Vec<Dim>> = if found.len() == wanted.len() {
        wanted.iter().zip(found).map(|(wanted, found)| unify(wanted, found)).collect()
    } else {
        None
    };
    joined.ok_or_else(|| {
        site.error(format!(
            "expected `{}` of shape {}, found {}",
            operand.name,
            Shape(wanted.clone()),
            Shape(found.to_vec())
        ))
    })
}
