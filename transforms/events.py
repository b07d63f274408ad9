"""News about jobs for the pages that watch. A message is a hint: what is true stands in the database."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from functools import cache, partial
from typing import Any
from uuid import UUID

import structlog
from channels.layers import get_channel_layer
from django.db import transaction

from transforms.models import Job
from transforms.representation import job_as_data

log = structlog.get_logger(__name__)

MESSAGE_TYPE = "job.changed"


def group_of(user_id: UUID) -> str:
    """The group of channels that hear about a member's jobs."""
    return f"user-{user_id.hex}"


def publish_on_commit(pk: UUID) -> None:
    """Tell the watchers of a job about it when the present transaction is committed (or at once)."""
    transaction.on_commit(partial(publish, pk), robust=True)


def publish(pk: UUID) -> None:
    """Tell the watchers of a job how it stands now. Never raises and never waits: the row is the truth."""
    job = Job.objects.defer("preview").filter(pk=pk).first()
    if job is None:
        return
    message = {"type": MESSAGE_TYPE, "job": job_as_data(job)}
    sending = asyncio.run_coroutine_threadsafe(_send(group_of(job.user_id), message), background_loop())
    sending.add_done_callback(_log_failure)


async def _send(group: str, message: dict[str, Any]) -> None:
    layer = get_channel_layer()
    if layer is not None:
        await layer.group_send(group, message)


def _log_failure(sending: Future[None]) -> None:
    if not sending.cancelled() and (error := sending.exception()) is not None:
        log.warning("event_not_sent", error=repr(error))


@cache
def background_loop() -> asyncio.AbstractEventLoop:
    """One event loop for all that threads of this process send: one for each message would open a connection each."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="events", daemon=True).start()
    return loop
