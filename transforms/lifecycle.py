"""The moves of a job between its states, with what they mean for its pictures. Each is one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from gallery.models import Image, ImageQuerySet, SavedImage, Status
from transforms import metrics, slices
from transforms.durability import forgettable
from transforms.events import publish_as_read_on_commit, publish_on_commit
from transforms.models import CheckpointImport, ImportState, Job, JobQuerySet, Operation, State


def claim(pk: UUID, token: UUID, worker: str) -> Job | None:
    """Take a job for the worker that holds `token`; its pictures show that something happens.

    None: another was faster, or it is over. What the job is about is read by the operation that needs it.
    """
    with forgettable():
        job = Job.objects.claim(pk, token, worker)
        if job is None:
            return None
        _mark(job, Status.RUNNING)
        publish_as_read_on_commit(job)
    return job


def complete(held: JobQuerySet, job: Job, result: dict[str, object], write: Callable[[], None]) -> bool:
    """Result and terminal state in one transaction. False: the job was canceled, or is not held any more."""
    wanted = held.filter(Q(cancel_requested=False) | Q(keep_partial=True))
    changes = {"progress": 1.0, "stage": "", "error": "", "result": result, "finished_at": timezone.now()}
    with transaction.atomic():
        ended = wanted.finish(State.SUCCEEDED, **changes)
        if not ended:
            return False
        write()
        _count_on_commit(job, State.SUCCEEDED)
        publish_as_read_on_commit(ended[0])
    return True


def fail(jobs: JobQuerySet, job: Job, error: str, *, quarantine: bool = False) -> bool:
    """The job cannot be done. `jobs` is the condition under which that may still be said.

    `quarantine`: it must not be tried again before somebody of the staff has looked at it.
    """
    marks = {"quarantined_at": timezone.now()} if quarantine else {}
    with transaction.atomic():
        if not jobs.finish(State.FAILED, stage="", error=error[:300], **marks):
            return False
        _settle(job, State.FAILED)
        _count_on_commit(job, State.FAILED)
        publish_on_commit(job.pk)
    return True


def cancel(jobs: JobQuerySet, job: Job) -> bool:
    """The job is not wanted any more: what is not drawn yet disappears."""
    with transaction.atomic():
        if not jobs.finish(State.CANCELED, stage="", cancel_requested=True):
            return False
        _settle(job, State.CANCELED)
        _count_on_commit(job, State.CANCELED)
        publish_on_commit(job.pk)
    return True


def release(
    held: JobQuerySet,
    job: Job,
    *,
    refund: bool = False,
    killed: bool = False,
    wait: timedelta | None = None,
) -> bool:
    """Back to the queue. A job whose owner asked to cancel meanwhile ends instead."""
    with transaction.atomic():
        if cancel(held.filter(cancel_requested=True), job):
            return True
        if not held.release(refund=refund, killed=killed, wait=wait):
            return False
        _mark(job, Status.QUEUED)
        publish_on_commit(job.pk)
    return True


def _count_on_commit(job: Job, state: State) -> None:
    transaction.on_commit(partial(metrics.job_ended, job.operation, state.value), robust=True)


def undrawn(job: Job) -> ImageQuerySet:
    """The pictures of a random batch that are not there yet."""
    ready = set(job.result.get("ready", []))
    return Image.objects.filter(
        pk__in=[UUID(pk) for pk in job.result.get("images", []) if pk not in ready], file=""
    )


def _mark(job: Job, status: Status) -> None:
    if job.operation == Operation.RANDOM:
        undrawn(job).update(status_process=status)
    elif job.operation == Operation.PROJECT:
        Image.objects.filter(jobs=job).update(status_process=status)
    elif job.operation == Operation.UPSCALE:
        SavedImage.objects.filter(jobs=job).update(status_superresolution=status)
    elif job.operation == Operation.DIRECTIONS:
        CheckpointImport.objects.filter(jobs=job).update(status_directions=status)


def _settle(job: Job, state: State) -> None:
    """What an unsuccessful end leaves behind. An earlier result stays in force."""
    ended = Value(Status.FAILED if state == State.FAILED else Status.NONE)
    job = Job.objects.defer("preview").get(pk=job.pk)
    if job.operation == Operation.RANDOM and state == State.CANCELED:
        undrawn(job).delete()
    elif job.operation == Operation.RANDOM:
        undrawn(job).update(status_process=Status.FAILED)
    elif job.operation == Operation.PROJECT:
        kept = When(projection__isnull=False, then=Value(Status.DONE))
        Image.objects.filter(jobs=job).update(status_process=Case(kept, default=ended))
    elif job.operation == Operation.UPSCALE:
        kept = When(~Q(upscaled_file=""), then=Value(Status.DONE))
        SavedImage.objects.filter(jobs=job).update(status_superresolution=Case(kept, default=ended))
    elif job.operation == Operation.DIRECTIONS:
        CheckpointImport.objects.filter(jobs=job).update(status_directions=ended)
    elif job.operation == Operation.IMPORT:
        _end_import(job, ImportState.FAILED if state == State.FAILED else ImportState.CANCELED)


def _end_import(job: Job, state: ImportState) -> None:
    """The uploaded file is of no more use: what could be mended is mended in another file."""
    CheckpointImport.objects.filter(jobs=job).end(state, job.error)
    if job.checkpoint_import_id is not None:
        transaction.on_commit(partial(slices.delete, job.checkpoint_import_id), robust=True)


def touch(pk: UUID) -> None:
    """Something that a watcher can see has changed."""
    Job.objects.filter(pk=pk).update(sequence=F("sequence") + 1)
    publish_on_commit(pk)
