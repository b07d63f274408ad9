"""Uploads are found in the latent space once, and what was found is kept."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

import ganworks
from accounts.models import User
from gallery.models import Image, Projection, SavedImage, Status
from gallery.services import open_image
from ganworks.encoder import save_encoder
from ganworks.networks.encoder import EncoderNetwork
from tests.transforms.conftest import GENERATOR, SIDE_PX, Run
from transforms import projections, services, worker
from transforms.context import JobContext
from transforms.engine import engine
from transforms.errors import InvalidParams, NotReady
from transforms.models import Job, State
from transforms.operations.project import cropped
from transforms.params import Crop

pytestmark = pytest.mark.django_db
STEPS = 6


def ask(user: User, image: Image, **wish: Any) -> Job | None:
    return services.request_projection(user, image, **{"generator": GENERATOR, "steps": STEPS, **wish})


@pytest.fixture
def projected(alice: User, upload: Image, run: Run) -> Image:
    job = ask(alice, upload)
    assert job is not None
    run(job)
    upload.refresh_from_db()
    return upload


def test_a_projection_keeps_latent_loss_and_preview(projected: Image) -> None:
    projection = projected.projection
    assert projection is not None
    assert projected.status_process == Status.DONE
    assert projected.model == GENERATOR
    assert (projection.steps, projection.space) == (STEPS, "w+")
    assert projection.crop == projected.crop == {"x": 0, "y": 8, "size": 48}
    assert projection.loss > 0
    drawn = engine().render(projections.source_of(projected), [])
    assert drawn.size == (SIDE_PX, SIDE_PX)
    with Pillow.open(projection.preview) as preview:
        assert preview.size == (SIDE_PX, SIDE_PX)


def test_the_picture_converges_before_the_eyes_of_the_member(alice: User, upload: Image, run: Run) -> None:
    job = ask(alice, upload)
    assert job is not None
    job = run(job)
    assert job.state == State.SUCCEEDED, job.error
    assert job.has_preview
    assert job.preview is not None
    assert Pillow.open(io.BytesIO(bytes(job.preview))).format == "WEBP"


def test_an_encoders_draft_is_what_the_member_sees_first(
    alice: User, upload: Image, run: Run, own_models: Path, models_dir: Path
) -> None:
    folder = own_models / GENERATOR
    shutil.copytree(models_dir / GENERATOR, folder)
    generator = ganworks.open_generator(folder)
    network = EncoderNetwork(
        SIDE_PX, generator.num_ws, generator.w_dim, channels=8, channel_max=16, hidden=16
    )
    network.mean.copy_(generator.w_avg + 0.1)
    save_encoder(network, folder / "encoder.safetensors", generator_sha256=generator.sha256)
    told: list[tuple[int, Any]] = []
    engine().project(
        GENERATOR,
        ganworks.to_image(generator.synthesis((generator.w_avg + 0.1).expand(1, generator.num_ws, -1))),
        space="w+",
        steps=2,
        class_index=None,
        on_step=lambda step, steps, loss, preview: told.append((step, preview)),
        should_stop=lambda: False,
    )
    assert [step for step, _ in told] == [0, 1, 2]
    assert told[0][1].size == (SIDE_PX, SIDE_PX)
    job = ask(alice, upload)
    assert job is not None
    assert run(job).state == State.SUCCEEDED


def test_nothing_is_projected_twice(alice: User, projected: Image) -> None:
    assert ask(alice, projected) is None
    assert Job.objects.count() == 1


def test_an_earlier_projection_comes_back_when_it_is_asked_for_again(
    alice: User, projected: Image, run: Run
) -> None:
    first = projected.projection
    other = ask(alice, projected, crop={"x": 0, "y": 0, "size": 40})
    assert other is not None
    run(other)
    projected.refresh_from_db()
    assert projected.projection != first
    assert ask(alice, projected) is None
    projected.refresh_from_db()
    assert projected.projection == first
    assert projected.crop == {"x": 0, "y": 8, "size": 48}
    assert Projection.objects.count() == 2


def test_it_can_be_projected_again_on_demand(alice: User, projected: Image) -> None:
    assert ask(alice, projected, force=True) is not None


def test_two_wishes_at_a_time_for_the_same_thing_are_one_job(alice: User, upload: Image) -> None:
    assert ask(alice, upload) == ask(alice, upload)
    with pytest.raises(NotReady, match="already"):
        ask(alice, upload, space="w")


@pytest.mark.parametrize("change", [{"space": "w"}, {"steps": 7}, {"crop": {"x": 1, "y": 8, "size": 47}}])
def test_the_key_depends_on_all_that_determines_the_result(
    alice: User, projected: Image, change: dict[str, Any]
) -> None:
    assert ask(alice, projected, **change) is not None


def test_the_square_is_cut_from_the_upright_picture(upload: Image) -> None:
    square = cropped(upload, Crop(8, 8, 12), SIDE_PX)
    assert square.size == (SIDE_PX, SIDE_PX)
    assert square.mode == "RGB"
    assert square.convert("L").crop((16, 16, 17, 17)).tobytes()[0] > 200


def test_a_square_beyond_the_picture_is_refused(alice: User, upload: Image) -> None:
    with pytest.raises(InvalidParams, match="48 x 64"):
        ask(alice, upload, crop={"x": 0, "y": 30, "size": 48})


def test_a_random_picture_needs_no_projection(alice: User, random_image: Image) -> None:
    with pytest.raises(NotReady, match="without projection"):
        ask(alice, random_image)


def test_stop_and_keep_stores_what_was_found_so_far(
    alice: User, upload: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.context.ASK_EVERY_SECONDS", 0)
    job = ask(alice, upload, steps=1000)
    assert job is not None
    progress = JobContext.progress

    def keep_soon(context: JobContext, fraction: float, stage: str, preview: bytes | None = None) -> None:
        progress(context, fraction, stage, preview)
        if fraction >= 0.003:
            services.keep(alice, job)

    monkeypatch.setattr(JobContext, "progress", keep_soon)
    worker.run_one(job.pk)
    job.refresh_from_db()
    upload.refresh_from_db()
    assert job.state == State.SUCCEEDED
    assert job.result["stopped_early"] is True
    assert upload.projection is not None
    assert upload.projection.steps < 1000
    assert ask(alice, upload, steps=1000) is not None, "the whole was not projected yet"


def test_canceling_a_projection_leaves_the_picture_as_it_was(
    alice: User, upload: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.context.ASK_EVERY_SECONDS", 0)
    job = ask(alice, upload, steps=1000)
    assert job is not None
    monkeypatch.setattr(JobContext, "progress", lambda *args: services.cancel(alice, job))
    worker.run_one(job.pk)
    upload.refresh_from_db()
    assert Job.objects.get(pk=job.pk).state == State.CANCELED
    assert upload.status_process == Status.NONE
    assert not Projection.objects.exists()


def test_a_waiting_job_has_nothing_to_keep(alice: User, upload: Image) -> None:
    job = ask(alice, upload)
    assert job is not None
    assert not services.keep(alice, job)


def test_a_picture_cannot_be_saved_before_it_is_projected(alice: User, upload: Image) -> None:
    with pytest.raises(NotReady, match="has to be projected"):
        services.request_save(alice, upload)


def test_a_saved_picture_outlives_the_photo_it_came_from(alice: User, projected: Image, run: Run) -> None:
    edits = [{"component": 0, "strength": 1.0, "start": 0, "end": 8}]
    run(services.request_save(alice, projected, edits=edits))
    saved = SavedImage.objects.get()
    assert saved.recipe["source"]["kind"] == "latent"
    assert saved.recipe["truncation_psi"] == 1.0
    projected.delete()
    saved.refresh_from_db()
    assert saved.parent_image is None
    from transforms.recipes import Recipe

    recipe = Recipe.from_data(saved.recipe)
    source = projections.source_of_recipe(recipe, alice.pk)
    assert engine().render(source, recipe.edits).tobytes() == open_image(saved).tobytes()
