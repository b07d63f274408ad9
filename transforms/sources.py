"""What the engine is asked for and what it gives, as plain data: sources of pictures, renderings, what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from transforms.params import STILL, Edit, Look, Move

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True)
class SeedSource:
    """A random picture: which generator drew it (by content hash), from which seed."""

    generator_sha256: str
    seed: int
    class_index: int | None = None
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None

    def seen(self, look: Look) -> SeedSource:
        """The same seed with another truncation or class, where `look` names one."""
        psi = self.truncation_psi if look.truncation_psi is None else look.truncation_psi
        index = self.class_index if look.class_index is None else look.class_index
        return replace(self, truncation_psi=psi, class_index=index)


@dataclass(frozen=True)
class FileSource:
    """A latent that was found: `key` names its content, `read` gives its bytes when they are needed."""

    generator_sha256: str
    key: str
    read: Callable[[], bytes] = field(compare=False)


Source = SeedSource | FileSource


@dataclass(frozen=True)
class Rendering:
    """One picture that is to be drawn. `draft`: maybe of fewer pixels, for `viewer`, whose exact pictures correct it."""

    source: Source
    edits: tuple[Edit, ...] = ()
    noise_mode: str = "const"
    move: Move = STILL
    draft: bool = False
    viewer: str = ""


@dataclass(frozen=True)
class Component:
    """One slider that a generator offers. `variance` is its part of the whole variance, 0 to 1."""

    index: int
    name: str
    variance: float


@dataclass(frozen=True)
class Found:
    """A projection: the file to keep, how good it is, and what it looks like. `tuning_steps` of its generator were made."""

    data: bytes
    loss: float
    psnr: float | None
    steps: int
    stopped_early: bool
    picture: Picture
    tuning_steps: int = 0
