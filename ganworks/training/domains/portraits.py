"""The "portraits" domain: stylized 3D heads in closed-form geometry, 48 factors from a normal latent.

`render(z, size)` turns latents into pictures, and is what the starter generator "portraits" learned from. Each
latent coordinate is one documented factor (`FACTORS`): z is scaled to length sqrt(48), as StyleGAN's mapping
network does, and each coordinate goes through the normal CDF onto the factor's range.

Heads are ellipsoids with rounded seams (see `shapes`), features are painted in head-local coordinates, so
they follow the pose, and the whole is lit by a key light, a sky and a rim light. A 128-pixel picture takes
about 50 ms on one core, or 12 ms compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .shapes import (
    NOTHING,
    Factor,
    Frame,
    Surface,
    bump,
    dot,
    edge,
    ellipsoid,
    hue_color,
    mix,
    normalized,
    paint,
    ramp,
    smoothstep,
)

SUPERSAMPLING = 2
VIEW = 0.87  # half of the visible world's height
VIEW_CENTER_Y = 0.03


LABEL = "Portraits"
DESCRIPTION = (
    "Stylized 3D heads. Learned here from pictures that PixelLift's own renderer drew; no photographs."
)
MASK_WEIGHTS = (5.0, 4.0)  # eyes and brows, mouth

FACTORS = (
    Factor("yaw", -0.22, 0.22, "head turn in radians, positive looks to the picture's right"),
    Factor("pitch", -0.05, 0.06, "head tilt in radians, positive looks up"),
    Factor("roll", -0.03, 0.03, "head lean in radians"),
    Factor("smile", -0.2, 1.0, "corners of the mouth, down to up"),
    Factor("mouth_open", -0.9, 1.0, "positive opens the mouth"),
    Factor("skin_tone", 0.0, 1.0, "light to dark"),
    Factor("skin_warmth", -1.0, 1.0, "cool to warm"),
    Factor("hair_shade", 0.0, 1.0, "black, brown, auburn, blond, silver"),
    Factor("hair_dye", -2.6, 1.0, "positive is dyed; the hue follows the hair's shade"),
    Factor("hair_length", -0.55, 1.0, "cropped to shoulder-length"),
    Factor("hair_volume", 0.0, 1.0, "flat to full"),
    Factor("fringe", 0.0, 1.0, "high hairline to a fringe above the brows"),
    Factor("parting", -1.0, 1.0, "side to which the hair sweeps"),
    Factor("waves", 0.0, 1.0, "straight to wavy hair"),
    Factor("bun", -2.0, 1.0, "positive puts a bun on top"),
    Factor("face_width", 0.92, 1.08, "relative width of the head"),
    Factor("jaw_width", 0.86, 1.12, "relative width of the jaw"),
    Factor("chin", 0.90, 1.12, "relative length of the lower face"),
    Factor("cheeks", 0.0, 1.0, "flat to round cheeks"),
    Factor("eye_size", 1.0, 1.16, "relative size of the eyes"),
    Factor("eye_distance", 0.94, 1.08, "relative distance of the eyes"),
    Factor("eye_opening", 0.75, 1.1, "narrow to wide eyes"),
    Factor("gaze_x", -0.5, 0.5, "looks left to right"),
    Factor("gaze_y", -0.25, 0.25, "looks down to up"),
    Factor("iris_color", 0.0, 1.0, "brown, hazel, green, blue, gray"),
    Factor("lashes", 0.0, 1.0, "bare lids to long lashes"),
    Factor("brow_height", -1.0, 1.0, "low to raised brows"),
    Factor("brow_tilt", -1.0, 1.0, "worried to stern"),
    Factor("brow_thickness", 0.6, 1.5, "thin to bushy"),
    Factor("nose_size", 0.82, 1.22, "relative width of the nose"),
    Factor("nose_length", -1.0, 1.0, "short to long nose"),
    Factor("lip_color", 0.0, 1.0, "natural to painted lips"),
    Factor("lip_fullness", 0.7, 1.4, "thin to full lips"),
    Factor("beard", -2.4, 1.0, "positive grows a beard"),
    Factor("glasses", -1.8, 1.0, "positive puts glasses on"),
    Factor("glasses_color", 0.0, 1.0, "black, tortoise, red, violet, teal frames"),
    Factor("glasses_size", 0.9, 1.12, "small to large frames"),
    Factor("shirt_hue_x", -1.0, 1.0, "with shirt_hue_y the direction on the hue circle"),
    Factor("shirt_hue_y", -1.0, 1.0, "with shirt_hue_x the direction on the hue circle"),
    Factor("shirt_value", 0.3, 1.0, "dark to light clothes"),
    Factor("stripes", -1.6, 1.0, "positive draws stripes on the clothes"),
    Factor("background_hue_x", -1.0, 1.0, "with background_hue_y the direction on the hue circle"),
    Factor("background_hue_y", -1.0, 1.0, "with background_hue_x the direction on the hue circle"),
    Factor("background_value", 0.16, 0.95, "dark to light background"),
    Factor("light_side", -1.0, 1.0, "key light from the left to from the right"),
    Factor("light_softness", 0.0, 1.0, "hard to soft light"),
    Factor("rim_light", 0.0, 1.0, "strength of the light from behind"),
    Factor("blush", 0.0, 1.0, "pale to rosy cheeks"),
)
Z_DIM = len(FACTORS)

# From what changes a picture most to what changes it least. Training gives the first the longest directions
# in w.
BY_VISIBILITY = (
    "yaw",
    "hair_shade",
    "background_value",
    "skin_tone",
    "hair_length",
    "glasses",
    "smile",
    "pitch",
    "beard",
    "light_side",
    "hair_dye",
    "hair_volume",
    "mouth_open",
    "fringe",
    "gaze_x",
    "shirt_value",
    "background_hue_x",
    "background_hue_y",
    "bun",
    "eye_opening",
    "shirt_hue_x",
    "shirt_hue_y",
    "roll",
    "stripes",
    "waves",
    "lip_color",
    "parting",
    "brow_tilt",
    "iris_color",
    "brow_height",
    "rim_light",
    "light_softness",
    "eye_size",
    "blush",
    "face_width",
    "jaw_width",
    "chin",
    "glasses_color",
    "skin_warmth",
    "gaze_y",
    "brow_thickness",
    "nose_size",
    "cheeks",
    "lashes",
    "nose_length",
    "lip_fullness",
    "eye_distance",
    "glasses_size",
)

_SKIN = (
    (1.00, 0.84, 0.74),
    (0.98, 0.76, 0.61),
    (0.90, 0.64, 0.47),
    (0.74, 0.48, 0.32),
    (0.55, 0.34, 0.22),
    (0.38, 0.23, 0.16),
)
_HAIR = (
    (0.07, 0.06, 0.07),
    (0.17, 0.10, 0.07),
    (0.36, 0.20, 0.11),
    (0.62, 0.27, 0.11),
    (0.86, 0.60, 0.27),
    (0.95, 0.83, 0.58),
    (0.78, 0.78, 0.80),
)
_IRIS = ((0.30, 0.16, 0.07), (0.50, 0.32, 0.12), (0.28, 0.50, 0.22), (0.18, 0.46, 0.78), (0.44, 0.55, 0.62))
_FRAMES = ((0.06, 0.06, 0.08), (0.40, 0.20, 0.08), (0.78, 0.12, 0.14), (0.42, 0.16, 0.62), (0.05, 0.48, 0.52))

EYE_Y = 0.03
MOUTH_Y = -0.315


def factors(z: Tensor) -> dict[str, Tensor]:
    """The factor values [N] of latents [N, 48], by name. The length of z does not matter."""
    z = z.float() * (z.float().square().mean(1, keepdim=True) + 1e-8).rsqrt()
    share = torch.special.ndtr(z)
    return {f.name: f.low + (f.high - f.low) * share[:, i] for i, f in enumerate(FACTORS)}


@torch.no_grad()
def render(z: Tensor, size: int = 128) -> tuple[Tensor, Tensor]:
    """Draw latents [N, 48]: pictures [N, 3, size, size] in [-1, 1], masks [N, 2, size, size] in [0, 1].

    The first mask covers eyes and brows, the second the mouth; they tell a loss where people look first.
    """
    pictures, masks = [], []
    for chunk in torch.split(z, 2):
        picture, mask = _draw(factors(chunk), size * SUPERSAMPLING)
        pictures.append(torch.nn.functional.avg_pool2d(picture, SUPERSAMPLING))
        masks.append(torch.nn.functional.avg_pool2d(mask, SUPERSAMPLING))
    return torch.cat(pictures) * 2 - 1, torch.cat(masks)


class _Scene:
    """The nearest surface at each pixel, with its material."""

    def __init__(self, like: Tensor) -> None:
        self.height = torch.full_like(like, NOTHING)
        self.normal = [torch.zeros_like(like), torch.zeros_like(like), torch.ones_like(like)]
        self.color = [torch.zeros_like(like) for _ in range(3)]
        self.gloss = torch.zeros_like(like)

    def add(
        self, surface: Surface, color: list[Tensor], gloss: Tensor | float, visible: Tensor | None = None
    ) -> None:
        """Put a surface into the scene where it is nearer than what is there."""
        wins = surface.hit & (surface.height > self.height)
        if visible is not None:
            wins = wins & visible
        self.height = torch.where(wins, surface.height, self.height)
        self.normal = [torch.where(wins, a, b) for a, b in zip(surface.normal, self.normal, strict=True)]
        self.color = [torch.where(wins, a, b) for a, b in zip(color, self.color, strict=True)]
        self.gloss = torch.where(wins, torch.as_tensor(gloss, dtype=self.gloss.dtype), self.gloss)


def _render_chunk(values: dict[str, Tensor], size: int) -> tuple[Tensor, Tensor]:
    f = {name: value[:, None, None] for name, value in values.items()}
    axis = ((torch.arange(size) + 0.5) / size * 2 - 1) * VIEW
    x = axis[None, None, :].expand(f["yaw"].shape[0], size, size)
    y = VIEW_CENTER_Y - axis[None, :, None].expand_as(x)
    origin = (0.05 * f["yaw"], 0.06 + 0.05 * f["pitch"])
    head = Frame.from_angles(f["yaw"], f["pitch"], f["roll"], origin)
    still = Frame.from_angles(0.3 * f["yaw"], 0 * f["yaw"], 0 * f["yaw"], (0 * f["yaw"], 0 * f["yaw"]))
    light = _key_light(f)
    skin, hair = _skin_color(f), _hair_color(f)

    scene = _Scene(x)
    _add_body(scene, still, f, x, y, skin)
    masks = _add_head(scene, head, f, x, y, skin, hair, light)
    _add_hair(scene, head, f, x, y, hair)
    picture = _lit(scene, f, x, y, light)
    picture = _add_glasses(picture, scene, head, f, x, y)
    return torch.stack(picture, 1).clamp(0, 1), torch.stack(masks, 1)


def _skin_color(f: dict[str, Tensor]) -> list[Tensor]:
    red, green, blue = ramp(_SKIN, f["skin_tone"])
    warmth = f["skin_warmth"]
    return [red * (1 + 0.02 * warmth), green, blue * (1 - 0.10 * warmth)]


def _hair_color(f: dict[str, Tensor]) -> list[Tensor]:
    natural = ramp(_HAIR, f["hair_shade"])
    angle = f["hair_shade"] * 5.0 + 3.0
    dyed = hue_color(angle.cos(), angle.sin(), 0.75, 0.85)
    return paint(natural, dyed, smoothstep(0.0, 0.5, f["hair_dye"]))


def _key_light(f: dict[str, Tensor]) -> list[Tensor]:
    side = 0.85 * f["light_side"]
    return normalized([side, 0.55 + 0 * side, 0.85 + 0 * side])


def _add_body(
    scene: _Scene, frame: Frame, f: dict[str, Tensor], x: Tensor, y: Tensor, skin: list[Tensor]
) -> None:
    """Neck and shoulders."""
    neck = ellipsoid(frame, x, y, (0.0, -0.66, -0.12), (0.19, 0.52, 0.19))
    shade = mix(0.62, 1.0, smoothstep(-0.40, -0.62, y))
    scene.add(neck, [c * shade for c in skin], 0.15)
    body = ellipsoid(frame, x, y, (0.0, -1.17, -0.14), (0.80, 0.60, 0.40))
    cloth = hue_color(f["shirt_hue_x"], f["shirt_hue_y"], 0.62, f["shirt_value"])
    rows = 0.5 + 0.5 * torch.tanh(4 * torch.cos((y + 0.25 * x * x) * 42))
    stripes = smoothstep(0.0, 0.4, f["stripes"]) * rows * 0.75
    cloth = paint(cloth, [0.96, 0.94, 0.90], stripes)
    local = frame.to_local(x, y, 0.0)
    neckline = (local[0] / 1.5).square() + (y + 0.56).square()
    collar = edge(0.020 - (neckline.sqrt() - 0.17).abs(), 0.014)
    cloth = [c * (1 - 0.25 * collar) for c in cloth]
    cloth = paint(cloth, [c * 0.80 for c in skin], edge(0.152 - neckline.sqrt(), 0.014))
    scene.add(body, [c.expand_as(x) for c in cloth], 0.08)


def _add_head(
    scene: _Scene,
    frame: Frame,
    f: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    skin: list[Tensor],
    hair: list[Tensor],
    light: list[Tensor],
) -> list[Tensor]:
    """Head, nose and ears with the painted face; returns the masks of eyes and mouth."""
    width, jaw, chin, cheeks = f["face_width"], f["jaw_width"], f["chin"], f["cheeks"]
    skull = ellipsoid(frame, x, y, (0.0, 0.12, -0.02), (0.455 * width, 0.455, 0.46))
    lower = ellipsoid(
        frame, x, y, (0.0, -0.16, 0.01), ((0.372 + 0.03 * cheeks) * width * jaw, 0.365 * chin, 0.435)
    )
    surface = skull.blend(lower, 0.14)
    length = 0.02 * f["nose_length"]
    nose_width = 0.062 * f["nose_size"]
    tip = ellipsoid(frame, x, y, (0.0, -0.115 - length, 0.475), (nose_width, 0.052, 0.085))
    bridge = ellipsoid(frame, x, y, (0.0, -0.02, 0.43), (0.5 * nose_width, 0.14, 0.055))
    surface = surface.blend(bridge, 0.05).blend(tip, 0.035)

    u, v, w = frame.to_local(x, y, surface.height)
    front = smoothstep(0.0, 0.12, w)
    color = [c.expand_as(x) for c in skin]
    color = _paint_blush(color, f, u, v, front)
    color = _paint_beard(color, f, hair, u, v, w)
    gloss = torch.full_like(x, 0.22)
    normal = surface.normal
    mouth, color = _paint_mouth(color, f, skin, u, v, front)
    eyes = torch.zeros_like(x)
    for side in (-1.0, 1.0):
        color, normal, gloss, eye = _paint_eye(
            color, normal, gloss, frame, f, skin, hair, u, v, front, light, side
        )
        eyes = torch.maximum(eyes, eye)
    shadow = edge(
        0.008 - (u.abs() - 0.55 * nose_width).square().add((v + 0.158 + length).square()).sqrt(), 0.02
    )
    color = [c * (1 - 0.5 * shadow * front) for c in color]
    scene.add(Surface(surface.hit, surface.height, normal), color, gloss)

    for side in (-1.0, 1.0):
        ear = ellipsoid(frame, x, y, (side * 0.455 * width, -0.03, -0.04), (0.06, 0.115, 0.08))
        eu, ev, _ = frame.to_local(x, y, ear.height)
        inner = bump(((eu - side * 0.475 * width) / 0.035).square() + ((ev + 0.03) / 0.07).square(), 1.0)
        scene.add(ear, [c * (1 - s * inner) for c, s in zip(skin, (0.12, 0.30, 0.30), strict=True)], 0.15)
    return [eyes, mouth]


def _paint_blush(
    color: list[Tensor], f: dict[str, Tensor], u: Tensor, v: Tensor, front: Tensor
) -> list[Tensor]:
    spot = bump((((u.abs() - 0.255) / 0.11).square() + ((v + 0.165) / 0.085).square()).sqrt(), 1.0)
    strength = spot * front * (0.12 + 0.38 * f["blush"])
    return [c * (1 - s * strength) for c, s in zip(color, (0.04, 0.50, 0.42), strict=True)]


def _paint_beard(
    color: list[Tensor], f: dict[str, Tensor], hair: list[Tensor], u: Tensor, v: Tensor, w: Tensor
) -> list[Tensor]:
    """A full beard with moustache, its strength continuous from none to dense."""
    strength = smoothstep(0.0, 0.45, f["beard"])
    cheek_line = -0.20 - 0.9 * (0.30 - u.abs()).clamp(min=0)
    jaw = smoothstep(0.03, -0.05, v - cheek_line)
    moustache = edge(0.035 - (v - (MOUTH_Y + 0.075 - 1.2 * u * u)).abs(), 0.022) * edge(0.15 - u.abs(), 0.03)
    lips = bump(((u / 0.15).square() + ((v - MOUTH_Y) / 0.05).square()).sqrt(), 1.0)
    cover = torch.maximum(jaw * (1 - 0.85 * lips), moustache) * smoothstep(-0.25, 0.0, w)
    grain = 0.92 + 0.08 * torch.cos(u * 70)
    return paint(color, [c * 0.85 * grain for c in hair], cover * strength * 0.95)


def _paint_mouth(
    color: list[Tensor], f: dict[str, Tensor], skin: list[Tensor], u: Tensor, v: Tensor, front: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Lips, and teeth behind them when the mouth is open; returns (mask, color)."""
    half_width = 0.145 + 0.025 * f["smile"]
    e = (u / half_width).clamp(-1.2, 1.2)
    inside = (1 - e * e).clamp(min=0)
    center = MOUTH_Y + 0.062 * f["smile"] * (e * e - 0.45)
    opening = 0.085 * smoothstep(-0.1, 1.0, f["mouth_open"]) * (0.55 + 0.45 * f["smile"].clamp(min=0))
    top = center + 0.25 * opening * inside
    bottom = center - opening * inside
    full = 0.030 * f["lip_fullness"]
    bow = 1 - 0.35 * bump(e, 0.22)
    lips = edge(torch.minimum(top + full * inside * bow - v, v - (bottom - 1.15 * full * inside)), 0.010)
    lips = lips * edge(1 - e.abs(), 0.06)
    natural = [c * s for c, s in zip(skin, (0.86, 0.60, 0.60), strict=True)]
    lip_color = paint(natural, [0.76, 0.10, 0.20], smoothstep(0.45, 1.0, f["lip_color"]) * 0.75)
    color = paint(color, lip_color, lips * front)
    gap = torch.minimum(top - v, v - bottom)
    open_area = edge(gap, 0.008) * smoothstep(0.0, 0.02, opening) * edge(1 - e.abs(), 0.06)
    teeth = edge(v - (bottom + 0.40 * (top - bottom)), 0.010)
    inner = paint(
        [torch.full_like(u, 0.42), torch.full_like(u, 0.10), torch.full_like(u, 0.11)],
        [0.98, 0.97, 0.94],
        teeth,
    )
    color = paint(color, inner, open_area * front)
    line = edge(0.006 - (v - top).abs(), 0.010) * edge(1 - e.abs(), 0.05) * (1 - open_area)
    color = [c * (1 - 0.55 * line * front) for c in color]
    mask = bump(((u / 0.20).square() + ((v - MOUTH_Y) / 0.11).square()), 1.0) * front
    return mask, color


