"""Which service is away when a request fails: told as 503 with a sentence, so that people and programs try again."""

from __future__ import annotations

from collections.abc import Iterator

import redis
from django.db.utils import InterfaceError, OperationalError

from gallery.errors import StorageAway

RETRY_AFTER_SECONDS = 5
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
