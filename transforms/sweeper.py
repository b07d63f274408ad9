"""Housekeeping beside the worker: nothing that should run is forgotten, nothing that should go stays.

A message may be lost (the broker restarted, a process was killed): the sweeper looks at the rows.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

import structlog
from django.conf import settings
from django.core.cache import cache
from django.db import close_old_connections, connection

from gallery import orphans
from gallery import services as gallery
from transforms import imports, leases, lifecycle, presence, wishes
from transforms.engine import engine
from transforms.line import servable
from transforms.models import Job, State
from transforms.presence import JOBS, SignOfLife

log = structlog.get_logger(__name__)

SWEEP_EVERY_SECONDS = 3.0
PURGE_EVERY_SECONDS = 60.0
ORPHANS_EVERY_SECONDS = 24 * 3600
ORPHANS_KEY = "orphans-purged"
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
        _show_life(sign)
        try:
            sweep(starting=first)
            first = False
            if time.monotonic() - purged_at > PURGE_EVERY_SECONDS:
                purged_at = time.monotonic()
                gallery.purge_deleted()
                imports.sweep()
                wishes.forget_old()
                purge_orphans_daily()
        except Exception:
            log.exception("sweep_failed")
            first = False
    with suppress(Exception):  # the cache forgets it soon anyway
        sign.leave()
    connection.close()


def _show_life(sign: SignOfLife) -> None:
    """/readyz, /metrics and `manage.py doctor` look at it. Where the cache is away, the rows are swept all the same."""
    try:
        sign.beat(engine().resident())
    except Exception as error:
        log.warning("no_sign_of_life", error=repr(error))


def sweep(*, starting: bool = False) -> int:
    """Free what dead processes held, fail what was tried too often, and wake the workers if something waits.

    Gives the number of jobs that wait.
    """
    # The heartbeat does that too. But where something keeps all threads of a process from running (torch while it is loaded,
    # on a starved machine), the first one to run again must not call the others dead.
    leases.renew()
    release_forgotten()
    release_orphans(starting=starting)
    release_expired()
    fail_exhausted()
    fail_overdue()
    waiting = servable().count()
    if waiting:
        from transforms.actors import ring

        ring()
    return waiting


def purge_orphans_daily() -> None:
    """One worker a day deletes files that no row names, in a thread of its own: a large storage takes its time."""
    if cache.add(ORPHANS_KEY, worker_name(), timeout=ORPHANS_EVERY_SECONDS):
        threading.Thread(target=_purge_orphans, name="orphans", daemon=True).start()


def _purge_orphans() -> None:
    try:
        deleted = orphans.purge()
        log.info("orphans_purged", files=deleted)
    except Exception:
        log.exception("orphans_not_purged")
    finally:
        connection.close()


def release_orphans(*, starting: bool = False) -> int:
    """Free the jobs of processes on this machine that are gone, without waiting for their leases.

    `starting`: also those of an earlier process that had this one's number.
    """
    freed = 0
    running = Job.objects.filter(state=State.RUNNING, worker__startswith=f"{HOST}/").defer("preview")
    for job in running:
        if _is_gone(job, starting):
            held = Job.objects.filter(pk=job.pk, lease_token=job.lease_token)
            freed += lifecycle.release(held, job, killed=True)
    return freed


def release_forgotten() -> int:
    """Free the jobs that this process holds without working on them. The attempt counts: it may have been to blame."""
    freed = 0
    tokens = leases.forgotten()
    for job in Job.objects.filter(state=State.RUNNING, lease_token__in=tokens).defer("preview"):
        held = Job.objects.filter(pk=job.pk, lease_token=job.lease_token)
        freed += lifecycle.release(held, job)
        log.warning("forgotten_job_released", job_id=str(job.pk), attempt=job.attempt)
    return freed


def release_expired() -> int:
    """Put jobs whose worker let the lease run out back to their turns in line."""
    freed = 0
    for job in Job.objects.expired().defer("preview"):
        held = Job.objects.expired().filter(pk=job.pk, lease_token=job.lease_token)
        freed += lifecycle.release(held, job, killed=True)
    return freed


def _is_gone(job: Job, starting: bool) -> bool:
    pid = int(job.worker.rpartition("/")[2])
    if pid == os.getpid():
        return starting and not leases.is_ours(job.lease_token)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def fail_exhausted() -> int:
    """End the jobs whose last attempt took its worker with it; one that did so each time goes into quarantine."""
    failed = 0
    for job in Job.objects.exhausted().defer("preview"):
        lost = job.kills + (job.state == State.RUNNING)
        quarantine = lost >= settings.JOB_ATTEMPTS
        each_time = "each time" if quarantine else f"{lost} times" if lost > 1 else "once"
        what = f"stopped the worker {each_time}" if lost else "could not be finished"
        sentence = f"This was tried {job.attempt} times and {what}. Report job {job.pk}."
        rows = Job.objects.exhausted().filter(pk=job.pk)
        failed += lifecycle.fail(rows, job, sentence, quarantine=quarantine)
        log.error("job_exhausted", job_id=str(job.pk), attempts=job.attempt, quarantined=quarantine)
    return failed


def fail_overdue() -> int:
    """End the jobs whose deadline passed while they waited."""
    failed = 0
    for job in Job.objects.overdue().defer("preview"):
        rows = Job.objects.overdue().filter(pk=job.pk)
        failed += lifecycle.fail(rows, job, "This was not started in time, so it was given up.")
    return failed
