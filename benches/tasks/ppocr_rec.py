"""How well a quantized PP-OCR recogniser reads, beside the float model.

    python benches/tasks/ppocr_rec.py ppocr_rec.onnx [--lines 300] [--fewbit PROGRAM] [quantize words...]

Lines of words, numbers, dates and prices are drawn in the fonts of this machine, slightly turned, blurred and noisy.
The characters come out of the model file, decoding is greedy (CTC). Calibration reads other lines. Prints the share
of lines read without a fault, and the character error rate (edits by characters), for both models, and the share of
lines both read alike. Bound: the quantized model reads at most 1.5 points fewer lines and has at most 0.5 points more
character errors. Exit code 1 below it.
"""

import sys

import onnx

import common
from common import real_inputs

parser = common.parser(__doc__)
parser.add_argument("--lines", type=int, default=300)
arguments, extra = common.parse(parser)


def characters(path):
    """The characters by number: nothing, those of the file's list, a space."""
    for entry in onnx.load(path).metadata_props:
        if entry.key == "character":
            return ["", *entry.value.splitlines(), " "]
    raise SystemExit(f"{path}: expected metadata `character`, found none")


def decoded(scores, alphabet):
    """Best character a step; repeats and nothing left out."""
    best = scores.argmax(-1)
    kept = [code for place, code in enumerate(best) if code and (place == 0 or code != best[place - 1])]
    return "".join(alphabet[code] for code in kept).strip()


def edits(a, b):
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


alphabet = characters(arguments.model)
recipe = real_inputs.RECIPES["ppocr_rec"]
lines, texts = real_inputs.text_lines(arguments.lines, "evaluation")
with common.Work(arguments) as work:
    calibration, _ = real_inputs.text_lines(recipe.calibration, "calibration")
    quantized = work.quantize({"x": calibration}, recipe.shape_words(), extra)
    read = {}
    for name, model in (("float", arguments.model), ("quantized", quantized)):
        rows = work.outputs(model, {"x": lines}, recipe.shape_words())
        read[name] = [decoded(row.reshape(-1, len(alphabet)), alphabet) for row in rows]
    work.sizes(quantized)

right, errors = {}, {}
for name, found in read.items():
    right[name] = 100 * sum(a == b for a, b in zip(found, texts)) / len(texts)
    errors[name] = 100 * sum(edits(a, b) for a, b in zip(found, texts)) / sum(map(len, texts))
    print(f"{name}: {right[name]:.2f} % of {len(texts)} lines without a fault, character error rate {errors[name]:.2f} %")
same = 100 * sum(a == b for a, b in zip(read["float"], read["quantized"])) / len(texts)
print(f"{len(real_inputs.fonts())} fonts; {same:.2f} % of the lines read alike by both")
met = right["quantized"] >= right["float"] - 1.5 and errors["quantized"] <= errors["float"] + 0.5
sys.exit(common.verdict(met))
