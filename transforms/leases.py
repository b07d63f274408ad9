"""Leases of this process: those under which it works, and those that it lost sight of.

The second kind is left when an error comes between the claim of a job and its end. Who cannot reach the database cannot
write there how a job ended. Nobody works on it then, but its row says so until the lease runs out. The sweeper asks here
which leases these are, and frees them as soon as the database answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID, uuid4

from django.conf import settings

_forgotten: dict[UUID, float] = {}
"""Tokens, and when (time.monotonic()) they were lost sight of."""
_working: dict[UUID, UUID] = {}
"""Tokens under which this process works, and the jobs."""
_made: set[UUID] = set()
"""Tokens of the `accounted` blocks that are open."""


@contextmanager
def working(pk: UUID, token: UUID) -> Iterator[None]:
    """Inside the block this process works on the job."""
    _working[token] = pk
    try:
        yield
    finally:
        _working.pop(token, None)


def being_worked_on() -> Sequence[tuple[UUID, UUID]]:
    """The jobs that this process works on just now, and their tokens."""
    return [(pk, token) for token, pk in list(_working.items())]


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


def is_ours(token: UUID | None) -> bool:
    """Whether this process may hold a lease under this token. One with its number that ended before it cannot have."""
    return token in _made or token in _working or token in _forgotten


def forgotten() -> Sequence[UUID]:
    """The tokens that rows may still have. After the length of a lease those end by themselves.

    They are told until then, not once: a claim may reach the database after the error that it seemed to end with.
    """
    horizon = time.monotonic() - settings.JOB_LEASE_SECONDS
    for token, since in list(_forgotten.items()):
        if since < horizon:
            del _forgotten[token]
    return list(_forgotten)
