"""How much of a sentence encoder's judgement survives quantization.

    python benches/tasks/minilm.py minilm.onnx --tokenizer minilm_tokenizer.json [--fewbit PROGRAM] [quantize words...]

`sentence_pairs.tsv` has 22 lines of a sentence and five others, from one that says the same (5) down to one about
something else (1): 110 pairs that a person put in order. The quantizer is calibrated on `sentences_calibration.txt`.
Prints the cosine between the float and the quantized embedding of every sentence, the Spearman correlation of the
pairs' similarities between float and quantized, and of each with the person's order. Bound: mean cosine at least 0.99,
correlation between the two at least 0.99, and the correlation with the person's order at most 0.01 lower. Exit code 1
below it.
"""

import os
import sys

import numpy as np

import common
from common import real_inputs

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = real_inputs.RECIPES["minilm"].shape_words()

parser = common.parser(__doc__)
parser.add_argument("--tokenizer", required=True)
arguments, extra = common.parse(parser)

real_inputs.TOKENIZER = arguments.tokenizer


def ranks(values):
    """Ranks from 0, the mean of the places where values are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def spearman(a, b):
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


with open(os.path.join(HERE, "sentence_pairs.tsv"), encoding="utf-8") as file:
    lines = [line.rstrip("\n").split("\t") for line in file]
order = np.array([5 - place for line in lines for place in range(len(line) - 1)])

pairs = real_inputs.sentences(None, "evaluation")
with common.Work(arguments) as work:
    quantized = work.quantize(real_inputs.sentences(None, "calibration"), SHAPES, extra)
    outputs = {name: work.outputs(path, pairs, SHAPES) for name, path in (("float", arguments.model), ("quantized", quantized))}
    work.sizes(quantized)

similarities = {}
for name, rows in outputs.items():
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    outputs[name] = rows
    groups = rows.reshape(len(lines), -1, rows.shape[1])
    similarities[name] = np.einsum("gd,gpd->gp", groups[:, 0], groups[:, 1:]).ravel()
cosines = (outputs["float"] * outputs["quantized"]).sum(1)
between = spearman(similarities["float"], similarities["quantized"])
with_person = {name: spearman(values, order) for name, values in similarities.items()}
print(f"{len(cosines)} sentences: cosine to float mean {cosines.mean():.4f}, smallest {cosines.min():.4f}")
print(f"{len(order)} pairs: Spearman of similarities, quantized to float {between:.4f}")
print(f"Spearman with the person's order: float {with_person['float']:.4f}, quantized {with_person['quantized']:.4f}")
met = cosines.mean() >= 0.99 and between >= 0.99 and with_person["quantized"] >= with_person["float"] - 0.01
sys.exit(common.verdict(met))
