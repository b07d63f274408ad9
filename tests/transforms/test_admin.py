"""Moderators look at jobs, cancel them and try them again; nothing a member wrote becomes markup."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django_dramatiq.models import Task
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from tests.conftest import ClientOf
from tests.transforms.conftest import GENERATOR
from transforms import services
from transforms.models import Job, State

pytestmark = pytest.mark.django_db
LIST = "admin:transforms_job_changelist"


@pytest.fixture
def moderator(mo: User, client_of: ClientOf) -> Client:
    return client_of(mo)


def test_what_members_wrote_is_escaped(moderator: Client, alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR)
    Job.objects.filter(pk=job.pk).update(title="<script>a", params={"name": "<script>b"}, error="<script>c")
    for address in (reverse(LIST), reverse("admin:transforms_job_change", args=[job.pk])):
        page = moderator.get(address).content.decode()
        assert "&lt;script&gt;" in page
        for letter in "abc":
            assert f"<script>{letter}" not in page


def test_jobs_are_canceled_and_tried_again(moderator: Client, alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR)
    chosen = {"_selected_action": [str(job.pk)]}
    moderator.post(reverse(LIST), {"action": "cancel_jobs", **chosen})
    assert Job.objects.get(pk=job.pk).state == State.CANCELED
    moderator.post(reverse(LIST), {"action": "retry_jobs", **chosen})
    assert Job.objects.get(retry_of=job).state == State.QUEUED


def test_nothing_is_typed_or_deleted(moderator: Client, alice: User) -> None:
    job = services.request_random(alice, generator=GENERATOR)
    assert moderator.get(reverse("admin:transforms_job_add")).status_code == 403
    assert moderator.post(reverse("admin:transforms_job_delete", args=[job.pk])).status_code == 403
    page = moderator.get(reverse("admin:transforms_job_change", args=[job.pk])).content.decode()
    assert 'name="state"' not in page


def test_the_list_asks_a_constant_number_of_queries(
    moderator: Client, alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    services.request_random(alice, generator=GENERATOR)
    moderator.get(reverse(LIST))
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as few:
        moderator.get(reverse(LIST))
    for _ in range(10):
        services.request_random(alice, generator=GENERATOR)
    with django_assert_num_queries(len(few)):
        moderator.get(reverse(LIST))


def test_members_do_not_enter(alice: User, client_of: ClientOf) -> None:
    assert client_of(alice).get(reverse(LIST)).status_code == 302


def test_the_brokers_own_list_is_not_offered() -> None:
    assert not admin.site.is_registered(Task)
