"""Run the lines of `make.py` on ONNX Runtime, as a peer's figure: `python peer.py CASES.jsonl [LIST.txt]`.

Prints how many tests it answers alike, answers differently and refuses, for inference and for training apart.
LIST.txt receives a line for each test that is not alike. Element types that numpy lacks do not pass through
ONNX Runtime's Python, so such inputs become initializers and such outputs are cast inside the model.
"""

import base64
import collections
import json
import os
import sys

os.environ["ALLOW_RELEASED_ONNX_OPSET_ONLY"] = "0"  # lets ONNX Runtime try the newest operator set

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

PLAIN = {
    "FLOAT",
    "DOUBLE",
    "FLOAT16",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "BOOL",
    "STRING",
}


def proto(value):
    """The ONNX tensor of a line's tensor."""
    tensor = TensorProto(name=value["name"], dims=value["shape"])
    tensor.data_type = TensorProto.DataType.Value(value["dtype"])
    if value["dtype"] == "STRING":
        tensor.string_data.extend(text.encode() for text in value["data"])
    else:
        tensor.raw_data = base64.b64decode(value["data"])
    return tensor


def plain(value):
    """What Python passes: None, a list, or an array."""
    if value is None:
        return None
    if "sequence" in value:
        return [plain(item) for item in value["sequence"]]
    array = numpy_helper.to_array(proto(value))
    return array.astype(object) if value["dtype"] == "STRING" else array


def odd(value):
    return value is not None and "dtype" in value and value["dtype"] not in PLAIN


def widened(dtype):
    return TensorProto.INT32 if "INT" in dtype else TensorProto.FLOAT


def adapted(model, inputs, outputs):
    """The model with odd inputs as initializers and odd outputs cast."""
    graph = model.graph
    for value in filter(odd, inputs):
        graph.initializer.append(proto(value))
        for port in [port for port in graph.input if port.name == value["name"]]:
            graph.input.remove(port)
    for value in filter(odd, outputs):
        port = next(port for port in graph.output if port.name == value["name"])
        to = widened(value["dtype"])
        graph.node.append(helper.make_node("Cast", [port.name], [f"{port.name}_wide"], to=to))
        graph.output.remove(port)
        graph.output.append(helper.make_tensor_value_info(f"{port.name}_wide", to, value["shape"]))
    if not any(o.domain == "" for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 23))
    return model


def alike(got, expected, case):
    if isinstance(expected, list) or expected is None:
        if expected is None or not isinstance(got, list) or len(got) != len(expected):
            return got is None and expected is None
        return all(alike(g, e, case) for g, e in zip(got, expected))
    got = np.asarray(got)
    if got.shape != expected.shape or got.dtype.kind not in (
        "OU" if expected.dtype.kind in "OU" else expected.dtype.kind
    ):
        return False
    if case["random"]:
        return got.dtype == expected.dtype
    if expected.dtype.kind in "OU":
        return got.astype(str).tolist() == expected.astype(str).tolist()
    return got.dtype == expected.dtype and np.allclose(
        got, expected, rtol=case["rtol"], atol=case["atol"], equal_nan=True
    )


def outcome(case):
    """One of: alike, differs, refused; and why."""
    model = onnx.load_from_string(base64.b64decode(case["model"]))
    model.ir_version = min(model.ir_version, 13)  # the newest that it reads; no test needs what 14 adds
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for one in case["sets"]:
        renamed = {v["name"]: v["name"] + "_wide" for v in one["outputs"] if odd(v)}
        changed = any(map(odd, one["inputs"])) or renamed
        fit = (
            adapted(onnx.ModelProto.FromString(model.SerializeToString()), one["inputs"], one["outputs"])
            if changed
            else model
        )
        try:
            session = ort.InferenceSession(
                fit.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            ports = [port.name for port in model.graph.input]
            feed = {n: plain(v) for n, v in zip(ports, one["inputs"]) if not odd(v)}
            got = session.run([renamed.get(p.name, p.name) for p in model.graph.output], feed)
        except Exception as error:  # whatever it raises is its refusal
            return "refused", str(error).splitlines()[0][:160]
        for value, answer in zip(one["outputs"], got):
            expected = plain(value)
            if odd(value):
                expected = expected.astype(helper.tensor_dtype_to_np_dtype(widened(value["dtype"])))
            if not alike(answer, expected, case):
                return "differs", f"{value['name'] if value else None}"
    return "alike", ""


def main(path, listing):
    counts = {False: collections.Counter(), True: collections.Counter()}
    problems = []
    for line in open(path, encoding="utf-8"):
        case = json.loads(line)
        result, why = outcome(case)
        counts[case["training"]][result] += 1
        if result != "alike":
            problems.append(f"{result} {case['name']}{' (training)' if case['training'] else ''}: {why}")
    for training, label in [(False, "inference"), (True, "training and preview")]:
        parts = ", ".join(f"{counts[training][k]} {k}" for k in ["alike", "differs", "refused"])
        print(f"ONNX Runtime {ort.__version__}, {label}: {parts} of {counts[training].total()}")
    if listing:
        open(listing, "w", encoding="utf-8").write("\n".join(problems) + "\n")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.splitlines()[0])
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None)
