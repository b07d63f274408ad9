"""Logs tell which request asked for which job, on whatever machine that runs."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import structlog
from django.test import Client

from accounts.models import User
from pixellift.middleware import SANE_NUMBER
from tests.conftest import ClientOf
from tests.transforms.conftest import GENERATOR, Run
from transforms import services
from transforms.models import Job

pytestmark = pytest.mark.django_db
NUMBER = "edge-7f3a9c1e2b"


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged from here on, as the formatter gets it."""
    caplog.set_level(logging.INFO)
    return caplog


def event(log: pytest.LogCaptureFixture, name: str) -> dict[str, Any]:
    found = [
        record.msg
        for record in log.records
        if isinstance(record.msg, dict) and record.msg.get("event") == name
    ]
    assert len(found) == 1, found
    return dict(found[0])


def generate(client: Client, **headers: str) -> Any:
    return client.post(
        "/gallery/generate/",
        {"generator": GENERATOR, "count": 1, "truncation_psi": 0.7},
        headers={"accept": "application/json", **headers},
    )


def test_an_answer_carries_the_number_of_its_request(client: Client) -> None:
    first, second = (client.get("/healthz").headers["X-Request-ID"] for _ in range(2))
    assert SANE_NUMBER.fullmatch(first)
    assert first != second


def test_the_number_of_a_proxy_is_taken_on(client: Client) -> None:
    assert client.get("/healthz", headers={"x-request-id": NUMBER}).headers["X-Request-ID"] == NUMBER


@pytest.mark.parametrize(
    "number",
    ["", "short", "a" * 65, "with space 1234", "new\nline-12345", "<b>bold</b>", "ümlaut-12345", "a,b;c=d1"],
)
def test_a_number_that_is_none_is_replaced(client: Client, number: str) -> None:
    answered = client.get("/healthz", headers={"x-request-id": number}).headers["X-Request-ID"]
    assert answered != number
    assert SANE_NUMBER.fullmatch(answered)


def test_an_error_page_shows_the_number_even_before_django_looks_at_the_request(client: Client) -> None:
    answer = client.get("/api/v1/", headers={"host": "evil.example", "x-request-id": NUMBER})
    assert answer.status_code == 400
    assert answer.json()["request_id"] == NUMBER


def test_a_job_is_logged_with_the_request_that_asked_for_it(
    client_of: ClientOf, alice: User, run: Run, events: pytest.LogCaptureFixture
) -> None:
    generate(client_of(alice), **{"x-request-id": NUMBER})
    job = Job.objects.get()
    assert job.request_id == NUMBER
    queued = event(events, "job_queued")
    assert (queued["request_id"], queued["job_id"], queued["user_id"]) == (NUMBER, str(job.pk), str(alice.pk))
    run(job)
    done = event(events, "job_done")
    assert (done["request_id"], done["job_id"], done["operation"]) == (NUMBER, str(job.pk), "random")


def test_a_job_that_nobody_asked_for_over_the_web_has_no_request(alice: User) -> None:
    assert services.request_random(alice, generator=GENERATOR).request_id == ""


def test_nothing_of_a_request_or_a_job_is_left_for_the_next(
    client_of: ClientOf, alice: User, run: Run, events: pytest.LogCaptureFixture
) -> None:
    client = client_of(alice)
    generate(client, **{"x-request-id": NUMBER})
    run(Job.objects.get())
    generate(client)
    second = Job.objects.exclude(request_id=NUMBER).get()
    assert SANE_NUMBER.fullmatch(second.request_id)
    assert not {"job_id", "request_id"} & set(structlog.contextvars.get_contextvars())
