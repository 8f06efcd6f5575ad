//! Pooling windows.

use super::Call;
use super::indexing::{landing, select, strides};
use crate::error::Result;
use crate::ir::{PoolAttributes, Tensor};

/// One window: where its samples are in a channel, and how many samples an average divides by.
pub(super) struct Window {
    /// Offsets of the samples inside the input.
    pub(super) samples: Vec<usize>,
    /// The divisor of an average: the samples, and with `count_include_pad` those in the padding too.
    pub(super) divisor: usize,
}

/// The windows over one channel, in the order of the output's elements.
pub(super) fn windows(pool: &PoolAttributes, input: &[usize], output: &[usize]) -> Vec<Window> {
    let rank = input.len();
    let own = strides(input);
    // Per axis and output index: offsets of samples, and how many taps lie in the padded input.
    let taps: Vec<Vec<(Vec<usize>, usize)>> = (0..rank)
        .map(|axis| {
            (0..output[axis])
                .map(|index| {
                    let start = (index * pool.strides[axis]) as i128 - pool.pads[axis] as i128;
                    let (kernel, dilation) = (pool.kernel[axis], pool.dilations[axis]);
                    let end = (input[axis] + pool.pads[rank + axis]) as i128 - start;
                    let padded = landing(kernel, end.max(0) as usize, dilation, 0).len();
                    let inside = landing(kernel, input[axis], dilation, start);
                    let place = |tap: usize| ((tap * dilation) as i128 + start) as usize * own[axis];
                    (inside.map(place).collect(), padded)
                })
                .collect()
        })
        .collect();
    let count: usize = output.iter().product();
    let out = strides(output);
    (0..count)
        .map(|place| {
            let (mut samples, mut padded) = (vec![0], 1);
            for (axis, taps) in taps.iter().enumerate() {
                let (offsets, taps) = &taps[place / out[axis] % output[axis]];
                samples =
                    samples.iter().flat_map(|base| offsets.iter().map(move |offset| base + offset)).collect();
                padded *= taps;
            }
            let divisor = if pool.count_include_pad { padded } else { samples.len() };
            Window { samples, divisor }
        })
        .collect()
}

/// The windows of a call, and the number and extent of channels they slide over.
pub(super) fn of(call: &Call, pool: &PoolAttributes) -> Result<(Vec<Window>, usize, usize)> {
    let x = call.input(0)?.extents();
    let windows = windows(pool, &x[2..], &call.extents()[2..]);
    Ok((windows, x[0] * x[1], x[2..].iter().product()))
}

/// The largest element of each window; of equals the first.
///
/// Works on elements of any type by choosing positions, so that codes stay codes.
pub(super) fn max_pool(call: &Call, pool: &PoolAttributes) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let (windows, channels, plane) = of(call, pool)?;
    let values = x.to_f64_vec();
    let lowest = match x.dtype().integer_range() {
        Some((low, _)) => Tensor::from_i64(x.dtype(), &[1], &[low])?,
        None => Tensor::from_f64(x.dtype(), &[1], &[f64::NEG_INFINITY])?,
    };
    let picks = (0..channels).flat_map(|channel| {
        let values = &values[channel * plane..][..plane];
        windows.iter().map(move |window| {
            let best = window.samples.iter().copied().reduce(|best, at| {
                // The first NaN stays.
                let wins = values[at] > values[best] || (values[at].is_nan() && !values[best].is_nan());
                if wins { at } else { best }
            });
            // A window altogether in the padding has no largest element.
            best.map_or((1, 0), |at| (0, channel * plane + at))
        })
    });
    Ok(vec![select(&[x, &lowest], call.extents(), picks)?])
}

pub(super) fn average_pool(call: &Call, pool: &PoolAttributes) -> Result<Vec<Tensor>> {
    let (windows, channels, plane) = of(call, pool)?;
    let values = call.input(0)?.to_f64_vec();
    let mut averages = Vec::with_capacity(channels * windows.len());
    for channel in 0..channels {
        let values = &values[channel * plane..][..plane];
        averages.extend(windows.iter().map(|window| {
            let sum: f64 = window.samples.iter().map(|&at| values[at]).sum();
            sum / window.divisor as f64
        }));
    }
    call.floats(&averages)
}
