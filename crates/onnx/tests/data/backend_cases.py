"""Writes ONNX's backend tests as files: python backend_cases.py FOLDER

FOLDER/<kind>-<name>/model.onnx and set_<i>/{input,output}_<j>.pb per case, and FOLDER/index.json, which lists every
case with its operator, tolerances and what it needs beyond tensors. The index is written last.
"""

import json
import os
import shutil
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test import loader

warnings.simplefilter("ignore")
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
TRAINING = {"Adagrad", "Adam", "Gradient", "Momentum", "SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"}


def nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from nodes(inner)


def needs(model):
    """What a case needs that is no tensor of numbers, computed the same way every time."""
    found = set()
    graphs = [model.graph]
    values = list(model.graph.input) + list(model.graph.output) + list(model.graph.value_info)
    for node in nodes(model.graph):
        for attribute in node.attribute:
            if attribute.HasField("g"):
                graphs.append(attribute.g)
                values += list(attribute.g.input) + list(attribute.g.output)
        if node.op_type in RANDOM:
            found.add("random numbers")
        if node.op_type in TRAINING or node.domain == "ai.onnx.preview.training":
            found.add("training")
        if node.op_type in ("Dropout", "BatchNormalization"):
            flags = [a.i for a in node.attribute if a.name == "training_mode"]
            if any(flags) or (node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]):
                found.add("training")
        if node.domain not in ("", "ai.onnx", "ai.onnx.preview.training"):
            if not any(f.domain == node.domain for f in model.functions):
                found.add("domain " + node.domain)
    for value in values:
        kind = value.type.WhichOneof("value")
        if kind == "tensor_type":
            if value.type.tensor_type.elem_type == onnx.TensorProto.STRING:
                found.add("strings")
        elif kind:
            found.add(kind.replace("_type", "s").replace("_", " "))
    for graph in graphs:
        if any(tensor.data_type == onnx.TensorProto.STRING for tensor in graph.initializer):
            found.add("strings")
        if graph.sparse_initializer:
            found.add("sparse tensors")
    for node in nodes(model.graph):
        if node.op_type.startswith(("Sequence", "Optional", "String", "ConcatFromSequence", "SplitToSequence")):
            found.add("strings" if node.op_type.startswith("String") else "sequences")
    return sorted(found)


def write(value, description, path):
    kind = description.type.WhichOneof("value")
    if isinstance(value, onnx.TensorProto):
        proto = value
    elif kind == "tensor_type":
        proto = numpy_helper.from_array(np.asarray(value), description.name)
    else:
        return
    with open(path, "wb") as file:
        file.write(proto.SerializeToString())


def main(folder):
    data = os.path.join(os.path.dirname(loader.__file__), "..", "data")
    index, operators = [], {}
    cases = list(loader.load_model_tests(kind="node"))
    for kind in ("simple", "pytorch-operator", "pytorch-converted"):
        cases += sorted(loader.load_model_tests(kind=kind), key=lambda case: case.name)
    from onnx.backend.test.case.model import collect_testcases

    collected = collect_testcases()
    written = {(case.kind, case.name) for case in cases}
    cases += [case for case in collected if case.kind == "simple" and ("simple", case.name) not in written]
    for case in cases:
        target = os.path.join(folder, f"{case.kind}-{case.name}")
        os.makedirs(target, exist_ok=True)
        if case.model is None:
            model = onnx.load(os.path.join(case.model_dir, "model.onnx"))
            shutil.copy(os.path.join(case.model_dir, "model.onnx"), target)
            sets = sorted(name for name in os.listdir(case.model_dir) if name.startswith("test_data_set_"))
            for at, name in enumerate(sets):
                shutil.copytree(os.path.join(case.model_dir, name), os.path.join(target, f"set_{at}"), dirs_exist_ok=True)
            count = len(sets)
        else:
            model = case.model
            onnx.save(model, os.path.join(target, "model.onnx"))
            for at, (inputs, outputs) in enumerate(case.data_sets):
                into = os.path.join(target, f"set_{at}")
                os.makedirs(into, exist_ok=True)
                for values, descriptions, name in [
                    (inputs, model.graph.input, "input"),
                    (outputs, model.graph.output, "output"),
                ]:
                    for number, (value, description) in enumerate(zip(values, descriptions)):
                        write(value, description, os.path.join(into, f"{name}_{number}.pb"))
            count = len(case.data_sets)
        op = model.graph.node[0].op_type if model.graph.node else "Identity"
        if case.kind == "node" and len(model.graph.node) > 1:
            op = next((n.op_type for n in model.graph.node if n.op_type != "Constant"), op)
        name = case.name
        base = name.split("_expanded")[0]
        if case.kind == "node":
            operators.setdefault(name, op)
            op = operators.get(base, op)
        else:
            op = f"models: {case.kind}"
        index.append(entry(case.kind, name, op, case.rtol, case.atol, model, count))
    light(folder, data, index)
    index.sort(key=lambda case: case["name"])
    with open(os.path.join(folder, "index.json"), "w") as file:
        json.dump({"onnx": onnx.__version__, "cases": index}, file)


def entry(kind, name, op, rtol, atol, model, sets):
    opset = next((s.version for s in model.opset_import if s.domain in ("", "ai.onnx")), 0)
    constants = {tensor.name for tensor in model.graph.initializer}
    try:
        since = onnx.defs.get_schema(op, opset).since_version
    except onnx.defs.SchemaError:
        since = opset
    return {
        "name": f"{kind}-{name}",
        "operator": op,
        "opset": since,
        "rtol": rtol,
        "atol": atol,
        "needs": needs(model),
        "inputs": [v.name for v in model.graph.input if v.name not in constants],
        "sets": sets,
    }


def light(folder, data, index):
    """Networks whose weights are constants of one value, with the inputs that ONNX's runner makes for them."""
    for name in sorted(os.listdir(os.path.join(data, "light"))):
        if not name.endswith(".onnx"):
            continue
        stem = name.removesuffix(".onnx")
        model = onnx.load(os.path.join(data, "light", name))
        target = os.path.join(folder, f"light-{stem}")
        into = os.path.join(target, "set_0")
        os.makedirs(into, exist_ok=True)
        shutil.copy(os.path.join(data, "light", name), os.path.join(target, "model.onnx"))
        constants = {tensor.name for tensor in model.graph.initializer}
        free = [value for value in model.graph.input if value.name not in constants]
        for number, value in enumerate(free):
            shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            count = int(np.prod(shape))
            array = (np.arange(count).reshape(shape) / count).astype(np.float32)
            write(array, value, os.path.join(into, f"input_{number}.pb"))
        for number in range(len(model.graph.output)):
            output = os.path.join(data, "light", f"{stem}_output_{number}.pb")
            shutil.copy(output, os.path.join(into, f"output_{number}.pb"))
        tolerance = 2e-3 if "densenet" in stem else 1e-3
        index.append(entry("light", stem, "models: light", tolerance, 1e-7, model, 1))


main(sys.argv[1])
