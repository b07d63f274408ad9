"""The real process that `make run` starts, for tests and measurements: own data, own port, stopped as Ctrl-C does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 240  # a first start may have to compress all static files
STOP_SECONDS = 30
OPERATORS_SETTINGS = {
    "DATABASE_URL",
    "REDIS_URL",
    "MEDIA_ROOT",
    "MEDIA_S3_BUCKET",
    "HTTPS",
    "DEBUG",
    "ALLOWED_HOSTS",
    "HOST",
    "LOG_LEVEL",
}


def environment(data: Path, **settings: str) -> dict[str, str]:
    """What the process sees: this machine's environment without an operator's settings, and with `settings`."""
    inherited = {name: value for name, value in os.environ.items() if name not in OPERATORS_SETTINGS}
    return {
        **inherited,
        "DATA_DIR": str(data),
        "PORT": "0",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
        **settings,
    }


def prepared_files() -> dict[str, str]:
    """Where tests/run has compressed all static files, so that not each server's first start does."""
    folder = os.environ.get("TEST_STATIC_ROOT")
    return {"STATIC_ROOT": folder} if folder else {}


def run_serve(data: Path, *, root: Path = ROOT, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py serve` to its end: for settings with which it must not start."""
    return subprocess.run(
        [sys.executable, "manage.py", "serve"],
        cwd=root,
        env=environment(data, **settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class SiteServer:
    """`with SiteServer(folder) as site: site.url`. May be started again with the same data after `stop`."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.settings = {**prepared_files(), **settings}
        self.url = ""
        self.lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def start(self) -> None:
        self._ready.clear()
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=ROOT,
            env=environment(self.data, **self.settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        if not self._ready.wait(START_SECONDS) or not self.url:
            self.kill()
            raise RuntimeError(f"The server did not start:\n{self.log}")

    def rest(self, patience_seconds: float = 60) -> None:
        """Wait until the engine, which a start loads in the background, is there: the process computes nothing more."""
        used, since = -1.0, time.monotonic()
        while time.monotonic() - since < patience_seconds:
            now = processor_seconds(self.pid)
            if 0 <= now - used < 0.1:
                return
            used = now
            time.sleep(1)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line)
            found = re.search(r"PixelLift is at (http://\S+?)/ ", line)
            if found:
                self.url = found.group(1)
                # The same address after a restart.
                self.settings.setdefault("PORT", self.url.rpartition(":")[2])
            elif self.url and "createsuperuser" in line:
                self._ready.set()
        self._ready.set()

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Ask the whole process group to stop, as a terminal's Ctrl-C does. Gives the exit status."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            os.killpg(process.pid, how)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """As bad luck would: no time to say good-bye."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)


def processor_seconds(pid: int) -> float:
    """How long a process has computed so far, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
