"""Adaptive discriminator augmentation: few pictures suffice if the discriminator never sees them as they are.

Source: Karras et al., "Training Generative Adversarial Networks with Limited Data" (arXiv 2006.06676), section 2.2 for
why the generator does not learn the augmentations, section 3 for the controller, appendix B for the list of transforms.
Each transform is left out with probability 1 - p, and p stays at most 0.8: then only one distribution of
pictures leads to a given distribution of transformed ones, so the generator still has to match the pictures.

What is drawn at random comes from a generator on the CPU, so the same seeds give the same augmentations everywhere.
Mirroring, turns by right angles and shifts by whole pixels move pixels without touching them; the rest is sampled at
twice the size. Gradients flow through all of it to the pictures, once: the R1 penalty is taken at augmented pictures.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

P_MAX = 0.8
SHIFT = 0.125  # of the side, in both directions
SCALE_SPREAD = 0.2  # the standard deviation of the binary logarithm
BRIGHTNESS_SPREAD = 0.2
CONTRAST_SPREAD = 0.5  # of the binary logarithm
SATURATION_SPREAD = 1.0  # of the binary logarithm
UPDATE_EVERY_STEPS = 4


def augment(pictures: Tensor, p: float, random: torch.Generator) -> Tensor:
    """Pictures [N, 3, H, H] in [-1, 1], each transformed in ways that are drawn for it: float32, the same shape."""
    pictures = pictures.float()
    if p <= 0:
        return pictures
    chance = min(p, P_MAX)
    return recolor(warp(blit(pictures, chance, random), chance, random), chance, random)


def blit(pictures: Tensor, p: float, random: torch.Generator) -> Tensor:
    """Mirror, turn by right angles and shift by whole pixels; edges are continued as in a mirror."""
    count, _, side, _ = pictures.shape
    mirrored = _chosen(count, p, random) & (torch.rand(count, generator=random) < 0.5)
    turns = torch.where(_chosen(count, p, random), torch.randint(4, (count,), generator=random), 0)
    most = int(SHIFT * side)
    shifts = torch.randint(-most, most + 1, (2, count), generator=random) * _chosen(count, p, random)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    y, x = (
        _reflected(axis + shift[:, None, None], side)
        for axis, shift in zip((rows, columns), shifts, strict=True)
    )
    for quarter in (1, 2, 3):
        turned = (turns == quarter)[:, None, None]
        a, b = {1: (x, side - 1 - y), 2: (side - 1 - y, side - 1 - x), 3: (side - 1 - x, y)}[quarter]
        y, x = torch.where(turned, a, y), torch.where(turned, b, x)
    x = torch.where(mirrored[:, None, None], side - 1 - x, x)
    places = (y * side + x).flatten(1)[:, None].to(pictures.device)  # [N, 1, H * H]
    return pictures.flatten(2).gather(2, places.expand(-1, pictures.shape[1], -1)).view_as(pictures)


def warp(pictures: Tensor, p: float, random: torch.Generator) -> Tensor:
    """Scale, turn, stretch and shift by parts of pixels, in one resampling."""
    count, _, side, _ = pictures.shape
    turn = 1 - math.sqrt(1 - p)  # of each of two turns, so that p is the chance of either
    matrix = torch.eye(3).repeat(count, 1, 1)
    scale = torch.exp2(_normal(count, SCALE_SPREAD, p, random))
    matrix = matrix @ _scaling(scale, scale)
    matrix = matrix @ _rotation(_angle(count, turn, random))
    stretch = torch.exp2(_normal(count, SCALE_SPREAD, p, random))
    matrix = matrix @ _scaling(stretch, 1 / stretch)
    matrix = matrix @ _rotation(_angle(count, turn, random))
    shift = SHIFT * torch.randn(2, count, generator=random) * _chosen(count, p, random)
    matrix = matrix @ _translation(2 * shift[0], 2 * shift[1])  # a side is 2 in these coordinates
    moving = (matrix != torch.eye(3)).flatten(1).any(dim=1).nonzero()[:, 0]
    if not len(moving):
        return pictures
    size, places = [len(moving), 3, 2 * side, 2 * side], moving.to(pictures.device)
    grid = F.affine_grid(matrix[moving, :2].to(pictures.device), size, align_corners=False)
    large = F.interpolate(pictures[places], scale_factor=2, mode="bicubic", align_corners=False)
    moved = F.grid_sample(large, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return pictures.index_copy(0, places, F.avg_pool2d(moved, 2))


def recolor(pictures: Tensor, p: float, random: torch.Generator) -> Tensor:
    """Change brightness, contrast, luma (turned over), hue and saturation: one affine map of the colors each."""
    count = len(pictures)
    gray = torch.full((3,), 1 / math.sqrt(3))
    onto_gray = torch.outer(gray, gray)  # the projection of colors on the gray axis
    offset = _normal(count, BRIGHTNESS_SPREAD, p, random)
    matrix = torch.eye(3) * torch.exp2(_normal(count, CONTRAST_SPREAD, p, random))[:, None, None]
    offset = offset * matrix[:, 0, 0]
    turned_over = _chosen(count, p, random) & (torch.rand(count, generator=random) < 0.5)
    flip = torch.eye(3) - 2 * onto_gray * turned_over[:, None, None]
    offset = torch.where(turned_over, -offset, offset)
    angle = _angle(count, p, random)
    across = torch.linalg.cross(torch.eye(3), gray.expand(3, 3), dim=1).t()  # v -> gray x v, as a matrix
    cos, sin = (f(angle)[:, None, None] for f in (torch.cos, torch.sin))
    hue = onto_gray + cos * (torch.eye(3) - onto_gray) + sin * across
    saturation = torch.exp2(_normal(count, SATURATION_SPREAD, p, random))[:, None, None]
    matrix = (onto_gray + (torch.eye(3) - onto_gray) * saturation) @ hue @ flip @ matrix
    matrix, offset = matrix.to(pictures.device), offset.to(pictures.device)
    return torch.einsum("nij,njhw->nihw", matrix, pictures) + offset[:, None, None, None]


def _chosen(count: int, p: float, random: torch.Generator) -> Tensor:
    return torch.rand(count, generator=random) < p


def _normal(count: int, spread: float, p: float, random: torch.Generator) -> Tensor:
    """Normal numbers of that spread with probability p, else 0: [N]."""
    return spread * torch.randn(count, generator=random) * _chosen(count, p, random)


def _angle(count: int, p: float, random: torch.Generator) -> Tensor:
    """Any angle with probability p, else 0: [N] in radians."""
    return math.pi * (2 * torch.rand(count, generator=random) - 1) * _chosen(count, p, random)


def _reflected(places: Tensor, side: int) -> Tensor:
    """Whole numbers outside of 0 to side - 1, mirrored into it."""
    places = places.abs()
    return torch.where(places >= side, 2 * (side - 1) - places, places)


def _affine(count: int, entries: dict[tuple[int, int], Tensor]) -> Tensor:
    matrix = torch.eye(3).repeat(count, 1, 1)
    for (row, column), value in entries.items():
        matrix[:, row, column] = value
    return matrix


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    return _affine(len(x), {(0, 0): x, (1, 1): y})


def _rotation(angle: Tensor) -> Tensor:
    cos, sin = torch.cos(angle), torch.sin(angle)
    return _affine(len(angle), {(0, 0): cos, (0, 1): -sin, (1, 0): sin, (1, 1): cos})


def _translation(x: Tensor, y: Tensor) -> Tensor:
    return _affine(len(x), {(0, 2): x, (1, 2): y})


class Controller:
    """Holds p, the probability of each augmentation, where the discriminator is neither lost nor sure.

    Its measure is r_t = E[sign(D(real))]: 0 when it cannot tell, 1 when it knows the training pictures by heart.
    """

    def __init__(self, target: float = 0.6, speed_pictures: int = 500_000) -> None:
        """target: of r_t. speed_pictures: how many pictures take p from 0 to 1."""
        self.target, self.speed_pictures = target, speed_pictures
        self.p, self.certainty = 0.0, 0.0
        self._signs, self._pictures, self._steps = 0.0, 0, 0
        self._pending: Tensor | None = None

    def look(self, real_scores: Tensor) -> None:
        """Take the scores of a batch of real pictures into account; p moves every few batches."""
        signs = real_scores.detach().sign().sum()
        self._pending = signs if self._pending is None else self._pending + signs  # no wait for a GPU here
        self._pictures += len(real_scores)
        self._steps += 1
        if self._steps < UPDATE_EVERY_STEPS:
            return
        self._settle()
        self.certainty = self._signs / self._pictures
        move = math.copysign(self._pictures / self.speed_pictures, self.certainty - self.target)
        self.p = min(P_MAX, max(0.0, self.p + move))
        self._signs, self._pictures, self._steps = 0.0, 0, 0

    def _settle(self) -> None:
        if self._pending is not None:
            self._signs += float(self._pending)
            self._pending = None

    def state_dict(self) -> dict[str, float]:
        self._settle()
        return {
            "p": self.p,
            "certainty": self.certainty,
            "signs": self._signs,
            "pictures": self._pictures,
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.p, self.certainty, self._signs = state["p"], state["certainty"], state["signs"]
        self._pictures, self._steps, self._pending = int(state["pictures"]), int(state["steps"]), None
