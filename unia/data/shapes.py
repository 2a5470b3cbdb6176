"""The embedded dataset: six shapes on textured backgrounds, in VOC's on-disk layout.

It holds the ambiguity that UniA is about. Borders are blurred and objects partly transparent (the mask
is where opacity exceeds one half), and two classes usually come with a telling background (a triangle
on waves, a disc on a meadow), so that a plain CAM leaks onto it. Every image has a generator of its own,
seeded with (seed, split, index): more images never change those that were there.
"""

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as XML

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from unia.data.samples import write_label
from unia.files import atomic, write_text
from unia.progress import track
from unia.recipe import ShapesData

CLASSES = ("disc", "square", "triangle", "ring", "cross", "star")
TELLING = {"triangle": "waves", "disc": "meadow"}
TELLING_RATE = 0.75  # of the images of such a class
STRAY_RATE = 0.5  # of the images without one: they show a telling background all the same
NEUTRAL = ("sand", "stone", "dusk", "tiles")
HUE_RATE = 0.95  # of the objects: their hue is near their class's own, otherwise it is any
DIAMETERS = {1: (48, 72), 2: (38, 54), 3: (32, 44)}  # number of objects -> pixels of 96
SUPERSAMPLING = 4

Array = NDArray[np.float32]


@dataclass(frozen=True)
class _Thing:
    """An object to be drawn: class name, centre and radius in pixels."""

    name: str
    x: float
    y: float
    radius: float


def generate(config: ShapesData, folder: Path) -> None:
    """Write the dataset to `folder`/VOCdevkit/VOC2012, all or nothing; the same bytes every time."""
    with atomic(folder) as temporary:
        root = temporary / "VOCdevkit" / "VOC2012"
        for part in ("JPEGImages", "Annotations", "ImageSets/Segmentation", "SegmentationClassAug"):
            (root / part).mkdir(parents=True)
        names = []
        for number, (split, count) in enumerate((("train", config.train), ("val", config.val))):
            listed = [f"{split}_{index:06d}" for index in range(count)]
            write_text(root / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(listed) + "\n")
            names += [(name, (config.seed, number, index)) for index, name in enumerate(listed)]
        for name, seed in track(names, "Drawing shapes"):
            _write(root, name, *draw(config.size, seed))


def draw(size: int, seed: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[_Thing]]:
    """One image (size x size x 3), its mask (size x size, class ids) and its objects."""
    rng = Generator(PCG64(list(seed)))
    things = _arrange(size, rng)
    image = _background(_setting(things, rng), size, rng)
    mask = np.zeros((size, size), np.uint8)
    for thing in things:
        opacity = _opacity(thing, size, rng)
        colour = _surface(thing, image.mean(axis=(0, 1)), size, rng)
        image += opacity[..., None] * (colour - image)
        mask[opacity > 0.5] = CLASSES.index(thing.name) + 1
    image += rng.normal(0, 5, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), mask, things


def _arrange(size: int, rng: Generator) -> list[_Thing]:
    """One to three objects that barely touch; two classes with telling backgrounds never meet."""
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
    first = str(rng.choice(CLASSES))
    things: list[_Thing] = []
    for _ in range(40):
        name = str(rng.choice(CLASSES)) if things else first
        radius = rng.uniform(*DIAMETERS[count]) / 2 * size / 96
        x, y = rng.uniform(radius * 0.9, size - radius * 0.9, 2)
        apart = all(np.hypot(x - o.x, y - o.y) > 0.9 * (radius + o.radius) for o in things)
        if apart and not set(TELLING) <= {name, *(o.name for o in things)}:
            things.append(_Thing(name, x, y, radius))
        if len(things) == count:
            break
    return things


def _setting(things: Sequence[_Thing], rng: Generator) -> str:
    """The name of the background that goes with these objects."""
    telling = [TELLING[thing.name] for thing in things if thing.name in TELLING]
    if telling and rng.random() < TELLING_RATE:
        return telling[0]
    stray = not telling and rng.random() < STRAY_RATE
    return str(rng.choice(list(TELLING.values()) if stray else NEUTRAL))


