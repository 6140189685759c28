"""Write cases.jsonl: small models as people export them, two sets of inputs, and what ONNX Runtime answers.

    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && .venv/bin/python make.py

`nets.py` has PyTorch's, `quantised.py` int8 and float16, `tabular.py` rows and texts. The lines are those of
`../conformance/make.py` without its marks, and with

- `source`: who wrote the model.
- `tolerance`: for each element type of an output `[relative, absolute]`. A value is close if it is off by no
  more than `absolute + relative * |expected|`; types of 0, 0 must be equal. `rtol`, `atol`: the widest.
- A classifier's list of maps as its table: `{"name", "maps": {"keys": tensor, "values": tensor}}`.

A tool that fails is printed and its model left out; the last line counts.
"""

import base64
import json
import os
import pathlib
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # sums in one order, so that learning repeats

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

SIZE_MAX = 150_000
BASE = {"FLOAT": (1e-4, 1e-5), "DOUBLE": (1e-9, 1e-10), "FLOAT16": (1e-2, 1e-2)}


def tensor_json(name, array):
    """As the lines have it; text becomes STRING."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind in "OU":
        dtype, data = "STRING", [str(text) for text in array.ravel()]
    else:
        dtype = TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(array.dtype))
        data = base64.b64encode(array.tobytes()).decode()
    return {"name": name, "dtype": dtype, "shape": list(array.shape), "data": data}


def output_json(name, value):
    if not isinstance(value, list):
        return tensor_json(name, value)
    keys = list(value[0])
    table = np.array([[row[key] for key in keys] for row in value], dtype=np.float32)
    maps = {"keys": tensor_json("keys", np.array(keys)), "values": tensor_json("values", table)}
    return {"name": name, "maps": maps}


def flat(value):
    """An output as one array, maps as the table of their values."""
    return (
        np.array([list(row.values()) for row in value], dtype=np.float32)
        if isinstance(value, list)
        else value
    )


def plain_locale(encoded):
    """What ONNX Runtime is asked: it has the locales of the machine only, and every machine has "C"."""
    model = onnx.ModelProto.FromString(encoded)
    for node in model.graph.node:
        if node.op_type == "StringNormalizer":
            kept = [attribute for attribute in node.attribute if attribute.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("locale", "C")])
    return model.SerializeToString()


def answers(model, sets, level):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    options.log_severity_level = 3
    session = ort.InferenceSession(plain_locale(model), options, providers=["CPUExecutionProvider"])
    return [session.run(None, inputs) for inputs in sets]


def tolerance_of(name, got, plain):
    """By element type, the greatest of: the base; four times what ONNX Runtime's optimizer changes; of the
    greatest value of an output 1/64 (int8: two steps) or 1/200 (float16)."""
    result = {}
    for outputs, others in zip(got, plain):
        for value, other in zip(map(flat, outputs), map(flat, others)):
            dtype = output_json("", value)["dtype"]
            relative, absolute = BASE.get(dtype, (0, 0))
            if value.dtype.kind == "f" and value.size:
                finite = np.where(np.isfinite(value), np.abs(value), 0)
                absolute = max(absolute, 4 * float(np.nanmax(np.abs(value - other), initial=0)))
                if name.startswith("int8"):
                    absolute = max(absolute, float(finite.max()) / 64)
                if name.startswith("float16"):
                    absolute = max(absolute, float(finite.max()) / 200)
            elif not np.array_equal(value, other):
                print(f"note: {name}: integers or text differ without the optimizer")
            old = result.get(dtype, (0, 0))
            result[dtype] = [max(relative, old[0]), float(f"{max(absolute, old[1]):.2g}")]
    return result


def nodes_of(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def case_json(name, source, model, sets):
    model.graph.name = name  # some converters draw a name at random
    encoded = model.SerializeToString(deterministic=True)
    if len(encoded) > SIZE_MAX:
        raise ValueError(f"{len(encoded)} bytes, over {SIZE_MAX}")
    got = answers(encoded, sets, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    plain = answers(encoded, sets, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    ports = [port.name for port in model.graph.output]
    lines = []
    for inputs, outputs in zip(sets, got):
        feed = [tensor_json(p.name, inputs[p.name]) for p in model.graph.input]
        lines.append({"inputs": feed, "outputs": [output_json(n, v) for n, v in zip(ports, outputs)]})
    opsets = {o.domain: o.version for o in model.opset_import}
    used = sorted({node.domain for node in nodes_of(model.graph)})
    domain = next((d for d in used[::-1] if d), "")
    tolerance = tolerance_of(name, got, plain)
    kinds = sorted(
        {p.type.WhichOneof("value").removesuffix("_type") for p in model.graph.output} - {"tensor"}
    )
    return {
        "name": name,
        "source": source,
        "operators": sorted({node.op_type for node in nodes_of(model.graph)}),
        "domain": domain,
        "opset": opsets.get(domain, 1),
        "opsets": opsets,
        "model": base64.b64encode(encoded).decode(),
        "sets": lines,
        "tolerance": tolerance,
        "rtol": max((t[0] for t in tolerance.values()), default=0),
        "atol": max((t[1] for t in tolerance.values()), default=0),
        "kinds": kinds,
        "dtypes": sorted({t["dtype"] for s in lines for t in s["inputs"]} | set(tolerance)),
    }


def every_model():
    import nets
    import quantised
    import tabular

    torch_models = {}
    for name, source, model, sets in nets.models():
        if name.endswith("_torchscript"):
            torch_models[name.removeprefix("torch_").removesuffix("_torchscript")] = (model, sets)
        yield name, source, model, sets
    yield from quantised.models(torch_models)
    yield from tabular.models()


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("cases.jsonl")
    done, failed = [], []
    for name, source, model, sets in every_model():
        try:
            if isinstance(model, Exception):
                raise model
            done.append(json.dumps(case_json(name, source, model, sets), separators=(",", ":")))
        except Exception as error:  # said, and left out
            text = " ".join(str(error).split())
            failed.append(f"{name} ({source}): {type(error).__name__}: {text[:300]}")
            print("failed:", failed[-1], flush=True)
    out.write_text("\n".join(done) + "\n", encoding="utf-8")
    print(f"{len(done)} models, {len(failed)} failed, {out.stat().st_size} bytes")


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # converters write sets, in the order of their hashes
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
