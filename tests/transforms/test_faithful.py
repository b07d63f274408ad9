"""Faithful projections: the generator is tuned for the picture, and all that is drawn of it is drawn so."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.urls import reverse
from PIL import Image as Pillow

import ganworks
from accounts.models import User
from gallery.models import Image, SavedImage
from gallery.services import open_image, storage_used
from tests.conftest import ClientOf
from tests.transforms.conftest import GENERATOR, Run
from transforms import projections, services, worker
from transforms.context import JobContext
from transforms.engine import KEPT_TUNED, LocalEngine, engine
from transforms.errors import InvalidParams
from transforms.models import Job, State
from transforms.params import Edit
from transforms.recipes import Recipe

pytestmark = pytest.mark.django_db
STEPS = 6


@pytest.fixture(autouse=True)
def short_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.engine.TUNING_STEPS", 12)


def ask(user: User, image: Image, **wish: Any) -> Job | None:
    return services.request_projection(
        user, image, **{"generator": GENERATOR, "steps": STEPS, "grade": "faithful", **wish}
    )


@pytest.fixture
def faithful(alice: User, upload: Image, run: Run) -> Image:
    job = ask(alice, upload)
    assert job is not None
    assert run(job).state == State.SUCCEEDED
    upload.refresh_from_db()
    return upload


def error(first: Pillow.Image, second: Pillow.Image) -> float:
    """The mean square of the difference."""
    pixels = [np.asarray(picture.convert("RGB"), dtype=np.float64) for picture in (first, second)]
    return float(np.square(pixels[0] - pixels[1]).mean())


def test_a_faithful_projection_is_nearer_to_the_photo_than_a_refined_one(
    alice: User, faithful: Image, run: Run
) -> None:
    tuned = faithful.projection
    job = ask(alice, faithful, grade="refined")
    assert job is not None
    run(job)
    faithful.refresh_from_db()
    refined = faithful.projection
    assert (tuned.grade, refined.grade) == ("faithful", "refined")
    assert tuned.psnr > refined.psnr
    assert ask(alice, faithful) is None, "both are kept"
    faithful.refresh_from_db()
    assert faithful.projection == tuned


def test_the_editor_draws_what_was_tuned(faithful: Image) -> None:
    source = projections.source_of(faithful)
    drawn = engine().render(source, [])
    found = ganworks.Projection.load(io.BytesIO(source.read()))
    generator = ganworks.open_generator(engine().generator(GENERATOR).path)
    plain = ganworks.to_image(generator.synthesis(found.ws, noise=found.noise))
    tuned = ganworks.to_image(generator.tuned(found.difference).synthesis(found.ws, noise=found.noise))
    assert error(drawn, tuned) == 0
    assert error(drawn, plain) > 1
    with Pillow.open(faithful.projection.preview) as preview:
        assert error(drawn, preview) < error(plain, preview)
    edited = engine().render(source, [Edit(0, 2.0, 0, generator.num_ws)])
    assert error(edited, drawn) > 1


def test_a_saved_picture_draws_the_same_when_its_projection_is_gone(
    alice: User, faithful: Image, run: Run
) -> None:
    edits = [{"component": 0, "start": 0, "end": 8, "strength": 1.0}]
    run(services.request_save(alice, faithful, edits=edits))
    saved = SavedImage.objects.get()
    faithful.projection.delete()
    drawn = engine().render(
        projections.source_of_recipe(Recipe.from_data(saved.recipe), alice.pk),
        Recipe.from_data(saved.recipe).edits,
    )
    assert error(drawn, open_image(saved)) == 0


def test_the_tuning_counts_toward_the_storage_of_its_member(alice: User, faithful: Image) -> None:
    projection = faithful.projection
    assert projection.byte_size == projection.file.size + projection.preview.size
    assert storage_used(alice) >= projection.byte_size


def test_one_who_keeps_what_was_tuned_so_far_may_ask_for_the_whole_later(
    alice: User, upload: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.context.ASK_EVERY_SECONDS", 0)
    job = ask(alice, upload)
    assert job is not None
    progress = JobContext.progress

    def keep_soon(context: JobContext, fraction: float, stage: str, preview: bytes | None = None) -> None:
        progress(context, fraction, stage, preview)
        if fraction > (STEPS + 2) / (STEPS + 12):
            services.keep(alice, job)

    monkeypatch.setattr(JobContext, "progress", keep_soon)
    worker.run_one(job.pk)
    upload.refresh_from_db()
    assert upload.projection.grade == "faithful"
    assert ask(alice, upload) is not None


def test_one_who_keeps_what_was_found_before_tuning_has_a_refined_projection(
    alice: User, upload: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.context.ASK_EVERY_SECONDS", 0)
    job = ask(alice, upload)
    assert job is not None
    progress = JobContext.progress

    def keep_soon(context: JobContext, fraction: float, stage: str, preview: bytes | None = None) -> None:
        progress(context, fraction, stage, preview)
        services.keep(alice, job)

    monkeypatch.setattr(JobContext, "progress", keep_soon)
    worker.run_one(job.pk)
    upload.refresh_from_db()
    assert upload.projection.grade == "refined"


def test_a_few_tuned_generators_are_kept_open(faithful: Image) -> None:
    local = engine()
    assert isinstance(local, LocalEngine)
    source = projections.source_of(faithful)
    for number in range(KEPT_TUNED + 2):
        other = type(source)(source.generator_sha256, f"copy:{number}", source.read)
        local.render(other, [])
    assert len(local._tuned) == KEPT_TUNED


def test_the_page_offers_it_and_the_form_takes_it(alice: User, upload: Image, client_of: ClientOf) -> None:
    client = client_of(alice)
    page = client.get(reverse("transforms:edit", args=[upload.pk]))
    assert b'name="grade" value="faithful"' in page.content
    client.post(
        reverse("transforms:crop_and_project", args=[upload.pk]),
        {"generator": GENERATOR, "steps": STEPS, "grade": "faithful"},
    )
    assert Job.objects.get(image=upload).params["grade"] == "faithful"


def test_the_api_takes_it_and_refuses_other_grades(alice: User, upload: Image, client_of: ClientOf) -> None:
    client = client_of(alice)
    address = f"/api/v1/images/{upload.pk}/project/"
    wish = {"generator": GENERATOR, "steps": STEPS, "grade": "perfect"}
    assert client.post(address, wish, "application/json").status_code == 400
    assert client.post(address, {**wish, "grade": "faithful"}, "application/json").status_code == 202
    assert Job.objects.get(image=upload).params["grade"] == "faithful"


def test_a_grade_that_does_not_exist_is_refused(alice: User, upload: Image) -> None:
    with pytest.raises(InvalidParams, match="Grade"):
        ask(alice, upload, grade="perfect")


def test_reprojecting_keeps_the_grade_of_each_picture_unless_another_is_asked_for(
    faithful: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("reproject", "--steps", str(STEPS))
    assert not Job.objects.active().exists(), "it is kept already"
    call_command("reproject", "--steps", str(STEPS), "--grade", "refined")
    faithful.refresh_from_db()
    assert faithful.projection.grade == "refined"
