"""The queue at a glance, in the admin: what waits, who works, what failed. To look at, and for staff alone."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from tests.conftest import ClientOf
from tests.transforms.conftest import GENERATOR
from transforms import lifecycle, presence, queue_report, services
from transforms.models import Job, Priority, State
from transforms.queue_report import report
from transforms.templatetags.queue import age

pytestmark = pytest.mark.django_db
PAGE = "admin:transforms_job_queue"


@pytest.fixture
def moderator(mo: User, client_of: ClientOf) -> Client:
    return client_of(mo)


def ask(user: User, **changes: object) -> Job:
    job = services.request_random(user, generator=GENERATOR)
    Job.objects.filter(pk=job.pk).update(**changes)
    return Job.objects.get(pk=job.pk)


def failed(user: User, *, minutes_ago: int = 1, **changes: object) -> Job:
    ended = timezone.now() - timedelta(minutes=minutes_ago)
    return ask(user, state=State.FAILED, finished_at=ended, error="It was too large.", **changes)


def text_of(client: Client) -> str:
    """The page as it is read."""
    page = client.get(reverse(PAGE))
    assert page.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", page.content.decode()).split())


# --- Who may look -------------------------------------------------------------------------------------------


def test_members_and_strangers_do_not_see_it(client: Client, alice: User, client_of: ClientOf) -> None:
    assert client.get(reverse(PAGE)).status_code == 302
    assert client_of(alice).get(reverse(PAGE)).status_code == 302


def test_of_the_staff_those_see_it_who_may_look_at_jobs(alice: User, client_of: ClientOf) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    assert client_of(alice).get(reverse(PAGE)).status_code == 403
    alice.user_permissions.add(Permission.objects.get(codename="view_job"))
    assert client_of(alice).get(reverse(PAGE)).status_code == 200


def test_it_only_shows(moderator: Client, alice: User) -> None:
    ask(alice)
    page = moderator.get(reverse(PAGE)).content.decode()
    main = page[page.index('id="content-main"') :]
    assert "<form" not in main[: main.index("</section>\n  </div>")]


def test_the_list_of_jobs_leads_to_it(moderator: Client) -> None:
    assert reverse(PAGE) in moderator.get(reverse("admin:transforms_job_changelist")).content.decode()


# --- What it says -------------------------------------------------------------------------------------------


def test_an_empty_site_says_so(moderator: Client) -> None:
    text = text_of(moderator)
    for sentence in (
        "Nothing waits, and nothing runs.",
        "No worker shows a sign of life: jobs wait until one does.",
        "Nothing failed.",
        "No job stopped its worker each time.",
    ):
        assert sentence in text


def test_what_waits_and_runs_is_counted_by_operation_and_generator(alice: User, ben: User) -> None:
    ask(alice, created_at=timezone.now() - timedelta(minutes=5))
    ask(ben, priority=Priority.BATCH)
    ask(ben, generator="landscapes")
    ask(ben, state=State.RUNNING, worker="gpu-1/7")
    ask(ben, state=State.SUCCEEDED)
    told = report()
    loads = [(load.operation, load.generator, load.waiting, load.running) for load in told.loads]
    assert loads == [("Generate pictures", GENERATOR, 2, 1), ("Generate pictures", "landscapes", 1, 0)]
    assert (told.waiting, told.running, told.more) == (3, 1, False)
    assert told.oldest is not None
    assert 299 < told.oldest < 320


def test_each_worker_is_told_with_its_last_sign_of_life_and_what_it_does(
    moderator: Client, alice: User
) -> None:
    presence.SignOfLife(presence.JOBS, "gpu-1", 7).beat(["portraits"])
    presence.SignOfLife(presence.JOBS, "gpu-2", 8).beat()
    presence.SignOfLife(presence.PREVIEWS, "gpu-2", 9).beat()
    job = ask(alice, state=State.RUNNING, worker="gpu-1/7", progress=0.42)
    first, second, previews = report().workers or []
    assert (first.worker.name, [one.pk for one in first.jobs]) == ("gpu-1/7", [job.pk])
    assert 0 <= first.seen < 5
    assert (second.jobs, previews.jobs) == ([], [])
    text = text_of(moderator)
    assert f"gpu-1/7 0 s ago 0 s {job.title} , 42 % portraits" in text
    assert "gpu-2/8 0 s ago 0 s waits for work" in text
    assert "gpu-2/9 0 s ago 0 s draws previews" in text


def test_a_job_whose_worker_is_gone_is_told(moderator: Client, alice: User) -> None:
    until = timezone.now() + timedelta(seconds=8)
    job = ask(alice, state=State.RUNNING, worker="gpu-1/7", lease_until=until)
    assert [one.pk for one in report().adrift] == [job.pk]
    assert f"gpu-1/7: others may take it from {until:%H:%M:%S} on" in text_of(moderator)


def test_where_the_cache_is_away_nobody_is_said_to_be_gone(
    moderator: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(kind: str | None = None) -> None:
        raise ConnectionError("the cache does not answer")

    monkeypatch.setattr(presence, "alive", away)
    ask(alice, state=State.RUNNING, worker="gpu-1/7")
    text = text_of(moderator)
    assert "The cache does not answer, so nobody knows which workers live." in text
    assert "Held by" not in text


def test_what_failed_in_the_last_hour_is_told_with_its_reason(moderator: Client, alice: User) -> None:
    new, old = failed(alice), failed(alice, minutes_ago=61)
    told = report()
    assert (told.failed, [job.pk for job in told.failures]) == (1, [new.pk])
    page = moderator.get(reverse(PAGE)).content.decode()
    assert "It was too large." in page
    assert reverse("admin:transforms_job_change", args=[new.pk]) in page
    assert str(old.pk) not in page


def test_what_is_in_quarantine_is_told_until_somebody_tries_it_again(alice: User) -> None:
    job = ask(alice)
    lifecycle.fail(Job.objects.filter(pk=job.pk), job, "It killed.", quarantine=True)
    assert [one.pk for one in report().quarantined] == [job.pk]
    services.retry(alice, job, quarantined=True)
    assert not report().quarantined


def test_what_members_wrote_is_escaped(moderator: Client, alice: User) -> None:
    failed(alice, title="<script>a")
    assert "<script>a" not in moderator.get(reverse(PAGE)).content.decode()


# --- What it costs ------------------------------------------------------------------------------------------


def test_it_asks_a_constant_number_of_questions(
    moderator: Client, alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    def more() -> None:
        ask(alice, state=State.RUNNING, worker=f"gpu/{uuid.uuid4().int % 10_000}")
        lifecycle.fail(Job.objects.all(), job := ask(alice), "It killed.", quarantine=True)
        failed(alice, title=str(job.pk))

    more()
    moderator.get(reverse(PAGE))
    with CaptureQueriesContext(connection) as few:
        moderator.get(reverse(PAGE))
    for _ in range(5):
        more()
    with django_assert_num_queries(len(few)):
        moderator.get(reverse(PAGE))


def test_of_a_long_queue_the_head_is_counted(
    moderator: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_report, "COUNTED", 3)
    for _ in range(5):
        ask(alice)
    told = report()
    assert (told.waiting, told.more) == (3, True)
    assert "3+" in text_of(moderator)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7300, "2 h"), (200_000, "2 d")],
)
def test_an_age_is_told_in_the_largest_unit_of_which_there_are_two(seconds: float | None, said: str) -> None:
    assert age(seconds) == said
