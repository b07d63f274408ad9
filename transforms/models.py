"""Doing: the job row, which is the truth about every piece of durable work, and checkpoints on their way in."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import connections, models
from django.db.models import Case, F, Max, Q, When
from django.utils import timezone

from accounts.models import User
from gallery.models import Image, SavedImage, Status
from transforms.durability import forgettable
from transforms.returning import update_returning


class Operation(models.TextChoices):
    RANDOM = "random", "Generate pictures"
    PROJECT = "project", "Project"
    SAVE = "save", "Save"
    UPSCALE = "upscale", "Enlarge"
    IMPORT = "import", "Import a generator"
    DIRECTIONS = "directions", "Compute directions"


class State(models.TextChoices):
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Done"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"


class Priority(models.IntegerChoices):
    """Small numbers go first. Batch work is not starved: see `transforms.line`."""

    INTERACTIVE = 0, "Somebody waits for it"
    BATCH = 1, "Nobody waits for it"


ACTIVE = (State.QUEUED, State.RUNNING)
FAILURES = (State.FAILED, State.CANCELED)
FINISHED = (State.SUCCEEDED, *FAILURES)


class ImportState(models.TextChoices):
    UPLOADING = "uploading", "Uploading"
    IMPORTING = "importing", "Importing"
    INSTALLED = "installed", "Installed"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"
    REMOVED = "removed", "Removed"


# While an import is in one of these, its name is taken.
IMPORTS_WITH_NAME = (ImportState.UPLOADING, ImportState.IMPORTING, ImportState.INSTALLED)
IMPORTS_WITH_FILES = (ImportState.UPLOADING, ImportState.IMPORTING)


class CheckpointImportQuerySet(models.QuerySet["CheckpointImport"]):
    def uploads_of(self, user: User | AnonymousUser) -> CheckpointImportQuerySet:
        """What `user` sends: a lookup fetches and authorises in one step, and somebody else's upload is not there."""
        return self.filter(user=user) if isinstance(user, User) else self.none()

    def uploading(self) -> CheckpointImportQuerySet:
        return self.filter(state=ImportState.UPLOADING)

    def unfinished(self) -> CheckpointImportQuerySet:
        """Those whose uploaded file lies in the storage."""
        return self.filter(state__in=IMPORTS_WITH_FILES)

    def stale(self) -> CheckpointImportQuerySet:
        """Uploads that nobody went on with."""
        horizon = timezone.now() - timedelta(seconds=settings.CHECKPOINT_STALE_SECONDS)
        return self.uploading().filter(changed_at__lt=horizon)

    def end(self, state: ImportState, error: str = "") -> int:
        """Say that the imports of this query, which must not be over yet, came to nothing."""
        return self.unfinished().update(state=state, error=error[:300], changed_at=timezone.now())


class CheckpointImport(models.Model):
    """A checkpoint that somebody brings into the site, and the generator that it became.

    ::

        uploading -> importing -> installed -> removed
                               -> failed | canceled
        uploading -> canceled  (given up, or left alone for a day)

    The file arrives in slices (`transforms.slices`), is read by a job, and is deleted when that ends. `name` is the
    generator's folder; nobody is its `user` if it was imported by command. `status_directions` tells how far its contact
    sheet and directions are.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="checkpoint_imports",
        verbose_name="who",
    )
    name = models.CharField(max_length=63)
    label = models.CharField(max_length=80, blank=True)
    license = models.CharField("licence", max_length=300, blank=True)
    classes: models.JSONField[Any, Any] = models.JSONField(default=list, blank=True)
    file_name = models.CharField(max_length=120)
    fingerprint = models.CharField(
        max_length=64, blank=True, help_text="What the sender tells one file from another by."
    )
    bytes_total = models.PositiveBigIntegerField("size")
    bytes_received = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=ImportState.choices, default=ImportState.UPLOADING)
    status_directions = models.CharField(
        "directions", max_length=10, choices=Status.choices, default=Status.NONE
    )
    source_sha256 = models.CharField("SHA-256 of the file", max_length=64, blank=True)
    generator_sha256 = models.CharField("SHA-256 of the generator", max_length=64, blank=True)
    report: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField("when", default=timezone.now, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CheckpointImportQuerySet.as_manager()

    class Meta:
        verbose_name = "generator import"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(state__in=["uploading", "importing", "installed"]),
                name="import_takes_its_name",
            )
        ]

    def __str__(self) -> str:
        return self.label or self.name

    @property
    def is_active(self) -> bool:
        return self.state in IMPORTS_WITH_FILES

    @property
    def is_installed(self) -> bool:
        return self.state == ImportState.INSTALLED


def current_request_id() -> str:
    """The number of the request that is being answered; empty in commands and workers."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64]


LINE = ("priority", "turn", "created_at", "id")
"""The order in which waiting jobs are served."""


