"""Which service is away when a request fails: told as 503 with a sentence, so that people and programs try again.

Sockets are closed with 1013 then ("try again later"), and pages open them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis
import structlog
from django.db.utils import InterfaceError, OperationalError

from gallery.errors import StorageAway

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 5
TRY_AGAIN_LATER = 1013
DATABASE = (
    "The database cannot be reached at the moment. Nothing of yours is lost: try again in a few seconds."
)
MESSAGES = "A part of the site cannot be reached at the moment. Nothing of yours is lost: try again in a few seconds."


def outage(error: BaseException | None) -> str | None:
    """The sentence for an error that a service outside this process caused; None for our own mistakes."""
    for cause in _causes(error):
        if isinstance(cause, StorageAway):
            return str(cause)
        if isinstance(cause, OperationalError | InterfaceError):
            return DATABASE
        if isinstance(cause, redis.ConnectionError | redis.TimeoutError):
            return MESSAGES
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


class ClosedInOutages:
    """An ASGI application of sockets that closes those which fail because a service is away. Our own mistakes pass."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        accepted = False

        async def send_and_see(message: dict[str, Any]) -> None:
            nonlocal accepted
            accepted = accepted or message["type"] == "websocket.accept"
            await send(message)

        try:
            await self._application(scope, receive, send_and_see)
        except Exception as error:
            if outage(error) is None:
                raise
            log.warning("socket_closed_in_outage", path=scope["path"], error=repr(error)[:300])
            if not accepted:  # a browser cannot read why a handshake failed
                await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
