"""Generators of rosinality's StyleGAN2 in PyTorch, as they are, or as the decoder of an e4e encoder: a state dict."""

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import RandomState  # numpy loads it when it is named, and later the child process may not

from ganworks.importing.found import (
    BLUR,
    Found,
    check_blur,
    check_colors,
    mapping_sizes,
    resolutions,
    unusual,
)
from ganworks.importing.records import Tensor
from ganworks.importing.refusal import UNKNOWN, Budget, Refused
from ganworks.importing.tensors import Floats, Weights, weights

LR_MULTIPLIER = 0.01
KERNEL_SUMS = (1.0, 4.0)  # filters that enlarge are stored with their gain
MARK = "convs.0.conv.modulation.weight"  # a name that only these generators have
SAMPLES, SAMPLES_AT_ONCE = 10_000, 500
BYTES_A_SAMPLE = 24  # for each number of a layer: the number in float64, and copies in float32
# Names of layers here, and there: b4.conv1, b4.torgb, then conv0, conv1 and torgb of each block.
PARTS = {
    "weight": "conv.weight",
    "affine.weight": "conv.modulation.weight",
    "affine.bias": "conv.modulation.bias",
}


def read_rosinality(state: Mapping[Any, object], average: object, budget: Budget) -> Found:
    """A state dict of a generator. `average` is the mean of w, if the file has it."""
    stored = {str(key).removeprefix("module."): value for key, value in state.items()}
    count = 0
    while f"convs.{count}.conv.weight" in stored:
        count += 1
    if count % 2:
        raise unusual("has an odd number of convolutions")
    sizes = resolutions(2 ** (2 + count // 2) if count < 40 else 0)
    reader = _Reader(stored, budget)
    found = reader.mapping()
    for number, r in enumerate(sizes):
        found |= reader.block(number, r)
    reader.finish()
    check_colors(found[f"synthesis.b{sizes[-1]}.torgb.weight"])
    ignored: list[str] = []
    found["mapping.w_avg"] = (
        _average(average, budget) if average is not None else _computed_average(found, budget)
    )
    if average is None:
        ignored.append(f"The average of w is not in the file; it was computed from {SAMPLES:,} latents.")
    meta = {
        "architecture": "stylegan2",
        "synthesis_architecture": "skip",
        "resolution": sizes[-1],
        "num_ws": 2 * len(sizes),
        "lr_multiplier": LR_MULTIPLIER,
        "conv_clamp": None,
        **mapping_sizes(found),
    }
    return Found("StyleGAN2 by rosinality", meta, found, ignored)


class _Reader:
    """Takes tensors out of a state dict under their public names; at the end none may be left."""

    def __init__(self, stored: dict[str, object], budget: Budget) -> None:
        self.stored, self.budget = stored, budget
        self.left = set(stored)

    def take(self, name: str) -> Weights:
        value = self.stored.get(name)
        if not isinstance(value, Tensor):
            raise Refused(f"its generator has no tensor {name[:80]!r}", UNKNOWN)
        self.left.discard(name)
        return weights(value, self.budget)

    def mapping(self) -> dict[str, Weights]:
        found: dict[str, Weights] = {}
        while f"style.{len(found) // 2 + 1}.weight" in self.stored:
            number = len(found) // 2
            for part in ("weight", "bias"):
                found[f"mapping.fc{number}.{part}"] = self.take(f"style.{number + 1}.{part}")
        return found

    def block(self, number: int, r: int) -> dict[str, Weights]:
        """What belongs to one resolution, the `number`-th."""
        here = f"synthesis.b{r}"
        found = {f"{here}.resample_filter": Weights(BLUR.shape, lambda: BLUR)}
        if number == 0:
            const = self.take("input.input")
            found[f"{here}.const"] = const.reshaped(*const.shape[1:])
            found |= self.layer("conv1", f"{here}.conv1", 0, r)
            return found | self.colors("to_rgb1", f"{here}.torgb")
        for part in (0, 1):
            index = 2 * number - 2 + part
            found |= self.layer(f"convs.{index}", f"{here}.conv{part}", index + 1, r)
        return found | self.colors(f"to_rgbs.{number - 1}", f"{here}.torgb")

    def layer(self, there: str, here: str, noise: int, r: int) -> dict[str, Weights]:
        return {
            **self.modulated(there, here),
            f"{here}.bias": self.take(f"{there}.activate.bias"),
            f"{here}.noise_strength": self.take(f"{there}.noise.weight").reshaped(),
            f"{here}.noise_const": self.take(f"noises.noise_{noise}").reshaped(r, r),
            f"{here}.resample_filter": Weights(BLUR.shape, lambda: BLUR),
        }

    def colors(self, there: str, here: str) -> dict[str, Weights]:
        bias = self.take(f"{there}.bias")
        return {**self.modulated(there, here), f"{here}.bias": bias.reshaped(math.prod(bias.shape))}

    def modulated(self, there: str, here: str) -> dict[str, Weights]:
        found = {f"{here}.{part}": self.take(f"{there}.{name}") for part, name in PARTS.items()}
        kernel = found[f"{here}.weight"]
        return {**found, f"{here}.weight": kernel.reshaped(*kernel.shape[1:])}

    def finish(self) -> None:
        """Filters must be the published ones, and nothing else may be left."""
        for name in sorted(self.left):
            if not re.fullmatch(r".*(blur|upsample|downsample)\.kernel", name):
                raise unusual(f"has a tensor {name[:80]!r}")
            kernel = self.take(name)
            gain = float(kernel.floats().sum()) if kernel.shape == BLUR.shape else 0.0
            check_blur(kernel, min(KERNEL_SUMS, key=lambda known: abs(known - gain)))


def _average(value: object, budget: Budget) -> Weights:
    """The mean of w: [W], or the same for each row of ws."""
    found = weights(value, budget)
    if len(found.shape) == 1:
        return found
    rows = (
        found.floats().reshape(-1, found.shape[-1]) if found.shape and found.shape[-1] else np.zeros((0, 1))
    )
    if not len(rows) or not np.allclose(rows, rows[:1], atol=1e-4):
        raise unusual("has another average of w for each row")
    row = rows[0]
    return Weights(row.shape, lambda: row)


def _computed_average(found: dict[str, Weights], budget: Budget) -> Weights:
    """The mean of w over latents that are always the same."""
    layers: list[tuple[Floats, Floats]] = []
    while f"mapping.fc{len(layers)}.weight" in found:
        name = f"mapping.fc{len(layers)}"
        layers.append((found[f"{name}.weight"].floats(), found[f"{name}.bias"].floats()))
    if not layers or any(weight.ndim != 2 or bias.shape != weight.shape[:1] for weight, bias in layers):
        raise unusual("has a mapping network of strange shapes")
    if any(after.shape[1] != before.shape[0] for (before, _), (after, _) in pairwise(layers)):
        raise unusual("has a mapping network of strange shapes")
    widest = max(max(weight.shape) for weight, _ in layers)
    budget.spend(SAMPLES_AT_ONCE * widest * BYTES_A_SAMPLE)
    random, total = RandomState(0), np.zeros(layers[-1][0].shape[0])
    for _ in range(0, SAMPLES, SAMPLES_AT_ONCE):
        x = random.randn(SAMPLES_AT_ONCE, layers[0][0].shape[1]).astype(np.float32)
        x /= np.sqrt(np.square(x).mean(axis=1, keepdims=True) + 1e-8)
        for weight, bias in layers:
            x = x @ (weight.T * np.float32(LR_MULTIPLIER / math.sqrt(weight.shape[1]))) + bias * LR_MULTIPLIER
            x = np.maximum(x, 0.2 * x) * np.float32(math.sqrt(2))
        total += x.sum(axis=0)
    mean = total / SAMPLES
    return Weights(mean.shape, lambda: mean)
