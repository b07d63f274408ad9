"""Previews that other processes draw: who draws, who gets what, and what happens when a painter goes."""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from PIL import Image as Pillow
from pytest_django import Settings

from accounts.models import User
from gallery import files
from gallery.models import Image
from gallery.png import read_recipe
from ganworks.errors import OutOfMemory
from tests.conftest import ClientOf
from tests.transforms.test_sockets import hear, listening
from transforms import painters, preview_desk, preview_worker, previews
from transforms import preview_messages as messages
from transforms.drawing import Drawing, Editor, Format
from transforms.engine import FileSource, LocalEngine, Rendering, SeedSource, engine
from transforms.errors import PreviewsAway, Superseded, TransformError
from transforms.params import Edit, Look
from transforms.preview_desk import Desk
from transforms.preview_worker import PreviewWorker
from transforms.projections import StoredLatent
from transforms.recipes import LatentSource, Recipe
from transforms.recipes import SeedSource as SeedOfRecipe

WAIT_SECONDS = 20


@pytest.fixture(autouse=True)
def elsewhere(settings: Settings) -> Iterator[None]:
    settings.PREVIEW_LANE = "workers"
    previews.artist.cache_clear()
    yield
    previews.artist.cache_clear()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long until a painter is thought dead."""
    monkeypatch.setattr(messages, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(preview_desk, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(preview_desk, "TAKEN_WITHIN_SECONDS", 0.5)
    monkeypatch.setattr(preview_desk, "NOBODY_FOR_SECONDS", 0.5)


def editor_of(seed: int) -> Editor:
    sha256 = engine().generator("tiny").sha256
    return Editor.of(
        SeedSource(sha256, seed), Recipe("tiny", sha256, SeedOfRecipe(seed)), viewer=secrets.token_hex(8)
    )


class Painter(PreviewWorker):
    """A preview worker on this loop, which can be killed by canceling `life`."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.life = asyncio.create_task(self.run())

    async def has_waiting(self, count: int) -> None:
        """Returns when so many editors wait."""
        while len(self._painters.waiting()) != count:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def painter(layer: Any = None) -> AsyncIterator[Painter]:
    worker = Painter(layer or get_channel_layer())
    while not worker.channel:
        await asyncio.sleep(0.01)
    try:
        yield worker
    finally:
        worker.life.cancel()
        await asyncio.gather(worker.life, return_exceptions=True)


