"""Contact sheets: many pictures side by side in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ganworks.edits import Edit, apply_edits

if TYPE_CHECKING:
    from ganworks.components import Basis
    from ganworks.generator import Generator

SEEDS = tuple(range(16))  # the first ones, not chosen
TRUNCATION_PSI = 0.7
LARGEST_PICTURE_PX = 256
STRIP_SIGMAS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
STRIP_PSI = 0.7


def contact_sheet(
    generator: Generator,
    seeds: Sequence[int] = SEEDS,
    columns: int = 4,
    truncation_psi: float = TRUNCATION_PSI,
    on_progress: Callable[[float], None] | None = None,
) -> Image.Image:
    """
    What a generator draws from these seeds, each picture at most 256 px wide and high (from a draft, where that is
    as large); classes take turns. `on_progress` is told the part that is done, and may raise to stop.
    """
    pictures = []
    draw = generator.draft if generator.draft_resolution >= LARGEST_PICTURE_PX else generator.synthesis
    for number, seed in enumerate(seeds):
        c = generator.one_hot(number % generator.c_dim if generator.c_dim else None)
        ws = generator.mapping(generator.latents([seed]), c, truncation_psi)
        pictures.append(_shrunk(generator.crop(draw(ws))))
        if on_progress is not None:
            on_progress((number + 1) / len(seeds))
    return lay_out(torch.cat(pictures), columns)


def direction_strips(
    generator: Generator, basis: Basis, seed: int, count: int = 8, sigmas: Sequence[float] = STRIP_SIGMAS
) -> Image.Image:
    """The first directions of a generator, a row each: one picture, moved along it by these sigmas."""
    ws = generator.mapping(
        generator.latents([seed]), generator.one_hot(0 if generator.c_dim else None), STRIP_PSI
    )
    rows = [
        _shrunk(
            generator.crop(generator.synthesis(apply_edits(ws, [Edit(basis, component, strength=sigma)])))
        )
        for component in range(min(count, len(basis)))
        for sigma in sigmas
    ]
    return lay_out(torch.cat(rows), len(sigmas))


def save_sheet(pictures: Tensor, path: Path, columns: int) -> None:
    """Lay pictures [N, 3, H, W] in [-1, 1] out in rows and save them; the path's ending gives the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lay_out(pictures, columns).save(path, quality=90)


def lay_out(pictures: Tensor, columns: int) -> Image.Image:
    """Pictures [N, 3, H, W] in [-1, 1] in rows of `columns`; what is left over is white."""
    count, _, height, width = pictures.shape
    rows = -(-count // columns)
    blank = torch.full((rows * columns - count, 3, height, width), 1.0)
    grid = torch.cat([pictures.cpu().float(), blank]).view(rows, columns, 3, height, width)
    pixels = ((grid + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3).numpy())


def _shrunk(pictures: Tensor) -> Tensor:
    """[N, 3, H, W] by a whole factor to at most `LARGEST_PICTURE_PX`."""
    factor = -(-max(pictures.shape[2:]) // LARGEST_PICTURE_PX)
    return pictures if factor == 1 else F.avg_pool2d(pictures, factor)
