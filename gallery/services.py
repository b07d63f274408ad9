"""What spans pictures, their files and the member's storage. Pages, API, jobs and commands all go through here.

Storing the result of a job comes in two steps, so that no lock is held while a picture is encoded::

    stored = prepare_image(image, pillow_image)     # encodes and writes the files; slow
    with transaction.atomic():
        stored.apply()                              # one UPDATE
        ...                                         # and the end of the job

`store_image` and its sisters do both at once. Names of files follow from the row: a second attempt replaces the
files of the first. If the row was deleted for good meanwhile, `apply` deletes what was written and raises `PictureGone`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any
from uuid import uuid5

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db import models, transaction
from django.db.models import F, Sum
from django.utils import timezone
from PIL import Image as Pillow

from accounts import quota
from accounts.models import User
from gallery import files
from gallery.errors import AlreadyThere, PictureGone, StorageFull, TooLarge, UploadRefused
from gallery.models import (
    Image,
    Picture,
    PictureQuerySet,
    Projection,
    SavedImage,
    Status,
    image_path,
    projection_path,
    saved_image_path,
)
from gallery.uploads import Limits, read_upload, too_many_bytes

NAME_LENGTH = 120
PURGE_BATCH = 100

# --- Files that jobs make ------------------------------------------------------------------------------------------


@dataclass
class Stored:
    """Files that were written for a row, and what the row will say of them. `former`: those that they take the place of."""

    row: Image | SavedImage
    values: dict[str, Any]
    names: list[str]
    expressions: dict[str, Any] = field(default_factory=dict)
    former: list[str] = field(default_factory=list)

    def apply(self, **more: Any) -> None:
        """One UPDATE of the row (with `more` fields, if given), and the same on the instance."""
        values = {**self.values, **more}
        changed = type(self.row).objects.filter(pk=self.row.pk).update(**{**values, **self.expressions})
        if not changed:
            self.discard()
            raise PictureGone(
                f"{type(self.row).__name__} {self.row.pk} was deleted while its files were written."
            )
        for name, value in values.items():
            setattr(self.row, name, value)
        _delete_later(self.former, self.names)

    def discard(self) -> None:
        """The result is not wanted any more: delete its files, but for those that the row had before."""
        for name in self.names:
            if name not in self.former:
                default_storage.delete(name)


def _delete_later(former: list[str], names: list[str]) -> None:
    """Delete the files that were replaced, once it is certain that they were."""
    for name in former:
        if name not in names:
            transaction.on_commit(partial(default_storage.delete, name), robust=True)


def prepare_image(image: Image, picture: Pillow.Image | bytes) -> Stored:
    """Write the picture itself and its thumbnail. `picture`: Pillow (becomes PNG), or bytes of PNG, JPEG, WebP."""
    return _prepare(image, files.encoded(picture), files.as_pillow(picture), image_path)


def store_image(image: Image, picture: Pillow.Image | bytes, **more: Any) -> None:
    """`prepare_image` and `apply`. `more`: further fields, such as `status_process=Status.DONE`."""
    prepare_image(image, picture).apply(**more)


def prepare_saved(saved: SavedImage, picture: Pillow.Image | bytes, latent: bytes | None = None) -> Stored:
    """Write what the editor made, its thumbnail, and a copy of the latent when the recipe starts from one."""
    stored = _prepare(saved, files.encoded(picture), files.as_pillow(picture), saved_image_path)
    if latent is not None:
        name = files.write(saved_image_path(saved, "latent.safetensors"), latent)
        stored.names.append(name)
        stored.values |= {"latent_file": name, "byte_size": stored.values["byte_size"] + len(latent)}
    return stored


def store_saved(
    saved: SavedImage, picture: Pillow.Image | bytes, latent: bytes | None = None, **more: Any
) -> None:
    prepare_saved(saved, picture, latent).apply(**more)


def prepare_upscaled(
    saved: SavedImage, picture: Pillow.Image | bytes, upscaler: str, tag: str = ""
) -> Stored:
    """Write the enlarged picture. Its size in bytes is added to the row's, in place of a former one's.

    `tag` tells the file from a former one, which counts until this one does.
    """
    encoded = files.encoded(picture)
    former = saved.upscaled_file.size if saved.upscaled_file else 0
    names = [str(saved.upscaled_file.name)] if saved.upscaled_file else []
    name = files.write(saved_image_path(saved, f"upscaled{tag}.{encoded.extension}"), encoded.data)
    values = {
        "upscaled_file": name,
        "upscaled_width": encoded.width,
        "upscaled_height": encoded.height,
        "upscaler": upscaler,
        "status_superresolution": Status.DONE,
    }
    more = {"byte_size": F("byte_size") + len(encoded.data) - former}
    return Stored(saved, values, [name], more, former=names)


def store_upscaled(saved: SavedImage, picture: Pillow.Image | bytes, upscaler: str, **more: Any) -> None:
    prepare_upscaled(saved, picture, upscaler).apply(**more)


@dataclass
class StoredProjection:
    """The files of a projection that were written, and the row that will name them in place of the `former` ones."""

    image: Image
    row: Projection
    names: list[str]
    former: list[str]

    def apply(self) -> Projection:
        """Keep the row, and let the image point at it. Raises `PictureGone` if the image was deleted for good."""
        with transaction.atomic():
            if not Image.objects.select_for_update().filter(pk=self.image.pk).exists():
                files.delete_folder(projection_path(self.row, "").rstrip("/"))
                raise PictureGone(f"Image {self.image.pk} was deleted while it was projected.")
            self.row.save()
            Image.objects.filter(pk=self.image.pk).update(projection=self.row)
            _delete_later(self.former, self.names)
        self.image.projection = self.row
        return self.row

    def discard(self) -> None:
        """The projection is not wanted any more: delete its files, but for those that the row had before."""
        for name in self.names:
            if name not in self.former:
                default_storage.delete(name)


def prepare_projection(
    image: Image,
    *,
    key: str,
    latent: bytes,
    preview: Pillow.Image | bytes | None = None,
    tag: str = "",
    **values: Any,
) -> StoredProjection:
    """Write where `image` lies in a latent space (safetensors bytes), and what the generator draws there.

    `values`: generator, generator_sha256, space, crop, steps, loss, psnr. An equal one (same `key`) is replaced; until then
    its files stay what they are, if the `tag` is another one.
    """
    row = Projection.objects.filter(image=image, key=key).first()
    former = [str(file.name) for file in (row.file, row.preview) if file] if row else []
    row = row or Projection(id=uuid5(image.pk, key), image=image, key=key)
    names = [files.write(projection_path(row, f"latent{tag}.safetensors"), latent)]
    row.file.name = names[0]
    row.byte_size = len(latent)
    if preview is not None:
        encoded = files.encoded(preview)
        names.append(files.write(projection_path(row, f"preview{tag}.{encoded.extension}"), encoded.data))
        row.preview.name = names[-1]
        row.byte_size += len(encoded.data)
    for name, value in values.items():
        setattr(row, name, value)
    return StoredProjection(image, row, names, former)


def store_projection(image: Image, **values: Any) -> Projection:
    """`prepare_projection` and `apply`."""
    return prepare_projection(image, **values).apply()


def _prepare(
    row: Any, encoded: files.Encoded, picture: Pillow.Image, path: Callable[[Any, str], str]
) -> Stored:
    small = files.thumbnail(picture)
    name = files.write(path(row, f"original.{encoded.extension}"), encoded.data)
    small_name = files.write(path(row, "thumbnail.webp"), small)
    values = {
        "file": name,
        "thumbnail": small_name,
        "mime_type": encoded.mime_type,
        "width": encoded.width,
        "height": encoded.height,
        "sha256": encoded.sha256,
        "byte_size": len(encoded.data) + len(small),
    }
    return Stored(row, values, [name, small_name])


# --- Pictures as pixels --------------------------------------------------------------------------------------------


def open_image(picture: Image | SavedImage, *, alpha: bool = False) -> Pillow.Image:
    """The pixels of the stored file in sRGB, upright: RGB, transparency on white; or RGB or RGBA with `alpha=True`."""
    with picture.file.open("rb") as stream:
        pixels = files.to_srgb(files.as_pillow(stream.read()))
    return pixels if alpha else files.flattened(pixels)


# --- Uploads -------------------------------------------------------------------------------------------------------


def create_upload(user: User, uploaded_file: UploadedFile[Any], name: str = "") -> Image:
    """Check, re-encode and keep what a member uploaded. Raises `UploadRefused` with a sentence for them."""
    limits = Limits(settings.UPLOAD_MAX_BYTES, settings.UPLOAD_MAX_PIXELS)
    if (uploaded_file.size or 0) > limits.max_bytes:
        raise too_many_bytes(limits.max_bytes)
    check_room(user)
    uploaded_file.seek(0)
    encoded, pixels = read_upload(uploaded_file, limits)
    _refuse_known(user, encoded.sha256)
    image = Image(
        user=user, source=Image.Source.UPLOAD, name=clean_name(name or uploaded_file.name or "", "Upload")
    )
    try:
        stored = _prepare(image, encoded, pixels, image_path)
        for attribute, value in stored.values.items():
            setattr(image, attribute, value)
        _insert(user, image)
    except BaseException:
        with contextlib.suppress(
            OSError
        ):  # what refuses to write may refuse to delete: `purge_orphans` finds it
            files.delete_folder(image_path(image, "").rstrip("/"))
        raise
    return image


def _insert(user: User, image: Image) -> None:
    """The last word on room and doubles belongs to the one who holds the member's row."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        check_room(user, image.byte_size)
        _refuse_known(user, image.sha256)
        _make_room(user, image.byte_size)
        image.save(force_insert=True)


