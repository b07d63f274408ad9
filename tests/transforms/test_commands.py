"""The commands of operators: choose, say what would be done, do it, go on, fail loudly."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts.models import User
from gallery.models import Image, Projection, SavedImage, Status
from tests.transforms.conftest import GENERATOR, UPSCALER
from transforms import services
from transforms.engine import engine
from transforms.models import Job, State

pytestmark = pytest.mark.django_db


def command(name: str, *args: str) -> tuple[str, str, str]:
    """What it prints, what it complains of, and the sentence with which it fails (or nothing)."""
    out, err, failure = io.StringIO(), io.StringIO(), ""
    try:
        call_command(name, *args, stdout=out, stderr=err)
    except CommandError as error:
        failure = str(error)
    return out.getvalue(), err.getvalue(), failure


def reproject(*args: str) -> tuple[str, str, str]:
    return command("reproject", "--into", GENERATOR, "--steps", "3", *args)


def test_uploads_are_projected_without_a_server(upload: Image) -> None:
    out, _, failure = reproject()
    upload.refresh_from_db()
    assert not failure
    assert "1 done." in out
    assert upload.projection is not None
    assert upload.status_process == Status.DONE
    assert Job.objects.get().state == State.SUCCEEDED


def test_a_second_run_finds_nothing_to_do(upload: Image) -> None:
    reproject()
    out, _, failure = reproject()
    assert "1 chosen, 1 of them done already." in out
    assert not failure
    assert Job.objects.count() == 1


def test_force_does_it_again(upload: Image) -> None:
    reproject()
    reproject("--force")
    assert Job.objects.count() == 2
    assert Projection.objects.count() == 1


def test_a_dry_run_names_the_pictures_and_does_nothing(upload: Image) -> None:
    out, _, _ = reproject("--dry-run")
    assert str(upload.pk) in out
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("args", "chosen"),
    [
        (["--user", "alice"], 1),
        (["--user", "alice@example.com"], 1),
        (["--user", "ben"], 0),
        (["--state", "none"], 1),
        (["--state", "done"], 0),
        (["--generator", "other"], 0),
        (["--since", "2000-01-01"], 1),
        (["--until", "2000-01-01"], 0),
        (["--id", "00000000-0000-0000-0000-000000000000"], 0),
    ],
)
def test_pictures_are_chosen(upload: Image, ben: User, args: list[str], chosen: int) -> None:
    out, _, _ = reproject("--dry-run", *args)
    assert out.startswith(f"{chosen} chosen")


def test_what_makes_no_sense_is_said_in_a_sentence(db: None) -> None:
    assert "no member" in reproject("--user", "nobody")[2]
    assert "no date" in reproject("--since", "yesterday")[2]
    assert "no generator" in command("reproject", "--into", "none")[2]
    assert "no upscaler" in command("upscale", "--upscaler", "none")[2]


def test_each_failure_is_a_line_and_the_end_is_not_zero(upload: Image, media: Path) -> None:
    for file in media.rglob("original.*"):
        file.write_bytes(b"damaged")
    Job.objects.all().delete()
    _, err, failure = reproject()
    assert str(upload.pk) in err
    assert failure.startswith("1 of 1 failed")
    upload.refresh_from_db()
    assert upload.status_process == Status.FAILED


def test_a_picture_that_never_had_a_generator_is_a_failure_with_advice(upload: Image) -> None:
    _, err, failure = command("reproject")
    assert "--into" in err
    assert failure


def test_outstanding_work_of_the_member_does_not_hold_the_operator_up(
    upload: Image, alice: User, settings: Settings
) -> None:
    settings.QUOTA_OUTSTANDING_JOBS = 1
    services.request_random(alice, generator=GENERATOR)
    assert not reproject()[2]


def test_saved_pictures_are_enlarged_once(saved: SavedImage) -> None:
    assert "1 done." in command("upscale", "--upscaler", UPSCALER)[0]
    saved.refresh_from_db()
    assert saved.status_superresolution == Status.DONE
    assert "1 of them done already" in command("upscale", "--upscaler", UPSCALER)[0]


def test_a_job_that_waits_already_is_taken_up(saved: SavedImage, alice: User) -> None:
    job = services.request_upscale(alice, saved, upscaler=UPSCALER)
    command("upscale", "--upscaler", UPSCALER)
    assert Job.objects.get(pk=job.pk).state == State.SUCCEEDED


def test_generators_are_listed() -> None:
    out, _, failure = command("list_generators")
    assert GENERATOR in out
    assert UPSCALER in out
    assert not failure
    rows: list[dict[str, Any]] = json.loads(command("list_generators", "--json")[0])
    assert [row["resolution"] for row in rows if row["name"] == GENERATOR] == [32]


def test_a_damaged_generator_is_named_and_the_end_is_not_zero(tmp_path: Path, settings: Settings) -> None:
    folder = tmp_path / "models" / "broken"
    folder.mkdir(parents=True)
    (folder / "generator.safetensors").write_bytes(b"not a generator")
    settings.MODELS_DIR = folder.parent
    engine.cache_clear()
    _, err, failure = command("list_generators")
    assert "broken/generator.safetensors" in err
    assert failure
