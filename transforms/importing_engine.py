"""The engine's second door: what turns a foreign checkpoint into an installed generator, with all that belongs to it.

Apart from `transforms.engine`, whose networks are kept for pages and previews: here one is opened, used and let go.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

import ganworks
from ganworks.info import COMPONENTS_FILE, FACTORS_FILE
from transforms.engine import engine

if TYPE_CHECKING:
    from ganworks import CatalogueEntry, Generator

SHEET_FILE = "sheet.webp"
# What each stage is, from which part of the whole it begins, in words.
STAGES = ((0.0, "Drawing the contact sheet"), (0.6, "Looking for components"), (0.9, "Looking for factors"))

OnStage = Callable[[float, str], None]


@dataclass(frozen=True)
class CataloguePlace:
    """A public model that is known by its file's name, and the installed generator that came from it, if any."""

    entry: CatalogueEntry
    installed_as: str | None


def catalogue() -> list[CataloguePlace]:
    """The public models that are known here. Reads headers only."""
    known = {
        (info.source_name, info.architecture, info.resolution): info.name for info in engine().generators()
    }
    return [
        CataloguePlace(entry, known.get((entry.file_name, entry.architecture, entry.resolution)))
        for entry in ganworks.catalogue()
    ]


def read_checkpoint(
    source: Path,
    target: Path,
    *,
    label: str,
    license: str,
    classes: Sequence[str],
    on_progress: OnStage,
) -> dict[str, Any]:
    """Read a foreign file in a sandbox and write the generator. Gives the report, which lies beside it too."""
    report = ganworks.import_checkpoint(
        source,
        target,
        label=label or None,
        license=license or None,
        classes=list(classes) or None,
        on_progress=on_progress,
    )
    return report.as_data()


def make_directions(folder: Path, on_progress: OnStage) -> None:
    """Write the contact sheet, the principal components and the closed-form factors beside a generator.

    `on_progress` is told the part that is done, and may raise to stop; what is written by then stays.
    """
    generator = ganworks.open_generator(folder, settings.ENGINE_DEVICE)
    stages = [*STAGES, (1.0, "")]

    def teller(number: int) -> Callable[[float], None]:
        (start, words), end = stages[number], stages[number + 1][0]
        return lambda share: on_progress(start + share * (end - start), words)

    tell = teller(0)
    tell(0.0)
    _write_sheet(generator, folder / SHEET_FILE, tell)
    tell = teller(1)
    tell(0.0)
    ganworks.principal_components(generator, on_progress=tell).save(folder / COMPONENTS_FILE)
    tell = teller(2)
    tell(0.0)
    ganworks.closed_form_factors(generator).save(folder / FACTORS_FILE)
    tell(1.0)


def _write_sheet(generator: Generator, path: Path, tell: Callable[[float], None]) -> None:
    """Whole or not at all: somebody may be looking at the page that shows it."""
    data = io.BytesIO()
    ganworks.contact_sheet(generator, on_progress=tell).save(data, "WEBP", quality=90)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data.getvalue())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
