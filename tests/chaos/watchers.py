"""Open pages, as far as the server can tell: sockets that connect again as static/js/jobs.js does."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from bench.websocket import Closed
from tests.chaos.ledger import OVER
from tests.chaos.site import Member

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 2.0


class Watcher:
    """One open page: what it knows of its member's jobs, and when it heard of it (time.time())."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.jobs: dict[str, dict[str, Any]] = {}
        self.snapshot_at = 0.0
        self.delays: list[float] = []
        """Seconds from the end of a job, as its row says, to its arrival here."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()

    def states(self) -> dict[str, str]:
        return {pk: job["state"] for pk, job in list(self.jobs.items())}

    def _run(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while not self._over.is_set():
            try:
                with self.member.watch(timeout_seconds=600) as socket:
                    while not self._over.is_set():
                        message = socket.receive()
                        if isinstance(message, dict):
                            self._hear(message, time.time())
                            delay = FIRST_DELAY_SECONDS
            except (OSError, Closed):
                self._over.wait(delay * random.uniform(0.5, 1))
                delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    def _hear(self, message: dict[str, Any], at: float) -> None:
        if message["type"] == "snapshot":
            self.jobs = {job["id"]: job for job in message["jobs"]}
            self.snapshot_at = at
        elif message["type"] == "job":
            job = message["job"]
            held = self.jobs.get(job["id"])
            if held is not None and held["sequence"] >= job["sequence"]:
                return
            self.jobs[job["id"]] = job
            if job["state"] in OVER:
                self.delays.append(at - datetime.fromisoformat(job["finished_at"]).timestamp())


class Watchers:
    """`with Watchers(people, 200) as pages:` so many open pages, shared out among the people."""

    def __init__(self, people: Sequence[Member], count: int) -> None:
        self._people, self._count = people, count
        self.pages: list[Watcher] = []

    def __enter__(self) -> Self:
        self.pages = [Watcher(self._people[number % len(self._people)]) for number in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for page in self.pages:
            page.close()

    def connected_since(self, moment: float) -> int:
        return sum(page.snapshot_at > moment for page in self.pages)
