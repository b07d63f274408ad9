"""Files of pictures: encoding, thumbnails, and deletion. Knows the storage, and no rows but by their file fields."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, default_storage
from PIL import Image as Pillow
from PIL import ImageCms

THUMBNAIL_SIDE_PX = 480
STRIP_SQUARES = 2
MIME_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


@dataclass(frozen=True)
class Encoded:
    """A picture as bytes of a format that every browser shows."""

    data: bytes
    mime_type: str
    width: int
    height: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def extension(self) -> str:
        return EXTENSIONS[self.mime_type]


def encode_png(picture: Pillow.Image) -> Encoded:
    """Lossless; keeps alpha and the colour profile, drops everything else."""
    out = io.BytesIO()
    picture.save(
        out, "PNG", icc_profile=picture.info.get("icc_profile"), pnginfo=None, exif=b"", compress_level=4
    )
    return Encoded(out.getvalue(), "image/png", *picture.size)


def encoded(picture: Pillow.Image | bytes) -> Encoded:
    """A Pillow image becomes a PNG; bytes of a PNG, JPEG or WebP that we wrote ourselves stay what they are."""
    if not isinstance(picture, bytes):
        return encode_png(picture)
    with Pillow.open(io.BytesIO(picture), formats=list(MIME_TYPES)) as opened:
        return Encoded(picture, MIME_TYPES[opened.format or ""], *opened.size)


def as_pillow(picture: Pillow.Image | bytes) -> Pillow.Image:
    if not isinstance(picture, bytes):
        return picture
    opened = Pillow.open(io.BytesIO(picture), formats=list(MIME_TYPES))
    opened.load()
    return opened


def thumbnail(picture: Pillow.Image) -> bytes:
    """WebP in sRGB, at most `THUMBNAIL_SIDE_PX` on its longer side, without any metadata.

    Of a strip that is longer than two squares, it shows the two squares in the middle, each of that size.
    """
    long, short = max(picture.size), min(picture.size)
    most = THUMBNAIL_SIDE_PX
    if long > STRIP_SQUARES * short:
        most = STRIP_SQUARES * THUMBNAIL_SIDE_PX
        picture = _middle_of(picture, *(min(side, STRIP_SQUARES * short) for side in picture.size))
    shrink = min(1.0, most / max(picture.size))
    size = (max(1, round(picture.width * shrink)), max(1, round(picture.height * shrink)))
    small = to_srgb(picture.resize(size, Pillow.Resampling.LANCZOS, reducing_gap=3.0))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=86, method=4, icc_profile=b"", exif=b"", xmp=b"")
    return out.getvalue()


def _middle_of(picture: Pillow.Image, width: int, height: int) -> Pillow.Image:
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def to_srgb(picture: Pillow.Image) -> Pillow.Image:
    """RGB or RGBA in sRGB: through the embedded profile if there is one that works."""
    profile = picture.info.get("icc_profile")
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    picture = picture if picture.mode == mode else picture.convert(mode)
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                picture, source, ImageCms.createProfile("sRGB"), outputMode=mode
            )
            picture = converted or picture
        picture.info.pop("icc_profile", None)
    return picture


def flattened(picture: Pillow.Image) -> Pillow.Image:
    """RGB: what is transparent becomes white, whatever colour hides below it."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    white = Pillow.new("RGBA", picture.size, "white")
    return Pillow.alpha_composite(white, picture).convert("RGB")


def write(name: str, data: bytes, storage: Storage = default_storage) -> str:
    """Store `data` under exactly this name, in place of what was there."""
    return storage.save(name, ContentFile(data))


def delete_folder(path: str, storage: Storage = default_storage) -> int:
    """Delete every file below `path`, then the folders that are left empty. How many files there were."""
    try:
        folders, names = storage.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    for name in names:
        storage.delete(f"{path}/{name}")
    deleted = len(names) + sum(delete_folder(f"{path}/{folder}", storage) for folder in folders)
    _drop_if_empty(path, storage)
    return deleted


def folders(path: str, storage: Storage = default_storage) -> list[str]:
    """The names of the folders directly below `path`."""
    try:
        return list(storage.listdir(path)[0])
    except (FileNotFoundError, NotADirectoryError):
        return []


def walk(path: str, storage: Storage = default_storage) -> Iterator[tuple[str, datetime]]:
    """Every file below `path`, folder by folder, with the time at which it was written."""
    if hasattr(storage, "walk"):  # an object store lists many at a time, with their times
        yield from storage.walk(path)
        return
    try:
        inner, names = storage.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # it went meanwhile
            yield f"{path}/{name}", storage.get_modified_time(f"{path}/{name}")
    for folder in inner:
        yield from walk(f"{path}/{folder}", storage)


def drop_empty_folders(path: str, storage: Storage = default_storage) -> None:
    """Delete the folders at and below `path` in which there is nothing."""
    for folder in folders(path, storage):
        drop_empty_folders(f"{path}/{folder}", storage)
    _drop_if_empty(path, storage)


def _drop_if_empty(path: str, storage: Storage) -> None:
    """Folders exist on disk only; an object store has none to delete. The disk refuses to delete one that is not empty."""
    with contextlib.suppress(OSError, NotImplementedError):
        storage.path(path)
        storage.delete(path)
