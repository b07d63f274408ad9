"""A generator goes when nothing needs it any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.utils import timezone

from accounts.models import User
from gallery.models import Image, Projection, SavedImage, Status
from tests.transforms.conftest import Run
from tests.transforms.imports.support import (
    Send,
    again,
    drafts,
    job_of,
    names_in,
)
from transforms import imports, installing, services
from transforms.engine import engine
from transforms.errors import NotReady
from transforms.models import CheckpointImport, ImportState, Operation, State

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_models")]


# --- Removal ------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(mo: User, plain: bytes, send: Send, run: Run) -> CheckpointImport:
    row = send(mo, plain)
    run(job_of(row))
    run(job_of(row, Operation.DIRECTIONS))
    return again(row)


def test_a_generator_that_nothing_needs_is_removed(installed: CheckpointImport, own_models: Path) -> None:
    imports.remove(installed)
    assert again(installed).state == ImportState.REMOVED
    assert names_in(own_models) == set()
    assert drafts(own_models) == []
    assert "mine" not in {info.name for info in engine().generators()}


def test_a_removed_generator_can_be_imported_again(
    installed: CheckpointImport, mo: User, plain: bytes, send: Send, run: Run
) -> None:
    imports.remove(installed)
    assert run(job_of(send(mo, plain))).state == State.SUCCEEDED


def test_a_generator_stays_while_pictures_need_it(
    installed: CheckpointImport, alice: User, own_models: Path
) -> None:
    sha256 = installed.generator_sha256
    Image.objects.create(user=alice, source=Image.Source.RANDOM, name="a", generator_sha256=sha256)
    photo = Image.objects.create(user=alice, source=Image.Source.UPLOAD, name="b", deleted_at=timezone.now())
    Projection.objects.create(
        image=photo, generator="mine", generator_sha256=sha256, space="w", key="k", steps=1, loss=0.0
    )
    SavedImage.objects.create(user=alice, name="c", recipe={"generator": {"name": "mine", "sha256": sha256}})
    with pytest.raises(imports.InUse, match="3 pictures need"):
        imports.remove(installed)
    assert names_in(own_models) == {"mine"}
    assert again(installed).is_installed


def test_a_picture_that_is_on_its_way_into_it_counts(installed: CheckpointImport, upload: Image) -> None:
    services.request_projection(upload.user, upload, generator="mine", steps=1)
    with pytest.raises(imports.InUse, match="1 picture needs"):
        imports.remove(installed)


def test_a_picture_that_is_begun_in_the_same_moment_counts(
    installed: CheckpointImport, alice: User, own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdraw = installing.withdraw

    def draw_meanwhile(name: str, key: str) -> installing.Draft:
        draft = withdraw(name, key)
        Image.objects.create(
            user=alice, source=Image.Source.RANDOM, name="a", generator_sha256=installed.generator_sha256
        )
        return draft

    monkeypatch.setattr(installing, "withdraw", draw_meanwhile)
    with pytest.raises(imports.InUse):
        imports.remove(installed)
    assert (own_models / "mine" / "components.safetensors").is_file()
    assert again(installed).is_installed


def test_a_generator_that_is_worked_on_is_not_removed(installed: CheckpointImport, mo: User) -> None:
    imports.request_directions(mo, installed)
    with pytest.raises(NotReady, match="under way"):
        imports.remove(installed)


def test_a_link_in_place_of_the_folder_is_not_followed(
    installed: CheckpointImport, own_models: Path, tmp_path: Path
) -> None:
    (own_models / "mine").rename(tmp_path / "elsewhere")
    (own_models / "mine").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotReady, match="link"):
        imports.remove(installed)
    assert (tmp_path / "elsewhere" / "generator.safetensors").is_file()
    assert again(installed).is_installed


def test_a_job_of_directions_for_a_removed_generator_says_so(
    installed: CheckpointImport, mo: User, run: Run, own_models: Path
) -> None:
    job = imports.request_directions(mo, installed)
    (own_models / "mine").rename(own_models.parent / "away")
    ended = run(job)
    assert (ended.state, ended.error) == (State.FAILED, "This generator is not installed any more.")
    assert again(installed).status_directions == Status.FAILED
