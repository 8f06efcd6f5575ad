"""Holds TFLite files that fewbit writes against LiteRT, and asks Arm's Vela where their operators run.

    python benches/tflite_litert.py FOLDER --model NAME=FLOAT.onnx=DATA[=PREPROCESS] … [--fewbit PROGRAM]
        [--evaluate NAME=LABELLED.npz [--beside NAME=OTHER.tflite]] [--target ethos-u65-256] [--samples 64] [--vela VELA --accelerators ethos-u55-128,ethos-u65-256,ethos-u85-256]

Quantizes each model for the target twice from the same plan, as TFLite and as ONNX, and runs both on the same samples:
the TFLite file in LiteRT with its reference kernels and with its optimized ones, the ONNX file in fewbit. Prints, for
each model, the share of output codes that differ and by how many steps at most, and how often the first place agrees.
With --evaluate (an .npz with `images` and `labels`), prints the top-1 of the file in LiteRT, and with --beside that of
another file for the same model. With --vela, prints how many operators each accelerator runs. DATA is an .npz with `images` (or an array named after the
input), or a folder of pictures; noise where it is `random`. Needs numpy, ai-edge-litert and, for --vela, ethos-u-vela.
"""

import argparse
import os
import re
import subprocess

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--model", action="append", required=True)
parser.add_argument("--fewbit", default="fewbit")
parser.add_argument("--target", default="ethos-u65-256")
parser.add_argument("--samples", type=int, default=64)
parser.add_argument("--evaluate", action="append", default=[])
parser.add_argument("--beside", action="append", default=[])
parser.add_argument("--vela")
parser.add_argument("--accelerators", default="ethos-u55-128,ethos-u65-256,ethos-u85-256")
arguments = parser.parse_args()
os.makedirs(arguments.folder, exist_ok=True)


def fewbit(*words):
    done = subprocess.run([arguments.fewbit, *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"fewbit {' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def codes(array, detail):
    scale, zero = detail["quantization"]
    if not scale:
        return array
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(array / np.float32(scale)) + zero, limits.min, limits.max).astype(detail["dtype"])


def numbers(array, detail):
    scale, zero = detail["quantization"]
    return (array.astype(np.float32) - zero) * np.float32(scale) if scale else array


def run(file, samples, resolver):
    interpreter = Interpreter(model_path=file, experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    entry, leave = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for sample in samples:
        if sample.shape != tuple(entry["shape"]):
            sample = sample.transpose(0, 2, 3, 1)
        interpreter.set_tensor(entry["index"], codes(sample, entry))
        interpreter.invoke()
        outputs.append(numbers(interpreter.get_tensor(leave["index"]), leave).ravel())
    return np.stack(outputs), leave


for entry in arguments.model:
    name, float_model, data, *preprocess = entry.split("=", 3)
    place = os.path.join(arguments.folder, name)
    described = fewbit("inspect", float_model, "--format", "json")
    extents = [int(extent) for extent in re.search(r'"shape":\s*"\[([^\]]*)\]', described).group(1).split(",")]
    tensor = re.search(r'"inputs":\s*\[\s*{\s*"name":\s*"([^"]*)"', described).group(1)
    if data == "random":
        data = f"{place}.npz"
        noise = np.random.default_rng(1).normal(0, 1, (arguments.samples, *extents[1:])).astype(np.float32)
        np.savez(data, **{tensor: noise})
    options = ["--data", data] + (["--preprocess", preprocess[0]] if preprocess else [])
    text = fewbit("quantize", float_model, "-t", arguments.target, *options, "-o", f"{place}.tflite")
    fewbit("quantize", float_model, "--plan", f"{place}.plan.json", *options, "-o", f"{place}.onnx")
    # Samples as the model takes them: written by fewbit for pictures, else the arrays themselves.
    arrays = np.load(data) if data.endswith(".npz") else None
    samples, outputs = [], []
    if arrays is None:
        files = sorted(file for file in os.listdir(data) if file.endswith((".jpg", ".png")))[: arguments.samples]
        rng = np.random.default_rng(2)
        samples = [rng.uniform(-1, 1, extents).astype(np.float32) for _ in files]
    else:
        array = arrays[tensor] if tensor in arrays else arrays["images"]
        for index in range(min(arguments.samples, len(array))):
            sample = array[index : index + 1].astype(np.float32)
            samples.append(sample.reshape(extents) if sample.size == np.prod(extents) else sample)
    for index, sample in enumerate(samples):
        np.save(f"{place}.input.npy", sample)
        fewbit("run", f"{place}.onnx", "--input", f"{tensor}={place}.input.npy", "--output", f"{place}.out")
        [file] = os.listdir(f"{place}.out")
        outputs.append(np.load(os.path.join(f"{place}.out", file)).ravel())
    outputs = np.stack(outputs)
    for kind, resolver in [("reference", OpResolverType.BUILTIN_REF), ("optimized", OpResolverType.AUTO)]:
        theirs, leave = run(f"{place}.tflite", samples, resolver)
        step = leave["quantization"][0] or 1 / 256
        steps = np.abs(theirs - outputs) / step
        agree = np.mean(theirs.argmax(1) == outputs.argmax(1))
        print(
            f"{name:24} LiteRT {kind:10} {np.mean(steps > 0.5):8.2%} of outputs differ, by {steps.max():.1f} steps at "
            f"most; first place agrees {agree:.2%} of {len(samples)}"
        )
    for labelled in (text.split("=", 1)[1] for text in arguments.evaluate if text.startswith(f"{name}=")):
        images, labels = (np.load(labelled)[key] for key in ("images", "labels"))
        images = [image.astype(np.float32) for image in np.split(images, len(images))]
        others = [text.split("=", 1)[1] for text in arguments.beside if text.startswith(f"{name}=")]
        for file in [f"{place}.tflite", *others]:
            theirs, _ = run(file, images, OpResolverType.AUTO)
            print(f"{name:24} top-1 of {os.path.basename(file)}: {np.mean(theirs.argmax(1) == labels):.2%} of {len(labels)}")
    if arguments.vela:
        for accelerator in arguments.accelerators.split(","):
            done = subprocess.run(
                [arguments.vela, "--accelerator-config", accelerator, "--output-dir", f"{place}.vela", f"{place}.tflite"],
                capture_output=True,
                text=True,
            )
            found = re.findall(r"(CPU|NPU) operators = (\d+)", done.stdout)
            refused = re.findall(r"operator: (\w+)", done.stdout)
            print(f"{name:24} {accelerator:16} " + (", ".join(f"{where} {count}" for where, count in found) or
                  f"ended with {done.returncode}: {(done.stderr or done.stdout)[-200:]}"), *sorted(set(refused)))
