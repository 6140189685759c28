"""Pictures with captions, drawn by code: the painter's whole training set.

A scene is one object (with a size and a place) or two (with a relation) on a
plain background. `sample_scene` draws a scene by chance and words its caption,
and `picture` paints it, so that a caption and its picture cannot disagree.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SIDE = 32
OVERSAMPLING = 5

Colour = tuple[int, int, int]
Layer = tuple[np.ndarray, Colour]

COLOURS: dict[str, Colour] = {
    "red": (220, 30, 40),
    "orange": (250, 130, 20),
    "yellow": (250, 215, 30),
    "green": (30, 160, 60),
    "blue": (35, 80, 220),
    "purple": (140, 50, 180),
    "black": (20, 20, 20),
    "white": (255, 255, 255),
}
BACKGROUNDS: dict[str, Colour] = {
    "white": (255, 255, 255),
    "black": (20, 20, 20),
    "grey": (140, 140, 140),
    "pink": (255, 185, 205),
    "cyan": (150, 225, 240),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "diamond", "heart")
ICONS = ("house", "fish", "face", "boat", "flower", "tree", "sun")
DIGITS = tuple("0123456789")
OBJECTS = SHAPES + ICONS + DIGITS
OWN_COLOUR = {"tree": "green", "sun": "yellow"}
SIZES = {"small": (10, 12), "": (16, 20), "large": (24, 28)}
PLACES = {
    "": (0, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
    "on the left": (-1, 0),
    "on the right": (1, 0),
}
RELATIONS = {"above": (0, 1), "below": (0, -1), "left of": (1, 0), "right of": (-1, 0)}
BROWN, STEM, SAIL = (115, 70, 35), (30, 130, 50), (175, 175, 185)

# Each digit as strokes between points of the unit square, y down.
STROKES: dict[str, list[list[tuple[float, float]]]] = {
    "0": [[(-.2, -.8), (.2, -.8), (.5, -.45), (.5, .45), (.2, .8), (-.2, .8), (-.5, .45), (-.5, -.45), (-.2, -.8)]],
    "1": [[(-.35, -.5), (.05, -.8), (.05, .8)], [(-.35, .8), (.45, .8)]],
    "2": [[(-.5, -.45), (-.25, -.8), (.25, -.8), (.5, -.45), (.4, -.1), (-.5, .8), (.5, .8)]],
    "3": [[(-.5, -.6), (-.2, -.8), (.25, -.8), (.5, -.45), (.2, -.05), (.5, .4), (.25, .8), (-.2, .8), (-.5, .6)],
          [(-.1, -.05), (.2, -.05)]],
    "4": [[(.25, .8), (.25, -.8), (-.55, .3), (.6, .3)]],
    "5": [[(.45, -.8), (-.4, -.8), (-.45, -.1), (.2, -.1), (.5, .25), (.45, .55), (.2, .8), (-.5, .8)]],
    "6": [[(.4, -.8), (-.1, -.6), (-.5, .1), (-.5, .5), (-.2, .8), (.25, .8), (.5, .5), (.5, .25), (.25, -.05),
           (-.2, -.05), (-.5, .25)]],
    "7": [[(-.5, -.8), (.5, -.8), (-.1, .8)]],
    "8": [[(-.2, -.8), (.2, -.8), (.42, -.5), (.2, -.08), (-.2, -.08), (-.42, -.5), (-.2, -.8)],
          [(-.2, -.08), (.2, -.08), (.5, .35), (.25, .8), (-.25, .8), (-.5, .35), (-.2, -.08)]],
    "9": [[(-.4, .8), (.1, .6), (.5, -.1), (.5, -.5), (.2, -.8), (-.25, -.8), (-.5, -.5), (-.5, -.25), (-.25, .05),
           (.2, .05), (.5, -.25)]],
}


@dataclass(frozen=True)
class Thing:
    """One object: what it is, its colour, and where it stands, in pixels."""

    name: str
    colour: str
    size: int
    x: int
    y: int
    words: str


@dataclass(frozen=True)
class Scene:
    """What a picture shows, and the caption that says so."""

    things: tuple[Thing, ...]
    background: str
    relation: str
    caption: str


def disc(x: np.ndarray, y: np.ndarray, cx: float, cy: float, radius: float) -> np.ndarray:
    return (x - cx) ** 2 + (y - cy) ** 2 <= radius**2


def box(x: np.ndarray, y: np.ndarray, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def polygon(x: np.ndarray, y: np.ndarray, points: list[tuple[float, float]]) -> np.ndarray:
    """Points inside a polygon, by counting crossed edges."""
    inside = np.zeros(x.shape, bool)
    for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1]):
        if y1 != y2:
            inside ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


def stroke(x: np.ndarray, y: np.ndarray, points: list[tuple[float, float]], radius: float) -> np.ndarray:
    """Points within `radius` of a line through `points`."""
    near = np.zeros(x.shape, bool)
    for (x1, y1), (x2, y2) in zip(points, points[1:]):
        length = (x2 - x1) ** 2 + (y2 - y1) ** 2
        along = np.clip(((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length, 0, 1)
        near |= (x - x1 - along * (x2 - x1)) ** 2 + (y - y1 - along * (y2 - y1)) ** 2 <= radius**2
    return near


def star_points() -> list[tuple[float, float]]:
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    return [(float(r * np.cos(a)), float(r * np.sin(a) + 0.05)) for r, a in zip(radii, angles)]


def shape_mask(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A plain shape that fills the unit square."""
    match name:
        case "circle":
            return disc(x, y, 0, 0, 0.97)
        case "square":
            return box(x, y, -0.85, -0.85, 0.85, 0.85)
        case "triangle":
            return polygon(x, y, [(0, -0.9), (1, 0.85), (-1, 0.85)])
        case "star":
            return polygon(x, y, star_points())
        case "ring":
            return disc(x, y, 0, 0, 0.97) & ~disc(x, y, 0, 0, 0.5)
        case "cross":
            return box(x, y, -0.33, -0.95, 0.33, 0.95) | box(x, y, -0.95, -0.33, 0.95, 0.33)
        case "diamond":
            return np.abs(x) * 1.25 + np.abs(y) <= 1
        case "heart":
            lobes = disc(x, y, -0.47, -0.38, 0.5) | disc(x, y, 0.47, -0.38, 0.5)
            return lobes | polygon(x, y, [(-0.92, -0.17), (0, -0.5), (0.92, -0.17), (0, 0.95)])
    raise ValueError(f"no shape is called {name}")


