//! Operators on positions: gathers and scatters by element, ordering, suppression.

use fewbit_core::ir::{
    GridAttributes, GridPadding, IndexOp, Op, ResizeMode, RoiAttributes, ScatterReduction, Tensor,
};

use super::{Site, from_front};
use crate::error::Result;

impl Site<'_, '_> {
    pub(super) fn scatter_elements(&self) -> Result<Op> {
        let (axis, reduction) = (self.own_axis(0)?, self.scatter_reduction()?);
        Ok(Op::Index(IndexOp::ScatterElements { axis, reduction }))
    }

    /// The axis is one of the output, which has one more than the indices.
    pub(super) fn one_hot(&self) -> Result<IndexOp> {
        let axis = self.attributes.int("axis", -1);
        let rank = self.importer.rank(self.input(0))? + 1;
        Ok(IndexOp::OneHot { axis: from_front(axis, rank).ok_or_else(|| self.bad_axis(rank))? })
    }

    pub(super) fn cum_sum(&self) -> Op {
        let a = self.attributes;
        let (exclusive, reverse) = (a.flag("exclusive", false), a.flag("reverse", false));
        Op::Index(IndexOp::CumSum { exclusive, reverse })
    }

    pub(super) fn top_k(&mut self) -> Result<IndexOp> {
        let a = self.attributes;
        if a.has("k") {
            self.inputs.truncate(1);
            self.push_ints("k", &[a.int("k", 0)])?;
        }
        Ok(IndexOp::TopK { axis: self.own_axis(-1)?, largest: a.flag("largest", true) })
    }

    pub(super) fn suppression(&mut self) -> Result<IndexOp> {
        self.drop_empty();
        match self.attributes.int("center_point_box", 0) {
            0 => Ok(IndexOp::NonMaxSuppression { center: false }),
            1 => Ok(IndexOp::NonMaxSuppression { center: true }),
            other => Err(self.attributes.fail(format!("expects center_point_box 0 or 1, found {other}"))),
        }
    }

    /// An axis that may be absent.
    fn optional_axis(&self) -> Result<Option<usize>> {
        if self.attributes.has("axis") { self.own_axis(0).map(Some) } else { Ok(None) }
    }

    pub(super) fn compress(&self) -> Result<IndexOp> {
        Ok(IndexOp::Compress { axis: self.optional_axis()? })
    }

    pub(super) fn unique(&self) -> Result<IndexOp> {
        Ok(IndexOp::Unique { axis: self.optional_axis()?, sorted: self.attributes.flag("sorted", true) })
    }

    pub(super) fn reverse_sequence(&self) -> Result<IndexOp> {
        let a = self.attributes;
        let axis = |name: &str, default: i64| match a.int(name, default) {
            0 => Ok(0),
            1 => Ok(1),
            other => Err(a.fail(format!("expects {name} 0 or 1, found {other}"))),
        };
        let (batch_axis, time_axis) = (axis("batch_axis", 1)?, axis("time_axis", 0)?);
        Ok(IndexOp::ReverseSequence { batch_axis, time_axis })
    }

    /// One extent of the block per axis.
    pub(super) fn col2im(&self) -> Result<IndexOp> {
        let a = self.attributes;
        let extents = self.input(2).and_then(|block| self.importer.graph.value(block).extents());
        let rank = extents.map_or(2, |extents| extents.iter().product());
        Ok(IndexOp::Col2Im {
            strides: a.extents("strides", rank, 1, 1)?,
            dilations: a.extents("dilations", rank, 1, 1)?,
            pads: a.extents("pads", 2 * rank, 0, 0)?,
        })
    }

    pub(super) fn max_unpool(&self) -> Result<IndexOp> {
        let window = self.own_window()?;
        Ok(IndexOp::MaxUnpool { kernel: window.kernel, strides: window.strides, pads: window.pads })
    }

    /// An attribute that counts something, 0 where absent.
    pub(super) fn count(&self, name: &str) -> Result<usize> {
        usize::try_from(self.attributes.int(name, 0))
            .map_err(|_| self.attributes.fail(format!("expects {name} of 0 or more")))
    }

    pub(super) fn grid_sample(&self) -> Result<IndexOp> {
        let a = self.attributes;
        Ok(IndexOp::GridSample(GridAttributes {
            // Set 20 gave two modes new names.
            mode: match a.text("mode", "linear") {
                "bilinear" => ResizeMode::Linear,
                "bicubic" => ResizeMode::Cubic,
                name => ResizeMode::named(name)
                    .ok_or_else(|| a.fail(format!("expects a known mode, found `{name}`")))?,
            },
            padding: {
                let name = a.text("padding_mode", "zeros");
                GridPadding::named(name)
                    .ok_or_else(|| a.fail(format!("expects a known padding, found `{name}`")))?
            },
            align_corners: a.flag("align_corners", false),
        }))
    }

    pub(super) fn roi_align(&self) -> Result<IndexOp> {
        let a = self.attributes;
        let extent = |name: &str| {
            usize::try_from(a.int(name, 1))
                .ok()
                .filter(|&extent| extent > 0)
                .ok_or_else(|| a.fail(format!("expects {name} of at least 1")))
        };
        // Before set 16 there was one way to read coordinates.
        let mode = if self.importer.opset < 16 { "output_half_pixel" } else { "half_pixel" };
        Ok(IndexOp::RoiAlign(RoiAttributes {
            max: match a.text("mode", "avg") {
                "avg" => false,
                "max" => true,
                other => return Err(a.fail(format!("expects mode avg or max, found `{other}`"))),
            },
            bins: [extent("output_height")?, extent("output_width")?],
            sampling_ratio: self.count("sampling_ratio")?,
            spatial_scale: a.float("spatial_scale", 1.0),
            half_pixel: match a.text("coordinate_transformation_mode", mode) {
                "half_pixel" => true,
                "output_half_pixel" => false,
                other => return Err(a.fail(format!("expects known coordinates, found `{other}`"))),
            },
        }))
    }

    pub(super) fn scatter_reduction(&self) -> Result<ScatterReduction> {
        let name = self.attributes.text("reduction", "none");
        ScatterReduction::named(name)
            .ok_or_else(|| self.attributes.fail(format!("expects a known reduction, found `{name}`")))
    }

    /// Some exporters give empty tensors for optional numbers they leave out.
    fn drop_empty(&mut self) {
        for index in 2..self.inputs.len() {
            if self.constant(index).is_some_and(|tensor: &Tensor| tensor.elements() == 0) {
                self.inputs[index] = None;
            }
        }
    }
}