class Slow:
    """Stands in for the time that a large network takes: a picture is drawn when `go` says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[str] = []
        self.gate = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        monkeypatch.setattr(Editor, "draw", lambda editor, drawing: self.draw(editor))

    def draw(self, editor: Editor) -> bytes:
        self.drawn.append(editor.viewer)
        asyncio.run_coroutine_threadsafe(self.gate.wait(), self._loop).result(WAIT_SECONDS)
        return editor.viewer.encode()

    async def started(self, count: int) -> None:
        while len(self.drawn) < count:
            await asyncio.sleep(0.01)


# --- From the page to the painter and back ------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_a_moved_slider_is_drawn_by_a_worker(alice: User, random_image: Image) -> None:
    edit = {"component": 1, "strength": 2.0, "start": 0, "end": 8}
    async with painter(), listening(f"/ws/transform/{random_image.pk}/", alice) as socket:
        await hear(socket)
        wishes = [
            {"type": "render", "seq": 1, "edits": [edit], "exact": True},
            {"type": "export", "seq": 2, "edits": [edit]},
        ]
        frames = []
        for wish in wishes:
            await socket.send_json_to(wish)
            frames.append(await socket.receive_from(timeout=WAIT_SECONDS))
    seen = Editor.open(await sync_to_async(Image.objects.get)(pk=random_image.pk)).draw(
        Drawing((Edit(1, 2.0, 0, 8),), Look(), Format.EXACT)
    )
    assert frames[0][8:] == seen
    assert read_recipe(frames[1][8:])["edits"] == [edit]


@pytest.mark.django_db(transaction=True)
async def test_a_series_and_bad_wishes_are_as_ever(alice: User, random_image: Image) -> None:
    series = {"type": "series", "seq": 8, "component": 3, "start": 0, "end": 8, "from": -3, "to": 3}
    async with painter(), listening(f"/ws/transform/{random_image.pk}/", alice) as socket:
        await hear(socket)
        await socket.send_json_to({**series, "steps": 3})
        frames = [await socket.receive_from(timeout=WAIT_SECONDS) for _ in range(3)]
        await socket.send_json_to({"type": "render", "seq": 9, "edits": "all"})
        refused = await hear(socket)
    assert [frame[5] for frame in frames] == [0, 1, 2]
    assert (refused["seq"], refused["type"]) == (9, "error")
    assert "retry_seconds" not in refused


@pytest.mark.django_db(transaction=True)
async def test_without_a_worker_the_page_is_told_to_ask_again(
    alice: User, random_image: Image, quick: None
) -> None:
    async with listening(f"/ws/transform/{random_image.pk}/", alice) as socket:
        await hear(socket)
        wish = {"type": "render", "seq": 1, "edits": []}
        await socket.send_json_to(wish)
        refused = await hear(socket)
        assert (refused["seq"], refused["text"], refused["retry_seconds"]) == (1, preview_desk.AWAY, 3)
        async with painter():
            await socket.send_json_to({**wish, "seq": 2})
            assert isinstance(await socket.receive_from(timeout=WAIT_SECONDS), bytes)


@pytest.mark.django_db(transaction=True)
def test_the_api_says_that_it_is_busy_when_nobody_draws(
    alice: User, random_image: Image, client_of: ClientOf, quick: None
) -> None:
    answer = client_of(alice).post(
        f"/api/v1/images/{random_image.pk}/render/",
        {"edits": [], "format": "webp"},
        content_type="application/json",
    )
    assert answer.status_code == 503
    assert answer.json()["detail"].endswith(".")


async def test_what_another_process_opened_draws_the_same() -> None:
    editor = editor_of(7)
    told = Drawing((Edit(1, -2.5, 2, 6),), Look(truncation_psi=0.4, noise_mode="none"), Format.EXACT)
    async with painter():
        assert await Desk(get_channel_layer()).draw(editor, told) == editor.draw(told)


async def test_what_was_found_for_a_photo_is_read_where_it_is_stored() -> None:
    square = Pillow.new("RGB", (32, 32), "olive")
    found = engine().project(
        "tiny",
        square,
        space="w+",
        steps=2,
        class_index=None,
        on_step=lambda *_: None,
        should_stop=lambda: False,
    )
    name = files.write("images/a/b/latent.safetensors", found.data)
    sha256 = engine().generator("tiny").sha256
    recipe = Recipe("tiny", sha256, LatentSource("1", "0" * 64))
    editor = Editor.of(FileSource(sha256, "projection:1", StoredLatent(name)), recipe, "viewer")
    async with painter():
        drawn = await Desk(get_channel_layer()).draw(editor, Drawing(format=Format.EXACT))
    assert drawn == editor.draw(Drawing(format=Format.EXACT))


async def test_a_worker_looks_at_sizes_itself() -> None:
    async with painter():
        desk = Desk(get_channel_layer())
        for wrong in (
            Drawing((Edit(99, 1.0, 0, 8),)),
            Drawing((Edit(1, 1.0, 0, 60),)),
            Drawing((Edit(1, 1e9, 0, 8),)),
            Drawing(look=Look(class_index=5)),
            Drawing(tile=3),
        ):
            with pytest.raises(TransformError, match=r"\.$"):
                await desk.draw(editor_of(1), wrong)


# --- Who draws ----------------------------------------------------------------------------------------------


async def test_an_editor_stays_with_its_worker_and_few_move_when_another_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch)
    slow.gate.set()
    layer = get_channel_layer()
    desk = Desk(layer)
    editors = [editor_of(seed) for seed in range(24)]

    async def drawn_by() -> list[str]:
        for editor in editors:
            await desk.draw(editor, Drawing())
        return [max(desk._alive(), key=lambda worker: preview_desk._weight(e, worker)) for e in editors]

    async with painter(), painter():
        while len(desk._alive()) < 2:
            before = await drawn_by()
        before = await drawn_by()
        assert await drawn_by() == before
        assert len(set(before)) == 2
        async with painter() as third:
            while third.channel not in desk._alive():
                await asyncio.sleep(0.05)
            after = await drawn_by()
    moved = [now for old, now in zip(before, after, strict=True) if old != now]
    assert set(moved) <= {third.channel}
    assert len(moved) < len(editors)


async def test_a_worker_that_says_good_bye_finishes_what_it_draws_and_hands_on_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch)
    desk = Desk(get_channel_layer())
    async with painter() as first:
        asked = [asyncio.create_task(desk.draw(editor_of(seed), Drawing())) for seed in range(4)]
        await slow.started(2)  # it draws two, and two wait
        await first.has_waiting(2)
        async with painter() as second:
            while second.channel not in desk._alive():
                await asyncio.sleep(0.01)
            first.stop()
            await first.has_waiting(0)
            slow.gate.set()
            assert len(await asyncio.gather(*asked)) == 4
            await asyncio.wait_for(first.life, WAIT_SECONDS)


async def test_a_worker_that_dies_is_replaced_by_the_next(
    monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    slow = Slow(monkeypatch)
    desk = Desk(get_channel_layer())
    async with painter() as first:
        asked = asyncio.create_task(desk.draw(editor_of(1), Drawing()))
        await slow.started(1)
        first.life.cancel()  # no good-bye, no answer
        async with painter():
            await slow.started(2)
            slow.gate.set()
            assert await asyncio.wait_for(asked, WAIT_SECONDS)


async def test_a_lost_answer_is_noticed_and_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    lost: list[str] = []
    send = PreviewWorker._send

    async def forgetful(self: PreviewWorker, channel: str, message: dict[str, Any]) -> None:
        if message["type"] == "preview.drawn" and not lost:
            lost.append(message["ticket"])
        else:
            await send(self, channel, message)

    monkeypatch.setattr(PreviewWorker, "_send", forgetful)
    async with painter(), painter():
        assert await asyncio.wait_for(Desk(get_channel_layer()).draw(editor_of(1), Drawing()), WAIT_SECONDS)
    assert lost


# --- What waits ---------------------------------------------------------------------------------------------


async def test_the_newest_wish_of_an_editor_takes_the_place_of_the_one_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch)
    desk = Desk(get_channel_layer())
    mine = editor_of(3)
    async with painter() as worker:
        busy = [asyncio.create_task(desk.draw(editor_of(seed), Drawing())) for seed in (1, 2)]
        await slow.started(2)
        older = asyncio.create_task(desk.draw(mine, Drawing()))
        await worker.has_waiting(1)
        newer = asyncio.create_task(desk.draw(mine, Drawing()))
        with pytest.raises(Superseded):
            await older
        slow.gate.set()
        assert await newer
        await asyncio.gather(*busy)
    assert slow.drawn.count(mine.viewer) == 1


async def test_what_nobody_waits_for_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    desk = Desk(get_channel_layer())
    gone, stale = editor_of(3), editor_of(4)
    async with painter() as worker:
        busy = [asyncio.create_task(desk.draw(editor_of(seed), Drawing())) for seed in (1, 2)]
        await slow.started(2)
        waiting = [asyncio.create_task(desk.draw(editor, Drawing())) for editor in (gone, stale)]
        await worker.has_waiting(2)
        waiting[0].cancel()  # its page was closed
        await worker.has_waiting(1)
        monkeypatch.setattr(painters, "PATIENCE_SECONDS", 0.0)
        time.sleep(0.01)
        slow.gate.set()
        await asyncio.gather(*busy)
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert {gone.viewer, stale.viewer} & set(slow.drawn) == set()


async def test_a_full_worker_sends_on_and_then_the_page_hears_why(
    monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setattr(preview_worker, "MAX_WAITING", 0)
    async with painter():
        with pytest.raises(PreviewsAway, match="the picture follows by itself"):
            await Desk(get_channel_layer()).draw(editor_of(1), Drawing())


async def test_a_ticket_that_nobody_has_and_nonsense_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    layer = get_channel_layer()
    desk = Desk(layer)
    async with painter() as worker:
        asked = asyncio.create_task(desk.draw(editor_of(1), Drawing()))
        await slow.started(1)
        await layer.send(desk._channel, messages.drawn("0" * 32, b"somebody else's"))
        await layer.send(desk._channel, {"type": "preview.drawn"})
        await layer.send(worker.channel, {"type": "preview.draw", "editor": "?"})
        await asyncio.sleep(0.05)
        assert not asked.done()
        slow.gate.set()
        assert await asked != b"somebody else's"


# --- What is drawn together ---------------------------------------------------------------------------------


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The viewers of each pass of the engine."""
    render, calls = LocalEngine.render_together, list[set[str]]()

    def watched(self: LocalEngine, renderings: Sequence[Rendering]) -> Any:
        calls.append({rendering.viewer for rendering in renderings})
        return render(self, renderings)

    monkeypatch.setattr(LocalEngine, "render_together", watched)
    return calls


