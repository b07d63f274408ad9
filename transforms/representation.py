"""How a job looks to those who watch it: the same JSON on the sockets and in the API, and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from transforms.estimates import Outlook, in_words, outlooks
from transforms.models import FAILURES, Job, JobQuerySet, Operation, State


def job_as_data(job: Job, outlook: Outlook | None = None) -> dict[str, Any]:
    """The job as plain JSON, with what can be told of its future."""
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
        "started_at": job.started_at and job.started_at.isoformat(),
        "finished_at": job.finished_at and job.finished_at.isoformat(),
        "has_preview": job.has_preview,
        "preview_url": reverse("transforms:job_preview", args=[job.pk]) if job.has_preview else None,
        **outlook_as_data(job, outlook or Outlook()),
        "can_cancel": job.is_active and not job.cancel_requested,
        "can_keep": job.operation == Operation.PROJECT and job.state == State.RUNNING and job.has_preview,
        "can_retry": job.state in FAILURES and job.operation != Operation.IMPORT and not job.is_quarantined,
    }


def outlook_as_data(job: Job, outlook: Outlook) -> dict[str, Any]:
    """What changes of a job by itself: its position in line (1 is next), and the time left, in seconds and in words."""
    return {
        "position": outlook.position,
        "seconds_left": outlook.left and [round(seconds, 1) for seconds in outlook.left],
        "outlook": in_words(outlook, job.state) if job.is_active else "",
    }


def jobs_as_data(jobs: Sequence[Job], *, exact: bool = True) -> list[dict[str, Any]]:
    """Several jobs with what can be told of their future, in a constant number of queries."""
    found = outlooks(jobs, exact=exact)
    return [job_as_data(job, found.get(job.pk)) for job in jobs]


def preview_response(jobs: JobQuerySet, pk: UUID) -> HttpResponse:
    """What a projection looks like at present (WebP), if the job is among `jobs`."""
    job = get_object_or_404(jobs, pk=pk)
    if not job.preview:
        raise Http404("There is no preview yet.")
    response = HttpResponse(bytes(job.preview), content_type="image/webp")
    response["Cache-Control"] = "private, no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
