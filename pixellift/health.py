"""Is everything there that PixelLift needs? Asked by /readyz, by the system checks and before the server starts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass

from django.conf import settings
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import Error as DatabaseError

from transforms import presence
from transforms.engine import engine


@dataclass(frozen=True)
class Part:
    """What one probe found. `text` is a full sentence for an operator."""

    name: str
    ok: bool
    text: str


class Unfit(Exception):
    """A part cannot be used. The message says what to mend."""


def readiness(only: Collection[str] | None = None) -> list[Part]:
    """All parts that these settings need, or those of them that `only` names."""
    probes = {**PROBES, "previews": previews} if settings.PREVIEW_LANE == "workers" else PROBES
    parts: list[Part] = []
    for name, probe in probes.items():
        if only is not None and name not in only:
            continue
        deaf = name in HEARD_THROUGH_CACHE and any(part.name == "cache" and not part.ok for part in parts)
        parts.append(Part(name, False, DEAF) if deaf else _ask(name, probe))
    return parts


def _ask(name: str, probe: Callable[[], str]) -> Part:
    try:
        return Part(name, ok=True, text=probe())
    except Unfit as unfit:
        return Part(name, ok=False, text=str(unfit))


def database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise Unfit(f"The database does not answer ({first_line(error)}): check DATABASE_URL.") from error
    if pending:
        raise Unfit("The database is behind the code: run `manage.py migrate`.")
    return "The database answers and is up to date."


def storage() -> str:
    name = f"probes/{secrets.token_hex(8)}"
    try:
        kept = default_storage.save(name, ContentFile(b"probe"))
        default_storage.delete(kept)
    except Exception as error:
        raise Unfit(
            f"Pictures cannot be stored ({first_line(error)}): check the media folder, or the bucket."
        ) from error
    return "Pictures can be stored."


def shared_cache() -> str:
    value = secrets.token_hex(8)
    try:
        cache.set("readyz", value, timeout=10)
        kept = cache.get("readyz") is not None
    except Exception as error:
        raise Unfit(f"The cache does not answer ({first_line(error)}): check REDIS_URL.") from error
    if not kept:
        raise Unfit("The cache forgets what it is given: check REDIS_URL.")
    return "The cache answers."


def worker() -> str:
    """Some worker process, here or on another machine, has shown a sign of life."""
    try:
        alive = presence.alive(presence.JOBS)
    except Exception as error:
        raise Unfit(f"No worker can be heard: the cache does not answer ({first_line(error)}).") from error
    if not alive:
        raise Unfit("No worker runs: start `manage.py worker`, or look into the log for why it stopped.")
    more = f" and {len(alive) - 1} more" if len(alive) > 1 else ""
    return f"A worker runs ({alive[0].name}{more})."


def previews() -> str:
    """Some preview worker has shown a sign of life."""
    try:
        alive = presence.alive(presence.PREVIEWS)
    except Exception as error:
        raise Unfit(
            f"No preview worker can be heard: the cache does not answer ({first_line(error)})."
        ) from error
    if not alive:
        raise Unfit("No preview worker runs: start `manage.py previewworker`.")
    return f"A preview worker runs ({alive[0].name})."


def weights() -> str:
    """Looks at the headers of the weights' files; no network is loaded."""
    generators, upscalers = engine().generators(), engine().upscalers()
    problem = " ".join(engine().problems()[:1])
    folder = settings.MODELS_DIR
    if not generators:
        raise Unfit(problem or f"There is no generator: restore ganworks/starters, or put one into {folder}.")
    if not upscalers:
        raise Unfit(problem or f"There is no upscaler: restore ganworks/starters, or put one into {folder}.")
    return f"Generators: {len(generators)}. Upscalers: {len(upscalers)}."


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__


HEARD_THROUGH_CACHE = ("worker", "previews")  # a cache that hangs is waited for once
DEAF = "Nothing can be heard of them, since the cache does not answer."
OF_WEB = ("database", "storage", "cache")
PROBES: dict[str, Callable[[], str]] = {
    "database": database,
    "storage": storage,
    "cache": shared_cache,
    "worker": worker,
    "weights": weights,
}
