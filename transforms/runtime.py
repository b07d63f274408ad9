"""Where jobs are run: in the web process of embedded mode, or in a process of its own (`manage.py worker`).

The embedded worker is started by asgi.py only: management commands run none. With another broker (Redis) that start
does nothing.
"""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable
from typing import Any

import dramatiq
import structlog
from django.conf import settings
from django.db import connection

from transforms import actors, lifecycle  # noqa: F401  (actors declares the queue that the worker listens to)
from transforms.broker import EmbeddedBroker
from transforms.models import Job, State
from transforms.sweeper import worker_name
from transforms.turns import turns

log = structlog.get_logger(__name__)

STOP_WITHIN_MS = 10_000
LEAVE_SECONDS = 15.0
SWITCH_INTERVAL_SECONDS = 0.001


def start() -> dramatiq.Worker | None:
    """Start the embedded worker, stop it with the server, and load the engine in the background."""
    broker = dramatiq.get_broker()
    if not isinstance(broker, EmbeddedBroker) or settings.EMBEDDED_WORKER_THREADS == 0:
        return None
    # Jobs and previews share the interpreter: a preview's thread should not wait 5 ms for each of its turns.
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    turns.allow(settings.EMBEDDED_WORKER_THREADS)
    worker = dramatiq.Worker(broker, worker_threads=settings.EMBEDDED_WORKER_THREADS)
    worker.start()
    broker.emit_after("process_boot")
    _stop_with_server(worker)
    threading.Thread(target=_warm, name="warm", daemon=True).start()
    return worker


def run(stop: threading.Event, started: Callable[[], None]) -> None:
    """Be a worker that computes one job at a time until `stop` is set; then end or give back what runs in `LEAVE_SECONDS`.

    What cannot stop between two steps in time (a kernel that computes for long) is given back to the queue while it
    still computes; its late result would be refused. The caller ends the process then.
    """
    broker = dramatiq.get_broker()
    # Who claims and computes should not wait 5 ms for each of its turns beside who stores.
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    worker = dramatiq.Worker(broker, worker_threads=settings.WORKER_THREADS)
    worker.start()
    broker.emit_after("process_boot")
    started()
    threading.Thread(target=_warm, name="warm", daemon=True).start()
    stop.wait()
    stopping = threading.Thread(target=worker.stop, args=(STOP_WITHIN_MS,), name="stop", daemon=True)
    stopping.start()
    stopping.join(LEAVE_SECONDS)
    give_back()


def give_back() -> int:
    """Put what this process still runs back into the queue, as a try that does not count. How many jobs."""
    given = 0
    try:
        for job in Job.objects.filter(state=State.RUNNING, worker=worker_name()).defer("preview"):
            held = Job.objects.filter(pk=job.pk, lease_token=job.lease_token)
            given += lifecycle.release(held, job, refund=True)
    except Exception as error:
        log.warning("jobs_not_given_back", error=repr(error))  # their leases end soon
    finally:
        connection.close()
    return given


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
    """The first job or click should not wait for torch."""
    from transforms.engine import engine

    try:
        engine().warm()
    except Exception as error:
        log.warning("engine_not_warmed", error=str(error))
    finally:
        connection.close()
