"""Leases: what is worked on is renewed, and what was lost sight of is freed."""

from __future__ import annotations

import threading
import uuid
from contextlib import suppress
from typing import Any, NoReturn

import pytest
from django.db import OperationalError, connection
from pytest_django import Settings

from accounts.models import User
from tests.transforms.conftest import GENERATOR
from tests.transforms.moments import expire, hook
from transforms import leases, lifecycle, services, sweeper, worker
from transforms.context import JobContext
from transforms.line import Line
from transforms.models import Job, JobQuerySet, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(alice: User) -> Job:
    return services.request_random(alice, generator=GENERATOR, count=2, seed=1)


@pytest.fixture
def committed(transactional_db: None, job: Job) -> Job:
    """Other threads see it, too."""
    return job


# --- Worked on ----------------------------------------------------------------------------------------------


def test_a_heartbeat_holds_a_job_that_takes_longer_than_its_lease(
    job: Job, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = threading.Event()
    token = uuid.uuid4()
    Job.objects.claim(job.pk, token)

    def renew(*args: Any) -> bool:
        renewed.set()
        return True

    monkeypatch.setattr(Job.objects.__class__, "renew", renew, raising=False)
    settings.JOB_LEASE_SECONDS = 0.03
    with leases.working(JobContext(job.pk, token)):
        assert renewed.wait(5)


def test_a_heartbeat_whose_connection_broke_goes_on_with_another_one(
    committed: Job, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JOB_LEASE_SECONDS = 0.03
    token, renew = uuid.uuid4(), JobQuerySet.renew
    Job.objects.claim(committed.pk, token)
    outcomes: list[bool] = []
    over = threading.Event()

    def break_first(*args: Any) -> bool:
        if not outcomes:
            outcomes.append(False)
            connection.ensure_connection()
            connection.connection.close()
        done = renew(*args)  # the first raises
        outcomes.append(done)
        over.set()
        return done

    monkeypatch.setattr(Job.objects.__class__, "renew", break_first, raising=False)
    context = JobContext(committed.pk, token)
    with leases.working(context):
        assert over.wait(10)
    assert outcomes[:2] == [False, True]
    assert not context.lost


def test_what_this_process_works_on_is_renewed_before_anything_is_called_lost(job: Job) -> None:
    token = uuid.uuid4()
    Job.objects.claim(job.pk, token, sweeper.worker_name())
    expire(job)
    with leases.working(JobContext(job.pk, token)):
        sweeper.sweep()
    after = Job.objects.get(pk=job.pk)
    assert (after.state, after.lease_token, after.kills) == (State.RUNNING, token, 0)
    expire(job)
    sweeper.sweep()
    assert Job.objects.get(pk=job.pk).state == State.QUEUED


# --- Leases that were lost sight of -------------------------------------------------------------------------


def database_away(*args: Any, **options: Any) -> NoReturn:
    raise OperationalError("the connection was closed")


def lose_sight_of(job: Job) -> uuid.UUID:
    """Claim the job, and be without a database before it is run. Gives the token."""
    with suppress(OperationalError), leases.accounted() as new_token:
        token = new_token()
        assert Job.objects.claim(job.pk, token, sweeper.worker_name())
        database_away()
    return token


def test_a_job_whose_end_could_not_be_written_is_freed_as_soon_as_the_database_is_back(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as outage:
        for move in ("complete", "release", "fail"):
            outage.setattr(lifecycle, move, database_away)
        with pytest.raises(OperationalError):
            worker.drain()
    assert Job.objects.get(pk=job.pk).state == State.RUNNING
    assert sweeper.sweep() == 1
    after = Job.objects.get(pk=job.pk)
    assert (after.state, after.attempt, after.kills) == (State.QUEUED, 1, 0)
    assert worker.drain() == 1
    assert Job.objects.get(pk=job.pk).state == State.SUCCEEDED


def test_a_claim_whose_answer_was_lost_is_freed_at_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Line.claim_next

    def claim_and_hear_nothing(*args: Any) -> NoReturn:
        claim(*args)
        database_away()

    monkeypatch.setattr(Line, "claim_next", claim_and_hear_nothing)
    with pytest.raises(OperationalError):
        worker.drain()
    assert Job.objects.get(pk=job.pk).state == State.RUNNING
    assert sweeper.release_forgotten() == 1
    assert Job.objects.get(pk=job.pk).state == State.QUEUED


def test_what_is_worked_on_is_not_forgotten(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[int] = []
    hook(monkeypatch, lambda: freed.append(sweeper.release_forgotten()))
    worker.drain()
    assert freed == [0]
    assert Job.objects.get(pk=job.pk).state == State.SUCCEEDED


def test_what_another_worker_has_taken_over_meanwhile_is_left_to_it(job: Job) -> None:
    lose_sight_of(job)
    expire(job)
    assert Job.objects.claim(job.pk, uuid.uuid4(), "elsewhere/1")
    assert sweeper.release_forgotten() == 0


def test_of_a_lease_that_ran_out_nobody_asks(job: Job, settings: Settings) -> None:
    token = lose_sight_of(job)
    assert token in leases.forgotten()
    settings.JOB_LEASE_SECONDS = -1
    assert not leases.forgotten()


def test_a_job_that_is_forgotten_each_time_ends_with_a_sentence(job: Job, settings: Settings) -> None:
    for _ in range(settings.JOB_ATTEMPTS):
        token = uuid.uuid4()
        assert Job.objects.claim(job.pk, token)
        Job.objects.held(job.pk, token).release()
    sweeper.sweep()
    after = Job.objects.get(pk=job.pk)
    assert (after.state, after.is_quarantined) == (State.FAILED, False)
    assert "was tried 3 times and could not be finished" in after.error
