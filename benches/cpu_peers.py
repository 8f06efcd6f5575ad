"""What one inference takes on this processor, beside the runtimes that people would pick instead, in turns.

    pip install onnx onnxruntime openvino nncf MNN tract ai-edge-litert
    python benches/cpu_peers.py MODEL.onnx… --fewbit target/release/fewbit [--threads 1 2] [--rounds 5] [--table]

Every runtime has the model in a process of its own and waits there while another one runs. A round gives each of them
the same time; what is printed is the median over rounds of each round's median, and the median over rounds of the ratio
of fewbit to the best of the others in that round (below 1: fewbit is ahead), apart for float and for int8. `load` is the
time from opening the file to being ready to run (for the others, which may prepare on their first run, to its end),
`memory` the process's peak by then less what it had before (for fewbit the whole process). A package that is missing, or a model that it refuses, is left out with the reason on standard error.

int8 is each tool's own: ONNX Runtime's `quantize_static` (QDQ, per channel), NNCF for OpenVINO, `fewbit quantize`,
and in LiteRT (XNNPACK) the TFLite file that fewbit writes. All are calibrated on the same eight arrays of noise: this
measures time, not accuracy. A transformer is quantized dynamically by ONNX Runtime and by fewbit.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

SPAN = 0.25
"""Seconds that a runtime has in a round."""

SHAPES = {
    "yolov8n_320": {"images": (1, 3, 320, 320)},
    "ppocr_det": {"x": (1, 3, 480, 640)},
    "ppocr_rec": {"x": (1, 3, 48, 320)},
    "ppocr_cls": {"x": (1, 3, 48, 192)},
    "minilm": dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (1, 128)),
}
"""What free dimensions are fixed to, by the file's name; one of a batch is 1."""

DYNAMIC = {"minilm"}
"""Models whose activations are quantized while they run."""


# What all sides share: shapes, inputs, folders.


