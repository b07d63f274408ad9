"""How good an upscaler is: PSNR beside bicubic enlargement, and a sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganworks.superresolution import Upscaler
from ganworks.training.upscaling_data import Pixels, leaves_picture, portrait_pictures

HELD_OUT_SEED = 10_000_000
"""Pictures from this seed on are for measuring; training pictures use smaller seeds."""

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Enlarged:
    """One picture made small and enlarged again in two ways, all [H, W, 3] uint8."""

    truth: Pixels
    small: Pixels
    bicubic: Pixels
    found: Pixels

    @property
    def psnr(self) -> float:
        """Of the upscaler, in decibels."""
        return psnr(self.found, self.truth)

    @property
    def psnr_bicubic(self) -> float:
        """Of bicubic enlargement, in decibels."""
        return psnr(self.bicubic, self.truth)


def held_out_pictures(count: int, size: int) -> list[Pixels]:
    """The first `count` drawings that no training run has seen, [size, size, 3] uint8 each."""
    return [leaves_picture(HELD_OUT_SEED + i, size) for i in range(count)]


def enlarge(upscaler: Upscaler, picture: Pixels) -> Enlarged:
    """Make a picture small by Pillow's bicubic, then enlarge it with and without the upscaler."""
    scale = upscaler.scale
    height, width = picture.shape[0] // scale * scale, picture.shape[1] // scale * scale
    truth = Image.fromarray(picture[:height, :width])
    small = truth.resize((width // scale, height // scale), Image.Resampling.BICUBIC)
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


def psnr(found: Pixels, truth: Pixels, border: int = 4) -> float:
    """Peak signal-to-noise ratio of the luma in decibels, without a border of 4 pixels, as the papers do."""
    difference = (luma(found) - luma(truth))[border:-border, border:-border]
    return float(10 * np.log10(255**2 / max(float(np.mean(difference**2)), 1e-12)))


def photo_table(upscaler: Upscaler, folder: Path) -> str:
    """PSNR of each photo in a folder, and the mean, as lines of text."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    scores = [(path.stem, _scores(upscaler, [_opened(path)])) for path in paths]
    return _table([*scores, ("mean", tuple(np.mean([score for _, score in scores], axis=0)))])


def drawing_table(upscaler: Upscaler, leaves: int = 100, portraits: int = 20) -> str:
    """Mean PSNR over held-out drawings: dead leaves of 256 pixels, portraits of 512, as lines of text."""
    sets = {
        f"{leaves} dead leaves": held_out_pictures(leaves, 256),
        f"{portraits} portraits": list(portrait_pictures(portraits, 512, HELD_OUT_SEED)),
    }
    return _table([(name, _scores(upscaler, pictures)) for name, pictures in sets.items()])


def _scores(upscaler: Upscaler, pictures: Sequence[Pixels]) -> tuple[float, ...]:
    """Mean PSNR in decibels of bicubic enlargement and of the upscaler."""
    results = [enlarge(upscaler, picture) for picture in pictures]
    return tuple(np.mean([(result.psnr_bicubic, result.psnr) for result in results], axis=0))


def _table(scores: Sequence[tuple[str, tuple[float, ...]]]) -> str:
    lines = [f"{name:<20} {before:7.2f} {ours:7.2f} {ours - before:+6.2f}" for name, (before, ours) in scores]
    return "\n".join([f"{'luma PSNR in dB':<20} bicubic    ours   gain", *lines])


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
