"""What the tests of imports share: uploading as somebody, and looking at what became of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.files.storage import default_storage

from accounts.models import User
from transforms import imports, installing, slices
from transforms.models import CheckpointImport, ImportState, Job, Operation

SLICE = 200_000
Send = Callable[..., CheckpointImport]


def announce(user: User, content: bytes, **changes: Any) -> CheckpointImport:
    wish = {"name": "mine", "file_name": "mine.pkl", "bytes": len(content), **changes}
    return imports.begin(user, wish)[0]


def send_rest(user: User, row: CheckpointImport, content: bytes) -> CheckpointImport:
    while row.state == ImportState.UPLOADING:
        offset = row.bytes_received
        row = imports.receive(user, row.pk, offset, content[offset : offset + SLICE])
    return row


def job_of(row: CheckpointImport, operation: Operation = Operation.IMPORT) -> Job:
    return row.jobs.filter(operation=operation).latest("created_at")


def again(row: CheckpointImport) -> CheckpointImport:
    return CheckpointImport.objects.get(pk=row.pk)


def stored(row: CheckpointImport) -> list[str]:
    try:
        return sorted(default_storage.listdir(slices.folder_of(row.pk))[1])
    except FileNotFoundError:
        return []


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != installing.DRAFTS}


def drafts(folder: Path) -> list[Path]:
    place = folder / installing.DRAFTS
    return list(place.iterdir()) if place.exists() else []