class JobQuerySet(models.QuerySet["Job"]):
    def visible_to(self, user: User | AnonymousUser) -> JobQuerySet:
        return self.filter(user=user) if isinstance(user, User) else self.none()

    def active(self) -> JobQuerySet:
        return self.filter(state__in=ACTIVE)

    def expired(self) -> JobQuerySet:
        """Running jobs whose worker let the lease run out."""
        return self.filter(state=State.RUNNING, lease_until__lt=timezone.now())

    def in_line(self) -> JobQuerySet:
        """Waiting jobs in the order of their turns."""
        return self.filter(state=State.QUEUED).order_by(*LINE)

    def due(self) -> JobQuerySet:
        """Those that may be started now: with attempts left, not too early and not too late."""
        now = timezone.now()
        return self.filter(
            Q(not_before=None) | Q(not_before__lte=now),
            Q(deadline=None) | Q(deadline__gt=now),
            attempt__lt=settings.JOB_ATTEMPTS,
        )

    def claimable(self) -> JobQuerySet:
        """Waiting jobs, and running ones whose worker let the lease run out, that may be started now."""
        lost = Q(state=State.RUNNING, lease_until__lt=timezone.now())
        return self.due().filter(Q(state=State.QUEUED) | lost)

    def exhausted(self) -> JobQuerySet:
        """Jobs that may not be tried again and that nobody works on."""
        return self.filter(
            Q(state=State.QUEUED) | Q(state=State.RUNNING, lease_until__lt=timezone.now()),
            attempt__gte=settings.JOB_ATTEMPTS,
        )

    def overdue(self) -> JobQuerySet:
        """Jobs that were not started in time."""
        return self.filter(state=State.QUEUED, deadline__lte=timezone.now())

    def next_turn(self, user: User, priority: int) -> int:
        """The turn of what `user` asks for now: after all that they have in line, and not before those who are served now.

        So members are served in turn, whatever each has in line, and nobody saves up turns while away.
        """
        active = self.active().filter(priority=priority)
        served = active.filter(state=State.RUNNING).aggregate(turn=Max("turn"))["turn"]
        if served is None:
            served = active.in_line().values_list("turn", flat=True).first() or 0
        own = active.filter(user=user).aggregate(turn=Max("turn"))["turn"]
        return int(served if own is None else max(served, own + 1))

    def claim(self, pk: uuid.UUID, token: uuid.UUID, worker: str = "") -> Job | None:
        """Take the job for the worker that holds `token`. None: another was faster, or it is over.

        Never waits for another worker that is just taking it, where the database can skip locked rows.
        """
        free = self.claimable().filter(pk=pk)
        if not connections[self.db].features.has_select_for_update_skip_locked:
            return free._take(token, worker)
        with forgettable(single=True):
            rows = free.order_by().select_for_update(skip_locked=True)
            return self.filter(pk__in=rows.values("pk"))._take(token, worker)

    def _take(self, token: uuid.UUID, worker: str) -> Job | None:
        now = timezone.now()
        taken = update_returning(
            self,
            ALL_BUT_PREVIEW,
            state=State.RUNNING,
            worker=worker,
            lease_token=token,
            lease_until=now + timedelta(seconds=settings.JOB_LEASE_SECONDS),
            attempt=F("attempt") + 1,
            kills=Case(
                When(state=State.RUNNING, then=F("kills") + 1),
                default=F("kills"),
                output_field=models.PositiveSmallIntegerField(),
            ),
            started_at=now,
            sequence=F("sequence") + 1,
        )
        return taken[0] if taken else None

    def held(self, pk: uuid.UUID, token: uuid.UUID) -> JobQuerySet:
        """The job, as long as the worker with `token` still holds it: all writes of a worker go through here."""
        return self.filter(pk=pk, state=State.RUNNING, lease_token=token)

    def renew(self, pk: uuid.UUID, token: uuid.UUID) -> bool:
        """Hold the job for another lease. False: it was taken over, or it is over."""
        until = timezone.now() + timedelta(seconds=settings.JOB_LEASE_SECONDS)
        return bool(self.held(pk, token).update(lease_until=until))

    def release(self, *, refund: bool = False, killed: bool = False, wait: timedelta | None = None) -> int:
        """Put running jobs back into the queue, to their old turns.

        `refund`: the attempt does not count, the job is not to blame. `killed`: its worker is gone.
        """
        return self.filter(state=State.RUNNING).update(
            state=State.QUEUED,
            worker="",
            lease_token=None,
            lease_until=None,
            not_before=None if wait is None else timezone.now() + wait,
            stage="",
            progress=0.0,
            attempt=F("attempt") - 1 if refund else F("attempt"),
            kills=F("kills") + 1 if killed else F("kills"),
            sequence=F("sequence") + 1,
        )

    def finish(self, state: State, **fields: Any) -> list[Job]:
        """Move the jobs of this query, which must be active ones, to a terminal state. Gives those that were moved."""
        fields.setdefault("finished_at", timezone.now())
        return update_returning(
            self.active(),
            ALL_BUT_PREVIEW,
            state=state,
            lease_token=None,
            lease_until=None,
            sequence=F("sequence") + 1,
            **fields,
        )