def _paint_eye(
    color: list[Tensor],
    normal: list[Tensor],
    gloss: Tensor,
    frame: Frame,
    f: dict[str, Tensor],
    skin: list[Tensor],
    hair: list[Tensor],
    u: Tensor,
    v: Tensor,
    front: Tensor,
    light: list[Tensor],
    side: float,
) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """One eye with lids and brow; returns (color, normal, gloss, mask)."""
    size = 0.118 * f["eye_size"]
    ex = side * 0.188 * f["eye_distance"]
    du, dv = (u - ex) / size, (v - EYE_Y) / size
    slant = dv - 0.08 * side * du
    arc = (1 - du.abs().clamp(max=1.2).pow(2.4)).clamp(min=-0.5)
    upper, lower = 0.86 * f["eye_opening"] * arc, -0.62 * f["eye_opening"].sqrt() * arc
    inside = edge(torch.minimum(upper - slant, slant - lower), 0.10) * edge(1.02 - du.abs(), 0.06) * front

    socket = bump((du.square() + dv.square()).sqrt(), 1.35) * front
    color = [c * (1 - s * socket) for c, s in zip(color, (0.10, 0.16, 0.16), strict=True)]

    iu, iv = du - 0.26 * f["gaze_x"], dv - 0.05 - 0.24 * f["gaze_y"]
    radius = (iu.square() + iv.square()).sqrt()
    lid_shadow = 0.62 + 0.38 * smoothstep(0.02, 0.42, upper - slant)
    white = [0.97 * lid_shadow, 0.965 * lid_shadow, 0.97 * lid_shadow]
    iris = ramp(_IRIS, f["iris_color"])
    glow = 0.75 + 0.75 * smoothstep(0.45, -0.5, iv) * smoothstep(0.2, 0.5, radius)
    rim = 1 - 0.65 * smoothstep(0.44, 0.58, radius)
    ball = paint(white, [c * glow * rim * lid_shadow for c in iris], edge(0.56 - radius, 0.07))
    ball = paint(ball, [0.03, 0.03, 0.04], edge(0.27 - radius, 0.06))
    color = paint(color, ball, inside)

    lid = edge(0.075 + 0.06 * f["lashes"] - (slant - upper).abs(), 0.07) * edge(1.05 - du.abs(), 0.08) * front
    color = paint(color, [c * 0.25 for c in hair], lid * 0.9)
    crease = edge(0.03 - (slant - upper - 0.26).abs(), 0.07) * edge(0.85 - du.abs(), 0.2) * front
    color = [c * (1 - 0.22 * crease) for c in color]
    under = edge(0.03 - (slant - lower).abs(), 0.06) * edge(0.9 - du.abs(), 0.2) * front
    color = [c * (1 - 0.25 * under) for c in color]

    bulge = normalized(frame.to_world([0.75 * du, 0.75 * dv, 1.0 + 0 * du]))
    normal = normalized([mix(a, b, inside) for a, b in zip(normal, bulge, strict=True)])
    spark = edge(0.135 - ((iu - 0.2 * light[0].sign()).square() + (iv - 0.24).square()).sqrt(), 0.06)
    spark = torch.maximum(
        spark, 0.55 * edge(0.07 - ((iu + 0.2 * light[0].sign()).square() + (iv + 0.24).square()).sqrt(), 0.06)
    )
    color = paint(color, [1.6, 1.6, 1.6], spark * inside)
    gloss = gloss * (1 - inside)

    bu = (u - 1.04 * ex) / 0.15
    brow_y = (
        EYE_Y + 0.178 + 0.03 * f["brow_height"] + 0.022 * (1 - bu * bu) + 0.02 * f["brow_tilt"] * side * bu
    )
    taper = (1 - bu * bu).clamp(min=0).sqrt() * (1 - 0.25 * side * bu)
    brow = (
        edge(0.021 * f["brow_thickness"] * taper - (v - brow_y).abs(), 0.012)
        * edge(1 - bu.abs(), 0.1)
        * front
    )
    color = paint(color, [0.62 * c for c in hair], brow * 0.92)
    mask = bump((du.square() + ((v - EYE_Y - 0.05) / (1.5 * size)).square()) / 1.7, 1.0) * front
    return color, normal, gloss, mask


