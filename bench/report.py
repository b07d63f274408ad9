"""Rows, statistics of a few dozen numbers, and the table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MARKS = {True: "yes", False: "NO", None: ""}


@dataclass(frozen=True)
class Row:
    """One line of the table. `met`: whether the bar was reached; None where there is no bar, or no figure."""

    what: str
    bar: str
    measured: str
    met: bool | None = None


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def table(rows: Sequence[Row]) -> str:
    """The rows in columns, which are also a table in Markdown."""
    cells = [("what", "bar", "measured", "met"), *((r.what, r.bar, r.measured, MARKS[r.met]) for r in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
