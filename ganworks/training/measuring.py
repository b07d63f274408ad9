"""The figures of a generator's card: how like its renders, how varied and how sharp is what it draws?

Everything is measured on the finished files, as people use them, against renders that the generator never saw.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganworks.errors import InvalidInput
from ganworks.generator import Generator, open_generator
from ganworks.info import CRITIC_FILE, GENERATOR_FILE, locate
from ganworks.perceptual import open_critic

from . import metrics
from .data import PictureSet

SAMPLES_SEED = 99
MANIFOLD_PICTURES = 2_000  # for precision and recall, which compare every pair
DISTINCT_PICTURES = 1_000
PAIRS = 256


@torch.no_grad()
def measure_generator(
    name: str, fresh: Path, known: Path | None = None, count: int = 10_000
) -> dict[str, Any]:
    """The figures of a generator with these renders' domain.

    fresh: a folder of `render`, none of which was trained on; known: a second one, such as what was trained on, to see
    what two sets of renders differ by. Without it `fresh` is halved.
    """
    generator = open_generator(name)
    data = PictureSet(fresh)
    size, z_dim = generator.resolution, data.latents.shape[1]
    if data.size != size or z_dim != generator.z_dim:
        raise InvalidInput(f"{fresh} holds renders of another domain or size than {name} draws.")
    other = PictureSet(known) if known else data
    count = min(count, len(data) if known else len(data) // 2, len(other))
    reference = _pictures(data, 0, count)
    second = _pictures(other, 0 if known else count, count)
    latents = torch.randn(count, z_dim, generator=torch.Generator().manual_seed(SAMPLES_SEED))
    drawn = _drawn(generator, latents)
    distances = metrics.sliced_wasserstein(drawn, reference)
    floor = metrics.sliced_wasserstein(second, reference)
    figures: dict[str, Any] = {
        "pictures": count,
        "swd_generated": _rounded(distances),
        "swd_renders": _rounded(floor),
        "swd_ratio": {
            level: round(value / floor[level], 2) if floor[level] else None
            for level, value in distances.items()
        },
    }
    rows = data.rows[:PAIRS]
    pairs = metrics.psnr(_drawn(generator, data.batch(rows, size).latents), data.batch(rows, size).pictures)
    figures["psnr_db"] = {"mean": round(float(pairs.mean()), 2), "lowest": round(float(pairs.min()), 2)}
    few = min(MANIFOLD_PICTURES, count)
    if locate(name, GENERATOR_FILE).with_name(CRITIC_FILE).exists():
        critic = open_critic(name)
        real, fake, again = (metrics.critic_features(critic, x[:few]) for x in (reference, drawn, second))
        for words, features in (("generated", fake), ("renders", again)):
            precision, recall = metrics.precision_and_recall(features, real)
            figures[f"precision_{words}"], figures[f"recall_{words}"] = round(precision, 3), round(recall, 3)
    for words, pictures in (("generated", drawn), ("renders", reference)):
        nearest = metrics.nearest_differences(pictures[:DISTINCT_PICTURES])
        figures[f"nearest_{words}"] = {
            "least": round(float(nearest.min()), 4),
            "median": round(float(nearest.median()), 4),
        }
    return figures


def _pictures(data: PictureSet, start: int, count: int) -> Tensor:
    rows = data.rows[start : start + count]
    return torch.cat([data.batch(rows[i : i + 64], data.size).pictures for i in range(0, len(rows), 64)])


def _drawn(generator: Generator, latents: Tensor) -> Tensor:
    """The pictures [N, 3, H, H] in [-1, 1] of latents [N, z_dim], at truncation 1."""
    parts = [generator.synthesis(generator.mapping(z)).clamp(-1, 1).cpu() for z in torch.split(latents, 16)]
    return torch.cat(parts)


def _rounded(values: dict[int, float]) -> dict[int, float]:
    return {level: round(value, 3) for level, value in values.items()}
