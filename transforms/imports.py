"""Checkpoints on their way in, and what becomes of them: each function checks, writes the rows, and wakes a worker."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from accounts.models import User
from gallery.models import Image, Projection, SavedImage, Status
from transforms import installing, slices
from transforms.errors import InvalidParams, NotReady, QuotaReached
from transforms.import_params import ImportParams
from transforms.models import CheckpointImport, ImportState, Job, Operation, Priority
from transforms.services import enqueue

UNFINISHED_TOGETHER = 2
"""All unfinished uploads together may be as large as so many of the largest."""
UNFINISHED_COUNT = 20
# An import whose job is gone (with its member) is given up; one that is just being written is not.
LOST_AFTER = timedelta(minutes=5)


class OutOfStep(NotReady):
    """The slice is not the one that comes next: `row` says how many bytes are here."""

    def __init__(self, row: CheckpointImport) -> None:
        super().__init__(
            f"{row.bytes_received} bytes of this file are here. Go on from there."
            if row.state == ImportState.UPLOADING
            else "This upload is over."
        )
        self.row = row


class InUse(NotReady):
    """Pictures need the generator."""


# --- The file comes in --------------------------------------------------------------------------------------


def begin(user: User, data: dict[str, Any]) -> tuple[CheckpointImport, bool]:
    """Announce a file. Gives its row, and whether that is a new one: who announces the same again goes on with it."""
    params = ImportParams.from_data(data, max_bytes=settings.CHECKPOINT_MAX_BYTES)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        kept = CheckpointImport.objects.uploads_of(user).uploading().filter(name=params.name).first()
        if kept is not None:
            return _go_on(kept, params), False
        installing.refuse_taken(params.name)
        _free(params.name)
        _check_limits(params.bytes)
        return _create(user, params), True


def _go_on(row: CheckpointImport, params: ImportParams) -> CheckpointImport:
    same = (row.file_name, row.bytes_total, row.fingerprint) == (
        params.file_name,
        params.bytes,
        params.fingerprint,
    )
    if not same:
        raise NotReady(
            f"You are uploading another file as “{row.name}”. Go on with that one, discard it, or choose another name."
        )
    row.label, row.license, row.classes = params.label, params.license, list(params.classes)
    row.save(update_fields=["label", "license", "classes"])
    return row


def _create(user: User | None, params: ImportParams, **fields: Any) -> CheckpointImport:
    try:
        with transaction.atomic():
            return CheckpointImport.objects.create(
                user=user,
                name=params.name,
                label=params.label,
                license=params.license,
                classes=list(params.classes),
                file_name=params.file_name,
                fingerprint=params.fingerprint,
                bytes_total=params.bytes,
                **fields,
            )
    except IntegrityError as error:
        raise _awaited(params.name) from error


def _awaited(name: str) -> InvalidParams:
    return InvalidParams(
        "name", f"A generator named “{name}” is being imported already. Choose another name."
    )


def _check_limits(size: int) -> None:
    unfinished = CheckpointImport.objects.unfinished()
    together = unfinished.aggregate(total=Sum("bytes_total"))["total"] or 0
    if (
        together + size > UNFINISHED_TOGETHER * settings.CHECKPOINT_MAX_BYTES
        or unfinished.count() >= UNFINISHED_COUNT
    ):
        raise QuotaReached(
            "Too many uploads of generators are unfinished on this site. Wait for one, or discard one."
        )
    slices.check_room(size)


def receive(user: User, pk: UUID, offset: int, data: bytes) -> CheckpointImport:
    """Take the slice at `offset`. With the last one the import is on its way. CheckpointImport.DoesNotExist, OutOfStep."""
    row = CheckpointImport.objects.uploads_of(user).get(pk=pk)
    if row.state != ImportState.UPLOADING or offset != row.bytes_received:
        raise OutOfStep(row)
    size = slices.slice_size(offset, row.bytes_total)
    if len(data) != size:
        raise InvalidParams("slice", f"This slice must have {size} bytes, and {len(data)} came.")
    slices.write(row.pk, offset, data)
    with transaction.atomic():
        next_one = CheckpointImport.objects.uploading().filter(pk=pk, bytes_received=offset)
        if not next_one.update(bytes_received=offset + size, changed_at=timezone.now()):
            row.refresh_from_db()
            raise OutOfStep(row)
        row.refresh_from_db()
        if row.bytes_received == row.bytes_total:
            _request_import(user, row)
    return row


def _request_import(user: User, row: CheckpointImport) -> Job:
    row.state = ImportState.IMPORTING
    row.save(update_fields=["state"])
    return enqueue(
        user,
        Operation.IMPORT,
        title=f"Import “{row}” from {row.file_name}",
        params={},
        size=f"{_mebibytes(row.bytes_total)} MB",
        priority=Priority.BATCH,
        checkpoint_import=row,
    )


def _mebibytes(count: int) -> int:
    """The power of two that is next."""
    return 1 << (count >> 20).bit_length()


def discard(row: CheckpointImport) -> bool:
    """Give an upload up. False: it is whole already, or over."""
    with transaction.atomic():
        if not CheckpointImport.objects.uploading().filter(pk=row.pk).end(ImportState.CANCELED):
            return False
        transaction.on_commit(partial(slices.delete, row.pk))
    return True


# --- What becomes of it -------------------------------------------------------------------------------------


def installed(row: CheckpointImport, report: dict[str, Any]) -> None:
    """Inside the transaction that ends its job: the generator is in its place."""
    CheckpointImport.objects.filter(pk=row.pk).update(
        state=ImportState.INSTALLED,
        label=(report.get("label") or row.label)[:80],
        license=(report.get("license") or row.license)[:300],
        report=report,
        source_sha256=report.get("source_sha256", ""),
        generator_sha256=report.get("generator_sha256", ""),
        error="",
        changed_at=timezone.now(),
    )
    transaction.on_commit(partial(slices.delete, row.pk))


def refuse_awaited(name: str) -> None:
    """InvalidParams if an upload that is not over has this name."""
    if CheckpointImport.objects.unfinished().filter(name=name).exists():
        raise _awaited(name)


def note_command(params: ImportParams, report: dict[str, Any]) -> CheckpointImport:
    """The row of a generator that was imported by command."""
    _free(params.name)
    row = _create(None, params, bytes_received=params.bytes, state=ImportState.INSTALLED)
    installed(row, report)
    return row


def request_directions(user: User, row: CheckpointImport) -> Job:
    """Make the contact sheet, the components and the factors, anew. If that is under way already, this is that job."""
    with transaction.atomic():
        row = CheckpointImport.objects.select_for_update(of=("self",)).get(pk=row.pk)
        if not row.is_installed:
            raise NotReady("This generator is not installed any more.")
        running = row.jobs.active().filter(operation=Operation.DIRECTIONS).first()
        if running is not None:
            return running
        CheckpointImport.objects.filter(pk=row.pk).update(status_directions=Status.QUEUED)
        return enqueue(
            user,
            Operation.DIRECTIONS,
            title=f"Directions of “{row}”",
            params={},
            size=row.name,
            priority=Priority.BATCH,
            checkpoint_import=row,
        )


def pictures_of(row: CheckpointImport) -> int:
    """How many pictures of members need this generator, or are on their way to it. Deleted ones may come back."""
    sha256 = row.generator_sha256
    projected = Q(projections__in=Projection.objects.filter(generator_sha256=sha256))
    wanted = Job.objects.active().filter(operation=Operation.PROJECT, params__generator=row.name)
    images = Image.objects.filter(Q(generator_sha256=sha256) | projected | Q(jobs__in=wanted)).distinct()
    return images.count() + SavedImage.objects.filter(recipe__generator__sha256=sha256).count()


def remove(row: CheckpointImport) -> None:
    """Delete an installed generator. InUse if a picture needs it, NotReady if work on it is under way."""
    with transaction.atomic():
        row = CheckpointImport.objects.select_for_update(of=("self",)).get(pk=row.pk)
        if not row.is_installed:
            raise NotReady("This generator is not installed.")
        if row.jobs.active().exists():
            raise NotReady("Work on this generator is under way. Wait for it, or cancel it.")
        _refuse_used(row)
        CheckpointImport.objects.filter(pk=row.pk).update(
            state=ImportState.REMOVED, status_directions=Status.NONE, changed_at=timezone.now()
        )
        with installing.plain_disk_errors():
            draft = installing.withdraw(row.name, str(row.pk))
        try:
            _refuse_used(row)  # somebody may have begun a picture while it was still there
        except InUse:
            draft.publish(row.name)
            raise
    draft.remove()


def _refuse_used(row: CheckpointImport) -> None:
    count = pictures_of(row)
    if count:
        pictures = "1 picture needs" if count == 1 else f"{count} pictures need"
        raise InUse(f"{pictures} this generator, so it cannot be removed.")


# --- Housekeeping -------------------------------------------------------------------------------------------


def _free(name: str) -> None:
    """Nothing of this name is installed: if a row says otherwise, an operator has removed the folder by hand."""
    CheckpointImport.objects.filter(name=name, state=ImportState.INSTALLED).update(
        state=ImportState.REMOVED, status_directions=Status.NONE, changed_at=timezone.now()
    )


def sweep() -> int:
    """Give up uploads that nobody went on with and imports that lost their job; delete files that belong to nothing."""
    for row in CheckpointImport.objects.stale():
        CheckpointImport.objects.stale().filter(pk=row.pk).end(
            ImportState.CANCELED, "The upload was left alone for a day, so it was given up."
        )
    lost = CheckpointImport.objects.filter(changed_at__lt=timezone.now() - LOST_AFTER).exclude(
        jobs__in=Job.objects.active()
    )
    lost.filter(state=ImportState.IMPORTING).end(
        ImportState.FAILED, "The account that imported this was deleted meanwhile."
    )
    lost.filter(status_directions__in=(Status.QUEUED, Status.RUNNING)).update(status_directions=Status.NONE)
    kept = slices.kept()  # before the rows are looked at: a row is there before its first slice
    unfinished = {str(pk) for pk in CheckpointImport.objects.unfinished().values_list("pk", flat=True)}
    orphans = [name for name in kept if name not in unfinished]
    for name in orphans:
        slices.delete(name)
    working_on = {str(pk) for pk in Job.objects.active().values_list("pk", flat=True)}
    return len(orphans) + installing.sweep_drafts(working_on)
