"""Write a model and its held-out examples as Open Inference Protocol v2 JSON.

Shared by the training scripts. Every float is written as the shortest decimal
that parses back to the same float32.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

DATATYPES = {"float32": "FP32", "int64": "INT64"}


def tensor(name: str, values: np.ndarray) -> dict[str, Any]:
    """One OIP v2 tensor: row-major data with its name, shape and datatype."""
    flat = values.ravel()
    if values.dtype == np.float32:
        data = [float(str(value)) for value in flat]
        assert np.array_equal(np.array(data).astype(np.float32), flat), "a float did not round-trip"
    else:
        data = flat.tolist()
    return {
        "name": name,
        "shape": list(values.shape),
        "datatype": DATATYPES[values.dtype.name],
        "data": data,
    }


def write_json(path: Path, value: Any) -> None:
    """Compact JSON with one final newline."""
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")


def save(folder: Path, model: onnx.ModelProto, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Check and write `model.onnx`, answer the held-out rows with ONNX Runtime
    on one CPU thread, and write `examples/`. Returns the predicted classes."""
    onnx.checker.check_model(model, full_check=True)
    encoded = model.SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(encoded)

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(encoded, options, providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name
    output_names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(output_names, session.run(output_names, {input_name: inputs}), strict=True))

    examples = folder / "examples"
    examples.mkdir(exist_ok=True)
    write_json(examples / "one.json", {"inputs": [tensor(input_name, inputs[:1])]})
    write_json(examples / "heldout.json", {"inputs": [tensor(input_name, inputs)]})
    write_json(examples / "heldout.labels.json", labels.tolist())
    write_json(
        examples / "expected.json",
        {
            "model_name": folder.name,
            "outputs": [tensor(name, values) for name, values in outputs.items()],
            "runtime": f"onnxruntime {ort.__version__}",
        },
    )
    return outputs["probabilities"].argmax(axis=1)
