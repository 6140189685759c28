"""Make the models that the table measures: real shapes, random weights, written as exporters write them.

    python3 benches/models.py FOLDER              # the models and works.json
    python3 benches/models.py FOLDER --measure    # then ONNX Runtime's time for each, one thread

Makes a virtual environment under target/peers-models on the first run. Equal versions write equal bytes.
works.json lists what to run:

    [{"name", "file", "unit", "batches", "inputs": [{"name", "dtype", "shape", "fill"}]}]

where a dimension "batch" is each of `batches`, and `fill` is "normal", "ones", "zeros" or `{"below": n}`
(integers from 0).
"""

import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "peers-models"
PACKAGES = [
    "lightgbm==4.7.0",
    "numpy==2.4.6",
    "onnx==1.23.2",
    "onnxmltools==1.16.0",
    "onnxruntime==1.31.1",
    "pandas==3.1.1",
    "protobuf==7.36.2",
    "scikit-learn==1.9.1",
    "scipy==1.17.1",
    "skl2onnx==1.20.0",
    "sympy==1.14.0",
    "xgboost-cpu==3.2.0",
]
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
}  # converters write sets; learning sums in one order
OPSET, IR = 17, 8
LAYERS, WIDTH, HEADS, WIDE, WORDS, PLACES, TOKENS = 6, 384, 12, 1536, 2000, 512, 128
GEMMS = [(192, 768, 1024), (128, 384, 1536), (128, 1536, 384), (1024, 1024, 1024)]
TREES, FEATURES, ROWS = 300, 28, 8000
RUNS, RUN_SECONDS = 15, 0.1


def in_venv():
    """Run again inside the virtual environment, made if need be."""
    python = VENV / "bin" / "python3"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    os.execve(python, [python, __file__, "--inside", *sys.argv[1:]], {**os.environ, **ENVIRONMENT})


class Graph:
    """A graph in the making: each method adds nodes and returns the name of what they give."""

    def __init__(self, seed):
        self.rng, self.nodes, self.weights = np.random.default_rng(seed), [], []

    def op(self, kind, *inputs, **attributes):
        name = f"/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_output_0"], name=name, **attributes))
        return f"{name}_output_0"

    def weight(self, name, array):
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def random(self, name, shape, deviation):
        return self.weight(name, (self.rng.normal(size=shape) * deviation).astype(np.float32))

    def number(self, value, dtype="int64"):
        """A constant as the exporter writes it: a node."""
        tensor = numpy_helper.from_array(np.array(value, dtype=dtype))
        return self.op("Constant", value=tensor)

    def model(self, name, inputs, outputs):
        def ports(table):
            return [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in table.items()]

        graph = helper.make_graph(self.nodes, name, ports(inputs), ports(outputs), self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
        onnx.checker.check_model(made)
        return made


def linear(graph, x, name, inputs, outputs):
    product = graph.op("MatMul", x, graph.random(f"{name}.weight", (inputs, outputs), inputs**-0.5))
    return graph.op("Add", graph.random(f"{name}.bias", (outputs,), 0.02), product)


def layer_norm(graph, x, name):
    scale = graph.weight(f"{name}.weight", (1 + 0.1 * graph.rng.normal(size=WIDTH)).astype(np.float32))
    bias = graph.random(f"{name}.bias", (WIDTH,), 0.02)
    return graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-12)


def dimension(graph, x, axis):
    one = graph.op("Gather", graph.op("Shape", x), graph.number(axis), axis=0)
    return graph.op("Unsqueeze", one, graph.number([0]))


