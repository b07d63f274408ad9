"""The published models that are known by the names of their files: `catalogue.json`."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CATALOGUE = Path(__file__).parents[1] / "catalogue.json"


@dataclass(frozen=True)
class CatalogueEntry:
    """
    A published model. `resolution` in pixels, `crop` (left, top, right, bottom) where a part of each picture is
    padding, `obtain` an address and how to get the file there.
    """

    key: str
    label: str
    file_name: str
    resolution: int
    architecture: str
    license: str
    obtain: str
    crop: tuple[int, int, int, int] | None
    description: str


@cache
def _entries() -> tuple[CatalogueEntry, ...]:
    data = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    return tuple(
        CatalogueEntry(**{**entry, "crop": tuple(entry["crop"]) if entry["crop"] else None})
        for entry in data["models"]
    )


def catalogue() -> list[CatalogueEntry]:
    """All published models that are known."""
    return list(_entries())


def catalogue_entry(file_name: str) -> CatalogueEntry | None:
    """The published model whose file has this name; None if there is none."""
    return next((entry for entry in _entries() if entry.file_name == file_name), None)
