"""The same code with PostgreSQL and Redis: a web process, a worker process, and what lies between them."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from channels.layers import get_channel_layer
from django.core.cache import cache

from bench.member import Member
from tests.server import ROOT, SiteServer, environment

pytestmark = [pytest.mark.redis, pytest.mark.timeout(300)]
START_SECONDS = 60


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A database of its own beside the one that TEST_DATABASE_URL names."""
    server = os.environ["TEST_DATABASE_URL"]
    name = f"pixellift_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def site(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteServer]:
    settings = {
        "DATABASE_URL": database,
        "REDIS_URL": os.environ["TEST_REDIS_URL"],
        "PREVIEW_LANE": "here",  # preview workers have tests of their own
    }
    with SiteServer(tmp_path_factory.mktemp("full"), **settings) as running:
        yield running


@pytest.fixture
def worker(site: SiteServer) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, as an operator starts it."""
    settings = {key: site.settings[key] for key in ("DATABASE_URL", "REDIS_URL")}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=ROOT,
        env=environment(site.data, **settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield process
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


def wait_until_ready(member: Member) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if member.get("/readyz").status == 200:
            return
        time.sleep(0.5)
    raise AssertionError(member.get("/readyz").text)


def test_a_worker_of_its_own_draws_and_the_page_hears_of_it(
    site: SiteServer, worker: subprocess.Popen[bytes]
) -> None:
    member = Member(site.url)
    wait_until_ready(member)
    generator = member.get("/api/v1/generators/").data[0]["name"]
    drawn = member.draw(generator, 2)
    assert [member.get(f"/files/images/{image}/original/").status for image in drawn] == [200, 200]


def test_work_waits_for_a_worker_and_is_done_when_one_comes(
    site: SiteServer, request: pytest.FixtureRequest
) -> None:
    member = Member(site.url)
    generator = member.get("/api/v1/generators/").data[0]["name"]
    job = member.ask_for("/gallery/generate/", {"generator": generator, "count": 1, "truncation_psi": 0.7})
    assert member.get(f"/api/v1/jobs/{job['id']}/").data["state"] == "queued"
    with member.socket("/ws/jobs/") as jobs:
        request.getfixturevalue("worker")
        assert member.watch(jobs, job["id"])["state"] == "succeeded"


async def test_a_message_goes_through_redis_to_every_member_of_a_group() -> None:
    layer = get_channel_layer()
    assert type(layer).__name__ == "RedisChannelLayer"
    first, second = await layer.new_channel(), await layer.new_channel()
    for channel in (first, second):
        await layer.group_add("watchers", channel)
    await layer.group_send("watchers", {"type": "job.changed", "number": 7})
    assert [(await layer.receive(channel))["number"] for channel in (first, second)] == [7, 7]
    await layer.flush()


def test_the_cache_lies_in_redis() -> None:
    cache.set("full-mode", {"kept": True}, timeout=30)
    assert cache.get("full-mode") == {"kept": True}
    assert type(cache).__module__ != "django.core.cache.backends.locmem"
    assert "redis" in str(getattr(cache, "_class", ""))


def test_pictures_lie_where_both_processes_find_them(site: SiteServer) -> None:
    assert [path for path in Path(site.data, "media").rglob("*.webp") if path.is_file()]
