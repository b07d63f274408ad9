"""What there is to learn from: one module for each domain, which turns latents into pictures."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from torch import Tensor

from .shapes import Factor

NAMES = ("portraits", "landscapes")


class Domain(Protocol):
    """What the module of a domain offers."""

    Z_DIM: int
    FACTORS: tuple[Factor, ...]
    """What each coordinate of a latent means."""
    BY_VISIBILITY: tuple[str, ...]
    """The names of the factors, from what changes a picture most to what changes it least."""
    MASK_WEIGHTS: tuple[float, float]
    """How much more the pixels of each mask count."""
    LABEL: str
    DESCRIPTION: str

    def render(self, z: Tensor, size: int = 128) -> tuple[Tensor, Tensor]:
        """Latents [N, Z_DIM] to pictures [N, 3, size, size] in [-1, 1] and masks [N, 2, size, size] in [0, 1]."""

    def example_latents(self, count: int, seed: int) -> Tensor:
        """Standard normal latents [count, Z_DIM] from a seed."""

    def compile_renderer(self) -> None:
        """Let torch.compile fuse the drawing (needs a C++ compiler); `render` then uses it."""


def by_name(name: str) -> Domain:
    """The domain of that name. ValueError if there is none."""
    if name not in NAMES:
        raise ValueError(f"There is no domain {name!r}. Choose one of {', '.join(NAMES)}.")
    return cast(Domain, import_module(f"{__name__}.{name}"))
