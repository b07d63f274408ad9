"""Pictures to train an upscaler on, drawn by rules: dead leaves.

The "dead leaves" model (Matheron 1968; Lee, Mumford and Huang 2001) throws opaque shapes on top of each other
whose sizes follow a power law. It shares with photographs what enlargement needs: occlusion edges at all
scales and the same decay of the spectrum. As in VibrantLeaves (2025, arXiv 2504.10201), the shapes have
varied outlines, textures and shading, and some lie out of focus; here thin lines and lettering come on top.

Everything is a function of a seed: `leaves_picture(seed=7)` is the same picture on every run.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

OVERSAMPLING = 2
"""Pictures are drawn this much larger and then averaged, which gives edges their soft step."""

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789&?!.,:;()+-=/"


def leaves_picture(seed: int, size: int = 256) -> Pixels:
    """A dead-leaves picture, [size, size, 3] uint8 RGB."""
    rng = np.random.default_rng([seed, 0x1EAF])
    canvas = Canvas(rng, size * OVERSAMPLING)
    canvas.throw_leaves(smallest=30.0, coverage=5.0)
    if rng.random() < 0.35:  # the far layer lies out of focus
        canvas.blur(rng.uniform(1.0, 6.0))
    if rng.random() < 0.85:
        canvas.throw_leaves(smallest=rng.choice([4.0, 8.0, 16.0]), coverage=rng.choice([0.5, 1.5, 3.0]))
    if rng.random() < 0.5:
        canvas.draw_strands(count=int(rng.integers(1, 5)))
    if rng.random() < 0.25:
        canvas.write(words=int(rng.integers(1, 5)))
    if rng.random() < 0.2:
        canvas.blur(rng.uniform(0.4, 1.4))
    return averaged(canvas.pixels, size, rng)


class Canvas:
    """A square picture in float32 RGB, nominally 0 to 255, that shapes are painted on."""

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        self.rng = rng
        self.side = side
        self.palette = palette(rng)
        self.textures = [_texture(rng, side) for _ in range(4)]
        self.pixels: Floats = np.empty((side, side, 3), np.float32)
        self.pixels[:] = self._surface(0, 0, side, side)

    def throw_leaves(self, smallest: float, coverage: float) -> None:
        """Paint shapes until they cover the canvas `coverage` times; radii follow a power law, exponent 3."""
        largest = self.side * 0.45
        mean_area = 2 * np.pi * smallest**2 * np.log(largest / smallest)
        for _ in range(min(int(coverage * self.side**2 / mean_area), 4000)):
            u = self.rng.random()
            radius = (smallest**-2 + u * (largest**-2 - smallest**-2)) ** -0.5
            self._paint_leaf(radius)

    def draw_strands(self, count: int) -> None:
        """Bundles of nearly parallel thin curves: hair, wire, grass."""
        for _ in range(count):
            start, bend, end = self.rng.uniform(-0.1, 1.1, (3, 2)) * self.side
            spread, colour = self.rng.uniform(4, 60), self._colour()
            width = int(self.rng.integers(1, 6))
            mask = Image.new("L", (self.side, self.side))
            draw = ImageDraw.Draw(mask)
            steps = np.linspace(0, 1, 24)[:, None]
            for _ in range(int(self.rng.integers(1, 30))):
                a, b, c = (p + self.rng.normal(0, spread, 2) for p in (start, bend, end))
                curve = (1 - steps) ** 2 * a + 2 * steps * (1 - steps) * b + steps**2 * c
                points = [(float(x), float(y)) for x, y in curve]
                draw.line(points, fill=int(self.rng.integers(120, 256)), width=width, joint="curve")
            self._blend(mask, (0, 0), colour)

    def write(self, words: int) -> None:
        """Lettering in Pillow's own font, at any angle."""
        for _ in range(words):
            text = "".join(self.rng.choice(list(LETTERS), int(self.rng.integers(2, 14))))
            font = ImageFont.load_default(size=float(self.rng.uniform(14, 90)))
            left, top, right, bottom = (int(v) for v in font.getbbox(text))
            mask = Image.new("L", (max(right - left, 1) + 4, max(bottom - top, 1) + 4))
            ImageDraw.Draw(mask).text((2 - left, 2 - top), text, fill=255, font=font)
            if self.rng.random() < 0.6:
                mask = mask.rotate(self.rng.uniform(-90, 90), Image.Resampling.BICUBIC, expand=True)
            x, y = (int(v) for v in self.rng.integers(-40, self.side - 20, 2))
            self._blend(mask, (x, y), self._colour())

    def blur(self, radius: float) -> None:
        """Put all that is painted so far out of focus by `radius` pixels."""
        channels = [
            Image.fromarray(np.clip(self.pixels[..., c], 0, 255).astype(np.uint8)).filter(
                ImageFilter.GaussianBlur(radius)
            )
            for c in range(3)
        ]
        self.pixels = np.stack([np.asarray(c, np.float32) for c in channels], axis=-1)

    def _paint_leaf(self, radius: float) -> None:
        cx, cy = self.rng.uniform(-0.1, 1.1, 2) * self.side
        outline = _outline(self.rng, radius) + np.array([cx, cy])
        x0, y0 = (max(int(v), 0) for v in np.floor(outline.min(axis=0)))
        x1, y1 = (min(int(v), self.side) for v in np.ceil(outline.max(axis=0)) + 1)
        if x1 - x0 < 1 or y1 - y0 < 1:
            return
        mask = Image.new("L", (x1 - x0, y1 - y0))
        points = [(float(x), float(y)) for x, y in outline - np.array([x0, y0])]
        ImageDraw.Draw(mask).polygon(points, fill=255)
        self._blend(mask, (x0, y0), self._surface(x0, y0, x1, y1))

    def _surface(self, x0: int, y0: int, x1: int, y1: int) -> Floats:
        """The colour of a leaf, [y1-y0, x1-x0, 3] or [3]: plain, shaded, textured or both."""
        colour = self._colour()
        kind = self.rng.random()
        if kind < 0.2:
            return colour
        surface = np.broadcast_to(colour, (y1 - y0, x1 - x0, 3)).astype(np.float32)
        if kind < 0.65:
            slope = self.rng.normal(0, 40, 2)
            ramp_y = np.linspace(-0.5, 0.5, y1 - y0, dtype=np.float32)[:, None, None]
            ramp_x = np.linspace(-0.5, 0.5, x1 - x0, dtype=np.float32)[None, :, None]
            surface += slope[0] * ramp_y + slope[1] * ramp_x
        if kind > 0.4:
            texture = self.textures[int(self.rng.integers(len(self.textures)))]
            depth = self.rng.choice([4.0, 12.0, 30.0, 60.0]) * self.rng.uniform(0.5, 1.5)
            tint = 1 + self.rng.normal(0, 0.15, 3).astype(np.float32)
            surface += texture[y0:y1, x0:x1, None] * (depth * tint)
        return surface

    def _colour(self) -> Floats:
        """Near a colour of the palette; as in photographs, brightness varies far more than hue."""
        anchor = self.palette[int(self.rng.integers(len(self.palette)))]
        brightness, hue = self.rng.normal(0, 30), self.rng.normal(0, 6, 3)
        return np.asarray(anchor + brightness + hue, np.float32)

    def _blend(self, mask: Image.Image, at: tuple[int, int], surface: Floats) -> None:
        x, y = at
        left, top = max(-x, 0), max(-y, 0)
        right, bottom = min(mask.width, self.side - x), min(mask.height, self.side - y)
        if right <= left or bottom <= top:
            return
        cover = np.asarray(mask, np.float32)[top:bottom, left:right, None] / 255
        part = self.pixels[y + top : y + bottom, x + left : x + right]
        part += cover * (surface - part)


