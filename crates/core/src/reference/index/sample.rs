//! Sampling at given places: grids and regions of interest.
//!
//! Coordinates are f32, as runtimes compute them; weights and sums are f64.

use super::super::Call;
use super::super::indexing::strides;
use crate::error::{CoreErrorKind, Result};
use crate::ir::{GridAttributes, GridPadding, ResizeMode, RoiAttributes, Tensor};

/// The coefficient of cubic convolution, as in every framework's grid sampling.
const CUBIC: f64 = -0.75;

/// Most samples along a side of a bin: far beyond any image.
const MOST_SAMPLES: f32 = 16384.0;

/// Where grid coordinate `x` lies among `extent` samples.
fn denormalized(x: f32, extent: usize, align_corners: bool) -> f32 {
    let extent = extent as f32;
    if align_corners { (x + 1.0) * 0.5 * (extent - 1.0) } else { ((x + 1.0) * extent - 1.0) / 2.0 }
}

/// The sample that is seen at `at`; `None` where there is nothing.
fn seen(at: i64, extent: usize, attributes: GridAttributes) -> Option<usize> {
    let last = extent as i64 - 1;
    if (0..=last).contains(&at) {
        return Some(at as usize);
    }
    match attributes.padding {
        GridPadding::Zeros => None,
        GridPadding::Border => Some(at.clamp(0, last) as usize),
        GridPadding::Reflection => {
            // Mirrored at the centres of the outer samples, or at their outer edges.
            let (period, at) = (2 * i128::from(last), i128::from(at));
            let folded = if attributes.align_corners {
                if period == 0 { 0 } else { at.rem_euclid(period) }
            } else {
                at.rem_euclid(period + 2)
            };
            let mirrored = if attributes.align_corners { period - folded } else { period + 1 - folded };
            Some(folded.min(mirrored) as usize)
        }
    }
}

/// The samples along one axis that make one output, with their weights.
fn taps(x: f32, extent: usize, attributes: GridAttributes) -> Vec<(usize, f64)> {
    let floor = x.floor();
    let (low, fraction) = (floor as i64, f64::from(x - floor));
    let weighted: Vec<(i64, f64)> = match attributes.mode {
        ResizeMode::Nearest => vec![(x.round_ties_even() as i64, 1.0)],
        ResizeMode::Linear => vec![(low, 1.0 - fraction), (low.saturating_add(1), fraction)],
        ResizeMode::Cubic => (-1..=2i64)
            .map(|step| {
                let weight = super::super::resize::cubic_weight(CUBIC, fraction - step as f64);
                (low.saturating_add(step), weight)
            })
            .collect(),
    };
    weighted
        .into_iter()
        .filter_map(|(at, weight)| seen(at, extent, attributes).map(|at| (at, weight)))
        .collect()
}

pub(super) fn grid_sample(call: &Call, attributes: GridAttributes) -> Result<Vec<Tensor>> {
    let (x, grid) = (call.input(0)?, call.input(1)?);
    let (values, coordinates) = (x.to_f64_vec(), grid.to_f32_vec());
    let (batch, channels) = (x.extents()[0], x.extents()[1]);
    let image = &x.extents()[2..];
    let own = strides(image);
    let plane: usize = image.iter().product();
    let places: usize = call.extents()[2..].iter().product();
    let rank = image.len();
    let mut result = vec![0.0; batch * channels * places];
    for sample in 0..batch {
        for place in 0..places {
            let numbers = &coordinates[(sample * places + place) * rank..][..rank];
            // The grid's first number belongs to the last axis.
            let mut samples = vec![(0usize, 1.0f64)];
            for (axis, &number) in numbers.iter().rev().enumerate() {
                let at = denormalized(number, image[axis], attributes.align_corners);
                let (taps, step) = (taps(at, image[axis], attributes), own[axis]);
                samples = samples
                    .iter()
                    .flat_map(|&(base, weight)| {
                        taps.iter().map(move |&(at, by)| (base + at * step, weight * by))
                    })
                    .collect();
            }
            for channel in 0..channels {
                let first = (sample * channels + channel) * plane;
                result[(sample * channels + channel) * places + place] =
                    samples.iter().map(|&(at, weight)| values[first + at] * weight).sum();
            }
        }
    }
    call.floats(&result)
}

