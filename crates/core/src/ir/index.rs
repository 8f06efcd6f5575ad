//! Operators that find, pick, place, order or count elements by their position.
//!
//! Owns [`IndexOp`] with its attributes, and what the rest of the IR asks about each: name, arity, text form.

use super::op::spelled;
use super::{PoolAttributes, ReduceOp, ResizeAttributes, ResizeMode};

/// How an update meets the element at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ScatterReduction {
    /// It replaces it; of several updates of one place the last stays.
    #[default]
    None,
    /// It is added.
    Add,
    /// It is multiplied.
    Mul,
    /// The larger stays.
    Max,
    /// The smaller stays.
    Min,
}

spelled!(ScatterReduction {
    None => "none",
    Add => "add",
    Mul => "mul",
    Max => "max",
    Min => "min",
});

/// What is seen outside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GridPadding {
    /// Zeros.
    Zeros,
    /// The nearest sample of the image.
    Border,
    /// The image, mirrored at its borders as often as it takes.
    Reflection,
}

spelled!(GridPadding {
    Zeros => "zeros",
    Border => "border",
    Reflection => "reflection",
});

/// Attributes of sampling at the places of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GridAttributes {
    /// Interpolation; cubic convolution has the coefficient -0.75.
    pub mode: ResizeMode,
    /// What is seen outside the image.
    pub padding: GridPadding,
    /// Whether -1 and 1 are the centres of the corner samples rather than their outer edges.
    pub align_corners: bool,
}

/// Attributes of pooling regions of interest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAttributes {
    /// Whether the largest of a bin's samples counts rather than their mean.
    pub max: bool,
    /// Rows and columns of bins.
    pub bins: [usize; 2],
    /// Samples along each side of a bin; 0 takes as many as the bin has input samples.
    pub sampling_ratio: usize,
    /// Extent of the input over that of what regions are given in.
    pub spatial_scale: f32,
    /// Whether coordinates are shifted by half a sample, and regions may be smaller than one sample.
    pub half_pixel: bool,
}

/// Attributes of a resize of which [`Op::Resize`](super::Op::Resize) has no form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResampleAttributes {
    /// Interpolation and, without a region, coordinates.
    pub resize: ResizeAttributes,
    /// Whether the kernel widens with the distance of the samples where the tensor shrinks (linear and cubic modes).
    pub antialias: bool,
    /// What is seen outside the input where the `roi` says which part of it to sample: begins, then ends, from 0 at the
    /// first sample to 1 at the last. `None`: the whole is sampled, and the `roi` means nothing.
    pub crop: Option<f32>,
}