async def drawn_while_others_wait(
    layers: Sequence[Any], editors: Sequence[Editor], drawings: Sequence[Drawing], go_on: threading.Event
) -> list[bytes | BaseException]:
    """What a worker, which knows the editors, answers to wishes that waited while its threads were held up."""
    async with painter(layers[0]) as worker:
        desk = Desk(layers[1])
        for editor in editors:
            await desk.draw(editor, Drawing())
        held = [asyncio.create_task(desk.draw(editor_of(seed), HELD_UP)) for seed in (1, 2)]
        while len(worker._held) < 2 or worker._painters.waiting():
            await asyncio.sleep(0.01)
        asked = [
            asyncio.create_task(desk.draw(editor, drawing))
            for editor, drawing in zip(editors, drawings, strict=True)
        ]
        await worker.has_waiting(len(editors))
        go_on.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.gather(*held)
        return answers


HELD_UP = Drawing(look=Look(noise_mode="none"))


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until it is set, pictures that are HELD_UP hold their threads."""
    draw, event = Editor.draw, threading.Event()

    def draw_late(editor: Editor, drawing: Drawing) -> bytes:
        if drawing == HELD_UP:
            assert event.wait(WAIT_SECONDS)
        return draw(editor, drawing)

    monkeypatch.setattr(Editor, "draw", draw_late)
    return event


def wishes_of_four() -> tuple[list[Editor], list[Drawing]]:
    edits = [(Edit(1, seed / 2, 0, 8),) for seed in (3, 4, 5, 6)]
    return [editor_of(seed) for seed in (3, 4, 5, 6)], [Drawing(edit, format=Format.EXACT) for edit in edits]


def assert_drawn(answer: bytes | BaseException, editor: Editor, drawing: Drawing) -> None:
    """The picture that is drawn alone, to a level of rounding."""
    assert isinstance(answer, bytes), answer
    seen, wanted = (
        np.asarray(Pillow.open(io.BytesIO(data)), dtype=int) for data in (answer, editor.draw(drawing))
    )
    assert np.abs(seen - wanted).max() <= 1


async def test_editors_that_wait_at_the_same_worker_share_a_pass(
    passes: list[set[str]], go_on: threading.Event
) -> None:
    editors, drawings = wishes_of_four()
    layer = get_channel_layer()
    answers = await drawn_while_others_wait([layer, layer], editors, drawings, go_on)
    assert {editor.viewer for editor in editors} in passes
    for answer, editor, drawing in zip(answers, editors, drawings, strict=True):
        assert_drawn(answer, editor, drawing)


async def test_one_that_fails_in_a_pass_hears_its_own_sentence(
    monkeypatch: pytest.MonkeyPatch, go_on: threading.Event
) -> None:
    editors, drawings = wishes_of_four()
    render = LocalEngine.render_together

    def broken(self: LocalEngine, renderings: Sequence[Rendering]) -> Any:
        if any(one.viewer == editors[1].viewer and one.edits for one in renderings):
            raise OutOfMemory("There is not enough memory for this.")
        return render(self, renderings)

    monkeypatch.setattr(LocalEngine, "render_together", broken)
    layer = get_channel_layer()
    answers = await drawn_while_others_wait([layer, layer], editors, drawings, go_on)
    assert isinstance(answers[1], TransformError)
    assert str(answers[1]) == "There is not enough memory for this."
    for number in (0, 2, 3):
        assert_drawn(answers[number], editors[number], drawings[number])


@pytest.mark.redis
async def test_editors_share_a_pass_over_redis(passes: list[set[str]], go_on: threading.Event) -> None:
    editors, drawings = wishes_of_four()
    prefix = secrets.token_hex(4)
    layers = [RedisPubSubChannelLayer(hosts=[os.environ["REDIS_URL"]], prefix=prefix) for _ in range(2)]
    answers = await drawn_while_others_wait(layers, editors, drawings, go_on)
    assert {editor.viewer for editor in editors} in passes
    for answer, editor, drawing in zip(answers, editors, drawings, strict=True):
        assert_drawn(answer, editor, drawing)
    for layer in layers:
        await layer.flush()


# --- Over Redis ---------------------------------------------------------------------------------------------


@pytest.mark.redis
async def test_large_pictures_pass_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exact picture of 1024 pixels is larger than a megabyte, however it is packed."""
    out = io.BytesIO()
    Pillow.frombytes("RGB", (1024, 1024), os.urandom(3 * 1024 * 1024)).save(out, "PNG")
    monkeypatch.setattr(Editor, "draw", lambda editor, drawing: out.getvalue())
    prefix = secrets.token_hex(4)
    layers = [RedisPubSubChannelLayer(hosts=[os.environ["REDIS_URL"]], prefix=prefix) for _ in range(2)]
    async with painter(layers[0]):
        desk = Desk(layers[1])
        pictures = await asyncio.gather(*(desk.draw(editor_of(seed), Drawing()) for seed in range(6)))
    assert len(out.getvalue()) > 3_000_000
    assert all(picture == out.getvalue() for picture in pictures)
    for layer in layers:
        await layer.flush()
