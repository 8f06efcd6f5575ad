"""Single operators, each as a model with inputs and the outputs that ONNX Runtime gives.

    python operator_cases.py FAMILY FOLDER

Writes NAME.onnx, NAME.in0.npy, …, NAME.out0.npy, … for every case of a family, and the cases' names, inputs and outputs
to FOLDER/cases.txt: one line `NAME INPUTS OUTPUTS` each. A case that ONNX Runtime refuses is an error: the list holds
what it has kernels for.

    python operator_cases.py --again FOLDER

Checks NAME.again.onnx, runs it on the same inputs, and compares with the outputs written before.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(7)
f32, i64, i32, u8 = np.float32, np.int64, np.int32, np.uint8


def floats(*shape):
    return random.normal(size=shape).astype(f32)


def ints(low, high, *shape):
    return random.integers(low, high, size=shape).astype(i64)


def list64(*values):
    return np.array(values, dtype=i64)


def case(op, inputs, opset=17, outputs=1, constants=(), name="", domain="", **attributes):
    """A model of one operator. Inputs are arrays (None: absent); those at `constants` become initializers."""
    names = ["" if array is None else f"x{at}" for at, array in enumerate(inputs)]
    node = helper.make_node(
        op, names, [f"y{at}" for at in range(outputs)], name="node", domain=domain, **attributes
    )
    given = [(names[at], a) for at, a in enumerate(inputs) if a is not None and at not in constants]
    graph = helper.make_graph(
        [node],
        "case",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given],
        [helper.make_tensor_value_info(f"y{at}", TensorProto.UNDEFINED, None) for at in range(outputs)],
        [numpy_helper.from_array(inputs[at], names[at]) for at in constants],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=min(10, 8 if opset < 19 else 9 if opset < 21 else 10)
    )
    label = f"{op}{opset}{'-' if name else ''}{name}"
    return label, model, [a for _, a in given]


def index_cases():
    x = floats(3, 4, 5)
    yield case("GatherElements", [x, ints(-3, 3, 2, 4, 5)], 11, axis=0)
    yield case("GatherElements", [x, ints(-5, 5, 3, 4, 7).astype(i32)], 13, axis=-1)
    yield case("GatherElements", [x.astype(i64), ints(0, 4, 3, 2, 5)], 13, axis=1, name="i64")
    yield case("GatherND", [x, np.array([[0, 1], [2, -1]], i64)], 11)
    yield case("GatherND", [x, np.array([[[0, 1, 2]], [[2, -1, -5]]], i64)], 13, name="elements")
    yield case("GatherND", [x, np.array([[[1]], [[0]], [[3]]], i64)], 12, batch_dims=1)
    yield case("Scatter", [x, ints(0, 3, 2, 4, 5), floats(2, 4, 5)], 9, axis=0)
    yield case("ScatterElements", [x, np.array([[[0], [2]]], i64), floats(1, 2, 1)], 11, axis=2)
    y = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]], f32)
    at, updates = np.array([[1, 1, -2]], i64), np.array([[1.5, 2.5, -3.0]], f32)
    for reduction, opset in [("none", 16), ("add", 16), ("mul", 16), ("max", 18), ("min", 18)]:
        # Of several updates of one place the order is open without a reduction.
        places = np.array([[1, 0, -2]], i64) if reduction == "none" else at
        yield case("ScatterElements", [y, places, updates], opset, axis=1, reduction=reduction, name=reduction)
        tuples = np.array([[[0, 1], [2, 3]]] if reduction == "none" else [[[0, 1], [0, 1]]], i64)
        yield case("ScatterND", [x, tuples, floats(1, 2, 5)], opset, reduction=reduction, name=reduction)
    yield case("ScatterND", [x.astype(i64), np.array([[1], [-1]], i64), ints(-9, 9, 2, 4, 5)], 13)
    yield case("ScatterND", [x, np.array([[0, 0, 0], [1, 1, 1]], i64), floats(2)], 11)
    for axis in [-1, 0, 1]:
        yield case("OneHot", [ints(-4, 4, 2, 3), list64(4), floats(2)], 11, axis=axis, name=f"axis{axis}")
    yield case("OneHot", [ints(-9, 9, 2, 3), list64(4), list64(-1, 7)], 11, constants=[1], name="outside")
    yield case("OneHot", [floats(2, 3) * 0 + 2, np.array(4, f32), floats(2)], 9, constants=[1], name="floats")
    for exclusive in [0, 1]:
        for reverse in [0, 1]:
            yield case(
                "CumSum", [x, np.array(-2, i64)], 14, constants=[1], exclusive=exclusive, reverse=reverse,
                name=f"{exclusive}{reverse}",
            )
    yield case("CumSum", [ints(-5, 5, 6), np.array(0, i32)], 11, name="computed-axis")
    tied = random.integers(-3, 3, size=(3, 7)).astype(f32)
    yield case("TopK", [tied, list64(3)], 10, 2, constants=[1])
    yield case("TopK", [tied, list64(4)], 11, 2, constants=[1], largest=0, axis=-1, name="smallest")
    yield case("TopK", [tied, list64(2)], 11, 2, constants=[1], largest=1, axis=0, name="axis0")
    yield case("TopK", [ints(-3, 3, 8), list64(8)], 11, 2, constants=[1], name="i64")
    yield case("TopK", [floats(2, 9), list64(5)], 11, 2, name="computed-k")
    yield case("TopK", [floats(2, 9)], 9, 2, k=4, axis=1)
    for batches, classes, count, center in [(1, 1, 40, 0), (2, 3, 30, 0), (1, 2, 25, 1)]:
        middle, size = random.uniform(0, 1, (batches, count, 2)), random.uniform(0.05, 0.4, (batches, count, 2))
        boxes = np.concatenate([middle, size] if center else [middle - size / 2, middle + size / 2], 2).astype(f32)
        if not center:
            boxes[:, ::3] = boxes[:, ::3][:, :, [2, 3, 0, 1]]
        scores = random.uniform(0, 1, (batches, classes, count)).astype(f32)
        scores[:, :, 1] = scores[:, :, 0]
        limits = [list64(10), np.array([0.3], f32), np.array([0.2], f32)]
        yield case(
            "NonMaxSuppression", [boxes, scores, *limits], 11, center_point_box=center, name=f"{batches}{classes}{center}"
        )
        yield case("NonMaxSuppression", [boxes, scores, limits[0], limits[1]], 10, center_point_box=center, name=f"open{batches}{center}")
        yield case("NonMaxSuppression", [boxes, scores], 11, center_point_box=center, name=f"none{batches}{center}")
    holes = floats(3, 4) * (random.uniform(size=(3, 4)) > 0.5)
    yield case("NonZero", [holes.astype(f32)], 9)
    yield case("NonZero", [holes != 0], 13, name="bool")
    yield case("NonZero", [np.zeros((2, 2), f32)], 13, name="nothing")
    yield case("Compress", [x, np.array([True, False, True])], 9, axis=0)
    yield case("Compress", [x, np.array([False, True])], 11, axis=-1)
    yield case("Compress", [x, random.uniform(size=11) > 0.5], 11, name="flat")
    for upper in [0, 1]:
        for k in [-2, 0, 1, 9]:
            yield case("Trilu", [x, np.array(k, i64)], 14, upper=upper, name=f"{upper}{k}")
    yield case("Trilu", [x.astype(i64)], 14, name="i64")
    yield case("ReverseSequence", [x, list64(1, 3, 0, 2)], 10)
    yield case("ReverseSequence", [x, list64(4, 0, 3)], 10, batch_axis=0, time_axis=1, name="batch0")


def composed_cases():
    a, b, c = floats(3, 4), floats(4), floats(3, 1)
    for op in ["Min", "Max", "Sum", "Mean"]:
        for inputs in [[a], [a, b], [a, b, c]]:
            yield case(op, inputs, 8 if op in ["Min", "Max", "Sum"] else 13, name=str(len(inputs)))
    yield case("Max", [ints(-9, 9, 3, 4), ints(-9, 9, 4), ints(-9, 9, 1)], 13, name="i64")
    odd = np.array([1.0, np.nan, np.inf, -np.inf, -0.0], f32)
    yield case("IsNaN", [odd], 13)
    for negative, positive in [(1, 1), (0, 1), (1, 0), (0, 0)]:
        yield case("IsInf", [odd], 10, detect_negative=negative, detect_positive=positive, name=f"{negative}{positive}")
    yield case("Mod", [a * 5, b * 2], 13, fmod=1)
    yield case("Mod", [ints(-20, 20, 3, 4), np.array([3, -3, 7, -7], i64)], 13, fmod=1, name="integers")
    yield case("Mod", [ints(-20, 20, 3, 4), np.array([3, -3, 7, -7], i64)], 10, name="floored")
    m, n = random.integers(0, 256, (3, 4)).astype(u8), random.integers(0, 8, (4,)).astype(u8)
    yield case("BitShift", [m, n], 11, direction="LEFT", name="left")
    yield case("BitShift", [m, n], 11, direction="RIGHT", name="right")
    yield case("BitShift", [m.astype(np.uint64), n.astype(np.uint64)], 11, direction="LEFT", name="u64")
    for op in ["BitwiseAnd", "BitwiseOr", "BitwiseXor"]:
        yield case(op, [m, n], 18)
        yield case(op, [ints(-99, 99, 3, 4).astype(i32), ints(-99, 99, 4).astype(i32)], 18, name="i32")
    for dtype in [u8, np.int8, np.uint16, i32, i64, np.uint64]:
        yield case("BitwiseNot", [random.integers(0, 99, 5).astype(dtype)], 18, name=np.dtype(dtype).name)
    for k in [-1, 0, 2]:
        yield case("EyeLike", [a], 9, k=k, name=str(k))
    yield case("EyeLike", [a.astype(i32)], 9, dtype=TensorProto.DOUBLE, name="f64")
    tied = random.integers(-3, 3, size=(3, 4, 5)).astype(f32)
    yield case("Hardmax", [tied], 13)
    yield case("Hardmax", [tied], 13, axis=1, name="axis1")
    yield case("Hardmax", [tied], 11, axis=1)
    yield case("Size", [a], 13)


def sampling_cases():
    image = floats(2, 3, 5, 6)
    # Some places lie outside, some far.
    grid = random.uniform(-1.4, 1.4, (2, 4, 7, 2)).astype(f32)
    grid[0, 0, 0] = [-3.7, 4.2]
    for old, new in [("bilinear", "linear"), ("nearest", "nearest"), ("bicubic", "cubic")]:
        for padding in ["zeros", "border", "reflection"]:
            for corners in [0, 1]:
                label = f"{new}-{padding}-{corners}"
                yield case("GridSample", [image, grid], 16, mode=old, padding_mode=padding, align_corners=corners, name=label)
                yield case("GridSample", [image, grid], 20, mode=new, padding_mode=padding, align_corners=corners, name=label)
                if new != "cubic":
                    yield case(
                        "GridSample",
                        [floats(1, 2, 3, 4, 5), random.uniform(-1.4, 1.4, (1, 2, 3, 4, 3)).astype(f32)],
                        20, mode=new, padding_mode=padding, align_corners=corners, name=f"3d-{label}",
                    )
    regions = np.array([[0, 0, 9.5, 9], [2.2, 1, 4, 6.7], [-3, -2, 30, 40], [5, 5, 5.2, 5.1]], f32)
    batches = list64(0, 1, 1, 0)
    picture = floats(2, 2, 10, 12)
    for opset, modes in [(10, [None]), (16, ["half_pixel", "output_half_pixel"])]:
        for coordinates in modes:
            for mode in ["avg", "max"]:
                for ratio in [0, 2]:
                    extra = {} if coordinates is None else {"coordinate_transformation_mode": coordinates}
                    yield case(
                        "RoiAlign", [picture, regions, batches], opset, mode=mode, output_height=3, output_width=2,
                        sampling_ratio=ratio, spatial_scale=0.7, name=f"{coordinates}-{mode}-{ratio}", **extra,
                    )
    columns = floats(2, 2 * 6, 4 * 4)
    yield case("Col2Im", [columns, list64(5, 6), list64(2, 3)], 18, constants=[1, 2])
    yield case(
        "Col2Im", [floats(1, 9, 4), list64(5, 5), list64(3, 3)], 18, constants=[1, 2], strides=[2, 2], pads=[0, 0, 0, 0],
        name="strides",
    )
    yield case(
        "Col2Im", [floats(1, 4, 25), list64(6, 6), list64(2, 2)], 18, constants=[1, 2], dilations=[2, 2],
        pads=[1, 0, 0, 1], name="dilations",
    )
    tied = random.integers(-9, 9, (2, 2, 6, 7)).astype(f32)
    for order in [0, 1]:
        yield case("MaxPool", [tied], 12, 2, kernel_shape=[2, 3], strides=[2, 1], storage_order=order, name=f"order{order}")
    yield case("MaxPool", [tied], 12, 2, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 1], ceil_mode=1, name="pads")
    yield case("MaxPool", [floats(1, 2, 9)], 8, 2, kernel_shape=[3], name="1d")
    yield case("MaxPool", [tied], 10, 1, kernel_shape=[3, 2], auto_pad="SAME_LOWER", name="one-output")
    places = np.array([[[[5, 7], [13, 15]]]], i64)
    yield case("MaxUnpool", [floats(1, 1, 2, 2), places], 9, kernel_shape=[2, 2], strides=[2, 2])
    yield case("MaxUnpool", [floats(1, 1, 2, 2), places], 11, kernel_shape=[2, 2], strides=[2, 2], name="set11")
    repeated = random.integers(0, 4, (3, 4)).astype(f32)
    for order in [0, 1]:
        yield case("Unique", [repeated], 11, 4, sorted=order, name=f"flat{order}")
        yield case("Unique", [np.repeat(repeated, 2, 0)], 11, 4, axis=0, sorted=order, name=f"rows{order}")
        yield case("Unique", [np.repeat(repeated, 2, 1)], 11, 4, axis=-1, sorted=order, name=f"columns{order}")
    yield case("Unique", [ints(-2, 2, 7)], 11, 1, name="i64")


def moving_cases():
    x = floats(2, 3, 6, 7)
    some = [None, None]
    for mode in ["linear", "cubic"]:
        for outside in [0, 1]:
            for way in ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]:
                yield case(
                    "Resize", [x, None, np.array([1, 1, 0.6, 0.45], f32)], 18, constants=[2], mode=mode, antialias=1,
                    exclude_outside=outside, coordinate_transformation_mode=way, name=f"antialias-{mode}-{outside}-{way}",
                )
        yield case("Resize", [x, *some, list64(2, 3, 4, 13)], 18, constants=[3], mode=mode, antialias=1, name=f"antialias-{mode}-sizes")
    for mode in ["nearest", "linear", "cubic"]:
        for policy in ["not_larger", "not_smaller"]:
            for sizes in [(8, 11), (3, 4)]:
                yield case(
                    "Resize", [x, *some, list64(*sizes)], 19, constants=[3], mode=mode, axes=[2, 3],
                    keep_aspect_ratio_policy=policy, name=f"{policy}-{mode}-{sizes[0]}",
                )
        yield case("Resize", [x, *some, list64(9, 4)], 18, constants=[3], mode=mode, axes=[3, 2], name=f"axes-sizes-{mode}")
        yield case("Resize", [x, None, np.array([1.5, 0.7], f32)], 18, constants=[2], mode=mode, axes=[3, 2], name=f"axes-scales-{mode}")
        roi = np.array([0, 0, 0.2, 0.3, 1, 1, 0.8, 1.1], f32)
        crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": mode}
        yield case("Resize", [x, roi, None, list64(2, 3, 4, 5)], 13, constants=[1, 3], extrapolation_value=9.5, name=f"crop-{mode}", **crop)
        yield case(
            "Resize", [x, np.array([0.6, 0.2, 0.1, 0.9], f32), None, list64(1, 9)], 18, constants=[1, 3], axes=[2, 3],
            name=f"crop-axes-{mode}", **crop,
        )
        yield case(
            "Resize", [x, None, None, list64(2, 3, 9, 10)], 19, constants=[3], mode=mode,
            coordinate_transformation_mode="half_pixel_symmetric", name=f"symmetric-{mode}",
        )
    yield case("Resize", [x, np.zeros(0, f32), np.array([1, 1, 1.3, 1.3], f32)], 11, constants=[1, 2], mode="linear", name="empty-roi")
    yield case("Resize", [x, np.array([1, 1, 2, 2], f32)], 10, constants=[1], mode="nearest")
    yield case("Upsample", [x, np.array([1, 1, 2, 3], f32)], 9, constants=[1], mode="nearest")
    yield case("Upsample", [x], 7, scales=[1.0, 1.0, 2.0, 3.0], mode="nearest")
    for shape in [(4, 9), (6, 7), (9, 4), (3, 10)]:
        yield case("CenterCropPad", [x, list64(*shape)], 18, constants=[1], axes=[2, -1], name=f"{shape[0]}")
    yield case("CenterCropPad", [x, list64(3, 2, 5, 8)], 18, constants=[1], name="all")
    image = floats(2, 8, 4, 6)
    for mode in ["DCR", "CRD"]:
        yield case("DepthToSpace", [image], 11, blocksize=2, mode=mode, name=mode)
    yield case("DepthToSpace", [image], 7, blocksize=2)
    yield case("SpaceToDepth", [image], 13, blocksize=2)
    for mode in ["constant", "reflect", "edge"]:
        yield case("Pad", [x, list64(0, 0, 1, 2, 0, 0, 2, 1)], 13, constants=[1], mode=mode, name=mode)
        yield case("Pad", [x], 10, mode=mode, pads=[0, 0, 1, 0, 0, 0, 2, 3], name=mode)
    yield case("Pad", [x, list64(1, -2, 2, 1), np.array(3, f32), list64(-1, 1)], 18, constants=[1, 3], name="axes")
    yield case("Pad", [x, list64(-1, 0, 1, -2, 0, -1, -3, 4)], 11, constants=[1], name="crops")
    yield case("Pad", [x, list64(0, 0, 3, 4, 0, 0, 8, 9)], 19, constants=[1], mode="wrap", name="wrap")
    yield case("Pad", [x, list64(0, 0, 3, 4, 0, 0, 2, 1)], 13, name="computed")
    yield case("Slice", [x, list64(1, -3), list64(9, -1), list64(2, 3)], 13, name="computed")
    yield case("Slice", [x, list64(4), list64(-99), list64(-2), list64(-2)], 10, constants=[1, 2, 3, 4], name="backwards")
    yield case("Slice", [x], 9, starts=[1, 2], ends=[100, -1], axes=[2, 3])
    yield case("Split", [x], 18, 4, axis=3, num_outputs=4)
    yield case("Split", [x, list64(1, 4, 2)], 13, 3, constants=[1], axis=-1, name="sizes")
    yield case("Split", [x], 11, 2, axis=2, split=[1, 5])
    yield case("Split", [x], 11, 3, axis=1, name="equal")
    yield case("Squeeze", [floats(1, 3, 1, 2)], 11, axes=[0, -2])
    yield case("Squeeze", [floats(1, 3, 1, 2), list64(-4)], 13, constants=[1])
    yield case("Unsqueeze", [x, list64(0, -1)], 13, constants=[1])
    yield case("Unsqueeze", [x], 9, axes=[1, 3])
    yield case("Split", [x, list64(1, 4, 2)], 13, 3, axis=-1, name="computed")
    yield case("Squeeze", [floats(1, 3, 1, 2), list64(0, -2)], 13, name="computed")
    yield case("Unsqueeze", [x, list64(-1, 0, 2)], 13, name="computed")
    yield case("CenterCropPad", [x, list64(9, 4)], 18, axes=[2, -1], name="computed")
    for op in ["ReduceSum", "ReduceMax", "ReduceMean", "ReduceProd", "ReduceL2", "ReduceLogSumExp"]:
        for keep in [0, 1]:
            yield case(op, [x, list64(-1, 0)], 18, keepdims=keep, name=f"computed{keep}")
    yield case("ReduceSum", [x, np.zeros(0, i64)], 13, name="computed-all")
    yield case("ReduceMin", [x, np.zeros(0, i64)], 18, noop_with_empty_axes=1, name="computed-none")
    yield case("Tile", [floats(2, 3), list64(2, 0)], 13, constants=[1], name="none")
    yield case("Tile", [floats(2, 3), list64(2, 2)], 13, name="computed")
    yield case("Expand", [floats(3, 1), list64(2, 1, 4)], 13, constants=[1])
    yield case("Expand", [floats(3, 1), list64(1)], 13, constants=[1], name="smaller")
    yield case("Expand", [floats(3, 1), list64(3, 4)], 8, name="computed")


def control_cases():
    """Control flow: branches, loops and scans, with values captured from outside."""
    value, make = helper.make_tensor_value_info, helper.make_node
    F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

    def model(label, nodes, inputs, outputs, opset=17, constants=()):
        graph = helper.make_graph(
            nodes, "case",
            [value(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in inputs],
            [value(n, kind, None) for n, kind in outputs],
            [numpy_helper.from_array(a, n) for n, a in constants])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return label, made, [a for _, a in inputs]

    def branch(op, name="out"):
        return helper.make_graph([make(op, ["x", "y"], [name])], op, [], [value(name, F, None)])

    x, y = ("x", floats(3, 4)), ("y", floats(3, 4))
    choose = make("If", ["go"], ["z"], then_branch=branch("Add"), else_branch=branch("Mul"))
    for go in (True, False):
        yield model(f"if-{go}", [choose], [("go", np.array(go)), x, y], [("z", F)])
        yield model(f"if-constant-{go}", [choose], [x, y], [("z", F)], constants=[("go", np.array(go))])
    inner = make("If", ["deep"], ["t"], then_branch=branch("Sub", "a"), else_branch=branch("Max", "b"))
    nested = helper.make_graph([inner, make("Relu", ["t"], ["n"])], "nested", [], [value("n", F, None)])
    for go, deep in ((True, True), (True, False), (False, True)):
        yield model(f"if-nested-{go}-{deep}",
                    [make("If", ["go"], ["z"], then_branch=nested, else_branch=branch("Mul"))],
                    [("go", np.array(go)), ("deep", np.array(deep)), x, y], [("z", F)])

    body = helper.make_graph(
        [make("Add", ["a", "x"], ["b"]), make("ReduceSum", ["b"], ["s"], keepdims=0),
         make("Less", ["s", "most"], ["on"])],
        "body", [value("i", I, []), value("c", B, []), value("a", F, [3, 4])],
        [value("on", B, []), value("b", F, [3, 4]), value("s", F, [])])
    loop = make("Loop", ["trip", "go", "start"], ["last", "sums"], body=body)
    step = ("x", np.abs(floats(3, 4)))
    for trip, go, most in ((5, True, 1e9), (5, True, 20.0), (0, True, 1e9), (4, False, 1e9)):
        yield model(f"loop-{trip}-{go}-{int(most)}", [loop],
                    [("trip", np.array(trip, i64)), ("go", np.array(go)), ("start", np.zeros((3, 4), f32)), step,
                     ("most", np.array(most, f32))], [("last", F), ("sums", F)])
    forever = make("Loop", ["", "", "start"], ["last", "sums"], body=body)
    yield model("loop-until", [forever],
                [("start", np.zeros((3, 4), f32)), step, ("most", np.array(30.0, f32))], [("last", F), ("sums", F)])

    scanned = helper.make_graph(
        [make("Mul", ["h", "k"], ["g"]), make("Add", ["g", "e"], ["n"]), make("Neg", ["n"], ["o"])],
        "body", [value("h", F, [4]), value("e", F, [4])], [value("n", F, [4]), value("o", F, [4])])
    for label, axis, back, out, out_back in (("plain", 0, 0, 0, 0), ("axis", 1, 0, 1, 0), ("back", 0, 1, 0, 1),
                                             ("negative", -2, 0, -1, 0)):
        yield model(f"scan-{label}",
                    [make("Scan", ["start", "xs"], ["last", "all"], body=scanned, num_scan_inputs=1,
                          scan_input_axes=[axis], scan_input_directions=[back], scan_output_axes=[out],
                          scan_output_directions=[out_back])],
                    [("start", floats(4)), ("xs", floats(4, 5) if axis == 1 else floats(5, 4)), ("k", floats(1))],
                    [("last", F), ("all", F)])


def unary_cases():
    x = np.concatenate([floats(40) * 3, np.array([0.0, -0.5, 0.5, 1.0, -1.0, 20.0, -20.0], f32)])
    for op in ["Tan", "Atan", "Sinh", "Cosh", "Asinh", "Softsign", "Celu", "Selu", "ThresholdedRelu", "Shrink", "Sin",
               "Cos", "Softplus", "HardSwish", "Elu", "LeakyRelu", "HardSigmoid", "Erf", "Sign", "Round"]:
        yield case(op, [x], 14)
    for op in ["Asin", "Acos", "Atanh"]:
        yield case(op, [np.tanh(floats(40)).astype(f32)], 14)
    yield case("Acosh", [1 + np.abs(floats(40))], 14)
    yield case("Celu", [x], 12, alpha=0.3, name="alpha")
    yield case("Selu", [x], 7, alpha=0.3, gamma=2.0, name="both")
    yield case("ThresholdedRelu", [x], 10, alpha=-0.7, name="alpha")
    yield case("Shrink", [x], 9, lambd=1.5, bias=0.25, name="both")
    yield case("Shrink", [ints(-9, 9, 20)], 9, lambd=1.5, bias=2.0, name="integers")


def recurrent_cases():
    """Recurrent layers over 5 steps of 3 samples of 4 elements, 6 hidden ones."""
    steps, batch, size, hidden = 5, 3, 4, 6

    def layer(op, gates, directions=1, given="", name="", lengths=None, outputs=None, **attributes):
        inputs = [floats(steps, batch, size), floats(directions, gates * hidden, size),
                  floats(directions, gates * hidden, hidden)]
        optional = {"b": lambda: floats(directions, 2 * gates * hidden),
                    "l": lambda: np.array(lengths, dtype=i32),
                    "h": lambda: floats(directions, batch, hidden),
                    "c": lambda: floats(directions, batch, hidden),
                    "p": lambda: floats(directions, 3 * hidden)}
        inputs += [optional[key]() if key in given else None for key in ("blhcp" if op == "LSTM" else "blh")]
        while inputs[-1] is None:
            inputs.pop()
        yield case(op, inputs, outputs=outputs or (3 if op == "LSTM" else 2), hidden_size=hidden,
                   constants=(1, 2), name=name, **attributes)

    for op, gates in [("RNN", 1), ("GRU", 3), ("LSTM", 4)]:
        yield from layer(op, gates, name="plain")
        yield from layer(op, gates, given="b", name="bias", outputs=1)
        yield from layer(op, gates, given="bh", name="state")
        yield from layer(op, gates, given="b", direction="reverse", name="reverse")
        yield from layer(op, gates, 2, given="bhc", direction="bidirectional", name="both")
        yield from layer(op, gates, given="bl", lengths=[5, 2, 3], name="lengths")
        yield from layer(op, gates, 2, given="bl", lengths=[1, 5, 3], direction="bidirectional", name="both-lengths")
        yield from layer(op, gates, given="b", clip=0.5, name="clip")
    yield from layer("RNN", 1, given="b", activations=["Relu"], name="relu")
    yield from layer("RNN", 1, given="b", activations=["LeakyRelu"], activation_alpha=[0.3], name="leaky")
    yield from layer("GRU", 3, given="bh", linear_before_reset=1, name="linear")
    yield from layer("GRU", 3, 2, given="bh", linear_before_reset=1, direction="bidirectional", name="linear-both")
    yield from layer("GRU", 3, given="b", activations=["HardSigmoid", "Softplus"], activation_alpha=[0.3],
                     activation_beta=[0.4], name="functions")
    yield from layer("LSTM", 4, given="bhcp", name="peepholes")
    yield from layer("LSTM", 4, given="bp", input_forget=1, name="coupled")
    yield from layer("LSTM", 4, given="b", activations=["HardSigmoid", "Tanh", "Relu"], name="functions")


def function_cases():
    """Functions that a model brings along."""
    value, make, domain, F = helper.make_tensor_value_info, helper.make_node, "of.mine", TensorProto.FLOAT
    sets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]

    def refers(op, inputs, outputs, **attributes):
        """A node whose attributes are those of the call: KEY=(name in the call, type)."""
        node = make(op, inputs, outputs)
        for name, (wanted, kind) in attributes.items():
            node.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=wanted, type=kind))
        return node

    def function(name, inputs, outputs, nodes, attributes=(), defaults=()):
        return helper.make_function(domain, name, inputs, outputs, nodes, sets, list(attributes), list(defaults))

    def model(label, nodes, inputs, outputs, functions):
        graph = helper.make_graph(
            nodes, "case", [value(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in inputs],
            [value(n, F, None) for n in outputs])
        made = helper.make_model(graph, opset_imports=sets, functions=functions, ir_version=9)
        return label, made, [a for _, a in inputs]

    kinds = onnx.AttributeProto
    x, y = ("x", floats(3, 4)), ("y", floats(3, 4))
    hypotenuse = function("Hypotenuse", ["a", "b"], ["c"], [
        make("Mul", ["a", "a"], ["x"]), make("Mul", ["b", "b"], ["y"]), make("Add", ["x", "y"], ["s"]),
        make("Sqrt", ["s"], ["c"])])
    call = lambda op, inputs, outputs, **attributes: make(op, inputs, outputs, domain=domain, **attributes)
    # The body's own names are also names of the graph.
    yield model("plain", [call("Hypotenuse", ["x", "y"], ["z"])], [x, y], ["z"], [hypotenuse])
    yield model("twice", [call("Hypotenuse", ["x", "y"], ["s"]), call("Hypotenuse", ["s", "x"], ["z"])],
                [x, y], ["z"], [hypotenuse])
    nested = function("Longer", ["a", "b"], ["c", "d"], [
        call("Hypotenuse", ["a", "b"], ["s"]), call("Hypotenuse", ["s", "b"], ["c"]), make("Neg", ["s"], ["d"])])
    yield model("nested", [call("Longer", ["x", "y"], ["z", "w"])], [x, y], ["z", "w"], [nested, hypotenuse])
    yield model("second-output-left-out", [call("Longer", ["x", "y"], ["z", ""])], [x, y], ["z"], [nested, hypotenuse])
    leaky = function("Leaky", ["a"], ["b"], [refers("LeakyRelu", ["a"], ["b"], alpha=("slope", kinds.FLOAT))],
                     defaults=[helper.make_attribute("slope", 0.25)])
    yield model("attribute", [call("Leaky", ["x"], ["z"], slope=0.5)], [x], ["z"], [leaky])
    yield model("attribute-by-default", [call("Leaky", ["x"], ["z"])], [x], ["z"], [leaky])
    soft = function("Soft", ["a"], ["b"], [refers("Softmax", ["a"], ["b"], axis=("at", kinds.INT))], attributes=["at"])
    yield model("attribute-left-out", [call("Soft", ["x"], ["z"])], [x], ["z"], [soft])
    clip = function("Above", ["a", "low"], ["b"], [make("Clip", ["a", "low"], ["b"])])
    yield model("input-left-out", [call("Above", ["x"], ["z"])], [x], ["z"], [clip])
    then = helper.make_graph([make("Add", ["a", "s"], ["t"])], "then", [], [value("t", F, None)])
    other = helper.make_graph([call("Hypotenuse", ["a", "s"], ["t"])], "else", [], [value("t", F, None)])
    choice = function("Choice", ["go", "a"], ["b"], [
        make("Mul", ["a", "a"], ["s"]), make("If", ["go"], ["b"], then_branch=then, else_branch=other)])
    for go in (True, False):
        yield model(f"branches-{go}", [call("Choice", ["go", "x"], ["z"])], [("go", np.array(go)), x], ["z"],
                    [choice, hypotenuse])
    inside = helper.make_graph([call("Hypotenuse", ["x", "y"], ["t"])], "then", [], [value("t", F, None)])
    outside = helper.make_graph([make("Sub", ["x", "y"], ["t"])], "else", [], [value("t", F, None)])
    yield model("called-in-a-branch", [make("If", ["go"], ["z"], then_branch=inside, else_branch=outside)],
                [("go", np.array(True)), x, y], ["z"], [hypotenuse])


FAMILIES = {"functions": function_cases, "control": control_cases, "unary": unary_cases, "recurrent": recurrent_cases, "index": index_cases, "composed": composed_cases, "sampling": sampling_cases, "moving": moving_cases}


def run(model, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def write(family, folder):
    lines = []
    for name, model, inputs in FAMILIES[family]():
        assert name not in [line.split()[0] for line in lines], name
        try:
            # Output types are left to inference: ONNX Runtime wants them declared.
            typed = onnx.shape_inference.infer_shapes(model)
            for output in typed.graph.output:
                if not output.type.tensor_type.elem_type:
                    output.type.tensor_type.elem_type = typed.graph.input[0].type.tensor_type.elem_type
            outputs = run(typed.SerializeToString(), inputs)
        except Exception as error:
            sys.exit(f"{name}: {error}")
        (folder / f"{name}.onnx").write_bytes(typed.SerializeToString())
        for kind, arrays in [("in", inputs), ("out", outputs)]:
            for at, array in enumerate(arrays):
                np.save(folder / f"{name}.{kind}{at}.npy", np.ascontiguousarray(array).reshape(array.shape))
        lines.append(f"{name} {len(inputs)} {len(outputs)}")
    (folder / "cases.txt").write_text("\n".join(lines) + "\n")


def again(folder):
    failed = []
    for line in (folder / "cases.txt").read_text().splitlines():
        name, inputs, outputs = line.split()
        path = folder / f"{name}.again.onnx"
        if not path.exists():
            continue
        try:
            onnx.checker.check_model(str(path), full_check=True)
            found = run(path.read_bytes(), [np.load(folder / f"{name}.in{at}.npy") for at in range(int(inputs))])
            for at, array in enumerate(found):
                wanted = np.load(folder / f"{name}.out{at}.npy")
                assert array.dtype == wanted.dtype and array.shape == wanted.shape, (array.dtype, array.shape)
                np.testing.assert_allclose(array, wanted, rtol=1e-4, atol=1e-5)
        except Exception as error:
            failed.append(f"{name}: {error}")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    first, where = sys.argv[1], pathlib.Path(sys.argv[2])
    if first == "--again":
        again(where)
    else:
        write(first, where)
