"""How pictures come to be small: made small cleanly, or first out of focus, then noisy, then a JPEG file.

As in Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833, section 3), but one round of it and milder: what is lost beyond
recognition teaches a network to smooth.
"""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

WIDEST_BLUR = 0.7  # sigma, in pixels of the small picture
MOST_NOISE_LEVELS = 12.0
WORST_QUALITY, BEST_QUALITY = 35, 96  # of JPEG


def shrink(pictures: Tensor, scale: int) -> Tensor:
    """What the upscaler shall undo: [N, 3, H, W] in [0, 255] -> [N, 3, H/scale, W/scale], whole numbers.

    Antialiased bicubic with a = -0.5, the same filter as Pillow's and as superresolution papers use.
    """
    return _whole(_resized(pictures, scale, "bicubic"))


def damaged(large: Tensor, scale: int, rng: np.random.Generator) -> Tensor:
    """[3, H, W] in [0, 255] -> [3, H/scale, W/scale]: blurred, made small, noisy and compressed, each by chance."""
    picture = large[None]
    if rng.random() < 0.6:
        picture = _blurred(picture, scale, rng)
    small = _resized(picture, scale, str(rng.choice(["bicubic", "bilinear", "area"], p=[0.6, 0.2, 0.2])))[0]
    if rng.random() < 0.5:
        small = noisy(small, rng.uniform(1, MOST_NOISE_LEVELS), rng, grey=rng.random() < 0.4)
    small = _whole(small)
    if rng.random() < 0.5:
        small = compressed(small, int(rng.integers(WORST_QUALITY, BEST_QUALITY)))
    return small


def slightly_damaged(small: Tensor, rng: np.random.Generator) -> Tensor:
    """[3, H, W] in [0, 255], already small: one in eight with slight noise, one in sixteen with light JPEG damage.

    Enough that real files do not derail a network, too little to teach it to smooth.
    """
    kind = rng.random()
    if kind < 1 / 8:
        return _whole(noisy(small, rng.uniform(0.5, 4.0), rng))
    if kind < 3 / 16:
        return compressed(small, int(rng.integers(80, 97)))
    return small


def noisy(small: Tensor, levels: float, rng: np.random.Generator, *, grey: bool = False) -> Tensor:
    """With normal noise of that standard deviation, the same in all channels if `grey`."""
    shape = (1, *small.shape[1:]) if grey else tuple(small.shape)
    return small + torch.from_numpy(rng.normal(0, levels, shape).astype(np.float32))


def compressed(small: Tensor, quality: int) -> Tensor:
    """What a JPEG file of that quality keeps of [3, H, W], whole numbers in [0, 255]."""
    pixels = small.permute(1, 2, 0).to(torch.uint8).numpy()
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        kept = np.asarray(Image.open(file).convert("RGB"), np.float32)
    return torch.from_numpy(kept).permute(2, 0, 1)


def _blurred(picture: Tensor, scale: int, rng: np.random.Generator) -> Tensor:
    """[1, 3, H, W] under a Gaussian that is wider in one direction than across it."""
    along, across = rng.uniform(0.05, WIDEST_BLUR, 2) * scale
    turn = rng.uniform(0, np.pi)
    reach = max(1, int(np.ceil(2.5 * WIDEST_BLUR * scale)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    taps = np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
    kernel = torch.from_numpy((taps / taps.sum()).astype(np.float32)).expand(3, 1, -1, -1)
    return F.conv2d(F.pad(picture, (reach,) * 4, mode="replicate"), kernel, groups=3)


def _resized(pictures: Tensor, scale: int, mode: str) -> Tensor:
    size = (pictures.shape[-2] // scale, pictures.shape[-1] // scale)
    if mode == "area":
        return F.interpolate(pictures, size=size, mode="area")
    return F.interpolate(pictures, size=size, mode=mode, align_corners=False, antialias=True)


def _whole(pictures: Tensor) -> Tensor:
    return pictures.round().clamp(0, 255)
