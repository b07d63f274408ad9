"""A preview worker: draws single pictures for the web processes that ask. It keeps the engine's caches, and nothing else.

It holds at most one wish of each open editor: a newer one takes its place. What has waited too long is dropped, for
nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from asgiref.sync import sync_to_async

from transforms import preview_messages as messages
from transforms.drawing import Drawing, Editor, reopened
from transforms.engine import EngineError, engine
from transforms.errors import TransformError
from transforms.presence import PREVIEWS, SignOfLife
from transforms.preview_messages import PATIENCE_SECONDS, Message

log = structlog.get_logger(__name__)

THREADS = 2
"""While one picture is encoded, the next is drawn."""
MAX_WAITING = 200
FINISH_SECONDS = 15.0
SIGN_EVERY_BEATS = 3  # signs of life go to the cache, for /readyz and /metrics
WENT_WRONG = (
    "Something went wrong while the preview was drawn. Move the slider once more, or reload the page."
)


@dataclass(frozen=True)
class Request:
    """A wish, as it was heard. `viewer`: the open editor whose it is."""

    ticket: str
    reply: str
    viewer: str
    editor: Message
    drawing: Message
    heard: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, message: Message) -> Request:
        editor = message["editor"]
        return cls(
            str(message["ticket"]), str(message["reply"]), str(editor["viewer"]), editor, message["drawing"]
        )

    @property
    def is_stale(self) -> bool:
        return time.monotonic() - self.heard > PATIENCE_SECONDS


class PreviewWorker:
    """One for a process, on an event loop of its own. `run` ends when `stop` was called and its pictures are sent."""

    def __init__(self, layer: Any, threads: int = THREADS) -> None:
        self._layer = layer
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="preview")
        self._threads = threads
        self._waiting: OrderedDict[str, Request] = OrderedDict()
        self._drawing: dict[str, Request] = {}
        self._work_came = asyncio.Event()
        self._stopping = asyncio.Event()
        self._is_away = False
        self._sign = SignOfLife(PREVIEWS)
        self.channel = ""

    def stop(self) -> None:
        self._stopping.set()
        self._work_came.set()

    async def run(self) -> None:
        """Announce oneself, draw until `stop`, then say good-bye: others take over what waits."""
        self.channel = await self._layer.new_channel(messages.WORKER_CHANNEL)
        await self._layer.group_add(messages.WORKERS, self.channel)
        beside = [asyncio.create_task(self._hear()), asyncio.create_task(self._beat())]
        drawing = [asyncio.create_task(self._draw_on()) for _ in range(self._threads)]
        try:
            await self._stopping.wait()
            await self._leave()
            await asyncio.wait(drawing, timeout=FINISH_SECONDS)
        finally:
            for task in [*drawing, *beside]:
                task.cancel()
            await asyncio.gather(*drawing, *beside, return_exceptions=True)
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _leave(self) -> None:
        await self._tell_all(leaving=True)
        with suppress(Exception):  # the cache forgets it soon anyway
            await sync_to_async(self._sign.leave)()
        for request in self._waiting.values():
            await self._answer(request, messages.moved(request.ticket))
        self._waiting.clear()

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
            await self._accept(Request.of(message))
        elif kind == "preview.forget":
            self._forget(message["ticket"])
        elif kind == "preview.call" and not self._stopping.is_set():
            await self._send(message["reply"], messages.here(self.channel, self._held()))

    async def _accept(self, request: Request) -> None:
        former = self._waiting.get(request.viewer)
        is_full = former is None and len(self._waiting) >= MAX_WAITING
        if self._stopping.is_set() or is_full:
            await self._answer(request, messages.moved(request.ticket))
            return
        self._waiting[request.viewer] = (
            request  # in the place of the former one, so that nobody waits for ever
        )
        self._work_came.set()
        await self._answer(request, messages.taken(request.ticket, self.channel))
        if former is not None:
            await self._answer(former, messages.dropped(former.ticket))

    def _forget(self, ticket: str) -> None:
        for viewer, request in list(self._waiting.items()):
            if request.ticket == ticket:
                del self._waiting[viewer]

    # --- Drawing --------------------------------------------------------------------------------------------

    async def _draw_on(self) -> None:
        while not (self._stopping.is_set() and not self._waiting):
            request = self._next()
            if request is None:
                self._work_came.clear()
                await self._work_came.wait()
                continue
            self._drawing[request.ticket] = request
            try:
                await self._draw(request)
            finally:
                del self._drawing[request.ticket]

    def _next(self) -> Request | None:
        """The wish that has waited longest, without those that nobody waits for any more."""
        while self._waiting:
            _, request = self._waiting.popitem(last=False)
            if not request.is_stale:
                return request
        return None

    async def _draw(self, request: Request) -> None:
        loop = asyncio.get_running_loop()
        try:
            data = await loop.run_in_executor(self._pool, _picture, request)
        except (TransformError, EngineError) as error:
            answer = messages.refused(request.ticket, str(error))
        except Exception:
            log.exception("preview_failed")
            answer = messages.refused(request.ticket, WENT_WRONG)
        else:
            answer = messages.drawn(request.ticket, data)
        await self._answer(request, answer)

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
        message = messages.here(self.channel, self._held(), leaving=leaving)
        await self._guarded(self._layer.group_send(messages.DESKS, message))

    async def _answer(self, request: Request, message: Message) -> None:
        await self._send(request.reply, message)

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

    def _held(self) -> list[str]:
        return [request.ticket for request in self._waiting.values()] + list(self._drawing)


def _picture(request: Request) -> bytes:
    editor: Editor = reopened(request.editor)
    return editor.draw(editor.check_drawing(Drawing.from_data(request.drawing)))
