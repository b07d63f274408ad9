"""Processes that die without a word, and what the others make of it."""

from __future__ import annotations

import os
import random
import signal
import time
from datetime import datetime

import pytest

from tests.chaos import ledger
from tests.chaos.bars import SIZE, TIMEOUT_SECONDS, bar, sizes
from tests.chaos.engine import KILLED, OUT_OF_MEMORY, TOO_LARGE, seed_for
from tests.chaos.services import wait_until
from tests.chaos.site import Answer, Process, Site, Worker

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)
TAKEN_OVER_SECONDS = 15


def running(site: Site) -> list[tuple[str, str]]:
    return site.rows("SELECT id::text, worker FROM transforms_job WHERE state = 'running'")


def now_of(site: Site) -> datetime:
    (moment,) = site.rows("SELECT clock_timestamp()")[0]
    assert isinstance(moment, datetime)
    return moment


def test_workers_that_are_killed_at_random_lose_no_job_and_do_none_twice(site: Site) -> None:
    """Each time another worker takes over, on the same machine; a supervisor starts the dead one again."""
    chance = random.Random(5)
    people = site.people(*(f"kill-{number}" for number in range(3)))
    jobs: list[str] = []
    killed: list[tuple[str, datetime]] = []
    with site.working("first", "second"):
        for number in range(SIZE.kills):
            while site.unfinished(jobs) < len(people):
                jobs += [_asked(member.draw(seed_for(chance.randint(500, 2500)))) for member in people]
            victim, hit = _kill_one(site, chance, whole_group=number % 2 == 0)
            killed += hit
            victim.wait_for_end()
            site.worker(victim.name).wait()
        site.wait_for(jobs, 180)
    ledger.check_moves(site, jobs)
    ledger.check_pictures(site, jobs)
    assert ledger.orphans(site) == set()
    states = list(site.states(jobs).values())
    assert set(states) <= {"succeeded", "failed"}
    slowest = max(_taken_over_after(site, job, moment) for job, moment in killed)
    bar(
        f"SIGKILL of a worker mid-job, {SIZE.kills} times",
        "one end and one result each, nothing orphaned",
        f"{len(jobs)} jobs: {states.count('succeeded')} done, {states.count('failed')} given up after three kills",
        True,
    )
    bar(
        "… taken over by another worker of the machine",
        f"≤ {TAKEN_OVER_SECONDS} s",
        f"slowest of {len(killed)}: {slowest:.1f} s",
        slowest <= TAKEN_OVER_SECONDS,
    )


def _asked(answer: Answer) -> str:
    assert answer.status == 202, answer.text
    return str(answer.data["id"])


