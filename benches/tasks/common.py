"""What the task scripts share: their command line, quantizing and running through the program `fewbit`.

Words that a script does not know are handed to `fewbit quantize`, so that recipes can be tried:
`python benches/tasks/minilm.py minilm.onnx --tokenizer T --strategy w8a8-dynamic`.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import real_inputs  # noqa: E402


def parser(description):
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("model")
    made.add_argument("--fewbit", default="target/release/fewbit")
    made.add_argument("--images", help="folder with calibration/ and evaluation/ pictures")
    made.add_argument("--keep", help="folder that keeps the quantized model")
    return made


def parse(made):
    """The script's own arguments, and the words for `fewbit quantize`."""
    arguments, extra = made.parse_known_args()
    real_inputs.IMAGES = arguments.images
    return arguments, extra


def verdict(met):
    print("bound met" if met else "BOUND NOT MET")
    return 0 if met else 1


class Work:
    """A folder for one script's run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.name = os.path.splitext(os.path.basename(arguments.model))[0]

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory()
        return self

    def __exit__(self, *_):
        self.scratch.cleanup()

    def path(self, name):
        return os.path.join(self.scratch.name, name)

    def run(self, *words):
        result = subprocess.run([self.arguments.fewbit, *words], capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"fewbit {' '.join(words)}\n{result.stderr}")

    def write(self, name, inputs):
        np.savez(self.path(name), **inputs)
        return self.path(name)

    def quantize(self, inputs, shapes, extra):
        """Quantizes the script's model by its recipe unless the command line says how."""
        words = extra or list(real_inputs.RECIPES[self.name].quantize)
        target = os.path.join(self.arguments.keep or self.scratch.name, f"{self.name}_int8.onnx")
        data = self.write("calibration.npz", inputs)
        self.run("quantize", self.arguments.model, *shapes, "--data", data, *words, "-o", target)
        print(f"recipe: {' '.join(words) or 'w8a8'}; calibrated on {len(next(iter(inputs.values())))} samples")
        return target

    def outputs(self, model, inputs, shapes):
        """The first output for every sample, one row each."""
        data = self.write("evaluation.npz", inputs)
        file = self.path("outputs.npy")
        self.run("eval", model, *shapes, "--data", data, "--outputs", file)
        return np.load(file)

    def sizes(self, quantized):
        before, after = (os.path.getsize(path) for path in (self.arguments.model, quantized))
        print(f"size: {before / 1e6:.2f} MB to {after / 1e6:.2f} MB")
