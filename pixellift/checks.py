"""System checks: a combination of settings that cannot work, or is not safe, is named before anything starts.

E001 a folder cannot be written       E002 weights are missing or damaged      E003 debugging pages on a public site
W001 one-file database, many processes    W002 HTTPS, but no public host name
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connection

from pixellift import health, preflight
from pixellift.environment import BadSetting

LOCAL_NAMES = {"localhost", "127.0.0.1", "[::1]"}


@register(Tags.files)
def media_is_writable(**kwargs: Any) -> list[CheckMessage]:
    if settings.MEDIA_S3_BUCKET:
        return []
    try:
        preflight.check_folder(settings.MEDIA_ROOT, "MEDIA_ROOT")
    except BadSetting as error:
        return [Error(str(error), id="pixellift.E001")]
    return []


@register("engine", deploy=True)
def weights_are_there(**kwargs: Any) -> list[CheckMessage]:
    """Only with --deploy: whoever trains the first generator has none yet."""
    try:
        health.weights()
    except health.Unfit as unfit:
        return [Error(str(unfit), id="pixellift.E002")]
    return []


@register(Tags.security)
def no_debugging_in_public(**kwargs: Any) -> list[CheckMessage]:
    if not (settings.DEBUG and settings.HTTPS):
        return []
    return [
        Error(
            "DEBUG is on while HTTPS is on: error pages would show settings to everyone.",
            hint="Take DEBUG out of the environment.",
            id="pixellift.E003",
        )
    ]


@register(Tags.database)
def database_fits_the_mode(**kwargs: Any) -> list[CheckMessage]:
    if not settings.REDIS_URL or connection.vendor != "sqlite":
        return []
    return [
        Warning(
            "REDIS_URL is set, but the database is one SQLite file: workers on other machines cannot reach it.",
            hint="Set DATABASE_URL to a PostgreSQL database.",
            id="pixellift.W001",
        )
    ]


@register(Tags.security)
def https_has_a_name(**kwargs: Any) -> list[CheckMessage]:
    if not settings.HTTPS or set(settings.ALLOWED_HOSTS) - LOCAL_NAMES:
        return []
    return [
        Warning(
            "HTTPS is on, but only local host names are allowed, so no one can reach the site by its public name.",
            hint="List the public names in ALLOWED_HOSTS.",
            id="pixellift.W002",
        )
    ]
