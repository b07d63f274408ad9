"""Whose turn it is to compute: one job of a process uses the engine, while others are stored.

Pictures are encoded, uploaded and written down after they were computed. A GPU, or most of a processor, would rest during
that. So a worker has more threads than turns, and whoever needs the engine no more ends its turn early. A job is claimed by
who has a turn, never in advance: it could be with a worker that is free.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from transforms.broker import stopping

LOOK_EVERY_SECONDS = 0.25


class Turn:
    """`with turn:` ends it at the latest; `end` may be called earlier, and more than once."""

    def __init__(self, places: threading.Semaphore) -> None:
        self._places: threading.Semaphore | None = places

    def end(self) -> None:
        places, self._places = self._places, None
        if places is not None:
            places.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Turns:
    """The turns of a process: one at a time, unless more are allowed."""

    def __init__(self) -> None:
        self.allow(1)

    def allow(self, count: int) -> None:
        """So many at the same time. To be said before the first is taken."""
        self._places = threading.Semaphore(count)

    def take(self) -> Turn | None:
        """Wait for a turn. None: this process stops."""
        while not stopping.is_set():
            if self._places.acquire(timeout=LOOK_EVERY_SECONDS):
                return Turn(self._places)
        return None


turns = Turns()
"""Those of this process."""
