"""How long things take: learned from the last runs of the same kind, and told as a range.

Each job knows its kind: operation, network and size. When a job succeeds, how long it took is kept (`RunTime`), the last
`KEPT` of each kind and device. What is told is the range in which most of those lay (`LOW` to `HIGH`); what was told when a
run began is kept beside it, so that the admin can say how often it came true.

A waiting job is done after those before it: the line is played through with as many workers as there are. Nothing is told
where too little is known.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean, pvariance
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import structlog
from django.utils import timezone

from transforms import presence
from transforms.durability import forgettable
from transforms.engine import device_name
from transforms.models import Job, RunTime, State

log = structlog.get_logger(__name__)

KEPT = 50
FORGOTTEN_AT_ONCE = 1000
NOTES_SECONDS = 1.0
"""For so long what was learned is only noted."""
FEWEST = 3
"""So many runs must be known before anything is told."""
LOW, HIGH = 0.1, 0.9
SIGMAS = 1.2816
"""The same part of a normal distribution."""
POSITIONS = 1000
"""So far the line is counted."""
KNOWN_SECONDS = 5.0
LINE_SECONDS = 1.0

Value = TypeVar("Value")


class Range(NamedTuple):
    """Between so many seconds and so many."""

    low: float
    high: float


class Mean(NamedTuple):
    seconds: float
    variance: float


@dataclass(frozen=True)
class Outlook:
    """What can be told of a job that is not over: `position` (1 is next; None beyond `POSITIONS`) and the time left."""

    position: int | None = None
    left: Range | None = None
    late: bool = False
    """It takes longer than any of the last runs did."""
    far: bool = False
    """So many are before it that nobody counts."""


# --- What is learned ----------------------------------------------------------------------------------------


def learn(job: Job, seconds: float) -> None:
    """Note how long a run took, with what would have been told at its beginning: see `write_down`."""
    device = device_name()
    known = _here.get((job.kind, device), lambda: _seconds_of(job.kind, device))
    said = spread(known)
    insort(known, seconds)
    run = RunTime(
        kind=job.kind, device=device, seconds=seconds, low=said and said.low, high=said and said.high
    )
    with _notes_lock:
        _notes.append(run)
        due = (run.created_at - _notes[0].created_at).total_seconds() >= NOTES_SECONDS
    if due:
        write_down()


def write_down() -> None:
    """Keep what was noted, and the last `KEPT` of each kind and device. Quick jobs are many: they share a write."""
    with _notes_lock:
        runs = list(_notes)
        _notes.clear()
    if not runs:
        return
    with forgettable():
        RunTime.objects.bulk_create(runs)
        for kind, device in {(run.kind, run.device) for run in runs}:
            of_kind = RunTime.objects.filter(kind=kind, device=device).order_by("-pk")
            old = list(of_kind.values_list("pk", flat=True)[KEPT : KEPT + FORGOTTEN_AT_ONCE])
            if old:
                RunTime.objects.filter(pk__in=old).delete()


def _seconds_of(kind: str, device: str) -> list[float]:
    """The last runs of a kind on a device, sorted."""
    runs = RunTime.objects.filter(kind=kind, device=device)
    return sorted(runs.order_by("-pk").values_list("seconds", flat=True)[:KEPT])


def spread(seconds: Sequence[float]) -> Range | None:
    """The range in which most of these (sorted) lie. None: they are too few."""
    if len(seconds) < FEWEST:
        return None
    return Range(_quantile(seconds, LOW), _quantile(seconds, HIGH))


def _quantile(seconds: Sequence[float], share: float) -> float:
    place = share * (len(seconds) - 1)
    below = math.floor(place)
    above = min(below + 1, len(seconds) - 1)
    return seconds[below] + (place - below) * (seconds[above] - seconds[below])


class Calibration(NamedTuple):
    """Of the last `told` runs of a kind of which something was told at the beginning, which part lay in that range."""

    kind: str
    device: str
    runs: int
    median: float
    told: int
    share: float | None


def calibration() -> list[Calibration]:
    """How often what was told came true, for each kind of job and device."""
    groups: dict[tuple[str, str], list[RunTime]] = {}
    for run in RunTime.objects.order_by("kind", "device", "pk"):
        groups.setdefault((run.kind, run.device), []).append(run)
    found = []
    for (kind, device), runs in groups.items():
        told = [run.came_true for run in runs if run.came_true is not None]
        middle = _quantile(sorted(run.seconds for run in runs), 0.5)
        found.append(Calibration(kind, device, len(runs), middle, len(told), fmean(told) if told else None))
    return found


# --- What is told -------------------------------------------------------------------------------------------


class _Kept(Generic[Value]):
    """Answers that may be a little old: each is asked for at most once in a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answers: dict[Any, tuple[float, Value]] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, ask: Callable[[], Value]) -> Value:
        now = time.monotonic()
        with self._lock:
            at, value = self._answers.get(key, (0.0, None))
            if value is not None and now - at < self._seconds:
                return value
            if len(self._answers) > KEPT * KEPT:
                self._answers.clear()
        value = ask()
        with self._lock:
            self._answers[key] = (now, value)
        return value

    def fill(self, keys: Iterable[Any], ask: Callable[[list[Any]], Mapping[Any, Value]]) -> None:
        """Ask at once for those of which there is no answer that is new enough."""
        now = time.monotonic()
        with self._lock:
            old = [
                key
                for key in set(keys)
                if now - self._answers.get(key, (-self._seconds,))[0] >= self._seconds
            ]
        if old:
            found = ask(old)
            with self._lock:
                self._answers.update({key: (now, found[key]) for key in old})

    def clear(self) -> None:
        with self._lock:
            self._answers.clear()


