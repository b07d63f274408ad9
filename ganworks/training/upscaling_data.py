"""The batches that an upscaler learns from: patches of drawn pictures, and what is left of them when made small.

No photograph is needed: `upscaling_leaves`, `upscaling_textures` and the portraits domain draw the pictures.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ganworks.training.domains import portraits
from ganworks.training.upscaling_damage import damaged, shrink, slightly_damaged
from ganworks.training.upscaling_leaves import Pixels


def training_batch(
    store: Pixels, *, seed: int, step: int, batch: int, patch: int, scale: int, damage: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The small and the large patches of one training step; a function of `seed` and `step` alone.

    `store` is [K, H, W, 3] uint8; the answer is [N, 3, patch, patch] and [N, 3, scale*patch, scale*patch],
    both float32 in [-1, 1]. Patches are turned, mirrored, and their channels swapped or inverted. `damage` is the
    share of small patches that are `damaged`; the others are at most `slightly_damaged`.
    """
    rng = np.random.default_rng([seed, 0xBA7C4, step])
    side = patch * scale
    large = np.stack([_patch(store, rng, side) for _ in range(batch)])
    target = torch.from_numpy(large).permute(0, 3, 1, 2).float()
    small = shrink(target, scale)
    for i in range(batch):
        if damage and rng.random() < damage:
            small[i] = damaged(target[i], scale, rng)
        else:
            small[i] = slightly_damaged(small[i], rng)
    return small / 127.5 - 1, target / 127.5 - 1


def _patch(store: Pixels, rng: np.random.Generator, side: int) -> Pixels:
    picture = store[int(rng.integers(len(store)))]
    y = int(rng.integers(picture.shape[0] - side + 1))
    x = int(rng.integers(picture.shape[1] - side + 1))
    patch = np.rot90(picture[y : y + side, x : x + side], int(rng.integers(4)))
    if rng.random() < 0.5:
        patch = patch[:, ::-1]
    if rng.random() < 0.3:
        patch = patch[..., rng.permutation(3)]
    if rng.random() < 0.2:
        patch = 255 - patch
    return np.ascontiguousarray(patch)


def portrait_pictures(count: int, size: int, seed: int) -> Pixels:
    """Drawings of the portraits domain, [count, size, size, 3] uint8, for a share of the training set."""
    latents = portraits.example_latents(count, seed)
    pictures = [portraits.render(latent[None], size)[0][0] for latent in latents]
    levels = ((torch.stack(pictures) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.asarray(levels.permute(0, 2, 3, 1).numpy())