def averaged(pixels: Floats, size: int, rng: np.random.Generator) -> Pixels:
    """A canvas [S, S, 3] as a picture of `size`: each pixel the mean of its part; the contrast varies."""
    fold = len(pixels) // size
    small = pixels.reshape(size, fold, size, fold, 3).mean(axis=(1, 3))
    contrast, shift = rng.uniform(0.75, 1.25), rng.uniform(-20, 20)
    toned = (small - 127.5) * contrast + 127.5 + shift
    return np.asarray(np.clip(np.round(toned), 0, 255), np.uint8)


def palette(rng: np.random.Generator) -> Floats:
    """Three to seven colours, [K, 3]: spread along grey, less along blue-yellow and green-magenta."""
    count = int(rng.integers(3, 8))
    grey = rng.uniform(10, 245, (count, 1)) * np.ones(3)
    vividness = rng.choice([0.15, 0.4, 0.7, 1.4])
    blue_yellow = rng.normal(0, 40 * vividness, (count, 1)) * np.array([0.6, 0.2, -0.8])
    green_magenta = rng.normal(0, 22 * vividness, (count, 1)) * np.array([0.6, -0.7, 0.3])
    return np.asarray(grey + blue_yellow + green_magenta, np.float32)


def _outline(rng: np.random.Generator, radius: float) -> Floats:
    """The corners of one shape around the origin, [K, 2]: blob, polygon, rectangle or ellipse."""
    kind = rng.random()
    turn = rng.uniform(0, 2 * np.pi)
    stretch = np.array([1.0, rng.uniform(0.15, 1.0)])
    if kind < 0.35:  # a blob: a circle whose radius wavers
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        waves = sum(rng.normal(0, 0.5 / k**1.3) * np.cos(k * angles + rng.uniform(0, 7)) for k in range(2, 9))
        distance = np.clip(1 + waves, 0.2, 2.0)
    elif kind < 0.6:  # a polygon with corners at random angles
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
        distance = rng.uniform(0.5, 1.0, len(angles))
    elif kind < 0.8:  # a rectangle
        angles = np.array([0.25, 0.75, 1.25, 1.75]) * np.pi
        distance = np.ones(4)
    else:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        distance = np.ones(48)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * distance[:, None] * stretch * radius
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.asarray(points @ rotation, np.float32)


