"""`manage.py import_generator FILE --name NAME`: make a foreign checkpoint a generator of this site."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from gallery.models import Status
from transforms import imports, installing
from transforms.engine import EngineError
from transforms.errors import TransformError
from transforms.import_params import ImportParams
from transforms.importing_engine import make_directions, read_checkpoint
from transforms.models import CheckpointImport

MAX_CLASSES_FILE_BYTES = 1024 * 1024
MAX_BYTES = 2**40


class Command(BaseCommand):
    help = (
        "Imports a checkpoint of StyleGAN2, StyleGAN3 or ALIS (.pkl, .pt, .safetensors) as a generator, without running "
        "anything that is in it, and computes its directions."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the checkpoint")
        parser.add_argument("--name", required=True, help="of small letters, digits, - and _")
        parser.add_argument("--label", default="", help="what members read (default: as known for this file)")
        parser.add_argument("--license", default="", help="a note (default: as known for this file)")
        parser.add_argument(
            "--classes", type=Path, help="a file with the names of its classes, one a line, or a JSON list"
        )
        parser.add_argument(
            "--no-directions", action="store_true", help="make no contact sheet, components and factors now"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._line_open = False
        try:
            params = _params(options)
            report = self._install(options["file"], params)
            row = self._note(params, report)
            if not options["no_directions"]:
                self._directions(params.name, row)
        except (TransformError, EngineError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.style.SUCCESS(f"The generator “{params.name}” is installed."))

    def _install(self, file: Path, params: ImportParams) -> dict[str, Any]:
        installing.refuse_taken(params.name)
        with contextlib.suppress(DatabaseError):  # there may be none yet
            imports.refuse_awaited(params.name)
        known = installing.made_from(_sha256_of(file))
        if known is not None:
            raise CommandError(f"This file was imported before: it is the generator “{known.name}”.")
        with installing.plain_disk_errors():
            draft = installing.Draft.fresh(f"command-{os.getpid()}")
            try:
                installing.check_room(params.bytes)
                report = read_checkpoint(
                    file,
                    draft.generator,
                    label=params.label,
                    license=params.license,
                    classes=params.classes,
                    on_progress=self._tell,
                )
                draft.publish(params.name)
            finally:
                draft.remove()
        self._end_line()
        self._print(report)
        return report

    def _note(self, params: ImportParams, report: dict[str, Any]) -> CheckpointImport | None:
        """The admin lists it too. Where there is no database yet, it is installed all the same."""
        try:
            return imports.note_command(params, report)
        except (DatabaseError, TransformError) as error:
            self.stderr.write(f"The admin will not list this generator: {error}")
            return None

    def _directions(self, name: str, row: CheckpointImport | None) -> None:
        with installing.plain_disk_errors():
            make_directions(installing.folder_of(name), self._tell)
        self._end_line()
        if row is not None:
            CheckpointImport.objects.filter(pk=row.pk).update(status_directions=Status.DONE)

    # --- What is printed ---

    def _tell(self, share: float, stage: str) -> None:
        """On a terminal one line that moves."""
        if sys.stdout.isatty():
            self.stdout.write(f"\r\x1b[K{share:4.0%}  {stage}", ending="")
            self.stdout.flush()
            self._line_open = True

    def _end_line(self) -> None:
        if self._line_open:
            self.stdout.write("\r\x1b[K", ending="")
            self._line_open = False

    def _print(self, report: dict[str, Any]) -> None:
        side = report["resolution"]
        rows = [
            ("Format", report["format"]),
            ("Architecture", report["architecture"]),
            ("Resolution", f"{side} x {side}"),
            ("Latents", f"z {report['z_dim']}, w {report['w_dim']} in {report['num_ws']} layers"),
            ("Classes", str(report["c_dim"] or "none")),
            ("Parameters", f"{report['parameters']:,} in {len(report['layers'])} tensors"),
            ("Label", report["label"]),
            ("Licence", report["license"] or "not known"),
            ("SHA-256", report["source_sha256"]),
            ("Read in", f"{report['seconds']:.1f} s"),
        ]
        for name, value in rows:
            self.stdout.write(f"{name + ':':13} {value}")
        for sentence in report["ignored"] or ["nothing"]:
            self.stdout.write(f"{'Ignored:':13} {sentence}")


def _params(options: dict[str, Any]) -> ImportParams:
    file: Path = options["file"]
    try:
        size = file.stat().st_size
        classes = _classes(options["classes"])
    except OSError as error:
        raise CommandError(f"The file {error.filename} cannot be read: {error.strerror}.") from error
    wish = {
        "name": options["name"],
        "label": options["label"],
        "license": options["license"],
        "classes": classes,
        "file_name": file.name,
        "bytes": size,
    }
    return ImportParams.from_data(wish, max_bytes=MAX_BYTES)


def _classes(path: Path | None) -> str:
    if path is None:
        return ""
    if path.stat().st_size > MAX_CLASSES_FILE_BYTES:
        raise CommandError(f"The file {path} is too large for names of classes.")
    return path.read_text(encoding="utf-8", errors="replace")


def _sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CommandError(f"The file {path} cannot be read: {error.strerror}.") from error
