"""What other software says of an exported model: ONNX's checker, and ONNX Runtime's outputs.

    python check_export.py MODEL.onnx INPUTS.npy OUTPUTS.npy

Checks the model, runs every row of INPUTS as a batch of one and writes the first output of each, f32, to OUTPUTS.
"""

import sys

import numpy as np
import onnx
import onnxruntime

model, inputs, outputs = sys.argv[1:]
onnx.checker.check_model(model, full_check=True)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
rows = [session.run(None, {name: row[None]})[0].astype(np.float32) for row in np.load(inputs)]
np.save(outputs, np.concatenate(rows))
print(f"opset {onnx.load(model).opset_import[0].version}")
