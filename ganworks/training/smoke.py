"""Prove the recipe in about two minutes on two cores: `python -m ganworks.training.smoke [--work DIR]`.

Tiny networks learn tiny pictures by the same code and commands as the starters: pairs first, then with the discriminator
at two sizes, then from a folder of files alone: from nothing, growing, and from the generator that came first. The
last learns upside-down negatives, which that generator never drew. Then two upscalers learn, one to be faithful and one
to be crisp. Each run must be better than before its training by a clear margin, or the command ends with an error.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ganworks.generator import open_generator
from ganworks.images import to_image

from .__main__ import main as train_command
from .config import Config, Stage
from .data import PictureSet
from .finish import measure
from .folders import PictureFolder
from .networks import load_for_tuning
from .train import Trainer
from .upscaling_smoke import compare_upscalers

SIDE_PX = 32
RENDERS = 512
FILES = 256  # of those, for the runs on a folder
PAIRED = Config(
    stages=(
        Stage(16, 6_400, rate_to=0.5),
        Stage(16, 1_600, adversarial=True, rate_from=0.5, rate_to=0.5),
        Stage(32, 4_800, rate_from=0.5, rate_to=0.3),
        Stage(32, 1_600, adversarial=True, rate_from=0.3, rate_to=0.1),
    ),
    held_out=32,
    channel_base=1024,
    channel_max=48,
    discriminator_channel_base=512,
    ema_half_life_pictures=500.0,
)
IMAGES = Config.for_images(
    SIDE_PX // 2,
    batch=16,
    stages=(Stage(SIDE_PX // 4, 2_400, adversarial=True), Stage(SIDE_PX // 2, 3_200, adversarial=True)),
    z_dim=64,
    w_dim=64,
    channel_base=1024,
    channel_max=48,
    discriminator_channel_base=1024,
    augment_speed_pictures=50_000,
    ema_half_life_pictures=500.0,
    r1_gamma=0.1,
)
TUNED_PICTURES = 3_000


class NotBetter(Exception):
    """Training did not improve a figure as much as it must."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all of it; 0 if every figure improved."""
    parser = argparse.ArgumentParser(
        prog="python -m ganworks.training.smoke", description="Prove the recipe in two minutes."
    )
    parser.add_argument("--work", type=Path, help="a folder to keep; a temporary one if not given")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        if options.work:
            prove(options.work)
        else:
            with tempfile.TemporaryDirectory() as folder:
                prove(Path(folder))
    except NotBetter as error:
        _say(error)
        return 1
    _say(f"The recipe works ({time.monotonic() - started:.0f} s).")
    return 0


def prove(work: Path) -> None:
    """Render, train in three ways, finish, and compare. NotBetter if a figure did not improve."""
    pairs, images, tuned = work / "pairs", work / "images", work / "tuned"
    _command("render", "--work", pairs, "--count", RENDERS, "--size", SIDE_PX)
    before = _untrained(PAIRED, pairs)
    _train(pairs, PAIRED)
    after = _finished(pairs, work / "models" / "pairs")
    _better("PSNR of pairs in dB", after["psnr_db_mean"], before["psnr_db_mean"] + 3)
    _better("distance of pairs", -_distance(after), -0.8 * _distance(before))

    source = work / "files"
    _write_files(pairs / "data", source)
    _train(images, IMAGES, "--images", source)
    before, after = _untrained(IMAGES, images), _finished(images, work / "models" / "images")
    _better("distance from nothing", -_distance(after), -0.6 * _distance(before))

    start, other = work / "models" / "pairs", work / "other"
    _write_files(pairs / "data", other, upside_down=True)
    more = ("--pictures", TUNED_PICTURES, "--batch", 16, "--mirror", "--start-from", start)
    _command("train", "--work", tuned, "--images", other, "--device", "cpu", *more)
    before, after = _as_it_came(start, tuned), _finished(tuned, work / "models" / "tuned")
    _better("distance once tuned", -_distance(after), -0.85 * _distance(before))

    for what, found, bar in compare_upscalers(work / "upscalers"):
        _better(what, found, bar)


def _command(*words: object) -> None:
    if train_command([str(word) for word in words]):
        raise NotBetter(f"The command {words[0]} failed.")


def _train(work: Path, config: Config, *more: object) -> None:
    """Train by these settings."""
    work.mkdir(parents=True, exist_ok=True)
    settings = work / "settings.json"
    settings.write_text(json.dumps(asdict(config)))
    _command("train", "--work", work, "--config", settings, "--device", "cpu", *more)


def _finished(work: Path, folder: Path) -> dict[str, Any]:
    """Write the generator, see that it opens and draws, and return its figures."""
    _command("finish", "--work", work, "--to", folder, "--device", "cpu")
    generator = open_generator(folder)
    if not bool(generator.synthesis(generator.mapping(generator.latents([0]))).isfinite().all()):
        raise NotBetter(f"{folder.name} draws no numbers.")
    figures: dict[str, Any] = json.loads((work / "figures.json").read_text())
    return figures


def _untrained(config: Config, work: Path) -> dict[str, Any]:
    """The figures of a run that has not begun."""
    data = (
        PictureSet(work / "data", config.held_out)
        if config.paired
        else PictureFolder(work / "data", config.held_out)
    )
    return measure(Trainer(replace(config), data, work))


def _as_it_came(start: Path, work: Path) -> dict[str, Any]:
    """The figures of the generator that a run began with, against that run's pictures."""
    config = Config.from_json((work / "config.json").read_text())
    trainer = Trainer(config, PictureFolder(work / "data"), work)
    trainer.tune(load_for_tuning(str(start)))
    return measure(trainer)


def _distance(figures: dict[str, Any]) -> float:
    """The mean over all sizes of the sliced Wasserstein distance to real pictures, less that of real to real."""
    kind = "renders" if "swd_generated_to_renders" in figures else "pictures"
    drawn, real = figures[f"swd_generated_to_{kind}"], figures[f"swd_{kind}_to_{kind}"]
    return float(sum(drawn[size] - real[size] for size in drawn)) / len(drawn)


def _write_files(data: Path, target: Path, upside_down: bool = False) -> None:
    """Some of the renders as picture files, or their negatives upside down."""
    target.mkdir(parents=True, exist_ok=True)
    pictures = PictureSet(data)
    for number, picture in enumerate(pictures.batch(pictures.rows[:FILES], SIDE_PX).pictures):
        shown = -picture.flip(1) if upside_down else picture
        to_image(shown).save(target / f"{number:04d}.png")


def _better(what: str, found: float, bar: float) -> None:
    """Higher is better."""
    _say(f"{what}: {abs(found):.2f}, bar {abs(bar):.2f}")
    if not found >= bar:
        raise NotBetter(f"The {what} came out at {abs(found):.2f}, and had to pass {abs(bar):.2f}.")


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
