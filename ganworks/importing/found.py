"""What a reader hands over: the header's entries and the weights of a generator."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ganworks.importing.refusal import UNKNOWN, Refused
from ganworks.importing.tensors import Weights

BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
MAX_RESOLUTION_PX = 4096
MAX_MAPPING_LAYERS = 64
IMG_CHANNELS = 3


@dataclass
class Found:
    """
    `format` in words; `meta` for the header of the generator's file; `tensors` by their public names; `ignored`
    sentences about what was left out.
    """

    format: str
    meta: dict[str, Any]
    tensors: dict[str, Weights]
    ignored: list[str] = field(default_factory=list)


def unusual(what: str) -> Refused:
    """For a network that differs from the published ones in a way that changes its pictures."""
    return Refused(f"its generator {what}, which the published ones do not", UNKNOWN)


def mapping_sizes(tensors: Mapping[str, Weights]) -> dict[str, int]:
    """z_dim, w_dim, c_dim and the number of layers, from the mapping's weights under their public names."""
    layers = 0
    while f"mapping.fc{layers}.weight" in tensors and layers < MAX_MAPPING_LAYERS:
        layers += 1
    average = tensors.get("mapping.w_avg")
    if average is None or len(average.shape) != 1 or not layers:
        raise Refused("its generator has no mapping network, or no average of w", UNKNOWN)
    (w_dim,) = average.shape
    first = _side(tensors["mapping.fc0.weight"], 1)
    embed = tensors.get("mapping.embed.weight")
    z_dim = first if embed is None else first - _side(embed, 0)
    if z_dim < 1:
        raise unusual("has a mapping network of strange sizes")
    c_dim = 0 if embed is None else _side(embed, 1)
    return {"z_dim": z_dim, "w_dim": w_dim, "c_dim": c_dim, "num_layers": layers}


def _side(weights: Weights, index: int) -> int:
    if len(weights.shape) != 2:
        raise unusual("has a mapping network of strange shapes")
    return weights.shape[index]


def resolutions(largest: int) -> list[int]:
    """4, 8, ... up to the largest, which must be a power of two."""
    if not 4 <= largest <= MAX_RESOLUTION_PX or largest & (largest - 1):
        raise unusual(f"draws pictures of {largest} pixels")
    return [2**power for power in range(2, largest.bit_length())]


def check_colors(weights: Weights | None) -> None:
    """The last layer must give red, green and blue."""
    channels = weights.shape[0] if weights is not None and weights.shape else 0
    if channels != IMG_CHANNELS:
        raise Refused(f"its pictures have {channels} channels, where 3 colours are needed", UNKNOWN)


def check_blur(weights: Weights, gain: float = 1) -> None:
    """The filter that resizes must be the published one."""
    if weights.shape != BLUR.shape or not np.allclose(weights.floats(), BLUR * gain, atol=1e-5):
        raise unusual("resizes with another filter")


def close(value: object, wanted: float) -> bool:
    """Whether a number from a file is what it should be."""
    return type(value) in (int, float) and math.isclose(float(value), wanted, rel_tol=1e-4)  # type: ignore[arg-type]


def number(value: object, what: str) -> float:
    """A finite number from a file."""
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise unusual(f"has a malformed {what}")
    return float(value)  # type: ignore[arg-type]


def whole(value: object, what: str, low: int = 0, high: int = 2**20) -> int:
    """A whole number from a file."""
    if type(value) is not int or not low <= value <= high:
        raise unusual(f"has a malformed {what}")
    return value