def _refuse_known(user: User, sha256: str) -> None:
    known = Image.objects.alive().filter(user=user, sha256=sha256, source=Image.Source.UPLOAD).first()
    if known is None:
        return
    if known.is_hidden:
        raise UploadRefused("A moderator hid this picture from your gallery. It cannot be uploaded again.")
    raise AlreadyThere(known)


def clean_name(name: str, fallback: str) -> str:
    """A name for people: no folders, no extension, no control characters, at most `NAME_LENGTH` characters."""
    stem = PurePath(name.replace("\\", "/")).name
    suffix = PurePath(stem).suffix
    if 1 < len(suffix) <= 5 and suffix[1:].isalnum():
        stem = stem.removesuffix(suffix)
    return tidy(stem) or fallback


def tidy(name: str) -> str:
    """Printable, with single spaces, not too long."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:NAME_LENGTH].strip()


# --- Storage of a member -------------------------------------------------------------------------------------------


def storage_used(user: User, *, with_deleted: bool = False) -> int:
    """Bytes of all files of the member's pictures; those that they deleted and may still bring back are not counted."""
    alive = {} if with_deleted else {"deleted_at": None}
    of_images = {} if with_deleted else {"image__deleted_at": None}
    return (
        _bytes(Image.objects.filter(user=user, **alive))
        + _bytes(Projection.objects.filter(image__user=user, **of_images))
        + _bytes(SavedImage.objects.filter(user=user, **alive))
    )


