"""Signs of life: which worker processes there are, here and on other machines. Kept in the cache, which forgets the dead.

A cache cannot list its keys, so workers take numbered places in it. A place is taken by `cache.add`, of which one wins,
and is free again when its worker says good-bye, or has said nothing for `ALIVE_SECONDS`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.core.cache import cache

HOST = socket.gethostname()
JOBS = "jobs"
PREVIEWS = "preview"
ALIVE_SECONDS = 30
PLACES = 256
"""How many workers can be counted; what comes beyond works all the same."""


@dataclass(frozen=True)
class Worker:
    """A process that has shown a sign of life. `kind`: `JOBS` or `PREVIEWS`. `generators`: what it keeps loaded."""

    kind: str
    name: str
    host: str
    started_at: float
    generators: tuple[str, ...] = ()
    seen_at: float = 0.0
    """When it last showed a sign of life (time.time() of its machine)."""


class SignOfLife:
    """One worker's place. Call `beat` every few seconds, from one thread, and `leave` when it ends."""

    def __init__(self, kind: str, host: str = HOST, pid: int | None = None) -> None:
        self.token = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._place = -1
        self._left = False
        process = os.getpid() if pid is None else pid
        self._worker = Worker(kind, f"{host}/{process}", host, time.time())

    def beat(self, generators: Sequence[str] = ()) -> None:
        """Be counted for the next `ALIVE_SECONDS`. Raises what the cache raises when it does not answer."""
        now = {"generators": sorted(generators), "seen_at": time.time()}
        said = {**asdict(self._worker), **now, "token": self.token}
        with self._lock:
            if not self._left and not self._renew(said):
                self._take(said)

    def leave(self) -> None:
        """Be counted no more, whatever a late `beat` says."""
        with self._lock:
            self._left = True
            key = _key(self._place)
            if self._is_mine(cache.get(key)):
                cache.delete(key)

    def _renew(self, said: dict[str, Any]) -> bool:
        """False if the place was lost: the cache forgot it, or this process slept so long that another has it."""
        key = _key(self._place)
        if not self._is_mine(cache.get(key)):
            return False
        cache.set(key, said, timeout=ALIVE_SECONDS)
        return True

    def _take(self, said: dict[str, Any]) -> None:
        taken = cache.get_many(_KEYS)
        for place in range(PLACES):
            if _key(place) not in taken and cache.add(_key(place), said, timeout=ALIVE_SECONDS):
                self._place = place
                return

    def _is_mine(self, kept: Any) -> bool:
        return isinstance(kept, dict) and kept.get("token") == self.token


def alive(kind: str | None = None) -> list[Worker]:
    """The workers that live, ordered by name: all of them, or those of a kind. One question to the cache."""
    found = [
        Worker(
            said["kind"],
            said["name"],
            said["host"],
            said["started_at"],
            tuple(said["generators"]),
            said.get("seen_at", said["started_at"]),  # a worker of an older release says less
        )
        for said in cache.get_many(_KEYS).values()
    ]
    return sorted((one for one in found if kind in (None, one.kind)), key=lambda one: (one.kind, one.name))


def _key(place: int) -> str:
    return f"worker-alive:{place}"


_KEYS = [_key(place) for place in range(PLACES)]
