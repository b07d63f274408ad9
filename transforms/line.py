"""Who is next: the order in which workers take waiting jobs, at a price that does not depend on how many wait.

Each job gets a turn when it is asked for (`JobQuerySet.next_turn`): a member's jobs have rising turns, and a newcomer's
first one has that of those who are served now. Whoever takes the smallest turn first serves all members round by
round, and an index finds it.

Interactive jobs go before batch ones. A batch job that has waited for `BATCH_PATIENCE_SECONDS` ages into the line of the
others: of `BATCH_EVERY` jobs that a worker takes while such a one waits, one is batch work. Batch jobs keep their turns
among each other, so a command with a thousand pictures holds nobody else's up.

Within a round, which is the next job of each member, a worker prefers generators that it has loaded, unless another job of
the round has waited for `ROUTING_PATIENCE_SECONDS`. A worker with `WORKER_GENERATORS` leaves what needs others to others,
for as long as that.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from transforms import lifecycle
from transforms.models import Job, JobQuerySet, Priority

WINDOW = 32
"""How many jobs at the head of the line a worker looks at."""
BATCH_EVERY = 4
LOOK_EVERY_SECONDS = 1.0


class Place(NamedTuple):
    """A job in the line, as far as the choice depends on it."""

    pk: UUID
    priority: int
    turn: int
    generator: str
    created_at: datetime


class Line:
    """The line as one worker process sees it. `since_batch`: how many jobs it took since the last batch job."""

    def __init__(self) -> None:
        self.since_batch = 0
        self._looked_at = -LOOK_EVERY_SECONDS

    def claim_next(self, token: UUID, worker: str, resident: Collection[str] = ()) -> Job | None:
        """Take the job that is next for a worker that has the generators `resident` loaded. None: nothing waits for it."""
        tried: list[UUID] = []
        while places := self._choose(tried, resident):
            for place in places:
                if job := lifecycle.claim(place.pk, token, worker):
                    self._count(place)
                    return job
                tried.append(place.pk)
        return None

    def _count(self, place: Place) -> None:
        self.since_batch = 0 if place.priority == Priority.BATCH else self.since_batch + 1

    def _choose(self, tried: Collection[UUID], resident: Collection[str]) -> list[Place]:
        """The head of the line, those that should be tried first in front."""
        waiting = servable().exclude(pk__in=tried) if tried else servable()
        head = _places(waiting[:WINDOW])
        preferred = prefer(head, resident)
        if head and head[0].priority == Priority.INTERACTIVE and self.since_batch >= BATCH_EVERY - 1:
            return [*self._aged(waiting), *preferred]
        return preferred

    def _aged(self, waiting: JobQuerySet) -> list[Place]:
        """The first batch job in line, if it has waited for long. Where there was none, it is not looked again at once."""
        if time.monotonic() - self._looked_at < LOOK_EVERY_SECONDS:
            return []
        horizon = timezone.now() - timedelta(seconds=settings.BATCH_PATIENCE_SECONDS)
        first = _places(waiting.filter(priority=Priority.BATCH)[:1])
        aged = [place for place in first if place.created_at <= horizon]
        self._looked_at = -LOOK_EVERY_SECONDS if aged else time.monotonic()
        return aged


def servable() -> JobQuerySet:
    """The jobs in line that this worker may serve now."""
    waiting = Job.objects.in_line().due()
    mine = settings.WORKER_GENERATORS
    if not mine:
        return waiting
    return waiting.filter(Q(generator__in=["", *mine]) | Q(created_at__lte=_patience_ends()))


def prefer(head: list[Place], resident: Collection[str]) -> list[Place]:
    """Within the first round: what has waited too long, then what needs a generator that is loaded, then the rest."""
    if not head or not resident:
        return head
    ends = _patience_ends()
    first = head[0]
    rounds = [place for place in head if place[1:3] == first[1:3]]

    def rank(place: Place) -> int:
        if place.created_at <= ends:
            return 0
        return 1 if place.generator in resident or not place.generator else 2

    return [*sorted(rounds, key=rank), *head[len(rounds) :]]


def _patience_ends() -> datetime:
    return timezone.now() - timedelta(seconds=settings.ROUTING_PATIENCE_SECONDS)


def _places(jobs: JobQuerySet) -> list[Place]:
    rows = jobs.values_list("pk", "priority", "turn", "generator", "created_at")
    return [Place(*row) for row in rows]
