"""`manage.py upscale`: enlarge chosen saved pictures."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from gallery.models import SavedImage
from transforms import services
from transforms.engine import engine
from transforms.errors import TransformError
from transforms.management.batch import BatchCommand
from transforms.models import Job, Priority
from transforms.params import DEFAULT_UPSCALER


class Command(BatchCommand):
    help = (
        "Enlarges the chosen saved pictures. What this upscaler has enlarged already is skipped, so the command can "
        "be stopped and started again."
    )
    state_field = "status_superresolution"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--upscaler", default=DEFAULT_UPSCALER)
        parser.add_argument("--force", action="store_true", help="enlarge again what is enlarged already")

    def handle(self, *args: Any, **options: Any) -> None:
        upscaler, force = options["upscaler"], options["force"]
        try:
            engine().upscaler(upscaler)
        except TransformError as error:
            raise CommandError(str(error)) from error

        def ask(saved: SavedImage) -> Job:
            return services.request_upscale(
                saved.user,
                saved,
                upscaler=upscaler,
                quota=False,
                priority=Priority.BATCH,
                deadline=self.deadline(options),
            )

        def is_done(saved: SavedImage) -> bool:
            return not force and bool(saved.upscaled_file) and saved.upscaler == upscaler

        rows = self.choose(SavedImage.objects.alive().exclude(file=""), options)
        self.work_through(rows, ask, dry_run=options["dry_run"], is_done=is_done)
