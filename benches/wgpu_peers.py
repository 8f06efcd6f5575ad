"""The wgpu backend beside ncnn on the same Vulkan device, in turns: what one inference takes.

    python benches/wgpu_peers.py --fewbit target/release/fewbit mobilenet_v2.onnx=mobilenet_v2.ncnn.param resnet18.onnx \
        [--int8 int8.onnx] [--rounds 3]

A model is an ONNX file; behind `=` is what `pnnx model.onnx inputshape=[1,3,224,224] fp16=0` made of it for ncnn, which
runs it by Vulkan in f32 (`use_fp16_*` off) and in f16 storage and arithmetic. fewbit runs it on the backend `wgpu`, and
`--int8` models on `wgpu` and on the CPU. What a package or file is missing for is left out, with the reason. Both choose
the first device: set VK_ICD_FILENAMES to choose another. Prints the median over rounds of each round's median, and the
least time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def timed(infer, runs):
    for _ in range(3):
        infer()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        infer()
        times.append((time.perf_counter() - start) * 1e3)
    return {"median": statistics.median(times), "min": min(times)}


def ncnn(model, half, runs):
    """In a process of its own: `--ncnn`."""
    import ncnn as library
    import numpy as np

    if library.get_gpu_count() == 0:
        raise RuntimeError("ncnn finds no Vulkan device")
    device = library.get_gpu_info(0).device_name()
    net = library.Net()
    net.opt.use_vulkan_compute = True
    net.opt.num_threads = os.cpu_count()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = half
    net.load_param(model)
    net.load_model(model.removesuffix("param") + "bin")
    x = np.random.default_rng(1).random((3, 224, 224), dtype=np.float32)

    def infer():
        extractor = net.create_extractor()
        extractor.input(net.input_names()[0], library.Mat(x))
        np.array(extractor.extract(net.output_names()[0])[1])

    return {**timed(infer, runs), "device": device}


def ncnn_apart(model, half, runs):
    command = [sys.executable, __file__, "--ncnn", model, str(int(half)), str(runs)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    return json.loads(result.stdout.strip().splitlines()[-1])


def fewbit(binary, model, backend, runs):
    command = [binary, "bench", model, "--backend", backend, "--iterations", str(runs), "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr.strip())
    report = json.loads(result.stdout)
    return {"median": report["median_ms"], "min": report["min_ms"], "device": report["device"]}


def main():
    if sys.argv[1:2] == ["--ncnn"]:
        print(json.dumps(ncnn(sys.argv[2], sys.argv[3] == "1", int(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*")
    parser.add_argument("--fewbit", required=True)
    parser.add_argument("--int8", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    runs, binary, subjects = options.runs, options.fewbit, {}
    for pair in options.models:
        model, _, param = pair.partition("=")
        name = os.path.basename(model).removesuffix(".onnx")
        subjects[f"{name}, f32, fewbit wgpu"] = lambda model=model: fewbit(binary, model, "wgpu", runs)
        if param:
            subjects[f"{name}, f32, ncnn Vulkan"] = lambda param=param: ncnn_apart(param, False, runs)
            subjects[f"{name}, f16, ncnn Vulkan"] = lambda param=param: ncnn_apart(param, True, runs)
    for model in options.int8:
        name = os.path.basename(model).removesuffix(".onnx")
        for backend in ["wgpu", "cpu"]:
            subjects[f"{name}, int8, fewbit {backend}"] = lambda model=model, backend=backend: fewbit(
                binary, model, backend, runs
            )
    results = {name: [] for name in subjects}
    for _ in range(options.rounds):
        for name in list(subjects):
            try:
                results[name].append(subjects[name]())
            except RuntimeError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                del subjects[name]
    for name, rounds in results.items():
        if rounds:
            median = statistics.median(round["median"] for round in rounds)
            least = min(round["min"] for round in rounds)
            print(f"{name:40} {median:8.1f} ms   least {least:8.1f} ms   {rounds[0]['device']}")


if __name__ == "__main__":
    main()
