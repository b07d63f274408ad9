"""The doorbell. A message says only that there is work; which, the rows say."""

from __future__ import annotations

import dramatiq
import structlog
from django.db import transaction

log = structlog.get_logger(__name__)


@dramatiq.actor(queue_name="jobs", max_retries=0, time_limit=float("inf"), max_age=60_000)
def work() -> None:
    """Run jobs until none waits."""
    from transforms.worker import drain

    drain()


def ring(delay_seconds: float = 0) -> None:
    """Wake a worker. If the broker is away the rows still stand, and the sweeper rings again."""
    try:
        work.send_with_options(delay=int(delay_seconds * 1000) or None)
    except Exception as error:
        log.warning("doorbell_failed", error=repr(error))


def ring_on_commit() -> None:
    transaction.on_commit(ring, robust=True)
