//! Attributes of Resize.

use fewbit_core::ir::{Graph, Node, ResampleAttributes, ResizeAttributes, Tensor};

use super::{Writer, float, int, ints, malformed, text};
use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::proto::AttributeProto;

pub(super) fn attributes(resize: ResizeAttributes) -> Vec<AttributeProto> {
    sampling(resize, resize.coordinates.name())
}

fn sampling(resize: ResizeAttributes, coordinates: &str) -> Vec<AttributeProto> {
    vec![
        text("mode", resize.mode.name()),
        text("coordinate_transformation_mode", coordinates),
        text("nearest_mode", resize.nearest.name()),
        float("cubic_coeff_a", resize.cubic),
        int("exclude_outside", i64::from(resize.exclude_outside)),
    ]
}

/// The attributes of a resize with more to it; takes out inputs that attributes stand for.
pub(super) fn resample(
    writer: &mut Writer,
    node: &Node,
    resample: &ResampleAttributes,
    inputs: &mut [String],
) -> Result<Vec<AttributeProto>> {
    let mut list = match resample.crop {
        Some(outside) => {
            let mut list = sampling(resample.resize, "tf_crop_and_resize");
            list.push(float("extrapolation_value", outside));
            list
        }
        None => attributes(resample.resize),
    };
    if resample.antialias {
        list.push(int("antialias", 1));
    }
    if node.input(2).is_some() && node.input(3).is_some() {
        let (axes, sizes, policy) = aspect(writer.graph, node).ok_or_else(|| {
            malformed(
                "expected one constant scale of all axes that change and the sizes it gives, found others",
            )
        })?;
        list.push(ints("axes", &axes));
        list.push(text("keep_aspect_ratio_policy", policy));
        let sizes = Tensor::from_slice(&[sizes.len()], &sizes)
            .map_err(|error| OnnxError::core(OnnxErrorKind::Export, error))?;
        inputs[2] = String::new();
        inputs[3] = writer.initializer(&format!("{}_sizes", node.name), &sizes)?;
    }
    Ok(list)
}

/// The axes that change, their sizes, and the policy by which ONNX makes the node's scales and sizes of them.
fn aspect(graph: &Graph, node: &Node) -> Option<(Vec<usize>, Vec<i64>, &'static str)> {
    let extents = graph.value(node.input(0)?).extents()?;
    let scales = graph.value(node.input(2)?).constant.as_ref()?.to_f32_vec();
    let sizes = graph.value(node.input(3)?).constant.as_ref()?.to_i64_vec();
    if scales.len() != extents.len() || sizes.len() != extents.len() {
        return None;
    }
    let changes = |&axis: &usize| scales[axis] != 1.0 || sizes[axis] != extents[axis] as i64;
    let axes: Vec<usize> = (0..extents.len()).filter(changes).collect();
    let scale = axes.first().map_or(1.0, |&axis| scales[axis]);
    let exact =
        |&axis: &usize| scales[axis] == scale && (scale * extents[axis] as f32).round() as i64 == sizes[axis];
    let ratios = || axes.iter().map(|&axis| sizes[axis] as f32 / extents[axis] as f32);
    let policy = if ratios().fold(f32::INFINITY, f32::min) == scale {
        "not_larger"
    } else if ratios().fold(0.0, f32::max) == scale {
        "not_smaller"
    } else {
        return None;
    };
    axes.iter().all(exact).then(|| {
        let sizes = axes.iter().map(|&axis| sizes[axis]).collect();
        (axes, sizes, policy)
    })
}
