"""Writes the models of `cmd/unsupported.trycmd`: operators, and a form of one, that the program lacks."""

import sys

from onnx import TensorProto, helper, save


def write(path, nodes, domains=(), initializers=(), extents=None):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, extents)],
        initializer=initializers,
    )
    sets = [helper.make_opsetid("", 17)] + [helper.make_opsetid(*domain) for domain in domains]
    save(helper.make_model(graph, opset_imports=sets, ir_version=9, producer_name=""), path)


def main(folder):
    node = helper.make_node
    custom = [("com.example", 3)]
    write(
        f"{folder}/custom.onnx",
        [
            node("Relu", ["x"], ["a"], "first"),
            node("Gelu", ["a"], ["b"], "gelu", domain="com.example"),
            node("Relu", ["b"], ["y"], "after"),
        ],
        custom,
    )
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 2, 3, 3], [0.0] * 54)
    write(
        f"{folder}/form.onnx",
        [
            node("ConvTranspose", ["x", "w"], ["a"], "up", auto_pad="SAME_UPPER", strides=[2, 2]),
            node("Relu", ["a"], ["y"], "after"),
        ],
        initializers=[weights],
        extents=[1, 2, 16, 16],
    )

    def branch(name, operator, **options):
        output = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [1, 3, 8, 8])
        return helper.make_graph([node(operator, ["x"], [f"{name}_y"], name, **options)], name, [], [output])

    write(
        f"{folder}/body.onnx",
        [
            node("ReduceMean", ["x"], ["m"], "mean", keepdims=0, axes=[0, 1, 2, 3]),
            node("Greater", ["m", "zero"], ["c"], "positive"),
            node(
                "If",
                ["c"],
                ["y"],
                "choice",
                then_branch=branch("odd", "Frobnicate", domain="com.example"),
                else_branch=branch("plain", "Relu"),
            ),
        ],
        custom,
        [helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])],
        [1, 3, 8, 8],
    )


main(sys.argv[1])
