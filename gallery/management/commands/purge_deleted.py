"""Delete for good what members deleted a while ago; with `--orphans` also files that no row names."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from gallery import orphans, services


class Command(BaseCommand):
    help = "Delete for good, with their files, pictures that were deleted longer ago than they can be brought back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--orphans",
            action="store_true",
            help="also delete files that no row names, a day after they were written",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        purged = services.purge_deleted()
        self.stdout.write(f"{purged} picture{'' if purged == 1 else 's'} deleted for good.")
        if options["orphans"]:
            count = orphans.purge(strangers=True)
            self.stdout.write(f"{count} file{'' if count == 1 else 's'} that belonged to nothing deleted.")
