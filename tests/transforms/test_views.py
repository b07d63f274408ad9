"""Pages and buttons of jobs: they work, for their owner, and say what is wrong."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from gallery.models import Image, SavedImage
from tests.conftest import ClientOf
from tests.transforms.conftest import GENERATOR, UPSCALER, Run
from transforms import estimates, services
from transforms.models import Job, State

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
JSON = {"Accept": "application/json"}
WISH = {"generator": GENERATOR, "count": 2, "seed": 3, "truncation_psi": 0.7}


@pytest.fixture
def member(alice: User, client_of: ClientOf) -> Client:
    return client_of(alice)


def test_the_form_is_a_fragment_for_htmx_and_a_page_for_browsers(member: Client) -> None:
    page = member.get(reverse("transforms:generate"))
    part = member.get(reverse("transforms:generate"), headers=HTMX)
    assert b"<html" in page.content
    assert b"<html" not in part.content
    assert b'name="truncation_psi"' in part.content
    assert "HX-Request" in part["Vary"]


def test_generating_answers_with_cards(member: Client, alice: User) -> None:
    response = member.post(reverse("transforms:generate"), WISH, headers=HTMX)
    assert response.status_code == 200
    assert b"Tiny 3" in response.content
    assert b"Tiny 4" in response.content
    assert "toast" in json.loads(response["HX-Trigger"])
    assert Job.objects.get().user == alice


def test_generating_without_scripts_goes_back_to_the_gallery(member: Client) -> None:
    response = member.post(reverse("transforms:generate"), {**WISH, "seed": ""})
    assert response.status_code == 302
    assert response["Location"] == reverse("gallery:index")


@pytest.mark.parametrize(
    "change", [{"count": 11}, {"seed": -1}, {"truncation_psi": "nan"}, {"generator": "none"}]
)
def test_a_bad_wish_comes_back_with_the_form(member: Client, change: dict[str, object]) -> None:
    response = member.post(reverse("transforms:generate"), {**WISH, **change}, headers=HTMX)
    assert response.status_code == 422
    assert not Job.objects.exists()


def test_too_much_outstanding_work_is_refused_with_a_sentence(member: Client, settings: Settings) -> None:
    settings.QUOTA_OUTSTANDING_JOBS = 1
    member.post(reverse("transforms:generate"), WISH)
    response = member.post(reverse("transforms:generate"), WISH, headers=HTMX)
    assert response.status_code == 422
    assert b"Wait for one, or cancel one" in response.content


def test_projecting_starts_a_job(member: Client, upload: Image) -> None:
    wish = {"generator": GENERATOR, "x": 0, "y": 8, "size": 40}
    response = member.post(reverse("transforms:crop_and_project", args=[upload.pk]), wish, headers=JSON)
    assert response.status_code == 202
    assert response.json()["job"]["operation"] == "project"
    assert Job.objects.get().params["crop"] == {"x": 0, "y": 8, "size": 40}


@pytest.mark.parametrize("change", [{"size": 500}, {"x": ""}, {"generator": "none"}, {"steps": -1}])
def test_a_bad_square_is_refused_with_a_sentence(
    member: Client, upload: Image, change: dict[str, object]
) -> None:
    wish = {"generator": GENERATOR, "x": 0, "y": 8, "size": 40, **change}
    address = reverse("transforms:crop_and_project", args=[upload.pk])
    assert member.post(address, wish, headers=HTMX).status_code == 422
    answer = member.post(address, wish, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert member.post(address, wish).status_code == 302
    assert not Job.objects.exists()


def test_saving_starts_a_job(member: Client, random_image: Image) -> None:
    recipe = {"edits": [{"component": 1, "strength": 1, "start": 0, "end": 8}], "truncation_psi": 0.5}
    response = member.post(
        reverse("transforms:save", args=[random_image.pk]),
        {"recipe": json.dumps(recipe), "name": "Kept"},
        headers=HTMX,
    )
    assert response.status_code == 204
    job = Job.objects.latest("created_at")
    assert job.params["name"] == "Kept"
    assert job.params["recipe"]["truncation_psi"] == 0.5


@pytest.mark.parametrize("recipe", ["{", "[]", '{"edits": 5}', '{"edits": [{"component": 99}]}'])
def test_a_bad_recipe_is_refused(member: Client, random_image: Image, recipe: str) -> None:
    response = member.post(
        reverse("transforms:save", args=[random_image.pk]), {"recipe": recipe}, headers=HTMX
    )
    assert response.status_code == 422


def test_enlarging_starts_a_job(member: Client, saved: SavedImage) -> None:
    response = member.post(
        reverse("transforms:upscale", args=[saved.pk]), {"upscaler": UPSCALER}, headers=HTMX
    )
    assert response.status_code == 204


def test_the_list_of_jobs_asks_a_constant_number_of_queries(
    member: Client, alice: User, django_assert_num_queries: DjangoAssertNumQueries, settings: Settings
) -> None:
    settings.QUOTA_OUTSTANDING_JOBS = 50
    for count in (1, 20):
        for number in range(count):
            services.request_random(alice, generator=GENERATOR, count=number % 3 + 1)
            Job.objects.claim(services.request_random(alice, generator=GENERATOR).pk, uuid4())
        estimates.forget()
        with django_assert_num_queries(6):
            assert member.get(reverse("transforms:jobs"), headers=HTMX).status_code == 200


def test_a_job_can_be_canceled_and_tried_again(member: Client, alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR)
    response = member.post(reverse("transforms:job_cancel", args=[job.pk]), headers=HTMX)
    assert json.loads(response["HX-Trigger"])["toast"]["text"] == "Canceled."
    again = member.post(reverse("transforms:job_retry", args=[job.pk]), headers=JSON).json()["job"]
    assert again["state"] == State.QUEUED
    late = member.post(reverse("transforms:job_cancel", args=[job.pk]), headers=HTMX)
    assert json.loads(late["HX-Trigger"])["toast"]["level"] == "info"


def test_what_is_running_cannot_be_tried_again(member: Client, alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR)
    response = member.post(reverse("transforms:job_retry", args=[job.pk]), headers=HTMX)
    assert json.loads(response["HX-Trigger"])["toast"]["level"] == "error"


def test_a_preview_is_shown_to_its_owner(member: Client, alice: User, upload: Image, run: Run) -> None:
    job = services.request_projection(alice, upload, generator=GENERATOR, steps=3)
    assert job is not None
    assert member.get(reverse("transforms:job_preview", args=[job.pk])).status_code == 404
    run(job)
    response = member.get(reverse("transforms:job_preview", args=[job.pk]))
    assert response["Content-Type"] == "image/webp"
    assert response["Cache-Control"] == "private, no-store"


def test_without_an_account_nothing_is_shown_or_started(client: Client, random_image: Image) -> None:
    jobs = Job.objects.count()
    for name, args, method in _addresses(random_image.pk, uuid4()):
        response = getattr(client, method)(reverse(name, args=args))
        assert response.status_code == 302, name
        assert response["Location"].startswith(reverse("accounts:login"))
    assert Job.objects.count() == jobs


def test_a_stranger_finds_nothing(
    ben: User, client_of: ClientOf, alice: User, random_image: Image, saved: SavedImage
) -> None:
    job = services.request_upscale(alice, saved, upscaler=UPSCALER)
    stranger = client_of(ben)
    for name, args, method in _addresses(random_image.pk, job.pk, saved.pk)[2:]:
        assert getattr(stranger, method)(reverse(name, args=args)).status_code == 404, name
    assert Job.objects.get(pk=job.pk).state == State.QUEUED


def _addresses(image: object, job: object, saved: object = None) -> list[tuple[str, list[object], str]]:
    return [
        ("transforms:generate", [], "get"),
        ("transforms:jobs", [], "get"),
        ("transforms:crop_and_project", [image], "post"),
        ("transforms:save", [image], "post"),
        ("transforms:upscale", [saved or uuid4()], "post"),
        ("transforms:job_cancel", [job], "post"),
        ("transforms:job_keep", [job], "post"),
        ("transforms:job_retry", [job], "post"),
        ("transforms:job_preview", [job], "get"),
    ]
