"""The editor's page: what it shows in each state of a picture, and to whom."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from gallery.models import Image, SavedImage, Status
from tests.transforms.conftest import GENERATOR, Run
from transforms import lifecycle, services
from transforms.models import Job, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(client: Client, alice: User) -> Client:
    """Alice's browser, signed in."""
    client.force_login(alice)
    return client


def address(image: Image, query: str = "") -> str:
    return reverse("transforms:edit", args=[image.pk]) + query


def json_in(body: str, name: str) -> Any:
    """What the page hands to its scripts under this id."""
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', body, re.DOTALL)
    return json.loads(found.group(1)) if found else None


def shown(client: Client, image: Image, query: str = "") -> str:
    response = client.get(address(image, query))
    assert response.status_code == 200
    return response.content.decode()


def project(user: User, image: Image, **choices: Any) -> Job:
    job = services.request_projection(user, image, generator=GENERATOR, steps=2, **choices)
    assert job is not None
    return job


# --- Who may look ---


def test_somebody_who_is_not_signed_in_is_asked_to(client: Client, upload: Image) -> None:
    response = client.get(address(upload))
    assert response.status_code == 302
    assert response.headers["Location"].startswith(reverse("accounts:login"))


def test_a_stranger_finds_nothing(client: Client, ben: User, upload: Image) -> None:
    client.force_login(ben)
    assert client.get(address(upload)).status_code == 404


def test_a_deleted_picture_is_gone(page: Client, upload: Image) -> None:
    Image.objects.filter(pk=upload.pk).soft_delete()
    assert page.get(address(upload)).status_code == 404


def test_a_picture_that_never_was_is_not_found(page: Client) -> None:
    assert page.get(reverse("transforms:edit", args=[uuid.uuid4()])).status_code == 404


def test_the_page_is_only_read(page: Client, upload: Image) -> None:
    assert page.post(address(upload)).status_code == 405


# --- An upload ---


def test_an_upload_begins_with_the_square_in_the_middle(page: Client, upload: Image) -> None:
    body = shown(page, upload)
    assert 'name="x" type="number" min="0" max="48" value="0"' in body
    assert 'name="y" type="number" min="0" max="64" value="8"' in body
    assert 'name="size" type="number" min="1" max="48" value="48"' in body
    assert "Tiny" in body
    assert reverse("transforms:crop_and_project", args=[upload.pk]) in body


def test_the_form_works_without_scripts(page: Client, upload: Image) -> None:
    fields = {"generator": GENERATOR, "x": 0, "y": 8, "size": 48, "space": "w", "steps": 40}
    response = page.post(reverse("transforms:crop_and_project", args=[upload.pk]), fields)
    assert response.status_code == 302
    assert response.headers["Location"] == address(upload)
    job = Job.objects.get(image=upload)
    assert (job.params["crop"], job.params["space"]) == ({"x": 0, "y": 8, "size": 48}, "w")


def test_while_it_is_looked_for_the_page_shows_the_job(page: Client, alice: User, upload: Image) -> None:
    job = project(alice, upload, crop={"x": 0, "y": 8, "size": 40})
    body = shown(page, upload)
    assert f'data-job="{job.pk}"' in body
    assert json_in(body, "crop-data") == {"x": 0, "y": 8, "size": 40}
    assert reverse("transforms:job_cancel", args=[job.pk]) in body
    assert reverse("transforms:job_keep", args=[job.pk]) in body


def test_once_it_is_found_the_sliders_are_there(page: Client, alice: User, upload: Image, run: Run) -> None:
    assert run(project(alice, upload)).state == State.SUCCEEDED
    config = json_in(shown(page, upload), "editor-config")
    assert config["image"] == str(upload.pk)
    assert config["source"] == "upload"
    assert config["truncation"] is None
    assert config["crop"] == {"x": 0, "y": 8, "size": 48}


def test_another_square_can_be_chosen_later(page: Client, alice: User, upload: Image, run: Run) -> None:
    run(project(alice, upload, crop={"x": 3, "y": 4, "size": 40}))
    body = shown(page, upload, "?again")
    assert 'max="48" value="3"' in body
    assert "Back to the sliders" in body


def test_a_search_that_failed_says_why(page: Client, alice: User, upload: Image) -> None:
    job = project(alice, upload)
    Job.objects.filter(pk=job.pk).update(state=State.FAILED, error="The model ran out of memory.")
    assert "The model ran out of memory." in shown(page, upload)


def test_a_search_that_was_canceled_leaves_the_form(page: Client, alice: User, upload: Image) -> None:
    job = project(alice, upload)
    assert lifecycle.cancel(Job.objects.filter(pk=job.pk), job)
    assert "Find it in the model" in shown(page, upload)


