"""ONNX Runtime as a peer that runs on request: one JSON object per line on standard input, one answer per line.

    {"file": "model.onnx", "batch": 8, "threads": 1, "repeats": 4, "inputs": [{"name", "dtype", "shape", "fill"}]}
    -> {"cpu": seconds of one run, "wall": seconds of one run}

Sessions stay loaded. It is started by benches/engine/peer.rs, in the virtual environment of benches/models.py.
"""

import json
import sys
import time

import numpy
import onnxruntime

SESSIONS = {}


def session(file, threads):
    if (file, threads) not in SESSIONS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Spinning would count waiting as work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads == 1 else "1")
        SESSIONS[file, threads] = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return SESSIONS[file, threads]


def filled(port, batch, rng):
    shape = [batch if size == "batch" else size for size in port["shape"]]
    if port["fill"] == "normal":
        return rng.standard_normal(shape).astype(numpy.float32)
    high = port["fill"]["below"] if isinstance(port["fill"], dict) else None
    values = rng.integers(0, high, shape) if high else numpy.full(shape, int(port["fill"] == "ones"))
    return values.astype(numpy.int64)


def run(request):
    rng = numpy.random.default_rng(1)
    feed = {port["name"]: filled(port, request["batch"], rng) for port in request["inputs"]}
    ready = session(request["file"], request["threads"])
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(request["repeats"]):
        ready.run(None, feed)
    repeats = request["repeats"]
    return {"cpu": (time.process_time() - cpu) / repeats, "wall": (time.perf_counter() - wall) / repeats}


print(json.dumps({"version": onnxruntime.__version__}), flush=True)
for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
