"""
How long jobs wait, before there is a machine to try it on: a simulation of the line and its workers.

`python -m bench.capacity --users 1000 --workers 2` says how long people would wait; without `--workers` it looks for the
smallest number with which they hardly do. It is the line of `transforms.line` over again, without rows: members in turn,
interactive work before batch work, a worker's loaded generators first, for as long as nobody waits too long for that. Time
is in seconds; the same seed gives the same answer. `tests/chaos/test_capacity.py` holds it against real workers;
assumptions and results are in `docs/scaling.md`.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from bisect import insort
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bench.report import Row, percentile, table

INTERACTIVE, BATCH = 0, 1
BATCH_EVERY = 4
WINDOW = 64
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Kind:
    """A kind of work: seconds on one worker, how often a member asks for it in a day, whether somebody waits for it.

    `spread`: the standard deviation of its seconds as a part of their mean.
    """

    name: str
    seconds: float
    per_day: float
    priority: int = INTERACTIVE
    spread: float = 0.1


@dataclass(frozen=True)
class Wish:
    """One job, before it is done."""

    at: float
    member: int
    kind: str
    seconds: float
    generator: int = 0
    priority: int = INTERACTIVE


@dataclass(frozen=True)
class Served:
    wish: Wish
    begun: float
    ended: float

    @property
    def waited(self) -> float:
        return self.begun - self.wish.at


@dataclass(frozen=True)
class Fleet:
    """The workers. Each keeps `resident` generators loaded; another one costs `load_seconds` first."""

    workers: int
    resident: int = 4
    load_seconds: float = 0.0
    overhead_seconds: float = 0.015
    routing_patience_seconds: float = 30.0
    batch_patience_seconds: float = 600.0


@dataclass
class _Worker:
    loaded: OrderedDict[int, None] = field(default_factory=OrderedDict)
    since_batch: int = 0

    def take(self, generator: int, room: int) -> bool:
        """Whether it had to be loaded."""
        new = generator not in self.loaded
        self.loaded[generator] = None
        self.loaded.move_to_end(generator)
        while len(self.loaded) > room:
            self.loaded.popitem(last=False)
        return new


_Place = tuple[int, float, int, Wish]
"""Turn, when it was asked for, the how many-th wish it is, and the wish."""


class _Line:
    """What waits, by turns. A member's jobs have rising turns; newcomers begin where others are."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._waiting: dict[int, list[_Place]] = {INTERACTIVE: [], BATCH: []}
        self._last: dict[tuple[int, int], int] = {}
        self._served = {INTERACTIVE: 0, BATCH: 0}
        self._count = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, wish: Wish) -> None:
        key = (wish.member, wish.priority)
        turn = max(self._served[wish.priority], self._last.get(key, -1) + 1)
        self._last[key] = turn
        self._count += 1
        insort(self._waiting[wish.priority], (turn, wish.at, self._count, wish))

    def next(self, now: float, worker: _Worker) -> Wish:
        priority = INTERACTIVE if self._waiting[INTERACTIVE] else BATCH
        batch = self._waiting[BATCH]
        aged = batch and now - batch[0][1] >= self._fleet.batch_patience_seconds
        if aged and worker.since_batch >= BATCH_EVERY - 1:
            priority = BATCH
        worker.since_batch = 0 if priority == BATCH else worker.since_batch + 1
        waiting = self._waiting[priority]
        chosen = waiting.pop(self._preferred(waiting, now, worker))
        self._served[priority] = max(self._served[priority], chosen[0])
        return chosen[3]

    def _preferred(self, waiting: list[_Place], now: float, worker: _Worker) -> int:
        """Of the first round: what has waited too long, then what needs a loaded generator, then the rest."""
        first = waiting[0]
        if self._fleet.load_seconds == 0 or now - first[1] >= self._fleet.routing_patience_seconds:
            return 0
        for index, place in enumerate(waiting[:WINDOW]):
            if place[0] == first[0] and place[3].generator in worker.loaded:
                return index
        return 0


def simulate(wishes: Sequence[Wish], fleet: Fleet) -> list[Served]:
    """What becomes of the wishes, in the order in which they begin."""
    arrivals = sorted(wishes, key=lambda wish: wish.at)
    workers = [_Worker() for _ in range(fleet.workers)]
    free = list(range(fleet.workers))
    busy: list[tuple[float, int]] = []
    line, served, number = _Line(fleet), list[Served](), 0
    while number < len(arrivals) or len(line):
        if not (free and len(line)):
            next_end = busy[0][0] if busy else math.inf
            now = min(next_end, arrivals[number].at if number < len(arrivals) else math.inf)
        while number < len(arrivals) and arrivals[number].at <= now:
            line.add(arrivals[number])
            number += 1
        while busy and busy[0][0] <= now:
            free.append(heapq.heappop(busy)[1])
        while free and len(line):
            index = free.pop(0)  # any idle worker may hear the bell first
            worker = workers[index]
            wish = line.next(now, worker)
            loading = fleet.load_seconds if worker.take(wish.generator, fleet.resident) else 0.0
            ended = now + fleet.overhead_seconds + loading + wish.seconds
            served.append(Served(wish, now, ended))
            heapq.heappush(busy, (ended, index))
    return served


