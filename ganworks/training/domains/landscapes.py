"""The "landscapes" domain: sky, sun, clouds, mountains, hills, water and trees, 40 factors from a normal latent.

`render(z, size)` turns latents into pictures, and is what the starter generator "landscapes" learned from. Each
latent coordinate is one documented factor (`FACTORS`): z is scaled to length sqrt(40), as StyleGAN's mapping
network does, and each coordinate goes through the normal CDF onto the factor's range.

A picture is painted from far to near, as a painter would: the sky by the sun's height, clouds, two mountain
ranges, hills, water that mirrors what is above it, the near shore with its trees. Ridges are sums of waves whose
phases are factors, so neighboring latents give neighboring land. Haze grows with distance and takes the sky's color.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .shapes import Factor, bump, mix, paint, ramp, smoothstep

SUPERSAMPLING = 2
LABEL = "Landscapes"
DESCRIPTION = "Painted landscapes of all seasons and hours. Learned here from pictures that PixelLift's own renderer drew."
MASK_WEIGHTS = (1.5, 4.0)  # trees, the sun or the moon

FACTORS = (
    Factor("sun_height", -0.27, 1.0, "night over dawn to noon"),
    Factor("sun_x", -0.85, 0.85, "where the sun stands, left to right"),
    Factor("evening", 0.0, 1.0, "rosy dawn to golden dusk, when the sun is low"),
    Factor("season", 0.0, 1.0, "winter, spring, summer, autumn"),
    Factor("clouds", -0.6, 1.0, "positive brings clouds, up to an overcast sky"),
    Factor("cloud_size", 0.7, 1.5, "small to large clouds"),
    Factor("cloud_x", -1.0, 1.0, "where the clouds stand"),
    Factor("cloud_y", -1.0, 1.0, "how clouds are stacked"),
    Factor("cloud_shape", -1.0, 1.0, "streaks to heaps"),
    Factor("horizon", -0.22, 0.16, "low to high horizon"),
    Factor("peaks", 0.0, 1.0, "flat to alpine mountains"),
    Factor("peaks_x", -1.0, 1.0, "where the highest peak stands"),
    Factor("peaks_a", -1.0, 1.0, "phase of the far ridge, large waves"),
    Factor("peaks_b", -1.0, 1.0, "phase of the far ridge, middle waves"),
    Factor("peaks_c", -1.0, 1.0, "phase of the far ridge, small waves"),
    Factor("roughness", 0.2, 1.0, "rounded to jagged"),
    Factor("snow_line", -0.4, 1.0, "snow on the peaks"),
    Factor("rock_tone", 0.0, 1.0, "blue-gray, brown, red rock"),
    Factor("range", 0.0, 1.0, "height of the nearer range"),
    Factor("range_a", -1.0, 1.0, "phase of the nearer range, large waves"),
    Factor("range_b", -1.0, 1.0, "phase of the nearer range, small waves"),
    Factor("hills", 0.0, 1.0, "flat to hilly"),
    Factor("hills_a", -1.0, 1.0, "phase of the hills, large waves"),
    Factor("hills_b", -1.0, 1.0, "phase of the hills, small waves"),
    Factor("fields", 0.0, 1.0, "plain slopes to striped fields"),
    Factor("water", -0.7, 1.0, "positive floods the plain: a pond, a lake, a sea"),
    Factor("ripples", 0.0, 1.0, "a mirror to choppy water"),
    Factor("water_tone", 0.0, 1.0, "deep blue to green water"),
    Factor("shore", -1.0, 1.0, "shape of the near shore, left to right"),
    Factor("shore_height", 0.0, 1.0, "how much of the near shore is seen"),
    Factor("trees", -0.5, 1.0, "positive plants trees"),
    Factor("tree_size", 0.7, 1.3, "small to tall trees"),
    Factor("tree_kind", 0.0, 1.0, "conifers to round crowns"),
    Factor("tree_x", -1.0, 1.0, "where the trees stand"),
    Factor("forest", 0.0, 1.0, "bare to wooded hills"),
    Factor("flowers", -0.8, 1.0, "positive brings flowers into the near grass"),
    Factor("flower_hue", 0.0, 1.0, "white, yellow, red, violet flowers"),
    Factor("haze", 0.05, 1.0, "clear to hazy air"),
    Factor("saturation", 0.75, 1.15, "pale to strong colors"),
    Factor("exposure", 0.88, 1.1, "dark to bright"),
)
Z_DIM = len(FACTORS)

# From what changes a picture most to what changes it least. Training gives the first the longest directions in w.
BY_VISIBILITY = (
    "sun_height",
    "season",
    "water",
    "peaks",
    "clouds",
    "horizon",
    "haze",
    "evening",
    "trees",
    "peaks_x",
    "sun_x",
    "hills",
    "snow_line",
    "range",
    "forest",
    "shore_height",
    "rock_tone",
    "exposure",
    "saturation",
    "tree_x",
    "cloud_x",
    "shore",
    "tree_size",
    "tree_kind",
    "peaks_a",
    "range_a",
    "hills_a",
    "roughness",
    "cloud_size",
    "ripples",
    "water_tone",
    "flowers",
    "cloud_shape",
    "cloud_y",
    "peaks_b",
    "fields",
    "range_b",
    "hills_b",
    "peaks_c",
    "flower_hue",
)

# Colors of the sky by the sun's height: at the zenith, and at the horizon (at dawn and at dusk).
_ZENITH = ((0.02, 0.03, 0.10), (0.07, 0.09, 0.26), (0.22, 0.32, 0.58), (0.20, 0.45, 0.80), (0.16, 0.44, 0.84))
_DAWN = ((0.06, 0.08, 0.20), (0.62, 0.36, 0.46), (0.98, 0.74, 0.66), (0.78, 0.88, 0.96), (0.72, 0.87, 0.98))
_DUSK = ((0.05, 0.07, 0.18), (0.72, 0.30, 0.20), (1.00, 0.66, 0.32), (0.86, 0.88, 0.88), (0.72, 0.87, 0.98))
_SUNLIGHT = (
    (0.16, 0.20, 0.36),
    (0.55, 0.36, 0.36),
    (1.00, 0.72, 0.48),
    (1.02, 0.96, 0.86),
    (1.06, 1.02, 0.96),
)
_SKYLIGHT = (
    (0.05, 0.07, 0.14),
    (0.24, 0.22, 0.32),
    (0.38, 0.40, 0.50),
    (0.44, 0.50, 0.58),
    (0.46, 0.52, 0.60),
)
# By the season: winter, spring, summer, autumn.
_GRASS = ((0.86, 0.90, 0.95), (0.42, 0.66, 0.24), (0.28, 0.52, 0.18), (0.66, 0.56, 0.20))
_LEAVES = ((0.36, 0.38, 0.42), (0.46, 0.68, 0.26), (0.16, 0.42, 0.14), (0.84, 0.42, 0.10))
_NEEDLES = ((0.22, 0.34, 0.34), (0.14, 0.36, 0.22), (0.09, 0.30, 0.17), (0.14, 0.30, 0.16))
_ROCK = ((0.40, 0.44, 0.54), (0.46, 0.40, 0.34), (0.58, 0.36, 0.27))
_FLOWERS = ((0.98, 0.98, 0.95), (0.99, 0.84, 0.20), (0.90, 0.20, 0.18), (0.62, 0.34, 0.82))
_WATER = ((0.06, 0.22, 0.42), (0.10, 0.36, 0.40))

Color = list[Tensor]
Factors = dict[str, Tensor]


def factors(z: Tensor) -> Factors:
    """The factor values [N] of latents [N, 40], by name. The length of z does not matter."""
    z = z.float() * (z.float().square().mean(1, keepdim=True) + 1e-8).rsqrt()
    share = torch.special.ndtr(z)
    return {f.name: f.low + (f.high - f.low) * share[:, i] for i, f in enumerate(FACTORS)}


@torch.no_grad()
def render(z: Tensor, size: int = 128) -> tuple[Tensor, Tensor]:
    """Draw latents [N, 40]: pictures [N, 3, size, size] in [-1, 1], masks [N, 2, size, size] in [0, 1].

    The first mask covers trees, the second the sun; they tell a loss where people look first.
    """
    pictures, masks = [], []
    for chunk in torch.split(z, 2):
        picture, mask = _draw(factors(chunk), size * SUPERSAMPLING)
        pictures.append(torch.nn.functional.avg_pool2d(picture, SUPERSAMPLING))
        masks.append(torch.nn.functional.avg_pool2d(mask, SUPERSAMPLING))
    return torch.cat(pictures) * 2 - 1, torch.cat(masks)


def _render_chunk(values: Factors, size: int) -> tuple[Tensor, Tensor]:
    f = {name: value.view(-1, 1, 1) for name, value in values.items()}
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    x, y = x[None], y[None]
    scene = _Scene(f, x, y)
    canvas = scene.above(x, y)
    sun_mask = scene.sun_mask(x, y)
    canvas = _water(scene, canvas)
    canvas, trees = _near(scene, canvas)
    picture = torch.stack(_developed(canvas, f), dim=1).clamp(0, 1)
    batch = picture.shape[0]
    masks = torch.stack([trees.expand(batch, size, size), sun_mask.expand(batch, size, size)], dim=1)
    return picture, masks


class _Scene:
    """What all layers share: light, haze, and the ridges' heights over x. All [B, H, W] or [B, 1, 1]."""

    def __init__(self, f: Factors, x: Tensor, y: Tensor) -> None:
        self.f, self.x, self.y = f, x, y
        day = ((f["sun_height"] + 0.27) / 1.27).clamp(0, 1)
        self.day = 0.5 * day.sqrt() + 0.5 * day.pow(0.62)
        self.zenith = ramp(_ZENITH, self.day)
        self.glow = [
            mix(a, b, f["evening"]) for a, b in zip(ramp(_DAWN, self.day), ramp(_DUSK, self.day), strict=True)
        ]
        cover = smoothstep(0.15, 1.0, f["clouds"])
        gray = [0.5 * (a + b) for a, b in zip(ramp(_SKYLIGHT, self.day), self.glow, strict=True)]
        self.glow = [mix(a, b, 0.45 * cover) for a, b in zip(self.glow, gray, strict=True)]
        self.sunlight = [c * (1 - 0.45 * cover) for c in ramp(_SUNLIGHT, self.day)]
        self.skylight = ramp(_SKYLIGHT, self.day)
        self.horizon = f["horizon"]
        self.sun = (f["sun_x"], self.horizon + 0.02 + 0.72 * f["sun_height"].clamp(min=-0.25))

    # --- Sky

    def above(self, x: Tensor, y: Tensor) -> Color:
        """Everything above the water line, as seen at (x, y): also what the water mirrors."""
        canvas = self._sky(x, y)
        canvas = self._clouds(canvas, x, y)
        canvas = self._mountains(canvas, x, y)
        return self._hills(canvas, x, y)

    def _sky(self, x: Tensor, y: Tensor) -> Color:
        f = self.f
        up = ((y - self.horizon) / (1.05 - self.horizon)).clamp(0, 1)
        share = up.pow(0.62)
        canvas = [mix(a, b, share) for a, b in zip(self.glow, self.zenith, strict=True)]
        distance = ((x - self.sun[0]).square() + (y - self.sun[1]).square()).sqrt()
        low = bump(f["sun_height"] - 0.08, 0.28)
        halo = (
            bump(distance, 0.5 + 0.4 * low)
            * (0.12 + 0.5 * low)
            * (1 - 0.5 * smoothstep(0.1, 1.0, f["clouds"]))
        )
        canvas = paint(
            canvas,
            [1.0, mix(0.86, 0.66, low), mix(0.66, 0.36, low)],
            halo * smoothstep(-0.3, 0.05, f["sun_height"]),
        )
        stars = self._stars(x, y) * smoothstep(0.0, -0.28, f["sun_height"]) * up
        canvas = [c + 0.9 * stars for c in canvas]
        return paint(
            canvas, [1.0, 0.97, 0.88], self.sun_mask(x, y) * (1 - 0.6 * smoothstep(0.45, 1.0, f["clouds"]))
        )

    def sun_mask(self, x: Tensor, y: Tensor) -> Tensor:
        """The disk of the sun, or of the moon at night."""
        f = self.f
        night = smoothstep(-0.05, -0.3, f["sun_height"])
        moon_y = self.horizon + 0.62
        at_y = mix(self.sun[1], moon_y, smoothstep(-0.12, -0.25, f["sun_height"]))
        radius = mix(0.085, 0.06, night)
        distance = ((x - self.sun[0]).square() + (y - at_y).square()).sqrt()
        shown = torch.maximum(
            smoothstep(-0.12, 0.0, f["sun_height"]), smoothstep(-0.2, -0.32, f["sun_height"]) * 0.9
        )
        return smoothstep(radius + 0.012, radius - 0.012, distance) * shown

    @staticmethod
    def _stars(x: Tensor, y: Tensor) -> Tensor:
        """The same stars in every night."""
        total = torch.zeros_like(x)
        random = torch.Generator().manual_seed(7)
        for sx, sy, strength in (
            torch.rand(26, 3, generator=random) * torch.tensor([2.0, 1.4, 1.0])
        ).tolist():
            squared = (x - sx + 1).square() + (y - sy + 0.4).square()
            total = total + (0.4 + 0.6 * strength) * torch.exp(-squared / 0.00016)
        return total

    def _clouds(self, canvas: Color, x: Tensor, y: Tensor) -> Color:
        f = self.f
        amount = f["clouds"].clamp(min=0)
        scale = f["cloud_size"]
        depth = (y - self.horizon + 0.25).clamp(min=0.12)
        u = (x * 1.15 + 0.6 * f["cloud_x"]) / scale
        v = (y * mix(3.6, 2.3, 0.5 + 0.5 * f["cloud_shape"]) + 0.7 * f["cloud_y"]) / scale
        field = torch.zeros_like(x + y)
        weight, reach = 0.0, 1.0
        for octave, (a, b, phase) in enumerate(
            ((2.1, 1.4, 0.3), (3.7, 2.9, 1.7), (6.9, 5.3, 0.9), (13.1, 9.7, 2.3), (24.0, 19.0, 1.1))
        ):
            twist = 0.7 * torch.sin(b * 0.6 * v + phase + f["cloud_y"])
            field = field + reach * torch.sin(a * u + phase * 3 + twist) * torch.cos(
                b * v + phase + 0.8 * torch.sin(a * 0.5 * u)
            )
            weight += reach
            reach *= 0.62 if octave < 3 else 0.5
        field = field / weight
        threshold = mix(0.55, -0.5, amount)
        thick = smoothstep(threshold, threshold + 0.42, field) * smoothstep(0.0, 0.12, amount)
        thick = thick * smoothstep(0.02, 0.3, depth)
        shade = smoothstep(threshold + 0.1, threshold + 0.75, field)
        lit = [1.25 * s + 0.5 * k for s, k in zip(self.sunlight, self.skylight, strict=True)]
        dark = [0.55 * s + 0.75 * k for s, k in zip(self.sunlight, self.skylight, strict=True)]
        color = [mix(a, b, 0.8 * shade).clamp(max=1) for a, b in zip(lit, dark, strict=True)]
        color = [mix(c, g, 0.35) for c, g in zip(color, self.glow, strict=True)]
        return paint(canvas, color, 0.93 * thick)

    # --- Land

    def _mountains(self, canvas: Color, x: Tensor, y: Tensor) -> Color:
        f = self.f
        rough = f["roughness"]
        far = self._ridge(x, (f["peaks_a"], f["peaks_b"], f["peaks_c"]), (2.3, 5.1, 11.0, 23.0), rough)
        tall = 0.06 + 0.92 * f["peaks"] * (0.40 + 0.60 * bump(x - 0.7 * f["peaks_x"], 0.55))
        top = self.horizon + tall * (0.55 + 0.45 * far)
        slope = self._slope(x, (f["peaks_a"], f["peaks_b"], f["peaks_c"]), rough)
        below = (top - y) / tall.clamp(min=0.05)
        gully = torch.sin(16 * x + 7 * below + 5 * f["peaks_b"]) * torch.sin(
            9 * x - 12 * below + 3 * f["peaks_a"]
        )
        side = (slope * self._toward_sun(x) * 0.9 + 0.35 * gully * rough).clamp(-1, 1)
        rock = ramp(_ROCK, f["rock_tone"])
        line = 0.9 - 1.0 * f["snow_line"] - 0.35 * smoothstep(0.22, 0.0, f["season"])
        height = 1 - below
        snow = smoothstep(line - 0.1, line + 0.1, height + 0.10 * gully) * smoothstep(0.18, 0.4, f["peaks"])
        color = paint(rock, [0.95, 0.97, 1.0], snow)
        color = self.lit(color, 0.5 + 0.5 * side)
        color = self._hazed(color, 0.42 + 0.4 * f["haze"] + 0.2 * below.clamp(0, 1) * f["haze"])
        canvas = paint(canvas, color, self._coverage(top - y))

        near = self._ridge(x, (f["range_a"], f["range_b"], f["range_a"]), (1.7, 4.3, 9.0, 19.0), 0.6 * rough)
        lift = 0.03 + 0.26 * f["range"]
        top = self.horizon + lift * (0.5 + 0.5 * near)
        below = ((top - y) / lift).clamp(0, 1)
        grass, needles = ramp(_GRASS, f["season"]), ramp(_NEEDLES, f["season"])
        color = [
            mix(0.55 * g + 0.45 * r, n, 0.75 * f["forest"])
            for g, r, n in zip(grass, rock, needles, strict=True)
        ]
        slope = self._slope(x, (f["range_a"], f["range_b"], f["range_a"]), 0.5)
        side = slope * self._toward_sun(x)
        color = self.lit(color, 0.5 + 0.42 * side.clamp(-1, 1) - 0.1 * below)
        color = self._hazed(color, 0.16 + 0.5 * f["haze"] * (0.5 + 0.5 * below))
        return paint(canvas, color, self._coverage(top - y))

    def _hills(self, canvas: Color, x: Tensor, y: Tensor) -> Color:
        f = self.f
        waves = self._ridge(x, (f["hills_a"], f["hills_b"], f["hills_a"]), (1.3, 2.9, 5.7, 0.0), 0.25)
        top = self.horizon - 0.05 + 0.13 * f["hills"] * waves
        below = (top - y).clamp(min=0)
        grass, leaves, needles = (ramp(table, f["season"]) for table in (_GRASS, _LEAVES, _NEEDLES))
        stripes = torch.sin((40 * below / (0.35 + below)) + 3 * torch.sin(1.6 * x + 3 * f["hills_b"]))
        color = [g * (1 + 0.16 * f["fields"] * stripes) for g in grass]
        belt = torch.sin(3.4 * x + 4 * f["hills_a"]) + 0.5 * torch.sin(7.7 * x + 3 * f["hills_b"])
        depth = 0.02 + f["forest"] * (0.10 + 0.08 * belt)
        fringe = 0.012 * torch.sin(47 * x) + 0.008 * torch.sin(83 * x + 1)
        wood = smoothstep(0.02, -0.02, below - depth.clamp(min=0) + fringe) * smoothstep(
            0.12, 0.4, f["forest"]
        )
        crowns = 0.86 + 0.22 * torch.sin(61 * x + 3 * torch.sin(37 * y)) * torch.sin(53 * y + 2 * x)
        woods = [mix(n, v, f["tree_kind"]) * crowns for n, v in zip(needles, leaves, strict=True)]
        color = paint(color, woods, 0.9 * wood)
        slope = self._slope(x, (f["hills_a"], f["hills_b"], f["hills_a"]), 0.3)
        side = slope * self._toward_sun(x)
        color = self.lit(color, 0.6 + 0.3 * side.clamp(-1, 1))
        color = self._hazed(color, (0.34 * f["haze"] * torch.exp(-2.6 * below)).clamp(0, 1))
        return paint(canvas, color, self._coverage(top - y))

    @staticmethod
    def _ridge(
        x: Tensor, phases: tuple[Tensor, ...], rates: tuple[float, ...], rough: Tensor | float
    ) -> Tensor:
        """A sum of waves, about -1 to 1: smooth where `rough` is small, with sharp crests where it is large."""
        total = torch.zeros_like(x)
        weight = 0.0
        for octave, rate in enumerate(rates):
            if not rate:
                continue
            strength = 0.55**octave
            angle = rate * x + math.pi * phases[octave % len(phases)] * (1 + 0.35 * octave) + 1.3 * octave
            smooth = torch.sin(angle)
            sharp = 1 - 2 * (torch.sin(0.5 * angle)).abs()
            share = rough if octave else 0.6 * rough
            total = total + strength * (mix(smooth, sharp, share) if octave < 2 else share * sharp)
            weight += strength
        return total / (0.75 * weight)

    @classmethod
    def _slope(cls, x: Tensor, phases: tuple[Tensor, ...], rough: Tensor | float) -> Tensor:
        """Which way a ridge faces: its slope, about -1 to 1."""
        rates = (2.3, 5.1, 11.0, 23.0)
        share = torch.as_tensor(rough)
        a, b = (cls._ridge(x + step, phases, rates, share) for step in (-0.02, 0.02))
        return ((a - b) / 0.04 / 6).clamp(-1, 1)

    def _toward_sun(self, x: Tensor) -> Tensor:
        """1 where the sun stands far to the right, -1 where it stands far to the left."""
        return torch.tanh(2.5 * (self.sun[0] - x))

    def lit(self, color: Color, facing: Tensor) -> Color:
        """`facing` 0 is turned from the sun, 1 to it."""
        low = smoothstep(0.0, 0.5, self.f["sun_height"])
        direct = facing.clamp(0, 1) * mix(0.55, 0.95, low) + 0.12
        return [c * (s * direct + k) for c, s, k in zip(color, self.sunlight, self.skylight, strict=True)]

    def _hazed(self, color: Color, share: Tensor) -> Color:
        return [mix(c, g, share.clamp(0, 0.97)) for c, g in zip(color, self.glow, strict=True)]

    @staticmethod
    def _coverage(distance: Tensor) -> Tensor:
        return smoothstep(-0.008, 0.008, distance)


