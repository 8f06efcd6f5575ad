"""How long import of a model takes beside ONNX Runtime's session without optimisation, and how much memory it holds.

    cargo build --release -p fewbit-onnx --example import_time
    python benches/import_time.py resnet50.onnx [--program target/release/examples/import_time] [--rounds 11]

Both are measured in processes of their own, in turns, with the file in the page cache after the first round; medians and the least. Peak
memory is the process's largest resident set; fewbit's contains the program itself, ONNX Runtime's what its library
takes before the session is subtracted. Bound: 1.5 times ONNX Runtime's time, 1.3 times the file's size. Exit code 1
above it. Needs onnxruntime.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--program", default="target/release/examples/import_time")
parser.add_argument("--rounds", type=int, default=11)
arguments = parser.parse_args()

SESSION = """
import json, sys, time
import onnxruntime as ort
def held(what):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what))
options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
options.intra_op_num_threads = 1
before = held("VmRSS:")
start = time.perf_counter()
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
took = 1e3 * (time.perf_counter() - start)
print(json.dumps({"ms": took, "peak_kib": held("VmHWM:") - before}))
"""
COMMANDS = {
    "fewbit": [arguments.program, arguments.model],
    "ONNX Runtime": [sys.executable, "-c", SESSION, arguments.model],
}

size = os.path.getsize(arguments.model)
rows = {name: [] for name in COMMANDS}
for _ in range(arguments.rounds):
    for name, command in COMMANDS.items():
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        rows[name].append(json.loads(result.stdout))
print(f"{os.path.basename(arguments.model)}, {size / 1e6:.1f} MB, {arguments.rounds} rounds")
middle, least, memory = {}, {}, {}
for name, found in rows.items():
    times = [row["ms"] for row in found]
    middle[name], least[name] = statistics.median(times), min(times)
    memory[name] = max(row["peak_kib"] for row in found) * 1024 / size
    print(f"{name:<13} median {middle[name]:7.1f} ms, least {least[name]:7.1f} ms, peak {memory[name]:.2f} times the file")
ratio = middle["fewbit"] / middle["ONNX Runtime"]
print(f"fewbit takes {ratio:.2f} of ONNX Runtime's median, {least['fewbit'] / least['ONNX Runtime']:.2f} of its least")
met = ratio <= 1.5 and memory["fewbit"] <= 1.3
print("bound met" if met else "BOUND NOT MET")
sys.exit(0 if met else 1)