def icon_layers(name: str, main: Colour, detail: Colour, x: np.ndarray, y: np.ndarray) -> list[Layer]:
    """An icon as layers, the lowest first; `main` is the colour that the caption names."""
    match name:
        case "house":
            walls, roof = box(x, y, -0.7, -0.1, 0.7, 0.95), polygon(x, y, [(0, -0.95), (1, -0.05), (-1, -0.05)])
            return [(walls, main), (roof, BROWN), (box(x, y, -0.2, 0.35, 0.2, 0.95), BROWN)]
        case "fish":
            body, tail = (x + 0.2) ** 2 / 0.64 + y**2 / 0.3 <= 1, polygon(x, y, [(0.35, 0), (1, -0.6), (1, 0.6)])
            return [(tail | body, main), (disc(x, y, -0.55, -0.12, 0.14), detail)]
        case "face":
            eyes = disc(x, y, -0.35, -0.25, 0.17) | disc(x, y, 0.35, -0.25, 0.17)
            smile = disc(x, y, 0, 0.05, 0.65) & ~disc(x, y, 0, -0.05, 0.5) & (y > 0.15)
            return [(disc(x, y, 0, 0, 0.97), main), (eyes | smile, detail)]
        case "boat":
            sail = polygon(x, y, [(-0.05, -0.95), (0.75, 0.2), (-0.05, 0.2)])
            mast, hull = box(x, y, -0.2, -0.95, -0.05, 0.4), polygon(x, y, [(-1, 0.35), (1, 0.35), (0.6, 0.9), (-0.6, 0.9)])
            return [(sail, SAIL), (mast, BROWN), (hull, main)]
        case "flower":
            turns = -np.pi / 2 + np.arange(5) * 2 * np.pi / 5
            petals = np.any([disc(x, y, 0.38 * np.cos(t), -0.35 + 0.38 * np.sin(t), 0.28) for t in turns], axis=0)
            leaf = polygon(x, y, [(0, 0.8), (0.55, 0.35), (0.3, 0.75)])
            return [(box(x, y, -0.1, -0.2, 0.1, 1) | leaf, STEM), (petals, main), (disc(x, y, 0, -0.35, 0.22), COLOURS["yellow"])]
        case "tree":
            crown = disc(x, y, 0, -0.45, 0.5) | disc(x, y, -0.4, 0, 0.45) | disc(x, y, 0.4, 0, 0.45)
            return [(box(x, y, -0.18, 0, 0.18, 1), BROWN), (crown, main)]
        case "sun":
            turns = np.arange(8) * np.pi / 4
            rays = [stroke(x, y, [(0, 0), (0.88 * np.cos(t), 0.88 * np.sin(t))], 0.1) for t in turns]
            return [(np.any(rays, axis=0), COLOURS["orange"]), (disc(x, y, 0, 0, 0.58), main)]
    raise ValueError(f"no icon is called {name}")


