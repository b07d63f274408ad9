"""How much a member stores, against how much they may.

What is stored is not this app's business: the app that stores it registers how to measure it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from accounts.models import User

Measure = Callable[[User], int]


@dataclass(frozen=True)
class Usage:
    """Bytes stored and allowed."""

    used_bytes: int
    limit_bytes: int

    @property
    def free_bytes(self) -> int:
        return max(0, self.limit_bytes - self.used_bytes)

    @property
    def percent(self) -> int:
        """0 to 100, and 100 only when nothing more fits."""
        if self.free_bytes == 0:
            return 100
        return min(99, self.used_bytes * 100 // self.limit_bytes)

    @property
    def is_nearly_full(self) -> bool:
        return self.percent >= 90


_measures: list[Measure] = []


def register_usage(measure: Measure) -> None:
    """Count what `measure(user)` returns, in bytes, toward the limit. Called from an `AppConfig.ready`."""
    if measure not in _measures:
        _measures.append(measure)


def usage(user: User) -> Usage:
    return Usage(sum(measure(user) for measure in _measures), user.storage_limit_bytes)