def _background(setting: str, size: int, rng: Generator) -> Array:
    """A muted, textured, noisy background, size x size x 3 in 0..255."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) * (96 / size)
    phase, pace = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.2)
    if setting == "waves":
        shade = 0.6 * np.sin(0.7 * pace * y + 1.2 * np.sin(0.1 * x + phase) + phase)
        base = (70, 100, 140)
    elif setting == "meadow":
        shade, base = (y / 48 - 1) + 0.5 * _cloud(size, 24, rng), (80, 125, 75)
    elif setting == "sand":
        shade, base = _cloud(size, 12, rng), (165, 145, 110)
    elif setting == "stone":
        shade, base = 1.5 * _cloud(size, 8, rng), (115, 115, 115)
    elif setting == "dusk":
        shade, base = (x * np.cos(phase) + y * np.sin(phase)) / 68, (115, 90, 110)
    else:
        step = 12 * pace
        shade, base = 0.5 * np.sign(np.sin(np.pi * x / step) * np.sin(np.pi * y / step)), (140, 120, 115)
    tint = np.array(base, np.float32) + rng.normal(0, 8, 3).astype(np.float32)
    coarse = np.stack([_cloud(size, 16, rng) for _ in range(3)], axis=2)
    picture: Array = tint + 28 * shade[..., None] + 8 * coarse
    return picture.astype(np.float32)


def _cloud(size: int, cells: int, rng: Generator) -> Array:
    """Smooth noise of unit strength: `cells` x `cells` values, resized."""
    noise = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC))


def _opacity(thing: _Thing, size: int, rng: Generator) -> Array:
    """Opacity in 0..1 (size x size): the supersampled outline, blurred and thinned more or less."""
    large = SUPERSAMPLING
    canvas = Image.new("L", (size * large, size * large))
    pen = ImageDraw.Draw(canvas)
    x, y, r = thing.x * large, thing.y * large, thing.radius * large
    if thing.name in ("disc", "ring"):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
        if thing.name == "ring":
            pen.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill=0)
    else:
        outline = _outline(thing.name) @ _rotation(rng.uniform(-0.4, 0.4))
        pen.polygon([(x + r * u, y + r * v) for u, v in outline], fill=255)
    fuzzy = rng.random() < 0.6
    blur = (rng.uniform(1.2, 2.4) if fuzzy else rng.uniform(0.2, 0.6)) * size / 96
    strength = rng.uniform(0.75, 0.95) if fuzzy else 1.0
    shape = canvas.reduce(large).filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(shape, np.float32) * np.float32(strength / 255)


def _outline(name: str) -> Array:
    """Corners (n x 2) of a shape in the unit circle, y downwards."""
    if name == "square":
        points = _star(4, 1.0, np.pi / 4)[::2]
    elif name == "triangle":
        points = _star(3, 1.0, 0.0)[::2]
    elif name == "star":
        points = _star(5, 0.42, 0.0)
    else:  # cross: the corners of an arm's end, turned four times
        arm = np.array([(-0.3, -0.95), (0.3, -0.95), (0.3, -0.3)], np.float32)
        points = np.concatenate([arm @ _rotation(-k * np.pi / 2) for k in range(4)])
    return points


def _star(tips: int, inner: float, turn: float) -> Array:
    """Tips on the unit circle, the first straight up, alternating with points at radius `inner`."""
    angle = np.arange(2 * tips) * np.pi / tips + turn
    radius = np.where(np.arange(2 * tips) % 2, inner, 1.0)
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1).astype(np.float32)


def _rotation(angle: float) -> Array:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)


def _surface(thing: _Thing, behind: Array, size: int, rng: Generator) -> Array:
    """A vivid, lightly striped colour, far from the background's mean; size x size x 3."""
    own = CLASSES.index(thing.name) / len(CLASSES)
    near = rng.random() < HUE_RATE
    for _ in range(20):
        hue = own + rng.normal(0, 0.05) if near else rng.random()
        rgb = colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.7, 1), rng.uniform(0.75, 1))
        colour = np.array(rgb, np.float32) * 255
        if np.abs(colour - behind).sum() > 150:
            break
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) * (96 / size)
    angle = rng.uniform(0, np.pi)
    stripes = np.sin(rng.uniform(0.4, 0.9) * (x * np.cos(angle) + y * np.sin(angle)))
    surface: Array = colour + rng.uniform(5, 20) * stripes[..., None]
    return surface.astype(np.float32)


def _write(
    root: Path, name: str, image: NDArray[np.uint8], mask: NDArray[np.uint8], things: Sequence[_Thing]
) -> None:
    Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    write_label(root / "SegmentationClassAug" / f"{name}.png", mask)
    side = len(mask)
    note = XML.Element("annotation")
    XML.SubElement(note, "filename").text = f"{name}.jpg"
    _numbers(XML.SubElement(note, "size"), {"width": side, "height": side, "depth": 3})
    for thing in things:
        entry = XML.SubElement(note, "object")
        XML.SubElement(entry, "name").text = thing.name
        XML.SubElement(entry, "difficult").text = "0"
        left, top, right, bottom = (
            min(max(round(edge), 1), side)
            for edge in (
                thing.x - thing.radius,
                thing.y - thing.radius,
                thing.x + thing.radius,
                thing.y + thing.radius,
            )
        )
        box = {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
        _numbers(XML.SubElement(entry, "bndbox"), box)
    XML.indent(note)
    XML.ElementTree(note).write(root / "Annotations" / f"{name}.xml", encoding="utf-8")


def _numbers(node: XML.Element, values: Mapping[str, int]) -> None:
    for key, value in values.items():
        XML.SubElement(node, key).text = str(value)
