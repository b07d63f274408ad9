"""The sockets: who may listen, what is heard, and what nonsense does."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from PIL import Image as Pillow

from accounts.models import User
from gallery.models import Image
from gallery.png import read_recipe
from pixellift.asgi import application
from tests.transforms.conftest import GENERATOR
from transforms import consumers, estimates, previews, services, worker
from transforms.context import JobContext
from transforms.engine import engine
from transforms.models import Job

pytestmark = pytest.mark.django_db(transaction=True)
ORIGIN = b"http://localhost"
WAIT_SECONDS = 10
Listen = Callable[..., Any]


@asynccontextmanager
async def listening(path: str, user: User | None, origin: bytes = ORIGIN) -> AsyncIterator[Any]:
    headers = [(b"origin", origin), (b"host", b"localhost")]
    if user is not None:
        client = Client()
        await sync_to_async(client.force_login)(user, backend="accounts.backends.NameOrEmailBackend")
        headers.append((b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode()))
    socket = WebsocketCommunicator(application, path, headers=headers)
    socket.accepted, _ = await socket.connect(timeout=WAIT_SECONDS)
    try:
        yield socket
    finally:
        await socket.disconnect()


async def hear(socket: Any) -> Any:
    return await socket.receive_json_from(timeout=WAIT_SECONDS)


async def closed_with(socket: Any) -> int:
    message = await socket.receive_output(timeout=WAIT_SECONDS)
    assert message["type"] == "websocket.close"
    code: int = message["code"]
    return code


request_random = sync_to_async(services.request_random)
run_one = sync_to_async(worker.run_one)


# --- Jobs ---------------------------------------------------------------------------------------------------


async def test_a_socket_begins_with_a_snapshot(alice: User, ben: User) -> None:
    job = await request_random(alice, generator=GENERATOR)
    await request_random(ben, generator=GENERATOR)
    async with listening("/ws/jobs/", alice) as socket:
        snapshot = await hear(socket)
    assert snapshot["type"] == "snapshot"
    assert [row["id"] for row in snapshot["jobs"]] == [str(job.pk)]
    assert snapshot["jobs"][0]["position"] in (1, 2)


async def test_a_job_is_heard_from_its_start_to_its_end_in_order(alice: User) -> None:
    async with listening("/ws/jobs/", alice) as socket:
        await hear(socket)
        job = await request_random(alice, generator=GENERATOR, count=2)
        await run_one(job.pk)
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1]["state"] != "succeeded":
            message = await hear(socket)
            assert message["type"] == "job"
            heard.append(message["job"])
    assert [row["sequence"] for row in heard] == sorted(row["sequence"] for row in heard)
    assert {row["state"] for row in heard} == {"queued", "running", "succeeded"}
    ready = [len(row["ready"]) for row in heard]
    assert ready == sorted(ready)
    assert ready[-1] == 2


async def test_progress_is_told_at_most_five_times_a_second_and_the_last_of_it_always(alice: User) -> None:
    job = await request_random(alice, generator=GENERATOR)
    token = uuid.uuid4()
    assert await sync_to_async(Job.objects.claim)(job.pk, token)
    context = JobContext(job.pk, token)
    async with listening("/ws/jobs/", alice) as socket:
        await hear(socket)
        began = time.monotonic()
        for number in range(1, 31):
            await sync_to_async(context.update)(stage=f"Step {number}")
        heard = [await hear(socket)]
        while heard[-1]["job"]["stage"] != "Step 30":
            heard.append(await hear(socket))
        took = time.monotonic() - began
    assert len(heard) <= 2 + took / 0.2
    sequences = [message["job"]["sequence"] for message in heard]
    assert sequences == sorted(set(sequences))


async def test_who_waits_hears_how_the_line_moves(
    alice: User, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.consumers.OUTLOOK_EVERY_SECONDS", 0.05)
    first = await request_random(ben, generator=GENERATOR)
    mine = await request_random(alice, generator=GENERATOR)
    estimates.forget()
    async with listening("/ws/jobs/", alice) as socket:
        assert (await hear(socket))["jobs"][0]["outlook"] == "2nd in line"
        told = await hear(socket)
        assert (told["type"], told["jobs"][0]["position"]) == ("outlook", 2)
        await run_one(first.pk)
        estimates.forget()
        while told["jobs"][0]["position"] != 1:
            told = await hear(socket)
        assert told["jobs"][0]["id"] == str(mine.pk)
        assert told["jobs"][0]["outlook"] == "Next in line"


async def test_an_end_of_which_the_news_was_lost_is_told_all_the_same(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.consumers.OUTLOOK_EVERY_SECONDS", 0.05)
    job = await request_random(alice, generator=GENERATOR)
    async with listening("/ws/jobs/", alice) as socket:
        assert (await hear(socket))["jobs"][0]["state"] == "queued"
        await Job.objects.filter(pk=job.pk).aupdate(state="succeeded", finished_at=timezone.now())
        while (told := await hear(socket))["type"] != "snapshot":
            pass
        assert told["jobs"][0]["state"] == "succeeded"


async def test_who_waits_while_the_database_is_away_goes_on_waiting(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlook_news, asked = consumers.outlook_news, list[bool]()

    def away_at_first(user: User) -> Any:
        asked.append(True)
        if len(asked) < 3:
            raise OperationalError("the database does not answer")
        return outlook_news(user)

    monkeypatch.setattr(consumers, "outlook_news", away_at_first)
    monkeypatch.setattr(consumers, "OUTLOOK_EVERY_SECONDS", 0.05)
    await request_random(alice, generator=GENERATOR)
    async with listening("/ws/jobs/", alice) as socket:
        assert (await hear(socket))["type"] == "snapshot"
        assert (await hear(socket))["type"] == "outlook"
    assert len(asked) >= 3


async def test_nobody_hears_about_the_jobs_of_others(alice: User, ben: User) -> None:
    async with listening("/ws/jobs/", ben) as socket:
        assert (await hear(socket))["jobs"] == []
        job = await request_random(alice, generator=GENERATOR)
        await run_one(job.pk)
        assert await socket.receive_nothing(timeout=0.5)


@pytest.mark.parametrize("path", ["/ws/jobs/", f"/ws/transform/{uuid.UUID(int=1)}/"])
async def test_nobody_listens_without_an_account(path: str) -> None:
    async with listening(path, None) as socket:
        assert await closed_with(socket) == 4401


@pytest.mark.parametrize("origin", [b"https://evil.example", b"null", b""])
async def test_pages_of_other_sites_are_refused(alice: User, origin: bytes) -> None:
    async with listening("/ws/jobs/", alice, origin) as socket:
        assert not socket.accepted


@pytest.mark.parametrize("text", ["{", "[]", "NaN", '{"a": NaN}', "[" * 5000])
async def test_nonsense_is_answered_and_survived(alice: User, text: str) -> None:
    async with listening("/ws/jobs/", alice) as socket:
        await hear(socket)
        await socket.send_to(text_data=text)
        assert (await hear(socket))["type"] == "error"


async def test_a_message_that_is_too_long_ends_the_connection(alice: User) -> None:
    async with listening("/ws/jobs/", alice) as socket:
        await hear(socket)
        await socket.send_to(text_data=json.dumps({"a": "x" * 20_000}))
        assert await closed_with(socket) == 1009


async def test_bytes_end_the_connection(alice: User) -> None:
    async with listening("/ws/jobs/", alice) as socket:
        await hear(socket)
        await socket.send_to(bytes_data=b"\0")
        assert await closed_with(socket) == 1009


# --- The editor ---------------------------------------------------------------------------------------------


async def test_the_editor_says_what_it_offers(alice: User, random_image: Image) -> None:
    async with listening(f"/ws/transform/{random_image.pk}/", alice) as socket:
        ready = await hear(socket)
    assert ready["type"] == "ready"
    assert (ready["generator"], ready["resolution"], ready["num_ws"]) == (GENERATOR, 32, 8)
    assert len(ready["components"]) == 8
    assert ready["ranges"]["all"] == [0, 8]
    assert ready["truncation_psi"] == random_image.truncation_psi


async def test_a_picture_of_somebody_else_is_not_there(ben: User, random_image: Image) -> None:
    async with listening(f"/ws/transform/{random_image.pk}/", ben) as socket:
        assert await closed_with(socket) == 4404


async def test_an_upload_has_to_be_projected_first(alice: User, upload: Image) -> None:
    async with listening(f"/ws/transform/{upload.pk}/", alice) as socket:
        assert await hear(socket) == {"type": "unavailable", "reason": "needs-projection"}


async def test_a_moved_slider_gives_a_frame(alice: User, random_image: Image) -> None:
    async with listening(f"/ws/transform/{random_image.pk}/", alice) as socket:
        await hear(socket)
        edit = {"component": 1, "strength": 2.0, "start": 0, "end": 8}
        frames = []
        for seq, edits in ((1, []), (2, [edit])):
            await socket.send_json_to({"type": "render", "seq": seq, "edits": edits, "exact": seq == 2})
            frames.append(await socket.receive_from(timeout=WAIT_SECONDS))
    assert [struct.unpack(">BIBBB", frame[:8]) for frame in frames] == [(1, 1, 0, 1, 0), (1, 2, 0, 1, 1)]
    assert frames[0][8:10] == b"\xff\xd8"
    assert frames[1][8:12] == b"RIFF"


async def test_a_slow_generator_sends_fewer_pixels_until_the_hand_rests(
    alice: User, random_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganworks.effort.MAX_DRAFT_MULTIPLICATIONS", 300_000)
    engine.cache_clear()  # it forgets the generator, which is opened again
    sizes = []
    async with listening(f"/ws/transform/{random_image.pk}/", alice) as socket:
        await hear(socket)
        for seq, exact in ((1, False), (2, True)):
            await socket.send_json_to({"type": "render", "seq": seq, "edits": [], "exact": exact})
            frame = await socket.receive_from(timeout=WAIT_SECONDS)
            sizes.append(Pillow.open(io.BytesIO(frame[8:])).size)
    assert sizes == [(8, 8), (32, 32)]


async def test_a_series_comes_frame_by_frame(alice: User, random_image: Image) -> None:
    wish = {
        "type": "series",
        "seq": 8,
        "edits": [],
        "component": 3,
        "start": 0,
        "end": 8,
        "from": -3,
        "to": 3,
    }
    async with listening(f"/ws/transform/{random_image.pk}/", alice) as socket:
        await hear(socket)
        await socket.send_json_to({**wish, "steps": 4})
        frames = [await socket.receive_from(timeout=WAIT_SECONDS) for _ in range(4)]
    assert [struct.unpack(">BIBB", frame[:7]) for frame in frames] == [(2, 8, index, 4) for index in range(4)]


async def test_an_export_carries_its_recipe(alice: User, random_image: Image) -> None:
    edit = {"component": 1, "strength": 2.0, "start": 0, "end": 8}
    async with listening(f"/ws/transform/{random_image.pk}/", alice) as socket:
        await hear(socket)
        await socket.send_json_to({"type": "export", "seq": 9, "edits": [edit], "truncation_psi": 0.4})
        frame = await socket.receive_from(timeout=WAIT_SECONDS)
    recipe = read_recipe(frame[8:])
    assert recipe["edits"] == [edit]
    assert recipe["truncation_psi"] == 0.4
    assert recipe["source"]["seed"] == random_image.seed


@pytest.mark.parametrize(
    "wish",
    [
        {"type": "render", "seq": 1, "edits": [{"component": 99, "strength": 1, "start": 0, "end": 8}]},
        {"type": "render", "seq": 1, "edits": [{"component": 1, "strength": 1, "start": 0, "end": 9}]},
        {"type": "render", "seq": 1, "edits": [{"component": 1, "strength": 1e9, "start": 0, "end": 8}]},
        {"type": "render", "seq": 1, "edits": "all"},
        {"type": "render", "seq": 1, "noise_mode": "loud"},
        {"type": "render", "seq": 1, "truncation_psi": 9},
        {"type": "series", "seq": 1, "component": 1, "start": 0, "end": 8, "from": 0, "to": 1, "steps": 1000},
        {"type": "dance", "seq": 1},
        {"type": "render", "seq": -1},
        {"type": "render", "seq": 2**32},
        {"type": "render"},
    ],
)
async def test_a_bad_wish_is_refused_with_a_sentence(
    alice: User, random_image: Image, wish: dict[str, Any]
) -> None:
    async with listening(f"/ws/transform/{random_image.pk}/", alice) as socket:
        await hear(socket)
        await socket.send_json_to(wish)
        answer = await hear(socket)
        assert answer["type"] == "error"
        assert answer["seq"] == wish.get("seq")
        assert answer["text"].endswith(".")
        await socket.send_json_to({"type": "render", "seq": 3, "edits": []})
        assert isinstance(await socket.receive_from(timeout=WAIT_SECONDS), bytes)


def wish(seq: int) -> previews.Wish:
    return previews.Wish(previews.Kind.FRAME, seq, ((0, previews.Drawing()),))


async def test_the_newest_wish_wins_and_nothing_queues() -> None:
    gate, drawn, sent = asyncio.Event(), [], []

    async def draw(drawing: previews.Drawing) -> bytes:
        drawn.append(drawing)
        if len(drawn) == 1:
            await gate.wait()
        return b"picture"

    async def send(message: Any) -> None:
        sent.append(struct.unpack(">BIBBB", message[:8])[1])

    lane = previews.PreviewLane(send, draw)
    lane.offer(wish(1))
    while not drawn:
        await asyncio.sleep(0.01)
    for seq in range(2, 50):
        lane.offer(wish(seq))
    gate.set()
    while len(sent) < 2:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert sent == [1, 49]
    assert len(drawn) == 2


async def test_a_failing_preview_says_so_and_the_next_one_works() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def draw(drawing: previews.Drawing) -> bytes:
        if not sent:
            raise RuntimeError("boom")
        return b"picture"

    lane = previews.PreviewLane(send, draw)
    lane.offer(wish(1))
    while not sent:
        await asyncio.sleep(0.01)
    lane.offer(wish(2))
    while len(sent) < 2:
        await asyncio.sleep(0.01)
    assert sent[0]["type"] == "error"
    assert "boom" not in sent[0]["text"]
    assert sent[1][8:] == b"picture"


async def test_previews_leave_no_row_behind(alice: User, random_image: Image) -> None:
    before = await Job.objects.acount()
    async with listening(f"/ws/transform/{random_image.pk}/", alice) as socket:
        await hear(socket)
        await socket.send_json_to({"type": "render", "seq": 1, "edits": []})
        await socket.receive_from(timeout=WAIT_SECONDS)
    assert await Job.objects.acount() == before
    assert django_settings.EMBEDDED_WORKER_THREADS == 0
