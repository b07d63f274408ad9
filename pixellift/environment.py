"""Readers for the environment. Every knob an operator can turn is named in `settings.py` through these."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

MEBIBYTE = 1024 * 1024
SECRET_LENGTH = 50
SECRET_PATIENCE_SECONDS = 2.0


class BadSetting(Exception):
    """A setting that cannot work. The message is one sentence that says what to mend."""


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def flag(name: str, default: bool = False) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise BadSetting(f"{name} is {value!r}, but it must be 1 or 0.")


def whole(name: str, default: int, *, minimum: int = 0, maximum: int | None = None) -> int:
    value = text(name)
    if not value:
        return default
    try:
        number = int(value)
    except ValueError:
        raise BadSetting(f"{name} is {value!r}, but it must be a whole number.") from None
    if number < minimum:
        raise BadSetting(f"{name} is {number}, but it must be at least {minimum}.")
    if maximum is not None and number > maximum:
        raise BadSetting(f"{name} is {number}, but it must be at most {maximum}.")
    return number


def words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def choice(name: str, default: str, allowed: Iterable[str]) -> str:
    value = text(name, default)
    if value not in allowed:
        raise BadSetting(f"{name} is {value!r}, but it must be one of {', '.join(allowed)}.")
    return value


def token(name: str) -> str:
    """A secret that programs send in a header; none by default."""
    value = text(name)
    if value and not re.fullmatch(r"[!-~]{16,}", value):
        raise BadSetting(f"{name} must have at least 16 characters, all of them plain ones without spaces.")
    return value


def device(name: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:1`. Whether that device is there is found out when the engine is first used."""
    value = text(name, "auto")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise BadSetting(
            f"{name} is {value!r}, but it must be auto, cpu, cuda or cuda with a number, such as cuda:1."
        )
    return value


def hosts(name: str, listening: str) -> list[str]:
    """The host names that requests may ask for: what `name` lists, or this machine's own.

    `listening`: the address that the server listens on. On 0.0.0.0 or :: that is every address of this machine, so
    its name and the address that it shows to its network are understood too. Anything else must be listed.
    """
    given = words(name)
    for host in given:
        if "/" in host or (":" in host and not host.startswith("[")):
            raise BadSetting(
                f"{name} has {host!r}, but it lists names only, without http:// and without a port."
            )
    if given:
        return given
    own = ["localhost", "127.0.0.1", "[::1]"]
    extra = _addresses_of_this_machine() if listening in {"0.0.0.0", "::"} else [_in_a_url(listening)]  # noqa: S104  (compared, not listened on)
    return [*own, *(host for host in extra if host not in own)]


def _addresses_of_this_machine() -> list[str]:
    names = [socket.gethostname().lower()]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it asks which address would be used to leave
        names.append(probe.getsockname()[0])
    return names


def _in_a_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def signed_media_origin() -> list[str]:
    """Where browsers are sent for pictures when MEDIA_DELIVERY is `signed`: pages must be allowed to show them."""
    bucket = text("MEDIA_S3_BUCKET")
    if text("MEDIA_DELIVERY") != "signed" or not bucket:
        return []
    endpoint = text("MEDIA_S3_ENDPOINT")
    if endpoint:
        parts = urlsplit(endpoint)
        return [f"{parts.scheme}://{parts.netloc}"]
    region = text("MEDIA_S3_REGION")
    return [
        f"https://{bucket}.s3.amazonaws.com",
        *([f"https://{bucket}.s3.{region}.amazonaws.com"] if region else []),
    ]


def redis(name: str) -> str:
    """A Redis address, with time limits for whatever speaks to it: a Redis that is away or hangs must hold nobody."""
    url = text(name)
    if not url:
        return ""
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise BadSetting(
            f"{name} must begin with redis://, rediss:// or unix://: for example redis://localhost:6379/0."
        )
    limits = {"socket_connect_timeout": 2, "socket_timeout": 3, "health_check_interval": 30}
    more = [f"{option}={value}" for option, value in limits.items() if f"{option}=" not in url]
    return "&".join([f"{url}{'&' if '?' in url else '?'}{more[0]}", *more[1:]]) if more else url


def secret_key(folder: Path) -> str:
    """SECRET_KEY from the environment, or from `folder`, where it is made once and kept readable by its owner only."""
    given = text("SECRET_KEY")
    if given:
        return given
    path = folder / "secret_key"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return _kept_secret(path)
        with os.fdopen(handle, "w") as stream:
            key = secrets.token_urlsafe(64)
            stream.write(key)
        return key
    except OSError as error:
        raise BadSetting(
            f"The folder {folder} (DATA_DIR) cannot be written ({error.strerror}): give it to this user or choose another."
        ) from error


def _kept_secret(path: Path) -> str:
    """Another process may be writing it just now: several that start together are given the same key."""
    deadline = time.monotonic() + SECRET_PATIENCE_SECONDS
    while len(key := path.read_text().strip()) < SECRET_LENGTH and time.monotonic() < deadline:
        time.sleep(0.02)
    if len(key) < SECRET_LENGTH:
        raise BadSetting(
            f"The file {path} does not hold a usable secret key: delete it, and a new one is made."
        )
    return key


@dataclass(frozen=True)
class Mail:
    """How mails leave: into the log, or through a server, encrypted from the start (`tls`) or later (`start_tls`)."""

    backend: str
    host: str = "localhost"
    port: int = 25
    user: str = ""
    password: str = ""
    start_tls: bool = False
    tls: bool = False


def mail(name: str) -> Mail:
    """A mail server as smtp[+tls|+ssl]://user:password@host:port; without one, mails go into the log."""
    url = text(name)
    if not url:
        return Mail("django.core.mail.backends.console.EmailBackend")
    wrong = BadSetting(
        f"{name} must look like smtp+tls://user:password@mail.example.org:587 (or smtp://, or smtp+ssl://)."
    )
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in {"smtp", "smtp+tls", "smtp+ssl"} or not parts.hostname:
        raise wrong
    return Mail(
        "django.core.mail.backends.smtp.EmailBackend",
        parts.hostname,
        port or {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}[parts.scheme],
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        start_tls=parts.scheme == "smtp+tls",
        tls=parts.scheme == "smtp+ssl",
    )
