"""`manage.py doctor`: looks at everything that PixelLift needs, and says in sentences what to mend.

All checks run at a time, each in a thread of its own, and none is waited for beyond its time: what hangs is a finding too.
"""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

import django
import dramatiq
from channels.layers import get_channel_layer
from django.conf import settings
from django.core import checks
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.mail import get_connection
from django.db import connection
from django.db.utils import Error as DatabaseError

import pixellift
from pixellift import health, preflight
from pixellift.environment import MEBIBYTE
from transforms import presence
from transforms.broker import EmbeddedBroker
from transforms.engine import EngineError, describe_device, engine
from transforms.models import Job

ANSWER_SECONDS = 20.0
DEVICE_SECONDS = 120.0  # loads torch and draws a picture
LITTLE_ROOM_BYTES = 1024 * MEBIBYTE
NO_ROOM_BYTES = 100 * MEBIBYTE
SKEW_SECONDS = 2.0
OLDEST_POSTGRES = 14
QUEUE = "jobs"


class Level(StrEnum):
    """How bad it is. A site runs with notes, and not (or not safely) with what is wrong."""

    OK = "OK"
    NOTE = "!"
    WRONG = "!!"


@dataclass(frozen=True)
class Finding:
    level: Level
    name: str
    text: str
    hung: bool = False
    """The check goes on in its thread, and may do so for ever."""


Probe = Callable[[], "Iterable[tuple[Level, str]]"]


@dataclass
class Check:
    name: str
    probe: Probe
    seconds: float = ANSWER_SECONDS
    found: list[Finding] = field(default_factory=list)

    def run(self) -> None:
        try:
            for level, text in self.probe():
                self._find(level, text)
        except health.Unfit as unfit:
            self._find(Level.WRONG, str(unfit))
        except Exception as error:
            self._find(
                Level.WRONG, f"This check failed: {type(error).__name__} ({health.first_line(error)})."
            )
        finally:
            connection.close()

    def _find(self, level: Level, text: str) -> None:
        self.found.append(Finding(level, self.name, text))


def examine(chosen: Iterable[Check] | None = None) -> Iterator[Finding]:
    """All findings, in the order of the checks."""
    running = []
    began = time.monotonic()
    for check in all_checks() if chosen is None else chosen:
        thread = threading.Thread(target=check.run, name=f"check {check.name}", daemon=True)
        thread.start()
        running.append((check, thread))
    for check, thread in running:
        thread.join(max(0.0, began + check.seconds - time.monotonic()))
        if thread.is_alive():
            text = f"There was no answer within {check.seconds:.0f} seconds."
            yield from list(check.found)
            yield Finding(Level.WRONG, check.name, text, hung=True)
        else:
            yield from check.found


def all_checks() -> list[Check]:
    found = [
        Check("programs", programs),
        Check("settings", contradictions),
        Check("database", database),
        Check("clock", clock),
        Check("pictures", pictures),
        Check("data folder", data_folder),
        Check("static files", static_files),
        Check("mail", mail),
        Check("models", models),
        Check("device", device, DEVICE_SECONDS),
        Check("workers", workers),
        Check("queue", queue),
    ]
    if settings.REDIS_URL:
        found += [Check("redis", redis_server), Check("cache", cache), Check("channel layer", channel_layer)]
    return found


def programs() -> Iterator[tuple[Level, str]]:
    yield (
        Level.OK,
        f"PixelLift {pixellift.__version__}, Python {platform.python_version()}, Django {django.__version__}, "
        f"torch {metadata.version('torch')}.",
    )


def contradictions() -> Iterator[tuple[Level, str]]:
    """What Django's checks and our own say of the settings."""
    messages = [
        message for message in checks.run_checks(include_deployment_checks=True) if not message.is_silenced()
    ]
    for message in messages:
        level = Level.WRONG if message.level >= checks.ERROR else Level.NOTE
        hint = f" {message.hint}" if message.hint else ""
        yield level, f"{message.id}: {message.msg.strip()}{hint}"
    if settings.REDIS_URL and not os.environ.get("SECRET_KEY", "").strip():
        yield (
            Level.NOTE,
            f"The secret key lies in {settings.DATA_DIR / 'secret_key'}: with several machines set the same SECRET_KEY on "
            "all of them, or members are signed out whenever they meet another one.",
        )
    elif not messages:
        yield Level.OK, "The settings fit together."


