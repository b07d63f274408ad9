"""Many open pages: how soon they hear what happened, and what they know after the web process was killed."""

from __future__ import annotations

import time

import pytest

from bench.report import percentile
from tests.chaos import ledger
from tests.chaos.bars import SIZE, TIMEOUT_SECONDS, bar
from tests.chaos.engine import seed_for
from tests.chaos.services import wait_until
from tests.chaos.site import Site
from tests.chaos.watchers import Watcher, Watchers

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)
PEOPLE = 10


def names() -> list[str]:
    return [f"watch-{number}" for number in range(PEOPLE)]


def knows_the_truth(page: Watcher, truth: dict[str, str], jobs: list[str]) -> bool:
    known = page.states()
    return all(known.get(job) == truth[job] for job in jobs)


def test_news_reach_all_open_pages_soon(site: Site) -> None:
    people = site.people(*names())
    with site.working("first", "second"), Watchers(people, SIZE.sockets) as pages:
        wait_until(
            lambda: pages.connected_since(0) == SIZE.sockets, 120, "all pages are connected", site.explain
        )
        _, jobs = site.order(names(), [(name, seed_for(SIZE.milliseconds)) for name in names() * 4])
        site.wait_for(jobs, 300)
        expected = 4 * SIZE.sockets
        heard = lambda: sum(len(page.delays) for page in pages.pages)  # noqa: E731
        wait_until(lambda: heard() == expected, 30, "every page has heard of every end", site.explain)
        delays = [delay for page in pages.pages for delay in page.delays]
    late = percentile(delays, 0.95)
    bar(
        f"{SIZE.sockets} sockets watching: event to browser",
        "p95 ≤ 250 ms",
        f"p95 {1000 * late:.0f} ms, median {1000 * percentile(delays, 0.5):.0f} ms, {expected} events, none lost",
        late <= 0.25,
    )


def test_pages_connect_again_after_the_web_process_was_killed_and_know_the_truth(site: Site) -> None:
    people = site.people(*names())
    with site.working("first"), Watchers(people, SIZE.sockets) as pages:
        wait_until(
            lambda: pages.connected_since(0) == SIZE.sockets, 120, "all pages are connected", site.explain
        )
        _, jobs = site.order(names(), [(name, seed_for(400)) for name in names() * 2])
        wait_until(lambda: site.unfinished(jobs) < len(jobs), 60, "the first is done", site.explain)
        site.web.kill()
        site.wait_for(jobs, 120)  # nobody is told
        site.start_web()
        back = time.time()
        wait_until(
            lambda: pages.connected_since(back - 1) == SIZE.sockets, 60, "all pages are back", site.explain
        )
        took = max(page.snapshot_at for page in pages.pages) - back
        truth = site.states(jobs)
        owners = dict(
            site.rows("SELECT id::text, user_id::text FROM transforms_job WHERE id = ANY(%s::uuid[])", jobs)
        )
        for page in pages.pages:
            mine = [job for job in jobs if owners[job] == page.member.pk]
            assert knows_the_truth(page, truth, mine)
    assert set(truth.values()) == {"succeeded"}
    ledger.check_moves(site, jobs)
    bar(
        f"SIGKILL of the web process while {SIZE.sockets} pages watch",
        "all connect again and know the truth within 3 s",
        f"the last after {max(took, 0):.1f} s",
        took <= 3,
    )
