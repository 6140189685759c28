"""Write `contact.png`, twelve prompts painted, and `examples/`, three with their latents and pictures.

Run from the `models` folder, after `painter.export`: `python -m painter.show`.
"""

import json

import numpy as np
import onnxruntime as ort

from painter.sample import GUIDANCE, HERE, STEPS, Painter, png

PROMPTS = (
    "a red circle above a blue square on a white background",
    "a house",
    "a tree",
    "a large yellow star on a black background",
    "a green 7 on a pink background",
    "a sun above a blue house",
    "a large purple fish on a cyan background",
    "a small red heart at the top",
    "a black cross left of an orange ring on a grey background",
    "a red boat",
    "a yellow face on a cyan background",
    "a red flower right of a tree",
)
EXAMPLES = {"circle-above-square": 0, "star": 3, "flower-and-tree": 11}
COLUMNS, ZOOM, EDGE = 4, 3, 4


def contact_sheet(pictures: np.ndarray) -> np.ndarray:
    """The pictures enlarged, in rows of four, with a grey edge between."""
    large = pictures.repeat(ZOOM, axis=1).repeat(ZOOM, axis=2)
    framed = np.pad(large, ((0, 0), (EDGE, EDGE), (EDGE, EDGE), (0, 0)), constant_values=200)
    rows = [np.concatenate(framed[i : i + COLUMNS], axis=1) for i in range(0, len(framed), COLUMNS)]
    return np.concatenate(rows)


def write_example(painter: Painter, name: str, prompt: str, seed: int) -> None:
    """One prompt, its initial latents (multiples of 1/1024, short in decimal) and the reference's picture."""
    latents = np.round(painter.noise(seed) * 1024) / 1024
    picture = painter.paint([prompt], latents[None])[0]
    example = {
        "prompt": prompt,
        "steps": STEPS,
        "guidance": GUIDANCE,
        "latents": {"shape": [1, *latents.shape], "datatype": "FP32", "data": latents.ravel().tolist()},
        "picture": {"shape": list(picture.shape), "datatype": "UINT8", "data": picture.ravel().tolist()},
        "runtime": f"onnxruntime {ort.__version__}",
    }
    (HERE / "examples" / f"{name}.json").write_text(json.dumps(example, separators=(",", ":")) + "\n")


def main() -> None:
    painter = Painter()
    latents = np.stack([painter.noise(seed) for seed in range(len(PROMPTS))])
    pictures = painter.paint(list(PROMPTS), latents)
    (HERE / "contact.png").write_bytes(png(contact_sheet(pictures)))
    (HERE / "examples").mkdir(exist_ok=True)
    for name, index in EXAMPLES.items():
        write_example(painter, name, PROMPTS[index], index)


if __name__ == "__main__":
    main()
