"""What is told of the time that jobs take: learned from the last runs, as a range, and checked against what came."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from gallery.models import Image, SavedImage
from tests.conftest import ClientOf
from tests.transforms.conftest import GENERATOR, UPSCALER
from transforms import estimates, presence, services, worker
from transforms.estimates import FEWEST, KEPT, Outlook, Range, about, in_words, outlooks
from transforms.models import Job, Operation, RunTime, State
from transforms.representation import jobs_as_data

pytestmark = pytest.mark.django_db
HOUR = 3600.0
KIND = f"random {GENERATOR} x1"


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    estimates.forget()
    yield
    estimates.forget()


@pytest.fixture
def workers() -> None:
    """Two workers that show signs of life."""
    for number in (1, 2):
        presence.SignOfLife(presence.JOBS, "machine", number).beat()


def known(*seconds: float, kind: str = KIND, device: str = "this") -> None:
    """So long did the last runs of a kind take."""
    RunTime.objects.bulk_create(RunTime(kind=kind, device=device, seconds=value) for value in seconds)
    estimates.forget()


def start(job: Job, seconds_ago: float = 0.0) -> Job:
    assert Job.objects.claim(job.pk, uuid.uuid4(), "machine/1")
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(seconds=seconds_ago))
    estimates.forget()
    return Job.objects.get(pk=job.pk)


def told(job: Job) -> Outlook:
    return outlooks([job])[job.pk]


def ask(user: User, count: int = 1) -> Job:
    return services.request_random(user, generator=GENERATOR, count=count)


# --- Learning -----------------------------------------------------------------------------------------------


def test_a_job_that_succeeds_leaves_its_time(alice: User) -> None:
    job = ask(alice, 3)
    worker.run_one(job.pk)
    run = RunTime.objects.get()
    assert run.kind == f"random {GENERATOR} x3"
    assert 0 < run.seconds < (timezone.now() - job.created_at).total_seconds()
    assert run.device
    assert run.came_true is None


def test_a_job_that_fails_leaves_none(alice: User) -> None:
    job = ask(alice)
    Job.objects.filter(pk=job.pk).update(params={})
    worker.run_one(job.pk)
    assert not RunTime.objects.exists()


def test_only_the_last_of_a_kind_are_kept(alice: User) -> None:
    job = start(ask(alice))
    known(*range(KEPT + 3), kind="other")
    for seconds in range(KEPT + 3):
        estimates.learn(job, seconds)
    estimates.write_down()
    kept = RunTime.objects.filter(kind=KIND).values_list("seconds", flat=True)
    assert sorted(kept) == list(range(3, KEPT + 3))
    assert RunTime.objects.filter(kind="other").count() == KEPT + 3


def test_what_was_told_is_kept_beside_what_came(alice: User) -> None:
    job = start(ask(alice))
    for seconds in (10, 10, 20, 15, 100):
        estimates.learn(job, seconds)
    estimates.write_down()
    came = [run.came_true for run in RunTime.objects.order_by("pk")]
    assert came == [None, None, None, True, False]


def test_kinds_differ_by_what_takes_longer(alice: User, upload: Image, saved: SavedImage) -> None:
    kinds = {
        ask(alice).kind,
        ask(alice, 2).kind,
        getattr(services.request_projection(alice, upload, generator=GENERATOR, steps=5), "kind", ""),
        services.request_upscale(alice, saved, upscaler=UPSCALER).kind,
    }
    assert kinds == {
        KIND,
        f"random {GENERATOR} x2",
        f"project {GENERATOR} 5 steps, refined",
        f"upscale {UPSCALER} 1024 px",
    }


def test_trying_again_is_of_the_same_kind(alice: User) -> None:
    job = ask(alice, 2)
    services.cancel(alice, job)
    assert services.retry(alice, job).kind == job.kind


# --- What runs ----------------------------------------------------------------------------------------------


def test_nothing_is_told_where_too_little_is_known(alice: User) -> None:
    known(*[10.0] * (FEWEST - 1))
    job = start(ask(alice))
    assert told(job) == Outlook()
    assert jobs_as_data([job])[0]["seconds_left"] is None


def test_the_time_left_is_that_of_the_runs_that_took_longer(alice: User) -> None:
    known(*range(1, 12))
    left = told(start(ask(alice))).left
    assert left is not None
    assert left == pytest.approx(Range(2.0, 10.0), abs=0.5)
    later = told(start(ask(alice), seconds_ago=9.0)).left
    assert later is not None
    assert 0 < later.low <= later.high <= 2.0


def test_what_takes_longer_than_ever_says_so(alice: User) -> None:
    known(1.0, 2.0, 3.0)
    job = start(ask(alice), seconds_ago=60.0)
    assert told(job).late
    assert jobs_as_data([job])[0]["outlook"] == "longer than usual"


# --- What waits ---------------------------------------------------------------------------------------------


def test_positions_follow_the_turns_of_the_members(alice: User, ben: User) -> None:
    jobs = [ask(user) for user in (alice, alice, ben)]
    found = outlooks(jobs)
    assert [found[job.pk].position for job in jobs] == [1, 3, 2]


@pytest.mark.usefixtures("workers")
def test_a_waiting_job_is_done_after_those_before_it(alice: User, ben: User) -> None:
    known(*[HOUR] * 5)
    for _ in range(2):
        start(ask(ben))
    jobs = [ask(alice) for _ in range(3)]
    lefts = [outlooks(jobs)[job.pk].left for job in jobs]
    assert [left and round(left.high / HOUR) for left in lefts] == [2, 2, 3]


def test_without_workers_no_time_is_promised(alice: User) -> None:
    known(*[10.0] * 5)
    assert told(ask(alice)) == Outlook(position=1)


@pytest.mark.usefixtures("workers")
def test_behind_something_unknown_no_time_is_promised(alice: User) -> None:
    known(*[10.0] * 5)
    for job, left in ((ask(alice), Range(10.0, 10.0)), (ask(alice, 2), None), (ask(alice), None)):
        assert told(job).left == left


def test_far_back_nobody_counts(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "POSITIONS", 2)
    jobs = [ask(alice) for _ in range(3)]
    assert [told(job).position for job in jobs] == [1, 2, None]
    assert jobs_as_data(jobs)[2]["outlook"] == "More than 2 are before it in line"


@pytest.mark.parametrize("waiting", [3, 300])
def test_a_list_of_jobs_costs_the_same_queries_however_many_wait(
    alice: User, waiting: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = ask(alice)
    Job.objects.bulk_create(Job(user=alice, operation=Operation.SAVE, kind=KIND) for _ in range(waiting))
    estimates.forget()
    with django_assert_max_num_queries(4):
        jobs_as_data([job])


# --- In words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 0.3, "a moment"),
        (0.2, 3.2, "at most 3 s"),
        (3.0, 3.4, "about 3 s"),
        (9.8, 21.0, "about 10 to 20 s"),
        (50.0, 130.0, "about 50 s to 2 min"),
        (61.0, 118.0, "about 1 to 2 min"),
        (700.0, 5400.0, "about 10 min to 1.5 h"),
    ],
)
def test_ranges_are_told_as_one_would_say_them(low: float, high: float, words: str) -> None:
    assert about(Range(low, high)) == words


@pytest.mark.parametrize(
    ("outlook", "state", "words"),
    [
        (Outlook(1), State.QUEUED, "Next in line"),
        (Outlook(2), State.QUEUED, "2nd in line"),
        (Outlook(13), State.QUEUED, "13th in line"),
        (Outlook(3, Range(61, 118)), State.QUEUED, "3rd in line, done in about 1 to 2 min"),
        (Outlook(left=Range(10, 20)), State.RUNNING, "about 10 to 20 s left"),
        (Outlook(), State.RUNNING, ""),
        (Outlook(), State.QUEUED, "In line"),
    ],
)
def test_an_outlook_is_a_sentence(outlook: Outlook, state: str, words: str) -> None:
    assert in_words(outlook, state) == words


# --- Where it is shown --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("workers")
def test_the_page_and_the_api_tell_it(alice: User, client_of: ClientOf) -> None:
    known(*[2 * HOUR] * 5)
    running, waiting = start(ask(alice)), ask(alice)
    client: Client = client_of(alice)
    page = client.get(reverse("transforms:jobs")).content.decode()
    assert "about 2 h left" in page
    assert "Next in line, done in about 2 h" in page
    shown = client.get(f"/api/v1/jobs/{waiting.pk}/").json()
    assert (shown["position"], shown["outlook"]) == (1, "Next in line, done in about 2 h")
    left = client.get(f"/api/v1/jobs/{running.pk}/").json()["seconds_left"]
    assert left == pytest.approx([2 * HOUR] * 2, rel=0.1)


def test_the_admin_tells_how_often_it_came_true(mo: User, client_of: ClientOf) -> None:
    RunTime.objects.bulk_create(
        RunTime(kind=KIND, device="this", seconds=seconds, low=1, high=2) for seconds in (1, 1.5, 2, 3)
    )
    page = client_of(mo).get(reverse("admin:transforms_runtime_changelist")).content.decode()
    assert "75 %" in page
    assert "about 80 % should" in page


def test_members_do_not_see_it(alice: User, client_of: ClientOf) -> None:
    assert client_of(alice).get(reverse("admin:transforms_runtime_changelist")).status_code == 302
