"""What django-axes asks this app: who is signing in, and from where."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from accounts.models import User

LONGEST_NAME = 254


def sign_in_name(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """Under what failed sign-ins are counted: the same for a member's user name and e-mail address."""
    given = (credentials or {}).get("username") or request.POST.get("username", "")
    name = str(given).strip().replace("\0", "")[:LONGEST_NAME]
    user = User.objects.by_name_or_email(name) if name else None
    return user.user_name if user else name.lower()
