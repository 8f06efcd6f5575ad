//! Operators that move codes.

use fewbit_core::ir::{Op, PadMode, Tensor};

use super::{Codes, FORMS};
use crate::build::Builder;
use crate::case::{Case, Compare, Form, Problem, Suite};
use crate::error::Result;
use crate::random::Random;

/// A node over one quantized input and constant integers (shapes, bounds, indices; a number alone is a scalar).
fn moved(
    random: &mut Random,
    form: Form,
    extents: &[usize],
    op: &Op,
    integers: &[&[i64]],
) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = Codes::of(random, form);
    let value = builder.input(random.codes(x.dtype, extents)?, Some(x.params()));
    let mut inputs = vec![Some(value)];
    for values in integers {
        inputs.push(Some(builder.integers(values)?));
    }
    let count = if let Op::Split { sizes, .. } = op { sizes.len() } else { 1 };
    let outputs = builder.node(op.clone(), &inputs, &vec![x.store(); count])?;
    Ok(builder.finish(&outputs, Compare::Declared))
}

fn pad(random: &mut Random, form: Form, mode: PadMode, pads: &[i64], value: Option<f32>) -> Result<Problem> {
    let mut builder = Builder::new();
    let x = Codes::of(random, form);
    let data = builder.input(random.codes(x.dtype, &[1, 3, 5, 6])?, Some(x.params()));
    let pads = builder.integers(pads)?;
    let mut inputs = vec![Some(data), Some(pads)];
    if let Some(value) = value {
        inputs.push(Some(builder.constant(Tensor::scalar(value), None)));
    }
    let outputs = builder.node(Op::Pad { mode }, &inputs, &[x.store()])?;
    Ok(builder.finish(&outputs, Compare::Declared))
}

type Row = (&'static str, &'static str, Vec<usize>, Op, Vec<Vec<i64>>);

fn rows() -> Vec<Row> {
    vec![
        ("Identity", "image", vec![1, 3, 5, 4], Op::Identity, vec![]),
        ("Reshape", "flat", vec![2, 3, 4, 5], Op::Reshape { allow_zero: false }, vec![vec![2, 60]]),
        ("Reshape", "inferred", vec![2, 12, 5], Op::Reshape { allow_zero: false }, vec![vec![0, -1, 10]]),
        ("Flatten", "channels", vec![2, 3, 4, 5], Op::Flatten { axis: 1 }, vec![]),
        ("Transpose", "nhwc", vec![1, 3, 5, 4], Op::Transpose { perm: vec![0, 2, 3, 1] }, vec![]),
        ("Transpose", "nchw", vec![1, 5, 4, 3], Op::Transpose { perm: vec![0, 3, 1, 2] }, vec![]),
        ("Transpose", "matrix", vec![7, 19], Op::Transpose { perm: vec![1, 0] }, vec![]),
        ("Transpose", "heads", vec![2, 5, 3, 4], Op::Transpose { perm: vec![0, 2, 1, 3] }, vec![]),
        ("Squeeze", "last", vec![2, 12, 1, 1], Op::Squeeze { axes: vec![2, 3] }, vec![]),
        ("Unsqueeze", "last", vec![2, 12], Op::Unsqueeze { axes: vec![2, 3] }, vec![]),
        ("Split", "channels", vec![1, 9, 4, 3], Op::Split { axis: 1, sizes: vec![2, 7] }, vec![]),
        ("Split", "last", vec![3, 10], Op::Split { axis: 1, sizes: vec![5, 1, 4] }, vec![]),
        ("Slice", "channels", vec![1, 9, 4, 3], Op::Slice, vec![vec![2], vec![7], vec![1], vec![1]]),
        (
            "Slice",
            "steps",
            vec![2, 11, 8],
            Op::Slice,
            vec![vec![1, -1], vec![10, 0], vec![1, 2], vec![3, -2]],
        ),
        ("Gather", "rows", vec![9, 8], Op::Gather { axis: 0 }, vec![vec![3, 0, -1, 3]]),
        ("Gather", "channels", vec![2, 6, 5], Op::Gather { axis: 1 }, vec![vec![5, 2]]),
        ("Expand", "rows", vec![1, 40], Op::Expand, vec![vec![3, 40]]),
        ("Tile", "image", vec![1, 2, 3, 4], Op::Tile, vec![vec![1, 2, 1, 2]]),
        ("DepthToSpace", "dcr", vec![1, 12, 3, 4], Op::DepthToSpace { block: 2, crd: false }, vec![]),
        ("DepthToSpace", "crd", vec![1, 12, 3, 4], Op::DepthToSpace { block: 2, crd: true }, vec![]),
        ("SpaceToDepth", "b2", vec![1, 3, 4, 6], Op::SpaceToDepth { block: 2 }, vec![]),
    ]
}

/// All cases of these operators.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for form in FORMS {
        for (operator, variant, extents, op, integers) in rows() {
            let id = format!("op_int/{}/{variant}/{form}/seed1", operator.to_lowercase());
            cases.push(Case::program(id, Suite::OpInt, operator, Some(form), move |random| {
                let integers: Vec<&[i64]> = integers.iter().map(Vec::as_slice).collect();
                moved(random, form, &extents, &op, &integers)
            }));
        }
        let pads: [(&str, PadMode, [i64; 8], Option<f32>); 4] = [
            ("zero", PadMode::Constant, [0, 0, 1, 2, 0, 0, 2, 1], None),
            ("value", PadMode::Constant, [0, 1, 0, 2, 0, 0, 1, 0], Some(0.3)),
            ("reflect", PadMode::Reflect, [0, 0, 1, 2, 0, 0, 2, 1], None),
            ("edge", PadMode::Edge, [0, 0, 1, 2, 0, 0, 2, 1], None),
        ];
        for (variant, mode, amounts, value) in pads {
            let id = format!("op_int/pad/{variant}/{form}/seed1");
            cases.push(Case::program(id, Suite::OpInt, "Pad", Some(form), move |random| {
                pad(random, form, mode, &amounts, value)
            }));
        }
    }
    cases
}
