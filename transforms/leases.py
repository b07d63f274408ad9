"""Leases of this process: those under which it works, and those that it lost sight of.

What is worked on is renewed by one thread (the heartbeat) for all jobs of the process, so that a long step does not lose its
job.

The second kind is left when an error comes between the claim of a job and its end. Who cannot reach the database cannot
write there how a job ended. Nobody works on it then, but its row says so until the lease runs out. The sweeper asks here
which leases these are, and frees them as soon as the database answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import close_old_connections, connection

from transforms.context import JobContext
from transforms.models import Job

log = structlog.get_logger(__name__)

LOOK_AT_LEAST_EVERY_SECONDS = 2.0


@dataclass
class _Work:
    context: JobContext
    renewed_at: float = field(default_factory=time.monotonic)


_working: dict[UUID, _Work] = {}
"""Tokens under which this process works."""
_forgotten: dict[UUID, float] = {}
"""Tokens, and when (time.monotonic()) they were lost sight of."""
_made: set[UUID] = set()
"""Tokens of the `accounted` blocks that are open."""


# --- Worked on ----------------------------------------------------------------------------------------------


@contextmanager
def working(context: JobContext) -> Iterator[None]:
    """Inside the block this process works on the job, and its lease is renewed. `context.lost` tells if that failed."""
    _working[context.token] = _Work(context)
    _heart.beat()
    try:
        yield
    finally:
        _working.pop(context.token, None)


def renew(not_since_seconds: float = 0.0) -> None:
    """Renew what this process works on, and has not renewed for so long. Raises what the database raises."""
    for token, work in list(_working.items()):
        began = time.monotonic()
        if began - work.renewed_at < not_since_seconds:
            continue
        if Job.objects.renew(work.context.pk, token):
            work.renewed_at = began
        elif token in _working:
            work.context.lost = True


class _Heart:
    """The thread that renews. It is started with the first job, and rests while there is none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wanted = threading.Event()

    def beat(self) -> None:
        if self._wanted.is_set() and self._is_alive():
            return
        with self._lock:
            self._wanted.set()
            if not self._is_alive():
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        while self._wanted.wait():
            time.sleep(min(max(0.0, settings.JOB_LEASE_SECONDS / 6), LOOK_AT_LEAST_EVERY_SECONDS))
            try:
                close_old_connections()  # one that broke is not used again
                renew(not_since_seconds=settings.JOB_LEASE_SECONDS / 3)
            except Exception:
                log.exception("lease_not_renewed")  # the database may come back before the lease ends
            if not _working:
                self._wanted.clear()
                connection.close()
            if _working:  # also one that came while that was looked at, and found the thread awake
                self._wanted.set()


_heart = _Heart()


# --- Lost sight of ------------------------------------------------------------------------------------------


@contextmanager
def accounted() -> Iterator[Callable[[], UUID]]:
    """Gives what makes the tokens of the claims in this block. If the block fails, nobody works under them any more."""
    made: list[UUID] = []

    def new_token() -> UUID:
        made.append(uuid4())
        _made.add(made[-1])
        return made[-1]

    try:
        yield new_token
    except BaseException:
        _forgotten.update(dict.fromkeys(made, time.monotonic()))
        raise
    finally:
        _made.difference_update(made)


def forgotten() -> Sequence[UUID]:
    """The tokens that rows may still have. After the length of a lease those end by themselves.

    They are told until then, not once: a claim may reach the database after the error that it seemed to end with.
    """
    horizon = time.monotonic() - settings.JOB_LEASE_SECONDS
    for token, since in list(_forgotten.items()):
        if since < horizon:
            del _forgotten[token]
    return list(_forgotten)


def is_ours(token: UUID | None) -> bool:
    """Whether this process may hold a lease under this token. One with its number that ended before it cannot have."""
    return token in _made or token in _working or token in _forgotten
