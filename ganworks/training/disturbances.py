"""What happens to pictures before an encoder sees them, so that it forgives what photographs bring.

`damage` is to be seen through: the encoder should find the picture as it was. `change` makes another picture, which the
encoder should find as it is now. Pictures are [N, 3, r, r] in [-1, 1]; each is disturbed or not by chance; `random`
is a torch generator on the CPU, which decides everything.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CHANCE = 0.2  # of each kind of damage, for each picture
LARGEST_NOISE = 0.2
LARGEST_BLUR_SHARE = 0.02  # sigma, as a part of the side
LARGEST_OCCLUSION_SHARE = 0.4  # of the side
COARSEST_QUANTUM = 0.2  # of JPEG-like rounding at the lowest frequency
BLOCK_PX = 8
CHANGE_CHANCE = 0.3
LARGEST_TURN_DEGREES, LARGEST_ZOOM, LARGEST_SHIFT = 8.0, 0.12, 0.1
LARGEST_TINT, LARGEST_LIGHT = 0.25, 0.2


def damage(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Blur, noise, the marks of compression, and rectangles that hide a part."""
    for disturb in (blurred, noisy, compressed, occluded):
        chosen = _uniform(len(pictures), random).to(pictures) < CHANCE
        pictures = torch.where(chosen, disturb(pictures, random), pictures)
    return pictures.clamp(-1, 1)


def change(pictures: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """
    Another colour of light and another crop for about half of the pictures: what came of it, and which of them were
    changed, [N] bool.
    """
    chosen = _uniform(len(pictures), random).to(pictures) < CHANGE_CHANCE
    changed = recropped(tinted(pictures, random), random).clamp(-1, 1)
    return torch.where(chosen, changed, pictures), chosen.flatten()


def blurred(pictures: Tensor, random: torch.Generator) -> Tensor:
    """A Gaussian of the same width for all."""
    side = pictures.shape[-1]
    sigma = max(0.3, LARGEST_BLUR_SHARE * side * float(torch.rand((), generator=random)))
    reach = min(math.ceil(2.5 * sigma), side - 1)
    offsets = torch.arange(-reach, reach + 1, device=pictures.device)
    taps = torch.exp(-(offsets**2) / (2 * sigma**2))
    across = (taps / taps.sum()).to(pictures.dtype).view(1, 1, 1, -1).repeat(3, 1, 1, 1)
    padded = F.pad(pictures, (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, across, groups=3), across.transpose(2, 3), groups=3)


def noisy(pictures: Tensor, random: torch.Generator) -> Tensor:
    """White noise, of another strength for each."""
    strength = LARGEST_NOISE * _uniform(len(pictures), random).to(pictures)
    return pictures + strength * torch.randn(pictures.shape, generator=random).to(pictures)


def compressed(pictures: Tensor, random: torch.Generator) -> Tensor:
    """As JPEG rounds: the cosine coefficients of blocks of 8x8, the coarser the higher the frequency."""
    count, colours, side, _ = pictures.shape
    if side % BLOCK_PX:
        return pictures
    cosines = _cosines().to(pictures)
    blocks = pictures.unfold(2, BLOCK_PX, BLOCK_PX).unfold(3, BLOCK_PX, BLOCK_PX)  # [N, 3, r/8, r/8, 8, 8]
    order = torch.arange(BLOCK_PX, device=pictures.device)
    quantum = COARSEST_QUANTUM * _uniform(count, random).to(pictures)[..., None, None].clamp(min=0.05)
    quantum = quantum * (1 + order[:, None] + order[None, :])
    rounded = ((cosines @ blocks @ cosines.t()) / quantum).round() * quantum
    back = cosines.t() @ rounded @ cosines
    return back.transpose(3, 4).reshape(count, colours, side, side)


def occluded(pictures: Tensor, random: torch.Generator) -> Tensor:
    """A rectangle of one colour over a part."""
    count, _, side, _ = pictures.shape
    place = torch.arange(side, device=pictures.device) / side
    inside = []
    for _ in range(2):
        center, extent = (_uniform(count, random).to(pictures)[:, 0, 0] for _ in range(2))  # [N, 1]
        inside.append((place - center).abs() < LARGEST_OCCLUSION_SHARE / 2 * extent)  # [N, r]
    hidden = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    colour = 2 * torch.rand(count, 3, 1, 1, generator=random).to(pictures) - 1
    return torch.where(hidden, colour, pictures)


def tinted(pictures: Tensor, random: torch.Generator) -> Tensor:
    """More or less of each colour, and of light."""
    tint = LARGEST_TINT * (2 * torch.rand(len(pictures), 3, 1, 1, generator=random).to(pictures) - 1)
    light = LARGEST_LIGHT * (2 * _uniform(len(pictures), random).to(pictures) - 1)
    return pictures * (1 + tint) + light


def recropped(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Turned, nearer or farther, and shifted; what comes in at the edges repeats them mirrored."""
    count = len(pictures)
    turn, zoom, right, down = (2 * torch.rand(4, count, generator=random) - 1).to(pictures)
    angle, scale = math.radians(LARGEST_TURN_DEGREES) * turn, 1 + LARGEST_ZOOM * zoom
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack([cosine, -sine, LARGEST_SHIFT * right, sine, cosine, LARGEST_SHIFT * down], dim=1)
    grid = F.affine_grid(rows.view(count, 2, 3), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _uniform(count: int, random: torch.Generator) -> Tensor:
    """One number in [0, 1) for each picture: [N, 1, 1, 1]."""
    return torch.rand(count, 1, 1, 1, generator=random)


def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 samples, [8, 8]."""
    order, sample = torch.arange(BLOCK_PX)[:, None], torch.arange(BLOCK_PX)[None, :]
    table = torch.cos(math.pi / BLOCK_PX * (sample + 0.5) * order) * math.sqrt(2 / BLOCK_PX)
    table[0] /= math.sqrt(2)
    return table