def database() -> Iterator[tuple[Level, str]]:
    yield Level.OK, health.database()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SHOW server_version")
            version = str(cursor.fetchone()[0])
            if int(version.partition(".")[0]) < OLDEST_POSTGRES:
                yield (
                    Level.WRONG,
                    f"PostgreSQL {version} is too old: at least {OLDEST_POSTGRES} is needed.",
                )
            else:
                yield Level.OK, f"PostgreSQL {version}."
            return
        cursor.execute("PRAGMA journal_mode")
        mode = cursor.fetchone()[0]
        if mode != "wal":
            yield (
                Level.WRONG,
                f"The SQLite file is in {mode} mode, not WAL: pages wait for jobs. Is it on a network drive? Put it on a "
                "local disk.",
            )
        else:
            yield Level.OK, "SQLite is in WAL mode."
    yield _room(Path(connection.settings_dict["NAME"]).parent)


def clock() -> Iterator[tuple[Level, str]]:
    """Leases are compared with this machine's clock, so all machines must agree; the database stands for the others."""
    if connection.vendor != "postgresql":
        yield Level.OK, "The database lies on this machine, and has its clock."
        return
    before = time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        there = cursor.fetchone()[0].timestamp()
    after = time.time()
    skew = there - (before + after) / 2
    text = f"This machine's clock and the database's are {abs(skew):.1f} seconds apart"
    if abs(skew) > SKEW_SECONDS + (after - before):
        yield Level.WRONG, f"{text}: run a time service (chrony, systemd-timesyncd) on both."
    else:
        yield Level.OK, f"{text}."


def pictures() -> Iterator[tuple[Level, str]]:
    """A probe is written, read and deleted."""
    where = f"the bucket {settings.MEDIA_S3_BUCKET}" if settings.MEDIA_S3_BUCKET else str(settings.MEDIA_ROOT)
    name, content = f"probes/{secrets.token_hex(8)}", secrets.token_bytes(1000)
    try:
        kept = default_storage.save(name, ContentFile(content))
        try:
            with default_storage.open(kept, "rb") as stream:
                read = stream.read()
        finally:
            default_storage.delete(kept)
    except Exception as error:
        raise health.Unfit(f"Pictures cannot be kept in {where}: {health.first_line(error)}.") from error
    if read != content:
        raise health.Unfit(f"What is written into {where} comes back changed: check the storage.")
    yield Level.OK, f"Pictures can be written, read and deleted in {where}."
    if not settings.MEDIA_S3_BUCKET:
        yield _room(settings.MEDIA_ROOT)


def data_folder() -> Iterator[tuple[Level, str]]:
    key = settings.DATA_DIR / "secret_key"
    if key.is_file() and key.stat().st_mode & 0o077:
        yield Level.WRONG, f"Others can read {key}, and sign in as anybody with it: chmod 600 it."
    yield _room(settings.DATA_DIR)


def _room(folder: Path) -> tuple[Level, str]:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free // MEBIBYTE:,} MiB are free in {folder}"
    if free < NO_ROOM_BYTES:
        return Level.WRONG, f"Only {text}: make room at once."
    if free < LITTLE_ROOM_BYTES:
        return Level.NOTE, f"Only {text}: make room soon."
    return Level.OK, f"{text}."


def static_files() -> Iterator[tuple[Level, str]]:
    if settings.DEBUG or "Manifest" not in settings.STORAGES["staticfiles"]["BACKEND"]:
        yield Level.OK, "Styles and scripts are served from their sources."
    elif not (settings.STATIC_ROOT / "staticfiles.json").is_file():
        yield (
            Level.WRONG,
            f"Styles and scripts are not in {settings.STATIC_ROOT}: run `manage.py serve` once, or "
            "`manage.py collectstatic`.",
        )
    elif not preflight.static_files_are_current():
        yield (
            Level.NOTE,
            "Styles and scripts may be of another version: `manage.py serve` (without --no-prepare) collects them anew.",
        )
    else:
        yield Level.OK, "Styles and scripts are collected and up to date."


def mail() -> Iterator[tuple[Level, str]]:
    if "console" in settings.EMAIL_BACKEND:
        yield (
            Level.NOTE,
            "Mails are written into the log, so nobody can reset a password alone: set EMAIL_URL.",
        )
        return
    server = get_connection()
    try:
        server.open()
        server.close()
    except Exception as error:
        raise health.Unfit(
            f"The mail server does not take us ({health.first_line(error)}): check EMAIL_URL."
        ) from error
    yield Level.OK, f"The mail server answers ({settings.EMAIL_BACKEND.rpartition('.')[2]})."