/// An operator on positions. Inputs are listed in brackets; `?` marks one that may be absent.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum IndexOp {
    /// One element per index: the place is the index's own but for `axis`, where the index stands. `[x, indices]`,
    /// negative indices count from the end.
    GatherElements {
        /// The axis, not negative.
        axis: usize,
    },
    /// Slices by tuples of indices, the last axis of `indices`. `[x, indices]`
    GatherNd {
        /// Leading axes that both inputs share.
        batch_dims: usize,
    },
    /// A copy of `x` with updates at places as [`IndexOp::GatherElements`] reads them. `[x, indices, updates]`
    ScatterElements {
        /// The axis, not negative.
        axis: usize,
        /// How updates meet elements.
        reduction: ScatterReduction,
    },
    /// A copy of `x` with updates at places as [`IndexOp::GatherNd`] reads them. `[x, indices, updates]`
    ScatterNd {
        /// How updates meet elements.
        reduction: ScatterReduction,
    },
    /// `values[1]` where the new axis's index is the element of `indices`, else `values[0]`.
    /// `[indices, depth (one number), values of 2 elements]`; indices outside `-depth..depth` are nowhere.
    OneHot {
        /// Place of the new axis in the output.
        axis: usize,
    },
    /// Sums of the elements up to each along an axis. `[x, axis (one integer)]`
    CumSum {
        /// Whether an element's own sum leaves it out.
        exclusive: bool,
        /// Whether sums run from the end.
        reverse: bool,
    },
    /// The `k` largest (or smallest) along an axis, in order, of equals the first. `[x, k (one integer)]`, outputs
    /// `[values, indices i64]`.
    TopK {
        /// The axis, not negative.
        axis: usize,
        /// Whether the largest are meant.
        largest: bool,
    },
    /// The boxes of each class that no better box of it overlaps too far.
    /// `[boxes NK4, scores NCK, max_per_class?, iou_threshold?, score_threshold?]`, output `[selected, 3]` of
    /// (batch, class, box) in i64, as many as the data gives.
    NonMaxSuppression {
        /// Whether boxes are centre and size rather than two corners (`y1, x1, y2, x2`).
        center: bool,
    },
    /// The places of the elements that are not zero: one column each, in row-major order. `[x]`, output
    /// `[rank, found]` in i64, as many as the data gives.
    NonZero,
    /// The slices of an axis whose condition holds; conditions that are missing at the end do not hold.
    /// `[x, condition]`, as many as the data gives.
    Compress {
        /// The axis, not negative; without one the flattened tensor is meant.
        axis: Option<usize>,
    },
    /// What lies on and above (or below) the `k`-th diagonal of the last two axes; zeros elsewhere. `[x, k?]`
    Trilu {
        /// Whether the part above stays.
        upper: bool,
    },
    /// The first `lengths[b]` slices of the time axis in reverse, for each index `b` of the batch axis.
    /// `[x, lengths]`
    ReverseSequence {
        /// The axis of sequences: 0 or 1.
        batch_axis: usize,
        /// The axis of steps: 1 or 0.
        time_axis: usize,
    },
    /// Each different element (or slice of an axis) once. `[x]`, outputs `[values, first i64, inverse i64, counts i64]`:
    /// where each was first found, which each element is, and how often each was found; as many as the data gives.
    Unique {
        /// The axis, not negative; without one the flattened tensor is meant.
        axis: Option<usize>,
        /// Whether they come in ascending order rather than in that of their first places.
        sorted: bool,
    },
    /// Samples of an image at the places of a grid, whose last axis holds one coordinate per spatial axis, the last axis
    /// first, from -1 to 1 across the image. `[x NC…, grid]`
    GridSample(GridAttributes),
    /// Regions of images pooled to one size. `[x NCHW, regions [count, 4] as x1 y1 x2 y2, batch indices [count]]`
    RoiAlign(RoiAttributes),
    /// A reduction over axes that are computed. `[x, axes]`, which count from the end where they are negative
    ReduceBy {
        /// The reduction.
        op: ReduceOp,
        /// Whether reduced axes stay with extent 1.
        keep_dims: bool,
        /// Whether no axes mean all of them rather than none.
        all: bool,
    },
    /// Another size, with a wider kernel or out of a region. `[x, roi?, scales?, sizes?]`; where both are given, `sizes`
    /// says the extents and `scales` the coordinates.
    Resample(ResampleAttributes),
    /// Columns of blocks summed into an image, the inverse of cutting it into blocks.
    /// `[x N (C × block) places, image extents, block extents]`
    Col2Im {
        /// Steps between blocks.
        strides: Vec<usize>,
        /// Steps inside a block.
        dilations: Vec<usize>,
        /// Padding around the image: all begins, then all ends.
        pads: Vec<usize>,
    },
    /// Maximum of windows with its place in the flattened input. `[x]`, outputs `[largest, indices i64]`
    MaxPoolIndices {
        /// The window.
        pool: PoolAttributes,
        /// Whether places count along the first spatial axis first.
        column_major: bool,
    },
    /// Zeros with each element at the place that [`IndexOp::MaxPoolIndices`] took it from.
    /// `[x NC…, indices, output shape?]`
    MaxUnpool {
        /// Window extents.
        kernel: Vec<usize>,
        /// Steps between windows.
        strides: Vec<usize>,
        /// Padding around the output: all begins, then all ends.
        pads: Vec<usize>,
    },
}