def _kill_one(
    site: Site, chance: random.Random, *, whole_group: bool
) -> tuple[Worker, list[tuple[str, datetime]]]:
    """Kill a worker that runs a job, at a random moment: as the system does that has no memory left, or with its master."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        wait_until(lambda: running(site), 120, "a job runs", site.explain)
        time.sleep(chance.uniform(0, 0.5))
        busy = [(job, worker) for job, name in running(site) if (worker := site.worker_of(name))]
        if busy:
            victim = chance.choice(busy)[1]
            before = now_of(site)
            if whole_group:
                victim.kill()
            else:
                for child in victim.children:
                    _kill(child)
            # What it held when it died: rows do not change any more.
            return victim, [(job, before) for job, worker in busy if worker is victim and _is_left(site, job)]
    raise AssertionError("No worker was caught at work.")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _is_left(site: Site, job: str) -> bool:
    return site.states([job])[job] == "running"


def _taken_over_after(site: Site, job: str, moment: datetime) -> float:
    """Seconds until it was claimed again (or, after its last attempt, failed)."""
    later = [
        at
        for _, after, _, at in ledger.histories(site, [job])[job]
        if at > moment and after in {"running", "failed", "succeeded"}
    ]
    return (later[0] - moment).total_seconds()


@pytest.mark.parametrize(
    ("ending", "how"),
    sizes([(OUT_OF_MEMORY, "MemoryError"), (KILLED, "the system kills it")], [(TOO_LARGE, "RLIMIT_AS")]),
)
def test_a_job_that_needs_more_memory_than_there_is_fails_with_a_sentence_and_the_next_runs(
    site: Site, ending: int, how: str
) -> None:
    with site.working("first", "second"):
        _, [bad, *good] = site.order(
            ["hungry"], [("hungry", seed_for(50, ending)), *[("hungry", seed_for(50))] * 3]
        )
        until = time.monotonic() + 120
        while site.unfinished([bad, *good]) and time.monotonic() < until:
            for name in ("first", "second"):
                site.worker(name)  # as a supervisor does
            time.sleep(0.2)
    states = site.states([bad, *good])
    assert states == {bad: "failed", **dict.fromkeys(good, "succeeded")}, site.explain()
    ledger.check_moves(site, [bad, *good])
    ((error,),) = site.rows("SELECT error FROM transforms_job WHERE id = %s", bad)
    assert error.endswith(".")
    bar(f"a worker out of memory ({how})", "that job fails with a sentence, the next run", error, True)


def _runner_of(site: Site, job: str) -> Worker:
    wait_until(lambda: site.states([job])[job] == "running", 60, "the job runs", site.explain)
    ((name,),) = site.rows("SELECT worker FROM transforms_job WHERE id = %s", job)
    worker = site.worker_of(name)
    assert worker is not None, name
    return worker


def test_a_worker_that_was_frozen_for_longer_than_its_lease_may_write_nothing(site: Site) -> None:
    with site.working("first", "second"):
        _, [job] = site.order(["patient"], [("patient", seed_for(4000))])
        frozen = _runner_of(site, job)
        began = now_of(site)
        frozen.signal(signal.SIGSTOP)
        try:
            site.wait_for([job], 120)
        finally:
            frozen.signal(signal.SIGCONT)
        before = site.rows("SELECT * FROM transforms_job WHERE id = %s", job)
        files = {path: path.stat().st_mtime_ns for path in site.media.rglob("*") if path.is_file()}
        wait_until(lambda: "job_lost" in frozen.log, 60, "the woken worker notices", site.explain)
        # It lives, and does what comes next.
        (other,) = set(site.workers) - {frozen.name}
        site.workers.pop(other).stop()
        _, [after] = site.order(["patient"], [("patient", seed_for(10))])
        site.wait_for([after], 60)
    assert site.rows("SELECT * FROM transforms_job WHERE id = %s", job) == before
    assert files.items() <= {p: p.stat().st_mtime_ns for p in site.media.rglob("*") if p.is_file()}.items()
    ledger.check_moves(site, [job])
    ledger.check_pictures(site, [job])
    took = _taken_over_after(site, job, began)
    bar("a worker frozen (SIGSTOP) and woken after its lease", "its late result is refused", "refused", True)
    bar(
        "… taken over by another machine's worker: its lease must run out",
        f"≤ {TAKEN_OVER_SECONDS} s",
        f"{took:.1f} s",
        took <= TAKEN_OVER_SECONDS,
    )


IDLE_SECONDS = 3
STOP_INSIDE_A_TRANSACTION = """
import os, signal
from django.db import transaction
from transforms.models import Job
with transaction.atomic():
    Job.objects.select_for_update().get(pk="{job}")
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_process_that_was_frozen_inside_a_transaction_keeps_its_locks_for_a_while_only(site: Site) -> None:
    """Nobody waits for a locked job: without an end to the lock it would wait for ever."""
    with site.working():
        _, [job] = site.order(["patient"], [("patient", seed_for(50))])
    limit = f"?options=-c%20idle_in_transaction_session_timeout%3D{IDLE_SECONDS}s"
    frozen = Process(
        ("shell", "-v", "0", "-c", STOP_INSIDE_A_TRANSACTION.format(job=job)),
        {**site.env, "DATABASE_URL": site.database_url + limit},
        site.folder / "frozen.log",
    )
    frozen.start()
    try:
        wait_until(lambda: frozen.is_frozen, 60, "the process stands still", lambda: frozen.log)
        began = now_of(site)
        assert is_locked(site, job)
        with site.working("first"):
            site.wait_for([job], 60)
    finally:
        frozen.kill()
    ledger.check_moves(site, [job])
    ledger.check_pictures(site, [job])
    assert site.states([job]) == {job: "succeeded"}
    took = _taken_over_after(site, job, began)
    bar(
        f"a process frozen inside a transaction that holds a job, with a limit of {IDLE_SECONDS} s (30 s by default)",
        f"a worker has it ≤ {IDLE_SECONDS + TAKEN_OVER_SECONDS} s after",
        f"{took:.1f} s",
        took <= IDLE_SECONDS + TAKEN_OVER_SECONDS,
    )


def is_locked(site: Site, job: str) -> bool:
    return not site.rows("SELECT 1 FROM transforms_job WHERE id = %s FOR UPDATE SKIP LOCKED", job)
