"""How a job looks to those who watch it: the same JSON on the sockets and in the API, and its picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from transforms.models import FAILURES, Job, JobQuerySet, Operation, State


def job_as_data(job: Job, position: int | None = None) -> dict[str, Any]:
    """The job as plain JSON. `position`: how many-th in the queue, 1 being next; None if it does not wait."""
    return {
        "id": str(job.pk),
        "sequence": job.sequence,
        "operation": job.operation,
        "title": job.title or job.get_operation_display(),
        "state": job.state,
        "progress": round(job.progress, 4),
        "stage": job.stage,
        "attempt": job.attempt,
        "image": _text(job.image_id),
        "saved_image": _text(job.saved_image_id) or job.result.get("saved_image"),
        "checkpoint_import": _text(job.checkpoint_import_id),
        "images": list(job.result.get("images", [])),
        "ready": list(job.result.get("ready", [])),
        "error": job.error,
        "created_at": job.created_at.isoformat(),
        "finished_at": job.finished_at and job.finished_at.isoformat(),
        "has_preview": job.has_preview,
        "preview_url": reverse("transforms:job_preview", args=[job.pk]) if job.has_preview else None,
        "position": position,
        "can_cancel": job.is_active and not job.cancel_requested,
        "can_keep": job.operation == Operation.PROJECT and job.state == State.RUNNING and job.has_preview,
        "can_retry": job.state in FAILURES and job.operation != Operation.IMPORT and not job.is_quarantined,
    }


def jobs_as_data(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Several jobs with their positions, in a constant number of queries."""
    positions = positions_of(jobs)
    return [job_as_data(job, positions.get(job.pk)) for job in jobs]


def preview_response(jobs: JobQuerySet, pk: UUID) -> HttpResponse:
    """What a projection looks like at present (WebP), if the job is among `jobs`."""
    job = get_object_or_404(jobs, pk=pk)
    if not job.preview:
        raise Http404("There is no preview yet.")
    response = HttpResponse(bytes(job.preview), content_type="image/webp")
    response["Cache-Control"] = "private, no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def positions_of(jobs: Iterable[Job]) -> dict[UUID, int]:
    """When waiting jobs will have their turn, if members are served in turn and nothing new comes."""
    waiting = [job for job in jobs if job.state == State.QUEUED]
    if not waiting:
        return {}
    queue = list(
        Job.objects.filter(state=State.QUEUED).order_by("created_at", "id").values_list("user_id", "pk")
    )
    rounds = _rounds(queue)
    order = {pk: index + 1 for index, pk in enumerate(sorted(rounds, key=lambda pk: rounds[pk]))}
    return {job.pk: order[job.pk] for job in waiting if job.pk in order}


def _rounds(queue: Sequence[tuple[UUID, UUID]]) -> dict[UUID, int]:
    """For each job, how many of its owner's come before it. (A stable sort by this is a round-robin.)"""
    seen: Counter[UUID] = Counter()
    rounds = {}
    for user_id, pk in queue:
        rounds[pk] = seen[user_id]
        seen[user_id] += 1
    return rounds


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
