"""Answers that are a whole page for a browser and a fragment for htmx."""

from __future__ import annotations

import json
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django_htmx.middleware import HtmxDetails

Level = Literal["info", "success", "error"]


def wants_fragment(request: HttpRequest) -> bool:
    """htmx asks for a part of the page. Boosted links and the restored history need all of it."""
    htmx: HtmxDetails | None = getattr(request, "htmx", None)
    return bool(htmx and not htmx.boosted and not htmx.history_restore_request)


def fragment(
    request: HttpRequest,
    page_template: str,
    partial_template: str,
    context: dict[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """The partial for htmx, else the page. Caches are told that the two differ."""
    template = partial_template if wants_fragment(request) else page_template
    response = render(request, template, context, status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response


def trigger(response: HttpResponse, event: str, detail: Any = True) -> HttpResponse:
    """Let the page dispatch `event` on arrival of the response, besides those that are already asked for."""
    events = json.loads(response.headers.get("HX-Trigger", "{}"))
    events[event] = detail
    response["HX-Trigger"] = json.dumps(events)  # ASCII, as a header must be
    return response


def toast(
    response: HttpResponse, text: str, level: Level = "success", undo: str | None = None
) -> HttpResponse:
    """Show `text` in a corner of the page. `undo`: an address that is POSTed when the member asks for it."""
    detail = {"level": level, "text": text}
    if undo:
        detail["undo"] = undo
    return trigger(response, "toast", detail)
