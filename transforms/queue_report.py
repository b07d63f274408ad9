"""The queue at a glance, for the people who run the site: what waits, who works on what, and what went wrong.

A constant number of questions, and what each of them reads is bounded, however long the queue and its history are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.db.models import Count, Min, Q, QuerySet
from django.utils import timezone

from transforms import presence
from transforms.models import Job, Operation, State

log = structlog.get_logger(__name__)

COUNTED = 10_000
"""So many jobs that are not over are counted by operation and generator."""
SHOWN = 20
"""So many rows has each list of single jobs."""
LOADS_SHOWN = 50
FAILURES_SINCE = timedelta(hours=1)


@dataclass(frozen=True)
class Load:
    """Jobs of one operation with one generator (empty: it needs none). `oldest`: of those that wait, in seconds."""

    operation: str
    generator: str
    waiting: int
    running: int
    oldest: float | None


@dataclass(frozen=True)
class AtWork:
    """A worker process that lives, and the jobs that it runs. `seen`: seconds since its last sign of life."""

    worker: presence.Worker
    seen: float
    lives: float
    jobs: Sequence[Job]


@dataclass(frozen=True)
class Report:
    """`workers` is None where the cache, which knows them, does not answer. `adrift`: jobs that run, as their rows say, but
    no living worker has: their leases end soon."""

    loads: Sequence[Load]
    oldest: float | None
    more: bool
    """There are more jobs than were counted."""
    workers: Sequence[AtWork] | None
    adrift: Sequence[Job]
    failed: int
    failures: Sequence[Job]
    quarantined: Sequence[Job]
    counted: int = COUNTED
    shown: int = SHOWN

    @property
    def waiting(self) -> int:
        return sum(load.waiting for load in self.loads)

    @property
    def running(self) -> int:
        return sum(load.running for load in self.loads)


def report() -> Report:
    running = _listed(Job.objects.filter(state=State.RUNNING).order_by("created_at"), presence.PLACES)
    workers = _workers(running)
    known = {one.worker.name for one in workers or ()}
    loads = _loads()
    recent = Job.objects.filter(state=State.FAILED, finished_at__gt=timezone.now() - FAILURES_SINCE)
    quarantined = Job.objects.filter(quarantined_at__isnull=False, retries=None)
    return Report(
        loads=loads,
        oldest=_oldest(),
        more=sum(load.waiting + load.running for load in loads) >= COUNTED,
        workers=workers,
        adrift=[] if workers is None else [job for job in running if job.worker not in known][:SHOWN],
        failed=recent.order_by()[:COUNTED].count(),
        failures=_listed(recent.order_by("-finished_at")),
        quarantined=_listed(quarantined.order_by("-quarantined_at")),
    )


def _loads() -> list[Load]:
    counted = Job.objects.active().order_by()[:COUNTED]
    waits = Q(state=State.QUEUED)
    rows = (
        Job.objects.filter(pk__in=counted.values("pk"))
        .order_by()
        .values("operation", "generator")
        .annotate(
            waiting=Count("pk", filter=waits),
            running=Count("pk", filter=~waits),
            oldest=Min("created_at", filter=waits),
        )
        .order_by("-waiting", "-running", "operation", "generator")
    )
    now = timezone.now()
    return [
        Load(
            Operation(row["operation"]).label,
            row["generator"],
            row["waiting"],
            row["running"],
            (now - row["oldest"]).total_seconds() if row["oldest"] else None,
        )
        for row in rows[:LOADS_SHOWN]
    ]


def _oldest() -> float | None:
    first = Job.objects.filter(state=State.QUEUED).aggregate(at=Min("created_at"))["at"]
    return None if first is None else (timezone.now() - first).total_seconds()


def _workers(running: Sequence[Job]) -> list[AtWork] | None:
    try:
        living = presence.alive()
    except Exception as error:
        log.warning("workers_not_known", error=repr(error))
        return None
    now = time.time()
    return [
        AtWork(
            worker,
            max(0.0, now - worker.seen_at),
            max(0.0, now - worker.started_at),
            [job for job in running if worker.kind == presence.JOBS and job.worker == worker.name],
        )
        for worker in living
    ]


def _listed(jobs: QuerySet[Job], count: int = SHOWN) -> list[Job]:
    """The first of the jobs, without what is large in their rows."""
    return list(jobs.select_related("user").defer("preview", "params", "result")[:count])
