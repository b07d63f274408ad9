"""Backups of a site whose pictures lie in an object store."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from pytest_django import Settings

from accounts.models import User
from gallery.models import Image
from pixellift import archive
from pixellift.settings import bucket_options
from tests.objectstore import BUCKET, REGION, ObjectStore

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def running() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@pytest.fixture
def store(
    running: ObjectStore, media: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    settings.DATA_DIR = tmp_path / "data"
    settings.MEDIA_S3_BUCKET = BUCKET
    options = bucket_options(BUCKET, running.url, REGION)
    bucket = {"BACKEND": "gallery.bucket.BucketStorage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "default": bucket}
    yield running
    running.empty()


@pytest.fixture
def picture(store: ObjectStore, alice: User) -> bytes:
    """Larger than what is sent in one part, and than what is kept in memory."""
    content = os.urandom(archive.SPOOL_BYTES + 12_345)
    image = Image(user=alice, source=Image.Source.UPLOAD, name="Beach")
    image.file.save("original.png", ContentFile(content), save=False)
    image.thumbnail.save("thumbnail.webp", ContentFile(b"small"), save=False)
    image.save()
    return content


def test_pictures_come_back_into_a_bucket_byte_for_byte(
    store: ObjectStore, picture: bytes, tmp_path: Path
) -> None:
    names, file = store.names(), str(tmp_path / "site.tar")
    call_command("backup", file, stdout=io.StringIO())
    Image.objects.all().delete()
    User.objects.all().delete()
    store.empty()
    assert store.names() == []
    call_command("restore", file, stdout=io.StringIO())
    assert store.names() == names
    image = Image.objects.get()
    assert image.file.read() == picture
    assert image.thumbnail.read() == b"small"
