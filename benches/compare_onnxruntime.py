"""Holds fewbit against ONNX Runtime on one model and one folder of labelled images.

    python benches/compare_onnxruntime.py FLOAT.onnx INT8.onnx --data FOLDER [--fewbit PROGRAM] [--resize 256 --crop 224
        --mean 127.5 --std 127.5] [--calibration FOLDER] [--nncf] [--threads 1] [--rounds 7]

Prints, one line each: top-1 of the float model in both; agreement of the int8 model (as fewbit wrote it) in both, the
share of output elements that differ and by how many steps of the output's scale; the same for a model that ONNX
Runtime's own quantizer, and with --nncf one that NNCF, makes from --calibration; median times in turns. Whether two
runtimes agree needs no labels, so the calibration pictures count there too. Needs numpy, pillow, onnx, onnxruntime
and, for --nncf, nncf.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from PIL import Image

parser = argparse.ArgumentParser()
parser.add_argument("float_model")
parser.add_argument("int8_model")
parser.add_argument("--data", required=True)
parser.add_argument("--fewbit", default="target/release/fewbit")
parser.add_argument("--resize", type=int, default=256)
parser.add_argument("--crop", type=int, default=224)
parser.add_argument("--mean", type=float, default=127.5)
parser.add_argument("--std", type=float, default=127.5)
parser.add_argument("--calibration")
parser.add_argument("--nncf", action="store_true")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=7)
arguments = parser.parse_args()


def picture(path):
    """An image as the model reads it: the short side resized, the middle cut out, NCHW."""
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    size = tuple(extent * arguments.resize // short for extent in image.size)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = ((extent - arguments.crop) // 2 for extent in image.size)
    image = image.crop((left, top, left + arguments.crop, top + arguments.crop))
    pixels = (np.asarray(image, np.float32) - arguments.mean) / arguments.std
    return pixels.transpose(2, 0, 1)[None]


def pictures(folder):
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith((".jpg", ".jpeg", ".png")))
    return [os.path.join(folder, name) for name in names]


def labelled(folder):
    with open(os.path.join(folder, "labels.csv"), newline="") as file:
        rows = [row for row in csv.reader(file) if row and row[0] != "file"]
    return [os.path.join(folder, row[0]) for row in rows], np.array([int(row[1]) for row in rows])


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def runtime_outputs(path, inputs):
    run = session(path)
    name = run.get_inputs()[0].name
    return np.concatenate([run.run(None, {name: x[None]})[0].reshape(1, -1) for x in inputs])


def fewbit(*words):
    result = subprocess.run([arguments.fewbit, *words, "--format", "json"], capture_output=True, text=True)
    if result.returncode not in (0, 1):
        raise SystemExit(result.stderr)
    return json.loads(result.stdout)


def fewbit_outputs(path, folder):
    file = os.path.join(folder, "outputs.npy")
    fewbit("eval", path, "--reference", path, "--data", folder, "--outputs", file)
    outputs = np.load(file)
    os.remove(file)
    return outputs


def output_step(path):
    """The scale of the codes that the first output is dequantized from; None where it is computed in float."""
    graph = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if graph.output[0].name in node.output and node.op_type == "DequantizeLinear":
            return float(constants[node.input[1]])
    return None


def compare(what, path, inputs, folder, labels):
    ours, theirs = fewbit_outputs(path, folder), runtime_outputs(path, inputs)
    top1 = [100 * float((outputs[:len(labels)].argmax(1) == labels).mean()) for outputs in (ours, theirs)]
    equal = int((ours.argmax(1) == theirs.argmax(1)).sum())
    step = output_step(path)
    difference = np.abs(ours - theirs)
    if step:
        steps = np.rint(difference / step)
        differing = f"{100 * float((steps > 0).mean()):.4f} % of elements differ, by at most {int(steps.max())} steps"
    else:
        differing = f"largest difference {difference.max():.3g} of {np.abs(theirs).max():.3g}"
    print(f"{what}: top-1 {top1[0]:.2f} % in fewbit, {top1[1]:.2f} % in ONNX Runtime; predictions agree on {equal} of {len(inputs)} = {100 * equal / len(inputs):.2f} %; {differing}")
    return theirs


def quantized_by_runtime(path, folder, calibration):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, quantized = os.path.join(folder, "prepared.onnx"), os.path.join(folder, "runtime_int8.onnx")
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    name = session(prepared).get_inputs()[0].name

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.samples = iter(pictures(calibration))

        def get_next(self):
            file = next(self.samples, None)
            return None if file is None else {name: picture(file)}

    quantize_static(prepared, quantized, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    return quantized


def quantized_by_nncf(path, folder, calibration):
    import nncf

    quantized = os.path.join(folder, "nncf_int8.onnx")
    name = session(path).get_inputs()[0].name
    dataset = nncf.Dataset(pictures(calibration), lambda file: {name: picture(file)})
    onnx.save(nncf.quantize(onnx.load(path), dataset, subset_size=len(pictures(calibration))), quantized)
    return quantized


def times(candidates, sample):
    """Medians over rounds in turns: our program measures itself, ONNX Runtime is measured here."""
    measured = {name: [] for name in candidates}
    for _ in range(arguments.rounds):
        for name, (engine, path) in candidates.items():
            if engine == "fewbit":
                row = fewbit("bench", path, "--threads", str(arguments.threads), "--iterations", "40")
                measured[name].append(row["median_ms"])
            else:
                run = session(path)
                feed = {run.get_inputs()[0].name: sample}
                ticks = []
                for _ in range(45):
                    start = time.perf_counter()
                    run.run(None, feed)
                    ticks.append(1e3 * (time.perf_counter() - start))
                measured[name].append(statistics.median(ticks[5:]))
    return {name: statistics.median(values) for name, values in measured.items()}


with tempfile.TemporaryDirectory() as folder:
    files, labels = labelled(arguments.data)
    if arguments.calibration:
        files += pictures(arguments.calibration)
    inputs = np.concatenate([picture(file) for file in files])
    float_session = session(arguments.float_model)
    np.save(os.path.join(folder, f"{float_session.get_inputs()[0].name}.npy"), inputs)
    own = fewbit("eval", arguments.float_model, "--data", arguments.data, "--preprocess",
                 f"resize={arguments.resize},crop={arguments.crop},mean={arguments.mean},std={arguments.std}")
    print(f"float, images read by fewbit itself: top-1 {own['top1']:.2f} % of {own['n']}")
    compare("float", arguments.float_model, inputs, folder, labels)
    compare("int8 by fewbit", arguments.int8_model, inputs, folder, labels)
    candidates = {
        "fewbit f32": ("fewbit", arguments.float_model),
        "fewbit int8": ("fewbit", arguments.int8_model),
        "ONNX Runtime f32": ("runtime", arguments.float_model),
        "ONNX Runtime, fewbit's int8": ("runtime", arguments.int8_model),
    }
    makers = {"ONNX Runtime": quantized_by_runtime} if arguments.calibration else {}
    if arguments.nncf:
        makers["NNCF"] = quantized_by_nncf
    for maker, quantize in makers.items():
        path = quantize(arguments.float_model, folder, arguments.calibration)
        compare(f"int8 by {maker}", path, inputs, folder, labels)
        # Accuracy is judged on pictures that the quantizer did not see.
        unseen = inputs[:len(labels)]
        reference, outputs = runtime_outputs(arguments.float_model, unseen), runtime_outputs(path, unseen)
        noise = 10 * np.log10((reference**2).sum() / ((reference - outputs) ** 2).sum())
        agreement = 100 * float((reference.argmax(1) == outputs.argmax(1)).mean())
        print(f"int8 by {maker} against float: agreement {agreement:.2f} %, SQNR {noise:.2f} dB")
        candidates[f"ONNX Runtime, {maker}'s int8"] = ("runtime", path)
    medians = times(candidates, inputs[:1])
    base = medians["fewbit int8"]
    for name, median in medians.items():
        print(f"{name:<30}{median:8.3f} ms   fewbit int8 takes {base / median:.2f} of it")
