"""Brakes for doors that stand open: so many tries in a window of time, for one address or one member.

Counted in the cache, in fixed windows. That is exact enough for a brake; a quota is counted in the database.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """The address that a request came from. Behind a proxy it is the one that the proxy itself saw.

    A client can write whatever it likes into X-Forwarded-For, but the last entry is the proxy's own.
    """
    if settings.SECURE_PROXY_SSL_HEADER is not None:
        forwarded = request.headers.get("X-Forwarded-For", "")
        last = forwarded.rpartition(",")[2].strip()
        if last:
            return last
    return str(request.META.get("REMOTE_ADDR", ""))


@dataclass(frozen=True)
class Limit:
    """At most `times` tries in `seconds`. `times` is the name of a setting or a number."""

    name: str
    times: int | str
    seconds: int

    @property
    def allowed(self) -> int:
        return int(getattr(settings, self.times)) if isinstance(self.times, str) else self.times

    @property
    def wait(self) -> str:
        """How long a window lasts, in words."""
        minutes = self.seconds // 60
        return f"{minutes} minutes" if minutes < 60 else "an hour"

    def spend(self, who: object) -> bool:
        """Count one try. False: there were too many already."""
        key = self._key(who)
        cache.add(key, 0, self.seconds)
        try:
            return cache.incr(key) <= self.allowed
        except ValueError:  # the window closed between the two lines
            return True

    def is_spent(self, who: object) -> bool:
        return int(cache.get(self._key(who), 0)) >= self.allowed

    def forgive(self, who: object) -> None:
        cache.delete(self._key(who))

    def _key(self, who: object) -> str:
        window = int(time.time()) // self.seconds
        return f"limit:{self.name}:{who}:{window}"


SIGN_UP = Limit("sign-up", "SIGN_UPS_PER_HOUR", 3600)
PASSWORD_RESET = Limit("password-reset", "PASSWORD_RESETS_PER_HOUR", 3600)
FAILED_SIGN_IN = Limit("failed-sign-in", "SIGN_IN_FAILURES_PER_ADDRESS", 900)
PASSWORD_CHECK = Limit("password-check", "AXES_FAILURE_LIMIT", 900)
MAILS_TO_ONE_ADDRESS = Limit("mails", 5, 3600)
