"""Processes that are replaced while jobs run: no job fails, and none is tried once more because of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.chaos import ledger
from tests.chaos.bars import TIMEOUT_SECONDS, bar
from tests.chaos.conftest import MakeSite
from tests.chaos.engine import seed_for
from tests.chaos.services import wait_until
from tests.chaos.site import START_SECONDS, Answer, Process, Site

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)
GONE_SECONDS = 20
REPLACED = "Every process has been replaced."
BATCH_PICTURES = 10
LONGER_THAN_PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def empty_site(make_site: MakeSite) -> Site:
    """A site of which nothing runs."""
    return make_site("rolling")


@pytest.fixture
def full(empty_site: Site) -> Iterator[Process]:
    """`manage.py full`, as an operator starts it on one machine."""
    parts = ("--web", "1", "--workers", "2", "--previewers", "0")
    process = Process(("full", *parts), empty_site.env, empty_site.folder / "full.log")
    process.start()
    wait_until(lambda: "SIGHUP" in process.log, START_SECONDS, "all parts are there", lambda: process.log)
    yield process
    process.stop()


def test_sighup_replaces_all_processes_while_jobs_run_and_no_job_notices(
    empty_site: Site, full: Process
) -> None:
    """Short jobs are finished. Long ones are put back between two pictures, and go on where they were."""
    site = empty_site
    (member,) = site.people("roller")
    jobs, batches = list[str](), list[str]()
    full.signal(signal.SIGHUP)
    begun = time.monotonic()
    while REPLACED not in full.log:
        assert time.monotonic() - begun < START_SECONDS, full.log
        if site.unfinished(batches) < 2:
            batches.append(asked(member.draw(seed_for(1000), BATCH_PICTURES)))
        if site.unfinished(jobs) < 2:
            jobs.append(asked(member.draw(seed_for(700))))
        time.sleep(0.1)
    took = time.monotonic() - begun
    site.wait_for([*jobs, *batches], 120)
    ledger.check_moves(site, [*jobs, *batches])
    ledger.check_pictures(site, jobs)
    assert ledger.orphans(site) == set()
    told = site.rows(
        "SELECT state, attempt, kills, jsonb_array_length(result->'ready') FROM transforms_job "
        "WHERE id = ANY(%s::uuid[])",
        [*jobs, *batches],
    )
    assert set(told) <= {("succeeded", 1, 0, 1), ("succeeded", 1, 0, BATCH_PICTURES)}, full.log
    assert "is killed" not in full.log
    workers = {
        worker for moves in ledger.histories(site, [*jobs, *batches]).values() for _, _, worker, _ in moves
    }
    assert len(workers - {""}) >= 3, "old and new ones have worked"
    bar(
        "SIGHUP: all processes replaced while jobs run",
        "no job fails, none is tried once more",
        f"{len(jobs)} jobs and {len(batches)} batches done at the first try; replaced in {took:.0f} s",
        True,
    )


def asked(answer: Answer) -> str:
    """The id of the job. The server that is replaced refuses nobody."""
    assert answer.status == 202, answer.text
    return str(answer.data["id"])


def test_sigterm_gives_back_a_job_that_cannot_stop_in_time(empty_site: Site) -> None:
    site = empty_site
    worker = Process(("worker",), site.env, site.folder / "worker.log")
    worker.start()
    try:
        _, [job] = site.order(["roller"], [("roller", seed_for(LONGER_THAN_PATIENCE_MS))])
        wait_until(lambda: site.states([job])[job] == "running", START_SECONDS, "it runs", lambda: worker.log)
        worker.signal(signal.SIGTERM)
        begun = time.monotonic()
        worker.wait_for_end()
        took = time.monotonic() - begun
    finally:
        worker.kill()
    asked = "SELECT state, attempt, kills, worker FROM transforms_job WHERE id = %s"
    assert site.rows(asked, job) == [("queued", 0, 0, "")], worker.log
    bar(
        "SIGTERM to a worker within a step that takes longer",
        f"given back, and gone ≤ {GONE_SECONDS} s",
        f"gone after {took:.1f} s",
        took <= GONE_SECONDS,
    )
    site.change("DELETE FROM transforms_job WHERE id = %s", job)
