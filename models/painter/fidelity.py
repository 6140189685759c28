"""Does a picture show what its prompt says? A detector made by hand, and the share of prompts that come out right.

Run from the `models` folder: `python -m painter.fidelity --prompts 200`.

The detector knows the background by the picture's edge, finds the objects as
what differs from it, and names each by the nearest stamp of the drawing code,
over all objects and colours. It is first tried on drawn pictures: what it
misses there is its own error.
"""

import argparse

import numpy as np

from painter.sample import GUIDANCE, STEPS, Painter
from painter.scenes import (
    BACKGROUNDS, COLOURS, OBJECTS, OWN_COLOUR, RELATIONS, SIDE, Scene, Thing, picture, sample_scene,
)

UNSEEN_SEED = 1_000_000
GRID = 16
FOREGROUND = 45.0
CHECKS = ("background", "objects", "colours", "layout")


def background_of(pixels: np.ndarray) -> str:
    """The background nearest to the median of the outermost pixels."""
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(float)
    middle = np.median(edge, axis=0)
    return min(BACKGROUNDS, key=lambda name: np.abs(middle - BACKGROUNDS[name]).sum())


def resized(crop: np.ndarray) -> np.ndarray:
    """A crop brought to 16x16 by linear interpolation along both axes."""
    for axis in (0, 1):
        length = crop.shape[axis]
        at = np.clip((np.arange(GRID) + 0.5) / GRID * length - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, length - 1)
        part = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        crop = np.take(crop, low, axis) * (1 - part) + np.take(crop, high, axis) * part
    return crop


def bounds(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Top, bottom, left and right of a mask's rows and columns that hold at least two cells."""
    rows, columns = np.flatnonzero(mask.sum(1) >= 2), np.flatnonzero(mask.sum(0) >= 2)
    if len(rows) < 4 or len(columns) < 4:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def differs(pixels: np.ndarray, background: str) -> np.ndarray:
    return np.sqrt(((pixels.astype(float) - BACKGROUNDS[background]) ** 2).sum(2)) > FOREGROUND


class Stamps:
    """Every object in every colour on every background, cut out and brought to one size."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[list[tuple[str, str, float]], np.ndarray]] = {}

    def of(self, background: str) -> tuple[list[tuple[str, str, float]], np.ndarray]:
        if background not in self.known:
            names, crops = [], []
            for name in OBJECTS:
                for colour in [OWN_COLOUR[name]] if name in OWN_COLOUR else [c for c in COLOURS if c != background]:
                    for size in (11, 13, 18, 26):
                        scene = Scene((Thing(name, colour, size, 2, 2, ""),), background, "", "")
                        pixels = picture(scene)
                        top, bottom, left, right = bounds(differs(pixels, background))
                        names.append((name, colour, (right - left) / (bottom - top)))
                        crops.append(resized(pixels[top:bottom, left:right].astype(float)))
            self.known[background] = names, np.stack(crops)
        return self.known[background]

    def name(self, pixels: np.ndarray, background: str, area: tuple[int, int, int, int]) -> tuple[str, str]:
        """The nearest object and colour; a wrong proportion counts against a stamp."""
        names, crops = self.of(background)
        top, bottom, left, right = area
        crop = resized(pixels[top:bottom, left:right].astype(float))
        distance = np.abs(crops - crop).mean(axis=(1, 2, 3))
        stretch = np.array([np.abs(np.log(ratio * (bottom - top) / (right - left))) for _, _, ratio in names])
        best = int((distance + 60 * stretch).argmin())
        return names[best][:2]


def halves(scene: Scene) -> list[tuple[slice, slice]]:
    """Where the prompt wants its objects: the whole picture, or one half for each of two."""
    whole, first, second = slice(0, SIDE), slice(0, SIDE // 2), slice(SIDE // 2, SIDE)
    if len(scene.things) == 1:
        return [(whole, whole)]
    dx, dy = RELATIONS[scene.relation]
    near, far = (first, second) if dx + dy > 0 else (second, first)
    return [(near, whole), (far, whole)] if dy else [(whole, near), (whole, far)]


def in_place(scene: Scene, area: tuple[int, int, int, int]) -> bool:
    """Whether a single object has the size (within 5 pixels) and place that the prompt asks for."""
    wanted = bounds(differs(picture(scene), scene.background))
    top, bottom, left, right = area
    size = max(bottom - top, right - left) - max(wanted[1] - wanted[0], wanted[3] - wanted[2])
    moved = max(abs(top + bottom - wanted[0] - wanted[1]), abs(left + right - wanted[2] - wanted[3])) / 2
    return abs(size) <= 5 and moved <= 5


def judge(stamps: Stamps, scene: Scene, pixels: np.ndarray) -> dict[str, bool]:
    """Each check's verdict on one picture."""
    background = background_of(pixels)
    mask = differs(pixels, background)
    verdict = dict.fromkeys(CHECKS, True) | {"background": background == scene.background}
    for thing, (rows, columns) in zip(scene.things, halves(scene)):
        area = bounds(mask[rows, columns])
        if area is None:
            return verdict | {"objects": False, "colours": False, "layout": False}
        name, colour = stamps.name(pixels[rows, columns], background, area)
        verdict["objects"] &= name == thing.name
        verdict["colours"] &= colour == thing.colour
        if len(scene.things) == 1:
            verdict["layout"] &= in_place(scene, area)
        else:
            verdict["layout"] &= max(area[1] - area[0], area[3] - area[2]) <= 17
    return verdict


def report(title: str, scenes: list[Scene], pictures: np.ndarray) -> None:
    """Print the share of pictures that pass all checks, and each check by itself."""
    stamps = Stamps()
    verdicts = [judge(stamps, scene, pixels) for scene, pixels in zip(scenes, pictures)]
    print(f"{title}: {sum(all(v.values()) for v in verdicts)} of {len(scenes)} right")
    for check in CHECKS:
        print(f"  {check}: {sum(v[check] for v in verdicts)}")
    for count, words in ((1, "one object"), (2, "two objects")):
        group = [v for v, scene in zip(verdicts, scenes) if len(scene.things) == count]
        print(f"  {words}: {sum(all(v.values()) for v in group)} of {len(group)}")
    wrong = [scene.caption for v, scene in zip(verdicts, scenes) if not all(v.values())]
    print("  wrong, the first ten:", *wrong[:10], sep="\n    ")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how many prompts come out right.")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    options = parser.parse_args()
    rng = np.random.default_rng(UNSEEN_SEED)
    scenes = [sample_scene(rng) for _ in range(options.prompts)]
    report("drawn", scenes, np.stack([picture(scene) for scene in scenes]))
    painter = Painter()
    latents = np.stack([painter.noise(seed) for seed in range(options.prompts)])
    prompts = [scene.caption for scene in scenes]
    parts = [
        painter.paint(prompts[i : i + 25], latents[i : i + 25], options.steps, options.guidance)
        for i in range(0, len(prompts), 25)
    ]
    report("painted", scenes, np.concatenate(parts))


if __name__ == "__main__":
    main()
