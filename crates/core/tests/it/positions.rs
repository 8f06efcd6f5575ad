//! Operators on positions: what they refuse, and what they do to quantized values. That they compute what ONNX Runtime
//! computes is tested where models are imported.

use fewbit_core::CoreErrorKind;
use fewbit_core::infer::infer;
use fewbit_core::ir::{
    Activation, BinaryOp, DType, Dim, Graph, GridAttributes, GridPadding, IndexOp, Op, ResizeMode,
    RoiAttributes, ScatterReduction, Shape, Tensor,
};
use fewbit_core::quant::QuantParams;

use crate::support::{Single, codes, count_up, floats, list};

fn on(op: IndexOp) -> Single {
    Single::new(Op::Index(op))
}

#[track_caller]
fn refused(single: &Single, kind: CoreErrorKind, says: &str) {
    let error = single.try_all().expect_err("the node is refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.place(), Some("node"));
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn indices_out_of_range_are_told() {
    let x = count_up(&[2, 3]);
    let at = |extents: &[usize], values: &[i64]| Tensor::from_slice(extents, values).unwrap();
    for index in [3, -4, i64::MIN, i64::MAX] {
        let gather = on(IndexOp::GatherElements { axis: 1 }).input(x.clone()).input(at(&[1, 1], &[index]));
        refused(&gather, CoreErrorKind::Tensor, "expected indices from -3 to below 3");
        let gather = on(IndexOp::GatherNd { batch_dims: 0 }).input(x.clone()).input(at(&[1, 2], &[0, index]));
        refused(&gather, CoreErrorKind::Tensor, "expected indices from -3 to below 3");
        let scatter = on(IndexOp::ScatterElements { axis: 1, reduction: ScatterReduction::Add })
            .input(x.clone())
            .input(at(&[1, 1], &[index]))
            .input(floats(&[1, 1], &[1.0]));
        refused(&scatter, CoreErrorKind::Tensor, "expected indices from -3 to below 3");
    }
}

#[test]
fn shapes_that_do_not_fit_are_told() {
    let x = count_up(&[2, 3]);
    let at = |extents: &[usize]| Tensor::zeros(DType::I64, extents).unwrap();
    let elements =
        |axis, indices: Tensor| on(IndexOp::GatherElements { axis }).input(x.clone()).input(indices);
    refused(&elements(2, at(&[2, 3])), CoreErrorKind::Shape, "axis");
    refused(&elements(0, at(&[2, 4])), CoreErrorKind::Shape, "expected indices no larger than [2, 3]");
    refused(&elements(0, at(&[2])), CoreErrorKind::Shape, "expected indices no larger than [2, 3]");
    refused(&elements(0, count_up(&[2, 3])), CoreErrorKind::Shape, "i32 or i64");
    let nd = |batch_dims, indices| on(IndexOp::GatherNd { batch_dims }).input(x.clone()).input(indices);
    refused(&nd(0, at(&[4, 3])), CoreErrorKind::Shape, "at most 2 indices");
    refused(&nd(1, at(&[3, 1])), CoreErrorKind::Shape, "equal axes in front");
    refused(&nd(usize::MAX, at(&[3, 1])), CoreErrorKind::Shape, "which both inputs share");
    refused(&nd(0, Tensor::scalar(1i64)), CoreErrorKind::Shape, "found a scalar");
    let scatter = |updates| {
        on(IndexOp::ScatterNd { reduction: ScatterReduction::None })
            .input(x.clone())
            .input(at(&[4, 1]))
            .input(updates)
    };
    refused(&scatter(count_up(&[4, 2])), CoreErrorKind::Shape, "expected updates of shape [4, 3]");
    refused(&scatter(at(&[4, 3])), CoreErrorKind::Shape, "one element type");
    let top =
        |k: i64| on(IndexOp::TopK { axis: 1, largest: true }).outputs(2).input(x.clone()).input(list(&[k]));
    refused(&top(4), CoreErrorKind::Shape, "expected at most 3 elements");
    refused(&top(-1), CoreErrorKind::Shape, "not negative");
    let hot = |depth: Tensor| {
        on(IndexOp::OneHot { axis: 1 }).input(list(&[1])).input(depth).input(floats(&[2], &[0.0, 1.0]))
    };
    refused(&hot(list(&[0])), CoreErrorKind::Shape, "a depth (0)");
    refused(&hot(list(&[i64::MAX])), CoreErrorKind::Tensor, "at most");
    refused(&hot(list(&[1, 2])), CoreErrorKind::Shape, "expected one number");
    let sum = |axis: i64| {
        on(IndexOp::CumSum { exclusive: false, reverse: false }).input(x.clone()).input(list(&[axis]))
    };
    refused(&sum(-3), CoreErrorKind::Shape, "expected an axis from -2");
    let reverse = |lengths: &[i64]| {
        on(IndexOp::ReverseSequence { batch_axis: 0, time_axis: 1 }).input(x.clone()).input(list(lengths))
    };
    refused(&reverse(&[1, 4]), CoreErrorKind::Tensor, "expected lengths from 0 to 3, found 4");
    refused(&reverse(&[1, 2, 3]), CoreErrorKind::Shape, "expected one length");
    let boxes = |overlap: f32| {
        on(IndexOp::NonMaxSuppression { center: false })
            .input(count_up(&[1, 2, 4]))
            .input(count_up(&[1, 1, 2]))
            .input(list(&[1]))
            .input(floats(&[1], &[overlap]))
    };
    refused(&boxes(1.5), CoreErrorKind::Shape, "an overlap from 0 to 1");
    let few = on(IndexOp::NonMaxSuppression { center: false })
        .input(count_up(&[1, 2, 4]))
        .input(count_up(&[1, 1, 3]));
    refused(&few, CoreErrorKind::Shape, "expected boxes [batch, boxes, 4]");
    let shift = |op, x: Tensor| {
        Single::new(Op::Binary { op, activation: Activation::None }).input(x.clone()).input(x)
    };
    refused(&shift(BinaryOp::ShiftLeft, floats(&[1], &[1.0])), CoreErrorKind::Shape, "expected integers");
    refused(&shift(BinaryOp::BitXor, floats(&[1], &[1.0])), CoreErrorKind::Shape, "expected integers");
}

#[test]
fn empty_tensors_stay_empty() {
    let none = Tensor::zeros(DType::F32, &[0, 3]).unwrap();
    let no_indices = Tensor::zeros(DType::I64, &[0, 3]).unwrap();
    assert_eq!(on(IndexOp::NonZero).input(none.clone()).run().extents(), [2, 0]);
    assert_eq!(
        on(IndexOp::GatherElements { axis: 0 }).input(none.clone()).input(no_indices).run().extents(),
        [0, 3]
    );
    assert_eq!(on(IndexOp::Trilu { upper: true }).input(none.clone()).run().extents(), [0, 3]);
    let top = on(IndexOp::TopK { axis: 1, largest: true })
        .outputs(2)
        .input(none)
        .input(list(&[2]))
        .try_all()
        .unwrap();
    assert_eq!((top[0].extents(), top[1].extents()), (&[0, 2][..], &[0, 2][..]));
}

#[test]
fn what_moves_elements_keeps_codes_and_parameters() {
    let quant = QuantParams::per_tensor(0.25, 10);
    let x = codes(DType::U8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
    let moved = |op: IndexOp, with: Tensor| {
        assert!(Op::Index(op.clone()).moves_elements());
        on(op)
            .quantized(x.clone(), quant.clone())
            .input(with)
            .output(DType::U8, Some(quant.clone()))
            .run()
            .to_i64_vec()
    };
    assert_eq!(
        moved(IndexOp::GatherNd { batch_dims: 0 }, Tensor::from_slice(&[1, 1], &[-1i64]).unwrap()),
        [4, 5, 6]
    );
    let indices = Tensor::from_slice(&[1, 3], &[1i64, 0, 1]).unwrap();
    assert_eq!(moved(IndexOp::GatherElements { axis: 0 }, indices), [4, 2, 6]);
    assert_eq!(
        moved(IndexOp::ReverseSequence { batch_axis: 0, time_axis: 1 }, list(&[3, 2])),
        [3, 2, 1, 5, 4, 6]
    );
    let condition = Tensor::from_bools(&[2], &[false, true]).unwrap();
    assert_eq!(moved(IndexOp::Compress { axis: Some(0) }, condition), [4, 5, 6]);
    // Zeros are no elements of the input: in codes they are the zero point.
    let cut =
        on(IndexOp::Trilu { upper: true }).quantized(x, quant.clone()).output(DType::U8, Some(quant)).run();
    assert_eq!(cut.to_i64_vec(), [1, 2, 3, 10, 5, 6]);
}

#[test]
fn extents_that_data_decides_are_symbols_until_it_is_known() {
    let mut graph = Graph::new("found");
    let x = graph.add_input("x", DType::F32, Shape::fixed(&[2, 2]));
    let found = graph.add_op("found", Op::Index(IndexOp::NonZero), &[x]);
    let constant = graph.add_constant("c", floats(&[3], &[0.0, 1.0, 2.0]));
    let known = graph.add_op("known", Op::Index(IndexOp::NonZero), &[constant]);
    graph.outputs = vec![found, known];
    infer(&mut graph).unwrap();
    let dims = graph.value(found).shape.as_ref().unwrap().dims().to_vec();
    assert_eq!((dims[0].clone(), dims[1].fixed()), (Dim::Fixed(2), None));
    assert_eq!(graph.value(known).extents(), Some(vec![1, 2]));
}

#[test]
fn unpooling_counts_places_in_the_shape_the_window_implies() {
    // ONNX's node test maxunpool_export_with_output_shape.
    let unpool = |indices: &[i64], shape: &[i64]| {
        on(IndexOp::MaxUnpool { kernel: vec![2, 2], strides: vec![2, 2], pads: vec![0; 4] })
            .input(floats(&[1, 1, 2, 2], &[5.0, 6.0, 7.0, 8.0]))
            .input(Tensor::from_slice(&[1, 1, 2, 2], indices).unwrap())
            .input(list(shape))
    };
    let y = unpool(&[5, 7, 13, 15], &[1, 1, 5, 5]).run();
    let mut expected = vec![0.0; 25];
    for (place, value) in [(6, 5.0), (8, 6.0), (16, 7.0), (18, 8.0)] {
        expected[place] = value;
    }
    assert_eq!(y, floats(&[1, 1, 5, 5], &expected));
    refused(&unpool(&[5, 7, 13, 16], &[1, 1, 4, 4]), CoreErrorKind::Tensor, "from 0 to below 16");
    refused(&unpool(&[5, 7, 13, 15], &[1, 1, 4, 3]), CoreErrorKind::Shape, "at least [1, 1, 4, 4]");
}

#[test]
fn sampling_refuses_what_does_not_fit() {
    let grid = |x: Tensor, grid: Tensor| {
        on(IndexOp::GridSample(GridAttributes {
            mode: ResizeMode::Linear,
            padding: GridPadding::Reflection,
            align_corners: true,
        }))
        .input(x)
        .input(grid)
    };
    let image = count_up(&[1, 1, 1, 1]);
    refused(
        &grid(image.clone(), count_up(&[1, 2, 2, 3])),
        CoreErrorKind::Shape,
        "one number per spatial axis",
    );
    refused(&grid(count_up(&[1, 1, 0, 2]), count_up(&[1, 2, 2, 2])), CoreErrorKind::Shape, "with samples");
    // One sample mirrors onto itself, wherever it is looked for.
    let far = floats(&[1, 1, 2, 2], &[9.0, f32::MAX, f32::NEG_INFINITY, 0.0]);
    assert_eq!(grid(image, far).run().extents(), [1, 1, 1, 2]);
    let roi = |regions: Tensor, batch: i64| {
        on(IndexOp::RoiAlign(RoiAttributes {
            max: false,
            bins: [2, 2],
            sampling_ratio: 0,
            spatial_scale: 1.0,
            half_pixel: true,
        }))
        .input(count_up(&[1, 1, 4, 4]))
        .input(regions)
        .input(list(&[batch]))
    };
    refused(&roi(count_up(&[1, 4]), 1), CoreErrorKind::Tensor, "expected batch indices");
    refused(&roi(count_up(&[1, 4]), -1), CoreErrorKind::Tensor, "expected batch indices");
    refused(&roi(floats(&[1, 4], &[0.0, 0.0, 1e9, 1.0]), 0), CoreErrorKind::Tensor, "samples along a bin");
    refused(&roi(count_up(&[1, 5]), 0), CoreErrorKind::Shape, "expected regions [count, 4]");
    let columns = |x: Tensor, image: &[i64], block: &[i64]| {
        let [strides, dilations] = [vec![1; 2], vec![1; 2]];
        on(IndexOp::Col2Im { strides, dilations, pads: vec![0; 4] })
            .input(x)
            .input(list(image))
            .input(list(block))
    };
    refused(&columns(count_up(&[1, 4, 9]), &[3, 3], &[2, 2]), CoreErrorKind::Shape, "a multiple of 4, 4");
    refused(
        &columns(count_up(&[1, 4, 4]), &[3, -3], &[2, 2]),
        CoreErrorKind::Shape,
        "expected an image and a block",
    );
    refused(&columns(count_up(&[1, 4, 4]), &[1, 1], &[2, 2]), CoreErrorKind::Shape, "number of blocks");
}