def _add_hair(
    scene: _Scene, frame: Frame, f: dict[str, Tensor], x: Tensor, y: Tensor, hair: list[Tensor]
) -> None:
    """A cap with a hairline, a mass behind the head whose length is a factor, and a bun."""
    width, volume, length = f["face_width"], f["hair_volume"], f["hair_length"].clamp(min=0)
    grow = 0.03 + 0.065 * volume
    cap = ellipsoid(frame, x, y, (0.0, 0.15, -0.05), ((0.465 + grow) * width, 0.46 + grow, 0.49 + 0.6 * grow))
    u, v, w = frame.to_local(x, y, cap.height)
    front = smoothstep(-0.12, 0.26, w)
    sweep = 0.10 * f["parting"] * (u / 0.4).clamp(-1, 1) - 0.05 * bump(u + 0.16 * f["parting"], 0.12)
    locks = 0.018 * torch.cos(u * 21 + 2.2 * f["parting"])
    hairline = 0.395 - 0.155 * f["fringe"] + sweep + locks
    sides = mix(0.02, -0.34, smoothstep(-0.3, 0.4, f["hair_length"]))
    line = mix(sides, hairline, front)
    color, normal = _strands(cap, f, hair, u, v, w)
    visible = v > line
    shadow = smoothstep(-0.09, 0.0, v - line) * (scene.height > NOTHING + 1) * cap.hit
    scene.color = [c * (1 - 0.38 * shadow) for c in scene.color]
    scene.add(Surface(cap.hit, cap.height, normal), color, 0.5, visible)

    long = smoothstep(0.0, 0.25, f["hair_length"])
    drop = 0.10 + 0.62 * length
    back = ellipsoid(
        frame,
        x,
        y,
        (0.0, 0.12 - 0.5 * drop, -0.20),
        ((0.40 + 0.11 * long + grow) * width, 0.42 + 0.5 * drop, 0.22 + 0.14 * long),
    )
    bu, bv, bw = frame.to_local(x, y, back.height)
    color, normal = _strands(back, f, hair, bu, bv, bw)
    deep = 0.72 + 0.28 * smoothstep(0.36, 0.5, bu.abs())
    scene.add(Surface(back.hit, back.height, normal), [c * deep for c in color], 0.4)

    size = 0.17 * smoothstep(-0.05, 0.5, f["bun"])
    bun = ellipsoid(
        frame, x, y, (0.0, 0.60 + 0.5 * size, -0.08), (size + 1e-3, 0.85 * size + 1e-3, size + 1e-3)
    )
    bu, bv, bw = frame.to_local(x, y, bun.height)
    color, normal = _strands(bun, f, hair, bu, bv, bw)
    scene.add(Surface(bun.hit & (size > 0.02), bun.height, normal), color, 0.5)


