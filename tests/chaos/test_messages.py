"""Messages of the broker: a doorbell may ring as often, as late and as strangely as it likes."""

from __future__ import annotations

import time
from dataclasses import replace

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from tests.chaos import ledger
from tests.chaos.bars import TIMEOUT_SECONDS, bar
from tests.chaos.engine import seed_for
from tests.chaos.services import Redis
from tests.chaos.site import Site

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)
YEAR_MS = 365 * 24 * 3600 * 1000


def message(**changes: object) -> dramatiq.Message[None]:
    """What `transforms.actors.ring` sends."""
    plain: dramatiq.Message[None] = dramatiq.Message("jobs", "work", (), {}, {})
    return replace(plain, **changes)


def test_messages_twice_out_of_order_a_year_late_and_unreadable_have_no_second_effect(
    site: Site, redis_server: Redis
) -> None:
    url = site.env["REDIS_URL"]
    broker = RedisBroker(url=url)
    broker.declare_queue("jobs")
    now = int(time.time() * 1000)
    with site.working("first", "second"):
        _, jobs = site.order(["bell"], [("bell", seed_for(150))] * 12)
        same = message()
        for _ in range(10):
            broker.enqueue(same)
        for age in (YEAR_MS, 3, 0, YEAR_MS // 2, -1000):
            broker.enqueue(message(message_timestamp=now - age))
        broker.enqueue(message(actor_name="of-another-version"))
        broker.enqueue(message(args=("more", "than", "it", "takes")))
        site.wait_for(jobs, 120)
        for _ in range(10):  # after everything is over
            broker.enqueue(same)
        _, more = site.order(["bell"], [("bell", seed_for(20))] * 3)
        site.wait_for(more, 60)
    broker.close()
    ledger.check_moves(site, [*jobs, *more])
    ledger.check_pictures(site, [*jobs, *more])
    counted = site.rows(
        "SELECT state, attempt, count(*) FROM transforms_job WHERE id = ANY(%s::uuid[]) GROUP BY 1, 2",
        [*jobs, *more],
    )
    assert counted == [("succeeded", 1, 15)]
    bar(
        "a message twice, out of order, a year late, unreadable",
        "no second effect",
        "15 jobs, 15 attempts",
        True,
    )
