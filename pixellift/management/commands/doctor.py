"""`manage.py doctor`: is everything there, and does it fit together?"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from pixellift.doctor import Level, examine


class Command(BaseCommand):
    help = "Checks every service, folder and setting, and says what to mend. Exits with 1 if something is wrong (!!)."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="a list for programs")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        findings = []
        for finding in examine():
            findings.append(finding)
            if not json:
                self.stdout.write(f"{finding.level:<3}{finding.name}: {finding.text}")
                self.stdout.flush()
        if json:
            self.stdout.write(_as_json(findings))
        wrong = sum(finding.level == Level.WRONG for finding in findings)
        if wrong:
            if not json:
                self.stdout.write(f"{wrong} to mend.")
            self.stdout.flush()
            if any(finding.hung for finding in findings):
                os._exit(1)  # Python would wait for the threads of what hangs
            sys.exit(1)


def _as_json(findings: list[Any]) -> str:
    rows = [
        {"level": finding.level.name.lower(), "name": finding.name, "text": finding.text}
        for finding in findings
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False)