def models() -> Iterator[tuple[Level, str]]:
    """Headers of all weights' files; a picture is drawn by `device`."""
    yield Level.OK, health.weights()
    for problem in engine().problems():
        yield Level.WRONG, problem
    for info in engine().generators():
        if not info.has_components:
            yield (
                Level.NOTE,
                f"{info.label} has no directions, so it has no sliders: compute them in the admin.",
            )


def device() -> Iterator[tuple[Level, str]]:
    try:
        yield Level.OK, describe_device()
        began = time.perf_counter()
        engine().warm()
    except EngineError as error:
        raise health.Unfit(str(error)) from error
    yield (
        Level.OK,
        f"A picture was drawn, {time.perf_counter() - began:.1f} seconds after the first network was asked for.",
    )


def workers() -> Iterator[tuple[Level, str]]:
    if not settings.REDIS_URL:
        yield (
            Level.OK,
            "Jobs and previews run inside the server: whether that runs, its page /readyz tells.",
        )
        return
    yield Level.OK, health.worker()
    for one in presence.alive(presence.JOBS):
        since = datetime.fromtimestamp(one.started_at, UTC)
        yield Level.OK, f"{one.name} does jobs since {since:%Y-%m-%d %H:%M} UTC."
    if settings.PREVIEW_LANE == "workers":
        yield Level.OK, health.previews()


def queue() -> Iterator[tuple[Level, str]]:
    try:
        waiting = Job.objects.active().count()
    except DatabaseError as error:
        raise health.Unfit("How much waits is not known: see database.") from error
    yield Level.OK, f"{waiting} jobs wait or run."
    broker: Any = dramatiq.get_broker()
    if isinstance(broker, EmbeddedBroker):
        return
    try:
        rings = broker.do_qsize(QUEUE)
    except Exception as error:
        raise health.Unfit(f"The broker does not answer ({health.first_line(error)}): see redis.") from error
    yield Level.OK, f"{rings} messages wait in the broker."
    if waiting and not presence.alive(presence.JOBS):
        yield Level.WRONG, "Jobs wait, and nobody does them: start workers (`manage.py worker`)."


def redis_server() -> Iterator[tuple[Level, str]]:
    import redis

    try:
        with redis.Redis.from_url(
            settings.REDIS_URL,
            socket_connect_timeout=preflight.ANSWER_SECONDS,
            socket_timeout=preflight.ANSWER_SECONDS,
            decode_responses=True,
        ) as client:
            told: Any = client.info()
    except (redis.RedisError, ValueError, OSError) as error:
        raise health.Unfit(f"Redis does not answer ({health.first_line(error)}): check REDIS_URL.") from error
    yield (
        Level.OK,
        f"Redis {told.get('redis_version', '(of unknown version)')}, {told.get('used_memory_human', '?')} in use.",
    )
    policy, most = told.get("maxmemory_policy", "noeviction"), told.get("maxmemory", 0)
    if policy != "noeviction":
        yield (
            Level.NOTE,
            f"Redis may throw away what it holds ({policy}), messages too: set maxmemory-policy to noeviction.",
        )
    if most and told.get("used_memory", 0) > 0.9 * most:
        yield Level.WRONG, "Redis is nearly full: raise maxmemory."
    if told.get("loading"):
        yield Level.WRONG, "Redis is still loading its data: wait for it."
    if told.get("rdb_last_bgsave_status") == "err" or told.get("aof_last_write_status") == "err":
        yield (
            Level.WRONG,
            "Redis cannot write to its disk, and will refuse to take anything: make room there.",
        )


def cache() -> Iterator[tuple[Level, str]]:
    yield Level.OK, health.shared_cache()


def channel_layer() -> Iterator[tuple[Level, str]]:
    """A message goes out to a group and comes back."""

    async def there_and_back() -> float:
        layer = get_channel_layer()
        began = time.perf_counter()
        channel = await layer.new_channel()
        group = f"doctor-{secrets.token_hex(8)}"
        await layer.group_add(group, channel)
        try:
            await layer.group_send(group, {"type": "doctor.probe", "number": 7})
            await asyncio.wait_for(layer.receive(channel), ANSWER_SECONDS / 2)
        finally:
            await layer.group_discard(group, channel)
        return time.perf_counter() - began

    try:
        seconds = asyncio.run(there_and_back())
    except TimeoutError:
        raise health.Unfit("A message to the channel layer did not come back: look at Redis' log.") from None
    except Exception as error:
        raise health.Unfit(
            f"The channel layer does not answer ({health.first_line(error)}): check REDIS_URL."
        ) from error
    yield Level.OK, f"A message went there and back in {seconds * 1000:.0f} ms."