def heads(graph, x, order):
    """[batch, length, width] as [batch, heads, length, rest], or with the last two turned."""
    sizes = [
        dimension(graph, x, 0),
        dimension(graph, x, 1),
        graph.number([HEADS]),
        graph.number([WIDTH // HEADS]),
    ]
    return graph.op("Transpose", graph.op("Reshape", x, graph.op("Concat", *sizes, axis=0)), perm=order)


def gelu(graph, x):
    erf = graph.op("Erf", graph.op("Div", x, graph.number(2**0.5, np.float32)))
    product = graph.op("Mul", x, graph.op("Add", erf, graph.number(1, np.float32)))
    return graph.op("Mul", product, graph.number(0.5, np.float32))


def encoder_layer(graph, x, mask, name):
    query = heads(graph, linear(graph, x, f"{name}.query", WIDTH, WIDTH), [0, 2, 1, 3])
    key = heads(graph, linear(graph, x, f"{name}.key", WIDTH, WIDTH), [0, 2, 3, 1])
    value = heads(graph, linear(graph, x, f"{name}.value", WIDTH, WIDTH), [0, 2, 1, 3])
    scores = graph.op(
        "Div", graph.op("MatMul", query, key), graph.number((WIDTH // HEADS) ** 0.5, np.float32)
    )
    weights = graph.op("Softmax", graph.op("Add", scores, mask), axis=-1)
    mixed = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    sizes = [dimension(graph, mixed, 0), dimension(graph, mixed, 1), graph.number([WIDTH])]
    mixed = graph.op("Reshape", mixed, graph.op("Concat", *sizes, axis=0))
    mixed = linear(graph, mixed, f"{name}.merge", WIDTH, WIDTH)
    x = layer_norm(graph, graph.op("Add", mixed, x), f"{name}.norm_first")
    wide = gelu(graph, linear(graph, x, f"{name}.wide", WIDTH, WIDE))
    return layer_norm(
        graph, graph.op("Add", linear(graph, wide, f"{name}.narrow", WIDE, WIDTH), x), f"{name}.norm"
    )


def minilm():
    """The encoder of MiniLM-L6 with fewer words: any batch, any length, a mask."""
    graph = Graph(1)
    ports = {
        n: (TensorProto.INT64, ["batch", "length"]) for n in ("input_ids", "attention_mask", "token_type_ids")
    }
    mask = graph.op(
        "Unsqueeze", graph.op("Unsqueeze", "attention_mask", graph.number([1])), graph.number([2])
    )
    mask = graph.op("Sub", graph.number(1, np.float32), graph.op("Cast", mask, to=TensorProto.FLOAT))
    mask = graph.op("Mul", mask, graph.number(np.finfo(np.float32).min, np.float32))
    places = graph.weight("position_ids", np.arange(PLACES).reshape(1, -1))
    places = graph.op("Slice", places, graph.number([0]), dimension(graph, "input_ids", 1), graph.number([1]))
    x = graph.op("Gather", graph.random("words", (WORDS, WIDTH), 0.5), "input_ids")
    x = graph.op("Add", x, graph.op("Gather", graph.random("types", (2, WIDTH), 0.1), "token_type_ids"))
    x = graph.op("Add", x, graph.op("Gather", graph.random("places", (PLACES, WIDTH), 0.1), places))
    x = layer_norm(graph, x, "norm")
    for index in range(LAYERS):
        x = encoder_layer(graph, x, mask, f"layer.{index}")
    x = graph.op("Identity", x)
    graph.nodes[-1].output[0] = "last_hidden_state"
    return graph.model(
        "minilm-l6", ports, {"last_hidden_state": (TensorProto.FLOAT, ["batch", "length", WIDTH])}
    )


def convolution(graph, x, name, inputs, outputs, kernel, stride):
    weight = graph.random(
        f"{name}.weight", (outputs, inputs, kernel, kernel), (2 / (inputs * kernel**2)) ** 0.5
    )
    return graph.op(
        "Conv",
        x,
        weight,
        graph.random(f"{name}.bias", (outputs,), 0.05),
        dilations=[1, 1],
        group=1,
        kernel_shape=[kernel, kernel],
        pads=[kernel // 2] * 4,
        strides=[stride, stride],
    )


def resnet18():
    """ResNet-18 for images of 224, batch norms folded into the convolutions, as the exporter leaves it."""
    graph = Graph(2)
    x = graph.op("Relu", convolution(graph, "image", "stem", 3, 64, 7, 2))
    x = graph.op(
        "MaxPool", x, ceil_mode=0, dilations=[1, 1], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]
    )
    inputs = 64
    for index in range(8):
        outputs, stride = 64 << index // 2, 2 if index in (2, 4, 6) else 1
        y = graph.op("Relu", convolution(graph, x, f"block.{index}.first", inputs, outputs, 3, stride))
        y = convolution(graph, y, f"block.{index}.second", outputs, outputs, 3, 1)
        if stride == 2:
            x = convolution(graph, x, f"block.{index}.shortcut", inputs, outputs, 1, 2)
        x, inputs = graph.op("Relu", graph.op("Add", y, x)), outputs
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x), axis=1)
    weight, bias = graph.random("head.weight", (1000, 512), 0.05), graph.random("head.bias", (1000,), 0.05)
    graph.op("Gemm", x, weight, bias, alpha=1.0, beta=1.0, transB=1)
    graph.nodes[-1].output[0] = "scores"
    image = {"image": (TensorProto.FLOAT, ["batch", 3, 224, 224])}
    return graph.model("resnet18", image, {"scores": (TensorProto.FLOAT, ["batch", 1000])})


def resnet18_int8(folder):
    """The above in int8 by ONNX Runtime's tool: QDQ, weights by channel, unsigned activations."""
    from onnxruntime import quantization

    class Ranges(quantization.CalibrationDataReader):
        rng, left = np.random.default_rng(3), 4

        def get_next(self):
            self.left -= 1
            return (
                {"image": self.rng.normal(size=(1, 3, 224, 224)).astype(np.float32)}
                if self.left >= 0
                else None
            )

    ready, out = str(folder / "ready.onnx"), str(folder / "resnet18-int8.onnx")
    quantization.quant_pre_process(str(folder / "resnet18.onnx"), ready)
    kinds = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
    quantization.quantize_static(ready, out, Ranges(), per_channel=True, **kinds)
    os.remove(ready)


def gemm(rows, depth, columns):
    graph = Graph(4)
    graph.op("MatMul", "x", graph.random("weight", (depth, columns), depth**-0.5))
    graph.nodes[-1].output[0] = "y"
    ports = [{name: (TensorProto.FLOAT, ["rows", size])} for name, size in (("x", depth), ("y", columns))]
    return graph.model(f"gemm-{rows}x{depth}x{columns}", *ports)


def trees():
    """Classifiers of 300 trees, learnt from rows that nobody measured."""
    import lightgbm
    import onnxmltools
    import skl2onnx
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(5)
    x = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + x[:, 3:8].sum(axis=1) + rng.normal(size=ROWS) > 0).astype(
        int
    )
    types = [("rows", FloatTensorType([None, FEATURES]))]
    common = {"n_estimators": TREES, "n_jobs": 1, "random_state": 0}
    boosted = xgboost.XGBClassifier(max_depth=6, learning_rate=0.1, **common).fit(x, y)
    yield "xgboost-300", onnxmltools.convert_xgboost(boosted, initial_types=types, target_opset=15)
    boosted = lightgbm.LGBMClassifier(num_leaves=31, verbose=-1, deterministic=True, **common).fit(x, y)
    yield (
        "lightgbm-300",
        onnxmltools.convert_lightgbm(boosted, initial_types=types, target_opset=15, zipmap=False),
    )
    forest = RandomForestClassifier(max_depth=10, **common).fit(x, y)
    types = [("rows", skl2onnx.common.data_types.FloatTensorType([None, FEATURES]))]
    options = {id(forest): {"zipmap": False}}
    opsets = {"": OPSET, "ai.onnx.ml": 3}
    yield "forest-300", skl2onnx.convert_sklearn(forest, "m", types, target_opset=opsets, options=options)


def work(name, unit, batches, **inputs):
    listed = [{"name": n, "dtype": d, "shape": s, "fill": f} for n, (d, s, f) in inputs.items()]
    return {"name": name, "file": f"{name}.onnx", "unit": unit, "batches": batches, "inputs": listed}


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    works = []

    def save(name, model):
        model.graph.name = name  # some converters draw one at random
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))

    save("minilm-l6", minilm())
    ids = ("INT64", ["batch", TOKENS])
    fills = {"input_ids": {"below": WORDS}, "attention_mask": "ones", "token_type_ids": "zeros"}
    works.append(work("minilm-l6", "row", [1, 8], **{n: (*ids, fill) for n, fill in fills.items()}))
    save("resnet18", resnet18())
    resnet18_int8(folder)
    image = ("FLOAT", ["batch", 3, 224, 224], "normal")
    works += [work("resnet18", "row", [1, 8], image=image), work("resnet18-int8", "row", [1], image=image)]
    for rows, depth, columns in GEMMS:
        name = f"gemm-{rows}x{depth}x{columns}"
        save(name, gemm(rows, depth, columns))
        works.append(work(name, "product", [rows], x=("FLOAT", ["batch", depth], "normal")))
    for name, model in trees():
        save(name, model)
        works.append(work(name, "row", [1, 64, 1024], rows=("FLOAT", ["batch", FEATURES], "normal")))
    (folder / "works.json").write_text(json.dumps(works, indent=1) + "\n", encoding="utf-8")


