//! Convolutions over one to three spatial axes, in any arithmetic.

use std::ops::Range;

use super::Call;
use super::functions::clamp;
use super::indexing::landing;
use crate::error::{CoreErrorKind, Result};
use crate::ir::{Activation, ConvAttributes, Tensor};

/// Arithmetic that sums products.
pub(super) trait Mac: Copy {
    const ZERO: Self;
    fn mac(self, a: Self, b: Self) -> Self;
}

impl Mac for f64 {
    const ZERO: Self = 0.0;
    fn mac(self, a: Self, b: Self) -> Self {
        self + a * b
    }
}

/// Wraps, as the 32-bit accumulators of integer kernels do.
impl Mac for i32 {
    const ZERO: Self = 0;
    fn mac(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }
}

impl Mac for i64 {
    const ZERO: Self = 0;
    fn mac(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }
}

/// The extents of a convolution, with three spatial axes (leading ones of extent 1 where there are fewer).
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    batch: usize,
    groups: usize,
    /// Channels per group of `x`.
    in_channels: usize,
    /// Channels per group of the result.
    out_channels: usize,
    input: [usize; 3],
    output: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
    dilation: [usize; 3],
    before: [usize; 3],
}

impl Geometry {
    /// The geometry of a call to Conv or ConvTranspose.
    pub(super) fn new(call: &Call, conv: &ConvAttributes) -> Result<Self> {
        let rank = conv.kernel.len();
        if rank > 3 {
            return Err(call.error(
                CoreErrorKind::Unsupported,
                format!("expected at most 3 spatial axes, found {rank}"),
            ));
        }
        let three = |values: &[usize], fill: usize| {
            let mut padded = [fill; 3];
            padded[3 - rank..].copy_from_slice(&values[..rank]);
            padded
        };
        let (x, y) = (call.input(0)?.extents(), call.extents());
        let mut geometry = Self {
            batch: x[0],
            groups: conv.groups,
            in_channels: x[1] / conv.groups,
            out_channels: y[1] / conv.groups,
            input: three(&x[2..], 1),
            output: three(&y[2..], 1),
            kernel: three(&conv.kernel, 1),
            stride: three(&conv.strides, 1),
            dilation: three(&conv.dilations, 1),
            before: three(&conv.pads, 0),
        };
        let pointwise = geometry.kernel == [1; 3] && geometry.stride == [1; 3];
        if pointwise && geometry.before == [0; 3] && geometry.input == geometry.output {
            // One long row instead of many short ones.
            let plane = geometry.input.iter().product();
            geometry.input = [1, 1, plane];
            geometry.output = geometry.input;
        }
        Ok(geometry)
    }

    /// Elements of one channel of the result.
    pub(super) fn plane(&self) -> usize {
        self.output.iter().product()
    }

    /// The distance along `axis` from `stride` times an index to the sample under tap `tap`.
    fn shift(&self, axis: usize, tap: usize) -> i128 {
        tap as i128 * self.dilation[axis] as i128 - self.before[axis] as i128
    }

    /// Visits every tap and pair of rows that it connects.
    ///
    /// `count` are the extents whose indices are multiplied by the stride (the output of a convolution, the input of
    /// a transposed one), `extent` those that they land in. `visit` gets the tap, where the two rows start, the
    /// columns of the first whose landing place exists, and the shift from stepped column to landing column.
    fn each_row(
        &self,
        count: [usize; 3],
        extent: [usize; 3],
        mut visit: impl FnMut(usize, usize, usize, Range<usize>, i128),
    ) {
        let [kernel_d, kernel_h, kernel_w] = self.kernel;
        for d in 0..kernel_d {
            let shift_d = self.shift(0, d);
            for h in 0..kernel_h {
                let shift_h = self.shift(1, h);
                for w in 0..kernel_w {
                    let shift_w = self.shift(2, w);
                    let tap = (d * kernel_h + h) * kernel_w + w;
                    let columns = landing(count[2], extent[2], self.stride[2], shift_w);
                    if columns.is_empty() {
                        continue;
                    }
                    for z in landing(count[0], extent[0], self.stride[0], shift_d) {
                        let at_z = (z as i128 * self.stride[0] as i128 + shift_d) as usize;
                        for y in landing(count[1], extent[1], self.stride[1], shift_h) {
                            let at_y = (y as i128 * self.stride[1] as i128 + shift_h) as usize;
                            let stepped = (z * count[1] + y) * count[2];
                            let landed = (at_z * extent[1] + at_y) * extent[2];
                            visit(tap, stepped, landed, columns.clone(), shift_w);
                        }
                    }
                }
            }
        }
    }
}

