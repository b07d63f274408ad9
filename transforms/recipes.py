"""Recipes: the JSON that makes a picture again. Stored with each saved picture and embedded in downloads.

    {"schema": 1, "generator": {"name": ..., "sha256": ...},
     "source": {"kind": "seed", "seed": 5, "class": null}
            or {"kind": "latent", "projection": uuid, "sha256": ...},
     "truncation_psi": 0.7, "truncation_cutoff": null, "edits": [...], "noise_mode": "const",
     "move": {"x": 0.1, "y": 0, "degrees": 5}, "panorama": {"left": 0, "width": 4096}}

`truncation_psi` belongs to seeds: a latent that was found is used as it is, and its recipe says 1. `move` and
`panorama` are there only if the picture is moved, or is a window of a panorama.

A panorama has anchors two square frames apart: twice the source itself, then seeds that count up from that of the
source (from 0 for a latent, with the usual truncation). Edits act on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from transforms import params
from transforms.errors import InvalidParams
from transforms.params import STILL, Edit, Move, Panorama

SCHEMA = 1


@dataclass(frozen=True)
class SeedSource:
    seed: int
    class_index: int | None = None

    def as_data(self) -> dict[str, Any]:
        return {"kind": "seed", "seed": self.seed, "class": self.class_index}


@dataclass(frozen=True)
class LatentSource:
    """A projection, by its id and the SHA-256 of its file."""

    projection: str
    sha256: str

    def as_data(self) -> dict[str, Any]:
        return {"kind": "latent", "projection": self.projection, "sha256": self.sha256}


@dataclass(frozen=True)
class Recipe:
    generator: str
    generator_sha256: str
    source: SeedSource | LatentSource
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None
    edits: tuple[Edit, ...] = ()
    noise_mode: str = "const"
    move: Move = STILL
    panorama: Panorama | None = None

    def as_data(self) -> dict[str, Any]:
        data = {
            "schema": SCHEMA,
            "generator": {"name": self.generator, "sha256": self.generator_sha256},
            "source": self.source.as_data(),
            "truncation_psi": self.truncation_psi,
            "truncation_cutoff": self.truncation_cutoff,
            "edits": params.edits_as_data(self.edits),
            "noise_mode": self.noise_mode,
        }
        if self.move != STILL:
            data["move"] = self.move.as_data()
        if self.panorama is not None:
            data["panorama"] = self.panorama.as_data()
        return data

    @classmethod
    def from_data(cls, data: object) -> Self:
        """Check a recipe from outside; InvalidParams with a sentence if it cannot be followed."""
        data = _object(data, "recipe")
        if data.get("schema") != SCHEMA:
            raise InvalidParams(
                "recipe", "This recipe was made by another version, and cannot be followed here."
            )
        generator = _object(data.get("generator"), "generator")
        cutoff = data.get("truncation_cutoff")
        return cls(
            generator=params.text(generator, "name", 100),
            generator_sha256=_sha256(generator),
            source=_source(_object(data.get("source"), "source")),
            truncation_psi=params.number(data, "truncation_psi", 0.0, params.MAX_TRUNCATION_PSI),
            truncation_cutoff=None if cutoff is None else params.whole(data, "truncation_cutoff", 0, 64),
            edits=params.edits_from(data.get("edits")),
            noise_mode=params.choice(data, "noise_mode", params.NOISE_MODES, "const"),
            move=params.move_from(data.get("move")),
            panorama=params.panorama_from(data.get("panorama")),
        )


def _source(data: Mapping[str, Any]) -> SeedSource | LatentSource:
    if data.get("kind") == "seed":
        class_index = data.get("class")
        return SeedSource(
            seed=params.whole(data, "seed", 0, 2**32 - 1),
            class_index=None if class_index is None else params.whole(data, "class", 0, 8191),
        )
    if data.get("kind") == "latent":
        return LatentSource(projection=params.text(data, "projection", 36), sha256=_sha256(data))
    raise InvalidParams("source", "The source of a recipe must be a seed or a latent.")


def _object(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidParams(field, f"The {field} of a recipe must be an object.")
    return value


def _sha256(data: Mapping[str, Any]) -> str:
    value = params.text(data, "sha256", 64)
    if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise InvalidParams("sha256", "A content hash must be 64 hexadecimal digits.")
    return value