def filled(port, batch, rng):
    shape = [batch if size == "batch" else size for size in port["shape"]]
    if port["fill"] == "normal":
        return rng.normal(size=shape).astype(np.float32)
    high = port["fill"]["below"] if isinstance(port["fill"], dict) else None
    return rng.integers(0, high, shape) if high else np.full(shape, int(port["fill"] == "ones"))


def measure(folder, one, batch):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # LightGBM's converter declares one label: a warning each run
    session = onnxruntime.InferenceSession(folder / one["file"], options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {port["name"]: filled(port, batch, rng) for port in one["inputs"]}
    repeats, times = 1, []
    while timed(session, feed, repeats) < RUN_SECONDS:
        repeats *= 2
    for _ in range(RUNS):
        times.append(timed(session, feed, repeats) / repeats)
    times.sort()
    middle = times[len(times) // 2]
    spread = f"-{100 * (1 - times[0] / middle):.0f} %, +{100 * (times[-1] / middle - 1):.0f} %"
    rate = batch / middle if one["unit"] == "row" else 1 / middle
    label = f"ONNX Runtime: {one['name']}, batch {batch}"
    print(f"| {label} | {rate:.1f} {one['unit']}s/s | {middle * 1e6:.1f} us | {spread} |", flush=True)


def timed(session, feed, repeats):
    start = time.thread_time()
    for _ in range(repeats):
        session.run(None, feed)
    return time.thread_time() - start


def main(folder, measuring):
    write(folder)
    if measuring:
        print("| step | rate | time of one run | runs (fastest, slowest) |\n|---|---|---|---|")
        for one in json.loads((folder / "works.json").read_text()):
            for batch in one["batches"]:
                measure(folder, one, batch)


if "--inside" not in sys.argv:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    in_venv()

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

main(pathlib.Path(sys.argv[2]), "--measure" in sys.argv)
