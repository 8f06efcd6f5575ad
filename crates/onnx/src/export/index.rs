//! Attributes of operators on positions.

use fewbit_core::ir::IndexOp;

use super::{int, text};
use crate::proto::AttributeProto;

pub(super) fn attributes(op: &IndexOp) -> Vec<AttributeProto> {
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
        // An operator without attributes.
        _ => vec![],
    }
}