def inputs_of(model):
    """Name, shape and type of each input, free dimensions fixed."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    constants = {initializer.name for initializer in graph.initializer}
    fixed = SHAPES.get(pathlib.Path(model).stem, {})
    found = {}
    for value in graph.input:
        if value.name in constants:
            continue
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in value.type.tensor_type.shape.dim]
        found[value.name] = (tuple(fixed.get(value.name, shape)), kind)
    return found


def noise(model, seed):
    import numpy as np

    random = np.random.default_rng(seed)
    arrays = {}
    for name, (shape, kind) in inputs_of(model).items():
        if np.issubdtype(kind, np.floating):
            arrays[name] = random.standard_normal(shape).astype(kind)
        elif "mask" in name:
            arrays[name] = np.ones(shape, kind)
        else:
            arrays[name] = random.integers(0, 2 if "type" in name else 1000, shape).astype(kind)
    return arrays


def fixed(model, work):
    """The model with all dimensions fixed."""
    import onnx

    path = work / f"{model.stem}.fixed.onnx"
    if not path.exists():
        loaded = onnx.load(model)
        shapes = inputs_of(model)
        for value in loaded.graph.input:
            if value.name in shapes:
                for dim, length in zip(value.type.tensor_type.shape.dim, shapes[value.name][0]):
                    dim.dim_value = length
        onnx.save(loaded, path)
    return path


def feeds_file(model, work):
    """The arrays that peers are timed with; a peer that made them itself would load the model for it and look large."""
    import numpy as np

    path = work / f"{model.stem}.feeds.npz"
    if not path.exists():
        np.savez(path, **noise(model, 99))
    return path


def calibration(model, work):
    """Eight arrays for every input, one behind the other, as `fewbit quantize --data` takes them."""
    import numpy as np

    path = work / f"{model.stem}.npz"
    if not path.exists():
        samples = [noise(model, seed) for seed in range(8)]
        np.savez(path, **{name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]})
    return path


# The runtimes. Each makes what it needs in `prepare` before anything is measured; `load` returns a function that runs.


def onnxruntime(path, threads, feeds):
    import onnxruntime as library

    library.set_default_logger_severity(3)
    options = library.SessionOptions()
    options.intra_op_num_threads = threads

    def load():
        session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, feeds)

    return load


def quantized_by_onnxruntime(model, work):
    path = work / f"{model.stem}.onnxruntime.onnx"
    if path.exists():
        return path
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = work / f"{model.stem}.prepared.onnx"
    quant_pre_process(str(fixed(model, work)), str(prepared), skip_symbolic_shape=True)
    if model.stem in DYNAMIC:
        quantize_dynamic(prepared, path, per_channel=True, weight_type=QuantType.QInt8)
        return path

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter([noise(model, seed) for seed in range(8)])

        def get_next(self):
            return next(self.left, None)

    quantize_static(
        prepared,
        path,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return path


def openvino(path, threads, feeds):
    import openvino as library

    core = library.Core()
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }

    def load():
        compiled = core.compile_model(str(path), "CPU", options)
        request = compiled.create_infer_request()
        arrays = {port: feeds[port.any_name] for port in compiled.inputs}
        return lambda: request.infer(arrays)

    return load


def quantized_by_nncf(model, work):
    path = work / f"{model.stem}.nncf.xml"
    if not path.exists():
        import nncf
        import openvino as library

        read = library.Core().read_model(str(fixed(model, work)))
        data = nncf.Dataset([noise(model, seed) for seed in range(8)])
        options = {"model_type": nncf.ModelType.TRANSFORMER} if model.stem in DYNAMIC else {}
        library.save_model(nncf.quantize(read, data, subset_size=8, **options), path)
    return path


def mnn(path, threads, feeds):
    import MNN
    import MNN.nn as nn

    options = {"backend": 0, "numThread": threads, "precision": "high"}
    names = json.loads(path.with_suffix(".json").read_text())
    kinds = {"float32": MNN.expr.float, "int64": MNN.expr.int, "int32": MNN.expr.int}

    def load():
        runtime = nn.create_runtime_manager((options,))
        module = nn.load_module_from_file(str(path), names["inputs"], names["outputs"], runtime_manager=runtime)
        given = []
        for name in names["inputs"]:
            array = feeds[name]
            given.append(
                MNN.expr.const(array.flatten().tolist(), list(array.shape), MNN.expr.NCHW, kinds[str(array.dtype)])
            )

        def run():
            for output in module.forward(given):
                output.read()

        return run

    return load


def converted_by_mnn(model, work):
    import onnx

    path = work / f"{model.stem}.mnn"
    if not path.exists():
        source = fixed(model, work)
        graph = onnx.load(source, load_external_data=False).graph
        names = {"inputs": list(inputs_of(model)), "outputs": [output.name for output in graph.output]}
        command = ["mnnconvert", "-f", "ONNX", "--modelFile", source, "--MNNModel", path, "--bizCode", "x"]
        done = subprocess.run(command, capture_output=True, text=True)
        if not path.exists():
            raise RuntimeError(done.stdout[-200:] + done.stderr[-200:])
        path.with_suffix(".json").write_text(json.dumps(names))
    return path


def tract(path, threads, feeds):
    import tract as library

    if threads != 1:
        raise RuntimeError("tract runs on one thread")

    def load():
        model = library.onnx().load(str(path))
        for index, array in enumerate(feeds.values()):
            kind = {"float32": "f32", "int64": "i64", "int32": "i32"}[str(array.dtype)]
            model.set_input_fact(index, ",".join(map(str, array.shape)) + "," + kind)
        runnable = model.into_model().into_runnable()
        arrays = list(feeds.values())
        return lambda: runnable.run(arrays)

    return load


def litert(path, threads, _feeds):
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    def load():
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        random = np.random.default_rng(99)
        for detail in interpreter.get_input_details():
            codes = random.integers(-128, 127, detail["shape"]).astype(detail["dtype"])
            interpreter.set_tensor(detail["index"], codes)

        def run():
            interpreter.invoke()
            for detail in interpreter.get_output_details():
                interpreter.get_tensor(detail["index"])

        return run

    return load


def quantized_by_fewbit(model, work, program, suffix=".onnx"):
    path = work / f"{model.stem}.fewbit{suffix}"
    if not path.exists():
        target = "ethos-u65-256" if suffix == ".tflite" else "cpu"
        command = [program, "quantize", model, "--target", target, "--data", calibration(model, work), "-o", path]
        command += shape_options(model)
        command += ["--strategy", "w8a8-dynamic"] if model.stem in DYNAMIC else []
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(complaint(done.stderr))
    return path


def complaint(said):
    """The error in what fewbit said."""
    lines = said.strip().splitlines() or ["it failed without a word"]
    return next((line for line in lines if line.startswith("error")), lines[0])


def shape_options(model):
    options = []
    for name, shape in SHAPES.get(model.stem, {}).items():
        options += ["--shape", f"{name}={','.join(map(str, shape))}"]
    return options


ENGINES = {
    "onnxruntime f32": (onnxruntime, lambda model, work, _: fixed(model, work)),
    "openvino f32": (openvino, lambda model, work, _: fixed(model, work)),
    "mnn f32": (mnn, lambda model, work, _: converted_by_mnn(model, work)),
    "tract f32": (tract, lambda model, work, _: fixed(model, work)),
    "onnxruntime int8": (onnxruntime, lambda model, work, _: quantized_by_onnxruntime(model, work)),
    "openvino int8": (openvino, lambda model, work, _: quantized_by_nncf(model, work)),
    "litert int8": (litert, lambda model, work, program: quantized_by_fewbit(model, work, program, ".tflite")),
}


def resident():
    """Bytes that this process has had at most."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) << 10


def serve(engine, feeds, path, threads):
    """A runtime's own process: loads, says so, and runs for a while whenever it is asked to."""
    import numpy as np

    feeds = dict(np.load(feeds))
    load = ENGINES[engine][0](path, threads, feeds)
    before, start = resident(), time.perf_counter()
    run = load()
    run()
    ready = {"load_ms": (time.perf_counter() - start) * 1e3, "memory_bytes": resident() - before}
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        run()
        times, end = [], time.perf_counter() + SPAN
        while not times or time.perf_counter() < end:
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
        print(json.dumps(statistics.median(times) * 1e3), flush=True)