def _texture(rng: np.random.Generator, side: int) -> Floats:
    """A texture in about [-1, 1], [side, side]: cloud, stripes, checks or grain, bent by a slow cloud."""
    kind = rng.random()
    if kind < 0.6:
        return cloud(rng, side, exponent=rng.uniform(0.3, 2.0))
    grid = np.arange(side, dtype=np.float32)
    bend = cloud(rng, side, exponent=2.2) * rng.uniform(0, 25)
    turn, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(5), np.log(60)))
    along = (np.cos(turn) * grid[None, :] + np.sin(turn) * grid[:, None] + bend) * (2 * np.pi / period)
    if kind < 0.85:
        wave = np.sin(along)
    else:
        across = (np.cos(turn) * grid[:, None] - np.sin(turn) * grid[None, :] + bend) * (2 * np.pi / period)
        wave = np.sin(along) * np.sin(across)
    sharpness = rng.choice([1.0, 3.0, 12.0])  # from a sine to nearly a square wave
    return np.asarray(np.tanh(sharpness * wave) / np.tanh(sharpness), np.float32)


def cloud(rng: np.random.Generator, side: int, exponent: float) -> Floats:
    """Gaussian noise whose amplitude falls as 1/frequency**exponent, [side, side], standard deviation 0.5."""
    white = np.fft.rfft2(rng.standard_normal((side, side)))
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(white / frequency**exponent, s=(side, side))
    return np.asarray(np.clip(0.5 * field / field.std(), -1.5, 1.5), np.float32)
