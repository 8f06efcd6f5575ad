"""Whether a quantized magika gives files of this machine the labels that the float model gives.

    python benches/tasks/magika.py magika.onnx [--files 300] [--fewbit PROGRAM] [quantize words...]

Files (sources, documents, pictures, fonts, archives, programs) are taken from this machine, at most 12 of one ending;
no file is in both calibration and evaluation. Prints how many labels are equal, how many among those of which the
float model is sure (above 0.5, where magika itself stops saying "generic"), and the largest change of a score. Bound:
97 % of the labels equal, and 99 % of the sure ones. Exit code 1 below it.
"""

import sys

import numpy as np

import common
from common import real_inputs

parser = common.parser(__doc__)
parser.add_argument("--files", type=int, default=300)
arguments, extra = common.parse(parser)

files = real_inputs.real_files("evaluation", arguments.files)
if len(files) < 200:
    raise SystemExit(f"expected at least 200 files on this machine, found {len(files)}")
codes = real_inputs.files_as_codes(arguments.files, "evaluation")
recipe = real_inputs.RECIPES["magika"]
with common.Work(arguments) as work:
    calibration = real_inputs.files_as_codes(recipe.calibration, "calibration")
    quantized = work.quantize({"bytes": calibration}, recipe.shape_words(), extra)
    reference = work.outputs(arguments.model, {"bytes": codes}, recipe.shape_words())
    scores = work.outputs(quantized, {"bytes": codes}, recipe.shape_words())
    work.sizes(quantized)

labels, expected = scores.argmax(1), reference.argmax(1)
sure = reference.max(1) > 0.5
equal, equal_sure = (labels == expected).mean(), (labels == expected)[sure].mean()
print(f"{len(files)} files, {len(set(expected))} labels: {100 * equal:.2f} % equal")
print(f"{int(sure.sum())} files with a sure label: {100 * equal_sure:.2f} % equal")
print(f"score of the float model's label: mean change {np.abs(scores - reference)[np.arange(len(files)), expected].mean():.4f}")
sys.exit(common.verdict(equal >= 0.97 and equal_sure >= 0.99))