@lru_cache(maxsize=None)
def stamp(name: str, colour: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """An object as colour times cover [size, size, 3] and cover [size, size, 1], anti-aliased."""
    fine = size * OVERSAMPLING
    axis = (np.arange(fine) + 0.5) / fine * 2 - 1
    x, y = np.meshgrid(axis, axis)
    main = COLOURS[colour]
    if name in SHAPES:
        layers = [(shape_mask(name, x, y), main)]
    elif name in ICONS:
        layers = icon_layers(name, main, COLOURS["white" if colour == "black" else "black"], x, y)
    else:
        layers = [(np.any([stroke(x, y, line, 0.17) for line in STROKES[name]], axis=0), main)]
    paint = np.zeros((fine, fine, 4), np.float32)
    for mask, layer_colour in layers:
        paint[mask] = (*layer_colour, 1.0)
    cells = paint.reshape(size, OVERSAMPLING, size, OVERSAMPLING, 4).mean(axis=(1, 3))
    return cells[..., :3], cells[..., 3:]


def picture(scene: Scene) -> np.ndarray:
    """The scene as uint8 [32, 32, 3]."""
    canvas = np.empty((SIDE, SIDE, 3), np.float32)
    canvas[:] = BACKGROUNDS[scene.background]
    for thing in scene.things:
        paint, cover = stamp(thing.name, thing.colour, thing.size)
        area = canvas[thing.y : thing.y + thing.size, thing.x : thing.x + thing.size]
        area *= 1 - cover
        area += paint
    return np.round(canvas).astype(np.uint8)


def thing_at(name: str, colour: str, size: int, centre: tuple[float, float], words: str) -> Thing:
    """An object about a centre, moved where needed so that it stays one pixel inside the picture."""
    x, y = (int(np.clip(round(c - size / 2), 1, SIDE - 1 - size)) for c in centre)
    return Thing(name, colour, size, x, y, words)


def choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def with_article(words: str) -> str:
    return f"an {words}" if words.startswith("orange") else f"a {words}"


def object_words(rng: np.random.Generator, name: str, background: str) -> tuple[str, str]:
    """A colour for an object that shows on the background, and how the caption names both."""
    if name in OWN_COLOUR:
        return OWN_COLOUR[name], name
    colour = choose(rng, tuple(c for c in COLOURS if c != background))
    return colour, f"{colour} {name}"


def one_thing(rng: np.random.Generator, background: str) -> Scene:
    """A single object with an optional size and place."""
    kind = rng.random()
    name = choose(rng, SHAPES if kind < 0.4 else ICONS if kind < 0.75 else DIGITS)
    colour, words = object_words(rng, name, background)
    size_word = choose(rng, ("", "", "small", "large"))
    place = "" if size_word == "large" or rng.random() < 0.5 else choose(rng, tuple(PLACES)[1:])
    low, high = SIZES[size_word]
    size = int(rng.integers(low, high + 1))
    dx, dy = PLACES[place]
    reach = 16 - size / 2 - 2
    jitter = rng.uniform(-1.5, 1.5, 2)
    centre = (16 + dx * reach + jitter[0], 16 + dy * reach + jitter[1])
    thing = thing_at(name, colour, size, centre, f"{size_word} {words}".strip())
    return Scene((thing,), background, place, f"{with_article(thing.words)} {place}".strip())


def two_things(rng: np.random.Generator, background: str) -> Scene:
    """Two shapes or icons, one above or beside the other."""
    relation = choose(rng, tuple(RELATIONS))
    dx, dy = RELATIONS[relation]
    things = []
    for side in (-1, 1):
        name = choose(rng, SHAPES if rng.random() < 0.6 else ICONS)
        colour, words = object_words(rng, name, background)
        size = int(rng.integers(12, 15))
        across = rng.uniform(-1.5, 1.5, 2)
        centre = (16 + side * dx * 7.7 + across[0] * abs(dy), 16 + side * dy * 7.7 + across[1] * abs(dx))
        things.append(thing_at(name, colour, size, centre, words))
    first, second = (with_article(thing.words) for thing in things)
    return Scene(tuple(things), background, relation, f"{first} {relation} {second}")


def sample_scene(rng: np.random.Generator) -> Scene:
    """A scene by chance. A white background is left unsaid half of the time."""
    said = rng.random() < 0.6
    background = choose(rng, tuple(BACKGROUNDS)) if said else "white"
    scene = one_thing(rng, background) if rng.random() < 0.5 else two_things(rng, background)
    if not said:
        return scene
    return Scene(scene.things, background, scene.relation, f"{scene.caption} on a {background} background")


def gallery(count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """`count` pictures as uint8 [count, 32, 32, 3], and their captions."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng) for _ in range(count)]
    return np.stack([picture(scene) for scene in scenes]), [scene.caption for scene in scenes]
