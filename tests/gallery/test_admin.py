"""What moderators see and may do."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from gallery import services
from tests.conftest import ClientOf
from tests.gallery.conftest import MakeImage, MakeSaved, scene

KINDS = ["image", "savedimage"]


def row_of(kind: str, user: User, make_image: MakeImage, make_saved: MakeSaved, **fields: Any) -> Any:
    return make_image(user, **fields) if kind == "image" else make_saved(user, **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_a_moderator_hides_a_picture_and_shows_it_again(
    alice: User, mo: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved, kind: str
) -> None:
    row = row_of(kind, alice, make_image, make_saved)
    client = client_of(mo)
    url = f"/admin/gallery/{kind}/"
    for action, hidden in (("hide", True), ("unhide", False)):
        client.post(url, {"action": action, "_selected_action": [str(row.pk)]})
        row.refresh_from_db()
        assert row.is_hidden is hidden
    assert LogEntry.objects.filter(object_id=str(row.pk), user=mo).count() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_lists_and_pages_show_thumbnails_and_no_markup_of_members(
    alice: User, mo: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved, kind: str
) -> None:
    row = row_of(kind, alice, make_image, make_saved, name="<script>alert(1)</script>")
    client = client_of(mo)
    for url in (f"/admin/gallery/{kind}/?q=alice", f"/admin/gallery/{kind}/{row.pk}/change/"):
        page = client.get(url).text
        assert f"/admin/gallery/{kind}/{row.pk}/picture/thumbnail/" in page
        assert "<script>alert" not in page
    picture = client.get(f"/admin/gallery/{kind}/{row.pk}/picture/thumbnail/")
    assert picture.headers["Content-Type"] == "image/webp"
    assert picture.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_pictures_are_still_seen_here(
    alice: User, mo: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved, kind: str
) -> None:
    row = row_of(kind, alice, make_image, make_saved)
    services.hide(type(row).objects.all())
    assert client_of(mo).get(f"/admin/gallery/{kind}/{row.pk}/picture/original/").status_code == 200
    assert str(row.pk) in client_of(mo).get(f"/admin/gallery/{kind}/?visibility=hidden").text
    assert str(row.pk) not in client_of(mo).get(f"/admin/gallery/{kind}/?visibility=visible").text


@pytest.mark.parametrize("kind", KINDS)
def test_only_those_with_the_permission_look_at_pictures(
    alice: User, ben: User, client: Client, client_of: ClientOf,
    make_image: MakeImage, make_saved: MakeSaved, kind: str,
) -> None:  # fmt: skip
    row = row_of(kind, alice, make_image, make_saved)
    url = f"/admin/gallery/{kind}/{row.pk}/picture/thumbnail/"
    assert client.get(url).status_code == 302
    assert client_of(ben).get(url).status_code == 302
    ben.is_staff = True
    ben.save()
    assert client_of(ben).get(url).status_code == 403
    ben.user_permissions.add(Permission.objects.get(codename=f"view_{kind}"))
    assert client_of(User.objects.get(pk=ben.pk)).get(url).status_code == 200
    client_of(ben).post(f"/admin/gallery/{kind}/", {"action": "hide", "_selected_action": [str(row.pk)]})
    row.refresh_from_db()
    assert not row.is_hidden


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_added_or_edited_here(
    alice: User, mo: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved, kind: str
) -> None:
    row = row_of(kind, alice, make_image, make_saved)
    client = client_of(mo)
    assert client.get(f"/admin/gallery/{kind}/add/").status_code == 403
    assert client.post(f"/admin/gallery/{kind}/{row.pk}/change/", {"name": "x"}).status_code == 403


def test_projections_are_listed(alice: User, mo: User, client_of: ClientOf, make_image: MakeImage) -> None:
    projection = services.store_projection(
        make_image(alice), key="k", latent=b"x", generator="portraits", generator_sha256="a" * 64,
        space="w+", steps=100, loss=0.1,
    )  # fmt: skip
    client = client_of(mo)
    assert "portraits" in client.get("/admin/gallery/projection/").text
    assert client.get(f"/admin/gallery/projection/{projection.pk}/change/").status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_queries_does_not_grow(
    alice: User, mo: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved, kind: str
) -> None:
    client = client_of(mo)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(f"/admin/gallery/{kind}/").status_code == 200
        return len(captured)

    make_saved(alice, make_image(alice))
    few = queries()
    for seed in range(8):
        make_saved(alice, make_image(alice, scene(seed=seed)))
    assert queries() == few
