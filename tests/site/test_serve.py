"""`manage.py serve`, the process behind `make run`: broken settings, large bodies, start and stop."""

from __future__ import annotations

import http.client
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.server import ROOT, SiteServer, run_serve

pytestmark = pytest.mark.timeout(300)
MEBIBYTE = 1024 * 1024


def sentence_of(data: Path, *, root: Path = ROOT, **settings: str) -> str:
    """What is said when it must not start: one line, no traceback, and a status that is not zero."""
    done = run_serve(data, root=root, **settings)
    assert done.returncode != 0
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("PixelLift cannot start: ")
    return lines[0]


@pytest.mark.parametrize(
    ("setting", "value", "mend"),
    [
        ("DATABASE_URL", "mysql://somewhere/pixellift", "DATABASE_URL must begin with postgresql://"),
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none", "The database does not answer"),
        ("DATABASE_URL", "postgresql://[broken", "DATABASE_URL"),
        ("REDIS_URL", "memcached://somewhere", "REDIS_URL must begin with redis://"),
        ("REDIS_URL", "redis://127.0.0.1:9/0", "Redis does not answer"),
        ("PORT", "eighty", "PORT is 'eighty', but it must be a whole number."),
        ("PORT", "70000", "PORT is 70000, but it must be at most 65535."),
        ("HOST", "no.such.host.invalid", "HOST is 'no.such.host.invalid'"),
        ("DEBUG", "perhaps", "DEBUG is 'perhaps', but it must be 1 or 0."),
        ("UPLOAD_MAX_MEBIBYTES", "0", "UPLOAD_MAX_MEBIBYTES is 0, but it must be at least 1."),
        ("ALLOWED_HOSTS", "https://pictures.example", "without http:// and without a port"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL is 'LOUD'"),
        ("ENGINE_DEVICE", "abacus", "ENGINE_DEVICE is 'abacus'"),
    ],
)
def test_a_broken_setting_is_one_sentence(tmp_path: Path, setting: str, value: str, mend: str) -> None:
    assert mend in sentence_of(tmp_path / "data", **{setting: value})


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert f"{tmp_path / 'file' / 'data'} (DATA_DIR) cannot be written" in sentence_of(
        tmp_path / "file" / "data"
    )


def test_a_media_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    media = tmp_path / "file" / "media"
    assert f"{media} (MEDIA_ROOT) cannot be written" in sentence_of(tmp_path / "data", MEDIA_ROOT=str(media))


def test_a_database_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "pixellift.sqlite3").write_text("This is a letter, and no database at all. " * 20)
    assert "The database does not answer" in sentence_of(tmp_path)


def test_a_tree_without_weights_says_what_is_missing(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pixellift", "accounts", "gallery", "transforms", "templates", "static"):
        (tree / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "manage.py", tree)
    shutil.copytree(ROOT / "ganworks", tree / "ganworks", ignore=shutil.ignore_patterns("starters"))
    said = sentence_of(tmp_path / "data", root=tree, MODELS_DIR=str(tmp_path / "none"))
    assert "There is no generator: restore ganworks/starters" in said


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"Port {port} on 127.0.0.1 cannot be used" in sentence_of(tmp_path, PORT=str(port))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteServer]:
    """A first start as anybody's: with no table, and with styles that are not compressed yet."""
    data = tmp_path_factory.mktemp("site")
    with SiteServer(data, STATIC_ROOT=str(data / "static")) as running:
        running.rest()  # what it loads in the background is not what an upload costs
        yield running


def connect(site: SiteServer) -> http.client.HTTPConnection:
    where = urlsplit(site.url)
    assert where.hostname is not None
    return http.client.HTTPConnection(where.hostname, where.port, timeout=60)


def peak_memory_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("this system does not tell how much memory a process used")


def test_it_says_where_it_is_and_how_to_make_a_moderator(site: SiteServer) -> None:
    assert site.lines[0] == f"PixelLift is at {site.url}/ (Ctrl-C stops it).\n"
    assert f"DATA_DIR={site.data} .venv/bin/python manage.py createsuperuser" in site.lines[1]


def post(site: SiteServer, body: bytes, content_type: str) -> tuple[int, bytes]:
    connection = connect(site)
    try:
        connection.request("POST", "/accounts/login/", body, {"Content-Type": content_type})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def multipart(size_bytes: int) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    return head + b"x" * size_bytes + b"\r\n--edge--\r\n"


def test_a_large_upload_costs_no_more_memory_than_its_size(site: SiteServer) -> None:
    """Twisted's own parsing would cost more than twelve times the size of the body."""
    size = 50 * MEBIBYTE
    before = peak_memory_bytes(site.pid)
    status, _ = post(site, multipart(size), "multipart/form-data; boundary=edge")
    assert status in {400, 403, 413}  # a stranger without a token: what matters here is what it cost
    assert peak_memory_bytes(site.pid) - before < 3 * size


def test_what_is_longer_than_any_request_may_be_is_refused_and_forgotten(site: SiteServer) -> None:
    before = peak_memory_bytes(site.pid)
    status, text = post(site, b"x" * (80 * MEBIBYTE), "application/octet-stream")
    assert status == 413
    assert b"Send a smaller file." in text
    assert peak_memory_bytes(site.pid) - before < 16 * MEBIBYTE


def test_a_body_of_unstated_length_is_bounded_too(site: SiteServer) -> None:
    connection = connect(site)
    chunks = (b"x" * MEBIBYTE for _ in range(80))
    connection.request("POST", "/accounts/login/", chunks, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_small_forms_still_arrive(site: SiteServer) -> None:
    connection = connect(site)
    connection.request("GET", "/accounts/login/")
    assert connection.getresponse().status == 200
    connection.close()


def test_the_log_holds_no_line_for_each_request(site: SiteServer) -> None:
    connection = connect(site)
    connection.request("GET", "/accounts/login/")
    connection.getresponse().read()
    connection.close()
    assert "/accounts/login/" not in "".join(line for line in site.lines[2:] if "Forbidden" not in line)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_and_starts_again(site: SiteServer, how: signal.Signals) -> None:

    assert site.stop(how) == 0
    assert site.lines[-1] == "PixelLift has stopped.\n"
    site.start()
    connection = connect(site)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
