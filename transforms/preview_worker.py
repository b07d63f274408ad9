"""A preview worker: draws pictures for the web processes that ask. It keeps the engine's caches, and nothing else.

It holds at most one waiting wish of each open editor: a newer one takes its place. What waits at the same moment may be
drawn together (`painters`). What has waited too long is dropped, for nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from asgiref.sync import sync_to_async

from transforms import preview_messages as messages
from transforms.drawing import Drawing, Editor, Reopened
from transforms.engine import EngineError, engine
from transforms.errors import PreviewsAway, Superseded, TransformError
from transforms.painters import THREADS, Order, Painters
from transforms.presence import PREVIEWS, SignOfLife
from transforms.preview_messages import Message

log = structlog.get_logger(__name__)

MAX_WAITING = 200
FINISH_SECONDS = 15.0
SIGN_EVERY_BEATS = 3  # signs of life go to the cache, for /readyz and /metrics
WENT_WRONG = (
    "Something went wrong while the preview was drawn. Move the slider once more, or reload the page."
)


@dataclass(frozen=True)
class Request:
    """An order, and whom to tell what becomes of it."""

    ticket: str
    reply: str
    order: Order


class PreviewWorker:
    """One for a process, on an event loop of its own. `run` ends when `stop` was called and its pictures are sent."""

    def __init__(self, layer: Any, threads: int = THREADS) -> None:
        self._layer = layer
        self._painters = Painters(threads)
        self._editors = Reopened()
        self._held: dict[str, Request] = {}
        """What was taken and not answered yet, by its ticket."""
        self._answering: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._is_away = False
        self._sign = SignOfLife(PREVIEWS)
        self.channel = ""

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Announce oneself, draw until `stop`, then say good-bye: others take over what waits."""
        self.channel = await self._layer.new_channel(messages.WORKER_CHANNEL)
        await self._layer.group_add(messages.WORKERS, self.channel)
        beside = [asyncio.create_task(self._hear()), asyncio.create_task(self._beat())]
        try:
            await self._stopping.wait()
            await self._leave()
        finally:
            self._painters.close()
            tasks = [*self._answering, *beside]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _leave(self) -> None:
        """Hand on what waits, and finish what is being drawn."""
        await self._tell_all(leaving=True)
        with suppress(Exception):  # the cache forgets it soon anyway
            await sync_to_async(self._sign.leave)()
        self._painters.close()
        if self._answering:
            await asyncio.wait(self._answering, timeout=FINISH_SECONDS)

    # --- Hearing --------------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        while True:
            message: Message = await self._layer.receive(self.channel)
            try:
                await self._take_in(message)
            except Exception:
                log.exception("preview_message_not_understood", type=message.get("type"))

    async def _take_in(self, message: Message) -> None:
        kind = message["type"]
        if kind == "preview.draw":
            await self._accept(message)
        elif kind == "preview.forget" and message["ticket"] in self._held:
            self._held[message["ticket"]].order.answer.cancel()
        elif kind == "preview.call" and not self._stopping.is_set():
            await self._send(message["reply"], messages.here(self.channel, self._held))

    async def _accept(self, message: Message) -> None:
        ticket, reply = str(message["ticket"]), str(message["reply"])
        try:
            order = self._order(message["editor"], message["drawing"])
        except TransformError as error:
            await self._send(reply, messages.refused(ticket, str(error)))
            return
        if self._stopping.is_set() or self._is_full(order.viewer):
            await self._send(reply, messages.moved(ticket))
            return
        request = self._held[ticket] = Request(ticket, reply, order)
        self._painters.put(order)
        await self._send(reply, messages.taken(ticket, self.channel))
        task = asyncio.create_task(self._answer(request))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    def _order(self, told: Message, drawing_data: Message) -> Order:
        """The order of a message, checked once its editor is open. Raises TransformError with a sentence."""
        drawing = Drawing.from_data(drawing_data)
        editor = self._editors.known(told)
        if editor is not None:
            editor.check_drawing(drawing)
        return Order(str(told["viewer"]), drawing, partial(self._opened_for, told, drawing), editor)

    def _opened_for(self, told: Message, drawing: Drawing) -> Editor:
        editor = self._editors.open(told)
        editor.check_drawing(drawing)
        return editor

    def _is_full(self, viewer: str) -> bool:
        waiting = self._painters.waiting()
        return viewer not in waiting and len(waiting) >= MAX_WAITING

    # --- Answering ------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> None:
        """Say what becomes of it. Then it is not held any more: beats come after answers."""
        try:
            message = await self._outcome(request)
            if message is not None:
                await self._send(request.reply, message)
        finally:
            del self._held[request.ticket]

    async def _outcome(self, request: Request) -> Message | None:
        """None if nobody waits for it any more."""
        ticket, answer = request.ticket, request.order.answer
        try:
            return messages.drawn(ticket, await asyncio.wrap_future(answer))
        except asyncio.CancelledError:
            if not answer.cancelled():
                raise
            return None
        except Superseded:
            return messages.dropped(ticket)
        except PreviewsAway:
            return messages.moved(ticket)
        except (TransformError, EngineError) as error:
            return messages.refused(ticket, str(error))
        except Exception:
            log.exception("preview_failed")
            return messages.refused(ticket, WENT_WRONG)

    # --- Saying ---------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        count = 0
        while not self._stopping.is_set():
            await self._tell_all()
            if count % SIGN_EVERY_BEATS == 0:
                await self._show_life()
            count += 1
            await asyncio.sleep(messages.BEAT_SECONDS)

    async def _tell_all(self, *, leaving: bool = False) -> None:
        message = messages.here(self.channel, self._held, leaving=leaving)
        await self._guarded(self._layer.group_send(messages.DESKS, message))

    async def _send(self, channel: str, message: Message) -> None:
        await self._guarded(self._layer.send(channel, message))

    async def _guarded(self, sending: Any) -> None:
        """A channel layer that is away is said once. Nothing is kept for later: whoever waits asks again."""
        try:
            await sending
        except Exception as error:
            if not self._is_away:
                log.warning("channel_layer_away", error=repr(error))
            self._is_away = True
        else:
            if self._is_away:
                log.info("channel_layer_back")
            self._is_away = False

    async def _show_life(self) -> None:
        try:
            await sync_to_async(self._sign.beat)(engine().resident())
        except Exception as error:
            log.debug("cache_away", error=repr(error))
