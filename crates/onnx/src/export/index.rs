//! Attributes of operators on positions.

use fewbit_core::ir::{IndexOp, ResizeMode};

use super::operators::pool_attributes;
use super::{float, int, ints, text};
use crate::proto::AttributeProto;

pub(super) fn attributes(op: &IndexOp, opset: i64) -> Vec<AttributeProto> {
    let axis = |axis: usize| int("axis", axis as i64);
    match op {
        IndexOp::GatherElements { axis: at } | IndexOp::OneHot { axis: at } => vec![axis(*at)],
        IndexOp::GatherNd { batch_dims } => vec![int("batch_dims", *batch_dims as i64)],
        IndexOp::ScatterElements { axis: at, reduction } => {
            vec![axis(*at), text("reduction", reduction.name())]
        }
        IndexOp::ScatterNd { reduction } => vec![text("reduction", reduction.name())],
        IndexOp::CumSum { exclusive, reverse } => {
            vec![int("exclusive", i64::from(*exclusive)), int("reverse", i64::from(*reverse))]
        }
        IndexOp::TopK { axis: at, largest } => vec![axis(*at), int("largest", i64::from(*largest))],
        IndexOp::NonMaxSuppression { center } => vec![int("center_point_box", i64::from(*center))],
        IndexOp::Compress { axis: at } => at.iter().map(|&at| axis(at)).collect(),
        IndexOp::Trilu { upper } => vec![int("upper", i64::from(*upper))],
        IndexOp::ReverseSequence { batch_axis, time_axis } => {
            vec![int("batch_axis", *batch_axis as i64), int("time_axis", *time_axis as i64)]
        }
        IndexOp::Unique { axis: at, sorted } => {
            let mut attributes = vec![int("sorted", i64::from(*sorted))];
            attributes.extend(at.iter().map(|&at| axis(at)));
            attributes
        }
        IndexOp::GridSample(grid) => {
            // Set 20 gave the modes new names, and images more axes.
            let mode = match (grid.mode, opset) {
                (ResizeMode::Linear, ..20) => "bilinear",
                (ResizeMode::Cubic, ..20) => "bicubic",
                (mode, _) => mode.name(),
            };
            vec![
                text("mode", mode),
                text("padding_mode", grid.padding.name()),
                int("align_corners", i64::from(grid.align_corners)),
            ]
        }
        IndexOp::RoiAlign(roi) => vec![
            text("mode", if roi.max { "max" } else { "avg" }),
            int("output_height", roi.bins[0] as i64),
            int("output_width", roi.bins[1] as i64),
            int("sampling_ratio", roi.sampling_ratio as i64),
            float("spatial_scale", roi.spatial_scale),
            text(
                "coordinate_transformation_mode",
                if roi.half_pixel { "half_pixel" } else { "output_half_pixel" },
            ),
        ],
        IndexOp::Col2Im { strides, dilations, pads } => {
            vec![ints("strides", strides), ints("dilations", dilations), ints("pads", pads)]
        }
        IndexOp::MaxPoolIndices { pool, column_major } => {
            let mut attributes = pool_attributes(pool);
            attributes.push(int("storage_order", i64::from(*column_major)));
            attributes
        }
        IndexOp::MaxUnpool { kernel, strides, pads } => {
            vec![ints("kernel_shape", kernel), ints("strides", strides), ints("pads", pads)]
        }
        IndexOp::ReduceBy { keep_dims, all, .. } => {
            vec![int("keepdims", i64::from(*keep_dims)), int("noop_with_empty_axes", i64::from(!all))]
        }
        // An operator without attributes.
        _ => vec![],
    }
}
