"""`manage.py backup FILE`: the site in one file, or a look whether such a file is whole."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from pixellift import archive, backup
from pixellift.archive import BadBackup, Manifest


class Command(BaseCommand):
    help = "Writes database and pictures into one file (.tar, or .tar.gz), and reads it again. The site may run meanwhile."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--verify", action="store_true", help="only look whether FILE is whole")
        parser.add_argument("--with-models", action="store_true", help="your own generators too (MODELS_DIR)")
        parser.add_argument(
            "--with-secrets", action="store_true", help="the secret key too, if it lies in DATA_DIR"
        )

    def handle(
        self,
        *args: Any,
        file: Path,
        verify: bool,
        with_models: bool,
        with_secrets: bool,
        **options: Any,
    ) -> None:
        try:
            if verify:
                with tempfile.TemporaryDirectory() as scratch:
                    manifest = archive.read(file, Path(scratch))
            else:
                manifest = backup.make(
                    file.absolute(), self.stdout.write, with_models=with_models, with_secrets=with_secrets
                )
        except BadBackup as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{file} is whole: {describe(manifest)}")


def describe(manifest: Manifest) -> str:
    rows = sum(manifest.tables.values())
    files = ", ".join(f"{number} of {folder}" for folder, number in manifest.files.items() if number)
    return (
        f"PixelLift {manifest.version}, {manifest.created_at}, {manifest.engine} {manifest.engine_version}, "
        f"{rows} rows in {len(manifest.tables)} tables, files: {files}, {manifest.total_bytes:,} bytes."
    )
