"""Notices when the channel layer was away: a process counts aloud through it, and where a number is missing, news may be.

Redis' pub/sub keeps nothing. When it comes back, subscriptions do too, and whoever joined here is told to look again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from channels.layers import get_channel_layer

log = structlog.get_logger(__name__)

BEAT_SECONDS = 0.5
"""Shorter than the second after which the layer's receiver tries again to connect."""
SPREAD_SECONDS = 1.0
"""Those who look again do not all do so at once."""

LookAgain = Callable[[], Awaitable[None]]


class Pulse:
    """One for each event loop. Beats while anybody has joined."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._joined: set[LookAgain] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None
        self._missed = False

    def join(self, look_again: LookAgain) -> None:
        self._joined.add(look_again)
        if self._beating is None or self._beating.done():
            self._missed = False
            self._beating = asyncio.create_task(self._beat())

    def leave(self, look_again: LookAgain) -> None:
        self._joined.discard(look_again)
        if not self._joined and self._beating is not None:
            self._beating.cancel()
            self._beating = None

    async def _beat(self) -> None:
        number, channel = 0, ""
        hearing: asyncio.Task[None] | None = None
        try:
            while True:
                try:
                    if hearing is None:
                        channel = await self._layer.new_channel("pulse.")
                        hearing = asyncio.create_task(self._hear(channel, number))
                    number += 1
                    await self._layer.send(channel, {"type": "pulse", "number": number})
                except Exception as error:
                    self._miss(repr(error))
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            if hearing is not None:
                hearing.cancel()

    def _miss(self, why: str) -> None:
        if not self._missed:
            log.warning("channel_layer_away", error=why)
        self._missed = True

    async def _hear(self, channel: str, last: int) -> None:
        while True:
            number = (await self._layer.receive(channel))["number"]
            if number != last + 1:
                self._miss("a beat was not heard")
            last = number
            if self._missed:
                self._missed = False
                log.info("channel_layer_back")
                for look_again in self._joined:
                    self._soon(look_again)

    def _soon(self, look_again: LookAgain) -> None:
        async def look() -> None:
            await asyncio.sleep(random.uniform(0, SPREAD_SECONDS))  # noqa: S311  (no secret)
            if look_again in self._joined:
                await look_again()

        task = asyncio.create_task(look())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("not_looked_again", error=repr(error))


_pulses: WeakKeyDictionary[asyncio.AbstractEventLoop, Pulse] = WeakKeyDictionary()


def pulse() -> Pulse:
    """The pulse of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _pulses.get(loop)
    if found is None:
        found = _pulses[loop] = Pulse(get_channel_layer())
    return found
