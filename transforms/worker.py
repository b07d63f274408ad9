"""Runs jobs: claims one, works on it under a lease, and ends it as the state machine allows."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta

import structlog
from django.conf import settings
from django.utils import timezone

from gallery.errors import GalleryError, PictureGone, StorageAway
from transforms import estimates, leases, lifecycle, metrics
from transforms.actors import ring
from transforms.context import JobContext
from transforms.engine import EngineError, EngineStopped, engine, is_out_of_memory
from transforms.errors import Canceled, LeaseLost, ShuttingDown, TransformError
from transforms.line import Line
from transforms.models import Job
from transforms.operations import operation_of
from transforms.sweeper import worker_name
from transforms.together import Drawing, take_along
from transforms.turns import Turn, turns

log = structlog.get_logger(__name__)

KNOWN_ERRORS = (TransformError, EngineError, GalleryError)
BACK_OFF_SECONDS = 2.0
TOO_LARGE = "This needs more memory than this machine has to spare. Try it with less: a smaller picture, or a smaller model."

line = Line()


def drain() -> int:
    """Run jobs until none is claimable or the process stops. Gives how many were run."""
    done = 0
    with _job_thread():
        while turn := turns.take():
            with turn, leases.accounted() as new_token:
                token = new_token()
                job = line.claim_next(token, worker_name(), engine().resident())
                if job is None:
                    break
                done += _run_together(job, token, new_token, turn)
    estimates.write_down()
    return done


def run_one(pk: uuid.UUID) -> bool:
    """Claim this job and run it. False if another worker has it, or it is over."""
    with leases.accounted() as new_token:
        token = new_token()
        job = lifecycle.claim(pk, token, worker_name())
        if job is None:
            return False
        context = JobContext.of(job, token)
        with leases.working(context):
            _run(job, context)
    estimates.write_down()
    return True


def _run_together(job: Job, token: uuid.UUID, new_token: Callable[[], uuid.UUID], turn: Turn) -> int:
    """Run this job, which was claimed, and those that are drawn together with it. Gives how many there were.

    The turn ends when the last of them is computed.
    """
    taken = [(job, token), *take_along(job, worker_name(), new_token)]
    waiting = [(job, JobContext.of(job, token)) for job, token in taken]
    count = len(waiting)
    waiting[-1][1].computed = turn.end
    try:
        with ExitStack() as held:
            for _, each in waiting:
                held.enter_context(leases.working(each))
            if count > 1:
                drawing = Drawing([each for each, _ in waiting])
                for _, each in waiting:
                    each.drawing = drawing
            while waiting:
                _run(*waiting.pop(0))
    finally:
        for other, its in waiting:  # this process is told to end
            lifecycle.release(its.held, other, refund=True)
    return count


def _run(job: Job, context: JobContext) -> None:
    metrics.job_taken(job)
    began = time.perf_counter()
    known = {"job_id": str(job.pk), "operation": job.operation, "request_id": job.request_id}
    with structlog.contextvars.bound_contextvars(**known):
        _attempt(job, context)
    metrics.job_run(job.operation, time.perf_counter() - began)


def _attempt(job: Job, context: JobContext) -> None:
    """One attempt, and the end that it comes to."""
    out_of_memory = False
    try:
        _work(job, context)
    except LeaseLost:
        log.warning("job_lost", attempt=job.attempt)
    except (Canceled, PictureGone):
        lifecycle.cancel(context.held, job)
    except ShuttingDown:
        lifecycle.release(context.held, job, refund=True)
    except StorageAway as error:
        log.warning("job_without_storage", attempt=job.attempt, error=str(error))
        _after_crash(job, context, str(error))
    except KNOWN_ERRORS as error:
        log.info("job_failed", error=str(error))
        lifecycle.fail(context.held, job, str(error))
        out_of_memory = is_out_of_memory(error)
    except Exception as error:
        out_of_memory = is_out_of_memory(error)
        if out_of_memory:
            log.warning("job_out_of_memory", error=str(error)[:300])
            lifecycle.fail(context.held, job, TOO_LARGE)
        else:
            log.exception("job_crashed", attempt=job.attempt)
            _after_crash(job, context)
    except BaseException:
        lifecycle.release(context.held, job, refund=True)
        raise
    if out_of_memory:  # outside the handler: the error holds on to what did not fit
        engine().free_memory()


def _work(job: Job, context: JobContext) -> None:
    context.leave()
    try:
        with engine().job_threads():
            outcome = operation_of(job.operation)(job, context)
    except EngineStopped as error:
        context.check()
        raise LeaseLost from error  # nobody asked to stop, as far as the row says
    if lifecycle.complete(context.held, job, outcome.result, outcome.write):
        log.info("job_done", attempt=job.attempt)
        if job.attempt == 1 and not context.kept and context.drawing is None:
            _learn(job)
        return
    try:
        context.check()
        raise LeaseLost
    except Canceled:
        outcome.discard()
        raise
    except LeaseLost:
        outcome.abandon()
        raise


def _learn(job: Job) -> None:
    """How long it took tells how long others will take. (A second attempt may have found half of it done, and
    what is drawn together waits for each other.)"""
    assert job.started_at is not None  # noqa: S101  (it was claimed)
    try:
        estimates.learn(job, (timezone.now() - job.started_at).total_seconds())
    except Exception:
        log.exception("time_not_kept")


def _after_crash(job: Job, context: JobContext, sentence: str = "") -> None:
    """An error that may pass: try again a little later, unless that was the last attempt. `sentence`: if it is known."""
    if job.attempt < settings.JOB_ATTEMPTS:
        wait = timedelta(seconds=BACK_OFF_SECONDS**job.attempt)
        lifecycle.release(context.held, job, wait=wait)
        ring(wait.total_seconds())
    else:
        sentence = sentence or (
            f"Something went wrong. If it happens again, tell the people who run this site: job {job.pk}."
        )
        lifecycle.fail(context.held, job, sentence)


@contextmanager
def _job_thread() -> Iterator[None]:
    """Jobs yield to pages and previews: fewer cores, and a lower priority for this thread."""
    if settings.ENGINE_JOB_NICE:
        with suppress(OSError, AttributeError):  # not every system has priorities for threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), settings.ENGINE_JOB_NICE)
    yield
