"""Before the server starts: every setting that cannot work is named in one sentence."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import connection
from django.db.utils import Error as DatabaseError
from django.db.utils import load_backend

from pixellift import health
from pixellift.environment import BadSetting

ANSWER_SECONDS = 5
# Redoc, the other half of the schema browser's files, is not offered.
UNUSED_STATIC_FILES = ["drf_spectacular_sidecar/redoc/*", "redoc"]


def check_settings() -> None:
    """Raises BadSetting with what to mend, or returns."""
    check_folder(settings.DATA_DIR, "DATA_DIR")
    if not settings.MEDIA_S3_BUCKET:
        check_folder(settings.MEDIA_ROOT, "MEDIA_ROOT")
    check_database()
    if settings.REDIS_URL:
        check_redis()
    if settings.MEDIA_S3_BUCKET:
        demand(health.storage)
    demand(health.weights)


def check_folder(folder: Path, setting: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadSetting(
            f"The folder {folder} ({setting}) cannot be written ({error.strerror}): "
            "give it to this user or choose another."
        ) from error


def check_database() -> None:
    """Connect once, outside the pool, which would go on trying for half a minute."""
    values = {**connection.settings_dict, "OPTIONS": {**connection.settings_dict["OPTIONS"]}}
    if values["OPTIONS"].pop("pool", None):
        values["OPTIONS"]["connect_timeout"] = ANSWER_SECONDS
    probe = load_backend(values["ENGINE"]).DatabaseWrapper(values, "default")
    try:
        probe.ensure_connection()
    except DatabaseError as error:
        what = "DATABASE_URL" if connection.vendor == "postgresql" else f"the file {values['NAME']}"
        raise BadSetting(
            f"The database does not answer ({health.first_line(error)}): check {what}."
        ) from error
    finally:
        with contextlib.suppress(DatabaseError):
            probe.close()


def make_database() -> None:
    """Make the database that DATABASE_URL names if the server has none of that name."""
    if connection.vendor != "postgresql":
        return
    from psycopg import sql

    values = {**connection.settings_dict, "NAME": "postgres"}
    values["OPTIONS"] = {key: value for key, value in values["OPTIONS"].items() if key != "pool"}
    server = load_backend(values["ENGINE"]).DatabaseWrapper(values, "server")
    name = connection.settings_dict["NAME"]
    try:
        with server.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except DatabaseError as error:
        raise BadSetting(
            f"The database {name} cannot be made ({health.first_line(error)}): check DATABASE_URL."
        ) from error
    finally:
        server.close()


def check_redis() -> None:
    import redis

    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=ANSWER_SECONDS) as client:
            client.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        raise BadSetting(f"Redis does not answer ({health.first_line(error)}): check REDIS_URL.") from error


def demand(probe: Callable[[], str]) -> None:
    """Ask one of the probes that /readyz asks too."""
    try:
        probe()
    except health.Unfit as unfit:
        raise BadSetting(str(unfit)) from unfit


def check_port(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BadSetting(
            f"HOST is {host!r}, which is no address of this machine ({error.strerror})."
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise BadSetting(cannot_listen(host, port, error.strerror or str(error))) from error


def cannot_listen(host: str, port: int, reason: str) -> str:
    return f"Port {port} on {host} cannot be used ({reason}): stop what uses it, or choose another with PORT."


def prepare() -> None:
    """Bring the database and the static files up to date. Quick when they are."""
    call_command("migrate", interactive=False, verbosity=0)
    _collect_static_files()


def _collect_static_files() -> None:
    """Collecting compresses every file, which takes long: it is skipped while the sources are the same."""
    if static_files_are_current():
        return
    now = _fingerprint()
    call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=UNUSED_STATIC_FILES)
    _stamp().write_text(now)


def static_files_are_current() -> bool:
    """They were collected by `prepare`, and their sources have not changed since."""
    return _stamp().exists() and _stamp().read_text() == _fingerprint()


def _stamp() -> Path:
    return Path(settings.STATIC_ROOT) / "sources.sha256"


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for line in sorted(_static_sources()):
        digest.update(line.encode())
    return digest.hexdigest()


def _static_sources() -> Iterator[str]:
    for finder in get_finders():
        for path, storage in finder.list(UNUSED_STATIC_FILES):
            status = Path(storage.path(path)).stat()
            yield f"{path} {status.st_size} {status.st_mtime_ns}\n"
