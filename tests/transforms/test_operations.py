"""What the operations make, drawn by a real generator."""

from __future__ import annotations

import pytest

from accounts.models import User
from gallery.models import Image, SavedImage, Status
from gallery.services import open_image
from tests.transforms.conftest import GENERATOR, SIDE_PX, UPSCALER, Run
from transforms import services
from transforms.engine import SeedSource, engine
from transforms.models import Job, State
from transforms.params import Edit

pytestmark = pytest.mark.django_db


def test_a_batch_has_cards_before_a_picture_is_drawn(alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR, count=3, seed=7)
    images = Image.objects.filter(user=alice)
    assert len(job.result["images"]) == 3
    assert {image.status_process for image in images} == {Status.QUEUED}
    assert sorted(image.name for image in images) == ["Tiny 7", "Tiny 8", "Tiny 9"]
    assert not any(image.is_ready for image in images)


def test_a_batch_stands_in_the_gallery_in_the_order_of_its_seeds(alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR, count=3, seed=7)
    newest_first = Image.objects.filter(user=alice)
    assert [image.seed for image in newest_first] == [7, 8, 9]
    assert [str(image.pk) for image in newest_first] == job.result["images"]


def test_a_batch_draws_the_pictures_of_its_seeds(alice: User, run: Run) -> None:
    job = run(services.request_random(alice, generator=GENERATOR, count=2, seed=7, truncation_psi=0.5))
    assert job.state == State.SUCCEEDED
    assert job.result["ready"] == job.result["images"]
    for image in Image.objects.filter(user=alice):
        assert (image.width, image.height, image.status_process) == (SIDE_PX, SIDE_PX, Status.DONE)
        source = SeedSource(image.generator_sha256, image.seed or 0, None, 0.5)
        assert open_image(image).tobytes() == engine().render(source, []).tobytes()


def test_a_batch_without_a_seed_draws_a_random_one(alice: User) -> None:
    seeds = {services.request_random(alice, generator=GENERATOR, count=1).params["seed"] for _ in range(4)}
    assert len(seeds) == 4


def test_a_saved_picture_is_what_its_recipe_says(saved: SavedImage, random_image: Image) -> None:
    source = SeedSource(random_image.generator_sha256, 5, None, random_image.truncation_psi)
    drawn = engine().render(source, [Edit(1, 2.0, 0, 4)])
    assert open_image(saved).tobytes() == drawn.tobytes()
    assert saved.recipe["source"] == {"kind": "seed", "seed": 5, "class": None}
    assert saved.recipe["generator"] == {"name": GENERATOR, "sha256": random_image.generator_sha256}
    assert saved.recipe["edits"] == [{"component": 1, "strength": 2.0, "start": 0, "end": 4}]
    assert (saved.name, saved.parent_image) == ("Kept", random_image)


def test_enlarging_gives_a_picture_four_times_as_wide(alice: User, saved: SavedImage, run: Run) -> None:
    job = run(services.request_upscale(alice, saved, upscaler=UPSCALER))
    saved.refresh_from_db()
    assert job.state == State.SUCCEEDED, job.error
    assert (saved.upscaled_width, saved.upscaled_height) == (4 * SIDE_PX, 4 * SIDE_PX)
    assert saved.status_superresolution == Status.DONE
    assert saved.upscaler == UPSCALER


def test_enlarging_twice_at_a_time_is_one_job(alice: User, saved: SavedImage) -> None:
    first = services.request_upscale(alice, saved, upscaler=UPSCALER)
    assert services.request_upscale(alice, saved, upscaler=UPSCALER) == first
    assert Job.objects.active().count() == 1
