"""Pages of a member with many pictures: time on the server, and how many questions each asks the database.

Runs in a process of its own (`python -m bench.pages`), which is the site without a network, on an SQLite file of its
own; the counts and times go to standard output as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.report import Row, median, milliseconds, percentile
from bench.stage import Stage
from tests.server import ROOT, environment

if TYPE_CHECKING:
    from django.test import Client

    from accounts.models import User

PATHS = ("/gallery/", "/saved/", "/jobs/")
FEW, MANY = 100, 1000
REQUESTS = 60
BACKEND = "accounts.backends.NameOrEmailBackend"

Figures = dict[str, dict[str, list[float]]]


def pages(stage: Stage) -> Iterator[Row]:
    """One row for each page. The database is another one than the server's, the static files are the same."""
    place = environment(
        stage.data, DATABASE_URL=f"sqlite:///{stage.folder / 'pages.sqlite3'}", LOG_LEVEL="ERROR"
    )
    done = subprocess.run(
        [sys.executable, "-m", "bench.pages"],
        cwd=ROOT,
        env=place,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["It ended without a word."])[-1])
    figures: Figures = json.loads(done.stdout)
    for path in PATHS:
        yield _row(path, figures[path])


def _row(path: str, figures: dict[str, list[float]]) -> Row:
    took, few, many = figures["seconds"], figures["queries"][0], figures["queries"][1]
    late = percentile(took, 0.95)
    measured = (
        f"median {milliseconds(median(took))}, p95 {milliseconds(late)}; "
        f"{few:.0f} queries with {FEW}, {many:.0f} with {MANY:,}"
    )
    bar = "p95 ≤ 100 ms, queries do not grow"
    return Row(f"{path} with {MANY:,} pictures, server time", bar, measured, late <= 0.1 and many <= few)


# --- The other process ---------------------------------------------------------------------------------------------


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pixellift.settings")
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    user, client = _somebody()
    _seed(user, FEW)
    few = {path: _queries(client, path) for path in PATHS}
    _seed(user, MANY - FEW)
    figures = {
        path: {"queries": [few[path], _queries(client, path)], "seconds": _seconds(client, path)}
        for path in PATHS
    }
    sys.stdout.write(json.dumps(figures))


def _somebody() -> tuple[User, Client]:
    from django.test import Client

    from accounts.models import User

    user = User.objects.create_user("bench", "bench@example.com")
    client = Client(SERVER_NAME="localhost")
    client.force_login(user, BACKEND)
    return user, client


def _seed(user: User, count: int) -> None:
    """Pictures, saved pictures and jobs, `count` of each: half of the pictures uploaded, a third of the saved enlarged."""
    from django.utils import timezone

    from gallery.models import Image, SavedImage, Status
    from transforms.models import Job, Operation, State

    def shared(number: int) -> dict[str, object]:
        files = {"file": f"bench/{number}.png", "thumbnail": f"bench/{number}.webp"}
        return {
            "user": user,
            "name": f"Picture {number}",
            "mime_type": "image/png",
            "width": 128,
            "height": 128,
            **files,
        }

    images = [
        Image(
            **shared(number),
            source=Image.Source.UPLOAD if number % 2 else Image.Source.RANDOM,
            model=f"generator-{number % 3}",
            seed=None if number % 2 else number,
            status_process=Status.DONE,
        )
        for number in range(count)
    ]
    saved = [
        SavedImage(
            **shared(number),
            parent_image=images[number],
            model=images[number].model,
            upscaled_file="" if number % 3 else f"bench/{number}-large.png",
        )
        for number in range(count)
    ]
    jobs = [
        Job(
            user=user,
            operation=Operation.PROJECT,
            title=f"Job {number}",
            state=State.SUCCEEDED,
            progress=1,
            image=images[number],
            finished_at=timezone.now(),
        )
        for number in range(count)
    ]
    Image.objects.bulk_create(images, batch_size=200)
    SavedImage.objects.bulk_create(saved, batch_size=200)
    Job.objects.bulk_create(jobs, batch_size=200)


def _queries(client: Client, path: str) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    _get(client, path)
    with CaptureQueriesContext(connection) as queries:
        _get(client, path)
    return len(queries)


def _seconds(client: Client, path: str) -> list[float]:
    took = []
    for _ in range(REQUESTS):
        begun = time.perf_counter()
        _get(client, path)
        took.append(time.perf_counter() - begun)
    return took


def _get(client: Client, path: str) -> None:
    status = client.get(path).status_code
    if status != 200:
        raise SystemExit(f"{path} answered {status}.")


if __name__ == "__main__":
    main()
