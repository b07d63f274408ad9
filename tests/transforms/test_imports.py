"""A checkpoint comes in as slices, is read by a job, and becomes a generator: whole, once, or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import Image, Projection, SavedImage, Status
from gallery.storage import OverwritingStorage
from tests.conftest import ClientOf
from tests.transforms.conftest import Run
from transforms import imports, installing, services, slices, sweeper
from transforms.engine import engine
from transforms.errors import InvalidParams, NotReady, QuotaReached
from transforms.models import CheckpointImport, ImportState, Job, Operation, State
from transforms.worker import run_one

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_models")]
SLICE = 200_000
Send = Callable[..., CheckpointImport]


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES", SLICE)


def announce(user: User, content: bytes, **changes: Any) -> CheckpointImport:
    wish = {"name": "mine", "file_name": "mine.pkl", "bytes": len(content), **changes}
    return imports.begin(user, wish)[0]


def send_rest(user: User, row: CheckpointImport, content: bytes) -> CheckpointImport:
    while row.state == ImportState.UPLOADING:
        offset = row.bytes_received
        row = imports.receive(user, row.pk, offset, content[offset : offset + SLICE])
    return row


@pytest.fixture
def send() -> Send:
    """Upload a whole file as somebody."""

    def send_file(user: User, content: bytes, **changes: Any) -> CheckpointImport:
        return send_rest(user, announce(user, content, **changes), content)

    return send_file


@pytest.fixture
def plain(checkpoint_files: dict[str, bytes]) -> bytes:
    return checkpoint_files["plain"]


def job_of(row: CheckpointImport, operation: Operation = Operation.IMPORT) -> Job:
    return row.jobs.filter(operation=operation).latest("created_at")


def again(row: CheckpointImport) -> CheckpointImport:
    return CheckpointImport.objects.get(pk=row.pk)


def stored(row: CheckpointImport) -> list[str]:
    try:
        return sorted(default_storage.listdir(slices.folder_of(row.pk))[1])
    except FileNotFoundError:
        return []


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != installing.DRAFTS}


def drafts(folder: Path) -> list[Path]:
    place = folder / installing.DRAFTS
    return list(place.iterdir()) if place.exists() else []


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


# --- Changing one's mind ------------------------------------------------------------------------------------


def test_an_upload_can_be_given_up(mo: User, plain: bytes) -> None:
    row = announce(mo, plain)
    imports.receive(mo, row.pk, 0, plain[:SLICE])
    assert imports.discard(row)
    assert (again(row).state, stored(row)) == (ImportState.CANCELED, [])
    assert not imports.discard(row)
    with pytest.raises(imports.OutOfStep):
        imports.receive(mo, row.pk, SLICE, plain[SLICE : 2 * SLICE])


def test_an_import_that_waits_can_be_canceled(mo: User, plain: bytes, send: Send, own_models: Path) -> None:
    row = send(mo, plain)
    assert services.cancel(mo, job_of(row))
    assert (again(row).state, stored(row)) == (ImportState.CANCELED, [])
    assert names_in(own_models) == set()


def test_an_import_that_runs_can_be_canceled(
    mo: User, plain: bytes, send: Send, own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = send(mo, plain)
    job = job_of(row)
    assemble = slices.assemble

    def cancel_first(*args: Any) -> str:
        services.cancel(mo, job)
        return assemble(*args)

    monkeypatch.setattr(slices, "assemble", cancel_first)
    run_one(job.pk)
    assert Job.objects.get(pk=job.pk).state == State.CANCELED
    assert (again(row).state, stored(row), names_in(own_models)) == (ImportState.CANCELED, [], set())
    assert drafts(own_models) == []


def test_an_import_that_failed_is_not_tried_again_without_its_file(mo: User, send: Send, run: Run) -> None:
    job = run(job_of(send(mo, b"nonsense")))
    with pytest.raises(NotReady, match="Upload it again"):
        services.retry(mo, job)


def test_directions_are_computed_again_on_request_but_not_twice_at_once(
    mo: User, plain: bytes, send: Send, run: Run
) -> None:
    row = send(mo, plain)
    run(job_of(row))
    waiting = job_of(row, Operation.DIRECTIONS)
    assert imports.request_directions(mo, again(row)) == waiting
    run(waiting)
    assert imports.request_directions(mo, again(row)) != waiting


def test_directions_that_are_canceled_can_be_tried_again(
    mo: User, plain: bytes, send: Send, run: Run
) -> None:
    row = send(mo, plain)
    run(job_of(row))
    job = job_of(row, Operation.DIRECTIONS)
    services.cancel(mo, job)
    assert again(row).status_directions == Status.NONE
    new = services.retry(mo, job)
    assert again(row).status_directions == Status.QUEUED
    assert run(new).state == State.SUCCEEDED


# --- Bad luck -----------------------------------------------------------------------------------------------


def test_a_worker_that_was_killed_after_the_rename_is_followed_by_one_that_notices(
    mo: User, plain: bytes, send: Send, run: Run, own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator stands in its place, and the row does not say so: the power failed between the two."""
    row = send(mo, plain)
    job = job_of(row)

    class PowerCut(BaseException):
        pass

    publish = installing.Draft.publish

    def publish_and_die(self: installing.Draft, name: str) -> None:
        publish(self, name)
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(installing.Draft, "publish", publish_and_die)
        with pytest.raises(PowerCut):
            run_one(job.pk)
    assert again(row).state == ImportState.IMPORTING
    assert names_in(own_models) == {"mine"}
    assert run(Job.objects.get(pk=job.pk)).state == State.SUCCEEDED
    row = again(row)
    assert (row.state, row.report["resolution"], stored(row)) == (ImportState.INSTALLED, 32, [])
    assert row.generator_sha256 == engine().generator("mine").sha256
    assert row.jobs.filter(operation=Operation.DIRECTIONS).count() == 1