def _water(scene: _Scene, canvas: Color) -> Color:
    """A plane below the shore line that mirrors what is above it, broken by ripples."""
    f, x, y = scene.f, scene.x, scene.y
    amount = smoothstep(0.0, 0.25, f["water"])
    line = (
        scene.horizon
        - 0.10
        - 0.16 * (1 - f["water"].clamp(0, 1))
        + 0.02 * torch.sin(2.2 * x + 3 * f["shore"])
    )
    depth = (line - y).clamp(min=0)
    near = 1 / (0.12 + depth)
    wave = torch.sin(26 * near + 2.0 * torch.sin(5 * x * near * 0.2)) + 0.6 * torch.sin(41 * near + 9 * x)
    shift = f["ripples"] * wave * (0.012 + 0.03 * depth)
    mirror = scene.above(x + 0.4 * shift, 2 * line - y + shift)
    tint = ramp(_WATER, f["water_tone"])
    tint = [t * (1.1 * s + 1.2 * k) for t, s, k in zip(tint, scene.sunlight, scene.skylight, strict=True)]
    grazing = torch.exp(-1.5 * depth) * 0.78 + 0.1
    color = [mix(t, m, grazing) for t, m in zip(tint, mirror, strict=True)]
    path = bump(x - scene.sun[0], 0.10 + 0.25 * depth) * smoothstep(-0.2, 0.3, wave)
    glitter = (
        path * f["ripples"] * smoothstep(-0.1, 0.1, f["sun_height"]) * smoothstep(0.9, 0.1, f["sun_height"])
    )
    color = [c + 0.5 * glitter * s for c, s in zip(color, scene.sunlight, strict=True)]
    return paint(canvas, color, amount * smoothstep(0.0, 0.012, line - y))


