"""The file of a checkpoint on its way in: slices under the default storage, in a folder that no view serves.

Each slice is a file of its own, named by its offset: one that is sent again replaces itself, and object stores, which
cannot append, serve as well as a disk. Knows the storage, and no rows.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from django.core.files.base import File
from django.core.files.storage import default_storage

from gallery import files
from transforms.errors import JobFailed, NotReady

FOLDER = "checkpoints"
SLICE_BYTES = 8 * 1024 * 1024
COPY_BYTES = 1024 * 1024
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What is kept free when an upload begins, beyond the file itself.
ROOM_LEFT_BYTES = 64 * 1024 * 1024

OnShare = Callable[[float], None]


class DiskFull(NotReady):
    """The site has no room for this."""


def folder_of(pk: UUID | str) -> str:
    return f"{FOLDER}/{pk}"


def slice_size(offset: int, total: int) -> int:
    """How many bytes the slice at `offset` of a file of `total` bytes has."""
    return min(SLICE_BYTES, total - offset)


def write(pk: UUID | str, offset: int, data: bytes) -> None:
    """Keep a slice, whole or not at all."""
    try:
        files.write(_name(pk, offset), data)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DiskFull(
                "The site's disk is full. Tell the people who run it; then the upload can go on."
            ) from error
        raise


def check_room(total: int) -> None:
    """Refuse at once what cannot fit. An object store has no end that could be asked for."""
    try:
        folder = Path(default_storage.path(""))
    except NotImplementedError:
        return
    while not folder.exists():
        folder = folder.parent
    if shutil.disk_usage(folder).free < total + ROOM_LEFT_BYTES:
        raise DiskFull("The site's disk has no room for a file of this size. Tell the people who run it.")


def assemble(pk: UUID, total: int, target: Path, on_share: OnShare) -> str:
    """Write the slices of a file of `total` bytes behind each other. Gives the SHA-256 of the whole."""
    digest = hashlib.sha256()
    with target.open("xb") as out:
        for offset in range(0, total, SLICE_BYTES):
            with _open(pk, offset) as part:
                while block := part.read(COPY_BYTES):
                    digest.update(block)
                    out.write(block)
            if out.tell() != offset + slice_size(offset, total):
                raise JobFailed("A part of the uploaded file is missing. Send the file again.")
            on_share(out.tell() / total)
    return digest.hexdigest()


def delete(pk: UUID | str) -> int:
    return files.delete_folder(folder_of(pk))


def kept() -> list[str]:
    """The ids of all uploads of which something is stored."""
    return files.folders(FOLDER)


def _name(pk: UUID | str, offset: int) -> str:
    return f"{folder_of(pk)}/{offset:014d}"


def _open(pk: UUID, offset: int) -> File[bytes]:
    try:
        return default_storage.open(_name(pk, offset), "rb")
    except FileNotFoundError as error:
        raise JobFailed("A part of the uploaded file is missing. Send the file again.") from error
