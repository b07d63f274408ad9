"""What can go wrong with pictures. The text of each error is a sentence for the member."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gallery.models import Image


class GalleryError(Exception):
    """The root. `str(error)` says what happened and what to do."""


class UploadRefused(GalleryError):
    """The file is no picture that can be taken."""

    status_code = 422


class TooLarge(UploadRefused):
    """More bytes or more pixels than the settings allow."""

    status_code = 413


class StorageFull(UploadRefused):
    """The member's storage is used up."""

    status_code = 413


class AlreadyThere(UploadRefused):
    """The member has this very picture already: `image` is it."""

    status_code = 409

    def __init__(self, image: Image) -> None:
        super().__init__(f"This picture is already in your gallery, as “{image.name}”.")
        self.image = image


class PictureGone(GalleryError):
    """The row was deleted for good while somebody worked for it. Its files were not kept."""


class StorageAway(GalleryError, OSError):
    """Files cannot be read or written at the moment: the disk or the object store refuses. Trying again may help.

    `errno` says which way, where that is known: ENOSPC when it is full.
    """

    status_code = 503

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number
