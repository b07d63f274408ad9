"""Pictures in an object store: everything that a disk does, and a sentence for whatever the store does instead."""

from __future__ import annotations

import errno
import io
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image as Pillow
from pytest_django import Settings

from accounts.models import User
from gallery import bucket, files, services, storage
from gallery.errors import StorageAway
from gallery.models import Image, SavedImage, Status
from gallery.png import read_recipe
from pixellift.settings import bucket_options
from tests.conftest import ClientOf
from tests.objectstore import BUCKET, REGION, Mood, ObjectStore

pytestmark = pytest.mark.django_db(transaction=True)
HASTY_SECONDS = 0.6


@pytest.fixture(scope="module")
def running_store() -> Iterator[ObjectStore]:
    with ObjectStore() as running:
        yield running


@pytest.fixture
def store(
    running_store: ObjectStore, media: object, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    """The settings of a site whose pictures lie in the store."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    settings.MEDIA_S3_BUCKET = BUCKET
    options = bucket_options(BUCKET, running_store.url, REGION)
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "gallery.bucket.BucketStorage", "OPTIONS": options},
    }
    yield running_store
    running_store.empty()


@pytest.fixture
def hasty(store: ObjectStore, settings: Settings) -> ObjectStore:
    """The same, with less patience than a real site has."""
    options = bucket_options(BUCKET, store.url, REGION)
    options["client_config"].read_timeout = HASTY_SECONDS
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "gallery.bucket.BucketStorage", "OPTIONS": options},
    }
    return store


def photo(side: int = 64, color: str = "olive") -> bytes:
    out = io.BytesIO()
    Pillow.effect_noise((side, side), 90).convert("RGB").save(out, "PNG")
    return out.getvalue() if color == "noise" else _plain(side, color)


def _plain(side: int, color: str) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (side, side), color).save(out, "PNG")
    return out.getvalue()


def uploaded(alice: User, side: int = 64, color: str = "olive") -> Image:
    return services.create_upload(alice, SimpleUploadedFile("a.png", photo(side, color), "image/png"))


def saved_of(alice: User, image: Image) -> SavedImage:
    recipe = {"schema": 1, "edits": []}
    saved = SavedImage.objects.create(user=alice, parent_image=image, name="Kept", recipe=recipe)
    services.store_saved(saved, Pillow.new("RGB", (32, 32), "red"), latent=b"latent")
    saved.refresh_from_db()
    return saved


def body_of(answer: Any) -> bytes:
    data: bytes = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return data


# --- Everything that a disk does ----------------------------------------------------------------------------


def test_an_upload_lies_in_the_bucket_and_is_shown_to_its_owner_alone(
    store: ObjectStore, alice: User, ben: User, client_of: ClientOf
) -> None:
    answer = client_of(alice).post(
        "/gallery/upload/", {"file": SimpleUploadedFile("a.png", photo(), "image/png")}
    )
    assert answer.status_code in {200, 302}
    image = Image.objects.get()
    folder = f"images/{alice.pk}/{image.pk}"
    assert sorted(store.names()) == [f"{folder}/original.png", f"{folder}/thumbnail.webp"]
    path = f"/files/images/{image.pk}/original/"
    assert client_of(alice).get(path).content == default_storage.open(image.file.name).read()
    assert client_of(ben).get(path).status_code == 404


def test_saved_pictures_their_latents_and_enlarged_ones(store: ObjectStore, alice: User) -> None:
    saved = saved_of(alice, uploaded(alice))
    services.store_upscaled(saved, Pillow.new("RGB", (128, 128), "red"), "faithful-x4")
    names = [name.rpartition("/")[2] for name in store.names() if name.startswith("saved/")]
    assert sorted(names) == ["latent.safetensors", "original.png", "thumbnail.webp", "upscaled.png"]
    with saved.latent_file.open("rb") as stream:
        assert stream.read() == b"latent"


def test_a_repeated_attempt_replaces_its_file(store: ObjectStore) -> None:
    first = files.write("images/a/b/original.png", b"first")
    second = files.write("images/a/b/original.png", b"second")
    assert first == second == "images/a/b/original.png"
    assert default_storage.open(first).read() == b"second"


def test_a_download_carries_its_recipe(store: ObjectStore, alice: User, client_of: ClientOf) -> None:
    saved = saved_of(alice, uploaded(alice))
    answer = client_of(alice).get(f"/files/saved/{saved.pk}/original/?download=1")
    assert read_recipe(body_of(answer)) == saved.recipe
    assert "attachment" in answer.headers["Content-Disposition"]


def test_a_large_file_comes_in_parts_that_can_be_asked_for(
    store: ObjectStore, alice: User, client_of: ClientOf
) -> None:
    image = uploaded(alice, 900, "noise")
    whole = default_storage.open(image.file.name).read()
    assert len(whole) > 1_100_000
    client, path = client_of(alice), f"/files/images/{image.pk}/original/"
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Accept-Ranges"]) == (200, "bytes")
    assert body_of(answer) == whole
    for asked, part in {
        "bytes=0-99": whole[:100],
        "bytes=100-": whole[100:],
        "bytes=-7": whole[-7:],
        f"bytes=5-{len(whole) * 2}": whole[5:],
    }.items():
        answer = client.get(path, headers={"Range": asked})
        assert answer.status_code == 206
        assert body_of(answer) == part
        assert answer.headers["Content-Length"] == str(len(part))
        assert answer.headers["Content-Range"].endswith(f"/{len(whole)}")
    for odd in ("bytes=9-5", "bytes=-", "lines=1-2", "bytes=0-1,5-9"):
        assert client.get(path, headers={"Range": odd}).status_code == 200


def test_what_is_deleted_for_good_leaves_nothing_behind(store: ObjectStore, alice: User) -> None:
    image = uploaded(alice)
    saved_of(alice, image)
    SavedImage.objects.all().delete()
    image.delete()
    assert store.names() == []


def test_a_file_that_is_gone_is_no_page(store: ObjectStore, alice: User, client_of: ClientOf) -> None:
    image = uploaded(alice)
    default_storage.delete(image.file.name)
    assert client_of(alice).get(f"/files/images/{image.pk}/original/").status_code == 404


def test_folders_without_a_row_are_found(store: ObjectStore, alice: User) -> None:
    uploaded(alice)
    files.write(f"images/{alice.pk}/not-a-row/original.png", b"left")
    assert set(files.folders(f"images/{alice.pk}")) >= {"not-a-row"}
    assert files.delete_folder(f"images/{alice.pk}/not-a-row") == 1
    assert len(store.names()) == 2


# --- Who sends a file ---------------------------------------------------------------------------------------


def test_by_signed_address_the_browser_asks_the_bucket_itself(
    store: ObjectStore, alice: User, ben: User, client_of: ClientOf, settings: Settings
) -> None:
    settings.MEDIA_DELIVERY = "signed"
    image = uploaded(alice)
    path = f"/files/images/{image.pk}/original/"
    answer = client_of(alice).get(path)
    assert answer.status_code == 302
    assert answer.headers["Cache-Control"] == "private, max-age=240"
    assert "X-Amz-Expires=300" in answer.headers["Location"]
    with urllib.request.urlopen(answer.headers["Location"], timeout=10) as found:  # noqa: S310
        assert found.read() == default_storage.open(image.file.name).read()
    assert "attachment" in client_of(alice).get(f"{path}?download=1").headers["Location"]
    assert client_of(ben).get(path).status_code == 404


def test_nginx_is_told_where_the_file_is(
    store: ObjectStore, alice: User, ben: User, client_of: ClientOf, settings: Settings
) -> None:
    settings.MEDIA_DELIVERY = "accel"
    image = uploaded(alice)
    path = f"/files/images/{image.pk}/original/"
    answer = client_of(alice).get(path)
    there = answer.headers["X-Accel-Redirect"]
    assert there.startswith(f"/internal/bucket/{BUCKET}/images/{alice.pk}/")
    assert "X-Amz-Signature=" in there
    assert answer.headers["Content-Type"] == "image/png"
    assert "X-Accel-Redirect" not in client_of(ben).get(path).headers


def test_nginx_finds_files_of_a_disk_too(alice: User, client_of: ClientOf, settings: Settings) -> None:
    settings.MEDIA_DELIVERY = "accel"
    image = uploaded(alice)
    answer = client_of(alice).get(f"/files/images/{image.pk}/original/")
    assert answer.headers["X-Accel-Redirect"] == f"/internal/media/{image.file.name}"
    assert answer.content == b""


# --- When the store does something else ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mood", "sentence"), [("broken", bucket.AWAY), ("full", storage.FULL), ("slow", bucket.AWAY)]
)
def test_an_upload_that_cannot_be_stored_is_refused_with_a_sentence(
    hasty: ObjectStore, alice: User, client_of: ClientOf, mood: Mood, sentence: str
) -> None:
    hasty.mood = mood
    client = client_of(alice)
    client.raise_request_exception = False
    picture = {"file": SimpleUploadedFile("a.png", photo(), "image/png")}
    began = time.monotonic()
    answer = client.post("/api/v1/images/", picture)
    assert time.monotonic() - began < 20
    assert answer.status_code == 503
    assert answer.json()["detail"] == sentence
    assert answer.headers["Retry-After"] == "5"
    picture = {"file": SimpleUploadedFile("a.png", photo(), "image/png")}
    page = client.post("/gallery/upload/", picture, headers={"HX-Request": "true"})
    assert sentence in page.content.decode()
    assert Image.objects.count() == 0


def test_half_an_upload_is_not_shown_and_not_kept(hasty: ObjectStore, alice: User) -> None:
    """The picture is written, its thumbnail is not."""
    hasty.mood, hasty.spare = "full", 1
    with pytest.raises(StorageAway) as raised:
        uploaded(alice)
    assert raised.value.errno == errno.ENOSPC
    assert Image.objects.count() == 0
    assert hasty.names() == []


@pytest.mark.parametrize("mood", ["broken", "slow", "cut"])
def test_a_picture_that_cannot_be_read_is_503_and_comes_back(
    hasty: ObjectStore, alice: User, client_of: ClientOf, mood: Mood
) -> None:
    image = uploaded(alice)
    client = client_of(alice)
    client.raise_request_exception = False
    path = f"/files/images/{image.pk}/original/"
    hasty.mood = mood
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "Back in a moment" in answer.content.decode()
    hasty.mood = "well"
    assert client.get(path).status_code == 200


def test_deleting_does_not_wait_for_the_store(hasty: ObjectStore, alice: User) -> None:
    image = uploaded(alice)
    hasty.mood = "broken"
    image.delete()
    assert Image.objects.count() == 0
    hasty.mood = "well"
    assert len(hasty.names()) == 2  # `purge_deleted --orphans` finds them


def test_a_bucket_that_is_not_there_is_said_by_readyz(store: ObjectStore, client: Client) -> None:
    store.mood = "broken"
    part = client.get("/readyz?of=web").json()["parts"]["storage"]
    assert part == {
        "ok": False,
        "text": f"Pictures cannot be stored ({bucket.AWAY[:-1]}): check the media folder, or the bucket.",
    }


def test_a_saved_picture_stays_as_it_was_when_its_enlarged_one_cannot_be_stored(
    hasty: ObjectStore, alice: User
) -> None:
    saved = saved_of(alice, uploaded(alice))
    hasty.mood = "full"
    with pytest.raises(StorageAway, match="no room left"):
        services.store_upscaled(saved, Pillow.new("RGB", (128, 128)), "faithful-x4")
    saved.refresh_from_db()
    assert (saved.upscaled_file.name, saved.status_superresolution) == ("", Status.NONE)
