"""Prove the recipes of the upscalers in some seconds: a tiny one learns to be faithful, then another to be crisp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np

from ganworks.superresolution import open_upscaler

from .upscaling import main as command
from .upscaling_measure import Scores, enlarge, held_out_pictures

SIDE_PX = 64
MEASURED = 16
TINY = ("--channels", 16, "--blocks", 1, "--patch", 16, "--warmup-steps", 20, "--mean-decay", 0.98)
FAITHFUL = ("--steps", 250, "--batch", 8, "--learning-rate", 4e-3)
CRISP = ("--steps", 150, "--batch", 4, "--learning-rate", 1e-3, "--judge-channels", 8, "--damage", 0)


def compare_upscalers(work: Path) -> Iterator[tuple[str, float, float]]:
    """Train both; what was measured, what came of it, and the least that must."""
    store, faithful, crisp = work / "store.npy", work / "faithful", work / "crisp"
    _command("render", "--store", store, "--pictures", 40, "--textures", 8, "--size", SIDE_PX)
    _command("train", "--store", store, "--run", faithful, *TINY, *FAITHFUL)
    _command("export", "--run", faithful, "--to", faithful / "upscaler.safetensors")
    more = ("--recipe", "crisp", "--start-from", faithful)
    _command("train", "--store", store, "--run", crisp, *TINY, *CRISP, *more)
    _command("export", "--run", crisp, "--to", crisp / "upscaler.safetensors")
    bicubic, smooth = _scores(faithful)
    _, sharp = _scores(crisp)
    yield "PSNR of the faithful upscaler in dB", smooth.psnr, bicubic.psnr + 0.2
    yield "sharpness of the crisp upscaler", sharp.sharpness, smooth.sharpness + 0.1
    yield "PSNR of the crisp upscaler in dB", sharp.psnr, smooth.psnr - 2.0


def _command(*words: object) -> None:
    command([str(word) for word in words])


def _scores(folder: Path) -> tuple[Scores, Scores]:
    """Means over held-out drawings: of bicubic enlargement and of an upscaler."""
    upscaler = open_upscaler(folder)
    results = [enlarge(upscaler, picture) for picture in held_out_pictures(MEASURED, SIDE_PX)]
    before, ours = (
        np.mean([astuple(each) for each in scores], axis=0)
        for scores in zip(*((result.scores_bicubic, result.scores) for result in results), strict=True)
    )
    return Scores(*before), Scores(*ours)