def check_room(user: User, more_bytes: int = 0) -> None:
    """Raise `StorageFull` if the member may not store `more_bytes` more (or anything, when they are at the limit)."""
    usage = quota.usage(user)
    if usage.free_bytes == 0 or more_bytes > usage.free_bytes:
        raise StorageFull(
            f"Your storage is full: {_size(usage.used_bytes)} of {_size(usage.limit_bytes)} are used. "
            "Delete pictures that you do not need."
        )


def _make_room(user: User, more_bytes: int) -> None:
    """Deleting frees room at once, but the disk holds no more than the limit: what is deleted then goes for good."""
    if storage_used(user, with_deleted=True) + more_bytes > user.storage_limit_bytes:
        for model in (SavedImage, Image):
            _purge(model.objects.filter(user=user, deleted_at__isnull=False))


def _bytes(rows: models.QuerySet[Any]) -> int:
    return int(rows.aggregate(total=Sum("byte_size"))["total"] or 0)


def _size(count: int) -> str:
    if count >= 1_073_741_824:
        return f"{count / 1_073_741_824:.1f} GB"
    return f"{count / 1_048_576:.1f} MB"


# --- Deleting ------------------------------------------------------------------------------------------------------


def soft_delete(rows: PictureQuerySet) -> int:
    """Delete pictures so that they can be brought back for `UNDO_DELETE_SECONDS`. How many there were."""
    return rows.soft_delete()


def restore(user: User, rows: PictureQuerySet) -> int:
    """Bring back what the member deleted a short while ago. How many there were."""
    return rows.restorable_by(user).restore()


def rename(picture: Picture, name: str) -> None:
    """Raises `ValueError` if nothing printable is left of the name."""
    cleaned = tidy(name)
    if not cleaned:
        raise ValueError("A name needs at least one character that can be seen.")
    picture.name = cleaned
    picture.save(update_fields=["name"])


def purge_deleted() -> int:
    """Delete for good, with all files, what was deleted longer than `UNDO_DELETE_SECONDS` ago. How many pictures."""
    return sum(_purge(model.objects.purgeable()) for model in (SavedImage, Image))


def _purge(rows: PictureQuerySet) -> int:
    purged = 0
    while True:
        batch = list(rows.values_list("pk", flat=True)[:PURGE_BATCH])
        if not batch:
            return purged
        # The condition once more: one of them may have been restored meanwhile.
        rows.filter(pk__in=batch).delete()
        purged += len(batch)


def hide(rows: models.QuerySet[Any]) -> int:
    """A moderator hides pictures: from then on nobody sees them outside the admin."""
    return rows.filter(hidden_at=None).update(hidden_at=timezone.now())


def unhide(rows: models.QuerySet[Any]) -> int:
    return rows.exclude(hidden_at=None).update(hidden_at=None)


__all__ = [
    "PictureGone",
    "Stored",
    "TooLarge",
    "check_room",
    "create_upload",
    "hide",
    "open_image",
    "prepare_image",
    "prepare_saved",
    "prepare_upscaled",
    "purge_deleted",
    "rename",
    "restore",
    "soft_delete",
    "storage_used",
    "store_image",
    "store_projection",
    "store_saved",
    "store_upscaled",
    "unhide",
]
