"""`manage.py doctor`: it finds what is wrong, says what to mend, and never waits for ever."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

import ganworks
from accounts.models import User
from pixellift import doctor
from pixellift.doctor import Check, Finding, Level
from tests.server import ROOT, environment
from transforms import engine
from transforms.models import Job, Operation
from transforms.presence import JOBS, PREVIEWS, SignOfLife

Outcome = Iterable[tuple[Level, str]]


@pytest.fixture(autouse=True)
def data(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    settings.DATA_DIR = tmp_path / "data"
    settings.MODELS_DIR = tmp_path / "data" / "models"
    settings.DATA_DIR.mkdir()
    engine.engine.cache_clear()
    yield settings.DATA_DIR
    engine.engine.cache_clear()


def found(check: Check) -> list[Finding]:
    return list(doctor.examine([check]))


def of(probe: doctor.Probe) -> dict[Level, str]:
    """All that one check says, by level."""
    said: dict[Level, str] = {}
    for finding in found(Check("it", probe)):
        assert finding.text.endswith("."), finding.text
        said[finding.level] = f"{said.get(finding.level, '')} {finding.text}".strip()
    return said


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- The frame ----------------------------------------------------------------------------------------------


def test_what_hangs_is_a_finding_and_holds_nobody_up() -> None:
    over = threading.Event()

    def hang() -> Outcome:
        yield Level.OK, "So far so good."
        over.wait(60)

    began = time.monotonic()
    findings = list(doctor.examine([Check("slow", hang, 0.2), Check("quick", doctor.programs)]))
    assert time.monotonic() - began < 30
    over.set()
    assert [(finding.name, finding.level, finding.hung) for finding in findings] == [
        ("slow", Level.OK, False),
        ("slow", Level.WRONG, True),
        ("quick", Level.OK, False),
    ]


def test_a_check_that_breaks_is_a_finding_and_keeps_what_it_found() -> None:
    def break_down() -> Outcome:
        yield Level.NOTE, "Something."
        raise ZeroDivisionError("by zero")

    first, second = found(Check("broken", break_down))
    assert first.text == "Something."
    assert (second.level, second.text) == (Level.WRONG, "This check failed: ZeroDivisionError (by zero).")


@pytest.mark.django_db(transaction=True)
def test_the_command_lists_what_it_finds_and_ends_with_1_if_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong() -> Outcome:
        yield Level.WRONG, "It is broken: mend it."

    monkeypatch.setattr(doctor, "all_checks", lambda: [Check("a", doctor.programs), Check("b", wrong)])
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", stdout=out)
    assert ended.value.code == 1
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("OK a: PixelLift ")
    assert lines[1:] == ["!! b: It is broken: mend it.", "1 to mend."]


@pytest.mark.django_db(transaction=True)
def test_notes_alone_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "all_checks", lambda: [Check("mail", doctor.mail)])
    out = io.StringIO()
    call_command("doctor", json=True, stdout=out)
    rows = json.loads(out.getvalue())
    assert [(row["level"], row["name"]) for row in rows] == [("ok", "mail")] or rows[0]["level"] == "note"


# --- The checks ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_sound_database_is_found_sound() -> None:
    said = of(doctor.database)
    assert set(said) <= {Level.OK, Level.NOTE}
    assert ("WAL" if connection.vendor == "sqlite" else "PostgreSQL ") in said[Level.OK]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_behind_is_found_out() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, applied FROM django_migrations WHERE app = 'transforms' ORDER BY id DESC")
        last = cursor.fetchone()[0]
        cursor.execute("UPDATE django_migrations SET app = 'elsewhere' WHERE id = %s", [last])
    try:
        assert "run `manage.py migrate`" in of(doctor.database)[Level.WRONG]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_migrations SET app = 'transforms' WHERE id = %s", [last])


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a mode of SQLite's")
@pytest.mark.django_db(transaction=True)
def test_a_file_that_is_not_in_wal_mode_is_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A copy of its own: a file that other threads have open stays in its mode."""
    copy = str(tmp_path / "copy.sqlite3")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [copy])
    monkeypatch.setitem(connection.settings_dict, "NAME", copy)
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "init_command", "PRAGMA journal_mode=DELETE;")
    connection.close()
    try:
        assert "not WAL" in of(doctor.database)[Level.WRONG]
    finally:
        monkeypatch.undo()
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_clocks_are_compared() -> None:
    assert set(of(doctor.clock)) == {Level.OK}


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_clock_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs PostgreSQL")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 60)
    assert "60." in of(doctor.clock)[Level.WRONG]


def test_pictures_are_written_read_and_deleted(media: Path) -> None:
    assert str(media) in of(doctor.pictures)[Level.OK]
    assert [path for path in media.rglob("*") if path.is_file()] == []


def test_a_media_folder_that_cannot_be_written_is_found_out(media: Path) -> None:
    media.write_text("in the way")
    assert str(media) in of(doctor.pictures)[Level.WRONG]


