"""What a run says of itself: lines for whoever watches, and `log.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

COLUMNS = (
    "pictures",
    "resolution",
    "pictures_per_second",
    "paired",
    "texture",
    "alignment",
    "fooling",
    "judging",
    "real",
    "fake",
    "r1",
    "path_length",
    "certainty",
    "augmentation",
)


@dataclass
class Progress:
    """One line of the log."""

    pictures: int
    of: int
    resolution: int
    seconds_left: float
    pictures_per_second: float
    values: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        values = "  ".join(f"{name} {value:.4f}" for name, value in self.values.items())
        return (
            f"{self.pictures}/{self.of} at {self.resolution} px  {self.pictures_per_second:.1f} pictures/s  "
            f"{self.seconds_left / 60:.0f} min left  {values}"
        )


class Averages:
    """Means of what the steps since the last line reported, each over the steps that reported it.

    Sums stay on their device, so that a GPU is waited for only once a line.
    """

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.totals[name] = self.totals[name] + value if name in self.totals else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means; counting starts anew."""
        means = {name: float(total) / self.counts[name] for name, total in self.totals.items()}
        self.totals, self.counts = {}, {}
        return means


def append(path: Path, progress: Progress) -> None:
    """Add a line to a generator's log, whose columns are `COLUMNS`."""
    row = {
        "pictures": progress.pictures,
        "resolution": progress.resolution,
        "pictures_per_second": round(progress.pictures_per_second, 2),
    }
    add_row(path, row | {name: round(value, 5) for name, value in progress.values.items()}, COLUMNS)


def add_row(path: Path, row: Mapping[str, object], columns: Iterable[str] = ()) -> None:
    """Add a line to a log. A new one gets these columns (the row's, if none are given); an older one keeps its own."""
    known = list(columns) or list(row)
    new = not path.exists()
    if not new:
        with path.open(newline="") as file:
            known = next(csv.reader(file), known)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, known, restval="", extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerow(row)


def forget_after(path: Path, pictures: int) -> None:
    """Drop lines of steps that a stopped run is about to take again."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    kept = [row for row in rows if row and row[0].isdigit() and int(row[0]) <= pictures]
    if len(kept) < len(rows):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *kept])
