#!/usr/bin/env python3
"""Makes everything in this folder: the split of the digits data, and a small CNN trained on it.

    python train.py            split, train, export, measure (one to two minutes on one core)
    python train.py --check    without training: the committed data are what the split gives, and the
                               committed model has the structure and the accuracy the README states

Needs numpy, scikit-learn, pillow, onnx and onnxruntime. Training is plain numpy; every random number
comes from SEED. Two runs on one machine give the same file; another BLAS library may round differently
and give another model of the same quality, which is why `--check` measures rather than compares weights.

The exported graph is deliberately *not* prepared for deployment: batch normalisations stand after their
convolutions and activations are nodes of their own, as a training framework leaves them.
"""

import argparse
import csv
import os
import pathlib
import sys
import time

# One BLAS thread: the order of additions, and so the trained model, must not depend on the core count.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from PIL import Image  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE / "digits.onnx"
CALIBRATION = HERE / "calibration"
EVALUATION = HERE / "evaluation.npz"

SEED = 20
CALIBRATION_IMAGES = 100
EVALUATION_IMAGES = 400
EPOCHS = 40
BATCH = 64
PEAK_RATE = 3e-3
LABEL_SMOOTHING = 0.1
BN_EPSILON = 1e-5
BN_MOMENTUM = 0.9

# What this script asserts of the exported model on the evaluation images.
MIN_ACCURACY = 98.5
MAX_BYTES = 400_000


# --- data ---------------------------------------------------------------------------------------------


def split():
    """The three parts, each (uint8 [N,8,8,1] grey values 0..255, int64 [N] labels); no image in two parts.

    scikit-learn stores 17 grey levels (0..16); they are spread over 0..255 so that ordinary PNG readers
    and the usual mean=127.5,std=127.5 apply.
    """
    digits = load_digits()
    levels = digits.images.astype(np.int64)
    grey = ((levels * 255 + 8) // 16).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(labels))
    parts = np.split(order, [CALIBRATION_IMAGES, CALIBRATION_IMAGES + EVALUATION_IMAGES])
    return [(grey[part], labels[part]) for part in parts]


def normalise(grey):
    """Grey values uint8 [N,8,8,1] to the network's input range, still NHWC: (p - 127.5) / 127.5."""
    return ((grey.astype(np.float32) - 127.5) / 127.5).astype(np.float32)


def write_data(calibration, evaluation):
    """Calibration as a folder of PNGs with labels.csv, evaluation as one .npz: both data formats in use."""
    CALIBRATION.mkdir(exist_ok=True)
    for old in CALIBRATION.glob("*.png"):
        old.unlink()
    rows = []
    for i, (image, label) in enumerate(zip(*calibration)):
        name = f"{i:03}.png"
        Image.fromarray(image[..., 0]).save(CALIBRATION / name, optimize=True)
        rows.append((name, int(label)))
    with open(CALIBRATION / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "label"))
        writer.writerows(rows)
    np.savez_compressed(EVALUATION, images=evaluation[0], labels=evaluation[1])


