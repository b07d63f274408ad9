"""Makes members and their jobs, in a process of its own with the settings of the site that is tested.

    python -m tests.chaos.cast < orders.json

reads ``{"members": ["ada", ...], "jobs": [["ada", 250, 0.5], ...]}``: seeds for jobs of one picture each, asked for in
that order through the same services as pages and API, each so many seconds after the beginning. Answers
``{"members": {"ada": {"session": ..., ...}}, "jobs": [id, ...]}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pixellift.settings")
    django.setup()
    orders = json.load(sys.stdin)
    members = {name: _member(name) for name in orders["members"]}
    json.dump({"members": members, "jobs": _ask(orders["jobs"])}, sys.stdout)


def _member(name: str) -> dict[str, str]:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    from accounts.models import User
    from accounts.services import issue_token

    user = User.objects.filter(user_name=name).first()
    if user is None:
        user = User(user_name=name, email=f"{name}@example.com")
        user.set_unusable_password()
        user.save()
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "accounts.backends.NameOrEmailBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return {"id": str(user.pk), "session": session.session_key or "", "token": issue_token(user, "chaos")[1]}


def _ask(wishes: list[list[Any]]) -> list[str]:
    from accounts.models import User
    from transforms import services
    from transforms.engine import engine

    generator = engine().generators()[0].name
    users = {user.user_name: user for user in User.objects.all()}
    begun, made = time.monotonic(), []
    for name, seed, at in wishes:
        time.sleep(max(0, begun + at - time.monotonic()))
        made.append(str(services.request_random(users[name], generator=generator, seed=seed).pk))
    return made


if __name__ == "__main__":
    main()
