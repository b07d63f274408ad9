"""A checkpoint comes in as slices, is read by a job, and becomes a generator."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from pytest_django import Settings

from accounts.models import User
from gallery.models import Status
from gallery.storage import OverwritingStorage
from tests.transforms.conftest import Run
from tests.transforms.imports.support import (
    SLICE,
    Send,
    again,
    announce,
    drafts,
    job_of,
    names_in,
    send_rest,
    stored,
)
from transforms import imports, slices
from transforms.engine import engine
from transforms.errors import InvalidParams, NotReady, QuotaReached
from transforms.models import CheckpointImport, ImportState, Operation, State

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_models")]


# --- The whole way ------------------------------------------------------------------------------------------


def test_a_file_becomes_a_generator_with_directions_and_contact_sheet(
    mo: User, plain: bytes, send: Send, run: Run, own_models: Path
) -> None:
    row = send(mo, plain, label="Mine", license="CC0-1.0")
    assert run(job_of(row)).state == State.SUCCEEDED
    row = again(row)
    assert row.state == ImportState.INSTALLED
    assert (row.label, row.license, row.status_directions) == ("Mine", "CC0-1.0", Status.QUEUED)
    assert row.report["resolution"] == 32
    assert row.generator_sha256 == engine().generator("mine").sha256
    assert stored(row) == []
    done = run(job_of(row, Operation.DIRECTIONS))
    assert (done.state, done.progress) == (State.SUCCEEDED, 1.0)
    assert again(row).status_directions == Status.DONE
    assert names_in(own_models / "mine") == {
        "generator.safetensors",
        "report.json",
        "sheet.webp",
        "components.safetensors",
        "factors.safetensors",
    }
    assert engine().components("mine")
    assert drafts(own_models) == []


def test_class_names_come_with_it(mo: User, checkpoint_files: dict[str, bytes], send: Send, run: Run) -> None:
    row = send(mo, checkpoint_files["classes"], classes=["one", "<b>two</b>", "three", "four"])
    assert run(job_of(row)).state == State.SUCCEEDED
    assert engine().generator("mine").classes == ("one", "<b>two</b>", "three", "four")


def test_too_few_class_names_end_it_with_a_sentence(
    mo: User, checkpoint_files: dict[str, bytes], send: Send, run: Run, own_models: Path
) -> None:
    row = send(mo, checkpoint_files["classes"], classes=["one"])
    job = run(job_of(row))
    assert job.state == State.FAILED
    assert "class" in job.error
    assert again(row).error == job.error
    assert names_in(own_models) == set()


def test_what_is_no_checkpoint_ends_with_a_sentence_and_leaves_nothing(
    mo: User, send: Send, run: Run, own_models: Path
) -> None:
    row = send(mo, b"<html>" * 5000, file_name="model.pkl")
    job = run(job_of(row))
    assert job.state == State.FAILED
    assert job.error.endswith(".")
    assert again(row).state == ImportState.FAILED
    assert stored(row) == []
    assert names_in(own_models) == set()
    assert drafts(own_models) == []


def test_the_same_file_is_recognised_by_its_content(
    mo: User, plain: bytes, send: Send, run: Run, own_models: Path
) -> None:
    run(job_of(send(mo, plain)))
    row = send(mo, plain, name="other", file_name="other.pkl")
    job = run(job_of(row))
    assert job.state == State.FAILED
    assert "“mine”" in job.error
    assert names_in(own_models) == {"mine"}
    assert again(row).source_sha256 == CheckpointImport.objects.get(name="mine").source_sha256


def test_a_generator_that_came_out_of_the_importer_is_recognised_too(
    mo: User, plain: bytes, send: Send, run: Run, own_models: Path
) -> None:
    run(job_of(send(mo, plain)))
    written = (own_models / "mine" / "generator.safetensors").read_bytes()
    job = run(job_of(send(mo, written, name="other")))
    assert "“mine”" in job.error


# --- Slices -------------------------------------------------------------------------------------------------


def test_slices_are_taken_in_order_only(mo: User, plain: bytes) -> None:
    row = announce(mo, plain)
    for offset in (SLICE, 1, len(plain), 10**14):
        with pytest.raises(imports.OutOfStep) as refusal:
            imports.receive(mo, row.pk, offset, plain[:SLICE])
        assert refusal.value.row.bytes_received == 0
    imports.receive(mo, row.pk, 0, plain[:SLICE])
    with pytest.raises(imports.OutOfStep) as refusal:
        imports.receive(mo, row.pk, 0, plain[:SLICE])
    assert refusal.value.row.bytes_received == SLICE


@pytest.mark.parametrize("length", [0, 1, SLICE - 1, SLICE + 1])
def test_a_slice_of_another_size_is_refused(mo: User, plain: bytes, length: int) -> None:
    row = announce(mo, plain)
    with pytest.raises(InvalidParams):
        imports.receive(mo, row.pk, 0, plain[:length])
    assert stored(row) == []


def test_a_file_cannot_grow_beyond_what_was_announced(mo: User) -> None:
    row = announce(mo, b"x" * (SLICE + 5))
    imports.receive(mo, row.pk, 0, b"x" * SLICE)
    with pytest.raises(InvalidParams):
        imports.receive(mo, row.pk, SLICE, b"x" * SLICE)
    imports.receive(mo, row.pk, SLICE, b"x" * 5)
    with pytest.raises(imports.OutOfStep):
        imports.receive(mo, row.pk, SLICE + 5, b"x" * 5)


def test_the_upload_of_another_member_is_not_there(mo: User, alice: User, plain: bytes) -> None:
    row = announce(mo, plain)
    with pytest.raises(CheckpointImport.DoesNotExist):
        imports.receive(alice, row.pk, 0, plain[:SLICE])


def test_announcing_the_same_file_again_goes_on_with_it(mo: User, plain: bytes) -> None:
    row = announce(mo, plain, fingerprint="1")
    imports.receive(mo, row.pk, 0, plain[:SLICE])
    same, is_new = imports.begin(
        mo,
        {
            "name": "mine",
            "file_name": "mine.pkl",
            "bytes": len(plain),
            "fingerprint": "1",
            "label": "B",
        },
    )
    assert (same.pk, same.bytes_received, same.label, is_new) == (row.pk, SLICE, "B", False)


def test_another_file_under_the_name_of_an_unfinished_one_is_refused(mo: User, plain: bytes) -> None:
    announce(mo, plain, fingerprint="1")
    with pytest.raises(NotReady, match="another file"):
        announce(mo, plain, fingerprint="2")


def test_a_full_disk_is_said_and_the_upload_goes_on_when_there_is_room(
    mo: User, plain: bytes, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = announce(mo, plain)
    imports.receive(mo, row.pk, 0, plain[:SLICE])

    def full(*args: Any) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(OverwritingStorage, "_save", full)
        with pytest.raises(slices.DiskFull):
            imports.receive(mo, row.pk, SLICE, plain[SLICE : 2 * SLICE])
    assert again(row).bytes_received == SLICE
    assert run(job_of(send_rest(mo, again(row), plain))).state == State.SUCCEEDED


def test_a_file_that_cannot_fit_is_refused_at_once(mo: User, settings: Settings) -> None:
    settings.CHECKPOINT_MAX_BYTES = 2**50
    with pytest.raises(slices.DiskFull):
        imports.begin(mo, {"name": "mine", "file_name": "a.pkl", "bytes": 2**50})


def test_a_slice_that_got_lost_in_the_storage_is_noticed(
    mo: User, plain: bytes, send: Send, run: Run
) -> None:
    row = send(mo, plain)
    default_storage.delete(f"{slices.folder_of(row.pk)}/{stored(row)[1]}")
    job = run(job_of(row))
    assert (job.state, job.error) == (
        State.FAILED,
        "A part of the uploaded file is missing. Send the file again.",
    )


# --- Names and limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "..",
        ".",
        ".drafts",
        "",
        "A",
        "a b",
        "a.b",
        "x" * 64,
        "-a",
        "ä",
        "a\n",
        "a\x00",
        None,
        5,
        ["a"],
    ],
)
def test_only_plain_names_are_taken(mo: User, name: object, own_models: Path) -> None:
    with pytest.raises(InvalidParams) as refusal:
        announce(mo, b"x", name=name)
    assert refusal.value.field == "name"


@pytest.mark.parametrize(
    ("file_name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        (r"C:\models\ffhq.pkl", "ffhq.pkl"),
        ("..", "checkpoint"),
        (".hidden.pkl", "hidden.pkl"),
        ("<b>.pkl", "_b_.pkl"),
        ("ffhq.pkl", "ffhq.pkl"),
    ],
)
def test_of_a_files_name_only_what_is_harmless_stays(mo: User, file_name: str, kept: str) -> None:
    assert announce(mo, b"x", file_name=file_name).file_name == kept


def test_names_of_what_is_there_are_refused(mo: User, own_models: Path) -> None:
    (own_models / "folder").mkdir()
    (own_models / "file").write_text("x")
    (own_models / "link").symlink_to("nowhere")
    for name in ("portraits", "faithful-x4", "folder", "file", "link"):
        with pytest.raises(InvalidParams, match="already"):
            announce(mo, b"x", name=name)


def test_of_two_uploads_with_one_name_the_second_is_refused(mo: User, alice: User) -> None:
    announce(mo, b"x")
    with pytest.raises(InvalidParams, match="being imported"):
        announce(alice, b"x")


def test_a_name_that_was_taken_meanwhile_ends_the_job_with_a_sentence(
    mo: User, plain: bytes, send: Send, run: Run, own_models: Path, tmp_path: Path
) -> None:
    row = send(mo, plain)
    (tmp_path / "elsewhere").mkdir()
    (own_models / "mine").symlink_to(tmp_path / "elsewhere")
    job = run(job_of(row))
    assert job.state == State.FAILED
    assert "meanwhile" in job.error
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert again(row).state == ImportState.FAILED
    assert drafts(own_models) == []


def test_a_name_is_free_again_when_an_operator_removed_the_folder(
    mo: User, plain: bytes, send: Send, run: Run, own_models: Path
) -> None:
    row = send(mo, plain)
    run(job_of(row))
    (own_models / "mine").rename(own_models.parent / "away")
    announce(mo, plain)
    assert again(row).state == ImportState.REMOVED


def test_files_that_are_too_large_are_refused(mo: User, settings: Settings) -> None:
    settings.CHECKPOINT_MAX_BYTES = 1_048_576
    with pytest.raises(InvalidParams, match="larger than 1 MB") as refusal:
        announce(mo, b"", bytes=1_048_577)
    assert refusal.value.field == "bytes"


@pytest.mark.parametrize("size", [0, -1, "many", None, True, 1.5, 2**70])
def test_sizes_must_be_sane(mo: User, size: object) -> None:
    with pytest.raises(InvalidParams):
        announce(mo, b"", bytes=size)


def test_unfinished_uploads_are_bounded_together(mo: User, settings: Settings) -> None:
    settings.CHECKPOINT_MAX_BYTES = 1000
    for name in ("a", "b"):
        announce(mo, b"", name=name, bytes=1000)
    with pytest.raises(QuotaReached):
        announce(mo, b"", name="c", bytes=1)


def test_unfinished_uploads_are_counted_too(mo: User) -> None:
    for number in range(imports.UNFINISHED_COUNT):
        announce(mo, b"x", name=f"n{number}")
    with pytest.raises(QuotaReached):
        announce(mo, b"x", name="one-more")


@pytest.mark.parametrize(
    "classes",
    [
        "a\n\nb",
        '["a", 5]',
        "[[[[",
        ["x" * 101],
        ["a\x07"],
        {"a": 1},
        7,
        ["a\u202eb"],
        [str(n) for n in range(8193)],
    ],
)
def test_class_names_must_be_texts(mo: User, classes: object) -> None:
    with pytest.raises(InvalidParams) as refusal:
        announce(mo, b"x", classes=classes)
    assert refusal.value.field == "classes"


@pytest.mark.parametrize("classes", ["a\nb\n", '["a", "b"]', ["a", " b "], "a\r\nb\r\n\r\n"])
def test_class_names_come_as_lines_or_as_a_list(mo: User, classes: object) -> None:
    assert announce(mo, b"x", classes=classes).classes == ["a", "b"]
