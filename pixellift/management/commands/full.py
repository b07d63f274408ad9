"""`manage.py full`: full mode on one machine, as separate processes under one supervisor. What `make full` runs."""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from pixellift import preflight
from pixellift.supervisor import Part, Supervisor

BACKLOG = 512
COLORS = (36, 32, 33, 35, 34, 31)


class Command(BaseCommand):
    help = (
        "Starts web processes, workers and preview workers on this machine, and keeps them running until Ctrl-C. "
        "They share one port. SIGHUP replaces them one by one, and nobody notices."
    )
    requires_system_checks = []  # the preflight says the same in one sentence

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.HOST, help="address to listen on (HOST)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to listen on (PORT)")
        parser.add_argument("--web", type=int, default=2, help="web processes")
        parser.add_argument("--workers", type=int, default=2, help="processes that run jobs")
        parser.add_argument("--previewers", type=int, default=1, help="processes that draw previews")

    def handle(self, *args: Any, host: str, port: int, **counts: Any) -> None:
        if not settings.REDIS_URL:
            raise CommandError("Several processes need a REDIS_URL: for example redis://localhost:6379/0.")
        preflight.check_port(host, port)
        preflight.make_database()
        preflight.check_settings()
        preflight.prepare()
        connections.close_all()
        with self._listen(host, port) as listening:
            port = listening.getsockname()[1]
            parts = self._parts(host, port, listening.fileno(), counts)
            cores = max(1, (os.cpu_count() or 1) // max(1, counts["workers"] + counts["previewers"]))
            environment = {"OMP_NUM_THREADS": str(cores), **os.environ, "PYTHONUNBUFFERED": "1"}
            self._lock = threading.Lock()
            self._colors = {part.name: COLORS[index % len(COLORS)] for index, part in enumerate(parts)}
            Supervisor(parts, environment, [listening.fileno()], self._say).run(
                lambda: self._greet(host, port, counts)
            )
        self.stdout.write("PixelLift has stopped.")

    def _listen(self, host: str, port: int) -> socket.socket:
        """The socket that all web processes share. It stays open while they come and go."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise CommandError(preflight.cannot_listen(host, port, error.strerror or str(error))) from error
        listening.setblocking(False)
        listening.set_inheritable(True)
        return listening

    def _parts(self, host: str, port: int, handle: int, counts: dict[str, int]) -> list[Part]:
        manage = (sys.executable, str(settings.BASE_DIR / "manage.py"))
        web = (*manage, "serve", "--no-prepare", "--fd", str(handle), "--host", host, "--port", str(port))
        return [
            *(Part(f"web-{n + 1}", web, "PixelLift is at") for n in range(counts["web"])),
            *(
                Part(f"worker-{n + 1}", (*manage, "worker"), "The worker works")
                for n in range(counts["workers"])
            ),
            *(
                Part(f"preview-{n + 1}", (*manage, "previewworker"), "The preview worker draws")
                for n in range(counts["previewers"])
            ),
        ]

    def _greet(self, host: str, port: int, counts: dict[str, int]) -> None:
        shown = f"[{host}]" if ":" in host else host
        self._write(
            f"PixelLift is at http://{shown}:{port}/ with {counts['web']} web processes, {counts['workers']} workers "
            f"and {counts['previewers']} preview workers (Ctrl-C stops them, SIGHUP to {os.getpid()} replaces them)."
        )

    def _say(self, name: str, line: str) -> None:
        label = f"{name:>10} | "
        if self.stdout.isatty():
            label = f"\x1b[{self._colors.get(name, 37)}m{label}\x1b[0m"
        self._write(label + line)

    def _write(self, line: str) -> None:
        with self._lock:
            self.stdout.write(line)
            self.stdout.flush()
