"""`manage.py serve`: check the settings, bring the data up to date, and serve until Ctrl-C."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from pixellift import preflight


class Command(BaseCommand):
    help = "Serves pages, sockets and (unless REDIS_URL names a broker) jobs, in one process, until Ctrl-C."
    requires_system_checks = []  # the preflight says the same in one sentence

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.HOST, help="address to listen on (HOST)")
        parser.add_argument(
            "--port", type=int, default=settings.PORT, help="port to listen on, 0 for any (PORT)"
        )
        parser.add_argument(
            "--fd",
            type=int,
            help="the number of a listening socket that this process was handed, in place of host and port",
        )
        parser.add_argument(
            "--no-prepare",
            action="store_true",
            help="do not migrate and collect static files: that was done before",
        )

    def handle(
        self, *args: Any, host: str, port: int, fd: int | None, no_prepare: bool, **options: Any
    ) -> None:
        if fd is None:
            preflight.check_port(host, port)
        preflight.check_settings()
        if not no_prepare:
            preflight.prepare()
        self._serve(host, port, fd)

    def _serve(self, host: str, port: int, fd: int | None) -> None:
        from pixellift import server
        from pixellift.asgi import application  # starts the embedded worker

        failure = server.serve(
            application,
            host=host,
            port=port,
            max_body_bytes=settings.REQUEST_MAX_BYTES,
            behind_proxy=settings.BEHIND_PROXY,
            on_listening=self._greet,
            listening_socket=fd,
        )
        if failure:
            raise CommandError(preflight.cannot_listen(host, port, failure))
        connections.close_all()
        self.stdout.write("PixelLift has stopped.")
        self.stdout.flush()
        logging.shutdown()
        # The worker has released its jobs by now. What may remain is a thread inside torch (loading, or drawing a
        # preview for nobody), and Python's own way out aborts the process when it meets one.
        os._exit(0)

    def _greet(self, host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        self.stdout.write(f"PixelLift is at http://{shown}:{port}/ (Ctrl-C stops it).")
        python = Path(sys.executable)
        if python.is_relative_to(settings.BASE_DIR):
            python = python.relative_to(settings.BASE_DIR)
        self.stdout.write(
            f"To make a moderator account: DATA_DIR={settings.DATA_DIR} {python} manage.py createsuperuser"
        )
        self.stdout.flush()
