"""Train the x4 upscaler: `python -m ganworks.training.upscaling render | train | export | measure`.

    render  --store leaves.npy --pictures 1500          draw the training pictures once
    train   --store leaves.npy --run run/ --steps 16000 learn; stop at any time, call again to go on
    export  --run run/ --to faithful-x4/upscaler.safetensors
    measure --upscaler faithful-x4/upscaler.safetensors [--pictures folder/] [--sheet sheet.webp]

A run is exactly resumable: the batch of a step depends on the seed and the step alone, and everything else
(weights, their running mean, the optimiser) is in `state.pt`. Progress goes to `log.csv`.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganworks.networks.upscaler import UpscalerNetwork
from ganworks.superresolution import Upscaler, open_upscaler, save_upscaler
from ganworks.training.upscaling_data import Pixels, leaves_picture, portrait_pictures, training_batch
from ganworks.training.upscaling_measure import drawing_table, enlarge, held_out_pictures, photo_table, sheet


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run learns: same recipe, same store, same machine, same weights."""

    seed: int = 0
    channels: int = 64
    blocks: int = 8
    scale: int = 4
    batch: int = 8
    patch: int = 48
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    mean_decay: float = 0.999
    precision: str = "bf16"


class Training:
    """A run: a network, the running mean of its weights (which is what is kept), and an optimiser."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.step = 0
        torch.manual_seed(recipe.seed)
        self.network = UpscalerNetwork(recipe.channels, recipe.blocks, recipe.scale)
        self.network.use_channels_last()
        self.mean = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), fused=True
        )

    def advance(self, store: Pixels, steps: int) -> float:
        """One step of a run planned for `steps`; returns the mean absolute error in grey levels of 255."""
        recipe = self.recipe
        small, large = training_batch(
            store,
            seed=recipe.seed,
            step=self.step,
            batch=recipe.batch,
            patch=recipe.patch,
            scale=recipe.scale,
        )
        rate, tolerance = schedule(self.step, steps, recipe)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            enlarged = self.network(small.to(memory_format=torch.channels_last))
        error = enlarged.float() - large
        loss = (error.square() + tolerance**2).sqrt().mean()  # Charbonnier
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 0.5)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return float(error.detach().abs().mean()) * 127.5

    def _follow(self) -> None:
        """Let the running mean of the weights follow; quickly at first, so that it forgets the start."""
        decay = min(self.recipe.mean_decay, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.mean[name].lerp_(value, 1 - decay)

    def mean_network(self) -> UpscalerNetwork:
        """The network with the mean weights, for use."""
        network = UpscalerNetwork(self.recipe.channels, self.recipe.blocks, self.recipe.scale)
        network.load_state_dict(self.mean)
        return network.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write the whole run; the old file stays whole until the new one is complete."""
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "network": self.network.state_dict(),
            "mean": self.mean,
            "optimiser": self.optimiser.state_dict(),
        }
        unfinished = path.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Training:
        """A saved run, ready for its next step."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        training = cls(Recipe(**state["recipe"]))
        training.step = int(state["step"])
        training.network.load_state_dict(state["network"])
        training.mean = state["mean"]
        training.optimiser.load_state_dict(state["optimiser"])
        return training


def schedule(step: int, steps: int, recipe: Recipe) -> tuple[float, float]:
    """Learning rate, and the tolerance of the loss, at a step of a run planned for `steps`.

    The rate rises, stays, and falls to nothing in the last third. There the tolerance grows from 0.002 to 0.1
    (in units of [-1, 1]): the loss goes over from absolute to squared error, which is what PSNR counts.
    """
    rising = min(1.0, (step + 1) / recipe.warmup_steps)
    falling = min(1.0, max(0.0, (steps - step) / (steps / 3)))
    return recipe.learning_rate * rising * falling, 0.002 * (0.1 / 0.002) ** (1 - falling)


def train(
    store: Pixels,
    run: Path,
    recipe: Recipe,
    *,
    steps: int,
    minutes: float = math.inf,
    log_every: int = 250,
    say: Callable[[str], None] = lambda line: None,
) -> Training:
    """Train until `steps` are done or `minutes` of this call are over; go on where `run` stopped before."""
    run.mkdir(parents=True, exist_ok=True)
    state = run / "state.pt"
    training = Training.load(state) if state.exists() else Training(recipe)
    if training.recipe != recipe:
        raise SystemExit(
            f"{run} was begun with another recipe, {training.recipe}. Use that one or another folder."
        )
    held_out = held_out_pictures(12, 192)
    started, errors = time.monotonic(), []
    while training.step < steps and time.monotonic() - started < minutes * 60:
        errors.append(training.advance(store, steps))
        if training.step % log_every == 0 or training.step == steps:
            row = {
                "step": training.step,
                "seconds": round(time.monotonic() - started, 1),
                "learning_rate": f"{schedule(training.step - 1, steps, recipe)[0]:.3g}",
                "error_in_levels": round(float(np.mean(errors)), 4),
                "psnr_held_out_db": round(_score(training.mean_network(), held_out), 3),
            }
            errors.clear()
            _log(run / "log.csv", row)
            say(", ".join(f"{name} {value}" for name, value in row.items()))
            training.save(state)
    training.save(state)
    return training


def _score(network: UpscalerNetwork, pictures: Sequence[Pixels]) -> float:
    """Mean PSNR in decibels over pictures that were not trained on."""
    upscaler = Upscaler(network)
    return float(np.mean([enlarge(upscaler, picture).psnr for picture in pictures]))


def _log(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def render(path: Path, *, pictures: int, size: int, seed: int = 0, portraits: int = 0) -> None:
    """Draw dead leaves and portraits into a .npy file, [pictures + portraits, size, size, 3] uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (pictures + portraits, size, size, 3)
    unfinished = path.with_suffix(".part")
    store = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
    for i in range(pictures):
        store[i] = leaves_picture(seed + i, size)
    if portraits:
        store[pictures:] = portrait_pictures(portraits, size, seed)
    store.flush()
    unfinished.replace(path)


