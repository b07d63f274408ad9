"""What an encoder is worth: projections with and without it, on pictures that it never learned from.

    python -m ganworks.training.encoding_measure --generator portraits [--renders FOLDER] [--steps 0 10 30 100]

Prints a table in Markdown. Samples are the generator's own pictures, of seeds from 2**31 on; renders are the held-out
ones of a rendered folder. Both kinds of projection use the critic, if there is one, and one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganworks.encoder import Encoder, open_encoder
from ganworks.errors import GanworksError
from ganworks.generator import Generator, open_generator
from ganworks.info import CRITIC_FILE
from ganworks.perceptual import Critic, load_critic
from ganworks.projection import project

from .data import PictureSet

FIRST_SEED = 2**31
HEADINGS = ("pictures", "start", "steps", "PSNR", "lowest", "loss", "spread of the rows", "CPU s")


class Result(NamedTuple):
    """Means over the pictures; psnr in dB, cpu_seconds for one picture."""

    psnr: float
    lowest_psnr: float
    loss: float
    spread: float
    cpu_seconds: float


def measured(
    generator: Generator, critic: Critic | None, encoder: Encoder | None, targets: Tensor, steps: int
) -> Result:
    """Project each of `targets`, [N, 3, H, H] in [-1, 1], from the mean, or from the draft of `encoder`."""
    started = time.process_time()
    found = [
        project(generator, target[None], steps=steps, critic=critic, encoder=encoder) for target in targets
    ]
    seconds = (time.process_time() - started) / len(found)
    psnr = [one.psnr for one in found]
    spread = [float(one.ws.std(dim=1).mean()) for one in found]
    return Result(
        float(np.mean(psnr)),
        min(psnr),
        float(np.mean([one.loss for one in found])),
        float(np.mean(spread)),
        seconds,
    )


def table(
    generator: Generator,
    critic: Critic | None,
    encoder: Encoder,
    sets: dict[str, Tensor],
    steps: Sequence[int],
) -> Iterator[str]:
    """The lines of the table, each as soon as it is known."""
    yield "| " + " | ".join(HEADINGS) + " |"
    yield "|---" * len(HEADINGS) + "|"
    for name, targets in sets.items():
        for count in steps:
            for start, helper in (("mean", None), ("encoder", encoder)):
                if count or helper:
                    r = measured(generator, critic, helper, targets, count)
                    yield (
                        f"| {name} | {start} | {count} | {r.psnr:.2f} | {r.lowest_psnr:.2f} | {r.loss:.4f} "
                        f"| {r.spread:.3f} | {r.cpu_seconds:.2f} |"
                    )


def milliseconds(encoder: Encoder, picture: Tensor, repeats: int = 20) -> float:
    """The median time of one pass over a picture [1, 3, H, H], by the clock."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        encoder(picture)
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the top of this file. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ganworks.training.encoding_measure", description="Measure what an encoder is worth."
    )
    parser.add_argument("--generator", required=True, help="a generator's folder, or a starter's name")
    parser.add_argument("--encoder", help="its file; the one beside the generator if not given")
    parser.add_argument("--renders", type=Path, help="a rendered folder, whose last pictures were held out")
    parser.add_argument("--held-out", type=int, default=256, help="how many of them")
    parser.add_argument("--pictures", type=int, default=8, help="how many of each kind")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 10, 30, 100])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        generator = open_generator(options.generator)
        encoder = open_encoder(options.encoder or options.generator)
        encoder.check_generator(generator.sha256)
        beside = generator.info.path.with_name(CRITIC_FILE)
        critic = load_critic(beside, generator.device) if beside.is_file() else None
    except GanworksError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sets = {}
    if options.renders:
        renders = PictureSet(options.renders, options.held_out)
        rows = renders.held_rows[: options.pictures]
        sets["renders"] = renders.batch(rows, generator.resolution).pictures
    z = generator.latents(range(FIRST_SEED, FIRST_SEED + options.pictures))
    ws = generator.mapping(z, generator.one_hot(None, options.pictures))
    sets["samples"] = generator.synthesis(ws).clamp(-1, 1)
    for line in table(generator, critic, encoder, sets, options.steps):
        _say(line)
    _say(f"One pass of the encoder takes {milliseconds(encoder, sets['samples'][:1]):.0f} ms.")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
