//! Resizing: where samples lie, and interpolation between them.
//!
//! Coordinates are f32, as runtimes compute them: which sample is nearest may depend on their rounding.

use super::Call;
use super::indexing::around;
use crate::error::Result;
use crate::infer;
use crate::ir::{CoordinateMode, NearestMode, ResizeAttributes, ResizeMode, Tensor};

/// The scale of an axis whose output extent is given instead of a scale.
pub fn resize_scale(input: usize, output: usize) -> f32 {
    output as f32 / input as f32
}

/// Where output sample `index` lies in the input, in input samples, not clamped to the input.
pub(super) fn coordinate(mode: CoordinateMode, index: usize, input: usize, output: usize, scale: f32) -> f32 {
    let x = index as f32;
    match mode {
        CoordinateMode::PytorchHalfPixel | CoordinateMode::AlignCorners if output <= 1 => 0.0,
        CoordinateMode::HalfPixel | CoordinateMode::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
        CoordinateMode::AlignCorners => x * (input as f32 - 1.0) / (output as f32 - 1.0),
        CoordinateMode::Asymmetric => x / scale,
        CoordinateMode::HalfPixelSymmetric => {
            // The extent that the scale alone would give is not whole; its middle stays in the middle.
            let adjustment = output as f32 / (scale * input as f32);
            let center = input as f32 / 2.0;
            center * (1.0 - adjustment) + (x + 0.5) / scale - 0.5
        }
    }
}

/// The input sample that output sample `index` takes in nearest mode, along one axis of at least one sample.
///
/// `scale` is the scale as given, or [`resize_scale`] where an extent was given.
pub fn nearest_sample(
    attributes: ResizeAttributes,
    index: usize,
    input: usize,
    output: usize,
    scale: f32,
) -> usize {
    nearest_at(attributes.nearest, coordinate(attributes.coordinates, index, input, output, scale), input)
}

/// The sample of `input` samples that is nearest to coordinate `x`.
fn nearest_at(mode: NearestMode, x: f32, input: usize) -> usize {
    let nearest = match mode {
        NearestMode::RoundPreferFloor => (x - 0.5).ceil(),
        NearestMode::RoundPreferCeil => (x + 0.5).floor(),
        NearestMode::Floor => x.floor(),
        NearestMode::Ceil => x.ceil(),
    };
    // The cast saturates below zero.
    (nearest as usize).min(input - 1)
}

/// The two input samples that output sample `index` lies between in linear mode, along one axis of at least one
/// sample, and the weight of the second, in [0, 1).
///
/// Outside the input both are the sample at its edge. `scale` as for [`nearest_sample`].
pub fn linear_samples(
    attributes: ResizeAttributes,
    index: usize,
    input: usize,
    output: usize,
    scale: f32,
) -> (usize, usize, f32) {
    linear_at(coordinate(attributes.coordinates, index, input, output, scale), input)
}

/// The two samples around coordinate `x`, and the weight of the second.
fn linear_at(x: f32, input: usize) -> (usize, usize, f32) {
    let last = input - 1;
    let x = x.clamp(0.0, last as f32);
    let low = (x.floor() as usize).min(last);
    (low, (low + 1).min(last), x - low as f32)
}

/// The samples of `input` samples, at least one, that make the one at coordinate `x`, with their weights.
pub(super) fn taps(attributes: ResizeAttributes, x: f32, input: usize) -> Vec<(usize, f64)> {
    match attributes.mode {
        ResizeMode::Nearest => vec![(nearest_at(attributes.nearest, x, input), 1.0)],
        ResizeMode::Linear => {
            let (low, high, weight) = linear_at(x, input);
            vec![(low, 1.0 - f64::from(weight)), (high, f64::from(weight))]
        }
        ResizeMode::Cubic => cubic(attributes, x, input),
    }
}

/// The weight of a sample at `distance` in cubic convolution with coefficient `a`.
pub(super) fn cubic_weight(a: f64, distance: f64) -> f64 {
    let d = distance.abs();
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        a * (((d - 5.0) * d + 8.0) * d - 4.0)
    } else {
        0.0
    }
}