def _near(scene: _Scene, canvas: Color) -> tuple[Color, Tensor]:
    """The near shore with grass, flowers and trees, and where the trees are."""
    f, x, y = scene.f, scene.x, scene.y
    top = (
        -1.02 + 0.42 * f["shore_height"] + 0.22 * f["shore"] * x + 0.05 * torch.sin(3.1 * x + 2 * f["shore"])
    )
    grass = ramp(_GRASS, f["season"])
    below = (top - y).clamp(min=0)
    blades = 0.9 + 0.14 * torch.sin(70 * x + 9 * torch.sin(19 * y)) * torch.sin(31 * y + 5 * x)
    color = [0.82 * g * blades * (1 - 0.25 * smoothstep(0.0, 0.5, below)) for g in grass]
    color = scene.lit(color, 0.62 + 0 * x)
    bloom = _dots(x, y, 9.0, f["flowers"].clamp(min=0)) * smoothstep(0.1, 0.35, f["season"])
    color = paint(color, scene.lit(ramp(_FLOWERS, f["flower_hue"]), 0.9 + 0 * x), bloom)
    canvas = paint(canvas, color, smoothstep(-0.008, 0.008, top - y))

    trees = torch.zeros_like(canvas[0])
    for number, (place, scale, turn) in enumerate(
        ((-0.62, 1.0, 0.0), (0.66, 0.86, 1.9), (-0.15, 0.7, 3.1), (0.28, 0.6, 4.4))
    ):
        grown = smoothstep(0.22 * number, 0.22 * number + 0.3, f["trees"])
        base_x = place + 0.26 * f["tree_x"] * math.cos(turn) + 0.05 * number
        base_y = -1.02 + 0.42 * f["shore_height"] + 0.22 * f["shore"] * base_x + 0.03
        base_y = base_y.clamp(min=-0.98)
        height = 0.62 * scale * f["tree_size"] * (0.4 + 0.6 * grown)
        canvas, mask = _tree(scene, canvas, base_x, base_y, height, grown, turn)
        trees = torch.maximum(trees, mask)
    return canvas, trees


