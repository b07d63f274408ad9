"""Pictures of a domain, rendered once into memory-mapped arrays, and batches of them at any resolution.

A folder holds `pictures.npy` uint8 [N, 3, S, S], `masks.npy` uint8 [N, 2, S/4, S/4] (see `Domain.render`) and
`latents.npy` float32 [N, z_dim]. Picture i depends on the seed and i alone, so several processes may fill one
folder, each its own share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .domains import Domain

MASK_REDUCTION = 4
BLOCK = 16  # pictures that are drawn together, from one seed


@dataclass(frozen=True)
class Batch:
    """latents [N, z_dim]; pictures [N, 3, r, r] in [-1, 1]; masks [N, 2, r, r] in [0, 1].

    Pictures that no renderer drew have neither latents nor masks.
    """

    latents: Tensor | None
    pictures: Tensor
    masks: Tensor | None


@dataclass(frozen=True)
class PairedBatch(Batch):
    """A batch of a renderer's pictures, each with its latent."""

    latents: Tensor
    masks: Tensor


def render_folder(
    domain: Domain,
    folder: Path,
    count: int,
    size: int = 128,
    seed: int = 0,
    part: tuple[int, int] = (0, 1),
    compiled: bool = False,
    on_progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Draw blocks `part[0]`, `part[0] + part[1]`, ... of a set of `count` pictures into a folder.

    `compiled` uses torch.compile (needs a C++ compiler): one minute of preparation, then five times as fast.
    `on_progress(done, of, pictures_per_second)` is called after each block.
    """
    arrays = _create_or_open(folder, count, size, domain.Z_DIM)
    if compiled:
        domain.compile_renderer()
    blocks = range(part[0], -(-count // BLOCK), part[1])
    started = time.monotonic()
    for done, block in enumerate(blocks, 1):
        start, stop = block * BLOCK, min(count, (block + 1) * BLOCK)
        z = domain.example_latents(BLOCK, seed * 1_000_003 + block)[: stop - start]
        pictures, masks = domain.render(z, size)
        arrays[0][start:stop] = ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
        small = F.avg_pool2d(masks, MASK_REDUCTION)
        arrays[1][start:stop] = (small * 255).round().to(torch.uint8).numpy()
        arrays[2][start:stop] = z.numpy()
        if on_progress:
            on_progress(done, len(blocks), done * BLOCK / (time.monotonic() - started))
    for array in arrays:
        array.flush()


def _create_or_open(
    folder: Path, count: int, size: int, z_dim: int
) -> tuple[np.memmap, np.memmap, np.memmap]:
    folder.mkdir(parents=True, exist_ok=True)
    small = size // MASK_REDUCTION
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "pictures": ((count, 3, size, size), np.uint8),
        "masks": ((count, 2, small, small), np.uint8),
        "latents": ((count, z_dim), np.float32),
    }
    arrays = []
    for name, (shape, kind) in shapes.items():
        path = folder / f"{name}.npy"
        if not path.exists():
            np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape).flush()
        array = np.lib.format.open_memmap(path, mode="r+")
        if array.shape != shape:
            raise ValueError(
                f"{path} has the shape {array.shape}, where {shape} is wanted. Use an empty folder."
            )
        arrays.append(array)
    return arrays[0], arrays[1], arrays[2]


class PictureSet:
    """A rendered folder. Rows that no process has filled yet (all-zero latents) are left out."""

    def __init__(self, folder: Path, held_out: int = 0) -> None:
        """`held_out` pictures at the end are kept from training: see `held_out_batch`."""
        self.pictures: NDArray[np.uint8] = np.load(folder / "pictures.npy", mmap_mode="r")
        self.masks: NDArray[np.uint8] = np.load(folder / "masks.npy", mmap_mode="r")
        self.latents: NDArray[np.float32] = np.load(folder / "latents.npy", mmap_mode="r")
        filled = np.flatnonzero(self.latents[:, 0])
        self.rows, self.held_rows = filled[: len(filled) - held_out], filled[len(filled) - held_out :]
        if not len(self.rows):
            raise ValueError(f"{folder} holds no finished pictures. Render some first.")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Pixels along an edge of the stored pictures."""
        return int(self.pictures.shape[-1])

    def batch(self, rows: NDArray[np.int64], resolution: int) -> PairedBatch:
        """The pictures at these rows, reduced to a resolution by area averages."""
        rows = np.sort(rows)
        pictures = torch.from_numpy(self.pictures[rows]).float() / 127.5 - 1
        masks = torch.from_numpy(self.masks[rows]).float() / 255
        if resolution < self.size:
            pictures = F.avg_pool2d(pictures, self.size // resolution)
        masks = F.interpolate(masks, size=(resolution, resolution), mode="bilinear", align_corners=False)
        return PairedBatch(torch.from_numpy(self.latents[rows].copy()), pictures, masks)

    def at_step(self, step: int, count: int, resolution: int, seed: int) -> PairedBatch:
        """The batch of a training step, a function of the arguments alone: a resumed run sees the same."""
        random = np.random.default_rng((seed, step))
        return self.batch(self.rows[random.integers(0, len(self.rows), count)], resolution)

    def held_out_batches(self, count: int, resolution: int) -> Iterator[PairedBatch]:
        """All held-out pictures, `count` at a time."""
        for start in range(0, len(self.held_rows), count):
            yield self.batch(self.held_rows[start : start + count], resolution)
