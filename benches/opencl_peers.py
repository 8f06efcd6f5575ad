"""The OpenCL plugin beside others on this machine, in turns: what one inference takes.

    python benches/opencl_peers.py --fewbit target/release/fewbit --plugin FOLDER/opencl.backend.toml \
        --float efficientnet_lite0.onnx --int8 int8.onnx [--ncnn model.ncnn.param] [--rounds 3]

fewbit runs both models by the plugin, and the 8-bit one on its own CPU kernels. tinygrad (`DEV=CL`) runs the float
model on the same OpenCL runtime, ncnn on the processor what `pnnx` made of it; each is left out, with the reason, where
its package (`tinygrad`, `ncnn`) is missing. Prints the median over rounds of each round's median, and the least time.
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


def tinygrad(model, shape, runs):
    import numpy as np
    from tinygrad import Device, Tensor, TinyJit
    from tinygrad.nn.onnx import OnnxRunner

    if Device.DEFAULT != "CL":
        raise RuntimeError(f"tinygrad runs on {Device.DEFAULT}, not on OpenCL")
    runner = OnnxRunner(model)
    name = next(iter(runner.graph_inputs))
    x = Tensor(np.random.default_rng(1).random(shape, dtype=np.float32)).realize()
    step = TinyJit(lambda x: next(iter(runner({name: x}).values())).realize())
    return timed(lambda: step(x).numpy(), runs)


def ncnn(model, shape, runs):
    import ncnn as library
    import numpy as np

    net = library.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = os.cpu_count()
    net.load_param(model)
    net.load_model(model.removesuffix("param") + "bin")
    x = np.random.default_rng(1).random(shape[1:], dtype=np.float32)

    def infer():
        extractor = net.create_extractor()
        extractor.input(net.input_names()[0], library.Mat(x))
        np.array(extractor.extract(net.output_names()[0])[1])

    return timed(infer, runs)


def fewbit(binary, arguments, runs):
    command = [binary, "bench", *arguments, "--iterations", str(runs), "--format", "json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"median": report["median_ms"], "min": report["min_ms"]}


def apart(name, model, shape, runs, **environment):
    """One of the functions above in a process of its own: runtimes keep threads and settings."""
    command = [sys.executable, __file__, "--one", name, model, json.dumps(shape), str(runs)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    return json.loads(result.stdout.strip().splitlines()[-1])


def main():
    if sys.argv[1:2] == ["--one"]:
        name, model, shape, runs = sys.argv[2:6]
        print(json.dumps(globals()[name](model, json.loads(shape), int(runs))))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--fewbit", required=True)
    parser.add_argument("--plugin", required=True)
    parser.add_argument("--float", required=True)
    parser.add_argument("--int8", required=True)
    parser.add_argument("--ncnn")
    parser.add_argument("--shape", default="1,3,224,224")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    shape, runs = [int(extent) for extent in options.shape.split(",")], options.runs
    by_plugin = ["--plugin", os.path.abspath(options.plugin), "--backend", "opencl"]
    subjects = {
        "fewbit, int8, OpenCL": lambda: fewbit(options.fewbit, [options.int8, *by_plugin], runs),
        "fewbit, float, OpenCL": lambda: fewbit(options.fewbit, [options.float, *by_plugin], runs),
        "tinygrad, float, OpenCL": lambda: apart("tinygrad", options.float, shape, runs, DEV="CL"),
        "fewbit, int8, CPU": lambda: fewbit(options.fewbit, [options.int8, "--backend", "cpu"], runs),
    }
    if options.ncnn:
        subjects["ncnn, float, CPU"] = lambda: apart("ncnn", options.ncnn, shape, runs)
    results = {name: [] for name in subjects}
    for _ in range(options.rounds):
        for name in list(subjects):
            try:
                results[name].append(subjects[name]())
            except (RuntimeError, subprocess.CalledProcessError) as error:
                print(f"{name} is left out: {getattr(error, 'stderr', None) or error}", file=sys.stderr)
                del subjects[name]
    for name, rounds in results.items():
        if rounds:
            median = statistics.median(round["median"] for round in rounds)
            print(f"{name:26} {median:8.1f} ms   least {min(round['min'] for round in rounds):8.1f} ms")


if __name__ == "__main__":
    main()