def read_data():
    """The committed calibration and evaluation parts, in the form `split` gives them."""
    with open(CALIBRATION / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    images = [np.asarray(Image.open(CALIBRATION / row["file"])) for row in rows]
    labels = [int(row["label"]) for row in rows]
    with np.load(EVALUATION) as archive:
        evaluation = archive["images"], archive["labels"]
    return (np.stack(images)[..., None], np.array(labels, np.int64)), evaluation


def shifted(batch, rng):
    """Moves each image by up to one pixel either way, in fractions (bilinear); what enters is background."""
    n, h, w, _ = batch.shape
    padded = np.pad(batch, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=-1.0)
    offset = rng.uniform(1.0, 3.0, (2, n))
    whole = np.floor(offset).astype(int)
    part = (offset - whole).astype(np.float32)
    rows = whole[0][:, None] + np.arange(h + 1)
    columns = whole[1][:, None] + np.arange(w + 1)
    window = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    fy, fx = part[0][:, None, None, None], part[1][:, None, None, None]
    window = window[:, :-1] * (1 - fy) + window[:, 1:] * fy
    return np.ascontiguousarray(window[:, :, :-1] * (1 - fx) + window[:, :, 1:] * fx)


# --- layers: forward, backward, export; activations are float32 NHWC ------------------------------------


class Layer:
    """`forward(x, train)` keeps what `backward(dy)` needs; `weights` and `grads` are parallel lists."""

    weights = ()
    grads = ()


class Conv(Layer):
    """k×k convolution without bias (batch normalisation follows), stride s, padding k // 2."""

    def __init__(self, name, rng, cin, cout, k, stride=1):
        self.name, self.k, self.stride = name, k, stride
        deviation = np.sqrt(2.0 / (cin * k * k))
        self.weights = [rng.normal(0, deviation, (k * k * cin, cout)).astype(np.float32)]

    def columns(self, x):
        p = self.k // 2
        x = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
        window = np.lib.stride_tricks.sliding_window_view(x, (self.k, self.k), (1, 2))
        window = window[:, :: self.stride, :: self.stride].transpose(0, 1, 2, 4, 5, 3)
        return np.ascontiguousarray(window).reshape(*window.shape[:3], -1)

    def forward(self, x, train):
        self.x_shape = x.shape
        self.cols = x if self.k == 1 else self.columns(x)
        return self.cols @ self.weights[0]

    def backward(self, dy):
        n, oh, ow, cout = dy.shape
        flat = dy.reshape(-1, cout)
        self.grads = [self.cols.reshape(len(flat), -1).T @ flat]
        dcols = flat @ self.weights[0].T
        if self.k == 1:
            return dcols.reshape(self.x_shape)
        _, h, w, c = self.x_shape
        p, s = self.k // 2, self.stride
        dcols = dcols.reshape(n, oh, ow, self.k, self.k, c)
        dx = np.zeros((n, h + 2 * p, w + 2 * p, c), np.float32)
        for i in range(self.k):
            for j in range(self.k):
                dx[:, i : i + s * oh : s, j : j + s * ow : s] += dcols[:, :, :, i, j]
        return dx[:, p : p + h, p : p + w]

    def export(self, graph, x):
        cin = self.weights[0].shape[0] // (self.k * self.k)
        weight = self.weights[0].reshape(self.k, self.k, cin, -1).transpose(3, 2, 0, 1)
        return graph.conv(self.name, x, weight, self.stride, 1)


class DepthwiseConv(Layer):
    """3×3 convolution of each channel by itself, stride s, padding 1, without bias."""

    def __init__(self, name, rng, channels, stride):
        self.name, self.stride = name, stride
        self.weights = [rng.normal(0, np.sqrt(2.0 / 9), (3, 3, channels)).astype(np.float32)]

    def taps(self, x, oh, ow):
        """The nine shifted views of the padded input that meet the nine weights."""
        s = self.stride
        for i in range(3):
            for j in range(3):
                yield i, j, x[:, i : i + s * oh : s, j : j + s * ow : s]

    def forward(self, x, train):
        self.padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        n, h, w, c = x.shape
        oh, ow = (h - 1) // self.stride + 1, (w - 1) // self.stride + 1
        y = np.zeros((n, oh, ow, c), np.float32)
        for i, j, view in self.taps(self.padded, oh, ow):
            y += view * self.weights[0][i, j]
        return y

    def backward(self, dy):
        oh, ow = dy.shape[1:3]
        dw = np.empty_like(self.weights[0])
        dx = np.zeros_like(self.padded)
        inputs = self.taps(self.padded, oh, ow)
        for (i, j, x), (_, _, d) in zip(inputs, self.taps(dx, oh, ow)):
            dw[i, j] = np.einsum("nhwc,nhwc->c", x, dy)
            d += dy * self.weights[0][i, j]
        self.grads = [dw]
        return dx[:, 1:-1, 1:-1]

    def export(self, graph, x):
        weight = self.weights[0].transpose(2, 0, 1)[:, None]
        return graph.conv(self.name, x, weight, self.stride, weight.shape[0])


class BatchNorm(Layer):
    """Batch statistics while training, running statistics afterwards."""

    def __init__(self, name, channels):
        self.name = name
        self.weights = [np.ones(channels, np.float32), np.zeros(channels, np.float32)]
        self.mean = np.zeros(channels, np.float32)
        self.var = np.ones(channels, np.float32)

    def forward(self, x, train):
        if train:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            self.mean += (1 - BN_MOMENTUM) * (mean - self.mean)
            self.var += (1 - BN_MOMENTUM) * (var - self.var)
        else:
            mean, var = self.mean, self.var
        self.inverse = 1 / np.sqrt(var + np.float32(BN_EPSILON))
        self.unit = (x - mean) * self.inverse
        return self.unit * self.weights[0] + self.weights[1]

    def backward(self, dy):
        count = np.float32(dy.size / dy.shape[-1])
        dgamma = np.einsum("nhwc,nhwc->c", dy, self.unit)
        dbeta = dy.sum((0, 1, 2))
        self.grads = [dgamma, dbeta]
        return self.weights[0] * self.inverse * (dy - (dbeta + self.unit * dgamma) / count)

    def export(self, graph, x):
        values = dict(scale=self.weights[0], bias=self.weights[1], mean=self.mean, var=self.var)
        inputs = [x] + [graph.constant(f"{self.name}.{key}", value) for key, value in values.items()]
        return graph.node("BatchNormalization", self.name, inputs, epsilon=BN_EPSILON)


class Relu(Layer):
    """max(x, 0), and min(x, 6) too where `six` asks for it: Relu and Clip in the exported model."""

    def __init__(self, name, six=False):
        self.name, self.six = name, six

    def forward(self, x, train):
        self.open = (x > 0) & (x < 6) if self.six else x > 0
        return np.clip(x, 0, 6) if self.six else np.maximum(x, 0)

    def backward(self, dy):
        return dy * self.open

    def export(self, graph, x):
        if not self.six:
            return graph.node("Relu", self.name, [x])
        bounds = [graph.constant(f"{self.name}.{k}", np.float32(v)) for k, v in (("min", 0), ("max", 6))]
        return graph.node("Clip", self.name, [x, *bounds])


class Sequence(Layer):
    """Layers one after another."""

    def __init__(self, *layers):
        self.layers = layers

    def leaves(self):
        for layer in self.layers:
            yield from layer.leaves() if isinstance(layer, Sequence) else (layer,)

    def forward(self, x, train):
        for layer in self.layers:
            x = layer.forward(x, train)
        return x

    def backward(self, dy):
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def export(self, graph, x):
        for layer in self.layers:
            x = layer.export(graph, x)
        return x


class Residual(Sequence):
    """The input plus what the layers make of it."""

    def __init__(self, name, *layers):
        super().__init__(*layers)
        self.name = name

    def forward(self, x, train):
        return x + super().forward(x, train)

    def backward(self, dy):
        return dy + super().backward(dy)

    def export(self, graph, x):
        return graph.node("Add", self.name, [super().export(graph, x), x])


class GlobalAverage(Layer):
    """[N,H,W,C] to [N,C]: GlobalAveragePool and Flatten in the exported model."""

    def __init__(self, name):
        self.name = name

    def forward(self, x, train):
        self.x_shape = x.shape
        return x.mean((1, 2))

    def backward(self, dy):
        _, h, w, _ = self.x_shape
        return np.broadcast_to((dy / np.float32(h * w))[:, None, None, :], self.x_shape)

    def export(self, graph, x):
        pooled = graph.node("GlobalAveragePool", self.name, [x])
        return graph.node("Flatten", "flatten", [pooled], axis=1)


class Dense(Layer):
    """x @ weight + bias: Gemm in the exported model, its weight stored [out, in] (transB)."""

    def __init__(self, name, rng, cin, cout):
        self.name = name
        deviation = np.sqrt(1.0 / cin)
        self.weights = [rng.normal(0, deviation, (cin, cout)).astype(np.float32), np.zeros(cout, np.float32)]

    def forward(self, x, train):
        self.x = x
        return x @ self.weights[0] + self.weights[1]

    def backward(self, dy):
        self.grads = [self.x.T @ dy, dy.sum(0)]
        return dy @ self.weights[0].T

    def export(self, graph, x):
        weight = graph.constant(f"{self.name}.weight", self.weights[0].T)
        bias = graph.constant(f"{self.name}.bias", self.weights[1])
        return graph.node("Gemm", self.name, [x, weight, bias], output="logits", transB=1)


def network(rng):
    """2.1 million multiply-adds per image: stem, residual block, depthwise-separable block, head."""
    return Sequence(
        Conv("stem.conv", rng, 1, 32, 3),
        BatchNorm("stem.norm", 32),
        Relu("stem.relu"),
        Residual(
            "block1.add",
            Conv("block1.conv1", rng, 32, 32, 3),
            BatchNorm("block1.norm1", 32),
            Relu("block1.relu1"),
            Conv("block1.conv2", rng, 32, 32, 3),
            BatchNorm("block1.norm2", 32),
        ),
        Relu("block1.relu2"),
        DepthwiseConv("block2.depthwise", rng, 32, 2),
        BatchNorm("block2.norm1", 32),
        Relu("block2.relu6a", six=True),
        Conv("block2.pointwise", rng, 32, 64, 1),
        BatchNorm("block2.norm2", 64),
        Relu("block2.relu6b", six=True),
        Conv("block3.conv", rng, 64, 96, 3),
        BatchNorm("block3.norm", 96),
        Relu("block3.relu"),
        GlobalAverage("pool"),
        Dense("classifier", rng, 96, 10),
    )


# --- training -------------------------------------------------------------------------------------------


class Adam:
    """Adam over every weight of the network."""

    def __init__(self, layers):
        self.layers = [layer for layer in layers if len(layer.weights)]
        self.first = [[np.zeros_like(w) for w in layer.weights] for layer in self.layers]
        self.second = [[np.zeros_like(w) for w in layer.weights] for layer in self.layers]
        self.step = 0

    def update(self, rate):
        self.step += 1
        rate = rate * np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        for layer, first, second in zip(self.layers, self.first, self.second):
            for w, g, m, v in zip(layer.weights, layer.grads, first, second):
                m += np.float32(0.1) * (g - m)
                v += np.float32(0.001) * (g * g - v)
                w -= np.float32(rate) * m / (np.sqrt(v) + np.float32(1e-8))


def softmax_loss_gradient(logits, labels):
    """Mean cross-entropy against smoothed labels, and its gradient with respect to the logits."""
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    probability = exponent / exponent.sum(1, keepdims=True)
    classes = logits.shape[1]
    target = np.full_like(probability, LABEL_SMOOTHING / classes)
    target[np.arange(len(labels)), labels] += 1 - LABEL_SMOOTHING
    loss = -(target * np.log(probability + 1e-12)).sum(1).mean()
    return loss, ((probability - target) / len(labels)).astype(np.float32)


def train(images, labels):
    """Trains on shifted copies of `images` (NHWC, normalised); the rate follows one warm cosine."""
    rng = np.random.default_rng(SEED + 1)
    net = network(rng)
    adam = Adam(net.leaves())
    batches = len(labels) // BATCH
    total = EPOCHS * batches
    for epoch in range(EPOCHS):
        order, losses = rng.permutation(len(labels)), []
        for b in range(batches):
            pick = order[b * BATCH : (b + 1) * BATCH]
            logits = net.forward(shifted(images[pick], rng), True)
            loss, gradient = softmax_loss_gradient(logits, labels[pick])
            net.backward(gradient)
            progress = (epoch * batches + b) / total
            adam.update(PEAK_RATE * min(1, progress * 20 + 0.05) * 0.5 * (1 + np.cos(np.pi * progress)))
            losses.append(loss)
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1:3} of {EPOCHS}: loss {np.mean(losses):.4f}", file=sys.stderr)
    return net


