"""Small drawing kit for renderers: batched ellipsoids, soft edges and colors, all closed-form.

Everything works on `[B, H, W]` float32 tensors; parameters are `[B, 1, 1]` (one value a picture) or plain
floats. World coordinates: x to the right, y up, z toward the viewer; the picture shows [-1, 1] x [-1, 1].
Rays are parallel to z (orthographic), so a surface is a height field and a picture costs a few hundred
elementwise operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NOTHING = -9.0  # the height of "no surface here"

Scalar = Tensor | float
Vector = Sequence[Scalar]


@dataclass(frozen=True)
class Factor:
    """One property of a picture: `low` and `high` are its range, reached at the ends of the latent's CDF."""

    name: str
    low: float
    high: float
    meaning: str


@dataclass
class Frame:
    """A rotated coordinate system: `rows[i]` holds the local components of world axis i, each [B, 1, 1]."""

    rows: tuple[tuple[Tensor, Tensor, Tensor], ...]
    origin: tuple[Tensor, Tensor]

    @classmethod
    def from_angles(cls, yaw: Tensor, pitch: Tensor, roll: Tensor, origin: tuple[Tensor, Tensor]) -> Frame:
        """Local to world is roll * pitch * yaw (radians): positive yaw looks right, pitch up."""
        cy, sy, cp, sp = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin()
        cr, sr = roll.cos(), roll.sin()
        right, up, toward = (cy, 0 * cy, sy), (-sp * sy, cp, sp * cy), (-cp * sy, -sp, cp * cy)
        x = tuple(cr * a - sr * b for a, b in zip(right, up, strict=True))
        y = tuple(sr * a + cr * b for a, b in zip(right, up, strict=True))
        return cls(rows=((x[0], x[1], x[2]), (y[0], y[1], y[2]), toward), origin=origin)

    def to_local(self, x: Tensor, y: Tensor, z: Scalar) -> list[Tensor]:
        """World position [B, H, W] to its three local coordinates."""
        x, y = x - self.origin[0], y - self.origin[1]
        r0, r1, r2 = self.rows
        return [x * r0[i] + y * r1[i] + z * r2[i] for i in range(3)]

    def to_world(self, local: Vector) -> list[Tensor]:
        """A local point or direction to world axes; the origin is not added."""
        return [row[0] * local[0] + row[1] * local[1] + row[2] * local[2] for row in self.rows]


@dataclass
class Surface:
    """What parallel rays see of one shape: where they hit, how high, and which way it faces."""

    hit: Tensor  # bool [B, H, W]
    height: Tensor  # world z, NOTHING where there is no hit
    normal: list[Tensor]  # three world components, unit length

    def blend(self, other: Surface, width: float) -> Surface:
        """The union with a rounded seam `width` wide, as clay would join."""
        difference = ((self.height - other.height) / width).clamp(-1, 1)
        share = 0.5 + 0.5 * difference
        height = other.height + (self.height - other.height) * share + width * share * (1 - share)
        hit = self.hit | other.hit
        height = torch.where(self.hit & other.hit, height, torch.maximum(self.height, other.height))
        normal = [b + (a - b) * share for a, b in zip(self.normal, other.normal, strict=True)]
        return Surface(hit, height, normalized(normal))


def ellipsoid(frame: Frame, x: Tensor, y: Tensor, center: Vector, radii: Vector) -> Surface:
    """The visible half of an ellipsoid whose center and radii are given in the frame's local coordinates."""
    at_zero = frame.to_local(x, y, 0.0)
    q = [(p - c) / r for p, c, r in zip(at_zero, center, radii, strict=True)]
    d = [axis / r for axis, r in zip(frame.rows[2], radii, strict=True)]
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = q[0] * d[0] + q[1] * d[1] + q[2] * d[2]
    c = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] - 1
    discriminant = b * b - a * c
    height = (discriminant.clamp(min=0).sqrt() - b) / a
    hit = discriminant > 0
    local_normal = [(qi + di * height) / r for qi, di, r in zip(q, d, radii, strict=True)]
    normal = normalized(frame.to_world(local_normal))
    return Surface(hit, torch.where(hit, height, NOTHING), normal)


def normalized(vector: list[Tensor]) -> list[Tensor]:
    """The same direction at unit length."""
    scale = (vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2] + 1e-8).rsqrt()
    return [component * scale for component in vector]


def dot(a: Vector, b: Vector) -> Tensor:
    """Inner product of two three-component vectors."""
    return torch.as_tensor(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def smoothstep(low: Scalar, high: Scalar, value: Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, with a smooth cubic between (works for low > high as well)."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def edge(distance: Tensor, softness: float = 0.012) -> Tensor:
    """Coverage of a region from its signed distance (positive inside)."""
    return smoothstep(-softness, softness, distance)


def bump(value: Tensor, width: Scalar) -> Tensor:
    """A bell of height 1 around zero; `width` is where it has fallen to 1/e."""
    return torch.exp(-((value / width) ** 2))


def mix(a: Scalar, b: Scalar, share: Scalar) -> Tensor:
    """Linear blend: a where share is 0, b where it is 1."""
    return torch.as_tensor(a + (b - a) * share)


def paint(canvas: list[Tensor], color: Vector, coverage: Tensor) -> list[Tensor]:
    """The canvas with a color laid over it."""
    return [mix(under, over, coverage) for under, over in zip(canvas, color, strict=True)]


def ramp(stops: Sequence[Sequence[float]], position: Tensor) -> list[Tensor]:
    """A color along evenly spaced stops (each r, g, b in [0, 1]); position in [0, 1]."""
    table = torch.tensor(stops, dtype=position.dtype)
    scaled = position.clamp(0, 1) * (len(stops) - 1)
    index = scaled.floor().clamp(max=len(stops) - 2).long()
    share = scaled - index
    return [mix(table[:, i][index], table[:, i][index + 1], share) for i in range(3)]


def hue_color(hue_x: Tensor, hue_y: Tensor, saturation: Scalar, value: Scalar) -> list[Tensor]:
    """A color from a direction on the hue circle: no seam, so neighboring latents get neighboring colors."""
    angle = torch.atan2(hue_y, hue_x)
    waves = [0.5 + 0.5 * torch.cos(angle - shift) for shift in (0.0, 2.0944, 4.1888)]
    return [value * (1 - saturation * (1 - wave)) for wave in waves]
