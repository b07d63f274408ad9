"""News about jobs for the pages that watch. A message is a hint: what is true stands in the database."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import OrderedDict
from functools import cache, partial
from typing import Any
from uuid import UUID

import structlog
from channels.layers import get_channel_layer
from django.db import transaction

from transforms.models import Job
from transforms.representation import jobs_as_data

log = structlog.get_logger(__name__)

MESSAGE_TYPE = "job.changed"
PROGRESS_EVERY_SECONDS = 0.2
REMEMBERED = 1000


def group_of(user_id: UUID) -> str:
    """The group of channels that hear about a member's jobs."""
    return f"user-{user_id.hex}"


def publish_on_commit(pk: UUID) -> None:
    """Tell the watchers of a job about it when the present transaction is committed (or at once)."""
    transaction.on_commit(partial(publish, pk), robust=True)


def publish_as_read_on_commit(job: Job) -> None:
    """The same of a job whose row was just read, and which nothing but its pictures has changed since."""
    transaction.on_commit(partial(_publish, job), robust=True)


def publish(pk: UUID, *, progress: bool = False) -> None:
    """Tell the watchers of a job how it stands now. Never raises and never waits: the row is the truth.

    Of mere `progress` they hear at most once in `PROGRESS_EVERY_SECONDS`, and always the last of it.
    """
    job = Job.objects.defer("preview").filter(pk=pk).first()
    if job is not None:
        _publish(job, progress=progress)


def _publish(job: Job, *, progress: bool = False) -> None:
    message = {"type": MESSAGE_TYPE, "job": jobs_as_data([job], exact=False)[0]}
    background_loop().call_soon_threadsafe(
        partial(_outbox.put, job.pk, group_of(job.user_id), message, progress=progress)
    )


class Outbox:
    """What is sent, and when. All of it happens in the thread of the loop."""

    def __init__(self) -> None:
        self._sent_at: OrderedDict[UUID, float] = OrderedDict()
        self._waiting: dict[UUID, asyncio.TimerHandle] = {}

    def put(self, pk: UUID, group: str, message: dict[str, Any], *, progress: bool) -> None:
        """Send the message now, or, if it is progress, when its turn comes and no newer one has taken its place."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.pop(pk, None)
        if waiting is not None:
            waiting.cancel()
        due = self._sent_at.get(pk, -math.inf) + PROGRESS_EVERY_SECONDS
        if not progress or due <= loop.time():
            self._send(pk, group, message)
        else:
            self._waiting[pk] = loop.call_at(due, self._send, pk, group, message)

    def _send(self, pk: UUID, group: str, message: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        self._waiting.pop(pk, None)
        self._sent_at[pk] = loop.time()
        self._sent_at.move_to_end(pk)
        while len(self._sent_at) > REMEMBERED:
            self._sent_at.popitem(last=False)
        sending = loop.create_task(_send(group, message))
        _sending.add(sending)
        sending.add_done_callback(_log_failure)


async def _send(group: str, message: dict[str, Any]) -> None:
    layer = get_channel_layer()
    if layer is not None:
        await layer.group_send(group, message)


def _log_failure(sending: asyncio.Task[None]) -> None:
    _sending.discard(sending)
    if not sending.cancelled() and (error := sending.exception()) is not None:
        log.warning("event_not_sent", error=repr(error))


_outbox = Outbox()
_sending: set[asyncio.Task[None]] = set()  # the loop itself holds on to none of them


@cache
def background_loop() -> asyncio.AbstractEventLoop:
    """One event loop for all that threads of this process send: one for each message would open a connection each."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="events", daemon=True).start()
    return loop
