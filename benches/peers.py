"""Run the repository's models on ONNX Runtime: same files, same rows, one thread.

Makes a virtual environment under target/peers on the first run, and prints rows for docs/performance.md.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "peers"
PACKAGES = ["onnxruntime==1.31.1", "numpy==2.4.6"]
RUNS, RUN_SECONDS = 15, 0.06


def in_venv():
    """Run again inside the virtual environment, made if need be."""
    python = VENV / "bin" / "python3"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    os.execv(python, [python, __file__, "--inside"])


def measure(name, batch):
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(ROOT / "models" / name / "model.onnx", options)
    tensor = json.loads((ROOT / "models" / name / "examples" / "heldout.json").read_text())["inputs"][0]
    rows = numpy.array(tensor["data"], dtype=numpy.float32).reshape(tensor["shape"])[:batch]
    feed = {tensor["name"]: rows}
    repeats, times = 1, []
    while timed(session, feed, repeats) < RUN_SECONDS:
        repeats *= 2
    for _ in range(RUNS):
        times.append(timed(session, feed, repeats) / repeats / batch)
    times.sort()
    middle = times[len(times) // 2]
    spread = f"-{100 * (1 - times[0] / middle):.0f} %, +{100 * (times[-1] / middle - 1):.0f} %"
    rate = f"{1e-3 / middle:.1f} k rows/s"
    print(f"| ONNX Runtime: infer {name}, batch {batch} | {rate} | {middle * 1e6:.2f} us | {spread} | cpu | (a peer) |")


def timed(session, feed, repeats):
    start = time.thread_time()
    for _ in range(repeats):
        session.run(None, feed)
    return time.thread_time() - start


if "--inside" not in sys.argv:
    in_venv()
for model in ["digits", "tumor"]:
    for rows in [1, 64]:
        measure(model, rows)