def _strands(
    surface: Surface, f: dict[str, Tensor], hair: list[Tensor], u: Tensor, v: Tensor, w: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Hair color and normals with strands that follow the head, wavy where the factor says so."""
    around = torch.atan2(u + 0.12 * f["parting"] * v, w + 0.75) * 16
    curl = 0.9 * f["waves"] * torch.sin(v * 19 + 2 * u)
    wave = torch.sin(around + 2 * curl)
    shade = 0.93 + 0.10 * wave + 0.05 * torch.sin(around * 2.3 + 1 + 2 * curl)
    nx, ny, nz = surface.normal
    normal = normalized([nx + 0.12 * wave, ny + 0.22 * f["waves"] * torch.cos(v * 19 + 2 * u), nz])
    return [c * shade for c in hair], normal


def _lit(scene: _Scene, f: dict[str, Tensor], x: Tensor, y: Tensor, light: list[Tensor]) -> list[Tensor]:
    """Light the scene, over its background."""
    normal = scene.normal
    facing = dot(normal, light)
    soft = 0.25 + 0.45 * f["light_softness"]
    diffuse = ((facing + soft) / (1 + soft)).clamp(min=0)
    sky = 0.5 + 0.5 * normal[1]
    half = normalized([light[0], light[1], light[2] + 1.0])
    shine = dot(normal, half).clamp(min=0)
    specular = scene.gloss * (0.55 * shine.pow(22) + 0.20 * shine.pow(6))
    outline = (1 - normal[2].clamp(0, 1)).pow(2.5)
    behind = (
        0.5 + 0.5 * normalized([-light[0], 0.3 + 0 * light[0], 0 * light[0]])[0] * normal[0] * 1.6
    ).clamp(0, 1)
    rim = outline * behind * (0.12 + 0.75 * f["rim_light"])
    value = f["background_value"]
    backdrop = hue_color(f["background_hue_x"], f["background_hue_y"], 0.55, value)
    key, fill = (0.98, 0.93, 0.86), (0.36, 0.39, 0.46)
    lit = []
    for i in range(3):
        incoming = key[i] * 0.92 * diffuse + fill[i] * (0.45 + 0.55 * sky) + 0.10 * backdrop[i]
        lit.append(scene.color[i] * incoming + specular * key[i] + rim * mix(1.0, backdrop[i], 0.35) * 0.8)
    glow = bump(((x - 0.1).square() + (y - 0.15).square()).sqrt(), 0.95)
    background = [c * (0.62 + 0.5 * glow) for c in backdrop]
    covered = scene.height > NOTHING + 1
    return [torch.where(covered, a, b) for a, b in zip(lit, background, strict=True)]


def _add_glasses(
    picture: list[Tensor], scene: _Scene, frame: Frame, f: dict[str, Tensor], x: Tensor, y: Tensor
) -> list[Tensor]:
    """Round frames on a plane before the eyes, with temples that run back to the ears."""
    opacity = smoothstep(0.0, 0.3, f["glasses"])
    plane = 0.475
    r2 = frame.rows[2]
    start = frame.to_local(x, y, 0.0)
    step = (plane - start[2]) / r2[2]
    u, v = start[0] + step * r2[0], start[1] + step * r2[1]
    radius = 0.158 * f["glasses_size"]
    ex = 0.195 * f["eye_distance"]
    away = ((u.abs() - ex).square() + (v - EYE_Y + 0.005).square()).sqrt() - radius
    frames = edge(0.016 - away.abs(), 0.012)
    bridge = edge(0.013 - (v - EYE_Y - 0.03 - 1.5 * (0.03 - u * u)).abs(), 0.012) * edge(
        ex - radius - u.abs(), 0.012
    )
    frames = torch.maximum(frames, bridge)
    depth_ok = smoothstep(-0.02, 0.02, step - scene.height + 0.04)
    color = ramp(_FRAMES, f["glasses_color"])
    lens = edge(-away, 0.012) * opacity * depth_ok
    streak = smoothstep(0.05, 0.0, (u.abs() - ex + 0.7 * v - 0.06).abs() - 0.012)
    picture = [p + lens * (0.03 + 0.10 * streak) for p in picture]
    for side in (-1.0, 1.0):
        temple = _temple(frame, x, y, side, ex + radius, f["face_width"], scene)
        frames = torch.maximum(frames, temple)
    shine = 0.75 + 0.45 * smoothstep(-0.1, 0.1, v - EYE_Y)
    return paint(picture, [c * shine for c in color], frames * opacity * depth_ok)


def _temple(
    frame: Frame, x: Tensor, y: Tensor, side: float, hinge: Tensor, width: Tensor, scene: _Scene
) -> Tensor:
    """Coverage of the arm from the hinge to the ear, hidden where the head is nearer."""
    a = frame.to_world([side * hinge, EYE_Y + 0 * hinge, 0.475 + 0 * hinge])
    b = frame.to_world([side * 0.47 * width, EYE_Y + 0 * width, 0.0 * width])
    px, py = x - frame.origin[0], y - frame.origin[1]
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = (((px - a[0]) * dx + (py - a[1]) * dy) / (dx * dx + dy * dy + 1e-6)).clamp(0, 1)
    distance = ((px - a[0] - t * dx).square() + (py - a[1] - t * dy).square()).sqrt()
    nearer = smoothstep(-0.03, 0.01, a[2] + t * (b[2] - a[2]) - scene.height)
    return edge(0.013 - distance, 0.012) * nearer


def example_latents(count: int, seed: int) -> Tensor:
    """Standard normal latents [count, 48] from a seed."""
    return torch.randn(count, Z_DIM, generator=torch.Generator().manual_seed(seed))


def compile_renderer() -> None:
    """Let torch.compile fuse the drawing of two pictures (needs a C++ compiler); `render` then uses it."""
    global _draw
    _draw = torch.compile(_render_chunk, dynamic=False)


_draw: Callable[[dict[str, Tensor], int], tuple[Tensor, Tensor]] = _render_chunk
