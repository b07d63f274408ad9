"""Files: who gets them, with which headers, and that none outlives its row."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django.utils import timezone
from PIL import Image as Pillow
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts.models import User
from gallery import orphans, services
from gallery.errors import PictureGone, StorageFull
from gallery.models import Image, Projection, SavedImage, Status
from gallery.png import embed_recipe, read_recipe
from gallery.serving import safe_name
from tests.conftest import ClientOf
from tests.gallery.conftest import RECIPE, MakeImage, MakeSaved, as_bytes, as_upload, scene

PROJECTION: dict[str, Any] = {
    "generator": "portraits",
    "generator_sha256": "a" * 64,
    "space": "w+",
    "steps": 100,
    "loss": 0.1,
}


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


# --- Serving --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["original", "thumbnail"])
def test_the_owner_gets_a_file_and_browsers_are_told_to_be_careful(
    alice: User, client_of: ClientOf, make_image: MakeImage, kind: str
) -> None:
    image = make_image(alice)
    response = client_of(alice).get(f"/files/images/{image.pk}/{kind}/")
    assert Pillow.open(io.BytesIO(body(response))).size == (64, 64)
    assert response.headers["Content-Type"] == {"original": "image/png", "thumbnail": "image/webp"}[kind]
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert "Cookie" in response.headers["Vary"]


def test_a_browser_that_has_the_file_is_told_so(
    alice: User, client_of: ClientOf, make_image: MakeImage
) -> None:
    image = make_image(alice)
    client = client_of(alice)
    etag = client.get(f"/files/images/{image.pk}/original/").headers["ETag"]
    again = client.get(f"/files/images/{image.pk}/original/", headers={"If-None-Match": etag})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["ETag"] == etag
    services.store_image(image, scene(seed=9))
    assert (
        client.get(f"/files/images/{image.pk}/original/", headers={"If-None-Match": etag}).status_code == 200
    )


def test_an_address_with_the_version_in_it_may_be_kept(
    alice: User, client_of: ClientOf, make_image: MakeImage
) -> None:
    image = make_image(alice)
    client = client_of(alice)
    assert "immutable" in client.get(image.thumbnail_url()).headers["Cache-Control"]
    assert "immutable" not in client.get(f"/files/images/{image.pk}/thumbnail/?v=x").headers["Cache-Control"]


@pytest.mark.parametrize("kind", ["images", "saved"])
def test_strangers_visitors_and_moderators_get_no_file(
    alice: User, ben: User, mo: User, client: Client, client_of: ClientOf,
    make_image: MakeImage, make_saved: MakeSaved, kind: str,
) -> None:  # fmt: skip
    row = make_image(alice) if kind == "images" else make_saved(alice)
    url = f"/files/{kind}/{row.pk}/original/"
    assert client.get(url).status_code == 302
    assert client_of(ben).get(url).status_code == 404
    assert client_of(mo).get(url).status_code == 404
    assert client_of(alice).get(url).status_code == 200


@pytest.mark.parametrize("kind", ["upscaled", "latent", "recipe", "file"])
def test_there_are_no_other_kinds(alice: User, client_of: ClientOf, make_image: MakeImage, kind: str) -> None:
    assert client_of(alice).get(f"/files/images/{make_image(alice).pk}/{kind}/").status_code == 404


def test_a_picture_that_is_not_drawn_yet_has_no_file(
    alice: User, client_of: ClientOf, make_image: MakeImage
) -> None:
    image = make_image(alice, ready=False, status_process=Status.QUEUED)
    assert client_of(alice).get(f"/files/images/{image.pk}/original/").status_code == 404


@pytest.mark.parametrize("field", ["hidden_at", "deleted_at"])
def test_hidden_and_deleted_pictures_have_no_file(
    alice: User, client_of: ClientOf, make_image: MakeImage, field: str
) -> None:
    image = make_image(alice, **{field: timezone.now()})
    assert client_of(alice).get(f"/files/images/{image.pk}/original/").status_code == 404


def test_a_file_that_the_storage_lost_is_a_404(
    alice: User, client_of: ClientOf, make_image: MakeImage, media: Path
) -> None:
    image = make_image(alice)
    (media / str(image.file.name)).unlink()
    assert client_of(alice).get(f"/files/images/{image.pk}/original/").status_code == 404


def test_large_files_stream(alice: User, client_of: ClientOf, make_image: MakeImage) -> None:
    noise = Pillow.effect_noise((1200, 1200), 100)
    image = make_image(alice, noise)
    response = client_of(alice).get(f"/files/images/{image.pk}/original/")
    assert response.streaming
    assert len(body(response)) == image.file.size == int(response.headers["Content-Length"])


@pytest.mark.django_db(transaction=True)
async def test_large_files_stream_under_asgi_too(
    async_client: Any, alice: User, make_image: MakeImage
) -> None:
    from asgiref.sync import sync_to_async

    noise = Pillow.effect_noise((1200, 1200), 100)
    image = await sync_to_async(make_image)(alice, noise)
    await sync_to_async(async_client.force_login)(alice, backend="accounts.backends.NameOrEmailBackend")
    response = await async_client.get(f"/files/images/{image.pk}/original/")
    received = [chunk async for chunk in response.streaming_content]
    assert len(received) > 1
    assert sum(map(len, received)) == image.file.size


def test_a_download_has_a_name_and_carries_the_recipe(
    alice: User, client_of: ClientOf, make_saved: MakeSaved
) -> None:
    saved = make_saved(alice, name='Grüße: "a/b"\r\nX-Evil: 1')
    response = client_of(alice).get(f"/files/saved/{saved.pk}/original/?download=1")
    assert read_recipe(body(response)) == RECIPE
    disposition = response.headers["Content-Disposition"]
    assert disposition.startswith("attachment; ")
    assert "\r" not in disposition
    assert "/" not in disposition.split("''")[1]
    assert response.headers["Cache-Control"] == "private, no-store"
    shown = body(client_of(alice).get(f"/files/saved/{saved.pk}/original/"))
    assert read_recipe(shown) is None


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Beach", "Beach"),
        ("../../etc/passwd", "etc passwd"),
        ("", "picture"),
        ("...", "picture"),
        ("a\u202egnp.exe", "a gnp.exe"),
    ],
)
def test_names_of_downloads_are_harmless(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_recipe_goes_into_a_png_and_comes_out_and_the_pixels_stay() -> None:
    png = as_bytes(scene())
    with_recipe = embed_recipe(png, {"words": "Grüße ✓"})
    assert read_recipe(with_recipe) == {"words": "Grüße ✓"}
    assert Pillow.open(io.BytesIO(with_recipe)).tobytes() == scene().tobytes()


@pytest.mark.parametrize("data", [b"", b"GIF89a", as_bytes(scene())[:20], as_bytes(scene())[:60]])
def test_reading_a_recipe_from_a_damaged_file_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"PNG"):
        read_recipe(data)


# --- Files follow their rows ----------------------------------------------------------------------------------


def _everything(alice: User, make_image: MakeImage, make_saved: MakeSaved) -> tuple[Image, SavedImage]:
    image = make_image(alice)
    services.store_projection(image, key="k", latent=b"latent", preview=scene(), **PROJECTION)
    saved = make_saved(alice, image)
    services.store_saved(saved, scene(seed=3), latent=b"latent")
    services.store_upscaled(saved, scene(256, 256), "faithful-x4")
    return image, saved


def test_purging_leaves_no_file_behind(
    alice: User, make_image: MakeImage, make_saved: MakeSaved, media: Path, settings: Settings,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    image, saved = _everything(alice, make_image, make_saved)
    kept = make_image(alice, scene(seed=5))
    assert len(files_in(media)) == 10
    long_ago = timezone.now() - timedelta(seconds=settings.UNDO_DELETE_SECONDS + 1)
    Image.objects.filter(pk=image.pk).update(deleted_at=long_ago)
    SavedImage.objects.filter(pk=saved.pk).update(deleted_at=long_ago)
    with django_capture_on_commit_callbacks(execute=True):
        assert services.purge_deleted() == 2
    assert {path.parent.name for path in files_in(media)} == {str(kept.pk)}
    assert not Projection.objects.exists()


def test_what_can_still_be_brought_back_is_not_purged(
    alice: User, make_image: MakeImage, media: Path
) -> None:
    make_image(alice, deleted_at=timezone.now())
    assert services.purge_deleted() == 0
    assert len(files_in(media)) == 2


def test_deleting_an_account_leaves_no_file_behind(
    alice: User, make_image: MakeImage, make_saved: MakeSaved, media: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    _everything(alice, make_image, make_saved)
    with django_capture_on_commit_callbacks(execute=True):
        alice.delete()
    assert files_in(media) == []


@pytest.mark.django_db(transaction=True)
def test_a_deletion_that_is_rolled_back_deletes_no_file(
    alice: User, make_image: MakeImage, media: Path
) -> None:
    image = make_image(alice)

    def delete_and_fail() -> None:
        with transaction.atomic():
            image.delete()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        delete_and_fail()
    assert len(files_in(media)) == 2


def test_a_second_attempt_replaces_the_files_of_the_first(
    alice: User, make_image: MakeImage, media: Path
) -> None:
    image = make_image(alice)
    services.store_image(image, scene(seed=8))
    image.refresh_from_db()
    assert len(files_in(media)) == 2
    assert image.byte_size == sum(path.stat().st_size for path in files_in(media))


def test_enlarging_again_counts_the_new_file_only(alice: User, make_saved: MakeSaved, media: Path) -> None:
    saved = make_saved(alice)
    for side in (256, 512):
        services.store_upscaled(saved, scene(side, side), "faithful-x4")
        saved.refresh_from_db()
    assert saved.byte_size == sum(path.stat().st_size for path in files_in(media))
    assert (saved.upscaled_width, saved.status_superresolution) == (512, Status.DONE)


def test_work_for_a_picture_that_was_purged_leaves_nothing(
    alice: User, make_image: MakeImage, media: Path
) -> None:
    image = make_image(alice, ready=False)
    Image.objects.all().delete()
    with pytest.raises(PictureGone):
        services.store_image(image, scene())
    with pytest.raises(PictureGone):
        services.store_projection(image, key="k", latent=b"latent", **PROJECTION)
    assert files_in(media) == []


def test_a_refused_upload_leaves_nothing(alice: User, media: Path) -> None:
    alice.quota_bytes = 100
    alice.save()
    with pytest.raises(StorageFull):
        services.create_upload(alice, as_upload(as_bytes(scene())))
    assert files_in(media) == []


def test_an_equal_projection_takes_the_place_of_the_former(alice: User, make_image: MakeImage) -> None:
    image = make_image(alice)
    first = services.store_projection(image, key="k", latent=b"one", **PROJECTION)
    second = services.store_projection(image, key="k", latent=b"other", preview=scene(), **PROJECTION)
    image.refresh_from_db()
    assert first.pk == second.pk == image.projection_id
    assert second.file.read() == b"other"


def test_the_command_purges_and_sweeps_up_orphans(
    alice: User,
    make_image: MakeImage,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_image(alice)
    orphan = media / "images" / str(alice.pk) / str(uuid4()) / "original.png"
    orphan.parent.mkdir()
    orphan.write_bytes(b"x")
    call_command("purge_deleted", "--orphans")
    assert orphan.exists()  # too young: its row may be on the way
    monkeypatch.setattr(orphans, "ORPHAN_AGE", timedelta(0))
    call_command("purge_deleted", "--orphans")
    assert not orphan.exists()
    assert len(files_in(media)) == 2
    assert "1 file that belonged to nothing deleted." in capsys.readouterr().out


# --- Room -----------------------------------------------------------------------------------------------------


def test_all_files_count_but_not_those_that_were_deleted(
    alice: User, make_image: MakeImage, make_saved: MakeSaved, media: Path
) -> None:
    _everything(alice, make_image, make_saved)
    assert services.storage_used(alice) == sum(path.stat().st_size for path in files_in(media))
    Image.objects.update(deleted_at=timezone.now())
    SavedImage.objects.update(deleted_at=timezone.now())
    assert services.storage_used(alice) == 0


def test_deleting_makes_room_at_once_and_the_disk_never_holds_more_than_allowed(
    alice: User, make_image: MakeImage, media: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    image = make_image(alice)
    alice.quota_bytes = image.byte_size + 100
    alice.save()
    upload = as_upload(as_bytes(scene(seed=4)))
    with pytest.raises(StorageFull, match="Delete pictures"):
        services.create_upload(alice, upload)
    Image.objects.update(deleted_at=timezone.now())
    alice.quota_bytes = image.byte_size * 3 // 2
    with django_capture_on_commit_callbacks(execute=True):
        services.create_upload(alice, upload)
    assert Image.objects.count() == 1
    assert sum(path.stat().st_size for path in files_in(media)) <= alice.quota_bytes


def test_open_image_is_upright_rgb_with_transparency_on_white(alice: User, make_image: MakeImage) -> None:
    picture = Pillow.new("RGBA", (32, 32), (255, 0, 0, 0))
    image = make_image(alice, picture)
    assert services.open_image(image).getpixel((0, 0)) == (255, 255, 255)
    assert services.open_image(image, alpha=True).mode == "RGBA"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("beach.jpeg", "beach"), ("C:\\photos\\me.png", "me"), ("../../x.webp", "x"), ("v1.2 final", "v1.2 final"),
        ("", "Upload"), ("\x00\x01.png", "Upload"), ("a" * 300 + ".png", "a" * 120), (".png", ".png"),
    ],
)  # fmt: skip
def test_names_of_uploads_are_for_people(given: str, name: str) -> None:
    assert services.clean_name(given, "Upload") == name
