"""Runs models as people have them in fewbit and in ONNX Runtime: float on random and real inputs, then quantized.

    python benches/models_onnxruntime.py MODEL.onnx... --images FOLDER --cifar FOLDER [--tokenizer FILE] [--fewbit PROGRAM] [--real 3]
        [--keep FOLDER]

One row a model: the largest difference of any output, as a share of that output's largest element on real inputs
(what a detector says of noise is next to nothing, and a share of nothing says nothing), on random and on real inputs,
float; then the recipe, and for the quantized model the signal-to-noise ratio of its first output against
the float model on inputs that calibration did not see, the largest difference between the two runtimes on the same
file, and its size. What a model is fed and how it is quantized stands in `real_inputs.py`. A row fails if a float
difference exceeds 1e-4, if onnx.checker refuses the quantized file, or if ONNX Runtime does not run it; the exit code
is 1 if a row fails. ONNX Runtime adds the elements of ReduceSum one after the other in f32, fewbit in f64; where a model takes the square
of a mean from a mean of squares that shows, so sums of the float reference are computed in double. Needs numpy,
pillow, onnx, onnxruntime; for MiniLM tokenizers.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

import real_inputs

LIMIT = 1e-4

parser = argparse.ArgumentParser()
parser.add_argument("models", nargs="+")
parser.add_argument("--images")
parser.add_argument("--cifar")
parser.add_argument("--tokenizer", help="for MiniLM")
parser.add_argument("--fewbit", default="target/release/fewbit")
parser.add_argument("--real", type=int, default=4)
parser.add_argument("--keep", help="folder that keeps the quantized models")
parser.add_argument("--float-only", action="store_true")
arguments = parser.parse_args()
real_inputs.IMAGES, real_inputs.CIFAR, real_inputs.TOKENIZER = arguments.images, arguments.cifar, arguments.tokenizer


class Failed(Exception):
    """What a row says instead of figures."""


def fewbit(*words):
    result = subprocess.run([arguments.fewbit, *words], capture_output=True, text=True)
    if result.returncode:
        raise Failed(f"fewbit {words[0]}: " + " | ".join(result.stderr.strip().splitlines()[:3]))


def session(model):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def with_exact_sums(path):
    """The model with every ReduceSum computed in double, as bytes."""
    model = onnx.load(path)
    nodes = []
    types = {info.name: info.type.tensor_type.elem_type for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for node in model.graph.node:
        if node.op_type != "ReduceSum" or types.get(node.output[0]) != onnx.TensorProto.FLOAT:
            nodes.append(node)
            continue
        before, after = node.input[0], node.output[0]
        node.input[0], node.output[0] = f"{after} in double", f"{after} of double"
        nodes.append(onnx.helper.make_node("Cast", [before], [node.input[0]], to=onnx.TensorProto.DOUBLE))
        nodes.append(node)
        nodes.append(onnx.helper.make_node("Cast", [node.output[0]], [after], to=onnx.TensorProto.FLOAT))
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


def fewbit_outputs(path, recipe, feed, folder):
    """What fewbit computes for one sample, by the names of its files."""
    words = []
    for name, array in feed.items():
        file = os.path.join(folder, f"input_{len(words)}.npy")
        np.save(file, array)
        words += ["--input", f"{name}={file}"]
    place = os.path.join(folder, "outputs")
    fewbit("run", path, *recipe.shape_words(), *words, "--output", place)
    return {file: np.load(os.path.join(place, file)) for file in os.listdir(place)}


def file_of(name):
    """The file that `fewbit run` writes an output to."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name) + ".npy"


def difference(ours, theirs, scale=0.0):
    """The largest difference as a share of the largest element, or of `scale` if that is larger."""
    if ours.shape != theirs.shape:
        raise Failed(f"shape {ours.shape} in fewbit, {theirs.shape} in ONNX Runtime")
    if not np.isfinite(theirs).all():
        raise Failed("ONNX Runtime's output is not finite")
    scale = max(float(np.abs(theirs).max()), scale, 1e-12)
    return float(np.abs(ours.astype(np.float64) - theirs).max()) / scale


def scales(runtime, feeds):
    """The largest element of each output over samples."""
    rows = [[float(np.abs(array).max()) for array in runtime.run(None, feed)] for feed in feeds]
    return [max(column) for column in zip(*rows)]


