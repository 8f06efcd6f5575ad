//! Copies with updates.

use super::super::Call;
use super::super::indexing::{from_integers, integers, select};
use super::{element_places, slice_places};
use crate::error::Result;
use crate::ir::{ScatterReduction, Tensor};

pub(super) fn elements(call: &Call, axis: usize, reduction: ScatterReduction) -> Result<Vec<Tensor>> {
    let places = element_places(call, call.input(0)?.extents(), call.input(1)?, axis)?;
    update(call, places, reduction)
}

pub(super) fn nd(call: &Call, reduction: ScatterReduction) -> Result<Vec<Tensor>> {
    let (firsts, run) = slice_places(call, call.input(0)?.extents(), call.input(1)?, 0)?;
    let places = firsts.into_iter().flat_map(|first| first..first + run).collect();
    update(call, places, reduction)
}

/// The first input with update `i` at element `places[i]`.
fn update(call: &Call, places: Vec<usize>, reduction: ScatterReduction) -> Result<Vec<Tensor>> {
    let (x, updates) = (call.input(0)?, call.input(2)?);
    if reduction == ScatterReduction::None {
        let mut picks: Vec<(usize, usize)> = (0..x.elements()).map(|at| (0, at)).collect();
        for (update, place) in places.into_iter().enumerate() {
            picks[place] = (1, update);
        }
        return Ok(vec![select(&[x, updates], call.extents(), picks.into_iter())?]);
    }
    if call.dtype().is_float() {
        let mut values = x.to_f64_vec();
        for (place, update) in places.into_iter().zip(updates.to_f64_vec()) {
            let old = values[place];
            values[place] = match reduction {
                ScatterReduction::None => update,
                ScatterReduction::Add => old + update,
                ScatterReduction::Mul => old * update,
                ScatterReduction::Max | ScatterReduction::Min if old.is_nan() || update.is_nan() => f64::NAN,
                ScatterReduction::Max => old.max(update),
                ScatterReduction::Min => old.min(update),
            };
        }
        return call.floats(&values);
    }
    let mut values = integers(x);
    for (place, update) in places.into_iter().zip(integers(updates)) {
        let old = values[place];
        values[place] = match reduction {
            ScatterReduction::None => update,
            ScatterReduction::Add => old.wrapping_add(update),
            ScatterReduction::Mul => old.wrapping_mul(update),
            ScatterReduction::Max => old.max(update),
            ScatterReduction::Min => old.min(update),
        };
    }
    Ok(vec![from_integers(call.dtype(), call.extents(), &values)?])
}
