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

/// The channels of a call's input and the windows over each.
pub(super) struct Windows {
    /// Samples and channels: how often the windows repeat.
    pub(super) channels: usize,
    /// Elements of one channel.
    pub(super) plane: usize,
    /// Windows over one channel.
    pub(super) count: usize,
    output: Vec<usize>,
    count_include_pad: bool,
    /// Per axis and index of the output: the first offset, the step between offsets and their number inside the
    /// input, and the number of taps in the padded input.
    taps: Vec<Vec<(usize, usize, usize, usize)>>,
}

impl Windows {
    pub(super) fn new(call: &Call, pool: &PoolAttributes) -> Result<Self> {
        let x = call.input(0)?.extents();
        let (input, output) = (&x[2..], &call.extents()[2..]);
        let own = strides(input);
        let rank = input.len();
        let taps = |axis: usize, index: usize| {
            let start = index as i128 * pool.strides[axis] as i128 - pool.pads[axis] as i128;
            let (kernel, dilation) = (pool.kernel[axis], pool.dilations[axis]);
            let room = input[axis] as i128 + pool.pads[rank + axis] as i128 - start;
            let padded = landing(kernel, usize::try_from(room).unwrap_or(0), dilation, 0).len();
            let inside = landing(kernel, input[axis], dilation, start);
            let first = (inside.start as i128 * dilation as i128 + start).max(0) as usize;
            // With one tap inside, the step is never taken.
            let step = if inside.len() > 1 { dilation * own[axis] } else { 0 };
            (first * own[axis], step, inside.len(), padded)
        };
        Ok(Self {
            channels: x[0] * x[1],
            plane: input.iter().product(),
            count: output.iter().product(),
            output: output.to_vec(),
            count_include_pad: pool.count_include_pad,
            taps: (0..rank).map(|axis| (0..output[axis]).map(|index| taps(axis, index)).collect()).collect(),
        })
    }

    /// The window of the output's element `place` of a channel.
    pub(super) fn window(&self, place: usize) -> Window {
        let out = strides(&self.output);
        let (mut samples, mut padded) = (vec![0], 1);
        for (axis, taps) in self.taps.iter().enumerate() {
            let (first, step, inside, taps) = taps[place / out[axis] % self.output[axis]];
            samples = samples
                .iter()
                .flat_map(|base| (0..inside).map(move |tap| base + first + tap * step))
                .collect();
            padded *= taps;
        }
        let divisor = if self.count_include_pad { padded } else { samples.len() };
        Window { samples, divisor }
    }

    /// One result per channel and window, in the order of the output: `result(first element of the channel, window)`.
    pub(super) fn map<T: Clone>(&self, empty: T, result: impl Fn(usize, &Window) -> T) -> Vec<T> {
        let mut results = vec![empty; self.channels * self.count];
        for place in 0..self.count {
            let window = self.window(place);
            for channel in 0..self.channels {
                results[channel * self.count + place] = result(channel * self.plane, &window);
            }
        }
        results
    }
}

/// The place of the largest element of a window over the channel that starts at `first`; of equals the first.
pub(super) fn best(values: &[f64], first: usize, window: &Window) -> Option<usize> {
    window.samples.iter().map(|at| first + at).reduce(|best, at| {
        // The first NaN stays.
        let wins = values[at] > values[best] || (values[at].is_nan() && !values[best].is_nan());
        if wins { at } else { best }
    })
}

/// The largest element of each window; of equals the first.
///
/// Works on elements of any type by choosing positions, so that codes stay codes.
pub(super) fn max_pool(call: &Call, pool: &PoolAttributes) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let values = x.to_f64_vec();
    let lowest = match x.dtype().integer_range() {
        Some((low, _)) => Tensor::from_i64(x.dtype(), &[1], &[low])?,
        None => Tensor::from_f64(x.dtype(), &[1], &[f64::NEG_INFINITY])?,
    };
    // A window altogether in the padding has no largest element.
    let picks = Windows::new(call, pool)?
        .map((1, 0), |first, window| best(&values, first, window).map_or((1, 0), |at| (0, at)));
    Ok(vec![select(&[x, &lowest], call.extents(), picks.into_iter())?])
}

pub(super) fn average_pool(call: &Call, pool: &PoolAttributes) -> Result<Vec<Tensor>> {
    let values = call.input(0)?.to_f64_vec();
    let averages = Windows::new(call, pool)?.map(0.0, |first, window| {
        let sum: f64 = window.samples.iter().map(|at| values[first + at]).sum();
        sum / window.divisor as f64
    });
    call.floats(&averages)
}
