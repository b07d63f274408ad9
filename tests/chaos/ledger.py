"""Does the account add up? What the database's witness wrote down, against what lies in the storage."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import datetime

from tests.chaos.site import Site

MOVES = {
    ("queued", "running"),
    ("running", "running"),  # taken over after the lease
    ("running", "queued"),
    ("queued", "canceled"),
    ("queued", "failed"),  # tried too often, and nobody works on it
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "canceled"),
}
OVER = {"succeeded", "failed", "canceled"}


def histories(site: Site, jobs: list[str]) -> dict[str, list[tuple[str, str, str, datetime]]]:
    """For each job its moves, in order: before, after, worker, when."""
    told: dict[str, list[tuple[str, str, str, datetime]]] = defaultdict(list)
    asked = "SELECT job::text, before, after, worker, at FROM chaos_history WHERE job = ANY(%s::uuid[]) ORDER BY number"
    for job, before, after, worker, at in site.rows(asked, jobs):
        told[job].append((before, after, worker, at))
    return told


def check_moves(site: Site, jobs: list[str]) -> None:
    """Every job made allowed moves only, and exactly one to a terminal state, as its last."""
    told = histories(site, jobs)
    for job in jobs:
        moves = [(before, after) for before, after, _, _ in told[job]]
        assert set(moves) <= MOVES, (job, moves)
        assert [after for _, after in moves if after in OVER] == [moves[-1][1]], (job, moves)


def check_pictures(site: Site, jobs: list[str]) -> None:
    """One picture for each job that succeeded, whole; none for the others."""
    asked = """
        SELECT job.id::text, job.state, job.result, image.id::text, image.file, image.thumbnail, image.sha256,
               image.status_process
        FROM transforms_job job LEFT JOIN gallery_image image ON job.result->'images'->>0 = image.id::text
        WHERE job.id = ANY(%s::uuid[])
    """
    rows = site.rows(asked, jobs)
    assert len(rows) == len(jobs)
    for job, state, result, image, file, thumbnail, sha256, status in rows:
        if state == "succeeded":
            assert result["ready"] == result["images"] == [image], (job, result)
            assert hashlib.sha256((site.media / file).read_bytes()).hexdigest() == sha256
            assert (site.media / thumbnail).stat().st_size
            assert status == "done"
        elif image is not None:
            assert not file, (job, state, file)
            assert status != "done"


def files(site: Site) -> set[str]:
    """All that lies in the storage, half-written files among them."""
    found = {str(path.relative_to(site.media)) for path in site.media.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith("probes/")}


def orphans(site: Site) -> set[str]:
    """Files that no row names."""
    query = (
        "SELECT file, thumbnail FROM gallery_image UNION ALL SELECT file, thumbnail FROM gallery_savedimage"
    )
    return files(site) - {name for row in site.rows(query) for name in row if name}
