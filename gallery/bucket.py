"""Where files lie in an object store: a private bucket. What S3 refuses is said in a sentence, as `StorageAway`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import structlog
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import File
from s3transfer.exceptions import RetriesExceededError
from storages.backends.s3 import S3File, S3Storage
from storages.utils import clean_name

from gallery.errors import StorageAway
from gallery.storage import FULL

log = structlog.get_logger(__name__)

AWAY = "Pictures cannot be stored or read at the moment. Try again in a minute."
# How S3, MinIO and Ceph say that a bucket or a disk is full.
FULL_CODES = {
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "InsufficientStorage",
}
INSUFFICIENT_STORAGE = 507


class BucketFile(S3File):  # type: ignore[misc]  # django-storages ships no types
    """A file of the bucket, open for reading. What S3 refuses is said as `StorageAway`."""

    @property
    def size(self) -> int:
        with in_words(self.name):
            return int(super().size)

    def _get_file(self) -> Any:
        with in_words(self.name):
            return super()._get_file()

    file = property(_get_file, S3File._set_file)


class BucketStorage(S3Storage):  # type: ignore[misc]  # django-storages ships no types
    """A private bucket of S3 or of what speaks like it. Objects are written at once, so nobody sees half of one."""

    def _open(self, name: str, mode: str = "rb") -> Any:
        if mode != "rb":
            raise ValueError("Files of the bucket are opened for reading; `save` writes them.")
        with in_words(name):
            return BucketFile(self._normalize_name(clean_name(name)), mode, self)

    def _save(self, name: str, content: File[Any]) -> str:
        with in_words(name):
            return str(super()._save(name, content))

    def delete(self, name: str) -> None:
        with in_words(name):
            super().delete(name)

    def exists(self, name: str) -> bool:
        with in_words(name):
            return bool(super().exists(name))

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        with in_words(path):
            folders, names = super().listdir(path)
        return folders, names

    def walk(self, path: str) -> Iterator[tuple[str, datetime]]:
        """Every file below `path` in the order of the names, with the time at which it was written. Asked for in pages."""
        prefix = self._normalize_name(clean_name(path)) + "/"
        above = len(prefix) - len(path) - 1
        with in_words(path):
            for entry in self.bucket.objects.filter(Prefix=prefix):
                yield entry.key[above:], entry.last_modified

    def size(self, name: str) -> int:
        with in_words(name):
            return int(super().size(name))

    def get_modified_time(self, name: str) -> Any:
        with in_words(name):
            return super().get_modified_time(name)


@contextmanager
def in_words(name: str) -> Iterator[None]:
    """What the libraries of S3 raise, as FileNotFoundError or StorageAway."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code in {"404", "NoSuchKey"}:
            raise FileNotFoundError(errno.ENOENT, "There is no such file in the bucket", name) from error
        log.warning("bucket_refused", name=name, code=code, status=status)
        if code in FULL_CODES or status == INSUFFICIENT_STORAGE:
            raise StorageAway(FULL, errno.ENOSPC) from error
        raise StorageAway(AWAY) from error
    except (BotoCoreError, Boto3Error, RetriesExceededError) as error:
        log.warning("bucket_away", name=name, error=repr(error))
        full = any(code in str(error) for code in FULL_CODES)
        raise StorageAway(FULL if full else AWAY, errno.ENOSPC if full else None) from error
