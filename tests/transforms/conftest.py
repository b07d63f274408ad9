"""A generator and an upscaler that are real, and so small that a test hardly notices them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image as Pillow
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts.models import User
from gallery.models import Image, SavedImage
from gallery.services import create_upload
from tests.ganworks.importing.writer import pickled, snapshot
from transforms import services
from transforms.engine import engine
from transforms.models import Job
from transforms.worker import run_one

GENERATOR = "tiny"
UPSCALER = "tiny-x4"
SIDE_PX = 32


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with random weights: a generator of 32 px with its directions, and an upscaler."""
    import torch

    from ganworks.components import principal_components
    from ganworks.generator import open_generator, save_generator
    from ganworks.networks.stylegan2 import Generator
    from ganworks.networks.upscaler import UpscalerNetwork
    from ganworks.superresolution import save_upscaler

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    network = Generator(16, 32, SIDE_PX, num_layers=2, channel_base=256, channel_max=16)
    path = folder / GENERATOR / "generator.safetensors"
    save_generator(network, path, label="Tiny", license="CC0-1.0", description="Random weights.")
    principal_components(open_generator(path), samples=2000, count=8).save(
        path.with_name("components.safetensors")
    )
    save_upscaler(
        UpscalerNetwork(channels=8, blocks=1, scale=4),
        folder / UPSCALER / "upscaler.safetensors",
        label="Tiny",
        license="CC0-1.0",
    )
    return folder


@pytest.fixture(autouse=True)
def tiny_engine(settings: Settings, models_dir: Path) -> Iterator[None]:
    settings.MODELS_DIR = models_dir
    settings.ENGINE_DEVICE = "cpu"
    engine.cache_clear()
    yield
    engine.cache_clear()


@pytest.fixture(autouse=True)
def patient_lease(settings: Settings) -> None:
    """The thread that renews leases has a connection of its own, and does not see rows of a test that is not committed."""
    settings.JOB_LEASE_SECONDS = 600
    settings.ENGINE_JOB_NICE = (
        0  # a thread that has stepped back stays so: it would be that of all further tests
    )


def photo(side: int = 48, color: str = "olive") -> bytes:
    """A JPEG that shows something: a square on a ground."""
    picture = Pillow.new("RGB", (side, side + 16), color)
    picture.paste("white", (8, 8, side // 2, side // 2))
    out = io.BytesIO()
    picture.save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def upload(alice: User) -> Image:
    """A photo that alice uploaded: 48 x 64 pixels."""
    return create_upload(alice, SimpleUploadedFile("beach.jpg", photo(), "image/jpeg"), "Beach")


@pytest.fixture
def random_image(alice: User) -> Image:
    """A picture that was drawn for alice, of the seed 5."""
    job = services.request_random(alice, generator=GENERATOR, count=1, seed=5)
    run_one(job.pk)
    return Image.objects.get(pk=job.result["images"][0])


@pytest.fixture
def saved(alice: User, random_image: Image) -> SavedImage:
    """Alice's random picture, saved with one slider moved."""
    job = services.request_save(
        alice,
        random_image,
        edits=[{"component": 1, "strength": 2.0, "start": 0, "end": 4}],
        name="Kept",
    )
    run_one(job.pk)
    return SavedImage.objects.get(user=alice)


Run = Callable[[Job], Job]


@pytest.fixture
def run() -> Run:
    """Let a worker run a job, and look at the row afterwards."""

    def run_job(job: Job) -> Job:
        assert run_one(job.pk)
        return Job.objects.get(pk=job.pk)

    return run_job


@pytest.fixture
def committed(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> Any:
    return django_capture_on_commit_callbacks


@pytest.fixture
def own_models(settings: Settings, tmp_path: Path) -> Path:
    """A models folder of the test's own, with nothing in it but what the starters bring."""
    folder = tmp_path / "models"
    folder.mkdir()
    settings.MODELS_DIR = folder
    engine.cache_clear()
    return folder


@pytest.fixture(scope="session")
def checkpoint_files() -> dict[str, bytes]:
    """Public checkpoints by what is in them: a generator without classes, and one with four."""
    return {"plain": pickled(snapshot("skip")), "classes": pickled(snapshot("cond"))}