class Job(models.Model):
    """One piece of durable work.

    States, and the only moves between them::

        queued -> running -> succeeded
                          -> failed
                          -> canceled
        queued -> canceled
        running -> queued      (released: the worker stopped, or something unknown failed with attempts left)

    Every move is a conditional update whose row count is looked at. `sequence` grows with each change that a
    watcher could see, so that a page can ignore news that is older than what it shows. `priority` and `turn` are its place
    in the line (`transforms.line`).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="jobs")
    operation = models.CharField(max_length=20, choices=Operation.choices)
    title = models.CharField(
        max_length=160, blank=True, help_text="What it is about, in words for the member."
    )
    params = models.JSONField(default=dict)
    image = models.ForeignKey(Image, on_delete=models.CASCADE, null=True, blank=True, related_name="jobs")
    saved_image = models.ForeignKey(
        SavedImage, on_delete=models.CASCADE, null=True, blank=True, related_name="jobs"
    )
    checkpoint_import = models.ForeignKey(
        CheckpointImport, on_delete=models.CASCADE, null=True, blank=True, related_name="jobs"
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    progress = models.FloatField(default=0.0, help_text="0 to 1")
    stage = models.CharField(
        max_length=80, blank=True, help_text="What it does now, in words for the member."
    )
    priority = models.PositiveSmallIntegerField(choices=Priority.choices, default=Priority.INTERACTIVE)
    turn = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="In which round of its priority it is served."
    )
    generator = models.CharField(
        max_length=100, blank=True, help_text="The one that it needs; empty if it needs none."
    )
    kind = models.CharField(
        max_length=160,
        blank=True,
        editable=False,
        help_text="Jobs of one kind take about as long as each other.",
    )
    attempt = models.PositiveSmallIntegerField(default=0)
    kills = models.PositiveSmallIntegerField(
        default=0, help_text="How many of the attempts ended with the death of the worker."
    )
    quarantined_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="It killed its worker each time: staff alone may try it again.",
    )
    deadline = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="What is not done by then is not wanted any more."
    )
    sequence = models.PositiveIntegerField(default=1)
    not_before = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Do not try again earlier."
    )
    worker = models.CharField(
        max_length=120, blank=True, editable=False, help_text="host/process that runs it"
    )
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    cancel_requested = models.BooleanField(default=False)
    keep_partial = models.BooleanField(default=False, help_text="Stop and keep what was found so far.")
    retry_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="retries"
    )
    preview = models.BinaryField(
        null=True, blank=True, editable=False, help_text="The picture as it converges (WebP)."
    )
    preview_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When the preview was drawn."
    )
    error = models.CharField(max_length=300, blank=True)
    result: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)
    request_id = models.CharField(
        max_length=64,
        blank=True,
        default=current_request_id,
        db_default="",  # an older process may still add rows while sites are brought up to date one by one
        editable=False,
        help_text="The request that asked for it, as logs know it.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(
                fields=["state", "created_at"],
                name="job_waiting",
                condition=Q(state__in=["queued", "running"]),
            ),
            models.Index(fields=[*LINE], name="job_line", condition=Q(state="queued")),
            models.Index(
                fields=["user", "priority", "turn"],
                name="job_active_of_member",
                condition=Q(state__in=["queued", "running"]),
            ),
            models.Index(fields=["user", "-created_at", "-id"], name="job_newest_of_member"),
            models.Index(fields=["-finished_at"], name="job_failed", condition=Q(state="failed")),
            models.Index(
                fields=["-quarantined_at"],
                name="job_quarantined",
                condition=Q(quarantined_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_operation_display()} ({self.get_state_display()})"

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def is_quarantined(self) -> bool:
        return self.quarantined_at is not None

    @property
    def has_preview(self) -> bool:
        return self.preview_at is not None


ALL_BUT_PREVIEW = frozenset(field.attname for field in Job._meta.concrete_fields) - {"preview"}


class WishKey(models.Model):
    """The key under which a member asked for something, and the job that it became (None: it was there already)."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="wish_once")]

    def __str__(self) -> str:
        return self.key


class RunTime(models.Model):
    """How long a job took that succeeded, and what was told at its beginning: from `low` to `high`."""

    kind = models.CharField(max_length=160)
    device = models.CharField(max_length=80)
    seconds = models.FloatField()
    low = models.FloatField(null=True)
    high = models.FloatField(null=True)
    created_at = models.DateTimeField("when", default=timezone.now)

    class Meta:
        verbose_name = "time that a job took"
        verbose_name_plural = "times that jobs took"
        indexes = [models.Index(fields=["kind", "device", "-id"], name="run_time_newest")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.seconds:.1f} s"

    @property
    def came_true(self) -> bool | None:
        """Whether it lay in the range that was told; None if none was."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.seconds <= self.high
