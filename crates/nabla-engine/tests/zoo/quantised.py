"""Networks of `nets.py` again, in int8 as ONNX Runtime's own tools write it, and in float16."""

import pathlib
import tempfile

import numpy as np
import onnx
from onnxruntime import __version__
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16

ROWS = 8  # sets of inputs that ranges are taken from
FLOAT16 = ["mlp", "resnet", "sentence"]
DYNAMIC = ["mlp", "resnet", "bert", "gpt"]
QDQ, OPERATOR = QuantFormat.QDQ, QuantFormat.QOperator
STATIC = {
    "mlp_qdq": ("mlp", QDQ, {}),
    "mlp_qdq_channel": ("mlp", QDQ, {"per_channel": True}),
    "mlp_qdq_unsigned": ("mlp", QDQ, {"activation_type": QuantType.QUInt8}),
    "mlp_qoperator": ("mlp", OPERATOR, {}),
    "resnet_qdq": ("resnet", QDQ, {}),
    "resnet_qdq_channel": ("resnet", QDQ, {"per_channel": True}),
    "resnet_qdq_unsigned": ("resnet", QDQ, {"per_channel": True, "activation_type": QuantType.QUInt8}),
    "resnet_qoperator": ("resnet", OPERATOR, {"per_channel": True}),
    "resnet_qoperator_plain": ("resnet", OPERATOR, {"op_types_to_quantize": ["Conv", "MatMul", "MaxPool"]}),
    "mobilenet_qdq_channel": ("mobilenet", QDQ, {"per_channel": True}),
    "bert_qdq": ("bert", QDQ, {}),
    "sentence_qdq_channel": (
        "sentence",
        QDQ,
        {"per_channel": True, "op_types_to_quantize": ["MatMul", "Gemm", "Gather"]},
    ),
}


class Ranges(CalibrationDataReader):
    def __init__(self, sets):
        self.left = list(sets)

    def get_next(self):
        return self.left.pop() if self.left else None


def near(inputs, rng):
    """Inputs like these: floats drawn anew, ids and masks shuffled along the last axis."""
    return {
        name: rng.normal(size=value.shape).astype(np.float32)
        if value.dtype == np.float32
        else rng.permuted(value, axis=-1)
        for name, value in inputs.items()
    }


def quantise(model, sets, format, options):
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        source, ready, out = (
            str(pathlib.Path(folder) / name) for name in ("source.onnx", "ready.onnx", "out.onnx")
        )
        onnx.save(model, source)
        quant_pre_process(source, ready, skip_symbolic_shape=True)
        if format is None:
            quantize_dynamic(ready, out, **options)
        else:
            ranges = Ranges(near(sets[1], rng) for _ in range(ROWS))
            quantize_static(ready, out, ranges, quant_format=format, **options)
        return onnx.load(out)


def models(nets):
    """As `nets.models` does; `nets` are its TorchScript models: name to model and sets."""
    for name, (source, format, options) in STATIC.items():
        yield attempt(f"int8_{name}", "static", nets[source], lambda m, s: quantise(m, s, format, options))
    for source in DYNAMIC:
        yield attempt(
            f"int8_{source}_dynamic", "dynamic", nets[source], lambda m, s: quantise(m, s, None, {})
        )
    for source in FLOAT16:
        yield attempt(
            f"float16_{source}",
            "float16",
            nets[source],
            lambda m, s: convert_float_to_float16(m, keep_io_types=True),
        )


def attempt(name, kind, net, convert):
    model, sets = net
    try:
        made = convert(onnx.ModelProto.FromString(model.SerializeToString()), sets)
    except Exception as error:  # a tool that fails is part of the report
        made = error
    return name, f"onnxruntime {__version__}, {kind}", made, sets