class Peer:
    def __init__(self, engine, model, work, program, threads):
        path = ENGINES[engine][1](model, work, program)
        command = [sys.executable, __file__, "--serve", engine, feeds_file(model, work), "--path", path]
        command += ["--threads", str(threads)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):
            line = self.process.stdout.readline()
        if not line:
            said = self.process.stderr.read().strip().splitlines()
            raise RuntimeError(said[-1] if said else "it ended without a word")
        self.ready = json.loads(line)

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Fewbit:
    """`fewbit bench`, started anew for every round, with as many runs as the time allows."""

    def __init__(self, path, shapes, program, threads):
        self.command = [program, "bench", path, "--threads", str(threads), "--format", "json", *shapes]
        first = self.bench(3)
        self.iterations = max(3, int(SPAN * 1e3 / first["median_ms"]))
        self.ready = {"load_ms": first["load_ms"], "memory_bytes": first["peak_memory_bytes"]}

    def bench(self, iterations):
        done = subprocess.run(
            [*self.command, "--iterations", str(iterations)], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(complaint(done.stderr))
        return json.loads(done.stdout)

    def round(self):
        return self.bench(self.iterations)["median_ms"]

    def end(self):
        pass


def measured(model, work, program, threads, rounds):
    subjects = {}

    def start(name, make):
        try:
            subjects[name] = make()
        except Exception as error:  # noqa: BLE001, a refusal of any kind is a row's reason
            print(f"# {model.stem}, {threads} threads, {name}: {str(error)[:200]}", file=sys.stderr, flush=True)

    start("fewbit f32", lambda: Fewbit(model, shape_options(model), program, threads))
    start("fewbit int8", lambda: Fewbit(quantized_by_fewbit(model, work, program), [], program, threads))
    for engine in ENGINES:
        start(engine, lambda engine=engine: Peer(engine, model, work, program, threads))
    times = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            times[name].append(subject.round())
    for subject in subjects.values():
        subject.end()
    row = {"model": model.stem, "threads": threads, "ms": {}, "ready": {}, "ratio": {}}
    for name, subject in subjects.items():
        row["ms"][name] = statistics.median(times[name])
        row["ready"][name] = subject.ready
    for kind in ("f32", "int8"):
        ours = times.get(f"fewbit {kind}")
        others = [times[name] for name in times if name.endswith(kind) and not name.startswith("fewbit")]
        if ours and others:
            row["ratio"][kind] = statistics.median(own / min(best) for own, *best in zip(ours, *others))
    return row


def table(rows):
    """The rows as Markdown."""
    names = ["fewbit f32", *[n for n in ENGINES if n.endswith("f32")]]
    names += ["fewbit int8", *[n for n in ENGINES if n.endswith("int8")]]
    head = ["model", "threads", *names, "f32, of the best", "int8, of the best"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for row in rows:
        cells = [row["model"], str(row["threads"])]
        cells += [f"{row['ms'][name]:.2f}" if name in row["ms"] else "" for name in names]
        cells += [f"{row['ratio'][kind]:.2f}" if kind in row["ratio"] else "" for kind in ("f32", "int8")]
        lines.append("| " + " | ".join(cells) + " |")
    for kind in ("f32", "int8"):
        ratios = [row["ratio"][kind] for row in rows if kind in row["ratio"]]
        if ratios:
            lines.append("")
            lines.append(f"{kind}: median ratio {statistics.median(ratios):.2f}, largest {max(ratios):.2f}.")
    for title, key, scale in (("Load, ms", "load_ms", 1), ("Memory, MB", "memory_bytes", 1e-6)):
        lines += ["", f"{title}:", "", "| " + " | ".join(["model", *names]) + " |", "|---|" + "---:|" * len(names)]
        for row in rows:
            if row["threads"] == rows[0]["threads"]:
                found = [row["ready"].get(name, {}).get(key) for name in names]
                cells = ["" if value is None else f"{value * scale:.1f}" for value in found]
                lines.append("| " + " | ".join([row["model"], *cells]) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--fewbit", default="target/release/fewbit")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("target/peers"), help="what tools make")
    parser.add_argument("--json", type=pathlib.Path, help="where the rows go as JSON")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=pathlib.Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.models[0], given.path, given.threads[0])
        return
    os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    given.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for threads in given.threads:
        for model in given.models:
            rows.append(measured(model, given.work, given.fewbit, threads, given.rounds))
            row = rows[-1]
            told = "  ".join(f"{name} {ms:.2f}" for name, ms in row["ms"].items())
            print(f"# {row['model']}, {threads} threads: {told}  {row['ratio']}", file=sys.stderr, flush=True)
            if given.json:
                given.json.write_text(json.dumps(rows, indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