def test_a_full_disk_is_found_out(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    monkeypatch.setattr(doctor, "LITTLE_ROOM_BYTES", 2**60)
    assert f"in {data}: make room soon" in of(doctor.data_folder)[Level.NOTE]
    monkeypatch.setattr(doctor, "NO_ROOM_BYTES", 2**60)
    assert f"in {data}: make room at once" in of(doctor.data_folder)[Level.WRONG]


def test_a_key_that_others_can_read_is_found_out(data: Path) -> None:
    key = data / "secret_key"
    key.write_text("k" * 64)
    key.chmod(0o644)
    assert "chmod 600" in of(doctor.data_folder)[Level.WRONG]
    key.chmod(0o600)
    assert Level.WRONG not in of(doctor.data_folder)


def test_static_files_that_were_never_collected_are_found_out(settings: Settings, tmp_path: Path) -> None:
    assert set(of(doctor.static_files)) == {Level.OK}
    manifest = {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": manifest}
    settings.STATIC_ROOT = tmp_path / "static"
    assert str(tmp_path / "static") in of(doctor.static_files)[Level.WRONG]
    settings.STATIC_ROOT.mkdir()
    (settings.STATIC_ROOT / "staticfiles.json").write_text("{}")
    assert "collects them anew" in of(doctor.static_files)[Level.NOTE]


def test_mails_into_the_log_are_noted(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert "EMAIL_URL" in of(doctor.mail)[Level.NOTE]


def test_a_mail_server_that_is_away_is_found_out(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
    assert "check EMAIL_URL" in of(doctor.mail)[Level.WRONG]


def test_damaged_weights_are_named(data: Path) -> None:
    file = data / "models" / "broken" / "generator.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not weights at all")
    said = of(doctor.models)
    starters = ganworks.Library(directories=[]).generators()
    assert f"Generators: {len(starters)}" in said[Level.OK]
    assert "broken/generator.safetensors" in said[Level.WRONG]


def test_a_device_that_is_not_there_is_found_out(settings: Settings) -> None:
    settings.ENGINE_DEVICE = "cuda:99"
    [finding] = found(Check("device", doctor.device, doctor.DEVICE_SECONDS))
    assert finding.level == Level.WRONG
    assert "cuda:99 is not in this machine" in finding.text


def test_the_device_draws_a_picture(settings: Settings) -> None:
    settings.ENGINE_DEVICE = "cpu"
    device, drawn = found(Check("device", doctor.device, doctor.DEVICE_SECONDS))
    assert (device.level, drawn.level) == (Level.OK, Level.OK)
    assert "the processor" in device.text
    assert drawn.text.startswith("A picture was drawn")


def test_settings_that_contradict_each_other_are_named(settings: Settings) -> None:
    settings.DEBUG = settings.HTTPS = True
    assert "pixellift.E003" in of(doctor.contradictions)[Level.WRONG]


def test_a_key_in_a_file_is_noted_where_there_are_several_machines(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    assert "same SECRET_KEY" not in of(doctor.contradictions).get(Level.NOTE, "")
    settings.REDIS_URL = "redis://localhost:6379/15"
    assert "same SECRET_KEY" in of(doctor.contradictions)[Level.NOTE]
    monkeypatch.setenv("SECRET_KEY", "k" * 64)
    assert "same SECRET_KEY" not in of(doctor.contradictions).get(Level.NOTE, "")


@pytest.mark.django_db(transaction=True)
def test_workers_are_missed_where_they_are_processes_of_their_own(settings: Settings) -> None:
    settings.REDIS_URL = ""
    assert "/readyz" in of(doctor.workers)[Level.OK]
    settings.REDIS_URL, settings.PREVIEW_LANE = "redis://localhost:6379/15", "workers"
    assert "manage.py worker" in of(doctor.workers)[Level.WRONG]
    SignOfLife(JOBS, "gpu-1", 7).beat()
    said = of(doctor.workers)
    assert "gpu-1/7 does jobs since 20" in said[Level.OK]
    assert "previewworker" in said[Level.WRONG]
    SignOfLife(PREVIEWS, "gpu-1", 8).beat()
    assert set(of(doctor.workers)) == {Level.OK}


@pytest.mark.django_db(transaction=True)
def test_the_queue_is_counted(alice: User) -> None:
    Job.objects.create(user=alice, operation=Operation.SAVE)
    assert "1 jobs wait or run." in of(doctor.queue)[Level.OK]


def test_a_redis_that_is_away_is_found_out(settings: Settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    assert "check REDIS_URL" in of(doctor.redis_server)[Level.WRONG]


def test_a_redis_that_says_nothing_is_not_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixellift.preflight.ANSWER_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings.REDIS_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        assert "Redis does not answer" in of(doctor.redis_server)[Level.WRONG]


@pytest.mark.redis
def test_a_redis_that_forgets_is_noted(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    options = ["--port", str(port), "--save", "", "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]
    server = subprocess.Popen(["redis-server", *options], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
        until = time.monotonic() + 20
        while (said := of(doctor.redis_server)).get(Level.WRONG) and time.monotonic() < until:
            time.sleep(0.2)
        assert "allkeys-lru" in said[Level.NOTE]
        assert said[Level.OK].startswith("Redis ")
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.redis
def test_redis_and_all_that_lies_on_it_are_found_sound(settings: Settings) -> None:
    settings.REDIS_URL = os.environ["TEST_REDIS_URL"]
    for probe in (doctor.redis_server, doctor.cache, doctor.channel_layer):
        assert Level.WRONG not in of(probe)
    assert "there and back" in of(doctor.channel_layer)[Level.OK]


@pytest.mark.timeout(300)
def test_with_everything_away_it_ends_all_the_same(tmp_path: Path) -> None:
    """A database that refuses, and a Redis that takes connections and never says a word."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        done = subprocess.run(
            [sys.executable, "manage.py", "doctor", "--json"],
            cwd=ROOT,
            env=environment(
                tmp_path / "data",
                DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/none",
                REDIS_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}/0",
            ),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 1, done.stderr
    wrong = {row["name"] for row in json.loads(done.stdout) if row["level"] == "wrong"}
    assert {"database", "redis", "cache", "channel layer", "workers", "queue"} <= wrong
    assert not {"programs", "pictures", "models"} & wrong
