"""Where files lie on disk in embedded mode."""

from __future__ import annotations

from django.core.files.storage import FileSystemStorage


class OverwritingStorage(FileSystemStorage):
    """Names are derived from rows, so that a repeated attempt replaces its file instead of leaving an orphan."""

    def __init__(self, location: str) -> None:
        super().__init__(location=location, allow_overwrite=True)
