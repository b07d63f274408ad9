"""The pages that belong to no app: the landing page, help, health, and what is shown when something goes wrong."""

from __future__ import annotations

import sys

import structlog
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pixellift import health
from pixellift.metrics import CONTENT_TYPE, exposition
from pixellift.outages import RETRY_AFTER_SECONDS, outage
from transforms.importing_engine import catalogue
from transforms.metrics import REFUSED, may_look

ERRORS = {
    400: ("This request cannot be understood", "Go back and try again."),
    403: ("You may not do this", "If you were away for long, reload the page and try again."),
    404: ("There is nothing here", "It may have been deleted, or it belongs to somebody else."),
    500: (
        "Something went wrong on our side",
        "Try again; if it happens again, tell the operator the number below.",
    ),
    503: ("Back in a moment", ""),
}
"""What happened, and what to do."""


@login_not_required
@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    return render(request, "site/landing.html")


@login_not_required
@require_safe
def help_page(request: HttpRequest) -> HttpResponse:
    context = {
        "catalogue": catalogue(),
        "may_import": request.user.is_staff and request.user.has_perm("transforms.add_checkpointimport"),
    }
    return render(request, "site/help.html", context)


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. Looks at nothing else, so that a slow database does not get it restarted."""
    return HttpResponse("ok\n", content_type="text/plain")


@login_not_required
@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Whether work can be done: one sentence for each part, and 503 when a part is missing.

    `?of=web` asks only for what this process needs to answer requests: for a load balancer, which must not take every
    web process out because a worker is away.
    """
    results = health.readiness(only=health.OF_WEB if request.GET.get("of") == "web" else None)
    ready = all(result.ok for result in results)
    parts = {result.name: {"ok": result.ok, "text": result.text} for result in results}
    return JsonResponse({"ready": ready, "parts": parts}, status=200 if ready else 503)


@login_not_required
@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """What Prometheus asks for: see `docs/operating.md`. For this machine, and for who has the token."""
    if not may_look(str(request.META.get("REMOTE_ADDR", "")), request.headers):
        return HttpResponse(REFUSED, status=403, content_type="text/plain; charset=utf-8")
    return HttpResponse(exposition(), content_type=CONTENT_TYPE)


@login_not_required
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 400)


@login_not_required
def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 403)


@login_not_required
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form of another site; or of a page that was open when its reader signed in or out elsewhere."""
    return _error(request, 403)


@login_not_required
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 404)


@login_not_required
def server_error(request: HttpRequest) -> HttpResponse:
    """Our mistake (500), or a service that is away (503, and when to come back)."""
    away = outage(sys.exc_info()[1])
    if away is None:
        return _error(request, 500)
    response = _error(request, 503, away)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _error(request: HttpRequest, status: int, text: str = "") -> HttpResponse:
    """JSON for programs, a page for people; plain text when even the page cannot be drawn."""
    heading, what_to_do = ERRORS[status]
    whole = text or f"{heading}. {what_to_do}"
    number = getattr(request, "request_id", "")
    if request.path.startswith("/api/"):
        return JsonResponse({"detail": whole, "request_id": number}, status=status)
    context = {"status": status, "heading": heading, "text": text or what_to_do, "request_id": number}
    try:
        # These are drawn without the request: whatever broke may be what its context processors would ask for.
        broken = status >= 500
        page = render_to_string(
            f"errors/{500 if broken else 'page'}.html", context, None if broken else request
        )
    except Exception:
        structlog.get_logger(__name__).exception("error page failed", status=status)
        return HttpResponse(f"{whole} {number}\n", status=status, content_type="text/plain")
    return HttpResponse(page, status=status)
