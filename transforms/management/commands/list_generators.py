"""`manage.py list_generators`: what is installed, and what of it cannot be used."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from transforms.engine import engine


class Command(BaseCommand):
    help = "Lists the generators and upscalers that are installed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["json"]:
            self.stdout.write(json.dumps([_as_data(info) for info in engine().generators()], indent=2))
        else:
            self._table()
        problems = engine().problems()
        for problem in problems:
            self.stderr.write(problem)
        if problems:
            raise CommandError(f"{len(problems)} files cannot be used.")

    def _table(self) -> None:
        rows = [("NAME", "LABEL", "KIND", "PICTURES", "LAYERS", "CLASSES", "DIRECTIONS", "MB", "SHA-256")]
        for info in engine().generators():
            width, height = info.picture_size
            sizes = f"{width} x {height}", str(info.num_ws), str(info.c_dim)
            directions = "yes" if info.has_components else "no"
            weights = f"{info.bytes / 1e6:.1f}", info.sha256[:12]
            rows.append((info.name, info.label, info.architecture, *sizes, directions, *weights))
        for upscaler in engine().upscalers():
            weights = f"{upscaler.bytes / 1e6:.1f}", upscaler.sha256[:12]
            rows.append(
                (upscaler.name, upscaler.label, "upscaler", f"x{upscaler.scale}", "", "", "", *weights)
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            self.stdout.write(
                "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            )


def _as_data(info: Any) -> dict[str, Any]:
    names = (
        "name", "label", "architecture", "resolution", "picture_size", "num_ws", "c_dim", "sha256", "license",
        "source_format", "source_sha256", "has_components", "has_factors", "bytes",
    )  # fmt: skip
    return {name: getattr(info, name) for name in names}
