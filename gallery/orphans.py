"""Files that no row names: what a crash between two steps, or a storage that did not answer, can leave behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

from django.core.files.storage import Storage, default_storage
from django.utils import timezone

from accounts.models import User
from gallery import files
from gallery.models import Image, Projection, SavedImage

ORPHAN_AGE = timedelta(days=1)
PAGE_FOLDERS = 200


class Folder(NamedTuple):
    """The files of one picture: `kind` ("images" or "saved"), whose, which, and when each file was written."""

    kind: str
    owner: UUID
    pk: UUID
    written: dict[str, datetime]


def purge(*, strangers: bool = False, storage: Storage = default_storage) -> int:
    """Delete what no row names. How many files.

    A file younger than `ORPHAN_AGE` may belong to a row that is just being written, and is left alone; so is all that does
    not lie where pictures lie, and, without `strangers`, what belongs to nobody who has an account here: the storage may be
    shared, or the database the wrong one.
    """
    horizon = timezone.now() - ORPHAN_AGE
    return sum(
        _purge(page, horizon, storage, strangers=strangers)
        for kind in ("images", "saved")
        for page in _pages(_folders(kind, storage))
    )


def _folders(kind: str, storage: Storage) -> Iterator[Folder]:
    """The folders of pictures, one after the other."""
    for place, entries in groupby(files.walk(kind, storage), key=lambda entry: entry[0].split("/")[:3]):
        written = {name: changed for name, changed in entries if name.count("/") > 2}
        ids = [_uuid(name) for name in place[1:]]
        if len(ids) == 2 and ids[0] is not None and ids[1] is not None:
            yield Folder(kind, ids[0], ids[1], written)


def _uuid(name: str) -> UUID | None:
    """The id that a folder is named by; None if it is no folder of ours."""
    try:
        found = UUID(name)
    except ValueError:
        return None
    return found if str(found) == name else None


def _pages(folders: Iterable[Folder]) -> Iterator[list[Folder]]:
    page: list[Folder] = []
    for folder in folders:
        page.append(folder)
        if len(page) == PAGE_FOLDERS:
            yield page
            page = []
    if page:
        yield page


def _purge(page: list[Folder], horizon: datetime, storage: Storage, *, strangers: bool) -> int:
    named = _named(page)
    members = set(User.objects.filter(pk__in={folder.owner for folder in page}).values_list("pk", flat=True))
    deleted = 0
    for folder in page:
        if not strangers and folder.owner not in members:
            continue
        orphans = [name for name, at in folder.written.items() if at < horizon and name not in named]
        for name in orphans:
            storage.delete(name)
        if orphans:
            files.drop_empty_folders(f"{folder.kind}/{folder.owner}/{folder.pk}", storage)
        deleted += len(orphans)
    return deleted


def _named(page: list[Folder]) -> set[str]:
    """The names of all files that rows of these pictures name."""
    pks = [folder.pk for folder in page]
    if page[0].kind == "saved":
        return _names(
            SavedImage.objects.filter(pk__in=pks), "file", "thumbnail", "latent_file", "upscaled_file"
        )
    return _names(Image.objects.filter(pk__in=pks), "file", "thumbnail") | _names(
        Projection.objects.filter(image__in=pks), "file", "preview"
    )


def _names(rows: Any, *fields: str) -> set[str]:
    return {name for row in rows.values_list(*fields) for name in row if name}
