//! Resizing with a kernel that widens where samples lie far apart, and out of a region.

use super::super::Call;
use super::super::indexing::{around, strides};
use super::super::resize::{coordinate, cubic_weight, finish, scales, taps, weighted};
use crate::error::{CoreErrorKind, Result};
use crate::ir::{ResampleAttributes, ResizeAttributes, ResizeMode, Tensor};

/// Most samples that a widened kernel covers: far beyond any real ratio of sizes.
const MOST_TAPS: f64 = 65536.0;

/// The part of an axis that is sampled, from 0 at its first sample to 1 at its last.
#[derive(Debug, Clone, Copy)]
struct Region {
    start: f32,
    end: f32,
}

impl Region {
    /// Where output sample `index` of `output` lies among `input` samples.
    fn coordinate(self, index: usize, input: usize, output: usize) -> f32 {
        let last = input as f32 - 1.0;
        if output > 1 {
            self.start * last + index as f32 * ((self.end - self.start) * last / (output as f32 - 1.0))
        } else {
            0.5 * (self.start + self.end) * last
        }
    }
}

/// The samples around `x` under a kernel `1 / scale` as wide, weights adding up to one.
fn widened(
    call: &Call,
    attributes: ResizeAttributes,
    x: f32,
    input: usize,
    scale: f32,
) -> Result<Vec<(usize, f64)>> {
    let (x, scale) = (f64::from(x), f64::from(scale.min(1.0)));
    let radius = if attributes.mode == ResizeMode::Cubic { 2.0 } else { 1.0 } / scale;
    if radius.is_nan() || radius > MOST_TAPS {
        return Err(call.error(
            CoreErrorKind::Tensor,
            format!("expected scales of at least {} to widen the kernel, found {scale}", 1.0 / MOST_TAPS),
        ));
    }
    let weight = |at: i64| {
        let distance = (at as f64 - x) * scale;
        match attributes.mode {
            ResizeMode::Cubic => cubic_weight(f64::from(attributes.cubic), distance),
            _ => (1.0 - distance.abs()).max(0.0),
        }
    };
    let last = input as i64 - 1;
    let (low, high) = ((x - radius).ceil() as i64, (x + radius).floor() as i64);
    let inside = |at: &i64| !attributes.exclude_outside || (0..=last).contains(at);
    let mut taps: Vec<(usize, f64)> =
        (low..=high).filter(inside).map(|at| (at.clamp(0, last) as usize, weight(at))).collect();
    let total: f64 = taps.iter().map(|(_, weight)| weight).sum();
    for (_, weight) in &mut taps {
        *weight /= total;
    }
    Ok(taps)
}

pub(super) fn resample(call: &Call, attributes: ResampleAttributes) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let mut extents = x.extents().to_vec();
    let rank = extents.len();
    let roi = match attributes.crop {
        Some(_) => call.input(1)?.to_f32_vec(),
        None => Vec::new(),
    };
    let mut values = x.to_f64_vec();
    // Per axis, whether an output sample lies outside the input.
    let mut outside: Vec<Vec<bool>> = Vec::with_capacity(rank);
    for (axis, scale) in scales(call).into_iter().enumerate() {
        let (input, output) = (extents[axis], call.extents()[axis]);
        let region = roi.get(axis).zip(roi.get(rank + axis)).map(|(&start, &end)| Region { start, end });
        let at = |index| match region {
            Some(region) => region.coordinate(index, input, output),
            None => coordinate(attributes.resize.coordinates, index, input, output, scale),
        };
        let beyond = |index| region.is_some() && !(0.0..=input as f32 - 1.0).contains(&at(index));
        outside.push((0..output).map(beyond).collect());
        if region.is_none() && output == input && scale == 1.0 {
            continue;
        }
        let wide = attributes.antialias && attributes.resize.mode != ResizeMode::Nearest;
        let taps = (0..output)
            .map(|index| {
                if wide {
                    widened(call, attributes.resize, at(index), input, scale)
                } else {
                    Ok(taps(attributes.resize, at(index), input))
                }
            })
            .collect::<Result<Vec<_>>>()?;
        values = weighted(&values, around(&extents, axis), &taps);
        extents[axis] = output;
    }
    if let Some(seen) = attributes.crop {
        let out = strides(&extents);
        for (place, value) in values.iter_mut().enumerate() {
            let beyond = |axis: usize| outside[axis][place / out[axis] % extents[axis]];
            if (0..rank).any(beyond) {
                *value = f64::from(seen);
            }
        }
    }
    finish(call, values)
}
