"""Train a small CNN on scikit-learn's 8x8 digits in plain numpy; export it to ONNX.

Run from the `models` folder: `OMP_NUM_THREADS=1 python -m digits.train`.

Training runs in float64 and the finished weights are rounded to multiples of
1/1024. The rounding hides the last-bit differences between BLAS builds and
CPUs, so that the exported file does not depend on them.
"""

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from heldout import save

SEED = 0
EPOCHS = 100
BATCH = 64
PEAK_RATE = 2e-3
WEIGHT_DECAY = 1e-2
GRID = 1024

Tensors = dict[str, np.ndarray]


def initial_weights(rng: np.random.Generator) -> Tensors:
    """He-normal weights and zero biases, in ONNX layout."""
    shapes = {"conv1": (16, 1, 3, 3), "conv2": (32, 16, 3, 3), "fc1": (64, 288), "fc2": (10, 64)}
    weights: Tensors = {}
    for layer, shape in shapes.items():
        fan_in = int(np.prod(shape[1:]))
        weights[f"{layer}.weight"] = rng.normal(0.0, np.sqrt(2.0 / fan_in), shape)
        weights[f"{layer}.bias"] = np.zeros(shape[0])
    return weights


def pad(x: np.ndarray, width: int) -> np.ndarray:
    """Zero-pad the two image axes of [batch, channel, row, column]."""
    return np.pad(x, ((0, 0), (0, 0), (width, width), (width, width)))


def patches(x: np.ndarray) -> np.ndarray:
    """All 3x3 patches of x as [batch, row, column, channel * 9]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    n, _, rows, columns = windows.shape[:4]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, rows, columns, -1)


def convolve(cols: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """3x3 convolution, given the patches of its input."""
    return (cols @ weight.reshape(len(weight), -1).T).transpose(0, 3, 1, 2)


def weight_gradient(cols: np.ndarray, d_out: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Gradient of a convolution's weight from the gradient of its output."""
    columns = d_out.transpose(1, 0, 2, 3).reshape(len(weight), -1)
    return (columns @ cols.reshape(-1, cols.shape[-1])).reshape(weight.shape)


def gradients(w: Tensors, x: np.ndarray, labels: np.ndarray) -> Tensors:
    """Gradients of the mean cross-entropy on one batch: forward, then backward."""
    n = len(x)
    cols1 = patches(pad(x, 1))
    act1 = np.maximum(convolve(cols1, w["conv1.weight"]) + w["conv1.bias"][:, None, None], 0.0)
    cols2 = patches(act1)
    act2 = np.maximum(convolve(cols2, w["conv2.weight"]) + w["conv2.bias"][:, None, None], 0.0)
    cells = act2.reshape(n, 32, 3, 2, 3, 2)
    pooled = cells.max(axis=(3, 5), keepdims=True)
    flat = pooled.reshape(n, -1)
    hidden = np.maximum(flat @ w["fc1.weight"].T + w["fc1.bias"], 0.0)
    logits = hidden @ w["fc2.weight"].T + w["fc2.bias"]
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))

    d_logits = exps / exps.sum(axis=1, keepdims=True)
    d_logits[np.arange(n), labels] -= 1.0
    d_logits /= n
    d_hidden = (d_logits @ w["fc2.weight"]) * (hidden > 0.0)
    d_pooled = (d_hidden @ w["fc1.weight"]).reshape(pooled.shape)
    d_act2 = (d_pooled * (cells == pooled)).reshape(act2.shape) * (act2 > 0.0)
    turned = w["conv2.weight"][:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    d_act1 = convolve(patches(pad(d_act2, 2)), turned) * (act1 > 0.0)
    return {
        "conv1.weight": weight_gradient(cols1, d_act1, w["conv1.weight"]),
        "conv1.bias": d_act1.sum(axis=(0, 2, 3)),
        "conv2.weight": weight_gradient(cols2, d_act2, w["conv2.weight"]),
        "conv2.bias": d_act2.sum(axis=(0, 2, 3)),
        "fc1.weight": d_hidden.T @ flat,
        "fc1.bias": d_hidden.sum(axis=0),
        "fc2.weight": d_logits.T @ hidden,
        "fc2.bias": d_logits.sum(axis=0),
    }


def shifted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move about half of the images by up to 1 pixel along each axis, filling with zero."""
    framed = pad(x, 1)
    offsets = rng.integers(0, 3, (len(x), 2))
    offsets[rng.random(len(x)) < 0.5] = 1
    return np.stack([image[:, r : r + 8, c : c + 8] for image, (r, c) in zip(framed, offsets)])


def train(x: np.ndarray, labels: np.ndarray) -> Tensors:
    """Adam with decoupled weight decay and a cosine rate; returns rounded weights."""
    rng = np.random.default_rng(SEED)
    w = initial_weights(rng)
    mean = {name: np.zeros_like(value) for name, value in w.items()}
    square = {name: np.zeros_like(value) for name, value in w.items()}
    batches = len(x) // BATCH
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        for index in range(batches):
            step = epoch * batches + index + 1
            rate = PEAK_RATE * 0.5 * (1.0 + np.cos(np.pi * step / (EPOCHS * batches)))
            rows = order[index * BATCH : (index + 1) * BATCH]
            for name, grad in gradients(w, shifted(x[rows], rng), labels[rows]).items():
                mean[name] = 0.9 * mean[name] + 0.1 * grad
                square[name] = 0.999 * square[name] + 0.001 * grad * grad
                unbiased = mean[name] / (1.0 - 0.9**step)
                scale = np.sqrt(square[name] / (1.0 - 0.999**step)) + 1e-8
                w[name] = w[name] - rate * (unbiased / scale + WEIGHT_DECAY * w[name])
    return {name: np.round(value * GRID) / GRID for name, value in w.items()}


def export(w: Tensors) -> ModelProto:
    """The trained network as an ONNX model, opset 17."""
    nodes = [
        helper.make_node(
            "Conv", ["image", "conv1.weight", "conv1.bias"], ["conv1"],
            name="conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1],
        ),
        helper.make_node("Relu", ["conv1"], ["relu1"], name="relu1"),
        helper.make_node(
            "Conv", ["relu1", "conv2.weight", "conv2.bias"], ["conv2"],
            name="conv2", kernel_shape=[3, 3], pads=[0, 0, 0, 0], strides=[1, 1],
        ),
        helper.make_node("Relu", ["conv2"], ["relu2"], name="relu2"),
        helper.make_node("MaxPool", ["relu2"], ["pool"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pool"], ["flat"], name="flatten", axis=1),
        helper.make_node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["fc1"], name="fc1", transB=1),
        helper.make_node("Relu", ["fc1"], ["relu3"], name="relu3"),
        helper.make_node("Gemm", ["relu3", "fc2.weight", "fc2.bias"], ["logits"], name="fc2", transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in w.items()],
    )
    return helper.make_model(
        graph, producer_name="nabla-models", ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )


def main() -> None:
    data = load_digits()
    images = data.images[:, None, :, :] / 16.0
    fit_x, test_x, fit_y, test_y = train_test_split(
        images, data.target, test_size=0.25, random_state=SEED, stratify=data.target
    )
    model = export(train(fit_x, fit_y))
    predicted = save(Path(__file__).parent, model, test_x.astype(np.float32), test_y)
    right = int((predicted == test_y).sum())
    print(f"digits: {right} of {len(test_y)} held-out rows right, accuracy {right / len(test_y):.4f}")


if __name__ == "__main__":
    main()
