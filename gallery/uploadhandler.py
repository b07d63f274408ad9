"""Refuses a file that is too large while it streams in, before it fills memory or disk."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.http import HttpRequest

NOTE = "pixellift.files_too_large"


def files_too_large(request: HttpRequest) -> list[str]:
    """The names of the files of this request that were dropped. To be asked after `request.FILES`."""
    return list(request.META.get(NOTE, []))


class SizeLimitHandler(FileUploadHandler):
    """Drops a file at its first byte over `UPLOAD_MAX_BYTES`, and leaves its name for the view. Other files go on."""

    received = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.received = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        self.received += len(raw_data)
        if self.received > settings.UPLOAD_MAX_BYTES:
            if self.request is not None:
                self.request.META.setdefault(NOTE, []).append(self.file_name or "")
            raise SkipFile
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None
