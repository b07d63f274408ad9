"""An import that is given up, or meets bad luck: a generator comes of it whole, once, or not at all."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import Status
from tests.conftest import ClientOf
from tests.transforms.conftest import Run
from tests.transforms.imports.support import (
    SLICE,
    Send,
    again,
    announce,
    drafts,
    job_of,
    names_in,
    stored,
)
from transforms import imports, installing, services, slices, sweeper
from transforms.engine import engine
from transforms.errors import NotReady
from transforms.models import CheckpointImport, ImportState, Job, Operation, State
from transforms.worker import run_one

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_models")]


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
