"""Files that no row names go, on a disk and in a bucket; whatever else lies there stays."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import Storage, default_storage

from accounts.models import User
from gallery import files, orphans, services
from gallery.models import Image, SavedImage
from tests.gallery.conftest import MakeImage, MakeSaved, scene

pytestmark = pytest.mark.django_db
PROJECTION = {
    "generator": "g",
    "generator_sha256": "0" * 64,
    "space": "w",
    "crop": None,
    "steps": 1,
    "loss": 0.1,
    "psnr": 9.0,
}


@pytest.fixture(params=["disk", "bucket"])
def storage(request: pytest.FixtureRequest, media: Path) -> Iterator[Storage]:
    """The folder of the test, or a bucket of an S3 server inside this process."""
    if request.param == "disk":
        yield default_storage
        return
    import boto3
    from moto import mock_aws

    from gallery.bucket import BucketStorage

    keys = {"access_key": "test", "secret_key": "test"}
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="pictures")
        yield BucketStorage(bucket_name="pictures", region_name="us-east-1", file_overwrite=True, **keys)


@pytest.fixture
def everything(
    alice: User, make_image: MakeImage, make_saved: MakeSaved, storage: Storage, media: Path
) -> list[str]:
    """The names of all files of a picture with a projection, and of a saved one that was enlarged."""
    image, saved = make_image(alice), make_saved(alice)
    services.store_projection(image, key="k", latent=b"latent", preview=scene(), **PROJECTION)
    services.store_saved(saved, scene(seed=3), latent=b"latent")
    services.store_upscaled(saved, scene(64, 64), "x4")
    names = [str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()]
    if storage is not default_storage:
        for name in names:
            files.write(name, (media / name).read_bytes(), storage)
    return names


@pytest.fixture
def at_any_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "ORPHAN_AGE", timedelta(0))


def there(storage: Storage) -> set[str]:
    return {name for kind in ("images", "saved", "checkpoints") for name, _ in files.walk(kind, storage)}


@pytest.mark.usefixtures("at_any_age")
def test_what_no_row_names_goes_and_nothing_else(
    alice: User, storage: Storage, everything: list[str]
) -> None:
    image, saved = Image.objects.get(), SavedImage.objects.get()
    lost = [
        f"images/{alice.pk}/{uuid4()}/original.png",
        f"images/{alice.pk}/{image.pk}/.writing-x",
        f"images/{alice.pk}/{image.pk}/projections/{uuid4()}/latent.safetensors",
        f"saved/{alice.pk}/{saved.pk}/upscaled-0123.png",
        f"saved/{alice.pk}/{uuid4()}/thumbnail.webp",
    ]
    others = [
        "images/notes.txt",
        f"images/{alice.pk}/notes.txt",
        "images/summer/beach/1.jpg",
        f"images/{uuid4()}/{uuid4()}/original.png",
        f"images/{alice.pk}/{uuid4().hex}/original.png",
        f"checkpoints/{uuid4()}/00000000000000",
    ]
    for name in lost + others:
        files.write(name, b"x", storage)
    assert orphans.purge(storage=storage) == len(lost)
    assert there(storage) == {*everything, *others}


def test_what_is_young_stays(alice: User, storage: Storage, everything: list[str]) -> None:
    name = f"images/{alice.pk}/{uuid4()}/original.png"
    files.write(name, b"x", storage)
    assert orphans.purge(storage=storage) == 0
    assert there(storage) == {*everything, name}


def test_the_age_is_that_of_the_file(alice: User, media: Path) -> None:
    name = f"images/{alice.pk}/{uuid4()}/original.png"
    files.write(name, b"x")
    long_ago = time.time() - 2 * orphans.ORPHAN_AGE.total_seconds()
    os.utime(media / name, (long_ago, long_ago))
    assert orphans.purge() == 1
    assert not (media / name).parent.exists()


@pytest.mark.usefixtures("at_any_age")
def test_what_belongs_to_no_member_goes_if_an_operator_says_so(storage: Storage) -> None:
    files.write(f"images/{uuid4()}/{uuid4()}/original.png", b"x", storage)
    assert orphans.purge(storage=storage) == 0
    assert orphans.purge(storage=storage, strangers=True) == 1


@pytest.mark.usefixtures("at_any_age")
def test_pages_are_looked_at_one_after_the_other(
    alice: User, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "PAGE_FOLDERS", 2)
    for number in range(3):
        make_image(alice, scene(seed=number))
        files.write(f"images/{alice.pk}/{uuid4()}/original.png", b"x")
    assert orphans.purge() == 3
    assert len(there(default_storage)) == 6


# --- What jobs write beside what counts -----------------------------------------------------------------------


def _projected(image: Image, tag: str) -> Any:
    latent = tag.encode()
    return services.prepare_projection(image, key="k", latent=latent, preview=scene(), tag=tag, **PROJECTION)


def _enlarged(saved: SavedImage, tag: str) -> Any:
    return services.prepare_upscaled(saved, scene(64, 64), "x4", tag)


@pytest.mark.parametrize("prepare", [_projected, _enlarged])
@pytest.mark.django_db(transaction=True)
def test_a_result_counts_when_it_is_applied_and_its_former_goes_then(
    alice: User, make_image: MakeImage, make_saved: MakeSaved, prepare: Callable[[Any, str], Any]
) -> None:
    row: Any = make_image(alice) if prepare is _projected else make_saved(alice)
    before = there(default_storage)
    first = prepare(row, "-a")
    prepare(row, "-a")  # the same job tries again
    assert there(default_storage) - before == set(first.names)
    first.apply()
    row.refresh_from_db()
    second = prepare(row, "-b")
    assert there(default_storage) - before == {*first.names, *second.names}
    second.discard()
    assert there(default_storage) - before == set(first.names)
    second = prepare(row, "-b")
    second.apply()
    assert there(default_storage) - before == set(second.names)


def test_a_projection_has_the_same_folder_in_each_attempt(alice: User, make_image: MakeImage) -> None:
    image = make_image(alice)
    assert _projected(image, "-a").names == _projected(image, "-a").names