# --- A day ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """What people do. `peak`: the part of the day's work that comes in the busiest hour. Generators are asked for as words
    are in a language: the n-th most popular one n times less often than the first."""

    kinds: tuple[Kind, ...]
    peak: float = 0.12
    generators: int = 8

    def busiest_hour(self, users: int, seed: int = 0, hours: float = 1.0) -> list[Wish]:
        """The wishes of the busiest hour (or more of its sort). Each member's own come in bursts, as sessions are."""
        chance = random.Random(seed)
        wishes: list[Wish] = []
        weights = [1 / (rank + 1) for rank in range(self.generators)]
        for kind in self.kinds:
            rate = users * kind.per_day * self.peak / 3600
            at = chance.expovariate(rate)
            while at < 3600 * hours:
                wishes.append(
                    Wish(
                        at,
                        chance.randrange(users),
                        kind.name,
                        _lognormal(chance, kind.seconds, kind.spread),
                        chance.choices(range(self.generators), weights)[0],
                        kind.priority,
                    )
                )
                at += chance.expovariate(rate)
        return wishes

    def load(self, users: int) -> float:
        """How many workers are busy on the average of the busiest hour, loading and overhead apart."""
        return sum(users * kind.per_day * self.peak / 3600 * kind.seconds for kind in self.kinds)


def _lognormal(chance: random.Random, mean: float, spread: float) -> float:
    sigma = math.sqrt(math.log(1 + spread**2))
    return chance.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)


# One member's day, with the starters on one core (`python -m bench.service`).
STARTERS = Day(
    (
        Kind("random", 0.12, 6),
        Kind("save", 0.08, 3),
        Kind("project", 10.5, 1.5),
        Kind("upscale", 0.4, 1.5),
    )
)


@dataclass(frozen=True)
class Aim:
    """What is good enough: 95 of 100 jobs begin within so many seconds."""

    waited_seconds: float = 5.0


def waits(served: Sequence[Served]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for one in served:
        found[one.wish.kind].append(one.waited)
    return found


def enough_workers(day: Day, users: int, fleet: Fleet, aim: Aim, seed: int = 0) -> int:
    """The smallest number with which the aim is reached in the busiest hour."""
    wishes = day.busiest_hour(users, seed)
    more = fleet.overhead_seconds * len(wishes) / 3600
    count = max(1, math.ceil(day.load(users) + more))
    while True:
        served = simulate(wishes, replace(fleet, workers=count))
        if percentile([one.waited for one in served], 0.95) <= aim.waited_seconds:
            return count
        count += max(1, count // 50)


def report(day: Day, users: int, fleet: Fleet, seed: int = 0) -> list[Row]:
    served = simulate(day.busiest_hour(users, seed), fleet)
    rows = [
        Row(
            f"{kind}: {len(values):,} in the hour",
            "",
            f"waits {percentile(values, 0.5):.1f} s median, {percentile(values, 0.95):.1f} s p95, {max(values):.1f} s most",
        )
        for kind, values in sorted(waits(served).items())
    ]
    busy = sum(one.ended - one.begun for one in served) / (fleet.workers * max(one.ended for one in served))
    return [*rows, Row(f"{fleet.workers:,} workers", "", f"busy {100 * busy:.0f} % of the hour")]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity", description="How long would people wait?"
    )
    parser.add_argument("--users", type=int, required=True, help="members who come on one day")
    parser.add_argument("--workers", type=int, help="without it: as many as are enough")
    parser.add_argument("--speed", type=float, default=1.0, help="how much faster than one core a worker is")
    parser.add_argument("--load-seconds", type=float, default=1.9, help="to open a generator")
    parser.add_argument("--resident", type=int, default=4, help="generators that a worker keeps open")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    day = Day(tuple(_faster(kind, given.speed) for kind in STARTERS.kinds))
    fleet = Fleet(1, given.resident, given.load_seconds)
    workers = given.workers or enough_workers(day, given.users, fleet, Aim(), given.seed)
    print(table(report(day, given.users, replace(fleet, workers=workers), given.seed)))
    return 0


def _faster(kind: Kind, speed: float) -> Kind:
    return replace(kind, seconds=kind.seconds / speed)


if __name__ == "__main__":
    sys.exit(main())
