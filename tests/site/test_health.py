"""/readyz and the probes behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from pixellift import health
from transforms import engine
from transforms.presence import JOBS, PREVIEWS, SignOfLife

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker() -> None:
    SignOfLife(JOBS, "test", 1).beat()


@pytest.fixture
def no_starters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings) -> Path:
    """A machine on which the weights were lost. Gives the folder where an operator could put some."""
    models = settings.MODELS_DIR = tmp_path / "models"
    monkeypatch.setattr("ganworks.library.STARTERS", tmp_path / "starters")
    engine.engine.cache_clear()
    return models


@pytest.fixture(autouse=True)
def _engine_of_its_own() -> object:
    yield
    engine.engine.cache_clear()


def test_ready_says_a_sentence_for_each_part(client: Client, worker: None) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    parts = answer.json()["parts"]
    assert set(parts) == {"database", "storage", "cache", "worker", "weights"}
    assert all(part["ok"] and part["text"].endswith(".") for part in parts.values())


def test_ready_is_never_cached(client: Client) -> None:
    assert "no-store" in client.get("/readyz").headers["Cache-Control"]


def test_without_a_worker_it_is_not_ready(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert answer.json()["parts"]["worker"] == {
        "ok": False,
        "text": "No worker runs: start `manage.py worker`, or look into the log for why it stopped.",
    }


def test_a_worker_that_draws_previews_does_no_jobs(client: Client) -> None:
    SignOfLife(PREVIEWS, "test", 1).beat()
    assert client.get("/readyz").json()["parts"]["worker"]["ok"] is False


def test_several_workers_are_counted(client: Client, worker: None) -> None:
    SignOfLife(JOBS, "test", 2).beat()
    assert client.get("/readyz").json()["parts"]["worker"]["text"] == "A worker runs (test/1 and 1 more)."


def test_it_is_alive_all_the_same(client: Client) -> None:
    assert client.get("/healthz").content == b"ok\n"


def test_a_media_folder_that_is_a_file_is_named(client: Client, worker: None, media: Path) -> None:
    media.write_text("in the way")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"]["storage"]["text"].startswith("Pictures cannot be stored (")


def test_the_storage_probe_leaves_nothing_behind(media: Path) -> None:
    health.storage()
    assert [path for path in media.rglob("*") if path.is_file()] == []


def test_without_a_generator_it_says_where_to_put_one(no_starters: Path) -> None:
    with pytest.raises(health.Unfit, match=f"There is no generator.*{no_starters}"):
        health.weights()


def test_damaged_weights_are_named(no_starters: Path) -> None:
    file = no_starters / "broken" / "generator.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not weights at all")
    with pytest.raises(health.Unfit, match=r"broken/generator\.safetensors"):
        health.weights()
