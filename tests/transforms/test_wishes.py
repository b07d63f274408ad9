"""Wishes that reach us twice: one key, one job."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from gallery.models import Image
from tests.conftest import ClientOf
from tests.transforms.conftest import GENERATOR
from transforms import services, wishes, worker
from transforms.errors import QuotaReached
from transforms.models import Job, State, WishKey

pytestmark = pytest.mark.django_db
GENERATE = "/api/v1/generate/"


def send(client: Client, key: str | None, path: str = GENERATE, **wish: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    wish = wish or {"generator": GENERATOR, "count": 2}
    return client.post(path, wish, content_type="application/json", headers=headers)


# --- The API ------------------------------------------------------------------------------------------------


def test_a_wish_that_is_sent_again_is_the_same_job(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    first, second = send(client, "a-1"), send(client, "a-1")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert (Job.objects.count(), Image.objects.count()) == (1, 2)


def test_the_answer_of_later_says_how_the_job_stands_then(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    job = send(client, "a-1").json()
    worker.run_one(job["id"])
    assert send(client, "a-1").json()["state"] == State.SUCCEEDED


def test_without_a_key_each_wish_is_one(alice: User, client_of: ClientOf) -> None:
    for _ in range(2):
        send(client_of(alice), None)
    assert Job.objects.count() == 2


def test_the_same_key_with_other_contents_is_refused(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    send(client, "a-1")
    other = send(client, "a-1", generator=GENERATOR, count=3)
    assert other.status_code == 409
    assert "Use a new key for each wish" in other.json()["detail"]
    assert Job.objects.count() == 1


def test_a_key_counts_for_one_address(alice: User, upload: Image, client_of: ClientOf) -> None:
    client, wish = client_of(alice), {"generator": GENERATOR}
    send(client, "a-1", **wish)
    assert send(client, "a-1", f"/api/v1/images/{upload.pk}/project/", **wish).status_code == 409


def test_the_key_of_one_member_is_nothing_to_another(alice: User, ben: User, client_of: ClientOf) -> None:
    assert send(client_of(alice), "a-1").json()["id"] != send(client_of(ben), "a-1").json()["id"]


@pytest.mark.parametrize("key", ["", " ", "ä", "x" * 201])
def test_a_key_that_is_none_is_refused(alice: User, client_of: ClientOf, key: str) -> None:
    answer = send(client_of(alice), key)
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()
    assert not Job.objects.exists()


def test_what_was_refused_leaves_the_key_free(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    assert send(client, "a-1", generator="nothing").status_code == 400
    assert send(client, "a-1").status_code == 202


def test_a_wish_that_was_granted_already_is_answered_alike(
    alice: User, upload: Image, client_of: ClientOf
) -> None:
    client, path = client_of(alice), f"/api/v1/images/{upload.pk}/project/"
    wish = {"generator": GENERATOR, "steps": 2}
    worker.run_one(send(client, None, path, **wish).json()["id"])
    first, second = send(client, "b", path, **wish), send(client, "b", path, **wish)
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json() == {"projection": str(upload.projections.get().pk)}


def test_keys_are_forgotten_after_a_day(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    first = send(client, "a-1").json()
    WishKey.objects.update(created_at=timezone.now() - wishes.KEPT_FOR)
    assert send(client, "a-1").json()["id"] != first["id"]
    WishKey.objects.update(created_at=timezone.now() - wishes.KEPT_FOR)
    assert wishes.forget_old() == 1
    assert Job.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_the_same_wishes_at_the_same_moment_one_is_carried_out(alice: User) -> None:
    gate, jobs = threading.Barrier(4), list[Job | None]()

    def wish() -> None:
        gate.wait()
        asking = lambda: services.request_random(alice, generator=GENERATOR)  # noqa: E731
        jobs.append(wishes.once(alice, "a-1", "the same", asking))
        connection.close()

    threads = [threading.Thread(target=wish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(jobs) == 4
    assert len(set(jobs)) == Job.objects.count() == 1


def test_a_refusal_inside_leaves_nothing_behind(alice: User) -> None:
    def refuse() -> Job:
        services.request_random(alice, generator=GENERATOR)
        raise QuotaReached("No.")

    with pytest.raises(QuotaReached):
        wishes.once(alice, "a-1", "", refuse)
    assert not Job.objects.exists()
    assert not WishKey.objects.exists()


def test_a_deadline_is_taken_in_seconds(alice: User, client_of: ClientOf) -> None:
    before = timezone.now()
    answer = send(client_of(alice), None, generator=GENERATOR, deadline=60)
    deadline = Job.objects.get(pk=answer.json()["id"]).deadline
    assert deadline is not None
    assert timedelta(seconds=60) <= deadline - before < timedelta(seconds=120)
    assert send(client_of(alice), None, generator=GENERATOR, deadline=0).status_code == 400


# --- The pages ----------------------------------------------------------------------------------------------


def form(client: Client, **fields: Any) -> dict[str, Any]:
    """The fields of the form as the page shows it, with its hidden key."""
    page = client.get(reverse("transforms:generate")).content.decode()
    once = page.split('name="once" value="')[1].split('"')[0]
    return {"once": once, "generator": GENERATOR, "count": 1, "truncation_psi": 0.7, **fields}


def test_a_double_click_is_one_job(alice: User, client_of: ClientOf) -> None:
    client, url = client_of(alice), reverse("transforms:generate")
    filled = form(client)
    for _ in range(2):
        assert client.post(url, filled).status_code == 302
    assert Job.objects.count() == 1


def test_a_form_that_was_filled_in_otherwise_is_another_wish(alice: User, client_of: ClientOf) -> None:
    client, url = client_of(alice), reverse("transforms:generate")
    filled = form(client)
    client.post(url, filled)
    client.post(url, {**filled, "count": 2})
    client.post(url, form(client))
    assert Job.objects.count() == 3


def test_after_a_failure_the_same_form_asks_anew(alice: User, client_of: ClientOf) -> None:
    client, url = client_of(alice), reverse("transforms:generate")
    filled = form(client)
    client.post(url, filled)
    services.cancel(alice, Job.objects.get())
    client.post(url, filled)
    assert Job.objects.count() == 2


def test_the_pages_bring_a_key(alice: User, upload: Image, random_image: Image, client_of: ClientOf) -> None:
    for image in (upload, random_image):
        page = client_of(alice).get(reverse("transforms:edit", args=[image.pk])).content
        assert b'name="once"' in page