/// Cubic convolution over the four samples around `x`.
fn cubic(attributes: ResizeAttributes, x: f32, input: usize) -> Vec<(usize, f64)> {
    let a = f64::from(attributes.cubic);
    let floor = x.floor();
    let fraction = f64::from(x - floor);
    let last = input as i64 - 1;
    let mut taps: Vec<(usize, f64)> = Vec::with_capacity(4);
    for step in -1..=2i64 {
        let at = (floor as i64).saturating_add(step);
        let inside = (0..=last).contains(&at);
        if inside || !attributes.exclude_outside {
            taps.push((at.clamp(0, last) as usize, cubic_weight(a, fraction - step as f64)));
        }
    }
    if attributes.exclude_outside {
        let total: f64 = taps.iter().map(|(_, weight)| weight).sum();
        for (_, weight) in &mut taps {
            *weight /= total;
        }
    }
    taps
}

/// The scale of each axis.
pub(super) fn scales(call: &Call) -> Vec<f32> {
    let input = call.input(0).map(Tensor::extents).unwrap_or_default();
    match infer::resize_operands(call.site).0.and_then(|operand| operand.tensor) {
        Some(tensor) => tensor.to_f32_vec(),
        None => {
            input.iter().zip(call.extents()).map(|(&input, &output)| resize_scale(input, output)).collect()
        }
    }
}

pub(super) fn resize(call: &Call, attributes: ResizeAttributes) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let mut extents = x.extents().to_vec();
    if attributes.mode == ResizeMode::Nearest {
        return nearest(call, attributes);
    }
    let mut values = x.to_f64_vec();
    // Axes that shrink come first: what lies between is never larger than both ends.
    let mut axes: Vec<(usize, f32)> = scales(call).into_iter().enumerate().collect();
    axes.sort_by_key(|&(axis, _)| call.extents()[axis] > extents[axis]);
    for (axis, scale) in axes {
        let output = call.extents()[axis];
        if output == extents[axis] && scale == 1.0 {
            continue;
        }
        let (outer, input, inner) = around(&extents, axis);
        let taps: Vec<Vec<(usize, f64)>> = (0..output)
            .map(|index| {
                taps(attributes, coordinate(attributes.coordinates, index, input, output, scale), input)
            })
            .collect();
        values = weighted(&values, (outer, input, inner), &taps);
        extents[axis] = output;
    }
    finish(call, values)
}

/// New samples along one axis, each a weighted sum of old ones.
pub(super) fn weighted(
    values: &[f64],
    (outer, input, inner): (usize, usize, usize),
    taps: &[Vec<(usize, f64)>],
) -> Vec<f64> {
    let mut resized = Vec::with_capacity(outer * taps.len() * inner);
    for row in 0..outer {
        for taps in taps {
            let sample = |column: usize| -> f64 {
                taps.iter().map(|&(at, weight)| values[(row * input + at) * inner + column] * weight).sum()
            };
            resized.extend((0..inner).map(sample));
        }
    }
    resized
}

/// The first output from interpolated values.
pub(super) fn finish(call: &Call, values: Vec<f64>) -> Result<Vec<Tensor>> {
    if call.dtype().is_float() {
        return call.floats(&values);
    }
    // Integers are rounded as runtimes convert: towards zero.
    let truncated: Vec<i128> = values.into_iter().map(|value| value as i128).collect();
    Ok(vec![super::indexing::from_integers(call.dtype(), call.extents(), &truncated)?])
}

/// Nearest mode chooses elements of any type.
fn nearest(call: &Call, attributes: ResizeAttributes) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let (own, out) = (super::indexing::strides(x.extents()), super::indexing::strides(call.extents()));
    let chosen: Vec<Vec<usize>> = scales(call)
        .into_iter()
        .enumerate()
        .map(|(axis, scale)| {
            let (input, output) = (x.extents()[axis], call.extents()[axis]);
            let same = input == output && scale == 1.0;
            let at = |index| {
                own[axis] * if same { index } else { nearest_sample(attributes, index, input, output, scale) }
            };
            (0..output).map(at).collect()
        })
        .collect();
    let count: usize = call.extents().iter().product();
    let at = |place: usize| {
        let axes = chosen.iter().enumerate();
        (0, axes.map(|(axis, chosen)| chosen[place / out[axis] % call.extents()[axis]]).sum())
    };
    Ok(vec![super::indexing::select(&[x], call.extents(), (0..count).map(at))?])
}