def export(run: Path, path: Path, *, label: str, license: str) -> None:
    """Write the mean weights of a run as an upscaler file."""
    training = Training.load(run / "state.pt")
    description = "Enlarges four times and stays faithful to the picture: it sharpens, and invents little."
    save_upscaler(
        training.mean_network(),
        path,
        label=label,
        license=license,
        description=description,
        training={"steps": training.step, **asdict(training.recipe)},
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ganworks.training.upscaling", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("render", help="draw the training pictures")
    drawing.add_argument("--store", type=Path, required=True)
    drawing.add_argument("--pictures", type=int, default=1500)
    drawing.add_argument("--portraits", type=int, default=0)
    drawing.add_argument("--size", type=int, default=256)
    drawing.add_argument("--seed", type=int, default=0)
    training = commands.add_parser("train", help="train, or go on training")
    training.add_argument("--store", type=Path, required=True)
    training.add_argument("--run", type=Path, required=True)
    training.add_argument("--steps", type=int, default=16_000)
    training.add_argument("--minutes", type=float, default=math.inf)
    training.add_argument("--threads", type=int, default=1)
    for name, value in asdict(Recipe()).items():
        training.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    exporting = commands.add_parser("export", help="write the weights for use")
    exporting.add_argument("--run", type=Path, required=True)
    exporting.add_argument("--to", type=Path, required=True)
    exporting.add_argument("--label", default="Faithful x4")
    exporting.add_argument("--license", default="Same licence as PixelLift")
    measuring = commands.add_parser("measure", help="compare with bicubic enlargement")
    measuring.add_argument("--upscaler", type=Path, required=True)
    measuring.add_argument("--pictures", type=Path, help="a folder of photos; without it, held-out drawings")
    measuring.add_argument("--sheet", type=Path, help="also write a sheet of held-out drawings, here")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; see the top of this file."""
    options = _parser().parse_args(arguments)
    if options.command == "render":
        render(
            options.store,
            pictures=options.pictures,
            size=options.size,
            seed=options.seed,
            portraits=options.portraits,
        )
    elif options.command == "train":
        torch.set_num_threads(options.threads)
        recipe = Recipe(**{name: getattr(options, name) for name in asdict(Recipe())})
        store = np.load(options.store, mmap_mode="r")
        train(store, options.run, recipe, steps=options.steps, minutes=options.minutes, say=_say)
    elif options.command == "export":
        export(options.run, options.to, label=options.label, license=options.license)
    elif options.command == "measure":
        upscaler = open_upscaler(options.upscaler)
        _say(photo_table(upscaler, options.pictures) if options.pictures else drawing_table(upscaler))
        if options.sheet is not None:
            sheet(upscaler).save(options.sheet, quality=90)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