_runs: _Kept[list[float]] = _Kept(KNOWN_SECONDS)
_here: _Kept[list[float]] = _Kept(KNOWN_SECONDS)
_notes: list[RunTime] = []
_notes_lock = threading.Lock()
_workers: _Kept[int] = _Kept(KNOWN_SECONDS)
_lines: _Kept[dict[UUID, Outlook]] = _Kept(LINE_SECONDS)


def forget() -> None:
    """Ask anew for everything."""
    for kept in (_runs, _here, _workers, _lines):
        kept.clear()


def outlooks(jobs: Iterable[Job], *, exact: bool = True) -> Mapping[UUID, Outlook]:
    """What can be told of these jobs, in a constant number of questions. Finished ones are left out.

    Not `exact`: of a job that has just come into line, nothing.
    """
    jobs = list(jobs)
    line = _line([job.pk for job in jobs if job.state == State.QUEUED], exact)
    found = {job.pk: line[job.pk] for job in jobs if job.pk in line}
    running = [job for job in jobs if job.state == State.RUNNING]
    _runs.fill([job.kind for job in running], _all_known)
    return found | {job.pk: _running(job) for job in running}


def _line(waiting: Sequence[UUID], exact: bool) -> dict[UUID, Outlook]:
    if not waiting:
        return {}
    line = _lines.get(None, _play)
    if exact and len(line) < POSITIONS and any(pk not in line for pk in waiting):
        _lines.clear()  # it came after the line was played through
        line = _lines.get(None, _play)
    beyond = Outlook(far=len(line) >= POSITIONS)
    return {pk: line.get(pk, beyond) for pk in waiting}


def _running(job: Job) -> Outlook:
    known = _known(job.kind)
    began = job.started_at
    if began is None or len(known) < FEWEST:
        return Outlook()
    elapsed = (timezone.now() - began).total_seconds()
    left = [seconds - elapsed for seconds in known if seconds > elapsed]
    if not left:
        return Outlook(late=True)
    return Outlook(left=Range(_quantile(left, LOW), _quantile(left, HIGH)))


def _known(kind: str) -> list[float]:
    """The last runs of a kind on any device, sorted."""
    return _runs.get(kind, lambda: _all_known([kind])[kind])


def _all_known(kinds: list[str]) -> dict[str, list[float]]:
    """The same of several kinds, in one question."""
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    runs = RunTime.objects.filter(kind__in=kinds).order_by("-pk")
    for kind, seconds in runs.values_list("kind", "seconds"):
        if len(found[kind]) < KEPT:
            found[kind].append(seconds)
    return {kind: sorted(seconds) for kind, seconds in found.items()}