# --- export and measurement -------------------------------------------------------------------------------


class GraphBuilder:
    """Collects nodes and initializers; a node's output bears the node's name unless told otherwise."""

    def __init__(self):
        self.nodes, self.initializers = [], []

    def constant(self, name, value):
        self.initializers.append(numpy_helper.from_array(np.array(value, np.float32, order="C"), name))
        return name

    def node(self, op, name, inputs, output=None, **attributes):
        output = output or f"{name}.out"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def conv(self, name, x, weight, stride, group):
        """`weight` in ONNX order [out, in / group, k, k]."""
        k = weight.shape[-1]
        inputs = [x, self.constant(f"{name}.weight", weight)]
        shape = dict(kernel_shape=[k, k], strides=[stride, stride], pads=[k // 2] * 4, group=group)
        return self.node("Conv", name, inputs, **shape)


def export(net):
    """The trained network as ONNX: opset 17, `image` [N,1,8,8] in, `logits` [N,10] out, N free."""
    graph = GraphBuilder()
    net.export(graph, "image")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "digits",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="fewbit examples/digits/train.py",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def logits_of(model_bytes, images):
    """ONNX Runtime's logits for normalised NHWC `images`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": images.transpose(0, 3, 1, 2)})[0]


def measure(evaluation):
    """Prints and asserts what the README states of the committed model."""
    data = MODEL.read_bytes()
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    parameters = sum(numpy_helper.to_array(t).size for t in model.graph.initializer)
    logits = logits_of(data, normalise(evaluation[0]))
    right = int((logits.argmax(1) == evaluation[1]).sum())
    accuracy = 100 * right / len(evaluation[1])
    operators = sorted({node.op_type for node in model.graph.node})
    print(f"model       {len(data)} bytes, {parameters} parameters, operators {' '.join(operators)}")
    print(f"evaluation  {right} of {len(evaluation[1])} right, top-1 {accuracy:.2f} %")
    assert accuracy >= MIN_ACCURACY, f"top-1 {accuracy:.2f} % is below {MIN_ACCURACY} %"
    assert len(data) <= MAX_BYTES, f"{len(data)} bytes are more than {MAX_BYTES}"
    wanted = "Add BatchNormalization Clip Conv Flatten Gemm GlobalAveragePool Relu".split()
    assert operators == wanted, f"operators are {operators}, expected {wanted}"


def check(calibration, evaluation):
    """The committed data must be the split's, image by image."""
    for name, found, expected in zip(("calibration", "evaluation"), read_data(), (calibration, evaluation)):
        for what, a, b in zip(("images", "labels"), found, expected):
            assert a.dtype == b.dtype and np.array_equal(a, b), f"{name} {what} differ from the split"
        print(f"{name:11} {len(found[1])} images as split with seed {SEED}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="verify the committed files; write nothing")
    arguments = parser.parse_args()
    calibration, evaluation, training = split()
    if not arguments.check:
        start = time.monotonic()
        net = train(normalise(training[0]), training[1])
        print(f"trained on {len(training[1])} images in {time.monotonic() - start:.0f} s", file=sys.stderr)
        write_data(calibration, evaluation)
        model = export(net)
        images = normalise(evaluation[0])
        difference = np.abs(logits_of(model.SerializeToString(), images) - net.forward(images, False)).max()
        assert difference < 1e-3, f"ONNX Runtime and the training code differ by {difference}"
        MODEL.write_bytes(model.SerializeToString())
    check(calibration, evaluation)
    measure(evaluation)


if __name__ == "__main__":
    main()
