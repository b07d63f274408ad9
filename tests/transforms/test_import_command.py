"""`manage.py import_generator`: an operator brings a checkpoint in."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from PIL import Image as Pillow

from accounts.models import User
from gallery.models import Status
from tests.ganworks.importing.writer import pickled, snapshot
from transforms import imports, installing
from transforms.engine import engine
from transforms.models import CheckpointImport, ImportState

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_models")]


@pytest.fixture
def file(tmp_path: Path, checkpoint_files: dict[str, bytes]) -> Path:
    path = tmp_path / "mine.pkl"
    path.write_bytes(checkpoint_files["plain"])
    return path


@pytest.fixture
def file_with_classes(tmp_path: Path, checkpoint_files: dict[str, bytes]) -> Path:
    path = tmp_path / "classes.pkl"
    path.write_bytes(checkpoint_files["classes"])
    return path


def run(*arguments: object, **options: object) -> str:
    out = io.StringIO()
    call_command("import_generator", *map(str, arguments), stdout=out, **options)
    return out.getvalue()


def test_it_installs_a_generator_and_reports_what_was_in_the_file(file: Path, own_models: Path) -> None:
    text = run(file, name="mine", label="Mine", license="CC0-1.0")
    info = engine().generator("mine")
    assert (info.label, info.license, info.has_components, info.has_factors) == (
        "Mine",
        "CC0-1.0",
        True,
        True,
    )
    assert (own_models / "mine" / "sheet.webp").is_file()
    for part in (
        "stylegan2",
        "32 x 32",
        "z 64, w 64",
        info.source_sha256,
        "The generator “mine” is installed.",
    ):
        assert part in text
    row = CheckpointImport.objects.get()
    assert (row.user, row.state, row.status_directions) == (None, ImportState.INSTALLED, Status.DONE)
    assert row.generator_sha256 == info.sha256


@pytest.mark.parametrize(
    ("vector", "architecture"),
    [
        ("orig", "stylegan2"),
        ("resnet", "stylegan2"),
        ("cond", "stylegan2"),
        ("tf", "stylegan2"),
        ("sg3t", "stylegan3"),
        ("sg3r", "stylegan3"),
        ("alis", "alis"),
    ],
)
def test_every_architecture_gets_contact_sheet_and_directions(
    tmp_path: Path, vector: str, architecture: str
) -> None:
    path = tmp_path / f"{vector}.pkl"
    path.write_bytes(pickled(snapshot(vector)))
    run(path, name="mine")
    info = engine().generator("mine")
    assert (info.architecture, info.has_components, info.has_factors) == (architecture, True, True)
    sheet = Pillow.open(info.path.with_name("sheet.webp"))
    assert sheet.size == (4 * info.picture_size[0], 4 * info.picture_size[1])


def test_directions_can_wait(file: Path, own_models: Path) -> None:
    run(file, name="mine", no_directions=True)
    assert not engine().generator("mine").has_components
    assert CheckpointImport.objects.get().status_directions == Status.NONE


@pytest.mark.parametrize("form", ["lines", "json"])
def test_names_of_classes_come_from_a_file(file_with_classes: Path, tmp_path: Path, form: str) -> None:
    names = ["one", "two", "<b>three", "four"]
    list_file = tmp_path / "names.txt"
    list_file.write_text("\n".join(names) + "\n" if form == "lines" else json.dumps(names))
    run(file_with_classes, name="mine", classes=list_file, no_directions=True)
    assert engine().generator("mine").classes == tuple(names)


def test_too_many_names_of_classes_are_refused(
    file_with_classes: Path, tmp_path: Path, own_models: Path
) -> None:
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    with pytest.raises(CommandError, match="class"):
        run(file_with_classes, name="mine", classes=tmp_path / "names.txt")
    assert [path for path in own_models.iterdir() if path.name != installing.DRAFTS] == []


def test_the_same_file_is_recognised(file: Path, tmp_path: Path) -> None:
    run(file, name="mine", no_directions=True)
    copy = tmp_path / "renamed.pkl"
    copy.write_bytes(file.read_bytes())
    with pytest.raises(CommandError, match="it is the generator “mine”"):
        run(copy, name="other")


@pytest.mark.parametrize("name", ["../x", "a/b", "A", ".x", "portraits", "faithful-x4"])
def test_names_that_cannot_be_are_refused(file: Path, name: str, own_models: Path) -> None:
    with pytest.raises(CommandError, match="name"):
        run(file, name=name)
    assert list(own_models.iterdir()) == []


def test_a_name_that_an_upload_has_taken_is_refused(file: Path, mo: User) -> None:
    imports.begin(mo, {"name": "mine", "file_name": "a.pkl", "bytes": 5})
    with pytest.raises(CommandError, match="being imported"):
        run(file, name="mine")


def test_files_that_are_not_there_or_no_checkpoints_end_with_a_sentence(
    tmp_path: Path, own_models: Path
) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        run(tmp_path / "nothing.pkl", name="mine")
    (tmp_path / "nonsense.pkl").write_bytes(b"nonsense")
    with pytest.raises(CommandError, match=r"\.$"):
        run(tmp_path / "nonsense.pkl", name="mine")
    with pytest.raises(CommandError):
        run(tmp_path, name="mine")
    assert [path for path in own_models.iterdir() if path.name != installing.DRAFTS] == []


def test_it_works_before_there_is_a_database(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with connection.schema_editor() as editor:
        editor.execute("ALTER TABLE transforms_checkpointimport RENAME TO away")
    try:
        run(file, name="mine", no_directions=True)
    finally:
        with connection.schema_editor() as editor:
            editor.execute("ALTER TABLE away RENAME TO transforms_checkpointimport")
    assert engine().generator("mine")
    assert "The admin will not list this generator" in capsys.readouterr().err
