"""`manage.py restore FILE`: the site as it was when the backup was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from pixellift.archive import BadBackup
from pixellift.management.commands.backup import describe
from pixellift.restore import restore


class Command(BaseCommand):
    help = "Restores a backup into an empty database. Stop all servers and workers first."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--force", action="store_true", help="replace what is in the database")
        parser.add_argument("--with-secrets", action="store_true", help="take the secret key from the backup")

    def handle(self, *args: Any, file: Path, force: bool, with_secrets: bool, **options: Any) -> None:
        try:
            manifest = restore(file.absolute(), self.stdout.write, force=force, with_secrets=with_secrets)
        except BadBackup as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Restored and compared: {describe(manifest)}")
