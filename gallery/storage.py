"""Where files lie on disk. `gallery.bucket` is its sister for object stores."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage

from gallery.errors import StorageAway

FULL = "The site has no room left for pictures. Tell the people who run it, and try again later."
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class OverwritingStorage(FileSystemStorage):
    """Names are derived from rows, so that a repeated attempt replaces its file instead of leaving an orphan.

    A file appears whole or not at all: who reads it meanwhile gets the old one, and a crash leaves no half.
    """

    def __init__(self, location: str) -> None:
        super().__init__(location=location, allow_overwrite=True)

    def _save(self, name: str, content: File[Any]) -> str:
        path = Path(self.path(name))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
            try:
                with os.fdopen(handle, "wb") as out:
                    for chunk in content.chunks():
                        out.write(chunk)
                Path(scratch).chmod(self.file_permissions_mode or 0o644)
                Path(scratch).replace(path)
            except BaseException:
                Path(scratch).unlink(missing_ok=True)
                raise
        except OSError as error:
            if error.errno in NO_ROOM:
                raise StorageAway(FULL, error.errno) from error
            raise
        return name
