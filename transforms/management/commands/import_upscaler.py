"""`manage.py import_upscaler FILE --name NAME`: make a foreign upscaler one of this site's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from transforms import installing
from transforms.engine import EngineError, UpscalerReport, read_upscaler
from transforms.errors import TransformError
from transforms.params import text

UPSCALER_FILE = "upscaler.safetensors"


class Command(BaseCommand):
    help = (
        "Imports an upscaler of other people (Real-ESRGAN, SwinIR and other kinds that spandrel knows; .safetensors, or "
        ".pth with tensors only), without running anything that is in it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the network's file")
        parser.add_argument("--name", required=True, help="of small letters, digits, - and _")
        parser.add_argument("--label", default="", help="what members read (default: the file's name)")
        parser.add_argument("--license", default="", help="a note")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        try:
            label, license = text(options, "label", 80, ""), text(options, "license", 300, "")
            installing.refuse_taken(name)
            self.stdout.write("Looking at the network and trying it out; a large one takes a minute ...")
            report = self._install(options["file"], name, label, license)
        except (TransformError, EngineError) as error:
            raise CommandError(str(error)) from error
        found = report.findings
        tiles = "as a whole" if found.whole else f"in tiles that overlap by {found.overlap_px} pixels"
        rows = [
            ("Architecture", found.architecture),
            ("Enlarges", f"{found.scale} times"),
            ("Works", tiles),
            ("Parameters", f"{found.parameters:,}"),
            ("Label", report.label),
            ("Licence", report.license or "not known"),
            ("SHA-256", report.source_sha256),
        ]
        for title, value in rows:
            self.stdout.write(f"{title + ':':13} {value}")
        self.stdout.write(self.style.SUCCESS(f"The upscaler “{name}” is installed."))

    def _install(self, file: Path, name: str, label: str, license: str) -> UpscalerReport:
        with installing.plain_disk_errors():
            draft = installing.Draft.fresh(f"command-{os.getpid()}")
            try:
                if file.is_file():
                    installing.check_room(file.stat().st_size)
                report = read_upscaler(file, draft.folder / UPSCALER_FILE, label=label, license=license)
                draft.publish(name)
            finally:
                draft.remove()
        return report
