"""`manage.py previewworker`: draws the live previews that web processes ask for, until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from transforms import metrics
from transforms.engine import engine
from transforms.preview_worker import PreviewWorker


class Command(BaseCommand):
    help = "Draws live previews for web processes, which it hears over Redis. As many as you like, anywhere."

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PREVIEW_LANE != "workers":
            raise CommandError(
                "Previews are drawn by the web process itself here: set REDIS_URL (and leave PREVIEW_LANE alone)."
            )
        metrics.serve()
        engine().warm()
        asyncio.run(self._run())
        self.stdout.write("The preview worker has stopped.")
        self.stdout.flush()
        logging.shutdown()
        os._exit(0)  # a thread inside torch, which draws for nobody, would hold the process

    async def _run(self) -> None:
        worker = PreviewWorker(get_channel_layer())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, worker.stop)
        self.stdout.write("The preview worker draws (Ctrl-C stops it).")
        self.stdout.flush()
        await worker.run()