/// The four samples around a point of an image, with weights; nothing outside.
fn corners(y: f32, x: f32, height: usize, width: usize) -> Option<[(usize, f64); 4]> {
    let axis = |at: f32, extent: usize| -> Option<(usize, usize, f64)> {
        if !(-1.0..=extent as f32).contains(&at) {
            return None;
        }
        let at = at.max(0.0);
        let low = at as usize;
        if low + 1 >= extent {
            return Some((extent - 1, extent - 1, 0.0));
        }
        Some((low, low + 1, f64::from(at - low as f32)))
    };
    let (top, bottom, down) = axis(y, height)?;
    let (left, right, along) = axis(x, width)?;
    Some([
        (top * width + left, (1.0 - down) * (1.0 - along)),
        (top * width + right, (1.0 - down) * along),
        (bottom * width + left, down * (1.0 - along)),
        (bottom * width + right, down * along),
    ])
}

pub(super) fn roi_align(call: &Call, roi: &RoiAttributes) -> Result<Vec<Tensor>> {
    let (x, regions, batches) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let values = x.to_f64_vec();
    let (batch, channels) = (x.extents()[0], x.extents()[1]);
    let (height, width) = (x.extents()[2], x.extents()[3]);
    let [rows, columns] = roi.bins;
    let offset = if roi.half_pixel { 0.5 } else { 0.0 };
    let mut result = vec![0.0f64; call.extents().iter().product()];
    for (region, (numbers, sample)) in
        regions.to_f32_vec().chunks_exact(4).zip(batches.to_i64_vec()).enumerate()
    {
        let sample = usize::try_from(sample).ok().filter(|&sample| sample < batch).ok_or_else(|| {
            call.error(
                CoreErrorKind::Tensor,
                format!("expected batch indices from 0 to below {batch}, found {sample}"),
            )
        })?;
        let edge = |at: usize| numbers[at] * roi.spatial_scale - offset;
        let side = |from: usize, to: usize| {
            let length = edge(to) - edge(from);
            if roi.half_pixel { length } else { length.max(1.0) }
        };
        let (region_height, region_width) = (side(1, 3), side(0, 2));
        let (bin_height, bin_width) = (region_height / rows as f32, region_width / columns as f32);
        let samples = |bin: f32| {
            let count = if roi.sampling_ratio > 0 { roi.sampling_ratio as f32 } else { bin.ceil() };
            if count <= MOST_SAMPLES {
                return Ok(count.max(0.0) as usize);
            }
            Err(call.error(
                CoreErrorKind::Tensor,
                format!("expected at most {MOST_SAMPLES} samples along a bin, found {count}"),
            ))
        };
        let (down, along) = (samples(bin_height)?, samples(bin_width)?);
        for bin in 0..rows * columns {
            let (row, column) = (bin / columns, bin % columns);
            let mut points = Vec::with_capacity(down * along);
            for step_y in 0..down {
                let y = edge(1) + row as f32 * bin_height + (step_y as f32 + 0.5) * bin_height / down as f32;
                for step_x in 0..along {
                    let x = edge(0)
                        + column as f32 * bin_width
                        + (step_x as f32 + 0.5) * bin_width / along as f32;
                    points.push(corners(y, x, height, width));
                }
            }
            for channel in 0..channels {
                let plane = &values[(sample * channels + channel) * height * width..][..height * width];
                let weighted =
                    points.iter().map(|point| point.map(|taps| taps.map(|(at, by)| plane[at] * by)));
                let pooled = if roi.max {
                    // Runtimes compare the weighted corners, not their sums; points outside count as zero.
                    let largest = |taps: Option<[f64; 4]>| {
                        taps.map_or(0.0, |taps| taps.into_iter().fold(f64::NEG_INFINITY, f64::max))
                    };
                    weighted.map(largest).reduce(f64::max).unwrap_or(0.0)
                } else {
                    let sum: f64 = weighted.flatten().flatten().sum();
                    sum / points.len().max(1) as f64
                };
                result[(region * channels + channel) * rows * columns + bin] = pooled;
            }
        }
    }
    call.floats(&result)
}
