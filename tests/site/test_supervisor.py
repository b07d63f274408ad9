"""Several processes as one: what dies comes back, what is replaced is never missed, what is stopped ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server import ROOT

WAIT_SECONDS = 60
# Two parts: one that lives until it is asked to go, and one that says what MODE tells it.
SCRIPT = """
import os, sys
from pixellift.supervisor import Part, Supervisor
steady = "import signal, time; print('ready'); signal.signal(15, lambda *a: (print('bye'), exit(0))); time.sleep(600)"
other = os.environ["OTHER"]
parts = [Part("one", [sys.executable, "-uc", steady], "ready"), Part("two", [sys.executable, "-uc", other], "ready")]
supervisor = Supervisor(parts, dict(os.environ), [], lambda name, line: print(f"{name}: {line}", flush=True))
supervisor.run(lambda: print("all ready", supervisor.pids, flush=True))
print("ended", flush=True)
"""
STEADY = "import time; print('ready'); time.sleep(600)"


class Running:
    def __init__(self, other: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            cwd=ROOT,
            env={**os.environ, "OTHER": other},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def wait_for(self, pattern: str, count: int = 1) -> str:
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            found = [line for line in self.lines if re.search(pattern, line)]
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} did not come:\n" + "\n".join(self.lines))

    def pid_of(self, name: str) -> int:
        found = re.search(rf"'{name}': (\d+)", self.wait_for("all ready"))
        assert found is not None
        return int(found.group(1))


Run = Callable[[str], Running]


@pytest.fixture
def run() -> Iterator[Run]:
    started: list[Running] = []

    def start(other: str = STEADY) -> Running:
        started.append(Running(other))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
        running.process.wait(WAIT_SECONDS)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_is_killed_starts_again_and_the_others_stay(run: Run) -> None:
    running = run(STEADY)
    first, second = running.pid_of("one"), running.pid_of("two")
    os.kill(first, signal.SIGKILL)
    running.wait_for("one: has ended with status -9; starts again")
    running.wait_for("one: ready", 2)
    assert is_alive(second)


def test_what_dies_again_and_again_is_started_after_longer_and_longer_pauses(run: Run) -> None:
    running = run("print('ready'); exit(3)")
    running.wait_for(r"two: has ended with status 3; starts again in 1 s\.")
    running.wait_for(r"two: has ended with status 3; starts again in 2 s\.")


def test_a_wish_to_stop_reaches_everybody(run: Run) -> None:
    running = run(STEADY)
    pids = [running.pid_of("one"), running.pid_of("two")]
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(WAIT_SECONDS) == 0
    running.wait_for("^ended")
    assert "one: bye" in running.lines  # it had time to say so
    assert [is_alive(pid) for pid in pids] == [False, False]


def test_a_successor_is_ready_before_its_predecessor_is_asked_to_go(run: Run) -> None:
    running = run(STEADY)
    old = running.pid_of("one")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("Every process has been replaced")
    heard = [line for line in running.lines if line.startswith("one: ")]
    assert heard == ["one: ready", "one: ready", "one: bye"]
    assert not is_alive(old)


def test_a_successor_that_does_not_work_changes_nothing(run: Run, tmp_path: Path) -> None:
    flag = str(tmp_path / "was-started")
    once = f"import os\nif os.path.exists({flag!r}): exit(1)\nopen({flag!r}, 'w').close()\n{STEADY}"
    running = run(once)
    second = running.pid_of("two")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("two: its successor does not become ready: it stays as it is")
    assert is_alive(second)
