//! The geometry of a product, and where its weights lie in their tensor.

use fewbit_core::ir::ConvAttributes;

/// A convolution over N H W C; a product of matrices is one of an image of height 1.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) images: usize,
    /// Height and width, here and below.
    pub(super) input: [usize; 2],
    pub(super) channels: usize,
    pub(super) output: [usize; 2],
    pub(super) out_channels: usize,
    pub(super) kernel: [usize; 2],
    pub(super) strides: [usize; 2],
    pub(super) dilations: [usize; 2],
    pub(super) pads: [usize; 2],
    pub(super) groups: usize,
}

impl Geometry {
    /// A product of `rows` by `depth` and `depth` by `columns`.
    pub(super) fn matrix(rows: usize, depth: usize, columns: usize) -> Geometry {
        Geometry {
            images: 1,
            input: [1, rows],
            channels: depth,
            output: [1, rows],
            out_channels: columns,
            kernel: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [0, 0],
            groups: 1,
        }
    }

    /// The attributes of a convolution over one or two spatial axes.
    pub(super) fn convolution(conv: &ConvAttributes, x: &[usize], y: &[usize]) -> Option<Geometry> {
        let spatial = x.len().checked_sub(2).filter(|spatial| (1..=2).contains(spatial))?;
        let two = |values: &[usize], missing: usize| match *values {
            [w] if spatial == 1 => Some([missing, w]),
            [h, w] if spatial == 2 => Some([h, w]),
            _ => None,
        };
        let pads = conv.pads.get(..spatial)?;
        Some(Geometry {
            images: x[0],
            input: two(&x[2..], 1)?,
            channels: x[1],
            output: two(y.get(2..)?, 1)?,
            out_channels: y[1],
            kernel: two(&conv.kernel, 1)?,
            strides: two(&conv.strides, 1)?,
            dilations: two(&conv.dilations, 1)?,
            pads: two(pads, 0)?,
            groups: conv.groups,
        })
    }

    pub(super) fn positions(&self) -> usize {
        self.images * self.output[0] * self.output[1]
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Input channels of a group.
    pub(super) fn depth(&self) -> usize {
        self.channels / self.groups
    }

    /// Output channels of a group.
    pub(super) fn width(&self) -> usize {
        self.out_channels / self.groups
    }

    pub(super) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.channels && self.groups == self.out_channels
    }

    /// Whether every output position is an input position.
    pub(super) fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.strides == [1, 1] && self.pads == [0, 0] && self.input == self.output
    }
}

/// Constant weights by output channel, tap and input channel of the group.
pub(super) struct Weights<T> {
    pub(super) values: Vec<T>,
    pub(super) index: Index,
}

/// Where a weight lies in its tensor.
#[derive(Debug, Clone, Copy)]
pub(super) enum Index {
    /// `[out][in][taps]`.
    Conv { depth: usize, taps: usize },
    /// `[out][in]`.
    Rows { depth: usize },
    /// `[in][out]`.
    Columns { outputs: usize },
}

impl<T: Copy + Default> Weights<T> {
    pub(super) fn at(&self, channel: usize, tap: usize, k: usize) -> T {
        let at = match self.index {
            Index::Conv { depth, taps } => (channel * depth + k) * taps + tap,
            Index::Rows { depth } => channel * depth + k,
            Index::Columns { outputs } => k * outputs + channel,
        };
        self.values.get(at).copied().unwrap_or_default()
    }

    /// One group in place of several, zeros between.
    pub(super) fn spread(self, geometry: &Geometry) -> Weights<T> {
        let (depth, width, taps) = (geometry.depth(), geometry.width(), geometry.taps());
        let mut values = vec![T::default(); geometry.out_channels * geometry.channels * taps];
        for channel in 0..geometry.out_channels {
            for k in 0..depth {
                for tap in 0..taps {
                    let all = channel / width * depth + k;
                    values[(channel * geometry.channels + all) * taps + tap] = self.at(channel, tap, k);
                }
            }
        }
        Weights { values, index: Index::Conv { depth: geometry.channels, taps } }
    }
}
