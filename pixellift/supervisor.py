"""Runs several processes on one machine as one: their output with their names in front, what dies is started again.

Every process says a line when it is ready. SIGTERM and Ctrl-C stop all of them in order; SIGHUP replaces one after the
other: first the new one until it is ready, then the old one is asked to go, so that somebody is always there.
"""

from __future__ import annotations

import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

READY_SECONDS = 240.0
STOP_SECONDS = 25.0
LOOK_EVERY_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""Whoever lived for so long starts again at once; the others after pauses that grow."""

Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Part:
    """A kind of process: what to run, and the line that begins with `ready` when it is there."""

    name: str
    command: Sequence[str]
    ready: str
    settings: Mapping[str, str] = field(default_factory=dict)


class Process:
    """One life of a part."""

    def __init__(self, part: Part, environment: Mapping[str, str], sockets: Sequence[int], say: Say) -> None:
        self.part = part
        self.is_ready = threading.Event()
        self.started = time.monotonic()
        self._say = say
        self._process = subprocess.Popen(  # noqa: S603  (our own commands)
            part.command,
            env={**environment, **part.settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=sockets,
            start_new_session=True,  # a Ctrl-C of the terminal reaches the supervisor alone
        )
        self._reader = threading.Thread(target=self._read, name=part.name, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._say(self.part.name, line.rstrip("\n"))
            if line.startswith(self.part.ready):
                self.is_ready.set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How it ended; None while it lives."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        if self.status is None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Until it has ended; what has not by then is killed."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._say(self.part.name, f"does not stop within {seconds:.0f} s and is killed.")
            self._process.kill()
            self._process.wait()
        self._reader.join(1)


@dataclass
class _Place:
    """Where one process of a part is to be."""

    part: Part
    process: Process | None = None
    pause: float = FIRST_PAUSE_SECONDS
    start_at: float = 0.0


class Supervisor:
    def __init__(
        self, parts: Sequence[Part], environment: Mapping[str, str], sockets: Sequence[int], say: Say
    ) -> None:
        self._places = [_Place(part) for part in parts]
        self._environment, self._sockets, self._say = environment, sockets, say
        self._asked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping = False

    @property
    def pids(self) -> dict[str, int]:
        return {place.part.name: place.process.pid for place in self._places if place.process}

    def run(self, on_ready: Callable[[], None]) -> None:
        """Until SIGINT or SIGTERM. `on_ready` is called when all parts are there for the first time."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._hear)
        told = False
        try:
            while not self._stopping:
                self._tend()
                if not told and all(
                    place.process and place.process.is_ready.is_set() for place in self._places
                ):
                    told = True
                    on_ready()
                self._obey()
        finally:
            self._stop_all()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked.put(number)

    def _obey(self, seconds: float = LOOK_EVERY_SECONDS) -> None:
        """What a signal asked for meanwhile."""
        try:
            number = self._asked.get(timeout=seconds)
        except queue.Empty:
            return
        if number == signal.SIGHUP:
            self._replace_all()
        else:
            self._stopping = True

    def _tend(self) -> None:
        """Start what should be there and is not."""
        now = time.monotonic()
        for place in self._places:
            process = place.process
            if process is not None and process.status is not None:
                self._bury(place, process, now)
            if place.process is None and now >= place.start_at:
                place.process = self._start(place.part)

    def _bury(self, place: _Place, process: Process, now: float) -> None:
        if now - process.started > STEADY_SECONDS:
            place.pause = FIRST_PAUSE_SECONDS
        self._say(
            place.part.name, f"has ended with status {process.status}; starts again in {place.pause:.0f} s."
        )
        place.process, place.start_at = None, now + place.pause
        place.pause = min(place.pause * 2, LONGEST_PAUSE_SECONDS)

    def _start(self, part: Part) -> Process:
        return Process(part, self._environment, self._sockets, self._say)

    def _replace_all(self) -> None:
        for place in self._places:
            if self._stopping:
                return
            new = self._start(place.part)
            if not self._became_ready(new):
                self._say(place.part.name, "its successor does not become ready: it stays as it is.")
                new.ask_to_stop()
                new.wait(STOP_SECONDS)
                return
            old, place.process = place.process, new
            if old is not None:
                old.ask_to_stop()
                old.wait(STOP_SECONDS)
        if not self._stopping:
            self._say("all", "Every process has been replaced.")

    def _became_ready(self, process: Process) -> bool:
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until and process.status is None and not self._stopping:
            if process.is_ready.wait(LOOK_EVERY_SECONDS):
                return True
            self._tend_others()
        return False

    def _tend_others(self) -> None:
        """While somebody is waited for: a wish to stop, and what dies, cannot wait."""
        self._tend()
        try:
            number = self._asked.get_nowait()
        except queue.Empty:
            return
        if number != signal.SIGHUP:
            self._stopping = True

    def _stop_all(self) -> None:
        living = [place.process for place in self._places if place.process]
        for process in living:
            process.ask_to_stop()
        until = time.monotonic() + STOP_SECONDS
        for process in living:
            process.wait(max(0.1, until - time.monotonic()))
