"""Housekeeping beside the worker: nothing that should run is forgotten, nothing that should go stays.

A message may be lost (the broker restarted, a process was killed): the sweeper looks at the rows.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

import structlog
from django.db import close_old_connections, connection

from gallery import services as gallery
from transforms import imports, lifecycle, presence
from transforms.engine import engine
from transforms.models import Job, State
from transforms.presence import JOBS, SignOfLife

log = structlog.get_logger(__name__)

SWEEP_EVERY_SECONDS = 3.0
PURGE_EVERY_SECONDS = 60.0
HOST = presence.HOST

_stop = threading.Event()
_thread: threading.Thread | None = None


def worker_name() -> str:
    """This process, as it is written into the rows that it runs."""
    return f"{HOST}/{os.getpid()}"


def start() -> None:
    """Sweep from a thread of its own until `stop`."""
    global _thread
    if _thread is None or not _thread.is_alive():
        _stop.clear()
        _thread = threading.Thread(target=_run, name="sweeper", daemon=True)
        _thread.start()


def stop() -> None:
    _stop.set()


def _run() -> None:
    purged_at = time.monotonic()
    first = True
    sign = SignOfLife(JOBS)
    while first or not _stop.wait(SWEEP_EVERY_SECONDS):
        close_old_connections()
        try:
            sign.beat(engine().resident())  # /readyz, /metrics and `manage.py doctor` look at it
            sweep(starting=first)
            first = False
            if time.monotonic() - purged_at > PURGE_EVERY_SECONDS:
                purged_at = time.monotonic()
                gallery.purge_deleted()
                imports.sweep()
        except Exception:
            log.exception("sweep_failed")
            first = False
    with suppress(Exception):  # the cache forgets it soon anyway
        sign.leave()
    connection.close()


def sweep(*, starting: bool = False) -> int:
    """Free what dead processes held, fail what was tried too often, and wake the workers if something waits.

    Gives the number of jobs that wait.
    """
    release_orphans(starting=starting)
    fail_exhausted()
    waiting = Job.objects.claimable().count()
    if waiting:
        from transforms.actors import ring

        ring()
    return waiting


def release_orphans(*, starting: bool = False) -> int:
    """Free the jobs of processes on this machine that are gone, without waiting for their leases.

    `starting`: this process has run nothing yet, so a row with its number is an earlier process's.
    """
    freed = 0
    running = Job.objects.filter(state=State.RUNNING, worker__startswith=f"{HOST}/").defer("preview")
    for job in running:
        if _is_gone(job.worker, starting):
            held = Job.objects.filter(pk=job.pk, lease_token=job.lease_token)
            freed += lifecycle.release(held, job)
    return freed


def _is_gone(worker: str, starting: bool) -> bool:
    pid = int(worker.rpartition("/")[2])
    if pid == os.getpid():
        return starting
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def fail_exhausted() -> int:
    """End the jobs that took their worker with them each time they were tried."""
    failed = 0
    for job in Job.objects.exhausted().defer("preview"):
        sentence = (
            f"This was tried {job.attempt} times and stopped the worker each time. Report job {job.pk}."
        )
        failed += lifecycle.fail(Job.objects.exhausted().filter(pk=job.pk), job, sentence)
        log.error("job_exhausted", job_id=str(job.pk), attempts=job.attempt)
    return failed
