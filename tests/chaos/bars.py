"""Sizes of a run, and the table of what was asked and what was measured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from bench.report import Row

FULL = os.environ.get("CHAOS_SIZE", "small") == "full"
TIMEOUT_SECONDS = 3600 if FULL else 300
"""Of one test. None may hold up a run of all tests, whatever it waits for."""
ROWS: list[Row] = []


@dataclass(frozen=True)
class Size:
    kills: int
    members: int
    jobs: int
    sockets: int
    queued: tuple[int, int]
    milliseconds: int
    """How long the sleeping engine takes for a job."""


SIZE = (
    Size(kills=50, members=50, jobs=2000, sockets=200, queued=(100, 10_000), milliseconds=300)
    if FULL
    else Size(kills=4, members=10, jobs=120, sockets=30, queued=(100, 1_000), milliseconds=100)
)


def sizes(small: list[Any], more: list[Any]) -> list[Any]:
    """The cases of a test: the telling ones always, all of them at full size."""
    return [*small, *more] if FULL else small


def bar(what: str, limit: str, measured: str, met: bool) -> None:
    """A line of the table. At full size a bar that is missed fails the test, when all of its bars are told."""
    ROWS.append(Row(what, limit, measured, met))


def missed(rows: list[Row]) -> list[str]:
    """What fails a test that added these lines."""
    return [
        f"{row.what}: {row.measured}, where {row.bar} is asked for" for row in rows if FULL and not row.met
    ]
