"""What the commands share that work through many pictures: choosing, counting, failing, going on.

Each picture becomes an ordinary job, which this process runs itself. So a command works with no server
running, and beside one: whoever claims the job does it, and the command waits for the result.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from accounts.models import User
from gallery.errors import GalleryError
from gallery.models import Image, SavedImage, Status
from transforms.errors import TransformError
from transforms.models import Job, State
from transforms.worker import run_one

LOOK_AGAIN_SECONDS = 0.5
BAR_WIDTH = 24

Row = TypeVar("Row", Image, SavedImage)


def moment(value: str) -> datetime:
    """A date or a date with a time; of a date, its beginning in the site's time zone."""
    try:
        found = parse_datetime(value) or parse_date(value)
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{value!r} is no date: write for example 2025-03-01 or 2025-03-01T12:00.")
    if not isinstance(found, datetime):
        found = datetime(found.year, found.month, found.day)
    return found if timezone.is_aware(found) else timezone.make_aware(found)


class BatchCommand(BaseCommand):
    """Chooses pictures, and does the same with each."""

    state_field = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", help="only pictures of this member (user name or e-mail address)")
        parser.add_argument("--generator", help="only pictures of this generator")
        parser.add_argument(
            "--since", type=moment, help="only pictures made at this time or later (2025-03-01)"
        )
        parser.add_argument("--until", type=moment, help="only pictures made before this time")
        parser.add_argument(
            "--state", choices=Status.values, help="only pictures whose work is in this state"
        )
        parser.add_argument(
            "--id", type=UUID, action="append", help="only this picture; may be given several times"
        )
        parser.add_argument(
            "--deadline",
            type=int,
            metavar="SECONDS",
            help="give a picture up that is not done so long after its turn in this command came",
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")

    def choose(self, rows: QuerySet[Row], options: dict[str, Any]) -> list[Row]:
        """The rows that the options choose, oldest first."""
        wanted = {
            "user": self._member(options["user"]) if options["user"] else None,
            "model": options["generator"],
            "created_at__gte": options["since"],
            "created_at__lt": options["until"],
            self.state_field: options["state"],
            "pk__in": options["id"],
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        return list(rows.filter(**given).select_related("user").order_by("created_at", "id"))

    def deadline(self, options: dict[str, Any]) -> datetime | None:
        """When a job that is asked for now should be done."""
        seconds = options["deadline"]
        return None if seconds is None else timezone.now() + timedelta(seconds=seconds)

    def _member(self, name: str) -> User:
        user = User.objects.by_name_or_email(name)
        if user is None:
            raise CommandError(f"There is no member {name!r}.")
        return user

    def work_through(
        self,
        rows: Sequence[Row],
        ask: Callable[[Row], Job | None],
        *,
        dry_run: bool,
        is_done: Callable[[Row], bool],
    ) -> None:
        """Ask for a job for each row and see it through. CommandError at the end if any failed."""
        waiting = [row for row in rows if not is_done(row)]
        self.stdout.write(f"{len(rows)} chosen, {len(rows) - len(waiting)} of them done already.")
        if dry_run:
            for row in waiting:
                self.stdout.write(f"{row.pk} {row.user.user_name} {row.name}")
            return
        failed = 0
        for index, row in enumerate(waiting):
            self._bar(index, len(waiting), row.name)
            error = self._do(row, ask)
            if error:
                failed += 1
                self.stderr.write(f"{row.pk} {row.name}: {error}")
        self._bar(len(waiting), len(waiting), "")
        if failed:
            raise CommandError(
                f"{failed} of {len(waiting)} failed. Run the command again to try those once more."
            )
        self.stdout.write(f"{len(waiting)} done.")

    def _do(self, row: Row, ask: Callable[[Row], Job | None]) -> str:
        """Empty if it worked, else why not."""
        try:
            job = ask(row)
        except (TransformError, GalleryError) as error:
            return str(error)
        return "" if job is None else see_through(job)

    def _bar(self, done: int, total: int, name: str) -> None:
        filled = BAR_WIDTH * done // max(total, 1)
        line = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}/{total} {name[:40]}"
        if self.stdout.isatty():
            self.stdout.write(f"\r\033[K{line}", ending="\n" if done == total else "")
            self.stdout.flush()
        else:
            self.stdout.write(line)

    @abstractmethod
    def handle(self, *args: Any, **options: Any) -> None: ...


def see_through(job: Job) -> str:
    """Run a job here, or wait for the worker that has it. Empty if it succeeded, else why not."""
    while True:
        ran = run_one(job.pk)
        job.refresh_from_db(fields=["state", "error"])
        if not job.is_active:
            break
        if not ran:
            time.sleep(LOOK_AGAIN_SECONDS)
    if job.state == State.SUCCEEDED:
        return ""
    return job.error or "It was canceled."
