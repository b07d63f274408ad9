"""Drafts: where the encoder says that an upload is, without a search."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.urls import reverse

from accounts.models import User
from gallery.models import Image
from tests.conftest import ClientOf
from tests.transforms.conftest import GENERATOR as WITHOUT
from tests.transforms.conftest import Run
from transforms import services
from transforms.errors import NotReady
from transforms.models import Job, State
from transforms.params import ProjectParams

pytestmark = pytest.mark.django_db
GENERATOR = "portraits"  # a starter, which has an encoder


def test_a_draft_is_made_in_no_steps_and_can_be_refined(alice: User, upload: Image, run: Run) -> None:
    job = services.request_projection(alice, upload, generator=GENERATOR, grade="draft", steps=40)
    assert job is not None
    assert run(job).state == State.SUCCEEDED
    upload.refresh_from_db()
    draft = upload.projection
    assert draft is not None
    assert (draft.grade, draft.steps) == ("draft", 0)
    assert services.request_projection(alice, upload, generator=GENERATOR, grade="draft") is None, (
        "it is kept"
    )
    again = services.request_projection(alice, upload, generator=GENERATOR, steps=20)
    assert again is not None
    run(again)
    upload.refresh_from_db()
    assert upload.projection is not None
    assert upload.projection.grade == "refined"
    assert upload.projection.loss < draft.loss


def test_the_steps_of_a_draft_survive_being_stored() -> None:
    params = ProjectParams.from_data({"generator": "g", "grade": "draft", "steps": 100})
    assert params.steps == 0
    assert ProjectParams.from_data(params.as_data()) == params


def test_a_generator_without_an_encoder_gives_no_draft(alice: User, upload: Image) -> None:
    with pytest.raises(NotReady, match="no encoder"):
        services.request_projection(alice, upload, generator=WITHOUT, grade="draft")
    assert not Job.objects.exists()


def test_an_encoder_that_is_gone_when_the_job_begins_ends_it_with_a_sentence(
    alice: User, upload: Image, run: Run
) -> None:
    job = services.request_projection(alice, upload, generator=GENERATOR, grade="draft")
    assert job is not None
    Job.objects.filter(pk=job.pk).update(params={**job.params, "generator": WITHOUT})
    ended = run(job)
    assert ended.state == State.FAILED
    assert "no encoder" in ended.error


def test_the_page_offers_a_draft_and_takes_it(alice: User, upload: Image, client_of: ClientOf) -> None:
    client = client_of(alice)
    address = reverse("transforms:crop_and_project", args=[upload.pk])
    page = client.get(reverse("transforms:edit", args=[upload.pk]))
    assert b'value="draft"' in page.content
    assert b"data-encoder" in page.content
    client.post(address, {"generator": GENERATOR, "steps": 0, "grade": "draft"})
    assert Job.objects.get(image=upload).params["grade"] == "draft"


def test_the_api_takes_a_draft_and_says_who_can(alice: User, upload: Image, client_of: ClientOf) -> None:
    client = client_of(alice)
    wish = {"generator": GENERATOR, "grade": "draft"}
    assert client.post(f"/api/v1/images/{upload.pk}/project/", wish, "application/json").status_code == 202
    found = {item["name"]: item["has_encoder"] for item in client.get("/api/v1/generators/").json()}
    assert (found[GENERATOR], found[WITHOUT]) == (True, False)


def test_the_command_makes_drafts(upload: Image, run: Run) -> None:
    call_command("reproject", "--into", GENERATOR, "--grade", "draft")
    assert Job.objects.get(image=upload).params["steps"] == 0
