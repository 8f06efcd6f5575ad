#!/usr/bin/env python3
"""Makes the QDQ models of other tools, and ONNX Runtime's outputs, that this crate's tests compare with.

    python make_reference.py            write the files below beside this script
    python make_reference.py --check    the committed models still give the committed outputs

From examples/digits (its model, and its calibration images in the order of labels.csv):
  digits_ort_qdq.onnx    ONNX Runtime's quantize_static: u8 activations, i8 per-channel weights, min-max
  digits_nncf_qdq.onnx   NNCF's default post-training quantization of the model as trained: batch
                         normalisations stay between the quantized convolutions and their activations
  digits_nncf_folded_qdq.onnx  the same after ONNX Runtime folded the batch normalisations
  digits_expected/*.npy  logits f32 [64,10] of the first 64 evaluation images: `float`, `ort_qdq`, `nncf_qdq`,
                         `nncf_folded_qdq`; of each QDQ model also `*_unfused`, computed with graph
                         optimisation off, that is, operator by operator in f32 between explicit
                         QuantizeLinear and DequantizeLinear

What the importer meets in them: NNCF mixes u8 and i8 activations, quantizes the input of a depthwise
convolution per channel (axis 1), counts an axis from the end (-2) and leaves biases f32; ONNX Runtime
removes a Relu or Clip that the quantized range implies and quantizes biases to i32.

Needs numpy, pillow, onnx, onnxruntime, nncf and openvino. The outputs of the optimised models come from
ONNX Runtime's integer kernels of the machine that ran this script (AVX-512 VNNI when committed).
"""

import argparse
import csv
import pathlib
import tempfile

import nncf
import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
DIGITS = HERE.parents[3] / "examples" / "digits"
ORT_QDQ = HERE / "digits_ort_qdq.onnx"
NNCF_QDQ = HERE / "digits_nncf_qdq.onnx"
NNCF_FOLDED_QDQ = HERE / "digits_nncf_folded_qdq.onnx"
EXPECTED = HERE / "digits_expected"
EVALUATED = 64


def preprocess(grey):
    """uint8 [N,8,8,1] to float32 [N,1,8,8]: mean=127.5,std=127.5."""
    return ((grey.astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)


def calibration():
    with open(DIGITS / "calibration" / "labels.csv", newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    grey = np.stack([np.asarray(Image.open(DIGITS / "calibration" / name)) for name in names])
    return preprocess(grey[..., None])


class Reader(CalibrationDataReader):
    """One image at a time, as quantize_static wants it."""

    def __init__(self, images):
        self.feeds = iter([{"image": image[None]} for image in images])

    def get_next(self):
        return next(self.feeds, None)


def quantize_with_ort(prepared, images):
    quantize_static(
        prepared,
        str(ORT_QDQ),
        Reader(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def quantize_with_nncf(model, images, output):
    dataset = nncf.Dataset(list(images), lambda image: {"image": image[None]})
    onnx.save(nncf.quantize(onnx.load(model), dataset, subset_size=len(images)), output)


def logits(path, images, optimise=True):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": images})[0]


def expected():
    with np.load(DIGITS / "evaluation.npz") as archive:
        images = preprocess(archive["images"][:EVALUATED])
    outputs = {"float": logits(DIGITS / "digits.onnx", images)}
    for path in (ORT_QDQ, NNCF_QDQ, NNCF_FOLDED_QDQ):
        name = path.stem.removeprefix("digits_")
        outputs[name] = logits(path, images)
        outputs[f"{name}_unfused"] = logits(path, images, optimise=False)
    return outputs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed outputs; write nothing")
    if parser.parse_args().check:
        for name, found in expected().items():
            committed = np.load(EXPECTED / f"{name}.npy")
            difference = np.abs(found - committed)
            print(f"{name:24} {np.mean(difference > 0):.2%} differ, by up to {difference.max():.3g}")
            assert np.array_equal(found.argmax(1), committed.argmax(1)), name
        return
    images = calibration()
    with tempfile.TemporaryDirectory() as folder:
        folded = str(pathlib.Path(folder) / "folded.onnx")
        quant_pre_process(str(DIGITS / "digits.onnx"), folded, skip_symbolic_shape=True)
        quantize_with_ort(folded, images)
        quantize_with_nncf(folded, images, NNCF_FOLDED_QDQ)
    quantize_with_nncf(DIGITS / "digits.onnx", images, NNCF_QDQ)
    EXPECTED.mkdir(exist_ok=True)
    for name, found in expected().items():
        np.save(EXPECTED / f"{name}.npy", found)


if __name__ == "__main__":
    main()
