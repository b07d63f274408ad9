"""What we add to Dramatiq: the broker of embedded mode, and what a worker does when it starts and stops."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from typing import Any

from dramatiq import Broker, Consumer, Middleware, Worker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker

DEAD_LETTERS_KEPT = 20
LOOK_AT_LEAST_EVERY_MS = 50
"""A look costs Redis some 50 microseconds."""

stopping = threading.Event()
"""Set while this process stops its worker: running jobs are released between two steps."""


class EmbeddedBroker(StubBroker):
    """Dramatiq's in-memory broker. A message is only a doorbell, so nothing is lost when the process ends.

    The stock broker keeps each failed message with its exception for ever; this one keeps the last few.
    """

    def __init__(self, middleware: list[Middleware] | None = None) -> None:
        super().__init__(middleware=middleware)
        self.dead_letters_by_queue = defaultdict(_bounded)


class SharedBroker(RedisBroker):
    """Dramatiq's Redis broker, whose idle workers look for a message often.

    It knows no waiting for one: it looks, and sleeps longer each time that there was none, by default up to a second. So
    long somebody who asks first would wait for a worker that has nothing to do.
    """

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = LOOK_AT_LEAST_EVERY_MS) -> Consumer:
        return super().consume(queue_name, prefetch, min(timeout, LOOK_AT_LEAST_EVERY_MS))


def _bounded() -> Any:
    return deque(maxlen=DEAD_LETTERS_KEPT)


class WorkerLife(Middleware):
    """Starts the sweeper with a worker process, and asks running jobs to stop before it ends.

    Imports lie inside: the broker is made before Django's models are loaded.
    """

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        stopping.clear()

    def after_process_boot(self, broker: Broker) -> None:
        from transforms import metrics, sweeper

        sweeper.start()
        if not isinstance(broker, EmbeddedBroker):  # an embedded worker is seen at /metrics of its server
            metrics.serve()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        from transforms import sweeper

        stopping.set()
        sweeper.stop()
