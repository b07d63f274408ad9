"""What jobs, previews and sockets leave in the counters of their process."""

from __future__ import annotations

import asyncio

import pytest
from channels.testing import WebsocketCommunicator

from accounts.models import User
from pixellift.asgi import application
from tests.transforms.conftest import GENERATOR, Run
from transforms import metrics, services
from transforms.drawing import Editor
from transforms.engine import SeedSource, engine
from transforms.models import State
from transforms.painters import Order, Painters
from transforms.previews import Drawing, Kind, PreviewLane, Wish
from transforms.recipes import Recipe
from transforms.recipes import SeedSource as SeedOfRecipe


def shown(name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.mark.django_db
def test_a_job_is_measured(alice: User, run: Run) -> None:
    before = [shown(f"pixellift_job_{what}_seconds_count", operation="random") for what in ("wait", "run")]
    job = run(services.request_random(alice, generator=GENERATOR))
    assert job.state == State.SUCCEEDED
    after = [shown(f"pixellift_job_{what}_seconds_count", operation="random") for what in ("wait", "run")]
    assert after == [count + 1 for count in before]


@pytest.mark.django_db
def test_only_the_first_attempt_waited_for_a_worker(alice: User, run: Run) -> None:
    job = services.request_random(alice, generator=GENERATOR)
    job.attempt = 1
    job.save()
    before = shown("pixellift_job_wait_seconds_count", operation="random")
    run(job)
    assert shown("pixellift_job_wait_seconds_count", operation="random") == before


@pytest.mark.django_db(transaction=True)
def test_a_done_job_is_counted_as_succeeded(alice: User, run: Run) -> None:
    before = shown("pixellift_jobs_ended_total", operation="random", state="succeeded")
    run(services.request_random(alice, generator=GENERATOR))
    assert shown("pixellift_jobs_ended_total", operation="random", state="succeeded") == before + 1


async def test_drawn_and_dropped_previews_are_counted() -> None:
    drawn, dropped = "pixellift_preview_frame_seconds_count", "pixellift_preview_dropped_total"
    before = shown(drawn, kind="frame"), shown(dropped, kind="frame")
    started, go_on, arrived = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def draw(drawing: Drawing) -> bytes:
        started.set()
        await go_on.wait()
        return b"picture"

    async def send(message: bytes | dict[str, object]) -> None:
        if message[1:5] == (3).to_bytes(4):
            arrived.set()

    lane = PreviewLane(send, draw)
    lane.offer(Wish(Kind.FRAME, 1, ((0, Drawing()),)))
    await asyncio.wait_for(started.wait(), 30)
    for seq in (2, 3):
        lane.offer(Wish(Kind.FRAME, seq, ((0, Drawing()),)))
    go_on.set()
    await asyncio.wait_for(arrived.wait(), 30)
    assert (shown(drawn, kind="frame"), shown(dropped, kind="frame")) == (before[0] + 2, before[1] + 1)


def test_pictures_of_a_pass_are_counted() -> None:
    name = "pixellift_preview_pass_pictures"
    before = shown(f"{name}_count"), shown(f"{name}_sum")
    sha256 = engine().generator(GENERATOR).sha256
    editor = Editor.of(SeedSource(sha256, 1), Recipe(GENERATOR, sha256, SeedOfRecipe(1)), "viewer")
    order = Order.of(editor, Drawing())
    Painters().put(order)
    order.answer.result(30)
    assert (shown(f"{name}_count"), shown(f"{name}_sum")) == (before[0] + 1, before[1] + 1)


@pytest.mark.django_db(transaction=True)
async def test_open_sockets_are_counted() -> None:
    before = shown("pixellift_sockets_open", socket="jobs")
    headers = [(b"origin", b"http://localhost"), (b"host", b"localhost")]
    socket = WebsocketCommunicator(application, "/ws/jobs/", headers=headers)
    await socket.connect()
    assert shown("pixellift_sockets_open", socket="jobs") == before + 1
    await socket.disconnect()
    assert shown("pixellift_sockets_open", socket="jobs") == before


def test_a_machine_without_a_gpu_shows_none() -> None:
    assert [family.samples for family in metrics.GpuMemory().collect()] == [[]]