/// The sums of products of a convolution, without bias. `x` is NC…, `weight` OI….
pub(super) fn correlate<T: Mac>(geometry: &Geometry, x: &[T], weight: &[T]) -> Vec<T> {
    let g = geometry;
    let (in_plane, out_plane) = (g.input.iter().product::<usize>(), g.plane());
    let taps: usize = g.kernel.iter().product();
    let (ins, outs) = (g.groups * g.in_channels, g.groups * g.out_channels);
    let mut result = vec![T::ZERO; g.batch * outs * out_plane];
    for n in 0..g.batch {
        for o in 0..outs {
            let group = o / g.out_channels;
            let y = &mut result[(n * outs + o) * out_plane..][..out_plane];
            for i in 0..g.in_channels {
                let x = &x[(n * ins + group * g.in_channels + i) * in_plane..][..in_plane];
                let weight = &weight[(o * g.in_channels + i) * taps..][..taps];
                g.each_row(g.output, g.input, |tap, stepped, landed, columns, shift| {
                    let w = weight[tap];
                    let first = (columns.start as i128 * g.stride[2] as i128 + shift) as usize + landed;
                    let y = &mut y[stepped + columns.start..stepped + columns.end];
                    if g.stride[2] == 1 {
                        for (y, &x) in y.iter_mut().zip(&x[first..]) {
                            *y = y.mac(x, w);
                        }
                    } else {
                        for (y, &x) in y.iter_mut().zip(x[first..].iter().step_by(g.stride[2])) {
                            *y = y.mac(x, w);
                        }
                    }
                });
            }
        }
    }
    result
}

/// The sums of products of a transposed convolution, without bias. `x` is NC…, `weight` IO….
pub(super) fn spread<T: Mac>(geometry: &Geometry, x: &[T], weight: &[T]) -> Vec<T> {
    let g = geometry;
    let (in_plane, out_plane) = (g.input.iter().product::<usize>(), g.plane());
    let taps: usize = g.kernel.iter().product();
    let (ins, outs) = (g.groups * g.in_channels, g.groups * g.out_channels);
    let mut result = vec![T::ZERO; g.batch * outs * out_plane];
    for n in 0..g.batch {
        for i in 0..ins {
            let group = i / g.in_channels;
            let x = &x[(n * ins + i) * in_plane..][..in_plane];
            for o in 0..g.out_channels {
                let y = &mut result[(n * outs + group * g.out_channels + o) * out_plane..][..out_plane];
                let weight = &weight[(i * g.out_channels + o) * taps..][..taps];
                g.each_row(g.input, g.output, |tap, stepped, landed, columns, shift| {
                    let w = weight[tap];
                    let first = (columns.start as i128 * g.stride[2] as i128 + shift) as usize + landed;
                    let x = &x[stepped + columns.start..stepped + columns.end];
                    for (y, &x) in y[first..].iter_mut().step_by(g.stride[2]).zip(x) {
                        *y = y.mac(x, w);
                    }
                });
            }
        }
    }
    result
}

/// Adds the bias of each channel and clamps.
fn finish(
    call: &Call,
    geometry: &Geometry,
    mut sums: Vec<f64>,
    activation: Activation,
) -> Result<Vec<Tensor>> {
    let bias = call.optional(2).map(Tensor::to_f64_vec);
    let (low, high) = activation.bounds();
    let channels = geometry.groups * geometry.out_channels;
    for (at, plane) in sums.chunks_exact_mut(geometry.plane().max(1)).enumerate() {
        let bias = bias.as_ref().map_or(0.0, |bias| bias[at % channels]);
        for sum in plane {
            *sum = clamp(*sum + bias, f64::from(low), f64::from(high));
        }
    }
    call.floats(&sums)
}

pub(super) fn conv(call: &Call, attributes: &ConvAttributes, activation: Activation) -> Result<Vec<Tensor>> {
    let geometry = Geometry::new(call, attributes)?;
    let sums = correlate(&geometry, &call.input(0)?.to_f64_vec(), &call.input(1)?.to_f64_vec());
    finish(call, &geometry, sums, activation)
}

pub(super) fn conv_transpose(
    call: &Call,
    attributes: &ConvAttributes,
    activation: Activation,
) -> Result<Vec<Tensor>> {
    let geometry = Geometry::new(call, attributes)?;
    let sums = spread(&geometry, &call.input(0)?.to_f64_vec(), &call.input(1)?.to_f64_vec());
    finish(call, &geometry, sums, activation)
}
