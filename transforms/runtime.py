"""The worker inside the web process of embedded mode. Started by asgi.py only: management commands run none.

With another broker (Redis) this does nothing: workers are processes of their own (`manage.py rundramatiq`).
"""

from __future__ import annotations

import atexit
import sys
import threading
from typing import Any

import dramatiq
import structlog
from django.conf import settings
from django.db import connection

from transforms import actors  # noqa: F401  (declares the queue that the worker listens to)
from transforms.broker import EmbeddedBroker

log = structlog.get_logger(__name__)

STOP_WITHIN_MS = 10_000
SWITCH_INTERVAL_SECONDS = 0.001


def start() -> dramatiq.Worker | None:
    """Start the embedded worker, stop it with the server, and load the engine in the background."""
    broker = dramatiq.get_broker()
    if not isinstance(broker, EmbeddedBroker) or settings.EMBEDDED_WORKER_THREADS == 0:
        return None
    # Jobs and previews share the interpreter: a preview's thread should not wait 5 ms for each of its turns.
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    worker = dramatiq.Worker(broker, worker_threads=settings.EMBEDDED_WORKER_THREADS)
    worker.start()
    broker.emit_after("process_boot")
    _stop_with_server(worker)
    threading.Thread(target=_warm, name="warm", daemon=True).start()
    return worker


def _stop_with_server(worker: dramatiq.Worker) -> None:
    """Before the reactor ends, not at exit of the interpreter: to be released, jobs still need its threads."""
    if "twisted.internet.reactor" in sys.modules:
        from twisted.internet import threads

        reactor: Any = sys.modules["twisted.internet.reactor"]
        reactor.addSystemEventTrigger(
            "before", "shutdown", threads.deferToThread, worker.stop, STOP_WITHIN_MS
        )
    else:
        atexit.register(worker.stop, STOP_WITHIN_MS)


def _warm() -> None:
    """The first click should not wait for torch."""
    from transforms.engine import engine

    try:
        engine().warm()
    except Exception as error:
        log.warning("engine_not_warmed", error=str(error))
    finally:
        connection.close()
