"""Commits that need not wait for the disk: PostgreSQL waits some milliseconds for each, and a job makes several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def forgettable(*, single: bool = False) -> Iterator[None]:
    """A transaction that a crash of the database within the next second may undo.

    For claims and progress only: undone, the job stands in the queue again, and who held it is told so when it wants to
    write more. The commit of a result is never such a one, and with it everything before it is on the disk. `single`:
    there is but one statement, which needs no savepoint within another transaction.
    """
    inside = connection.in_atomic_block
    if inside and single:
        yield
        return
    with transaction.atomic():
        if connection.vendor == "postgresql" and not inside:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL synchronous_commit TO off")
        yield
