"""The embedded worker, its broker and its channel layer, as they run inside the web process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import dramatiq
import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from accounts.models import User
from gallery.models import Image
from tests.transforms.conftest import GENERATOR
from transforms import actors, presence, runtime, services, sweeper
from transforms.broker import (
    DEAD_LETTERS_KEPT,
    LOOK_AT_LEAST_EVERY_MS,
    EmbeddedBroker,
    SharedBroker,
    stopping,
)
from transforms.layers import EmbeddedChannelLayer
from transforms.models import Job, State


@pytest.fixture
def embedded_worker(settings: Settings, transactional_db: None) -> Iterator[dramatiq.Worker]:
    settings.EMBEDDED_WORKER_THREADS = 1
    settings.ENGINE_JOB_NICE = 0
    broker = dramatiq.get_broker()
    before = list(broker.middleware)
    broker.flush_all()
    worker = runtime.start()
    assert worker is not None
    yield worker
    worker.stop(10_000)
    stopping.clear()
    broker.middleware = before


def wait_for(job: Job, state: State, seconds: float = 20) -> Job:
    ends = time.monotonic() + seconds
    while (job := Job.objects.get(pk=job.pk)).state != state and time.monotonic() < ends:
        time.sleep(0.02)
    assert job.state == state
    return job


def test_a_wish_wakes_the_embedded_worker(embedded_worker: dramatiq.Worker, alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR, count=2)
    wait_for(job, State.SUCCEEDED)
    assert all(image.is_ready for image in Image.objects.all())


def test_what_waited_before_the_start_is_run(alice: User, settings: Settings, transactional_db: None) -> None:
    job = services.request_random(alice, generator=GENERATOR)
    dramatiq.get_broker().flush_all()
    settings.EMBEDDED_WORKER_THREADS = 1
    settings.ENGINE_JOB_NICE = 0
    broker = dramatiq.get_broker()
    before = list(broker.middleware)
    worker = runtime.start()
    assert worker is not None
    try:
        wait_for(job, State.SUCCEEDED)
    finally:
        worker.stop(10_000)
        stopping.clear()
        broker.middleware = before


@pytest.mark.django_db
def test_the_sweeper_rings_for_what_was_forgotten(alice: User) -> None:
    services.request_random(alice, generator=GENERATOR)
    broker = dramatiq.get_broker()
    broker.flush_all()
    assert sweeper.sweep() == 1
    assert broker.queues[actors.work.queue_name].qsize() == 1
    broker.flush_all()


def test_the_sweeper_sweeps_where_the_cache_is_away(
    alice: User, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    def away(*args: object) -> None:
        raise ConnectionError("the cache does not answer")

    monkeypatch.setattr(presence.SignOfLife, "beat", away)
    services.request_random(alice, generator=GENERATOR)
    queue = dramatiq.get_broker().queues[actors.work.queue_name]  # type: ignore[attr-defined]  # of the embedded broker
    dramatiq.get_broker().flush_all()
    sweeper.start()
    try:
        ends = time.monotonic() + 10
        while not queue.qsize() and time.monotonic() < ends:
            time.sleep(0.02)
        assert queue.qsize() == 1
    finally:
        sweeper.stop()
        dramatiq.get_broker().flush_all()


def test_without_threads_no_worker_is_started() -> None:
    assert django_settings.EMBEDDED_WORKER_THREADS == 0
    assert runtime.start() is None


def test_the_broker_keeps_only_the_last_dead_letters() -> None:
    broker = EmbeddedBroker(middleware=[])
    for number in range(3 * DEAD_LETTERS_KEPT):
        broker.dead_letters_by_queue["jobs"].append(number)  # type: ignore[arg-type]  # anything will do
    assert len(broker.dead_letters_by_queue["jobs"]) == DEAD_LETTERS_KEPT


async def test_a_message_from_another_thread_arrives_at_once() -> None:
    layer = EmbeddedChannelLayer()
    await layer.group_add("user-1", "socket!1")
    listening = asyncio.create_task(layer.receive("socket!1"))
    await asyncio.sleep(0.05)
    started = time.perf_counter()
    sender = threading.Thread(target=lambda: asyncio.run(layer.group_send("user-1", {"type": "hello"})))
    sender.start()
    assert await asyncio.wait_for(listening, 5) == {"type": "hello"}
    assert time.perf_counter() - started < 0.9, "the plain layer notices up to a second late"
    await asyncio.to_thread(sender.join)


async def test_a_full_socket_does_not_hold_the_others_up() -> None:
    layer = EmbeddedChannelLayer(capacity=1)
    for name in ("a!1", "b!1"):
        await layer.group_add("user-1", name)
    await layer.send("a!1", {"type": "full"})
    await layer.group_send("user-1", {"type": "hello"})
    assert await asyncio.wait_for(layer.receive("b!1"), 5) == {"type": "hello"}


def test_pages_and_listings_do_not_load_torch() -> None:
    code = (
        "import django, sys; django.setup(); import pixellift.urls, transforms.runtime, transforms.routing;"
        "from transforms.engine import engine; engine().generators(); engine().upscalers();"
        "sys.exit('torch' in sys.modules)"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "pixellift.settings", "DATA_DIR": str(django_settings.DATA_DIR)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_idle_workers_look_for_work_many_times_a_second() -> None:
    broker = SharedBroker(url="redis://localhost:1")  # nothing is asked of it
    assert vars(broker.consume("jobs", timeout=5000))["timeout"] == LOOK_AT_LEAST_EVERY_MS
