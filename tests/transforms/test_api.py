"""What the editor and the drawer do, over HTTP with a token."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.test import Client
from PIL import Image as Pillow
from pytest_django import DjangoAssertNumQueries

from accounts.models import ApiToken, User
from gallery.models import Image, SavedImage
from gallery.png import read_recipe
from tests.transforms.conftest import GENERATOR, SIDE_PX, UPSCALER, Run
from transforms import services
from transforms.models import Job, State

pytestmark = pytest.mark.django_db
EDIT = {"component": 1, "strength": 2.0, "start": 0, "end": 8}


class Api:
    def __init__(self, user: User) -> None:
        self.client = Client(headers={"Authorization": f"Bearer {ApiToken.objects.issue(user, 'test')[1]}"})

    def get(self, path: str) -> Any:
        return self.client.get(f"/api/v1/{path}")

    def post(self, path: str, data: Any = None) -> Any:
        return self.client.post(f"/api/v1/{path}", data or {}, content_type="application/json")


@pytest.fixture
def api(alice: User) -> Api:
    return Api(alice)


def test_generators_and_upscalers_are_listed(api: Api) -> None:
    assert GENERATOR in [row["name"] for row in api.get("generators/").json()]
    assert UPSCALER in [row["name"] for row in api.get("upscalers/").json()]


def test_a_generator_tells_its_directions(api: Api) -> None:
    detail = api.get(f"generators/{GENERATOR}/").json()
    assert len(detail["components"]) == 8
    assert detail["layer_ranges"]["all"] == [0, 8]
    assert api.get("generators/none/").status_code == 404


def test_pictures_are_drawn_on_request(api: Api, run: Run) -> None:
    response = api.post("generate/", {"generator": GENERATOR, "count": 2, "seed": 1})
    assert response.status_code == 202
    job = response.json()
    run(Job.objects.get(pk=job["id"]))
    after = api.get(f"jobs/{job['id']}/").json()
    assert after["state"] == "succeeded"
    assert after["ready"] == after["images"] == job["images"]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "generator"),
        ({"generator": "none"}, "generator"),
        ({"generator": GENERATOR, "count": 99}, "count"),
    ],
)
def test_a_bad_wish_is_answered_with_the_field(api: Api, data: dict[str, Any], field: str) -> None:
    response = api.post("generate/", data)
    assert response.status_code == 400
    assert field in response.json()


def test_an_upload_is_projected(api: Api, upload: Image, run: Run) -> None:
    wish = {"generator": GENERATOR, "crop": {"x": 0, "y": 0, "size": 40}, "steps": 3}
    job = api.post(f"images/{upload.pk}/project/", wish).json()
    run(Job.objects.get(pk=job["id"]))
    again = api.post(f"images/{upload.pk}/project/", wish)
    assert again.status_code == 200
    upload.refresh_from_db()
    assert again.json() == {"projection": str(upload.projection_id)}


def test_what_cannot_be_projected_is_refused_with_a_sentence(api: Api, random_image: Image) -> None:
    response = api.post(f"images/{random_image.pk}/project/", {"generator": GENERATOR})
    assert response.status_code == 409
    assert "without projection" in response.json()["detail"]


def test_a_picture_is_saved_with_edits(api: Api, random_image: Image, run: Run) -> None:
    job = api.post(f"images/{random_image.pk}/save/", {"edits": [EDIT], "name": "Kept"}).json()
    run(Job.objects.get(pk=job["id"]))
    saved = SavedImage.objects.get()
    assert api.get(f"jobs/{job['id']}/").json()["saved_image"] == str(saved.pk)
    assert saved.recipe["edits"] == [EDIT]


@pytest.mark.parametrize(
    ("wish", "format"), [({}, "PNG"), ({"format": "webp"}, "WEBP"), ({"format": "jpeg"}, "JPEG")]
)
def test_a_picture_with_edits_is_drawn_at_once(api: Api, random_image: Image, wish: Any, format: str) -> None:
    response = api.post(f"images/{random_image.pk}/render/", {"edits": [EDIT], **wish})
    assert response.status_code == 200
    picture = Pillow.open(io.BytesIO(response.content))
    assert (picture.format, picture.size) == (format, (SIDE_PX, SIDE_PX))
    if format == "PNG":
        assert read_recipe(response.content)["edits"] == [EDIT]


def test_edits_that_the_generator_does_not_have_are_refused(api: Api, random_image: Image) -> None:
    wish = {"edits": [{**EDIT, "component": 99}]}
    assert api.post(f"images/{random_image.pk}/render/", wish).status_code == 400
    assert api.post(f"images/{random_image.pk}/save/", wish).status_code == 400


def test_a_saved_picture_is_enlarged(api: Api, saved: SavedImage) -> None:
    response = api.post(f"saved-images/{saved.pk}/upscale/", {"upscaler": UPSCALER})
    assert response.status_code == 202
    assert api.post(f"saved-images/{saved.pk}/upscale/", {"upscaler": "none"}).status_code == 400


def test_a_job_is_canceled_and_tried_again(api: Api, alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR)
    assert api.post(f"jobs/{job.pk}/cancel/").json()["state"] == State.CANCELED
    assert api.post(f"jobs/{job.pk}/cancel/").status_code == 409
    assert api.post(f"jobs/{job.pk}/keep/").status_code == 409
    assert api.post(f"jobs/{job.pk}/retry/").status_code == 202


def test_the_list_asks_a_constant_number_of_queries(
    api: Api, alice: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(10):
        services.request_random(alice, generator=GENERATOR)
    with django_assert_max_num_queries(6):
        page = api.get("jobs/").json()
    assert page["count"] == 10
    assert sorted(row["position"] for row in page["results"]) == list(range(1, 11))


def test_a_stranger_finds_nothing_and_nobody_needs_an_account(
    alice: User, ben: User, random_image: Image, saved: SavedImage
) -> None:
    job = services.request_random(alice, generator=GENERATOR)
    stranger, nobody = Api(ben), Client()
    posts = [
        f"images/{random_image.pk}/project/",
        f"images/{random_image.pk}/save/",
        f"images/{random_image.pk}/render/",
        f"saved-images/{saved.pk}/upscale/",
        f"jobs/{job.pk}/cancel/",
        f"jobs/{job.pk}/keep/",
        f"jobs/{job.pk}/retry/",
    ]
    for path in posts:
        assert stranger.post(path, {"generator": GENERATOR}).status_code == 404, path
        assert nobody.post(f"/api/v1/{path}").status_code == 401, path
    assert stranger.get(f"jobs/{job.pk}/").status_code == 404
    assert stranger.get("jobs/").json()["count"] == 0


def test_a_program_sees_how_a_projection_converges(api: Api, ben: User, upload: Image) -> None:
    job = api.post(f"images/{upload.pk}/project/", {"generator": GENERATOR, "steps": 2}).json()
    path = f"jobs/{job['id']}/preview/"
    assert api.get(path).status_code == 404
    Job.objects.filter(pk=job["id"]).update(preview=b"RIFF0000WEBP")
    answer = api.get(path)
    assert (answer["Content-Type"], answer.content) == ("image/webp", b"RIFF0000WEBP")
    assert Api(ben).get(path).status_code == 404
