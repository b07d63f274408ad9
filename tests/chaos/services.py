"""A PostgreSQL cluster and a Redis server of the tests' own, which may be stopped, killed and frozen."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import redis

START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(
    holds: Callable[[], object],
    seconds: float,
    what: str,
    explain: Callable[[], str] = lambda: "",
    *,
    every_seconds: float = 0.05,
) -> float:
    """Poll until `holds()` is true. Gives how long that took; AssertionError, naming `what`, after `seconds`."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > seconds:
            raise AssertionError(f"After {seconds:.0f} s still not: {what}. {explain()}")
        time.sleep(every_seconds)
    return time.monotonic() - begun


class Postgres:
    """A cluster in `folder`. It may not run as root: then the user postgres runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._as: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        folder.mkdir(parents=True)
        if self._as:
            shutil.chown(folder, **self._as)
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "--no-sync")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -h 127.0.0.1 -c max_connections=200"
        self._control("start", "-l", str(self.folder / "log"), "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends the sessions in order; `immediate` is a crash, from which it recovers when it starts."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self._control("stop", "-m", mode)

    def create(self, name: str, template: str = "template1") -> str:
        """A new database; its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-t", str(START_SECONDS), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_postgres_folder() / program), *arguments]
        done = subprocess.run(
            command,
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server that pg_ctl leaves behind keeps it open
            stderr=subprocess.DEVNULL,
            timeout=2 * START_SECONDS,
            check=False,
            **self._as,
        )
        if done.returncode:
            log = self.folder / "log"
            raise AssertionError(f"{' '.join(command)} failed.\n{log.read_text() if log.exists() else ''}")


def _postgres_folder() -> Path:
    """Debian keeps the server's programs out of PATH."""
    on_path = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if not on_path and not folders:
        raise AssertionError("PostgreSQL's programs (initdb, pg_ctl) are missing: install postgresql.")
    return Path(on_path).parent if on_path else folders[-1]


class Redis:
    """A Redis server that keeps nothing on disk: when it ends, everything in it is gone."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            ["redis-server", *options], cwd="/", stdout=subprocess.DEVNULL, start_new_session=True
        )
        wait_until(self.answers, START_SECONDS, "Redis answers")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing: a machine that hangs, or a network that swallows."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def url(self, number: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{number}"

    def client(self, number: int = 0) -> redis.Redis:
        return redis.Redis.from_url(self.url(number), socket_connect_timeout=2, socket_timeout=2)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
