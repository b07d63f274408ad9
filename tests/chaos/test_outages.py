"""Redis and PostgreSQL that go away and come back: nothing is lost, and nobody waits for an answer that does not come."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.chaos import ledger
from tests.chaos.bars import TIMEOUT_SECONDS, bar, sizes
from tests.chaos.engine import seed_for
from tests.chaos.services import Postgres, Redis, wait_until
from tests.chaos.site import Answer, Member, Site

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)
REFILLED_SECONDS = 15
ANSWERED_SECONDS = 15
"""No request takes longer, whatever is away: also on a machine that has other things to do."""


def asked(member: Member) -> dict[str, Answer]:
    """A page, the list of jobs, a request for work, and what a supervisor asks. Fails if one of them hangs or crashes."""
    answers = {
        "page": member.ask("GET", "/gallery/", patience=ANSWERED_SECONDS),
        "list": member.ask("GET", "/api/v1/jobs/", patience=ANSWERED_SECONDS),
        "work": member.draw(seed_for(20)),
        "ready": member.ask("GET", "/readyz", patience=ANSWERED_SECONDS),
    }
    probe = member.site.visitor.ask("GET", "/healthz", patience=ANSWERED_SECONDS)
    assert probe.status == 200, "the process lives: it is the services that are away"
    for name, answer in answers.items():
        assert answer.seconds < ANSWERED_SECONDS, (name, answer)
        assert answer.status < 500 or (answer.status == 503 and "." in answer.text), (
            name,
            answer.status,
            answer.text,
        )
    return answers


def told(answers: dict[str, Answer]) -> str:
    statuses = ", ".join(f"{name} {answer.status}" for name, answer in answers.items())
    return f"{statuses}; slowest {max(answer.seconds for answer in answers.values()):.1f} s"


def slowest(answers: dict[str, Answer]) -> float:
    return max(answer.seconds for answer in answers.values())


def accepted(answers: dict[str, Answer]) -> list[str]:
    """The jobs that were taken on all the same."""
    return [str(answer.data["id"]) for answer in answers.values() if answer.status == 202]


def taken_up(site: Site, jobs: list[str]) -> Callable[[], bool]:
    return lambda: set(site.states(jobs).values()) <= {"running", *ledger.OVER}


@pytest.fixture
def member(site: Site) -> Member:
    return site.people("outage")[0]


@pytest.fixture
def redis_again(redis_server: Redis, site: Site) -> None:
    if not redis_server.answers():
        redis_server.start()


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_redis_away(site: Site, member: Member, redis_server: Redis, how: str) -> None:
    with site.working("first", "second"):
        _, jobs = site.order(["outage"], [("outage", seed_for(200))] * 10)
        wait_until(lambda: site.unfinished(jobs) < 10, 60, "the first is done", site.explain)
        try:
            redis_server.stop(signal.SIGKILL) if how == "stopped" else redis_server.freeze()
            answers = asked(member)
            assert answers["ready"].status == 503
            # What is in the database gets done without Redis.
            site.wait_for(jobs, 120)
            _, late = site.order(["outage"], [("outage", seed_for(20))] * 5)
        finally:
            redis_server.start() if how == "stopped" else redis_server.thaw()
        late += accepted(answers)
        took = wait_until(taken_up(site, late), 120, "what was asked for meanwhile is taken up", site.explain)
        site.wait_for(late, 60)
        again = asked(member)
        assert again["work"].status == 202, again["work"].text
        site.wait_for(accepted(again), 60)
    ledger.check_moves(site, [*jobs, *late])
    ledger.check_pictures(site, [*jobs, *late])
    assert set(site.states([*jobs, *late]).values()) == {"succeeded"}
    bar(
        f"Redis {how}: requests meanwhile",
        "a clear answer, never hang (≤ 5 s)",
        told(answers),
        slowest(answers) <= 5,
    )
    bar(
        f"Redis {how} and back: no job lost, the queue refilled",
        f"≤ {REFILLED_SECONDS} s",
        f"{took:.1f} s",
        took <= 15,
    )


def test_redis_forgets_everything(site: Site, redis_server: Redis) -> None:
    """FLUSHALL while jobs run and wait, and once more when all workers have gone to sleep."""
    with site.working("first", "second"):
        _, jobs = site.order(["outage"], [("outage", seed_for(200))] * 10)
        with redis_server.client() as client:
            client.flushall()
        site.wait_for(jobs, 120)
        # Rows without a doorbell: as if every message had been lost.
        with redis_server.client() as client:
            _, late = site.order(["outage"], [("outage", seed_for(20))] * 5)
            client.flushall()
        begun = time.monotonic()
        wait_until(taken_up(site, late), 120, "jobs without a message are taken up", site.explain)
        took = time.monotonic() - begun
        site.wait_for(late, 60)
    ledger.check_moves(site, [*jobs, *late])
    ledger.check_pictures(site, [*jobs, *late])
    bar(
        "Redis FLUSHALL: no job lost, the queue refilled",
        f"≤ {REFILLED_SECONDS} s",
        f"{took:.1f} s",
        took <= 15,
    )


@pytest.mark.parametrize("mode", sizes(["immediate"], ["fast"]))
def test_postgresql_restarted(site: Site, member: Member, postgres: Postgres, mode: str) -> None:
    with site.working("first", "second"):
        _, jobs = site.order(["outage"], [("outage", seed_for(700))] * 8)
        wait_until(lambda: site.unfinished(jobs) < 8, 60, "the first is done", site.explain)
        try:
            postgres.stop(mode)
            answers = asked(member)
            assert answers["ready"].status == 503
        finally:
            postgres.start()
        begun = time.monotonic()
        again = wait_until(lambda: member.draw(seed_for(20)).status == 202, 60, "work is taken on again")
        _, late = site.order(["outage"], [("outage", seed_for(20))])
        wait_until(taken_up(site, jobs), 120, "all jobs are taken up again", site.explain)
        took = time.monotonic() - begun
        site.wait_for([*jobs, *late], 120)
    ledger.check_moves(site, jobs)
    ledger.check_pictures(site, jobs)
    assert set(site.states(jobs).values()) == {"succeeded"}, site.explain()
    what = "restarted" if mode == "fast" else "crashed and recovered"
    bar(
        f"PostgreSQL {what}: requests meanwhile",
        "a clear answer, never hang (≤ 5 s)",
        told(answers),
        slowest(answers) <= 5,
    )
    bar(
        f"PostgreSQL {what}: no job lost, the queue goes on",
        f"≤ {REFILLED_SECONDS} s",
        f"{took:.1f} s; requests succeed again after {again:.1f} s",
        took <= REFILLED_SECONDS,
    )
