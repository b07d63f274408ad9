"""What a request looks like behind the sign-in, for annotations."""

from __future__ import annotations

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import User


class MemberRequest(HttpRequest):
    """A request that `LoginRequiredMiddleware` let through: its user is a member."""

    user: User
    htmx: HtmxDetails


class VisitorRequest(HttpRequest):
    """A request to a public page: perhaps from a member."""

    htmx: HtmxDetails
