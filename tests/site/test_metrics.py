"""/metrics: who may look, and whether what it shows is true."""

from __future__ import annotations

import re
import socket
import threading
import uuid
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any

import pytest
import yaml
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts.models import User
from pixellift import metrics
from tests.conftest import ClientOf
from tests.server import ROOT
from transforms import lifecycle, services
from transforms import metrics as own
from transforms.models import Job, Operation, State
from transforms.presence import JOBS, PREVIEWS, SignOfLife

OPERATING = (ROOT / "docs" / "operating.md").read_text()
TOKEN = "a-token-of-some-length"


@pytest.fixture(autouse=True)
def lookout(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test saw is forgotten."""
    monkeypatch.setattr(metrics, "lookout", metrics.Lookout())


def value(text: str, name: str, **labels: str) -> float:
    """One sample; 0 if it is not shown, as a counter that nobody touched."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0.0


def scrape(client: Client, **options: Any) -> str:
    answer = client.get("/metrics", headers={"host": "localhost"}, **options)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def job_of(user: User, operation: Operation = Operation.RANDOM, **fields: Any) -> Job:
    return Job.objects.create(user=user, operation=operation, **fields)


# --- Who may look -------------------------------------------------------------------------------------------


def asked(settings: Settings, address: str, token: str = "", **headers: str) -> bool:
    settings.METRICS_TOKEN = token
    return own.may_look(address, {"Host": "localhost:8000", **headers})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may_look(settings: Settings, address: str) -> None:
    assert asked(settings, address)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "[::1]:8000", "localhost", "[::1]"])
def test_this_machine_has_several_names(settings: Settings, host: str) -> None:
    assert asked(settings, "127.0.0.1", Host=host)


@pytest.mark.parametrize("address", ["10.0.0.7", "192.0.2.1", "::ffff:10.0.0.7", "", "unix:", "localhost"])
def test_nobody_else_may(settings: Settings, address: str) -> None:
    assert not asked(settings, address)
    assert not asked(settings, address, TOKEN)


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-proto", "Forwarded", "Via", "X-Real-IP"])
def test_what_came_through_a_proxy_is_not_from_this_machine(settings: Settings, name: str) -> None:
    assert not asked(settings, "127.0.0.1", **{name: "127.0.0.1"})


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example:8000"]
)
def test_a_page_elsewhere_cannot_send_a_browser_here(settings: Settings, host: str) -> None:
    assert not asked(settings, "127.0.0.1", Host=host)


def test_the_token_opens_from_everywhere(settings: Settings) -> None:
    assert asked(settings, "10.0.0.7", TOKEN, Authorization=f"Bearer {TOKEN}")
    assert asked(
        settings, "10.0.0.7", TOKEN, Authorization=f"bearer {TOKEN}", **{"X-Forwarded-For": "1.2.3.4"}
    )


