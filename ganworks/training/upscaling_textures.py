"""Pictures full of fine texture, for upscalers that shall draw some: fur, grass, foliage, gravel, grain, print.

Dead leaves have edges of all sizes but little that is fine, regular and everywhere, as natural surfaces have. Here
some regions lie beside each other, each filled with one kind of texture. `texture_picture(seed=7)` is the same
picture on every run.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganworks.training.upscaling_leaves import (
    LETTERS,
    OVERSAMPLING,
    Floats,
    Pixels,
    averaged,
    cloud,
    palette,
)

STROKE_POINTS = 5
MOST_STROKES = 9_000
PRINT_SHARE = 0.15  # of the pictures


def texture_picture(seed: int, size: int = 256) -> Pixels:
    """A picture of one to three textures, or of print, [size, size, 3] uint8 RGB."""
    rng = np.random.default_rng([seed, 0x7E87])
    side = size * OVERSAMPLING
    if rng.random() < PRINT_SHARE:
        return averaged(_print(rng, side), size, rng)
    pixels = _surface(rng, side)
    for _ in range(int(rng.integers(3))):
        part = cloud(rng, side, exponent=2.4) > rng.uniform(-0.2, 0.3)
        pixels = np.where(part[..., None], _surface(rng, side), pixels)
    shade = 1 + rng.uniform(0, 0.5) * cloud(rng, side, exponent=2.4)
    return averaged(pixels * shade[..., None], size, rng)


def _surface(rng: np.random.Generator, side: int) -> Floats:
    """One texture all over, [side, side, 3], nominally 0 to 255."""
    kind = rng.random()
    if kind < 0.45:
        return _strokes(rng, side)
    if kind < 0.75:
        return _scales(rng, side)
    return _grain(rng, side)


def _strokes(rng: np.random.Generator, side: int) -> Floats:
    """Fur, hair or grass: thin strokes on top of each other that follow a slowly turning direction."""
    direction = rng.uniform(0, 2 * np.pi) + rng.uniform(0.5, 4) * cloud(rng, side, exponent=2.4)
    length = np.exp(rng.uniform(np.log(12), np.log(120)))
    width, spread = int(rng.integers(1, 5)), rng.uniform(0.05, 0.5)
    count = min(int(3 * side**2 / (length * width)), MOST_STROKES)
    points = np.empty((count, STROKE_POINTS, 2), np.float32)
    points[:, 0] = rng.uniform(-0.05, 1.05, (count, 2)) * side
    stray = rng.normal(0, spread, count)
    for i in range(1, STROKE_POINTS):
        x, y = np.clip(points[:, i - 1].astype(int), 0, side - 1).T
        turn = direction[y, x] + stray
        step = np.stack([np.cos(turn), np.sin(turn)], axis=1) * length / (STROKE_POINTS - 1)
        points[:, i] = points[:, i - 1] + step
    colours = _colours(rng, count)
    picture = Image.new("RGB", (side, side), tuple(int(level) for level in colours[0] // 2))
    draw = ImageDraw.Draw(picture)
    for line, colour in zip(points.reshape(count, -1).tolist(), colours.tolist(), strict=True):
        draw.line(line, fill=tuple(colour), width=width)
    return np.asarray(picture, np.float32)


def _scales(rng: np.random.Generator, side: int) -> Floats:
    """Foliage, gravel or tiles: small shapes of about one size, each lit from one side."""
    size = np.exp(rng.uniform(np.log(4), np.log(24)))
    count = min(int(1.5 * (side / size) ** 2), MOST_STROKES)
    corners = int(rng.integers(3, 8))
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 2 * np.pi, (count, 1))
    distance = size * rng.uniform(0.5, 1.1, (count, corners))
    stretch = np.array([1.0, rng.uniform(0.3, 1.0)])
    outlines = np.stack([np.cos(angles), np.sin(angles)], axis=2) * distance[..., None] * stretch
    outlines += rng.uniform(-0.05, 1.05, (count, 1, 2)) * side
    light = rng.uniform(-0.35, 0.35, 2) * size
    colours = _colours(rng, count)
    picture = Image.new("RGB", (side, side), tuple(int(level) for level in colours[0] // 2))
    draw = ImageDraw.Draw(picture)
    for outline, colour in zip(outlines, colours, strict=True):
        draw.polygon((outline + light).ravel().tolist(), fill=tuple((colour // 2).tolist()))
        draw.polygon(outline.ravel().tolist(), fill=tuple(colour.tolist()))
    return np.asarray(picture, np.float32)


def _grain(rng: np.random.Generator, side: int) -> Floats:
    """Stone, bark, sand or cloth: noise between two colours, perhaps stretched along one direction."""
    field = cloud(rng, side, exponent=rng.uniform(0.4, 1.4))
    stretch = int(rng.integers(1, 7))
    if stretch > 1:
        field = np.repeat(field[: -(-side // stretch)], stretch, axis=0)[:side]
        field = field.T if rng.random() < 0.5 else field
    field = np.tanh(rng.choice([1.0, 2.0, 6.0]) * field)[..., None]
    first, second = _colours(rng, 2).astype(np.float32)
    return np.asarray((first + second) / 2 + field * (first - second) / 2, np.float32)


def _print(rng: np.random.Generator, side: int) -> Floats:
    """Lines of words in Pillow's own font, dark on light or light on dark."""
    paper, ink = rng.uniform(170, 255, 3), rng.uniform(0, 80, 3)
    if rng.random() < 0.3:
        paper, ink = ink, paper
    mask = Image.new("L", (side * 3 // 2, side * 3 // 2))
    draw, top = ImageDraw.Draw(mask), 0.0
    while top < mask.height:
        height = float(rng.uniform(16, 64))
        words = ("".join(rng.choice(list(LETTERS), int(rng.integers(1, 11)))) for _ in range(12))
        draw.text((-8, top), " ".join(words), fill=255, font=ImageFont.load_default(size=height))
        top += 1.3 * height
    turned = mask.rotate(rng.normal(0, 4), Image.Resampling.BICUBIC)
    cover = np.asarray(turned, np.float32)[:side, :side, None] / 255
    ground = paper + 8 * cloud(rng, side, exponent=1.0)[..., None]
    return np.asarray(ground + cover * (ink - ground), np.float32)


def _colours(rng: np.random.Generator, count: int) -> Pixels:
    """Colours near two of a palette; they differ in brightness more than in hue, [count, 3] uint8."""
    anchors = palette(rng)[:2]
    weight = rng.random((count, 1))
    spread = rng.normal(0, rng.uniform(8, 40), (count, 1)) + rng.normal(0, 5, (count, 3))
    mixed = anchors[0] * weight + anchors[-1] * (1 - weight) + spread
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)