def worst(path, runtime, recipe, feeds, sizes, folder):
    """The largest difference over samples and outputs."""
    found = 0.0
    for feed in feeds:
        ours = fewbit_outputs(path, recipe, feed, folder)
        theirs = runtime.run(None, feed)
        for output, array, size in zip(runtime.get_outputs(), theirs, sizes):
            found = max(found, difference(ours[file_of(output.name)], array, size))
    return found


def as_feeds(arrays, runtime, recipe):
    """Samples as the session takes them: extents from the recipe where the file leaves them free."""
    inputs = runtime.get_inputs()
    if not isinstance(arrays, dict):
        arrays = {inputs[0].name: arrays}
    given = {shape.split("=")[0]: [int(d) for d in shape.split("=")[1].split(",")] for shape in recipe.shapes}
    shapes = {i.name: given.get(i.name) or [d if isinstance(d, int) and d > 0 else 1 for d in i.shape] for i in inputs}
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    count = len(next(iter(arrays.values())))
    return [
        {i.name: np.ascontiguousarray(arrays[i.name][n], types[i.type]).reshape(shapes[i.name]) for i in inputs}
        for n in range(count)
    ]


def randomized(feed, seed):
    """The same extents filled with noise of the same range; whole numbers stay within what was seen."""
    rng = np.random.default_rng(seed)
    noise = {}
    for name, array in feed.items():
        if np.issubdtype(array.dtype, np.integer):
            noise[name] = rng.integers(array.min(), array.max() + 1, array.shape, array.dtype)
        else:
            noise[name] = (rng.standard_normal(array.shape) * array.std() + array.mean()).astype(array.dtype)
    return noise


def decibels(reference, output):
    noise = float(((reference - output) ** 2).sum())
    return 10 * np.log10(float((reference**2).sum()) / noise) if noise else float("inf")


def row(path, folder):
    name = os.path.splitext(os.path.basename(path))[0]
    recipe = real_inputs.RECIPES.get(name)
    if recipe is None:
        raise Failed("no recipe in real_inputs.py")
    runtime = session(with_exact_sums(path))
    feeds = as_feeds(recipe.inputs(max(arguments.real, 8), "evaluation"), runtime, recipe)
    sizes = scales(runtime, feeds)
    on_noise = worst(path, runtime, recipe, [randomized(feeds[0], seed) for seed in range(2)], sizes, folder)
    on_real = worst(path, runtime, recipe, feeds[: arguments.real], sizes, folder)
    figures = f"{on_noise:.1e} | {on_real:.1e}"
    if max(on_noise, on_real) > LIMIT:
        raise Failed(f"{figures} | above {LIMIT}")
    if arguments.float_only:
        return f"{figures} | | | | |"
    data = recipe.inputs(recipe.calibration, "calibration")
    if not isinstance(data, dict):
        data = {runtime.get_inputs()[0].name: data}
    np.savez(os.path.join(folder, "calibration.npz"), **data)
    quantized = os.path.join(arguments.keep or folder, f"{name}_int8.onnx")
    words = [*recipe.shape_words(), *recipe.quantize]
    fewbit("quantize", path, *words, "--data", os.path.join(folder, "calibration.npz"), "-o", quantized)
    onnx.checker.check_model(onnx.load(quantized), full_check=True)
    runtime_int8 = session(quantized)
    between, reference, output = 0.0, [], []
    for feed in feeds:
        ours = fewbit_outputs(quantized, recipe, feed, folder)
        theirs = dict(zip([o.name for o in runtime_int8.get_outputs()], runtime_int8.run(None, feed)))
        first = runtime.get_outputs()[0].name
        between = max(between, difference(ours[file_of(first)], theirs[first]))
        reference.append(runtime.run([first], feed)[0].ravel())
        output.append(ours[file_of(first)].ravel())
    noise = decibels(np.concatenate(reference), np.concatenate(output))
    share = os.path.getsize(quantized) / os.path.getsize(path)
    how = " ".join(recipe.quantize) or "w8a8"
    return f"{figures} | {how} | {noise:.1f} dB | {between:.1e} | {100 * share:.0f} % |"


failed = 0
print("| model | float, random | float, real | recipe | SQNR | int8, fewbit to ONNX Runtime | size |", flush=True)
print("|---|---|---|---|---|---|---|", flush=True)
for model in arguments.models:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            text = row(model, scratch)
        # ONNX Runtime's errors have no base of their own.
        except Exception as error:  # noqa: BLE001
            failed += 1
            text = f"FAILED: {str(error)[:600]}"
    print(f"| {os.path.splitext(os.path.basename(model))[0]} | {text}", flush=True)
sys.exit(1 if failed else 0)
