"""The gallery's pages: each works for its owner, not for strangers, and says what was wrong."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import Image, Status
from tests.conftest import ClientOf
from tests.gallery.conftest import MakeImage, MakeSaved, as_bytes, as_upload, scene

HTMX = {"HX-Request": "true"}
NOBODYS = UUID("0b5f0c9e-9a5b-4a6e-8f0a-2d1c3e4f5a6b")


def toast_of(response: Any) -> dict[str, str]:
    detail: dict[str, str] = json.loads(response.headers["HX-Trigger"])["toast"]
    return detail


def queries_of(client: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


# --- The grid -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/gallery/", "/saved/", f"/gallery/{NOBODYS}/", f"/saved/{NOBODYS}/"])
@pytest.mark.django_db
def test_visitors_are_sent_to_sign_in(client: Client, url: str) -> None:
    assert client.get(url).headers["Location"] == f"/accounts/login/?next={url}"


def test_an_empty_gallery_says_how_to_begin(alice: User, client_of: ClientOf) -> None:
    assert "Begin with a picture" in client_of(alice).get("/gallery/").text


def test_the_newest_picture_comes_first_and_strangers_see_none(
    alice: User, ben: User, client_of: ClientOf, make_image: MakeImage
) -> None:
    old = make_image(alice, name="Old")
    Image.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=1))
    make_image(alice, name="New")
    page = client_of(alice).get("/gallery/").text
    assert page.index("New</h2>") < page.index("Old</h2>")
    assert "Old" not in client_of(ben).get("/gallery/").text


def test_pictures_that_are_hidden_or_deleted_are_not_shown(
    alice: User, client_of: ClientOf, make_image: MakeImage
) -> None:
    make_image(alice, name="Hidden one", hidden_at=timezone.now())
    make_image(alice, name="Deleted one", deleted_at=timezone.now())
    page = client_of(alice).get("/gallery/").text
    assert "Hidden one" not in page
    assert "Deleted one" not in page


def test_a_name_is_never_markup(alice: User, client_of: ClientOf, make_image: MakeImage) -> None:
    make_image(alice, name="<script>alert(1)</script>")
    page = client_of(alice).get("/gallery/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("source=upload", {"Photo"}),
        ("source=random", {"Drawn", "Other"}),
        ("generator=portraits", {"Drawn"}),
        ("generator=portraits&source=upload", set()),
        ("source=nonsense", set()),
        ("before=nonsense", {"Photo", "Drawn", "Other"}),
        ("before=2026-99-99~x", {"Photo", "Drawn", "Other"}),
        ("before=0001-01-01T00:00:00Z~" + "0" * 32, set()),
    ],
)
def test_filters_choose(
    alice: User, client_of: ClientOf, make_image: MakeImage, query: str, names: set[str]
) -> None:
    make_image(alice, name="Photo")
    make_image(alice, name="Drawn", source="random", model="portraits", seed=5)
    make_image(alice, name="Other", source="random", model="landscapes", seed=6)
    response = client_of(alice).get(f"/gallery/?{query}", headers=HTMX)
    assert {name for name in ("Photo", "Drawn", "Other") if f"{name}</h2>" in response.text} == names
    assert "<html" not in response.text
    assert "HX-Request" in response.headers["Vary"]


def test_older_pictures_follow_without_gaps_or_doubles(
    alice: User, client_of: ClientOf, make_image: MakeImage
) -> None:
    moment = timezone.now()
    for number in range(80):  # all of the same moment: the id decides
        make_image(alice, name=f"Number {number:02}", created_at=moment, ready=False)
    client, url, seen = client_of(alice), "/gallery/", list[str]()
    for _ in range(3):
        response = client.get(url, headers=HTMX)
        seen += [image.name for image in response.context["page"].pictures]
        url = f"/gallery/{response.context['older_url']}"
    assert sorted(seen) == [f"Number {number:02}" for number in range(80)]
    assert response.context["older_url"] == ""


@pytest.mark.parametrize("url", ["/gallery/", "/saved/"])
def test_the_number_of_queries_does_not_grow(
    alice: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved, url: str
) -> None:
    parent = make_image(alice)
    make_saved(alice, parent)
    client = client_of(alice)
    few = queries_of(client, url)
    for number in range(12):
        make_saved(alice, make_image(alice, scene(seed=number)))
    assert queries_of(client, url) == few <= 8


def test_pictures_reserve_their_place_and_wait_to_be_scrolled_to(
    alice: User, client_of: ClientOf, make_image: MakeImage
) -> None:
    make_image(alice, scene(80, 60))
    page = client_of(alice).get("/gallery/").text
    assert 'width="80" height="60" loading="lazy"' in page


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_a_card_shows_that_it_is_worked_on(
    alice: User, client_of: ClientOf, make_image: MakeImage, status: Status
) -> None:
    image = make_image(alice, source="random", ready=False, status_process=status)
    card = client_of(alice).get(f"/gallery/{image.pk}/card/").text
    assert f'data-status="{status}"' in card
    assert "<progress" in card


def test_a_card_says_that_drawing_failed(alice: User, client_of: ClientOf, make_image: MakeImage) -> None:
    image = make_image(alice, source="random", ready=False, status_process=Status.FAILED)
    assert "could not be drawn" in client_of(alice).get(f"/gallery/{image.pk}/card/").text


def test_several_cards_come_in_one_answer(
    alice: User, ben: User, client_of: ClientOf, make_image: MakeImage
) -> None:
    mine, other, foreign = make_image(alice), make_image(alice, scene(seed=1)), make_image(ben)
    client = client_of(alice)
    text = client.get(f"/gallery/cards/?id={mine.pk}&id={other.pk}&id={foreign.pk}&id={NOBODYS}").text
    assert str(mine.pk) in text
    assert str(other.pk) in text
    assert str(foreign.pk) not in text
    assert client.get("/gallery/cards/?id=nonsense").status_code == 400


@pytest.mark.parametrize("kind", ["gallery", "saved"])
@pytest.mark.parametrize("action", ["", "card/", "rename/", "delete/", "restore/"])
def test_what_is_somebody_elses_is_not_there(
    alice: User, ben: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved,
    kind: str, action: str,
) -> None:  # fmt: skip
    row = make_image(alice) if kind == "gallery" else make_saved(alice)
    client = client_of(ben)
    url = f"/{kind}/{row.pk}/{action}"
    method = client.post if action in ("rename/", "delete/", "restore/") else client.get
    assert method(url).status_code == 404
    assert method(f"/{kind}/{NOBODYS}/{action}").status_code == 404
    row.refresh_from_db()
    assert row.deleted_at is None


@pytest.mark.parametrize("action", ["delete", "restore", "upload"])
def test_nothing_changes_by_get(alice: User, client_of: ClientOf, make_image: MakeImage, action: str) -> None:
    url = "/gallery/upload/" if action == "upload" else f"/gallery/{make_image(alice).pk}/{action}/"
    assert client_of(alice).get(url).status_code == 405


def test_changes_need_the_token_of_the_form(alice: User, make_image: MakeImage) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="accounts.backends.NameOrEmailBackend")
    assert client.post(f"/gallery/{make_image(alice).pk}/delete/").status_code == 403


# --- Upload ---------------------------------------------------------------------------------------------------


def test_an_upload_becomes_a_card_and_a_row(alice: User, client_of: ClientOf) -> None:
    upload = as_upload(as_bytes(scene(100, 80), "JPEG"), "Holidays/beach.JPG", "image/jpeg")
    response = client_of(alice).post("/gallery/upload/", {"file": upload}, headers=HTMX)
    image = Image.objects.get()
    assert response.status_code == 200
    assert f'id="image-{image.pk}"' in response.text
    assert toast_of(response)["text"] == "“beach” is in your gallery."
    assert (image.name, image.source, image.status_process) == ("beach", "upload", "none")
    assert (image.width, image.height, image.mime_type) == (100, 80, "image/jpeg")
    assert image.byte_size == image.file.size + image.thumbnail.size


def test_of_several_files_each_is_reported(alice: User, client_of: ClientOf, settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = 100_000
    files = [
        as_upload(as_bytes(scene(seed=1)), "good.png"),
        as_upload(b"nonsense", "bad.png"),
        as_upload(b"\x89PNG" + b"x" * 300_000, "huge.png"),
        as_upload(as_bytes(scene(seed=2)), "fine.png"),
    ]
    response = client_of(alice).post("/gallery/upload/", {"file": files}, headers=HTMX)
    assert response.status_code == 200
    assert set(Image.objects.values_list("name", flat=True)) == {"good", "fine"}
    refused = {outcome.name: outcome.refusal for outcome in response.context["refusals"]}
    assert set(refused) == {"bad.png", "huge.png"}
    assert "larger than" in refused["huge.png"]


def test_without_scripts_an_upload_leads_back_to_the_gallery(alice: User, client_of: ClientOf) -> None:
    files = [as_upload(as_bytes(scene())), as_upload(b"nonsense", "<b>bad</b>.png")]
    response = client_of(alice).post("/gallery/upload/", {"file": files}, follow=True)
    assert response.redirect_chain == [("/gallery/", 302)]
    assert "“beach” is in your gallery." in response.text
    assert "not a picture" in response.text
    assert "<b>bad" not in response.text


@pytest.mark.parametrize("headers", [{}, HTMX])
@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        ([], 422, "Choose at least one"),
        ([as_upload(b"nonsense")], 422, "not a picture"),
        ([as_upload(b"x" * 300_000)], 413, "larger than"),
    ],
)
def test_an_upload_of_nothing_good_is_refused_in_words(
    alice: User, client_of: ClientOf, settings: Settings,
    headers: dict[str, str], files: list[SimpleUploadedFile], status: int, words: str,
) -> None:  # fmt: skip
    settings.UPLOAD_MAX_BYTES = 100_000
    for file in files:
        file.seek(0)
    response = client_of(alice).post("/gallery/upload/", {"file": files}, headers=headers)
    assert response.status_code == status
    assert words in response.text
    assert not Image.objects.exists()


def test_visitors_cannot_upload(client: Client, db: None) -> None:
    assert client.post("/gallery/upload/", {"file": as_upload(as_bytes(scene()))}).status_code == 302
    assert not Image.objects.exists()


def test_the_same_picture_is_kept_once_and_pointed_at(alice: User, ben: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    client.post("/gallery/upload/", {"file": as_upload(as_bytes(scene()), "first.png")})
    response = client.post(
        "/gallery/upload/", {"file": as_upload(as_bytes(scene()), "again.png")}, headers=HTMX
    )
    image = Image.objects.get()
    assert response.status_code == 409
    assert "as “first”" in response.text
    assert f'data-known="{image.pk}"' in response.text
    assert (
        client_of(ben)
        .post("/gallery/upload/", {"file": as_upload(as_bytes(scene()))}, headers=HTMX)
        .status_code
        == 200
    )


def test_a_deleted_picture_may_be_uploaded_again_but_a_hidden_one_not(
    alice: User, client_of: ClientOf
) -> None:
    client = client_of(alice)

    def send() -> Any:
        return client.post("/gallery/upload/", {"file": as_upload(as_bytes(scene()))}, headers=HTMX)

    assert send().status_code == 200
    Image.objects.update(deleted_at=timezone.now())
    assert send().status_code == 200
    Image.objects.filter(deleted_at=None).update(hidden_at=timezone.now())
    response = send()
    assert response.status_code == 422
    assert "moderator" in response.text


# --- Rename, delete, restore ----------------------------------------------------------------------------------


def test_a_picture_is_renamed(alice: User, client_of: ClientOf, make_image: MakeImage) -> None:
    image = make_image(alice)
    client = client_of(alice)
    assert 'value="Beach"' in client.get(f"/gallery/{image.pk}/rename/", headers=HTMX).text
    response = client.post(f"/gallery/{image.pk}/rename/", {"name": "  Sea \x07 side "}, headers=HTMX)
    assert response.status_code == 200
    assert "Sea side</h2>" in response.text


@pytest.mark.parametrize("name", ["", "   ", "\u200b\u200b", "x" * 121])
def test_a_name_must_be_seen_and_not_too_long(
    alice: User, client_of: ClientOf, make_image: MakeImage, name: str
) -> None:
    image = make_image(alice)
    response = client_of(alice).post(f"/gallery/{image.pk}/rename/", {"name": name}, headers=HTMX)
    assert response.status_code == 422
    assert "field__error" in response.text
    image.refresh_from_db()
    assert image.name == "Beach"


@pytest.mark.parametrize("kind", ["gallery", "saved"])
def test_a_deletion_can_be_undone(
    alice: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved, kind: str
) -> None:
    row = make_image(alice) if kind == "gallery" else make_saved(alice)
    client = client_of(alice)
    response = client.post(f"/{kind}/{row.pk}/delete/", headers=HTMX)
    undo = toast_of(response)["undo"]
    assert response.content == b""
    assert undo == f"/{kind}/{row.pk}/restore/"
    assert client.get(f"/{kind}/{row.pk}/card/").status_code == 404
    restored = client.post(undo, headers=HTMX)
    assert json.loads(restored.headers["HX-Trigger"])["picture-restored"]["card"] == f"/{kind}/{row.pk}/card/"
    assert client.get(f"/{kind}/{row.pk}/card/").status_code == 200


@pytest.mark.parametrize("kind", ["gallery", "saved"])
def test_without_scripts_the_next_page_offers_the_way_back(
    alice: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved, kind: str
) -> None:
    row = make_image(alice) if kind == "gallery" else make_saved(alice)
    client = client_of(alice)
    page = client.post(f"/{kind}/{row.pk}/delete/", follow=True).text
    assert f'action="/{kind}/{row.pk}/restore/"' in page
    assert row.name in client.post(f"/{kind}/{row.pk}/restore/", follow=True).text


def test_after_the_time_for_undo_a_deletion_is_final(
    alice: User, client_of: ClientOf, make_image: MakeImage, settings: Settings
) -> None:
    long_ago = timezone.now() - timedelta(seconds=settings.UNDO_DELETE_SECONDS + 1)
    image = make_image(alice, deleted_at=long_ago)
    assert client_of(alice).post(f"/gallery/{image.pk}/restore/").status_code == 404


def test_the_short_address_of_a_picture_leads_to_the_editor(
    alice: User, client_of: ClientOf, make_image: MakeImage
) -> None:
    image = make_image(alice)
    assert (
        client_of(alice).get(f"/gallery/{image.pk}/").headers["Location"] == f"/gallery/{image.pk}/transform/"
    )


# --- Saved images ---------------------------------------------------------------------------------------------


def test_a_saved_image_shows_its_recipe_and_the_way_back_to_the_editor(
    alice: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved
) -> None:
    parent = make_image(alice, source="random", model="portraits", seed=5)
    saved = make_saved(alice, parent)
    page = client_of(alice).get(f"/saved/{saved.pk}/").text
    for words in ("portraits", "Seed 5", "Slider 4", "+2 σ on layers 1 to 6", "0.7"):  # noqa: RUF001
        assert words in page
    assert f"/gallery/{parent.pk}/transform/?saved={saved.pk}" in page
    assert f'action="/saved/{saved.pk}/upscale/"' in page
    assert "data-compare" in page  # with its parent


@pytest.mark.parametrize("gone", ["deleted_at", "hidden_at", "purged"])
def test_when_the_parent_is_gone_a_sentence_takes_the_place_of_the_link(
    alice: User, client_of: ClientOf, make_image: MakeImage, make_saved: MakeSaved, gone: str
) -> None:
    parent = make_image(alice)
    saved = make_saved(alice, parent)
    if gone == "purged":
        parent.delete()
    else:
        Image.objects.filter(pk=parent.pk).update(**{gone: timezone.now()})
    page = client_of(alice).get(f"/saved/{saved.pk}/").text
    assert "no longer in your gallery" in page
    assert "/transform/" not in page.split("<main")[1].split("</main")[0]


def test_an_enlarged_picture_is_compared_and_both_can_be_had(
    alice: User, client_of: ClientOf, make_saved: MakeSaved
) -> None:
    from gallery.services import store_upscaled

    saved = make_saved(alice)
    store_upscaled(saved, scene(256, 256), "faithful-x4")
    page = client_of(alice).get(f"/saved/{saved.pk}/").text
    assert "256 \N{MULTIPLICATION SIGN} 256" in page
    assert "Download enlarged" in page
    assert "data-compare" in page
    assert page.count(f"/files/saved/{saved.pk}/upscaled/") >= 2


def test_a_running_enlargement_shows_its_progress_to_scripts_as_a_fragment(
    alice: User, client_of: ClientOf, make_saved: MakeSaved
) -> None:
    saved = make_saved(alice, status_superresolution=Status.RUNNING)
    response = client_of(alice).get(f"/saved/{saved.pk}/", headers=HTMX)
    assert "<progress" in response.text
    assert "<html" not in response.text


def test_a_saved_image_is_renamed(alice: User, client_of: ClientOf, make_saved: MakeSaved) -> None:
    saved = make_saved(alice)
    client = client_of(alice)
    response = client.post(f"/saved/{saved.pk}/rename/", {"name": "Grin"}, headers=HTMX)
    assert "Grin</h2>" in response.text
    assert "picture-renamed" in response.headers["HX-Trigger"]
    assert client.post(f"/saved/{saved.pk}/rename/", {"name": ""}).status_code == 422
