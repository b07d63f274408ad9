"""The job lane: who may claim, who may write, and how a job ends."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import Image, SavedImage, Status
from gallery.services import prepare_image
from tests.transforms.conftest import GENERATOR, UPSCALER, Run
from tests.transforms.moments import expire, hook
from transforms import leases, lifecycle, services, sweeper, worker
from transforms.broker import stopping
from transforms.context import JobContext
from transforms.engine import engine
from transforms.errors import LeaseLost, NotReady, QuotaReached
from transforms.line import Line
from transforms.models import ACTIVE, FINISHED, Job, State
from transforms.operations import random as random_operation
from transforms.representation import job_as_data

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(alice: User) -> Job:
    return services.request_random(alice, generator=GENERATOR, count=2, seed=1)


# --- Claiming -----------------------------------------------------------------------------------------------


def test_of_two_workers_one_claims(job: Job) -> None:
    assert Job.objects.claim(job.pk, uuid.uuid4())
    assert not Job.objects.claim(job.pk, uuid.uuid4())


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_at_the_same_moment_one_claims(job: Job) -> None:
    gate, won = threading.Barrier(6), []

    def claim() -> None:
        gate.wait()
        won.append(Job.objects.claim(job.pk, uuid.uuid4()) is not None)
        connection.close()

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1


def test_a_job_whose_lease_ran_out_is_taken_over(job: Job, run: Run) -> None:
    assert Job.objects.claim(job.pk, uuid.uuid4())
    expire(job)
    after = run(job)
    assert after.state == State.SUCCEEDED
    assert after.attempt == 2


def test_the_late_result_of_a_frozen_worker_is_refused(job: Job) -> None:
    frozen = uuid.uuid4()
    Job.objects.claim(job.pk, frozen)
    expire(job)
    Job.objects.claim(job.pk, uuid.uuid4())
    context = JobContext(job.pk, frozen)
    written: list[bool] = []
    assert not lifecycle.complete(context.held, job, {}, lambda: written.append(True))
    assert not lifecycle.fail(context.held, job, "late")
    assert not Job.objects.renew(job.pk, frozen)
    with pytest.raises(LeaseLost):
        context.update(stage="late")
    assert written == []
    assert Job.objects.get(pk=job.pk).state == State.RUNNING


def test_a_worker_that_lost_its_lease_stores_no_picture(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    hook(monkeypatch, lambda: Job.objects.filter(pk=job.pk).update(lease_token=uuid.uuid4()))
    worker.run_one(job.pk)
    assert not Image.objects.exclude(file="").exists()
    assert Job.objects.get(pk=job.pk).state == State.RUNNING


@pytest.mark.parametrize("state", FINISHED)
def test_a_job_that_is_over_is_never_claimed_or_ended_again(job: Job, state: State) -> None:
    Job.objects.filter(pk=job.pk).update(state=state)
    mine = Job.objects.filter(pk=job.pk)
    assert not Job.objects.claim(job.pk, uuid.uuid4())
    assert not mine.finish(State.SUCCEEDED)
    assert not mine.release()
    assert not lifecycle.fail(mine, job, "no")
    assert Job.objects.get(pk=job.pk).state == state


def test_drain_runs_all_that_waits(alice: User, ben: User) -> None:
    for user in (alice, ben, alice):
        services.request_random(user, generator=GENERATOR)
    assert worker.drain() == 3
    assert set(Job.objects.values_list("state", flat=True)) == {State.SUCCEEDED}


# --- Failing ------------------------------------------------------------------------------------------------


def test_an_unknown_error_releases_the_job_and_then_fails_it_with_its_id(
    job: Job, media: Path, settings: Settings
) -> None:
    media.write_text("a file stands where the folder should be")
    states = []
    for _ in range(settings.JOB_ATTEMPTS):
        Job.objects.filter(pk=job.pk).update(not_before=None)
        worker.run_one(job.pk)
        states.append(Job.objects.get(pk=job.pk).state)
    assert states == [State.QUEUED, State.QUEUED, State.FAILED]
    error = Job.objects.get(pk=job.pk).error
    assert error.startswith("Something went wrong")
    assert str(job.pk) in error
    assert {image.status_process for image in Image.objects.all()} == {Status.FAILED}


def test_a_released_job_waits_a_little(job: Job, media: Path) -> None:
    media.write_text("a file stands where the folder should be")
    worker.run_one(job.pk)
    assert Line().claim_next(uuid.uuid4(), "") is None
    assert not worker.run_one(job.pk)


def test_a_known_error_fails_the_job_at_once_with_its_sentence(
    job: Job, models_dir: Path, settings: Settings
) -> None:
    settings.MODELS_DIR = models_dir / "elsewhere"
    engine.cache_clear()
    worker.run_one(job.pk)
    after = Job.objects.get(pk=job.pk)
    assert (after.state, after.attempt) == (State.FAILED, 1)
    assert "no generator named" in after.error


def test_a_job_that_kills_its_worker_is_failed_after_the_last_attempt(job: Job, settings: Settings) -> None:
    for _ in range(settings.JOB_ATTEMPTS):
        assert Job.objects.claim(job.pk, uuid.uuid4(), "elsewhere/1")
        expire(job)
    assert Line().claim_next(uuid.uuid4(), "") is None
    assert sweeper.fail_exhausted() == 1
    after = Job.objects.get(pk=job.pk)
    assert after.state == State.FAILED
    assert after.is_quarantined
    assert "stopped the worker each time" in after.error


def test_a_job_that_did_not_always_kill_its_worker_is_failed_without_quarantine(
    job: Job, settings: Settings
) -> None:
    token = uuid.uuid4()
    Job.objects.claim(job.pk, token)
    Job.objects.held(job.pk, token).release()
    for _ in range(settings.JOB_ATTEMPTS - 1):
        assert Job.objects.claim(job.pk, uuid.uuid4(), "elsewhere/1")
        expire(job)
    assert sweeper.sweep() == 0
    after = Job.objects.get(pk=job.pk)
    assert (after.state, after.is_quarantined) == (State.FAILED, False)
    assert "stopped the worker 2 times" in after.error


def test_what_is_in_quarantine_is_tried_again_by_staff_alone(alice: User, job: Job) -> None:
    lifecycle.fail(Job.objects.filter(pk=job.pk), job, "It killed.", quarantine=True)
    assert not job_as_data(Job.objects.get(pk=job.pk))["can_retry"]
    with pytest.raises(NotReady, match="only the people who run this site"):
        services.retry(alice, job)
    assert services.retry(alice, job, quarantined=True).retry_of == job


def test_a_job_whose_lease_ran_out_goes_back_to_its_place_in_line(job: Job) -> None:
    assert Job.objects.claim(job.pk, uuid.uuid4(), "elsewhere/1")
    expire(job)
    assert sweeper.release_expired() == 1
    after = Job.objects.get(pk=job.pk)
    assert (after.state, after.attempt, after.kills, after.turn) == (State.QUEUED, 1, 1, job.turn)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    ],
)
def test_a_job_that_needs_too_much_memory_fails_with_a_sentence_and_the_next_one_runs(
    job: Job, ben: User, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out() -> None:
        raise error

    following = services.request_random(ben, generator=GENERATOR)
    hook(monkeypatch, run_out)
    worker.drain()
    after = Job.objects.get(pk=job.pk)
    assert (after.state, after.attempt) == (State.FAILED, 1)
    assert "needs more memory" in after.error
    assert Job.objects.get(pk=following.pk).state == State.SUCCEEDED


def test_after_memory_ran_out_nothing_is_kept_loaded(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out() -> None:
        assert engine().resident() == [GENERATOR]
        raise MemoryError

    hook(monkeypatch, run_out)
    worker.run_one(job.pk)
    assert engine().resident() == []


# --- Deadlines ----------------------------------------------------------------------------------------------


def past(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(deadline=timezone.now() - timedelta(seconds=1))


def test_what_was_not_started_in_time_is_given_up(job: Job) -> None:
    past(job)
    assert Line().claim_next(uuid.uuid4(), "") is None
    assert not worker.run_one(job.pk)
    assert sweeper.fail_overdue() == 1
    after = Job.objects.get(pk=job.pk)
    assert after.state == State.FAILED
    assert "not started in time" in after.error


def test_what_is_not_done_in_time_ends_between_two_steps(
    alice: User, upload: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline = timezone.now() + timedelta(minutes=1)
    job = services.request_projection(alice, upload, generator=GENERATOR, steps=50, deadline=deadline)
    assert job is not None

    def let_time_pass(context: JobContext, *args: Any) -> None:
        assert context.deadline == deadline
        monkeypatch.setattr(JobContext, "is_late", True)

    monkeypatch.setattr(JobContext, "progress", let_time_pass)
    worker.run_one(job.pk)
    after = Job.objects.get(pk=job.pk)
    assert (after.state, after.attempt) == (State.FAILED, 1)
    assert "not done in time" in after.error
    assert not upload.projections.exists()


def test_jobs_of_a_process_that_is_gone_are_freed_at_once(job: Job) -> None:
    gone = f"{sweeper.HOST}/{2**22 + 1}"
    Job.objects.claim(job.pk, uuid.uuid4(), gone)
    assert sweeper.release_orphans() == 1
    after = Job.objects.get(pk=job.pk)
    assert (after.state, after.attempt) == (State.QUEUED, 1)


def test_jobs_of_this_process_and_of_other_machines_are_left_alone(job: Job, ben: User) -> None:
    other = services.request_random(ben, generator=GENERATOR)
    Job.objects.claim(job.pk, uuid.uuid4(), sweeper.worker_name())
    Job.objects.claim(other.pk, uuid.uuid4(), f"another-machine/{2**22 + 1}")
    assert sweeper.release_orphans() == 0


def test_a_worker_that_starts_frees_what_an_earlier_process_of_its_number_held(job: Job) -> None:
    Job.objects.claim(job.pk, uuid.uuid4(), sweeper.worker_name())
    assert sweeper.release_orphans(starting=True) == 1


def test_a_worker_that_starts_leaves_what_it_has_claimed_already(job: Job) -> None:
    with leases.accounted() as new_token:
        Job.objects.claim(job.pk, new_token(), sweeper.worker_name())
        assert sweeper.release_orphans(starting=True) == 0


def test_a_batch_that_was_interrupted_goes_on_where_it_was(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    context = JobContext(job.pk, uuid.uuid4())
    Job.objects.claim(job.pk, context.token)
    first = Image.objects.get(pk=job.result["images"][0])
    picture = next(iter(engine().draw(GENERATOR, [1], truncation_psi=0.7, class_index=None)))
    random_operation._store(job, context, prepare_image(first, picture), [str(first.pk)])
    expire(job)
    drawn: list[str] = []

    def prepare(image: Image, picture: Any) -> Any:
        drawn.append(str(image.pk))
        return prepare_image(image, picture)

    monkeypatch.setattr(random_operation, "prepare_image", prepare)
    worker.run_one(job.pk)
    assert drawn == job.result["images"][1:]
    assert Job.objects.get(pk=job.pk).state == State.SUCCEEDED


def test_a_worker_that_stops_releases_its_job_without_counting_the_attempt(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook(monkeypatch, stopping.set)
    try:
        worker.run_one(job.pk)
    finally:
        stopping.clear()
    after = Job.objects.get(pk=job.pk)
    assert (after.state, after.attempt) == (State.QUEUED, 0)
    assert len(after.result["ready"]) == 1
    worker.run_one(job.pk)
    assert Job.objects.get(pk=job.pk).state == State.SUCCEEDED


def test_ctrl_c_in_a_command_releases_the_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    hook(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        worker.run_one(job.pk)
    assert Job.objects.get(pk=job.pk).state == State.QUEUED


# --- Canceling ----------------------------------------------------------------------------------------------


def test_canceling_a_waiting_batch_removes_its_placeholders(alice: User, job: Job) -> None:
    assert services.cancel(alice, job)
    assert Job.objects.get(pk=job.pk).state == State.CANCELED
    assert not Image.objects.exists()


def test_canceling_a_running_batch_keeps_what_is_drawn(
    alice: User, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.context.ASK_EVERY_SECONDS", 0)
    hook(monkeypatch, lambda: services.cancel(alice, job))
    worker.run_one(job.pk)
    assert Job.objects.get(pk=job.pk).state == State.CANCELED
    assert [image.is_ready for image in Image.objects.all()] == [True]


def test_a_job_that_was_canceled_in_its_last_moment_is_canceled(
    alice: User, saved: SavedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = services.request_upscale(alice, saved, upscaler=UPSCALER)
    complete = lifecycle.complete
    monkeypatch.setattr(lifecycle, "complete", lambda *args: services.cancel(alice, job) and complete(*args))
    worker.run_one(job.pk)
    saved.refresh_from_db()
    assert Job.objects.get(pk=job.pk).state == State.CANCELED
    assert saved.status_superresolution == Status.NONE
    assert not saved.upscaled_file


def test_a_cancel_between_claim_and_start_is_heard(
    alice: User, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.context.ASK_EVERY_SECONDS", 0)
    monkeypatch.setattr("transforms.metrics.job_taken", lambda row: services.cancel(alice, row))
    worker.run_one(job.pk)
    assert Job.objects.get(pk=job.pk).state == State.CANCELED
    assert not Image.objects.exists()


def test_a_worker_that_lost_a_job_which_was_then_canceled_leaves_no_file_of_its_last_picture(
    alice: User, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[str] = []

    def prepare(image: Image, picture: Any) -> Any:
        stored = prepare_image(image, picture)
        prepared.extend(stored.names)
        if str(image.pk) == job.result["images"][-1]:
            expire(job)
            services.cancel(alice, job)
            sweeper.release_expired()
        return stored

    monkeypatch.setattr(random_operation, "prepare_image", prepare)
    worker.run_one(job.pk)
    assert Job.objects.get(pk=job.pk).state == State.CANCELED
    assert not Image.objects.filter(pk=job.result["images"][-1]).exists()
    assert not default_storage.exists(prepared[-1])


def test_a_canceled_job_whose_worker_died_ends_canceled(alice: User, job: Job) -> None:
    Job.objects.claim(job.pk, uuid.uuid4(), f"{sweeper.HOST}/{2**22 + 1}")
    assert services.cancel(alice, job)
    sweeper.release_orphans()
    assert Job.objects.get(pk=job.pk).state == State.CANCELED


@pytest.mark.parametrize("state", FINISHED)
def test_what_is_over_cannot_be_canceled(alice: User, job: Job, state: State) -> None:
    Job.objects.filter(pk=job.pk).update(state=state)
    assert not services.cancel(alice, job)
    assert Job.objects.get(pk=job.pk).state == state


def test_a_stranger_cancels_nothing(ben: User, job: Job) -> None:
    assert not services.cancel(ben, job)
    assert Job.objects.get(pk=job.pk).state == State.QUEUED


def test_a_member_who_deletes_everything_while_a_job_runs_leaves_nothing(
    alice: User, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook(monkeypatch, lambda: (Job.objects.all().delete(), Image.objects.all().delete()))
    worker.run_one(job.pk)
    assert not Job.objects.exists()
    assert not Image.objects.exists()


# --- Trying again -------------------------------------------------------------------------------------------


def test_a_failed_batch_is_tried_again_with_the_same_cards(alice: User, job: Job, run: Run) -> None:
    lifecycle.fail(Job.objects.filter(pk=job.pk), job, "no")
    again = services.retry(alice, job)
    assert again.retry_of == job
    assert again.result["images"] == job.result["images"]
    assert run(again).state == State.SUCCEEDED
    assert Image.objects.count() == 2


def test_a_canceled_batch_is_tried_again_with_new_cards_of_the_same_seeds(
    alice: User, job: Job, run: Run
) -> None:
    services.cancel(alice, job)
    assert run(services.retry(alice, job)).state == State.SUCCEEDED
    assert set(Image.objects.values_list("seed", flat=True)) == {1, 2}


def test_pictures_that_were_deleted_do_not_come_back_by_trying_again(alice: User, job: Job, run: Run) -> None:
    lifecycle.fail(Job.objects.filter(pk=job.pk), job, "no")
    Image.objects.filter(seed=1).soft_delete()
    again = run(services.retry(alice, job))
    assert len(again.result["ready"]) == 1


def test_trying_again_twice_is_one_job(alice: User, job: Job) -> None:
    services.cancel(alice, job)
    assert services.retry(alice, job) == services.retry(alice, job)


def test_only_what_failed_or_was_canceled_is_tried_again(alice: User, job: Job, run: Run) -> None:
    with pytest.raises(NotReady, match="failed or was canceled"):
        services.retry(alice, job)
    run(job)
    with pytest.raises(NotReady):
        services.retry(alice, job)


# --- Quota --------------------------------------------------------------------------------------------------


def test_a_member_has_only_so_much_outstanding_work(alice: User, ben: User, settings: Settings) -> None:
    settings.QUOTA_OUTSTANDING_JOBS = 2
    for _ in range(2):
        services.request_random(alice, generator=GENERATOR)
    with pytest.raises(QuotaReached, match="Wait for one, or cancel one"):
        services.request_random(alice, generator=GENERATOR)
    services.request_random(ben, generator=GENERATOR)
    assert Job.objects.filter(state__in=ACTIVE).count() == 3


def test_the_sequence_grows_with_each_change(alice: User, job: Job) -> None:
    seen = [job.sequence]

    def look() -> None:
        seen.append(Job.objects.get(pk=job.pk).sequence)

    Job.objects.claim(job.pk, uuid.uuid4())
    look()
    services.cancel(alice, job)
    look()
    lifecycle.cancel(Job.objects.filter(pk=job.pk), job)
    look()
    assert seen == sorted(set(seen))
