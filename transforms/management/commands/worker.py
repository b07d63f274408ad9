"""`manage.py worker`: runs jobs, one at a time, until SIGINT or SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from transforms import runtime


class Command(BaseCommand):
    help = "Runs jobs, one at a time, until it is stopped. As many as you like, on any machine that reaches the services."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.REDIS_URL:
            raise CommandError("Jobs are run by the web process itself here: set REDIS_URL to run workers.")
        stop = threading.Event()

        def ask_to_stop(number: int, frame: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, ask_to_stop)
        runtime.run(stop, lambda: self._say("The worker works (Ctrl-C stops it)."))
        self._say("The worker has stopped.")
        logging.shutdown()
        os._exit(0)  # a thread inside torch, whose job was given back, would hold the process

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
