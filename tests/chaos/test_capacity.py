"""The simulation that plans are made with, held against real workers under the same load."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from itertools import pairwise

import pytest

from bench.capacity import Fleet, Wish, simulate
from bench.report import percentile
from tests.chaos import ledger
from tests.chaos.bars import FULL, TIMEOUT_SECONDS, bar
from tests.chaos.engine import seed_for
from tests.chaos.site import Site
from tests.chaos.test_load import run

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)
JOBS = 400 if FULL else 60
MEMBERS = 12
WORKERS = 2
BUSY = 0.75
"""Of the workers' time: enough that jobs wait for each other."""

KINDS = ((0.6, 150), (0.3, 300), (0.1, 1500))
"""How often, and how many milliseconds: most work is short, and some is ten times as long."""


def wishes(chance: random.Random, overhead_seconds: float) -> list[Wish]:
    """Arrivals at random, as many as keep the workers so busy."""
    mean = sum(share * milliseconds / 1000 for share, milliseconds in KINDS) + overhead_seconds
    made, at = list[Wish](), 0.0
    for _ in range(JOBS):
        at += chance.expovariate(BUSY * WORKERS / mean)
        (kind,) = chance.choices(KINDS, [share for share, _ in KINDS])
        made.append(Wish(at, chance.randrange(MEMBERS), "job", kind[1] / 1000))
    return made


def between_jobs(rows: list[tuple[float, float, float, str]]) -> float:
    """Seconds from the end of a job to the beginning of the worker's next, where one was waiting. Rows: created, started,
    finished, worker."""
    gaps = []
    for name in {worker for _, _, _, worker in rows}:
        mine = sorted((row for row in rows if row[3] == name), key=lambda row: row[1])
        gaps += [later[1] - earlier[2] for earlier, later in pairwise(mine) if later[0] < earlier[2]]
    return statistics.fmean(gaps) if gaps else 0.0


def test_waiting_times_are_as_the_simulation_says(make_site: Callable[..., Site]) -> None:
    """The simulation is told when jobs came and how long each took, and must find out how long they waited."""
    # One job at a time, as the simulation does.
    site = make_site("capacity", ENGINE_BATCH_PIXELS="1", WORKER_THREADS="1")
    names = [f"member-{number}" for number in range(MEMBERS)]
    calm = run(site, ["first", "second"], [(name, seed_for(100)) for name in names] * 3)
    overhead = calm.seconds_per_job - 0.1
    planned = wishes(random.Random(3), overhead)
    with site.working("first", "second"):
        _, jobs = site.order(
            names, [(names[wish.member], seed_for(round(1000 * wish.seconds)), wish.at) for wish in planned]
        )
        site.wait_for(jobs, 120)
    ledger.check_moves(site, jobs)
    asked = """
        SELECT extract(epoch FROM created_at)::float, extract(epoch FROM started_at)::float,
               extract(epoch FROM finished_at)::float, worker
        FROM transforms_job WHERE id = ANY(%s::uuid[]) ORDER BY array_position(%s::uuid[], id)
    """
    rows = site.rows(asked, jobs, jobs)
    begun = rows[0][0]
    arrived = [
        Wish(created - begun, wish.member, wish.kind, finished - started)
        for wish, (created, started, finished, _) in zip(planned, rows, strict=True)
    ]
    measured = [started - created for created, started, _, _ in rows]
    served = simulate(arrived, Fleet(WORKERS, overhead_seconds=between_jobs(rows)))
    predicted = [one.waited for one in served]
    mean, said = statistics.fmean(measured), statistics.fmean(predicted)
    assert len(predicted) == len(measured) == JOBS
    bar(
        f"capacity model: waiting time of {JOBS} jobs, {WORKERS} workers {100 * BUSY:.0f} % busy",
        "mean within a quarter (or 50 ms) of what the simulation says",
        f"{1000 * mean:.0f} ms, predicted {1000 * said:.0f} ms; "
        f"p95 {1000 * percentile(measured, 0.95):.0f} ms, predicted {1000 * percentile(predicted, 0.95):.0f} ms",
        abs(mean - said) <= max(0.25 * said, 0.05),
    )
