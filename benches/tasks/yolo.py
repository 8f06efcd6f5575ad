"""Whether a quantized YOLOv8 finds the boxes that the float model finds.

    python benches/tasks/yolo.py yolov8n_320.onnx --images FOLDER [--pictures 380] [--confidence 0.25]
        [--fewbit PROGRAM] [quantize words...]

Both models run on the pictures of FOLDER/evaluation; boxes above the confidence are kept, overlapping ones of a class
dropped (IoU above 0.45). A float box is matched with a quantized box of its class that overlaps it most, IoU at least
0.5. As a box just above the confidence may fall just below it, a float box counts as found if its match has at least
0.6 of the confidence asked for. Prints the number of boxes of each, the share of float boxes that are found, the share
of quantized boxes that have a float box, and the mean IoU of the matched. Bound: 95 % found and founded, mean IoU 0.90,
the numbers within 5 %. Exit code 1 below it.
"""

import sys

import numpy as np

import common
from common import real_inputs

SLACK = 0.6

parser = common.parser(__doc__)
parser.add_argument("--pictures", type=int, default=380)
parser.add_argument("--confidence", type=float, default=0.25)
arguments, extra = common.parse(parser)


def overlap(box, boxes):
    """Intersection over union of one box with several: left, top, right, bottom."""
    size = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(1)
    return size / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - size + 1e-9)


def boxes_of(row, confidence):
    """Boxes, classes and scores of one output, best first, without doubles."""
    row = row.reshape(22, -1).T
    score, kind = row[:, 4:].max(1), row[:, 4:].argmax(1)
    keep = score >= confidence
    middle, size = row[keep, :2], row[keep, 2:4]
    boxes, score, kind = np.hstack([middle - size / 2, middle + size / 2]), score[keep], kind[keep]
    left, chosen = list(np.argsort(-score, kind="stable")), []
    while left:
        best = left.pop(0)
        chosen.append(best)
        left = [other for other in left if kind[other] != kind[best] or overlap(boxes[best], boxes[[other]])[0] <= 0.45]
    return boxes[chosen], kind[chosen], score[chosen]


def matches(from_boxes, to_boxes):
    """For each box the IoU of the best of its class on the other side, 0 where there is none; each used once."""
    (boxes, kinds, _), (others, other_kinds, _) = from_boxes, to_boxes
    free = np.ones(len(others), bool)
    found = np.zeros(len(boxes))
    for index, (box, kind) in enumerate(zip(boxes, kinds)):
        candidates = np.flatnonzero(free & (other_kinds == kind))
        if len(candidates):
            iou = overlap(box, others[candidates])
            if iou.max() >= 0.5:
                found[index] = iou.max()
                free[candidates[iou.argmax()]] = False
    return found


recipe = real_inputs.RECIPES["yolov8n_320"]
pictures = real_inputs.detector(arguments.pictures, "evaluation")
with common.Work(arguments) as work:
    calibration = real_inputs.detector(recipe.calibration, "calibration")
    quantized = work.quantize({"images": calibration}, recipe.shape_words(), extra)
    reference = work.outputs(arguments.model, {"images": pictures}, recipe.shape_words())
    output = work.outputs(quantized, {"images": pictures}, recipe.shape_words())
    work.sizes(quantized)

found, founded, counts, scores = [], [], [0, 0], []
for float_row, row in zip(reference, output):
    sides = [{c: boxes_of(r, c) for c in (arguments.confidence, SLACK * arguments.confidence)} for r in (float_row, row)]
    strict, loose = arguments.confidence, SLACK * arguments.confidence
    found.append(matches(sides[0][strict], sides[1][loose]))
    founded.append(matches(sides[1][strict], sides[0][loose]))
    counts = [count + len(side[strict][0]) for count, side in zip(counts, sides)]
found, founded = np.concatenate(found), np.concatenate(founded)
share, share_back, iou = (found > 0).mean(), (founded > 0).mean(), found[found > 0].mean()
print(f"{len(pictures)} pictures: {counts[0]} boxes float, {counts[1]} quantized, confidence {arguments.confidence}")
print(f"float boxes found {100 * share:.1f} %, quantized boxes founded {100 * share_back:.1f} %, mean IoU {iou:.3f}")
met = min(share, share_back) >= 0.95 and iou >= 0.90 and abs(counts[1] - counts[0]) <= 0.05 * counts[0]
sys.exit(common.verdict(met))