def test_a_generator_whose_report_got_lost_can_be_looked_at(
    mo: User, plain: bytes, send: Send, run: Run, own_models: Path, client_of: ClientOf
) -> None:
    row = send(mo, plain)
    CheckpointImport.objects.filter(pk=row.pk).update(
        state=ImportState.INSTALLED, report={"generator_sha256": "x"}
    )
    page = client_of(mo).get(reverse("admin:transforms_checkpointimport_change", args=[row.pk]))
    assert page.status_code == 200


def test_what_a_killed_attempt_left_is_cleared_by_the_next(
    mo: User, plain: bytes, send: Send, run: Run, own_models: Path
) -> None:
    row = send(mo, plain)
    job = job_of(row)
    left = installing.Draft.fresh(str(job.pk), 1)
    left.source("half.pkl").write_bytes(plain[:100])
    Job.objects.filter(pk=job.pk).update(attempt=1)
    assert run(Job.objects.get(pk=job.pk)).state == State.SUCCEEDED
    assert drafts(own_models) == []


def test_a_job_that_was_taken_over_publishes_nothing(
    mo: User, plain: bytes, send: Send, own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = send(mo, plain)
    job = job_of(row)
    assemble = slices.assemble

    def lose(*args: Any) -> str:
        digest = assemble(*args)
        Job.objects.filter(pk=job.pk).update(lease_token=uuid.uuid4())
        return digest

    monkeypatch.setattr(slices, "assemble", lose)
    run_one(job.pk)
    assert Job.objects.get(pk=job.pk).state == State.RUNNING
    assert again(row).state == ImportState.IMPORTING
    assert names_in(own_models) == set()


def test_a_job_that_stops_its_worker_each_time_fails_its_import(mo: User, plain: bytes, send: Send) -> None:
    row = send(mo, plain)
    Job.objects.filter(pk=job_of(row).pk).update(attempt=3)
    assert sweeper.fail_exhausted() == 1
    assert (again(row).state, stored(row)) == (ImportState.FAILED, [])


def test_uploads_that_were_left_alone_are_swept(mo: User, plain: bytes, settings: Settings) -> None:
    row = announce(mo, plain)
    imports.receive(mo, row.pk, 0, plain[:SLICE])
    imports.sweep()
    assert again(row).state == ImportState.UPLOADING
    long_ago = timezone.now() - timedelta(seconds=settings.CHECKPOINT_STALE_SECONDS + 1)
    CheckpointImport.objects.filter(pk=row.pk).update(changed_at=long_ago)
    imports.sweep()
    assert (again(row).state, stored(row)) == (ImportState.CANCELED, [])


def test_an_import_whose_member_was_deleted_gives_its_name_and_files_back(
    mo: User, plain: bytes, send: Send
) -> None:
    row = send(mo, plain)
    mo.delete()
    CheckpointImport.objects.filter(pk=row.pk).update(changed_at=timezone.now() - timedelta(hours=1))
    imports.sweep()
    assert (again(row).state, stored(row)) == (ImportState.FAILED, [])


def test_slices_without_a_row_are_swept(mo: User) -> None:
    slices.write(uuid.uuid4(), 0, b"x")
    slices.write("not-an-id", 0, b"x")
    assert imports.sweep() == 2
    assert slices.kept() == []


def test_old_drafts_that_nothing_works_on_are_swept(
    mo: User, plain: bytes, send: Send, own_models: Path
) -> None:
    job = job_of(send(mo, plain))
    for key in (str(job.pk), str(uuid.uuid4())):
        draft = installing.Draft.fresh(key)
        os.utime(draft.root, (0, 0))
    imports.sweep()
    assert [path.name for path in drafts(own_models)] == [f"{job.pk}-1"]


def test_drafts_behind_a_link_are_left_alone(own_models: Path, tmp_path: Path) -> None:
    (tmp_path / "precious" / "old").mkdir(parents=True)
    os.utime(tmp_path / "precious" / "old", (0, 0))
    (own_models / installing.DRAFTS).symlink_to(tmp_path / "precious")
    assert imports.sweep() == 0
    assert (tmp_path / "precious" / "old").exists()


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
