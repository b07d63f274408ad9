"""Upscalers of the operator's own: imported by a command, offered on the page, used by jobs."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from gallery.models import SavedImage
from tests.ganworks.upscalers.support import compact, state
from tests.transforms.conftest import UPSCALER
from transforms import services
from transforms.engine import engine
from transforms.models import Job, State
from transforms.worker import run_one

pytestmark = pytest.mark.django_db
NAME = "foreign-x2"
TIMES = "\N{MULTIPLICATION SIGN}"
ClientOf = Callable[[User], Client]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that is empty but for one that the engine imported."""
    import ganworks

    source = tmp_path_factory.mktemp("source") / "general-x2.pth"
    torch.save({"params": state(compact())}, source)
    folder = tmp_path_factory.mktemp("imported")
    ganworks.import_upscaler(source, folder / NAME / "upscaler.safetensors", label="General", license="BSD-3")
    return folder


@pytest.fixture
def two_upscalers(imported: Path, models_dir: Path, settings: Settings, tmp_path: Path) -> None:
    settings.MODELS_DIR = tmp_path / "models"
    shutil.copytree(models_dir, settings.MODELS_DIR)
    shutil.copytree(imported / NAME, settings.MODELS_DIR / NAME)
    engine.cache_clear()


@pytest.mark.usefixtures("two_upscalers")
def test_the_page_offers_each_upscaler_with_its_scale(
    alice: User, client_of: ClientOf, saved: SavedImage
) -> None:
    page = client_of(alice).get(reverse("gallery:saved_detail", args=[saved.pk])).content.decode()
    assert f'<option value="{NAME}">General ({TIMES}2)</option>' in page
    assert f'<option value="{UPSCALER}">Tiny ({TIMES}4)</option>' in page
    assert (
        page.index('value="faithful-x4"') < page.index(f'value="{UPSCALER}"') < page.index(f'value="{NAME}"')
    )
    assert f'<option value="faithful-x4">Faithful ({TIMES}4)</option>' in page
    assert "stays faithful to the picture" in page


@pytest.mark.usefixtures("two_upscalers")
def test_the_one_that_was_chosen_enlarges(alice: User, client_of: ClientOf, saved: SavedImage) -> None:
    response = client_of(alice).post(reverse("transforms:upscale", args=[saved.pk]), {"upscaler": NAME})
    assert response.status_code in (204, 302)
    job = Job.objects.get(operation="upscale")
    run_one(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error) == (State.SUCCEEDED, "")
    saved.refresh_from_db()
    assert (saved.upscaler, saved.upscaled_width) == (NAME, 2 * saved.width)


@pytest.mark.usefixtures("two_upscalers")
def test_the_api_lists_it_with_its_scale_and_kind(alice: User, client_of: ClientOf) -> None:
    listed = {info["name"]: info for info in client_of(alice).get("/api/v1/upscalers/").json()}
    assert (listed[NAME]["scale"], listed[NAME]["architecture"], listed[NAME]["license"]) == (
        2,
        "Compact",
        "BSD-3",
    )


@pytest.mark.usefixtures("two_upscalers")
def test_only_upscalers_whose_result_is_not_too_large_are_offered(
    saved: SavedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MAX_ENLARGED_PX", 3 * max(saved.width, saved.height))
    offered = services.upscalers_for(saved)
    assert NAME in {info.name for info in offered}
    assert {info.scale for info in offered} == {2}
    monkeypatch.setattr(services, "MAX_ENLARGED_PX", 1)
    assert services.upscalers_for(saved) == []


def test_the_command_installs_an_upscaler_and_says_what_it_is(settings: Settings, tmp_path: Path) -> None:
    settings.MODELS_DIR = tmp_path / "models"
    engine.cache_clear()
    file = tmp_path / "net.pth"
    torch.save(state(compact()), file)
    out = io.StringIO()
    call_command("import_upscaler", str(file), "--name", "net", "--label", "Net", stdout=out)
    assert "Compact" in out.getvalue()
    assert "2 times" in out.getvalue()
    assert engine().upscaler("net").label == "Net"
    with pytest.raises(CommandError, match="something named “net” here already"):
        call_command("import_upscaler", str(file), "--name", "net", stdout=out)


def test_the_command_refuses_with_a_sentence_and_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    settings.MODELS_DIR = tmp_path / "models"
    engine.cache_clear()
    file = tmp_path / "net.pth"
    file.write_bytes(b"GIF89a" + bytes(100))
    with pytest.raises(CommandError, match="cannot be imported: it is neither safetensors nor"):
        call_command("import_upscaler", str(file), "--name", "net", stdout=io.StringIO())
    with pytest.raises(CommandError, match="The name must be"):
        call_command("import_upscaler", str(file), "--name", "../net", stdout=io.StringIO())
    assert [path for path in settings.MODELS_DIR.rglob("*") if path.is_file()] == []
