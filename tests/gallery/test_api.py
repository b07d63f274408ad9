"""Pictures over the API: with a token, as the pages do it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import ApiToken, User
from gallery.models import Image
from tests.conftest import ClientOf
from tests.gallery.conftest import RECIPE, MakeImage, MakeSaved, as_bytes, as_upload, scene

KINDS = ["images", "saved-images"]


@pytest.fixture
def with_token(alice: User) -> Client:
    """A program of alice's."""
    _, secret = ApiToken.objects.issue(alice, "test")
    return Client(headers={"Authorization": f"Bearer {secret}"})


def row_of(kind: str, user: User, make_image: MakeImage, make_saved: MakeSaved) -> Any:
    return make_image(user) if kind == "images" else make_saved(user)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_listed_looked_at_renamed_deleted_and_restored(
    alice: User, with_token: Client, make_image: MakeImage, make_saved: MakeSaved, kind: str
) -> None:
    row = row_of(kind, alice, make_image, make_saved)
    url = f"/api/v1/{kind}/{row.pk}/"
    listed = with_token.get(f"/api/v1/{kind}/").json()
    assert listed["count"] == 1
    assert listed["results"][0] == with_token.get(url).json()
    renamed = with_token.patch(url, {"name": " Sea  side "}, content_type="application/json")
    assert renamed.json()["name"] == "Sea side"
    assert with_token.delete(url).status_code == 204
    assert with_token.get(url).status_code == 404
    assert with_token.post(f"{url}restore/").json()["name"] == "Sea side"
    assert with_token.get(url).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("method", "suffix"),
    [("get", ""), ("patch", ""), ("delete", ""), ("post", "restore/"), ("get", "file/original/")],
)
def test_what_is_somebody_elses_is_not_there(
    ben: User,
    with_token: Client,
    make_image: MakeImage,
    make_saved: MakeSaved,
    kind: str,
    method: str,
    suffix: str,
) -> None:
    row = row_of(kind, ben, make_image, make_saved)
    for pk in (row.pk, uuid4()):
        response = getattr(with_token, method)(
            f"/api/v1/{kind}/{pk}/{suffix}", content_type="application/json"
        )
        assert response.status_code == 404
        assert "detail" in response.json()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.django_db
def test_visitors_get_a_401(client: Client, kind: str) -> None:
    for url in (f"/api/v1/{kind}/", f"/api/v1/{kind}/{uuid4()}/", f"/api/v1/{kind}/{uuid4()}/file/original/"):
        assert client.get(url).status_code == 401


@pytest.mark.parametrize("kind", KINDS)
def test_links_lead_to_files_that_the_same_token_opens(
    alice: User, with_token: Client, make_image: MakeImage, make_saved: MakeSaved, kind: str
) -> None:
    row = row_of(kind, alice, make_image, make_saved)
    links = with_token.get(f"/api/v1/{kind}/{row.pk}/").json()["links"]
    assert set(links) == {"original", "thumbnail"}
    for accept in ("*/*", "image/png", "application/json"):
        response = with_token.get(links["original"], headers={"Accept": accept})
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "image/png"
    assert with_token.get(links["original"].replace("original", "nonsense")).status_code == 404


@pytest.mark.parametrize("name", ["", "  ", "x" * 121, None, "\u200b"])
def test_a_bad_name_is_refused_at_its_field(
    alice: User, with_token: Client, make_image: MakeImage, name: str | None
) -> None:
    url = f"/api/v1/images/{make_image(alice).pk}/"
    response = with_token.patch(url, {"name": name}, content_type="application/json")
    assert response.status_code == 400
    assert "name" in response.json()


def test_nothing_but_the_name_can_be_changed(
    alice: User, ben: User, with_token: Client, make_image: MakeImage
) -> None:
    image = make_image(alice)
    data = {"user": str(ben.pk), "sha256": "x", "source": "random", "generator": "evil", "status": "done"}
    assert (
        with_token.patch(f"/api/v1/images/{image.pk}/", data, content_type="application/json").status_code
        == 200
    )
    image.refresh_from_db()
    assert (image.user, image.source, image.model, image.status_process) == (alice, "upload", "", "none")


def test_a_picture_is_uploaded_once(alice: User, with_token: Client) -> None:
    def send(**fields: Any) -> Any:
        return with_token.post("/api/v1/images/", {"file": as_upload(as_bytes(scene())), **fields})

    first = send(name="Holidays")
    assert first.status_code == 201
    assert first.json()["name"] == "Holidays"
    again = send()
    assert again.status_code == 200
    assert again.json()["id"] == first.json()["id"]
    assert Image.objects.get().user == alice


@pytest.mark.parametrize(
    ("data", "status"), [(b"nonsense", 422), (b"", 422), (b"x" * 300_000, 413), (None, 400)]
)
def test_a_bad_upload_is_refused_in_words(
    with_token: Client, settings: Settings, data: bytes | None, status: int
) -> None:
    settings.UPLOAD_MAX_BYTES = 100_000
    response = with_token.post("/api/v1/images/", {} if data is None else {"file": as_upload(data)})
    assert response.status_code == status
    assert response.json().get("detail") or response.json()["file"]
    assert not Image.objects.exists()


def test_a_full_storage_is_said(alice: User, with_token: Client) -> None:
    User.objects.filter(pk=alice.pk).update(quota_bytes=10)
    response = with_token.post("/api/v1/images/", {"file": as_upload(as_bytes(scene()))})
    assert response.status_code == 413
    assert "storage is full" in response.json()["detail"]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("source=random", 1),
        ("generator=portraits", 1),
        ("generator=x", 0),
        ("status=none", 2),
        ("limit=1", 2),
    ],
)
def test_lists_are_filtered(
    alice: User, with_token: Client, make_image: MakeImage, query: str, count: int
) -> None:
    make_image(alice)
    make_image(alice, source="random", model="portraits")
    assert with_token.get(f"/api/v1/images/?{query}").json()["count"] == count


def test_a_filter_with_nonsense_in_it_is_refused(with_token: Client) -> None:
    assert with_token.get("/api/v1/images/?source=nonsense").status_code == 400
    assert with_token.get("/api/v1/saved-images/?parent=nonsense").status_code == 400


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_queries_does_not_grow(
    alice: User, with_token: Client, make_image: MakeImage, make_saved: MakeSaved, kind: str
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            with_token.get(f"/api/v1/{kind}/")
        return len(captured)

    make_saved(alice, make_image(alice))
    queries()  # the token remembers once that it was used
    few = queries()
    for seed in range(10):
        make_saved(alice, make_image(alice, scene(seed=seed)))
    assert queries() == few <= 5


def test_saved_images_carry_their_recipe(alice: User, with_token: Client, make_saved: MakeSaved) -> None:
    saved = make_saved(alice)
    assert with_token.get(f"/api/v1/saved-images/{saved.pk}/").json()["recipe"] == RECIPE


def test_saved_images_are_not_made_by_hand(with_token: Client) -> None:
    assert with_token.post("/api/v1/saved-images/", {"name": "x"}).status_code == 405


def test_a_session_changes_nothing_without_the_token_of_the_form(
    alice: User, client_of: ClientOf, make_image: MakeImage
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="accounts.backends.NameOrEmailBackend")
    assert client.delete(f"/api/v1/images/{make_image(alice).pk}/").status_code == 403
