"""Several files in one request: what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest

from accounts.models import User
from gallery import services
from gallery.errors import AlreadyThere, StorageAway, UploadRefused
from gallery.models import Image
from gallery.uploadhandler import files_too_large
from gallery.uploads import too_many_bytes


@dataclass(frozen=True)
class Outcome:
    """One file: an image, or the sentence why not. `known`: the picture that the member has already."""

    name: str
    image: Image | None = None
    refusal: str = ""
    status: int = 200
    known: Image | None = None


def accept_files(request: HttpRequest, user: User) -> list[Outcome]:
    """Take what can be taken of the files in the field `file`. Never empty."""
    outcomes = [_accept(user, upload) for upload in request.FILES.getlist("file")]
    error = too_many_bytes(settings.UPLOAD_MAX_BYTES)
    outcomes += [_refused(name, error) for name in files_too_large(request)]
    return outcomes or [Outcome("", refusal="No picture was sent. Choose at least one.", status=422)]


def _accept(user: User, upload: UploadedFile[Any]) -> Outcome:
    name = upload.name or "This file"
    try:
        return Outcome(name, services.create_upload(user, upload))
    except (UploadRefused, StorageAway) as error:
        return _refused(name, error)


def _refused(name: str, error: UploadRefused | StorageAway) -> Outcome:
    known = error.image if isinstance(error, AlreadyThere) else None
    return Outcome(name, refusal=str(error), status=error.status_code, known=known)
