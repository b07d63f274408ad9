"""The web process's side of previews that workers draw: asks one for each picture, and hands the answer to who waits.

Which worker is asked follows from the open picture (the highest of the hashes of picture and worker), so that an editor
stays with the worker whose caches know it, and when a worker comes or goes only its own editors move. A worker that
does not take a wish, falls silent, leaves, or has lost it, is passed over for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

import structlog
from channels.layers import get_channel_layer

from transforms import preview_messages as messages
from transforms.drawing import Drawing, Editor
from transforms.errors import PreviewsAway, Superseded, TransformError
from transforms.preview_messages import PATIENCE_SECONDS, SILENT_SECONDS, SLOW, Message

log = structlog.get_logger(__name__)

TAKEN_WITHIN_SECONDS = 3.0
NOBODY_FOR_SECONDS = 3.0
RETRY_SECONDS = 3
AWAY = "The studio's painters are away for a moment. Your sliders are safe: the picture follows by itself."


class _NextPlease(Exception):
    """This worker will not answer."""


@dataclass
class _Ticket:
    """A picture that was asked for, and of whom."""

    worker: str
    answer: asyncio.Future[bytes]
    is_taken: bool = False
    number: str = field(default_factory=lambda: uuid4().hex)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Desk:
    """One for each event loop. Listens from the first picture that is asked for on."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._channel = ""
        self._opening = asyncio.Lock()
        self._workers: dict[str, float] = {}
        """When each was heard last, by its channel."""
        self._news = asyncio.Event()
        self._tickets: dict[str, _Ticket] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def draw(self, editor: Editor, drawing: Drawing) -> bytes:
        """One picture. PreviewsAway with a sentence when no worker answers; TransformError when one refuses."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._listen()
                return await self._draw(editor, drawing)
        except TimeoutError as error:
            raise PreviewsAway(SLOW) from error

    async def _draw(self, editor: Editor, drawing: Drawing) -> bytes:
        passed_over: set[str] = set()
        while True:
            worker = await self._worker_for(editor, passed_over)
            try:
                return await self._ask(worker, editor, drawing)
            except _NextPlease:
                passed_over.add(worker)

    async def _ask(self, worker: str, editor: Editor, drawing: Drawing) -> bytes:
        loop = asyncio.get_running_loop()
        ticket = _Ticket(worker, loop.create_future())
        self._tickets[ticket.number] = ticket
        late = loop.call_later(TAKEN_WITHIN_SECONDS, self._was_it_taken, ticket)
        try:
            wish = messages.draw(ticket.number, self._channel, editor.as_data(), drawing.as_data())
            await _said(self._layer.send(worker, wish))
            return await ticket.answer
        except asyncio.CancelledError:
            self._soon(self._layer.send(worker, messages.forget(ticket.number)))
            raise
        finally:
            late.cancel()
            del self._tickets[ticket.number]

    def _was_it_taken(self, ticket: _Ticket) -> None:
        if not ticket.is_taken:
            self._workers.pop(ticket.worker, None)  # until it is heard again
            ticket.fail(_NextPlease())

    # --- Who is there ---------------------------------------------------------------------------------------

    async def _worker_for(self, editor: Editor, passed_over: Iterable[str]) -> str:
        """The living worker of this editor; waits a moment for one. PreviewsAway if there is none."""
        until = time.monotonic() + NOBODY_FOR_SECONDS
        while True:
            alive = self._alive() - set(passed_over)
            if alive:
                return max(alive, key=lambda worker: _weight(editor, worker))
            left = until - time.monotonic()
            if left <= 0:
                raise PreviewsAway(AWAY)
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)

    def _alive(self) -> set[str]:
        now = time.monotonic()
        return {worker for worker, heard in self._workers.items() if now - heard < SILENT_SECONDS}

    # --- Listening ------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        async with self._opening:
            if self._channel:
                return
            channel = await _said(self._layer.new_channel(messages.DESK_CHANNEL))
            await _said(self._layer.group_add(messages.DESKS, channel))
            self._channel = channel
            self._soon(self._hear())
            self._soon(self._watch())
        await _said(self._layer.group_send(messages.WORKERS, messages.call(self._channel)))

    async def _hear(self) -> None:
        while True:
            message: Message = await self._layer.receive(self._channel)
            try:
                self._take_in(message)
            except Exception:
                log.exception("preview_message_not_understood", type=message.get("type"))

    async def _watch(self) -> None:
        """Give up on those who hold a ticket and have fallen silent."""
        while True:
            await asyncio.sleep(messages.BEAT_SECONDS)
            alive = self._alive()
            for ticket in list(self._tickets.values()):
                if ticket.worker not in alive:
                    ticket.fail(_NextPlease())

    def _take_in(self, message: Message) -> None:
        kind = message["type"]
        if kind == "preview.here":
            self._heard_of(message["worker"], set(message["holding"]), leaving=message["leaving"])
            return
        ticket = self._tickets.get(message["ticket"])
        if ticket is None or ticket.answer.done():
            return  # nobody waits for it any more
        if kind == "preview.taken":
            ticket.is_taken = True
        elif kind == "preview.drawn":
            ticket.answer.set_result(message["data"])
        elif kind == "preview.refused":
            ticket.fail(TransformError(message["text"]))
        elif kind == "preview.dropped":
            ticket.fail(Superseded())
        elif kind == "preview.moved":
            ticket.fail(_NextPlease())

    def _heard_of(self, worker: str, holding: set[str], *, leaving: bool) -> None:
        if leaving:
            self._workers.pop(worker, None)
            return
        self._workers[worker] = time.monotonic()
        self._news.set()
        for ticket in list(self._tickets.values()):
            # Answers come before the beat that no longer names them: this one got lost on its way.
            if ticket.worker == worker and ticket.is_taken and ticket.number not in holding:
                ticket.fail(_NextPlease())

    def _soon(self, work: Any) -> None:
        """Do it beside, and let nobody wait for it or hear of its failure."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("preview_message_not_sent", error=repr(error))


async def _said(saying: Awaitable[Any]) -> Any:
    """Whatever the channel layer's own errors are: PreviewsAway."""
    try:
        return await saying
    except Exception as error:
        log.warning("channel_layer_away", error=repr(error))
        raise PreviewsAway(AWAY) from error


def _weight(editor: Editor, worker: str) -> bytes:
    """Rendezvous hashing: the worker with the highest weight draws for this picture."""
    place = f"{editor.recipe.generator_sha256}/{editor.recipe.source}"
    return blake2b(f"{place}/{worker}".encode(), digest_size=8).digest()


_desks: WeakKeyDictionary[asyncio.AbstractEventLoop, Desk] = WeakKeyDictionary()


def desk() -> Desk:
    """The desk of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _desks.get(loop)
    if found is None:
        found = _desks[loop] = Desk(get_channel_layer())
    return found
