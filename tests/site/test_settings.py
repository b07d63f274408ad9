"""The environment's readers: what is wrong is said in one sentence."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psycopg
import pytest

from pixellift import environment as env
from pixellift import settings as ours
from pixellift.environment import BadSetting


@pytest.mark.parametrize(
    ("given", "expected"), [("1", True), ("on", True), ("No", False), ("0", False), ("", True)]
)
def test_a_flag_understands_the_usual_words(
    monkeypatch: pytest.MonkeyPatch, given: str, expected: bool
) -> None:
    monkeypatch.setenv("THING", given)
    assert env.flag("THING", default=True) is expected


@pytest.mark.parametrize("given", ["maybe", "2"])
def test_a_flag_refuses_anything_else(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("THING", given)
    with pytest.raises(BadSetting, match="THING is .*, but it must be 1 or 0"):
        env.flag("THING")


@pytest.mark.parametrize(
    ("given", "reason"),
    [("many", "a whole number"), ("0", "at least 1"), ("70000", "at most 65535"), ("1.5", "whole")],
)
def test_a_number_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, given: str, reason: str) -> None:
    monkeypatch.setenv("THING", given)
    with pytest.raises(BadSetting, match=reason):
        env.whole("THING", 5, minimum=1, maximum=65_535)


def test_the_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    first = env.secret_key(tmp_path / "data")
    assert env.secret_key(tmp_path / "data") == first
    assert len(first) >= 50
    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o077 == 0


def test_processes_that_start_together_are_given_one_secret(tmp_path: Path) -> None:
    """One makes the file, and writes it a moment later."""
    path = tmp_path / "secret_key"
    path.touch()
    writer = threading.Timer(0.1, path.write_text, ["s" * 86])
    writer.start()
    assert env.secret_key(tmp_path) == "s" * 86
    writer.join()


def test_a_secret_that_was_cut_short_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "SECRET_PATIENCE_SECONDS", 0)
    (tmp_path / "secret_key").write_text("short")
    with pytest.raises(BadSetting, match="does not hold a usable secret key"):
        env.secret_key(tmp_path)


def test_by_default_only_this_machine_is_a_host() -> None:
    assert env.hosts("NO_SUCH_SETTING", "127.0.0.1") == ["localhost", "127.0.0.1", "[::1]"]


def test_the_address_that_is_listened_on_may_be_asked_for() -> None:
    assert "10.1.2.3" in env.hosts("NO_SUCH_SETTING", "10.1.2.3")
    assert "[fe80::1]" in env.hosts("NO_SUCH_SETTING", "fe80::1")


def test_on_all_addresses_the_machine_answers_to_its_name_and_not_to_every_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Studio")
    found = env.hosts("NO_SUCH_SETTING", "0.0.0.0")
    assert "studio" in found
    assert "*" not in found


@pytest.mark.parametrize("given", ["https://pictures.example", "pictures.example:8000"])
def test_hosts_are_names_only(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("THING", given)
    with pytest.raises(BadSetting, match="without http:// and without a port"):
        env.hosts("THING", "127.0.0.1")


def test_without_a_mail_server_mails_go_into_the_log() -> None:
    assert env.mail("NO_SUCH_SETTING").backend.endswith("console.EmailBackend")


def test_a_mail_server_is_read_from_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THING", "smtp+tls://me%40example.org:p%2Fw@mail.example.org")
    found = env.mail("THING")
    assert (found.host, found.port, found.start_tls, found.tls) == ("mail.example.org", 587, True, False)
    assert (found.user, found.password) == ("me@example.org", "p/w")


@pytest.mark.parametrize("given", ["mail.example.org", "http://mail", "smtp://", "smtp://mail:many"])
def test_what_is_no_mail_server_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("THING", given)
    with pytest.raises(BadSetting, match=r"must look like smtp\+tls://"):
        env.mail("THING")


# --- The database -------------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("query", "limit", "schema"),
    [
        ("", "30s", '"$user", public'),
        ("?options=-c%20search_path%3Dpixels", "30s", "pixels"),
        ("?options=-c%20idle_in_transaction_session_timeout%3D2s", "2s", '"$user", public'),
    ],
)
def test_postgresql_ends_a_transaction_that_nobody_goes_on_with(
    monkeypatch: pytest.MonkeyPatch, query: str, limit: str, schema: str
) -> None:
    """After half a minute, or as the URL says; what else the URL sets for the session holds too."""
    monkeypatch.setenv("DATABASE_URL", os.environ["TEST_DATABASE_URL"] + query)
    options = ours._database()["OPTIONS"]["options"]
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], options=options) as session:
        assert session.execute("SHOW idle_in_transaction_session_timeout").fetchone() == (limit,)
        assert session.execute("SHOW search_path").fetchone() == (schema,)


def test_sqlite_is_told_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////tmp/pictures.sqlite3")
    assert "options" not in ours._database()["OPTIONS"]