def _dots(x: Tensor, y: Tensor, rate: float, amount: Tensor) -> Tensor:
    """Flowers on a jittered grid, nearer ones larger."""
    near = (0.15 - y).clamp(min=0.2)
    u = x / near * rate * 0.8
    v = torch.log(near) * rate * 1.6
    row = torch.floor(v)
    u = u + 0.37 * row
    column = torch.floor(u)
    chance = torch.frac(torch.sin(column * 12.9898 + row * 78.233) * 43758.5453).abs()
    du, dv = u - column - 0.5, v - row - 0.5
    return smoothstep(0.34, 0.2, (du.square() + dv.square()).sqrt()) * smoothstep(
        chance, chance + 0.15, amount
    )


def _tree(
    scene: _Scene, canvas: Color, base_x: Tensor, base_y: Tensor, height: Tensor, grown: Tensor, turn: float
) -> tuple[Color, Tensor]:
    """A conifer or a tree with a round crown, between which `tree_kind` goes over."""
    f, x, y = scene.f, scene.x, scene.y
    u, v = (x - base_x) / height, (y - base_y) / height  # v: 0 at the root, 1 at the top
    kind = smoothstep(0.35, 0.65, f["tree_kind"])
    trunk = smoothstep(0.05, 0.03, u.abs() + 0.03 * v) * smoothstep(-0.05, 0.0, v) * smoothstep(0.6, 0.5, v)
    tiers = 0.05 * torch.cos(34 * v)
    cone = 0.30 * (1.02 - v) + tiers * (1.05 - v) - u.abs()
    conifer = smoothstep(-0.015, 0.015, cone) * smoothstep(0.12, 0.16, v) * smoothstep(1.03, 1.0, v)
    edge_noise = 0.035 * torch.sin(9 * torch.atan2(v - 0.66, u) + turn) + 0.02 * torch.sin(
        17 * torch.atan2(v - 0.66, u)
    )
    crown = 0.33 + edge_noise - ((u * 1.0).square() + ((v - 0.66) * 0.98).square()).sqrt()
    round_crown = smoothstep(-0.015, 0.015, crown)
    leaf = mix(conifer, round_crown, kind)
    bare = smoothstep(0.22, 0.05, f["season"]) * kind
    texture = 0.84 + 0.24 * torch.sin(46 * u + 4 * torch.sin(31 * v)) * torch.sin(41 * v + 3 * u)
    green = [
        mix(n, w, kind) * texture
        for n, w in zip(ramp(_NEEDLES, f["season"]), ramp(_LEAVES, f["season"]), strict=True)
    ]
    snow = smoothstep(0.16, 0.03, f["season"]) * smoothstep(0.0, 0.8, torch.cos(34 * v)) * (1 - kind)
    green = paint(green, [0.92, 0.95, 0.98], 0.7 * snow)
    facing = 0.5 + 0.42 * (u / 0.3).clamp(-1, 1) * torch.tanh(2.5 * (scene.sun[0] - base_x)) + 0.12 * v
    wood = scene.lit([0.30 + 0 * u, 0.21 + 0 * u, 0.15 + 0 * u], facing)
    canvas = paint(canvas, wood, trunk * grown)
    coverage = leaf * grown * (1 - 0.55 * bare)
    canvas = paint(canvas, scene.lit(green, facing), coverage)
    return canvas, torch.maximum(coverage, trunk * grown)


def _developed(canvas: Color, f: Factors) -> Color:
    """Exposure and saturation, as a camera would set them."""
    gray = 0.3 * canvas[0] + 0.59 * canvas[1] + 0.11 * canvas[2]
    return [(gray + (c - gray) * f["saturation"]) * f["exposure"] for c in canvas]


def example_latents(count: int, seed: int) -> Tensor:
    """Standard normal latents [count, 40] from a seed."""
    return torch.randn(count, Z_DIM, generator=torch.Generator().manual_seed(seed))


def compile_renderer() -> None:
    """Let torch.compile fuse the drawing of two pictures (needs a C++ compiler); `render` then uses it."""
    global _draw
    _draw = torch.compile(_render_chunk, dynamic=False)


_draw: Callable[[Factors, int], tuple[Tensor, Tensor]] = _render_chunk