# --- A generated picture ---


def test_a_generated_picture_opens_at_once(page: Client, random_image: Image) -> None:
    body = shown(page, random_image)
    config = json_in(body, "editor-config")
    assert config["source"] == "random"
    assert config["truncation"] == random_image.truncation_psi
    assert config["saved"] is None
    assert json_in(body, "editor-recipe") is None
    assert "data-psi" in body


def test_a_picture_that_waits_to_be_drawn_says_so(page: Client, alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR, count=1)
    image = Image.objects.get(pk=job.result["images"][0])
    assert "This picture is being drawn" in shown(page, image)


def test_a_picture_that_could_not_be_drawn_leads_to_the_jobs(page: Client, alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR, count=1)
    image = Image.objects.get(pk=job.result["images"][0])
    Image.objects.filter(pk=image.pk).update(status_process=Status.FAILED)
    body = shown(page, image)
    assert "could not be drawn" in body
    assert reverse("transforms:jobs") in body


# --- A saved picture opened again ---


def test_a_saved_picture_brings_its_recipe(page: Client, saved: SavedImage) -> None:
    assert saved.parent_image is not None
    body = shown(page, saved.parent_image, f"?saved={saved.pk}")
    assert json_in(body, "editor-recipe") == saved.recipe
    assert json_in(body, "editor-config")["saved"] == str(saved.pk)
    assert 'value="Kept"' in body


def test_somebody_elses_saved_picture_brings_nothing(page: Client, ben: User, saved: SavedImage) -> None:
    assert saved.parent_image is not None
    SavedImage.objects.filter(pk=saved.pk).update(user=ben)
    assert json_in(shown(page, saved.parent_image, f"?saved={saved.pk}"), "editor-recipe") is None


def test_nonsense_in_the_address_brings_nothing(page: Client, random_image: Image) -> None:
    assert json_in(shown(page, random_image, "?saved=nonsense"), "editor-recipe") is None


def test_a_recipe_of_an_earlier_search_offers_to_go_back_to_it(
    page: Client, alice: User, upload: Image, run: Run
) -> None:
    run(project(alice, upload, crop={"x": 0, "y": 0, "size": 48}))
    upload.refresh_from_db()
    run(services.request_save(alice, upload, name="First"))
    first = SavedImage.objects.get(name="First")
    run(project(alice, upload, crop={"x": 0, "y": 16, "size": 48}))
    body = shown(page, upload, f"?saved={first.pk}")
    assert "Go back to the earlier search" in body
    fields = {"generator": GENERATOR, "x": 0, "y": 0, "size": 48, "space": "w+", "steps": 2}
    page.post(reverse("transforms:crop_and_project", args=[upload.pk]), fields)
    assert "Go back to the earlier search" not in shown(page, upload, f"?saved={first.pk}")


# --- Safety, and the rest ---


def test_a_name_cannot_smuggle_a_script_in(page: Client, random_image: Image) -> None:
    Image.objects.filter(pk=random_image.pk).update(name="</script><script>alert(1)</script>")
    assert "<script>alert(1)" not in shown(page, random_image)


def test_nothing_in_the_page_needs_inline_code(page: Client, upload: Image, random_image: Image) -> None:
    for image in (upload, random_image):
        body = shown(page, image)
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", body)
        for attributes in re.findall(r"<script([^>]*)>", body):
            assert "src=" in attributes or 'type="application/json"' in attributes


def test_the_number_of_queries_does_not_depend_on_what_was_done_before(
    page: Client, alice: User, upload: Image, run: Run, django_assert_max_num_queries: Any
) -> None:
    for offset in range(3):
        run(project(alice, upload, crop={"x": 0, "y": offset, "size": 48}))
    with django_assert_max_num_queries(6):
        shown(page, upload)


def test_a_contact_sheet_is_shown_to_members(page: Client, models_dir: Any) -> None:
    url = reverse("transforms:generator_sheet", args=[GENERATOR])
    assert page.get(url).status_code == 404
    sheet = models_dir / GENERATOR / "sheet.webp"
    sheet.write_bytes(b"RIFF")
    try:
        response = page.get(url)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "image/webp"
        assert b"".join(response.streaming_content) == b"RIFF"  # type: ignore[attr-defined]  # a FileResponse
    finally:
        sheet.unlink()


@pytest.mark.parametrize("name", ["nobody", "..", "%2e%2e"])
def test_a_sheet_of_no_generator_is_not_found(page: Client, name: str) -> None:
    assert page.get(f"/generators/{name}/sheet/").status_code == 404


def test_a_contact_sheet_needs_a_sign_in(client: Client) -> None:
    assert client.get(reverse("transforms:generator_sheet", args=[GENERATOR])).status_code == 302
