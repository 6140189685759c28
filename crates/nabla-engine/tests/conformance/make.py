"""Write the ONNX project's own operator tests as JSON lines: `python make.py OUT.jsonl`.

The package `onnx` computes its node tests when they are collected; with numpy's seed set before, the same
versions (`requirements.txt`) give the same bytes. Every test is written, none is left out:

    {"name", "operators", "domain", "opset", "opsets", "expanded", "training", "random", "model", "sets",
     "rtol", "atol", "kinds", "dtypes"}

- `operators`: the types of all nodes, subgraphs included; `domain`: the one that is not ONNX's own, else "";
  `opset`: the version of that domain; `opsets`: of every domain.
- `expanded`: the operator is written out as its function body. `training`: of use only when training, or of a
  preview domain. `random`: the answer is drawn at random, so only shape and type can be compared.
- `model`: the ONNX bytes in base64. `sets`: `{"inputs", "outputs"}`, lists in the order of the model's ports.
- A value is null (an optional that is absent), `{"name", "sequence": [value]}`, or a tensor: `{"name",
  "dtype", "shape", "data"}`. `data` is a list of strings, or little-endian elements in base64: booleans one
  byte each, types of 4 and 2 bits packed from the low bits up.
- `kinds`: the ports' kinds that are not tensors (sequence, optional); `dtypes`: the element types of all
  ports, by ONNX's names.
"""

import base64
import json
import sys
import warnings

import numpy as np

warnings.filterwarnings("ignore")  # the tests overflow on purpose
np.random.seed(0)  # before the import: tests are computed when their modules are imported

from onnx import AttributeProto, TensorProto, helper, numpy_helper  # noqa: E402
from onnx.backend.test.case.node import collect_testcases  # noqa: E402

TRAINING_OPERATORS = {
    "SoftmaxCrossEntropyLoss",
    "NegativeLogLikelihoodLoss",
    "Adam",
    "Adagrad",
    "Momentum",
    "Gradient",
}
RANDOM_OPERATORS = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
BFLOAT16_RTOL = 2.0**-6  # two units in the last place, as the ONNX project's own runner has it


def nodes_of(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from nodes_of(attribute.g)
            for inner in attribute.graphs:
                yield from nodes_of(inner)


def attribute_of(node, name):
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


def value_json(name, value):
    if value is None:
        return None
    if isinstance(value, list):
        return {"name": name, "sequence": [value_json(f"{name}[{i}]", item) for i, item in enumerate(value)]}
    tensor = value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value))
    if tensor.data_type != TensorProto.STRING and not tensor.HasField("raw_data"):
        tensor = numpy_helper.from_array(numpy_helper.to_array(tensor))
    if tensor.data_type == TensorProto.STRING:
        data = [text.decode("utf-8") for text in tensor.string_data]
    else:
        data = base64.b64encode(tensor.raw_data).decode()
    dtype = TensorProto.DataType.Name(tensor.data_type)
    return {"name": name, "dtype": dtype, "shape": list(tensor.dims), "data": data}


def port_types(type_proto, kinds, dtypes):
    """Adds what a port's type is made of to `kinds` and `dtypes`."""
    kind = type_proto.WhichOneof("value")
    if kind == "tensor_type":
        dtypes.add(TensorProto.DataType.Name(type_proto.tensor_type.elem_type))
        return
    kinds.add(kind.removesuffix("_type"))
    inner = getattr(type_proto, kind)
    port_types(inner.value_type if kind == "map_type" else inner.elem_type, kinds, dtypes)


def drops(case, node):
    """Whether this is a Dropout in training mode, whose mask numpy drew."""
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    names = [port.name for port in case.model.graph.input]
    return bool(np.asarray(case.data_sets[0][0][names.index(node.input[2])]))


def trains(case):
    for node in nodes_of(case.model.graph):
        if (
            node.op_type in TRAINING_OPERATORS
            or node.domain.startswith("ai.onnx.preview")
            or drops(case, node)
        ):
            return True
        if node.op_type == "BatchNormalization" and attribute_of(node, "training_mode"):
            return True
    return False


def case_json(case, training):
    graph = case.model.graph
    operators = sorted({node.op_type for node in nodes_of(graph)})
    opsets = {o.domain: o.version for o in case.model.opset_import}
    domain = next((d for d in sorted(opsets, reverse=True) if d), "")
    kinds, dtypes = set(), set()
    for port in [*graph.input, *graph.output]:
        port_types(port.type, kinds, dtypes)
    sets = []
    for inputs, outputs in case.data_sets:
        named = []
        for values, ports in [(inputs, graph.input), (outputs, graph.output)]:
            assert len(values) == len(ports), f"{case.name}: {len(values)} values for {len(ports)} ports"
            named.append([value_json(port.name, value) for value, port in zip(values, ports)])
        sets.append({"inputs": named[0], "outputs": named[1]})
    coarse = any(o and o.get("dtype") == "BFLOAT16" for s in sets for o in s["outputs"])
    return {
        "name": case.name,
        "operators": operators,
        "domain": domain,
        "opset": opsets[domain],
        "opsets": opsets,
        "expanded": "_expanded" in case.name,
        "training": training,
        "random": bool(RANDOM_OPERATORS & set(operators)) or any(drops(case, n) for n in graph.node),
        "model": base64.b64encode(case.model.SerializeToString(deterministic=True)).decode(),
        "sets": sets,
        "rtol": max(case.rtol, BFLOAT16_RTOL) if coarse else case.rtol,
        "atol": case.atol,
        "kinds": sorted(kinds),
        "dtypes": sorted(dtypes),
    }


def main(path):
    cases = collect_testcases(None)
    # An expanded test trains if the test that it was made from does: its nodes no longer show it.
    base = {case.name.split("_expanded")[0] for case in cases if trains(case)}
    counts = {"cases": 0, "expanded": 0, "training": 0, "random": 0}
    with open(path, "w", encoding="utf-8") as out:
        for case in cases:
            line = case_json(case, case.name.split("_expanded")[0] in base)
            counts["cases"] += 1
            for mark in ["expanded", "training", "random"]:
                counts[mark] += line[mark]
            out.write(json.dumps(line, separators=(",", ":")) + "\n")
    print(", ".join(f"{count} {name}" for name, count in counts.items()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    main(sys.argv[1])
