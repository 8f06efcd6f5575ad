"""Holds predicted latency against measured latency.

    python benches/predicted_latency.py MODEL.onnx… [--shape MODEL:NAME=1,3,224,224]… [--set MODEL:NAME=16000]… [--threads 1] [--fewbit PROGRAM]

For each model, in float and at w8a8: what `check` predicts from times of single nodes (measured afresh), and what
`bench` measures of the whole model afterwards, in a process of its own. Needs numpy and onnx; calibrates on random data,
on which times do not depend.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile

import numpy as np
import onnx

parser = argparse.ArgumentParser()
parser.add_argument("models", nargs="+")
parser.add_argument("--shape", action="append", default=[])
parser.add_argument("--set", action="append", default=[])
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--fewbit", default="target/release/fewbit")
arguments = parser.parse_args()
TYPES = {1: np.float32, 6: np.int32, 7: np.int64}


def fewbit(folder, *words):
    environment = dict(os.environ, FEWBIT_CACHE=os.path.join(folder, "cache"))
    command = [os.path.abspath(arguments.fewbit), *words, "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode not in (0, 1):
        raise RuntimeError(result.stderr.strip().splitlines()[0] if result.stderr else str(result.returncode))
    return json.loads(result.stdout)


def samples(path, shapes, numbers, folder):
    """Random inputs of four samples, one .npy per input."""
    graph = onnx.load(path, load_external_data=False).graph
    given = dict(shape.split("=") for shape in shapes)
    constants = {tensor.name for tensor in graph.initializer} | {number.split("=")[0] for number in numbers}
    random = np.random.default_rng(0)
    data = os.path.join(folder, "data")
    os.makedirs(data)
    for value in graph.input:
        if value.name in constants:
            continue
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.name in given:
            dims = [int(extent) for extent in given[value.name].split(",")]
        kind = TYPES[value.type.tensor_type.elem_type]
        dims = [extent or 1 for extent in dims]
        shape = [4 * dims[0], *dims[1:]] if dims else [4]
        array = random.standard_normal(shape) if kind == np.float32 else random.integers(0, 2, shape)
        np.save(os.path.join(data, f"{value.name}.npy"), array.astype(kind))
    return data


errors = []
print(f"{'model':<24}{'precision':<10}{'predicted ms':>13}{'measured ms':>13}{'error %':>9}")
for path in arguments.models:
    name = os.path.splitext(os.path.basename(path))[0]
    shapes = [shape.split(":", 1)[1] for shape in arguments.shape if shape.split(":", 1)[0] == name]
    numbers = [number.split(":", 1)[1] for number in arguments.set if number.split(":", 1)[0] == name]
    fixed = [word for shape in shapes for word in ("--shape", shape)]
    fixed += [word for number in numbers for word in ("--set", number)]
    threads = ["--threads", str(arguments.threads)]
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("f32", "w8a8"):
            try:
                model = path
                if precision == "w8a8":
                    model = os.path.join(folder, "int8.onnx")
                    data = samples(path, shapes, numbers, folder)
                    fewbit(folder, "quantize", path, *fixed, "--data", data, "-o", model)
                predicted = fewbit(folder, "check", path, *fixed, "-t", "cpu", "--strategy", precision, *threads)
                measured = fewbit(folder, "bench", model, *(fixed if model == path else []), *threads, "--iterations", "40")
            except (RuntimeError, KeyError, ValueError) as error:
                print(f"{name:<24}{precision:<10}{error}")
                continue
            found, expected = predicted["latency_ms"], measured["median_ms"]
            if found is None:
                print(f"{name:<24}{precision:<10}no prediction: deployable {predicted['deployable']}")
                continue
            error = 100 * (found / expected - 1)
            errors.append(abs(error))
            print(f"{name:<24}{precision:<10}{found:>13.3f}{expected:>13.3f}{error:>9.1f}", flush=True)
if errors:
    print(f"median absolute error {statistics.median(errors):.1f} % over {len(errors)} measurements, largest {max(errors):.1f} %")
