"""Files follow their rows: when a row is deleted for good, by whatever way, so is its folder, after the commit."""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog
from django.db import transaction
from django.db.models.signals import pre_delete

from gallery import files
from gallery.models import Image, Projection, SavedImage, image_path, projection_path, saved_image_path

log = structlog.get_logger(__name__)


def connect() -> None:
    # Before: a projection asks its image for the path, and the image may be gone after.
    for model, path in (
        (Image, image_path),
        (SavedImage, saved_image_path),
        (Projection, projection_path),
    ):
        pre_delete.connect(
            partial(_delete_later, path=path),
            sender=model,
            weak=False,
            dispatch_uid=f"gallery.files.{model.__name__}",
        )


def _delete_later(sender: Any, instance: Any, path: Any, **kwargs: Any) -> None:
    folder = path(instance, "").rstrip("/")
    transaction.on_commit(partial(_delete_folder, folder))


def _delete_folder(folder: str) -> None:
    """A storage that does not answer must not stop a deletion: `purge_deleted --orphans` finds what is left."""
    try:
        files.delete_folder(folder)
    except OSError:
        log.exception("gallery.files_left", folder=folder)