def _mean_of(kind: str) -> Mean | None:
    known = _known(kind)
    return Mean(fmean(known), pvariance(known)) if len(known) >= FEWEST else None


def _alive() -> int:
    """How many workers there are; 0 if nobody knows."""
    try:
        return len(presence.alive(presence.JOBS))
    except Exception as error:  # the cache is away: positions can still be told
        log.warning("workers_not_counted", error=repr(error))
        return 0


@dataclass(order=True)
class _Worker:
    """When a worker is free again, in seconds from now, and how sure that is. `known`: whether it is known at all."""

    free: Mean
    known: bool = field(default=True, compare=False)


def _play() -> dict[UUID, Outlook]:
    """The head of the line, and when each of it will probably be done."""
    line = list(Job.objects.in_line().values_list("pk", "kind")[:POSITIONS])
    if not line:
        return {}
    running = list(Job.objects.filter(state=State.RUNNING).only("kind", "started_at"))
    _runs.fill({kind for _, kind in line} | {job.kind for job in running}, _all_known)
    workers = _workers_now(running)
    mean_of = cache(_mean_of)
    outlooks = {}
    for number, (pk, kind) in enumerate(line, start=1):
        left = None
        takes = mean_of(kind)
        if workers:
            worker = heapq.heappop(workers)
            if takes is None:
                workers = []  # from here on nothing is known
            else:
                done = Mean(worker.free.seconds + takes.seconds, worker.free.variance + takes.variance)
                heapq.heappush(workers, _Worker(done))
                reach = SIGMAS * math.sqrt(done.variance)
                left = Range(max(0.0, done.seconds - reach), done.seconds + reach)
        outlooks[pk] = Outlook(number, left)
    return outlooks


def _workers_now(running: Sequence[Job]) -> list[_Worker]:
    """Each worker with what it has still to do. Empty if that cannot be told."""
    busy = []
    for job in running:
        takes = _mean_of(job.kind)
        if takes is None or job.started_at is None:
            return []
        elapsed = (timezone.now() - job.started_at).total_seconds()
        busy.append(_Worker(Mean(max(0.0, takes.seconds - elapsed), takes.variance)))
    idle = max(0, _workers.get(None, _alive) - len(busy))
    workers = busy + [_Worker(Mean(0.0, 0.0)) for _ in range(idle)]
    heapq.heapify(workers)
    return workers


# --- In words -----------------------------------------------------------------------------------------------


def in_words(outlook: Outlook, state: str) -> str:
    """“3rd in line, done in about 1 to 2 min”, “about 10 to 20 s left”; empty if nothing can be told."""
    if state == State.RUNNING:
        if outlook.late:
            return "longer than usual"
        return f"{about(outlook.left)} left" if outlook.left else ""
    if outlook.position is None:
        return f"More than {POSITIONS:,} are before it in line" if outlook.far else "In line"
    place = "Next in line" if outlook.position == 1 else f"{_ordinal(outlook.position)} in line"
    return f"{place}, done in {about(outlook.left)}" if outlook.left else place


def about(left: Range) -> str:
    """A range of seconds as one would say it."""
    low, high = _round(left.low), _round(left.high)
    if high[0] == 0:
        return "a moment"
    if low[0] == 0:
        return f"at most {high[0]:g} {high[1]}"
    if low == high:
        return f"about {high[0]:g} {high[1]}"
    if low[1] == high[1]:
        return f"about {low[0]:g} to {high[0]:g} {high[1]}"
    return f"about {low[0]:g} {low[1]} to {high[0]:g} {high[1]}"


def _round(seconds: float) -> tuple[float, str]:
    """So many of which unit, as exactly as a guess deserves."""
    if seconds < 9.5:
        return round(seconds), "s"
    if seconds < 57.5:
        return 5 * round(seconds / 5), "s"
    if seconds < 57.5 * 60:
        minutes = seconds / 60
        return (round(minutes) if minutes < 9.5 else 5 * round(minutes / 5)), "min"
    return round(seconds / 3600 * 2) / 2, "h"


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number:,}th"
    return f"{number:,}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
