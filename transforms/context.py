"""What an operation is given to work with: it tells how far it is, and asks whether to go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from transforms.broker import stopping
from transforms.durability import forgettable
from transforms.errors import Canceled, JobFailed, LeaseLost, ShuttingDown
from transforms.events import publish
from transforms.models import Job, JobQuerySet

if TYPE_CHECKING:
    from transforms.together import Drawing

PROGRESS_EVERY_SECONDS = 0.2
ASK_EVERY_SECONDS = 0.25


def _nothing() -> None:
    pass


def tag_of(job: Job) -> str:
    """Part of the names of files that a job writes beside others: its next attempt replaces them, another job does not."""
    return f"-{job.pk.hex[:12]}"


@dataclass(frozen=True)
class Outcome:
    """What an operation made. Files are written before, under names of their rows.

    `write` puts it into the database; `discard` removes the files of a result that is not wanted any more; `abandon` does
    what is to be done when the job was lost to somebody else, who may write the same files.
    """

    result: dict[str, Any]
    write: Callable[[], None] = _nothing
    discard: Callable[[], None] = _nothing
    abandon: Callable[[], None] = _nothing


class JobContext:
    """One attempt at one job, by the worker that holds `token`."""

    def __init__(self, pk: UUID, token: UUID, deadline: datetime | None = None) -> None:
        self.pk, self.token, self.deadline = pk, token, deadline
        self.lost = False
        self.canceled = False
        self.kept = False
        """The member wants what was found so far."""
        self.drawing: Drawing | None = None
        """What this job shares with others that are run together with it."""
        self.computed: Callable[[], None] = _nothing
        """To be called when the engine is needed no more: the next job may use it while this one is stored."""
        self._told_at = self._asked_at = 0.0

    @classmethod
    def of(cls, job: Job, token: UUID) -> Self:
        """Of a job that was just claimed."""
        context = cls(job.pk, token, job.deadline)
        context.hear(cancel_requested=job.cancel_requested, keep_partial=job.keep_partial)
        return context

    def hear(self, *, cancel_requested: bool, keep_partial: bool) -> None:
        """What the row says of the member's wishes, as it was just read."""
        self._asked_at = time.monotonic()
        self.kept = keep_partial
        self.canceled = cancel_requested and not keep_partial

    @property
    def held(self) -> JobQuerySet:
        """The job, for as long as this attempt is the one that may write."""
        return Job.objects.held(self.pk, self.token)

    def progress(self, fraction: float, stage: str, preview: bytes | None = None) -> None:
        """Tell how far the work is (0 to 1). Kept five times a second, and with each preview (WebP)."""
        now = time.monotonic()
        if preview is None and now - self._told_at < PROGRESS_EVERY_SECONDS:
            return
        self._told_at = now
        changes: dict[str, Any] = {"progress": min(max(fraction, 0.0), 1.0), "stage": stage[:80]}
        if preview is not None:
            changes |= {"preview": preview, "preview_at": timezone.now()}
        self.update(**changes)

    def update(self, **changes: Any) -> None:
        """Change the job's row and tell its watchers. LeaseLost if it is not ours any more."""
        with forgettable(single=True):
            kept = self.held.update(sequence=F("sequence") + 1, **changes)
        if not kept:
            self.lost = True
            raise LeaseLost
        publish(self.pk, progress=True)

    def should_stop(self) -> bool:
        """Whether to leave now. Asks the database at most four times a second: call it at each step."""
        if not (self.lost or self.canceled or self.kept or stopping.is_set()):
            now = time.monotonic()
            if now - self._asked_at >= ASK_EVERY_SECONDS:
                self._asked_at = now
                self._ask()
        return self.lost or self.canceled or self.kept or self.is_late or stopping.is_set()

    @property
    def is_late(self) -> bool:
        return self.deadline is not None and timezone.now() >= self.deadline

    def check(self) -> None:
        """Raise the reason to leave, if there is one. Somebody who wants what was found so far is none."""
        self._ask()
        self.leave()

    def leave(self) -> None:
        """Raise the reason to leave, as far as it is known without asking again."""
        if self.lost:
            raise LeaseLost
        if self.canceled:
            raise Canceled
        if self.is_late and not self.kept:
            raise JobFailed("This was not done in time, so it was given up.")
        if stopping.is_set() and not self.kept:
            raise ShuttingDown

    def _ask(self) -> None:
        row = self.held.values("cancel_requested", "keep_partial").first()
        if row is None:
            self.lost = True
        else:
            self.hear(**row)
