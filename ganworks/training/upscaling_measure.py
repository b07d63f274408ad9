"""How good an upscaler is: PSNR, SSIM and sharpness beside bicubic enlargement, and a sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ganworks import perceptual
from ganworks.superresolution import Upscaler
from ganworks.training.metrics import sliced_wasserstein
from ganworks.training.upscaling_damage import damaged
from ganworks.training.upscaling_data import portrait_pictures
from ganworks.training.upscaling_leaves import Pixels, leaves_picture
from ganworks.training.upscaling_textures import texture_picture

HELD_OUT_SEED = 10_000_000
"""Pictures from this seed on are for measuring; training pictures use smaller seeds."""

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
BORDER_PX = 4
"""What is left out all around, as the papers do."""


@dataclass(frozen=True)
class Scores:
    """PSNR of the luma in decibels, SSIM of the luma, and sharpness: 1 is as sharp as the truth, less is smoother."""

    psnr: float
    ssim: float
    sharpness: float


@dataclass(frozen=True)
class Enlarged:
    """One picture made small and enlarged again in two ways, all [H, W, 3] uint8."""

    truth: Pixels
    small: Pixels
    bicubic: Pixels
    found: Pixels

    @cached_property
    def scores(self) -> Scores:
        """Of the upscaler."""
        return scores(self.found, self.truth)

    @cached_property
    def scores_bicubic(self) -> Scores:
        """Of bicubic enlargement."""
        return scores(self.bicubic, self.truth)


def held_out_pictures(count: int, size: int) -> list[Pixels]:
    """The first `count` drawings that no training run has seen, [size, size, 3] uint8 each."""
    return [leaves_picture(HELD_OUT_SEED + i, size) for i in range(count)]


def enlarge(upscaler: Upscaler, picture: Pixels, *, damage_seed: int | None = None) -> Enlarged:
    """Make a picture small by Pillow's bicubic, or damage it, then enlarge it with and without the upscaler."""
    scale = upscaler.scale
    height, width = picture.shape[0] // scale * scale, picture.shape[1] // scale * scale
    truth = Image.fromarray(picture[:height, :width])
    small = truth.resize((width // scale, height // scale), Image.Resampling.BICUBIC)
    if damage_seed is not None:
        large = torch.from_numpy(np.array(truth)).permute(2, 0, 1).float()
        levels = damaged(large, scale, np.random.default_rng([damage_seed, 0xDA3A6E]))
        small = Image.fromarray(levels.permute(1, 2, 0).to(torch.uint8).numpy())
    return Enlarged(
        truth=np.asarray(truth),
        small=np.asarray(small),
        bicubic=np.asarray(small.resize(truth.size, Image.Resampling.BICUBIC)),
        found=np.asarray(upscaler.upscale_image(small)),
    )


def luma(pixels: Pixels) -> npt.NDArray[np.float64]:
    """[H, W, 3] uint8 -> [H, W]: Y of YCbCr (BT.601, 16 to 235), which superresolution papers measure."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return np.asarray(16 + pixels.astype(np.float64) @ weights)


def scores(found: Pixels, truth: Pixels, border: int = BORDER_PX) -> Scores:
    """How near a picture [H, W, 3] is to the truth, by its luma without a border."""
    ours, true = (luma(pixels)[border:-border, border:-border] for pixels in (found, truth))
    squared = max(float(np.mean((ours - true) ** 2)), 1e-12)
    return Scores(
        psnr=float(10 * np.log10(255**2 / squared)),
        ssim=float(perceptual.ssim(*(torch.from_numpy(y)[None, None] / 127.5 - 1 for y in (ours, true)))),
        sharpness=_curvature(ours) / max(_curvature(true), 1e-12),
    )


def _curvature(levels: npt.NDArray[np.float64]) -> float:
    """The mean absolute difference of each pixel and the mean of its four neighbours."""
    around = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
    return float(np.mean(np.abs(levels[1:-1, 1:-1] - around / 4)))


def photo_table(upscaler: Upscaler, folder: Path) -> str:
    """The scores of each photo in a folder, and the means, as lines of text."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    rows = [(path.stem, _means([enlarge(upscaler, _opened(path))])) for path in paths]
    return _table([*rows, ("mean", np.mean([row for _, row in rows], axis=0))])


def drawing_table(upscaler: Upscaler, leaves: int = 100, textures: int = 40, portraits: int = 20) -> str:
    """Mean scores over held-out drawings: leaves and textures of 256 pixels, portraits of 512; as lines of text.

    Below them how far the finest detail is from true detail, whatever its place: the sliced Wasserstein distance of
    7x7 patches, times 1000.
    """
    drawn = held_out_pictures(leaves, 256)
    textured = [texture_picture(HELD_OUT_SEED + i, 256) for i in range(textures)]
    heads = list(portrait_pictures(portraits, 512, HELD_OUT_SEED))
    results = {
        f"{leaves} dead leaves": [enlarge(upscaler, picture) for picture in drawn],
        "the same, damaged": [enlarge(upscaler, picture, damage_seed=i) for i, picture in enumerate(drawn)],
        f"{textures} textures": [enlarge(upscaler, picture) for picture in textured],
        f"{portraits} portraits": [enlarge(upscaler, picture) for picture in heads],
    }
    lines = [_table([(name, _means(each)) for name, each in results.items()])]
    lines += ["", f"{'distance of detail':<20}{'bicubic':>8}{'ours':>8}{'truth':>8}"]
    for name, each in results.items():
        lines.append(f"{name:<20}" + "".join(f"{distance:8.2f}" for distance in detail_distances(each)))
    return "\n".join(lines)


def detail_distances(results: Sequence[Enlarged]) -> tuple[float, ...]:
    """Of bicubic enlargement, of the upscaler, and of the truth itself: other places of it differ as much."""
    truth = _tensors([result.truth for result in results])
    sets = [[result.bicubic for result in results], [result.found for result in results]]
    size = truth.shape[-1]
    return tuple(sliced_wasserstein(each, truth)[size] for each in (*map(_tensors, sets), truth))


def _tensors(pictures: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _means(results: Sequence[Enlarged]) -> npt.NDArray[np.float64]:
    """Mean scores of bicubic enlargement and of the upscaler, [6]."""
    rows = [(*astuple(result.scores_bicubic), *astuple(result.scores)) for result in results]
    return np.asarray(np.mean(rows, axis=0))


def _table(rows: Sequence[tuple[str, npt.NDArray[np.float64]]]) -> str:
    lines = [
        f"{'':<20}{'luma PSNR in dB':>24}{'SSIM':>16}{'sharpness':>14}",
        f"{'':<20}{'bicubic':>8}{'ours':>8}{'gain':>8}"
        + f"{'bicubic':>8}{'ours':>8}{'bicubic':>8}{'ours':>6}",
    ]
    for name, (psnr_before, ssim_before, sharp_before, psnr, ssim, sharp) in rows:
        lines.append(
            f"{name:<20}{psnr_before:8.2f}{psnr:8.2f}{psnr - psnr_before:+8.2f}"
            f"{ssim_before:8.3f}{ssim:8.3f}{sharp_before:8.2f}{sharp:6.2f}"
        )
    return "\n".join(lines)


def _opened(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


def sheet(upscaler: Upscaler, rows: int = 6, size: int = 256) -> Image.Image:
    """The first held-out drawings: made small (each pixel a square), bicubic, ours, and the truth."""
    drawn: list[Pixels] = []
    for picture in held_out_pictures(rows, size):
        result = enlarge(upscaler, picture)
        squares = np.repeat(np.repeat(result.small, upscaler.scale, axis=0), upscaler.scale, axis=1)
        drawn.append(np.concatenate([squares, result.bicubic, result.found, result.truth], axis=1))
    return Image.fromarray(np.concatenate(drawn, axis=0))