impl IndexOp {
    /// ONNX's name, or the field's where ONNX has none.
    pub fn name(&self) -> &'static str {
        match self {
            IndexOp::GatherElements { .. } => "GatherElements",
            IndexOp::GatherNd { .. } => "GatherND",
            IndexOp::ScatterElements { .. } => "ScatterElements",
            IndexOp::ScatterNd { .. } => "ScatterND",
            IndexOp::OneHot { .. } => "OneHot",
            IndexOp::CumSum { .. } => "CumSum",
            IndexOp::TopK { .. } => "TopK",
            IndexOp::NonMaxSuppression { .. } => "NonMaxSuppression",
            IndexOp::NonZero => "NonZero",
            IndexOp::Compress { .. } => "Compress",
            IndexOp::Trilu { .. } => "Trilu",
            IndexOp::ReverseSequence { .. } => "ReverseSequence",
            IndexOp::Unique { .. } => "Unique",
            IndexOp::GridSample(_) => "GridSample",
            IndexOp::RoiAlign(_) => "RoiAlign",
            IndexOp::ReduceBy { .. } => "ReduceBy",
            IndexOp::Resample(_) => "Resample",
            IndexOp::Col2Im { .. } => "Col2Im",
            IndexOp::MaxPoolIndices { .. } => "MaxPoolIndices",
            IndexOp::MaxUnpool { .. } => "MaxUnpool",
        }
    }

    /// The inputs that must be present, the most inputs, and the number of outputs.
    pub fn arity(&self) -> (usize, usize, usize) {
        match self {
            IndexOp::NonZero => (1, 1, 1),
            IndexOp::Trilu { .. } => (1, 2, 1),
            IndexOp::GatherElements { .. }
            | IndexOp::GatherNd { .. }
            | IndexOp::CumSum { .. }
            | IndexOp::Compress { .. }
            | IndexOp::ReverseSequence { .. }
            | IndexOp::ReduceBy { .. }
            | IndexOp::GridSample(_) => (2, 2, 1),
            IndexOp::TopK { .. } => (2, 2, 2),
            IndexOp::Unique { .. } => (1, 1, 4),
            IndexOp::MaxPoolIndices { .. } => (1, 1, 2),
            IndexOp::Resample(_) => (1, 4, 1),
            IndexOp::MaxUnpool { .. } => (2, 3, 1),
            IndexOp::NonMaxSuppression { .. } => (2, 5, 1),
            IndexOp::ScatterElements { .. }
            | IndexOp::ScatterNd { .. }
            | IndexOp::OneHot { .. }
            | IndexOp::RoiAlign(_)
            | IndexOp::Col2Im { .. } => (3, 3, 1),
        }
    }

    /// Whether every output element is an element of the first input.
    pub fn moves_elements(&self) -> bool {
        matches!(
            self,
            IndexOp::GatherElements { .. }
                | IndexOp::GatherNd { .. }
                | IndexOp::Compress { .. }
                | IndexOp::ReverseSequence { .. }
        )
    }

    /// Whether the extents of the outputs follow from elements of the inputs, not from shapes and attributes alone.
    pub fn decides_extents(&self) -> bool {
        matches!(
            self,
            IndexOp::NonMaxSuppression { .. }
                | IndexOp::NonZero
                | IndexOp::Compress { .. }
                | IndexOp::Unique { .. }
        )
    }

    /// The attributes that say something, for the text form.
    pub(super) fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut list: Vec<(&'static str, String)> = Vec::new();
        let mut push = |key, value: String| list.push((key, value));
        match self {
            IndexOp::GatherElements { axis } | IndexOp::OneHot { axis } => push("axis", axis.to_string()),
            IndexOp::GatherNd { batch_dims } => {
                if *batch_dims > 0 {
                    push("batch_dims", batch_dims.to_string());
                }
            }
            IndexOp::ScatterElements { axis, reduction } => {
                push("axis", axis.to_string());
                push("reduction", reduction.name().to_owned());
            }
            IndexOp::ScatterNd { reduction } => push("reduction", reduction.name().to_owned()),
            IndexOp::CumSum { exclusive, reverse } => {
                push("exclusive", exclusive.to_string());
                push("reverse", reverse.to_string());
            }
            IndexOp::TopK { axis, largest } => {
                push("axis", axis.to_string());
                push("largest", largest.to_string());
            }
            IndexOp::NonMaxSuppression { center } => push("center", center.to_string()),
            IndexOp::NonZero => {}
            IndexOp::Compress { axis } => {
                if let Some(axis) = axis {
                    push("axis", axis.to_string());
                }
            }
            IndexOp::Trilu { upper } => push("upper", upper.to_string()),
            IndexOp::ReverseSequence { batch_axis, time_axis } => {
                push("batch_axis", batch_axis.to_string());
                push("time_axis", time_axis.to_string());
            }
            IndexOp::Unique { axis, sorted } => {
                if let Some(axis) = axis {
                    push("axis", axis.to_string());
                }
                push("sorted", sorted.to_string());
            }
            IndexOp::GridSample(grid) => {
                push("mode", grid.mode.name().to_owned());
                push("padding", grid.padding.name().to_owned());
                push("align_corners", grid.align_corners.to_string());
            }
            IndexOp::RoiAlign(roi) => {
                push("mode", if roi.max { "max" } else { "mean" }.to_owned());
                push("bins", format!("{:?}", roi.bins));
                push("sampling_ratio", roi.sampling_ratio.to_string());
                push("spatial_scale", super::text::number(roi.spatial_scale));
                push("half_pixel", roi.half_pixel.to_string());
            }
            IndexOp::ReduceBy { op, keep_dims, all } => {
                push("op", op.name().to_owned());
                push("keep_dims", keep_dims.to_string());
                push("all", all.to_string());
            }
            IndexOp::Resample(ResampleAttributes { resize, antialias, crop }) => {
                push("mode", resize.mode.name().to_owned());
                push("coordinates", format!("{:?}", resize.coordinates));
                push("nearest", format!("{:?}", resize.nearest));
                push("cubic", super::text::number(resize.cubic));
                push("exclude_outside", resize.exclude_outside.to_string());
                push("antialias", antialias.to_string());
                if let Some(outside) = crop {
                    push("crop", super::text::number(*outside));
                }
            }
            IndexOp::Col2Im { strides, dilations, pads } => {
                push("strides", format!("{strides:?}"));
                push("dilations", format!("{dilations:?}"));
                push("pads", format!("{pads:?}"));
            }
            IndexOp::MaxPoolIndices { pool, column_major } => {
                push("kernel", format!("{:?}", pool.kernel));
                push("strides", format!("{:?}", pool.strides));
                push("dilations", format!("{:?}", pool.dilations));
                push("pads", format!("{:?}", pool.pads));
                push("ceil", pool.ceil.to_string());
                push("column_major", column_major.to_string());
            }
            IndexOp::MaxUnpool { kernel, strides, pads } => {
                push("kernel", format!("{kernel:?}"));
                push("strides", format!("{strides:?}"));
                push("pads", format!("{pads:?}"));
            }
        }
        list
    }
}