@pytest.mark.parametrize(
    "sent", ["Bearer wrong-token-of-length", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer é", ""]
)
def test_another_token_does_not(settings: Settings, sent: str) -> None:
    assert not asked(settings, "10.0.0.7", TOKEN, Authorization=sent)


def test_without_a_token_in_the_settings_none_opens(settings: Settings) -> None:
    assert not asked(settings, "10.0.0.7", "", Authorization="Bearer ")


@pytest.mark.django_db
def test_a_stranger_is_told_what_to_do(client: Client) -> None:
    answer = client.get("/metrics", REMOTE_ADDR="10.0.0.7")
    assert answer.status_code == 403
    assert answer.content.decode() == own.REFUSED
    assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.django_db
def test_a_moderator_is_no_exception(client_of: ClientOf, mo: User) -> None:
    assert client_of(mo).get("/metrics", REMOTE_ADDR="10.0.0.7").status_code == 403


@pytest.mark.django_db
def test_metrics_are_only_read(client: Client) -> None:
    assert client.post("/metrics", headers={"host": "localhost"}).status_code == 405


@pytest.mark.django_db
def test_it_is_text_that_prometheus_reads(client: Client) -> None:
    answer = client.get("/metrics", headers={"host": "localhost"})
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(answer.content.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert {"pixellift_http_requests", "pixellift_dependency_up", "process_resident_memory_bytes"} <= set(
        names
    )
    assert all(family.documentation for family in families if family.name.startswith("pixellift_"))


@pytest.mark.django_db(transaction=True)
def test_operators_are_told_of_every_metric_and_of_no_other(client: Client) -> None:
    SignOfLife(JOBS, "one", 7).beat(["portraits"])
    shown = set(re.findall(r"^# HELP (pixellift_\w+)", scrape(client), re.M))
    told = set(re.findall(r"\bpixellift_[a-z_]+", OPERATING)) - {"pixellift_before_restore"}
    assert told == shown


def test_the_examples_for_prometheus_can_be_read() -> None:
    scraping, rules = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", OPERATING, re.S))
    assert scraping["scrape_configs"][0]["job_name"] == "pixellift"
    assert [rule["alert"] for rule in rules["groups"][0]["rules"]] == ["JobsWaitTooLong", "NoWorker"]


# --- What the database and the cache know -------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_queue_is_shown_as_it_is(client: Client, alice: User) -> None:
    long_ago = timezone.now() - timedelta(seconds=90)
    job_of(alice, created_at=long_ago)
    job_of(alice)
    job_of(alice, Operation.SAVE)
    job_of(alice, state=State.RUNNING, created_at=long_ago - timedelta(seconds=500))
    job_of(alice, state=State.FAILED, created_at=long_ago - timedelta(seconds=900))
    text = scrape(client)
    assert value(text, "pixellift_jobs_waiting", operation="random") == 2
    assert value(text, "pixellift_jobs_waiting", operation="save") == 1
    assert 'pixellift_jobs_waiting{operation="upscale"} 0.0' in text
    assert value(text, "pixellift_jobs_running", operation="random") == 1
    assert 90 <= value(text, "pixellift_oldest_waiting_job_seconds") < 200


@pytest.mark.django_db(transaction=True)
def test_an_empty_queue_is_shown_as_empty(client: Client, alice: User) -> None:
    job_of(alice, state=State.SUCCEEDED, created_at=timezone.now() - timedelta(days=1))
    text = scrape(client)
    assert value(text, "pixellift_dependency_up", dependency="database") == 1
    assert "pixellift_oldest_waiting_job_seconds 0.0" in text


@pytest.mark.django_db(transaction=True)
def test_many_scrapes_ask_the_database_once_a_second(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    look = metrics.look_at_site

    def count() -> metrics.Outlook:
        asked.append(True)
        return look()

    monkeypatch.setattr(metrics, "look_at_site", count)
    monkeypatch.setattr(metrics, "KEPT_SECONDS", 60.0)
    lookout = metrics.Lookout()
    gate = threading.Barrier(8)

    def scrape_together() -> None:
        gate.wait()
        assert lookout.look().database

    threads = [threading.Thread(target=scrape_together) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lookout.look().database
    assert len(asked) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("number", [1, 30])
def test_the_database_is_asked_one_question_however_much_waits(alice: User, number: int) -> None:
    Job.objects.bulk_create(Job(user=alice, operation=Operation.RANDOM) for _ in range(number))
    with CaptureQueriesContext(connection) as queries:
        assert metrics.look_at_site().waiting["random"] == number
    assert len(queries) == 1


def test_a_database_that_hangs_delays_no_scrape_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    asked: list[bool] = []

    def hang() -> metrics.Outlook:
        asked.append(True)
        over.wait(60)
        return metrics.Outlook(database=True)

    monkeypatch.setattr(metrics, "look_at_site", hang)
    monkeypatch.setattr(metrics, "ANSWER_SECONDS", 0.05)
    lookout = metrics.Lookout()
    assert [lookout.look().database for _ in range(3)] == [False, False, False]
    assert len(asked) == 1  # no thread is added while one hangs
    over.set()


@pytest.mark.django_db(transaction=True)
def test_a_database_without_tables_is_shown_as_down(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.setattr(Job._meta, "db_table", "no_such_table")
    text = scrape(client)
    assert 'pixellift_dependency_up{dependency="database"} 0.0' in text
    assert 'pixellift_dependency_up{dependency="cache"} 1.0' in text
    assert "pixellift_jobs_waiting{" not in text


@pytest.mark.django_db(transaction=True)
def test_workers_are_counted_by_kind(client: Client) -> None:
    SignOfLife(JOBS, "one", 7).beat(["portraits"])
    SignOfLife(JOBS, "two", 8).beat(["portraits", "faces"])
    SignOfLife(PREVIEWS, "two", 9).beat()
    text = scrape(client)
    assert value(text, "pixellift_workers_alive", kind="jobs") == 2
    assert value(text, "pixellift_workers_alive", kind="preview") == 1
    assert value(text, "pixellift_generators_resident", kind="jobs", generator="portraits") == 2
    assert value(text, "pixellift_worker_start_time_seconds", kind="jobs", host="two", worker="two/8") > 1.7e9


@pytest.mark.django_db(transaction=True)
def test_a_site_without_workers_says_zero(client: Client) -> None:
    text = scrape(client)
    assert 'pixellift_workers_alive{kind="jobs"} 0.0' in text
    assert 'pixellift_workers_alive{kind="preview"} 0.0' in text


# --- What this process counts -------------------------------------------------------------------------------


@pytest.mark.django_db
def test_requests_are_counted_by_route(client: Client) -> None:
    def served() -> float:
        return value(
            scrape(client), "pixellift_http_requests_total", method="GET", status="2xx", route="healthz"
        )

    before = served()
    client.get("/healthz")
    assert served() == before + 1
    seconds = value(scrape(client), "pixellift_http_request_seconds_count", method="GET", route="healthz")
    assert seconds >= 1


@pytest.mark.django_db
def test_no_client_can_invent_labels(client: Client) -> None:
    for number in range(5):
        client.get(f"/nothing/{uuid.uuid4()}/")
        client.get(f"/gallery/{uuid.uuid4()}/transform/")
        client.generic(f"BREW{number}", "/healthz")
    text = scrape(client)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    labels = [sample.labels for sample in families["pixellift_http_requests"].samples]
    assert not any("BREW" in label["method"] for label in labels)
    assert any(label["route"] == "none" for label in labels)
    assert all("/" not in label["route"] for label in labels)


@pytest.mark.django_db
def test_ended_jobs_are_counted_when_that_is_committed(
    client: Client, alice: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    def canceled() -> float:
        return value(scrape(client), "pixellift_jobs_ended_total", operation="random", state="canceled")

    job, before = job_of(alice), canceled()
    with django_capture_on_commit_callbacks(execute=True):
        assert services.cancel(alice, job)
        assert canceled() == before
    assert canceled() == before + 1
    with django_capture_on_commit_callbacks(execute=True):
        assert not lifecycle.cancel(Job.objects.filter(pk=job.pk), job)
    assert canceled() == before + 1


# --- The port of a worker -----------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port(settings: Settings) -> int:
    settings.METRICS_HOST, settings.METRICS_TOKEN = "127.0.0.1", TOKEN
    settings.METRICS_PORT = free_port()
    found = own.serve()
    assert found is not None
    return found


def fetch(port: int, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics", headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_a_worker_shows_its_metrics_at_a_port_of_its_own(port: int) -> None:
    status, text = fetch(port)
    assert status == 200
    assert "process_resident_memory_bytes" in text
    assert "pixellift_jobs_waiting" not in text  # the servers ask the database, workers need not


def test_the_port_of_a_worker_is_guarded_too(port: int) -> None:
    forwarded = {"X-Forwarded-For": "127.0.0.1"}
    assert fetch(port, **forwarded) == (403, own.REFUSED)
    assert fetch(port, Host="evil.example")[0] == 403
    assert fetch(port, Authorization=f"Bearer {TOKEN}", **forwarded)[0] == 200


def test_several_workers_take_ports_in_a_row(settings: Settings, port: int) -> None:
    settings.METRICS_PORT = port
    second = own.serve()
    assert second is not None
    assert port < second < port + own.PORTS_TRIED
    assert fetch(second)[0] == 200


def test_without_a_port_none_is_opened(settings: Settings) -> None:
    settings.METRICS_PORT = 0
    assert own.serve() is None


def test_an_address_that_cannot_be_had_stops_no_worker(settings: Settings) -> None:
    settings.METRICS_HOST, settings.METRICS_PORT = "192.0.2.1", free_port()
    assert own.serve() is None
