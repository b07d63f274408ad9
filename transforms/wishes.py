"""Wishes that may reach us twice, from a program or by a second click: under one key each is carried out once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from transforms.errors import InvalidParams, KeyTaken
from transforms.models import FAILURES, Job, WishKey

KEPT_FOR = timedelta(days=1)
KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")
MAX_DEADLINE_SECONDS = 7 * 24 * 3600

Service = Callable[..., Job | None]


def checked_key(key: str) -> str:
    """The key that a program sent; InvalidParams if it cannot be one."""
    if not KEY.fullmatch(key):
        raise InvalidParams(
            "Idempotency-Key", "The key must be a text of 1 to 200 printable ASCII characters."
        )
    return key


def fingerprint(contents: object) -> str:
    """What tells one wish from another."""
    plain = json.dumps(contents, sort_keys=True, default=str)
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def once(user: User, key: str, contents: object, ask: Service) -> Job | None:
    """What `ask()` gives; if `user` asked for the same under this key in the last day, what that gave.

    KeyTaken if they asked for something else. What is refused, by an exception, leaves the key free.
    """
    with transaction.atomic():
        known = _known(user, key)
        if known is not None and known.fingerprint != fingerprint(contents):
            raise KeyTaken("Something else was asked for under this key. Use a new key for each wish.")
        return known.job if known is not None else _ask(user, key, contents, ask)


def once_on_page(user: User, key: str, contents: object, ask: Service) -> Job | None:
    """The same for a form with a hidden key. Filled in otherwise it is another wish, and after a failure a new one."""
    if not key:
        return ask()
    key = f"page {key} {fingerprint(contents)}"
    with transaction.atomic():
        known = _known(user, key)
        if known is not None and not (known.job and known.job.state in FAILURES):
            return known.job
        return _ask(user, key, contents, ask)


def _known(user: User, key: str) -> WishKey | None:
    """The lock on the member's row lets the second of two equal wishes wait for the first."""
    User.objects.select_for_update().get(pk=user.pk)
    keys = WishKey.objects.select_related("job").defer("job__preview")
    return keys.filter(user=user, key=key, created_at__gt=timezone.now() - KEPT_FOR).first()


def _ask(user: User, key: str, contents: object, ask: Service) -> Job | None:
    job = ask()
    said = {"fingerprint": fingerprint(contents), "job": job, "created_at": timezone.now()}
    WishKey.objects.update_or_create(user=user, key=key, defaults=said)
    return job


def forget_old() -> int:
    """Delete the keys that do not count any more."""
    return WishKey.objects.filter(created_at__lte=timezone.now() - KEPT_FOR).delete()[0]


def deadline_from(seconds: int | None) -> datetime | None:
    return None if seconds is None else timezone.now() + timedelta(seconds=seconds)
